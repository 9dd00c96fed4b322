//! One consume queue: its numbers, its youngest entries in RAM, its files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rmq_message::{QueueOffset, name, record};
use rmq_runtime::system::prefetch;

use super::files::{FileContext, QueueFiles};
use super::tail::Tail;
use super::unit::{UNIT_LEN, Unit};
use crate::api::QueueKey;

/// Entries that are written together: 4 KiB.
const STRETCH: usize = 204;
/// Written entries that stay in RAM for readers who are close behind.
const KEPT: u64 = 102;

/// Largest number of an entry: its position in files is still a signed number.
const NUMBER_MAX: u64 = i64::MAX as u64 / UNIT_LEN as u64 - 1;
/// Bytes of the shortest record.
const RECORD_MIN: u64 = record::LEN_MIN as u64;

/// The changing part, behind a lock that is held for moments.
#[derive(Debug, Default)]
pub(crate) struct QueueState {
    /// Number of the next entry.
    pub(crate) end: u64,
    /// First byte of the log after the last entry's record.
    pub(crate) log_end: u64,
    tail: Tail,
    /// Entries below are in files.
    written: u64,
    /// Where the list of queues touched since the last write has this one: list and place.
    pub(crate) touched: (u64, usize),
}

impl QueueState {
    /// Asks for the place of the next entry.
    pub(crate) fn approach(&self) {
        self.tail.approach();
    }

    /// Adds the next entry.
    pub(crate) fn push(&mut self, unit: Unit) {
        self.tail.push(self.end, unit);
        self.end += 1;
        self.log_end = unit.end();
    }
}

/// What became of a record that was applied to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The queue had it.
    Known,
    /// It is there now.
    Added,
    /// Entries before it are missing.
    Gap,
    /// It is the first of a queue that has others: the topic was deleted and made again.
    Anew,
}

/// What every append touches stands together at the beginning: with thousands of queues each
/// cache line is fetched anew.
#[repr(C)]
pub(crate) struct Queue {
    pub(crate) key: QueueKey,
    state: Mutex<QueueState>,
    visible: AtomicU64,
    /// Entries below are in files; a copy for looking without the lock.
    written: AtomicU64,
    /// In the table's list of queues with entries to write.
    pub(crate) listed: AtomicBool,
    /// Entries hold delivery times instead of tag hashes.
    pub(crate) holds_times: bool,
    min: AtomicU64,
    /// Entries below were in files at the last sync.
    synced: AtomicU64,
    pub(crate) files: Mutex<QueueFiles>,
}

impl Queue {
    pub(crate) fn new(key: QueueKey) -> Self {
        Self {
            holds_times: key.topic == name::SCHEDULE_TOPIC,
            key,
            min: AtomicU64::new(0),
            visible: AtomicU64::new(0),
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            listed: AtomicBool::new(false),
            state: Mutex::default(),
            files: Mutex::default(),
        }
    }

    /// Asks for what an append touches: with thousands of queues it is far away.
    pub(crate) fn approach(self: &Arc<Self>) {
        // An `Arc` counts in the 16 bytes before what it holds.
        let counts = Arc::as_ptr(self).cast::<u8>().wrapping_sub(16);
        prefetch(counts, 16 + std::mem::offset_of!(Self, min));
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock()
    }

    /// Number of the first entry.
    pub(crate) fn min(&self) -> u64 {
        self.min.load(Ordering::Acquire).min(self.visible())
    }

    pub(crate) fn set_min(&self, min: u64) {
        self.min.store(min, Ordering::Release);
    }

    /// Number after the last entry that may be read.
    pub(crate) fn visible(&self) -> u64 {
        self.visible.load(Ordering::Acquire)
    }

    /// Number after the last entry that is in a file.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Number after the last entry that is synced.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Only entries below `end` are synced for certain.
    pub(crate) fn doubt_from(&self, context: &FileContext, end: u64) {
        if end < self.synced() {
            self.synced.store(end, Ordering::Release);
            self.files.lock().doubt_from(context, end * UNIT_LEN as u64);
        }
    }

    /// Syncs what is written. Tells its end, and whether directories above have to follow before
    /// it [counts](Self::set_synced).
    pub(crate) fn sync(self: &Arc<Self>, context: &FileContext) -> io::Result<(u64, bool)> {
        let mut files = self.files.lock();
        let written = self.written.load(Ordering::Relaxed);
        let fresh = !files.gone && files.sync(context, self)?;
        Ok((written, fresh))
    }

    /// Where it ends in its files, which a sync of the whole file system is about to make durable.
    pub(crate) fn leave_to_volume(&self) -> u64 {
        let mut files = self.files.lock();
        files.leave_to_volume();
        self.written.load(Ordering::Relaxed)
    }

    pub(crate) fn set_synced(&self, end: u64) {
        self.synced.store(end, Ordering::Release);
    }

    /// Lets entries below `end` be read. Called in order, by one thread at a time.
    pub(crate) fn publish(&self, end: u64) {
        if end > self.visible.load(Ordering::Relaxed) {
            self.visible.store(end, Ordering::Release);
        }
    }

    /// Whether a whole stretch waits to be written.
    pub(crate) fn is_full(&self) -> bool {
        self.visible() >= self.written.load(Ordering::Relaxed).saturating_add(STRETCH as u64)
    }

    /// Takes over what the files hold.
    pub(crate) fn restore(&self, end: u64, log_end: u64) {
        let mut state = self.state.lock();
        *state = QueueState { end, log_end, tail: Tail::at(end), written: end, touched: (0, 0) };
        self.written.store(end, Ordering::Relaxed);
        self.synced.store(end, Ordering::Release);
        self.visible.store(end, Ordering::Release);
    }

    /// Puts the record of a known place into the queue, as recovery and replicas do. Does nothing
    /// for what the queue has (INV-13). With `fill`, blanks stand for entries whose records are
    /// lost; an empty queue begins wherever its first record says.
    pub(crate) fn apply(&self, offset: QueueOffset, unit: Unit, fill: bool) -> Applied {
        let Some(number) = u64::try_from(offset.0).ok().filter(|number| *number <= NUMBER_MAX)
        else {
            return Applied::Known;
        };
        let mut state = self.state.lock();
        if unit.end() <= state.log_end {
            return Applied::Known;
        }
        if number < state.end {
            // Two records of one offset cannot both be had; the first has been read already.
            return if number == 0 { Applied::Anew } else { Applied::Known };
        }
        if number > state.end && !fill {
            return Applied::Gap;
        }
        if state.end == 0 {
            state.end = number;
            state.written = number;
            self.written.store(number, Ordering::Relaxed);
        }
        // No more can be lost than fits between the two records; anything else is no offset.
        if number - state.end > (unit.physical - state.log_end.min(unit.physical)) / RECORD_MIN {
            return Applied::Known;
        }
        while state.end < number {
            state.push(Unit::BLANK);
        }
        state.push(unit);
        let end = state.end;
        drop(state);
        self.publish(end);
        Applied::Added
    }

    /// Whether `count` entries from number `from` on can be read without waiting for the disk.
    pub(crate) fn is_cached(
        self: &Arc<Self>,
        context: &FileContext,
        from: u64,
        count: usize,
    ) -> io::Result<bool> {
        if from >= self.state.lock().tail.from() {
            return Ok(true);
        }
        let position = from.saturating_mul(UNIT_LEN as u64);
        self.files.lock().is_cached(context, self, position, count * UNIT_LEN)
    }

    /// Copies entries from number `from` on, as far as they are visible, fit, and lie in one
    /// place. Returns the bytes copied, 0 when the entries cannot be had.
    pub(crate) fn read(
        self: &Arc<Self>,
        context: &FileContext,
        from: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let to = self.visible().min(from.saturating_add((into.len() / UNIT_LEN) as u64));
        let len = usize::try_from(to.saturating_sub(from)).unwrap_or(0) * UNIT_LEN;
        let Some(into) = into.get_mut(..len).filter(|into| !into.is_empty()) else { return Ok(0) };
        let in_files = {
            let mut state = self.state.lock();
            let bytes = state.tail.bytes(from, to);
            if bytes.len() == len {
                into.copy_from_slice(bytes);
                return Ok(len);
            }
            state.written
        };
        let len = len.min(usize::try_from(in_files.saturating_sub(from)).unwrap_or(0) * UNIT_LEN);
        let Some(into) = into.get_mut(..len) else { return Ok(0) };
        self.files.lock().read(context, self, from.saturating_mul(UNIT_LEN as u64), into)
    }

    /// One entry.
    pub(crate) fn unit(
        self: &Arc<Self>,
        context: &FileContext,
        number: u64,
    ) -> io::Result<Option<Unit>> {
        let mut bytes = [0; UNIT_LEN];
        let len = self.read(context, number, &mut bytes)?;
        Ok(if len == UNIT_LEN { Unit::decode(&bytes) } else { None })
    }

    /// Writes all visible entries to the files.
    pub(crate) fn write(self: &Arc<Self>, context: &FileContext) -> io::Result<()> {
        let mut files = self.files.lock();
        let mut chunk = [0; STRETCH * UNIT_LEN];
        let per_file = context.file_len / UNIT_LEN as u64;
        while !files.gone {
            // Copied out, so that a slow disk does not hold the lock that appends need.
            let (from, len) = {
                let mut state = self.state.lock();
                let from = state.written;
                let file_end = (from / per_file + 1) * per_file;
                let to = self.visible().min(from + STRETCH as u64).min(file_end);
                let bytes = state.tail.bytes(from, to);
                chunk.get_mut(..bytes.len()).unwrap_or_default().copy_from_slice(bytes);
                (from, bytes.len())
            };
            let Some(bytes) = chunk.get(..len).filter(|bytes| !bytes.is_empty()) else { break };
            files.write(context, self, from * UNIT_LEN as u64, bytes)?;
            let mut state = self.state.lock();
            state.written = from + (len / UNIT_LEN) as u64;
            self.written.store(state.written, Ordering::Release);
            let keep = state.written.saturating_sub(KEPT);
            state.tail.keep_from(keep);
        }
        Ok(())
    }

    /// Gives back the RAM of a queue at rest.
    pub(crate) fn rest(&self) {
        let mut state = self.state.lock();
        if state.written == state.end {
            state.tail = Tail::at(state.end);
        }
    }

    /// Drops entries from number `end` on.
    pub(crate) fn cut(self: &Arc<Self>, context: &FileContext, end: u64) -> io::Result<()> {
        self.write(context)?;
        self.files.lock().cut(context, self, end * UNIT_LEN as u64)?;
        self.restore(end, 0);
        let last = match end.checked_sub(1) {
            Some(last) => self.unit(context, last)?,
            None => None,
        };
        self.restore(end, last.filter(|last| !last.is_blank()).map_or(0, Unit::end));
        Ok(())
    }
}
