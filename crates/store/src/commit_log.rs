//! The commit log: all records of all topics in the order in which they came.
//!
//! [`writer`] stages records in memory under one short lock and hands out offsets; [`flush`] writes
//! what is staged, syncs it, and moves the two marks: *visible* (readers) and *durable* (power
//! loss). With `SYNC_FLUSH` they move together. [`recovery`] finds the end after a start.

mod checksum;
mod flush;
pub(crate) mod recovery;
pub(crate) mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rmq_message::{PhysicalOffset, Timestamp};
use rmq_runtime::{BoxFuture, Clock, Watermark, canary};

use crate::api::AppendError;
use crate::config::{Config, FlushDiskType};
use crate::consume_queue::QueueTable;
use crate::dispatch::DelayLevels;
use crate::gate::Gate;
use crate::segmented_log::{Segment, SegmentedLog};
use flush::{DiskSide, Wake};
use writer::Writer;

/// Sizes that appends are held to, in bytes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    body: usize,
    record: usize,
}

/// Where a log goes on: at `end`, which lies in `segment` or right behind it.
pub(crate) struct Recovered {
    pub(crate) segments: SegmentedLog,
    pub(crate) segment: Arc<Segment>,
    pub(crate) end: u64,
    pub(crate) last_timestamp: Timestamp,
    /// What is still to be made durable, by the first sync.
    pub(crate) unsynced: Option<Unsynced>,
}

/// What a start has found from `from` on, and nobody has synced. Up to `again` it is to be written
/// once more before, see [`recovery::make_durable`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unsynced {
    pub(crate) from: u64,
    pub(crate) again: u64,
}

pub(crate) struct CommitLog {
    mode: FlushDiskType,
    limits: Limits,
    delays: DelayLevels,
    /// Whether each record gets a checksum of all its bytes.
    seals: bool,
    clock: Arc<dyn Clock>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) queues: Arc<QueueTable>,
    pub(crate) segments: SegmentedLog,
    writer: Mutex<Writer>,
    disk_side: Mutex<DiskSide>,
    /// One sync at a time, so that who finds nothing to sync knows that all is synced.
    syncing: Mutex<()>,
    staged_end: AtomicU64,
    /// Where the log went on after the start: what is younger has been in memory.
    pub(crate) began: u64,
    /// Records before it can be read.
    pub(crate) visible: Arc<Watermark>,
    /// Records before it survive power loss.
    pub(crate) durable: Arc<Watermark>,
    wake: Wake,
}

impl CommitLog {
    pub(crate) fn new(
        config: &Config,
        clock: Arc<dyn Clock>,
        queues: Arc<QueueTable>,
        delays: DelayLevels,
        recovered: Recovered,
    ) -> Self {
        let Recovered { segments, segment, end, last_timestamp, unsynced } = recovered;
        let synced = unsynced.map_or(end, |unsynced| unsynced.from);
        Self {
            mode: config.flush_disk_type,
            limits: Limits {
                body: config.max_message_size,
                record: config.max_message_size + (64 << 10),
            },
            delays,
            seals: config.enabled_append_prop_crc,
            clock,
            gate: Arc::default(),
            queues,
            segments,
            writer: Mutex::new(Writer::new(segment, end)),
            disk_side: Mutex::new(DiskSide::new(end, last_timestamp, unsynced)),
            syncing: Mutex::new(()),
            staged_end: AtomicU64::new(end),
            began: end,
            visible: Watermark::new(end),
            durable: Watermark::new(synced),
            wake: Wake::default(),
        }
    }

    pub(crate) fn mode(&self) -> FlushDiskType {
        self.mode
    }

    pub(crate) fn staged_end(&self) -> u64 {
        self.staged_end.load(Ordering::Acquire)
    }

    /// Store time of the last written record.
    pub(crate) fn last_timestamp(&self) -> Timestamp {
        self.disk_side.lock().last_timestamp
    }

    /// A write or sync has failed: nothing is stored any more (INV-03).
    pub(crate) fn fail(&self, doing: &str, error: &std::io::Error) {
        let reason = format!("{doing}: {error}; check the disk, then start the broker again");
        tracing::error!(reason, "the commit log has failed and takes no more messages");
        self.gate.fail(&reason);
        self.visible.end(&reason);
        self.durable.end(&reason);
    }

    /// To be held while what is staged, written and synced does not fit together.
    fn fails_if_unwound(&self) -> FailsIfUnwound<'_> {
        FailsIfUnwound(self)
    }

    /// Ready when everything before `to` is as durable as configured.
    pub(crate) fn durable(
        &self,
        to: PhysicalOffset,
    ) -> BoxFuture<'static, Result<(), AppendError>> {
        match self.mode {
            FlushDiskType::Async => {
                let answer = match self.gate.fault() {
                    Some(reason) => Err(AppendError::ReadOnly { reason }),
                    None => Ok(()),
                };
                Box::pin(std::future::ready(answer))
            }
            FlushDiskType::Sync => {
                let (reached, gate) = (self.durable.reached(to.0), Arc::clone(&self.gate));
                Box::pin(async move {
                    reached.await.map_err(|ended| match gate.fault() {
                        Some(reason) => AppendError::ReadOnly { reason },
                        None if ended.reason.is_empty() => AppendError::Stopped,
                        None => AppendError::ReadOnly { reason: ended.reason },
                    })
                })
            }
        }
    }
}

/// Fails the log when a panic comes by: half of something may have been done (INV-17).
struct FailsIfUnwound<'a>(&'a CommitLog);

impl Drop for FailsIfUnwound<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !canary("RS-19 a panic leaves half a write") {
            self.0.fail("cannot store messages", &std::io::Error::other("a panic"));
        }
    }
}
