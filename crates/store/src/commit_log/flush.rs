//! From staged to visible to durable.
//!
//! Two buffers: appends fill one while the other is written. Whoever settles first writes for all;
//! the others wait on the lock of the disk side and find their records written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};
use rmq_message::Timestamp;
use rmq_runtime::{Stop, canary};

use super::writer::{Staged, Touched};
use super::{CommitLog, Unsynced, recovery};
use crate::api::AppendError;
use crate::config::FlushDiskType;
use crate::segmented_log::Segment;

/// Buffers larger than this are given back after use.
const BUFFER_KEPT: usize = 8 << 20;

pub(super) struct DiskSide {
    /// The buffer that is being written, or waits for its turn empty.
    staged: Staged,
    /// Files with bytes that are not synced.
    dirty: Vec<Arc<Segment>>,
    /// What the start has found, until the first sync.
    found: Option<Unsynced>,
    /// Everything before is in the files.
    written: u64,
    pub(super) last_timestamp: Timestamp,
    /// Queues whose records are written but not told of yet.
    pending: Touched,
    /// A list that waits for its next use.
    spare: Touched,
}

impl DiskSide {
    pub(super) fn new(end: u64, last_timestamp: Timestamp, found: Option<Unsynced>) -> Self {
        Self {
            staged: Staged::default(),
            dirty: Vec::new(),
            found,
            written: end,
            last_timestamp,
            pending: Vec::new(),
            spare: Vec::new(),
        }
    }

    fn note_dirty(&mut self, segment: &Arc<Segment>) {
        if !self.dirty.iter().any(|dirty| Arc::ptr_eq(dirty, segment)) {
            self.dirty.push(Arc::clone(segment));
        }
    }
}

/// Wakes the flusher's thread.
#[derive(Default)]
pub(super) struct Wake {
    wanted: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Wake {
    fn wake(&self) {
        if !self.wanted.swap(true, Ordering::AcqRel) {
            let _lock = self.lock.lock();
            self.changed.notify_one();
        }
    }

    fn wait(&self) {
        let mut lock = self.lock.lock();
        while !self.wanted.swap(false, Ordering::AcqRel) {
            self.changed.wait(&mut lock);
        }
    }
}

impl CommitLog {
    /// Hands what is staged to the files.
    fn write(&self, side: &mut DiskSide) -> Result<(), AppendError> {
        let _unwound = self.fails_if_unwound();
        if let Some(reason) = self.gate.fault() {
            return Err(AppendError::ReadOnly { reason });
        }
        let end = {
            let mut writer = self.writer.lock();
            if writer.staged.bytes.is_empty() {
                return Ok(());
            }
            writer.finish_piece();
            writer.generation += 1;
            std::mem::swap(&mut writer.staged, &mut side.staged);
            writer.end()
        };
        let mut staged = std::mem::take(&mut side.staged);
        let mut from = 0;
        for piece in staged.pieces.drain(..) {
            let bytes = staged.bytes.get(from..piece.to).unwrap_or_default();
            side.note_dirty(&piece.segment);
            let written = piece.segment.file().and_then(|file| file.write_at(piece.at, bytes));
            if let Err(error) = written {
                self.fail("cannot write messages", &error);
                return Err(self.failure());
            }
            from = piece.to;
        }
        side.written = end;
        side.last_timestamp = staged.last_timestamp;
        side.pending.append(&mut staged.touched);
        staged.bytes.clear();
        staged.bytes.shrink_to(BUFFER_KEPT);
        side.staged = staged;
        Ok(())
    }

    fn failure(&self) -> AppendError {
        match self.gate.fault() {
            Some(reason) => AppendError::ReadOnly { reason },
            None => AppendError::Stopped,
        }
    }

    /// Lets readers see everything that is written; returns the queues that have grown.
    fn publish(&self, side: &mut DiskSide) -> Touched {
        self.visible.advance(side.written);
        for (queue, end) in &side.pending {
            queue.publish(*end);
        }
        // Listed before the lock is let go, so that whoever syncs up to the visible mark finds
        // every queue that has entries below it.
        self.queues.list(side.pending.iter().map(|(queue, _)| queue));
        let spare = std::mem::take(&mut side.spare);
        std::mem::replace(&mut side.pending, spare)
    }

    /// Up to where all records can be read and all their queues are listed.
    pub(crate) fn told(&self) -> u64 {
        let _side = self.disk_side.lock();
        self.visible.get()
    }

    /// Takes back the list of [`Self::settle`], for its next use.
    pub(crate) fn give_back(&self, mut touched: Touched) {
        touched.clear();
        touched.shrink_to(1 << 16);
        let mut side = self.disk_side.lock();
        if side.spare.capacity() < touched.capacity() {
            side.spare = touched;
        }
    }

    /// Writes without letting readers see it yet.
    pub(super) fn write_ahead(&self) -> Result<(), AppendError> {
        self.write(&mut self.disk_side.lock())
    }

    /// `ASYNC_FLUSH`: writes what is staged and lets readers see it; returns the queues that have
    /// grown, or `None` when somebody else did it all. `SYNC_FLUSH`: wakes the flusher.
    pub(crate) fn settle(&self) -> Result<Option<Touched>, AppendError> {
        if self.mode == FlushDiskType::Sync {
            self.wake.wake();
            return match self.gate.fault() {
                Some(reason) => Err(AppendError::ReadOnly { reason }),
                None => Ok(None),
            };
        }
        if self.visible.get() >= self.staged_end() {
            return Ok(None);
        }
        let mut side = self.disk_side.lock();
        self.write(&mut side)?;
        if side.pending.is_empty() && self.visible.get() >= side.written {
            return Ok(None);
        }
        Ok(Some(self.publish(&mut side)))
    }

    /// Syncs everything that is written (`ASYNC_FLUSH`; never holds up appends).
    /// Returns up to where everything is synced and visible, and the store time there.
    pub(crate) fn sync(&self) -> Result<(u64, Timestamp), AppendError> {
        let _syncing = self.syncing.lock();
        let (dirty, found, end, visible, timestamp) = {
            let mut side = self.disk_side.lock();
            let dirty = std::mem::take(&mut side.dirty);
            let found = side.found.take();
            (dirty, found, side.written, self.visible.get(), side.last_timestamp)
        };
        if let Some(reason) = self.gate.fault() {
            return Err(AppendError::ReadOnly { reason });
        }
        self.sync_found(found)?;
        self.sync_files(&dirty)?;
        self.durable.advance(end);
        Ok((end.min(visible), timestamp))
    }

    /// Makes durable what the start has found.
    fn sync_found(&self, found: Option<Unsynced>) -> Result<(), AppendError> {
        let Some(found) = found else { return Ok(()) };
        let told = |to| self.durable.advance(to);
        recovery::make_durable(&self.segments, found, told).map_err(|error| {
            self.fail("cannot sync messages", &error);
            self.failure()
        })
    }

    fn sync_files(&self, dirty: &[Arc<Segment>]) -> Result<(), AppendError> {
        let _unwound = self.fails_if_unwound();
        for segment in dirty {
            if let Err(error) = segment.file().and_then(|file| file.sync())
                && !canary("INV-03 a failed sync is tried again")
            {
                self.fail("cannot sync messages", &error);
                return Err(self.failure());
            }
        }
        Ok(())
    }

    /// `SYNC_FLUSH`: one group. Writes and syncs what is staged, then lets everybody know; while
    /// it syncs, the next group gathers.
    pub(crate) fn commit_group(&self) -> Result<Touched, AppendError> {
        let _syncing = self.syncing.lock();
        let mut side = self.disk_side.lock();
        self.write(&mut side)?;
        let dirty = std::mem::take(&mut side.dirty);
        let found = side.found.take();
        self.sync_found(found)?;
        if !canary("RS-01 visible before it is synced") {
            self.sync_files(&dirty)?;
        }
        let touched = self.publish(&mut side);
        let written = side.written;
        drop(side);
        self.durable.advance(written);
        Ok(touched)
    }

    /// The flusher's thread (`SYNC_FLUSH`): commits groups until it is stopped and nothing is left.
    pub(crate) fn run_flusher(&self, stop: &Stop, told: impl Fn(Touched)) {
        loop {
            self.wake.wait();
            while self.durable.get() < self.staged_end() {
                match self.commit_group() {
                    Ok(touched) => told(touched),
                    Err(_) => break,
                }
            }
            if stop.is_requested() {
                return;
            }
        }
    }

    /// Wakes the flusher's thread, so that it sees a stop.
    pub(crate) fn wake_flusher(&self) {
        self.wake.wake();
    }

    /// Begins to write to the device what lies between two positions.
    pub(crate) fn write_back(&self, from: u64, to: u64) {
        let mut at = from;
        while at < to {
            let Some(segment) = self.segments.find(at) else { return };
            let end = to.min(segment.end());
            if let Ok(file) = segment.file() {
                file.write_back(at - segment.start, end - at);
            }
            at = end;
        }
    }
}
