//! Messages with a delay level: they wait in `SCHEDULE_TOPIC_XXXX`, one queue for each level, and
//! are put where they belong when their time has come.
//!
//! One task for each level, woken by arrivals and by time; how far each has come is kept in
//! `delayOffset.json`. After a crash some messages are delivered twice, none is lost (INV-34). A
//! message whose topic was deleted meanwhile is dropped (INV-35).

mod due;
mod levels;
mod release;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use rmq_message::record::RecordView;
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp, name};
use rmq_remoting::protocol::register::DataVersion;
use rmq_runtime::{Clock, ClockExt, Stop};
use rmq_store::{MessageStore, QueueKey, ReadRequest, ReadStatus};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub(crate) use levels::Levels;
pub(crate) use release::{Release, tags_code};

use crate::cold::ColdReads;
use crate::document::{self, Changes, Document};
use due::DueTimes;

/// Messages that one pass delivers before it waits for the store.
const BATCH: usize = 32;
/// Wait after a failure; doubled with each one that follows.
const RETRY: Duration = Duration::from_millis(100);
/// Longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Wait for the next arrival, which is only a hint.
const IDLE: Duration = Duration::from_secs(5);

/// Name of the file.
pub(crate) const FILE: &str = "delayOffset.json";

/// How far each level has come.
#[derive(Debug, Default)]
pub(crate) struct DelayProgress {
    file: Mutex<ProgressFile>,
    changes: Changes,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProgressFile {
    data_version: DataVersion,
    offset_table: BTreeMap<i32, i64>,
}

impl DelayProgress {
    pub(crate) fn open(files: &document::Files) -> std::io::Result<Self> {
        let file = files.load::<ProgressFile>(FILE)?.unwrap_or_default();
        Ok(Self { file: Mutex::new(file), changes: Changes::default() })
    }

    pub(crate) fn get(&self, level: i32) -> i64 {
        self.file.lock().offset_table.get(&level).copied().unwrap_or(0)
    }

    fn set(&self, level: i32, offset: QueueOffset, now: Timestamp) {
        let mut file = self.file.lock();
        file.offset_table.insert(level, offset.0);
        file.data_version = document::next_version(file.data_version, now);
        drop(file);
        self.changes.note_quietly();
    }

    /// The document as one answer.
    pub(crate) fn document(&self) -> Bytes {
        rmq_remoting::json::to_bytes(&*self.file.lock())
    }
}

impl Document for DelayProgress {
    fn file(&self) -> &'static str {
        FILE
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn render(&self) -> Vec<u8> {
        document::render(&*self.file.lock())
    }
}

/// Rings when something has come to a level.
#[derive(Debug)]
pub(crate) struct Bells(Vec<Notify>);

impl Bells {
    pub(crate) fn new(levels: &Levels) -> Self {
        Self(levels.iter().map(|_| Notify::new()).collect())
    }

    /// The queue of the schedule topic that has grown.
    pub(crate) fn ring(&self, queue_id: i32) {
        let bell = usize::try_from(queue_id).ok().and_then(|index| self.0.get(index));
        if let Some(bell) = bell {
            bell.notify_one();
        }
    }

    async fn rung(&self, level: i32) {
        let index = level.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.0.get(index)) {
            Some(bell) => bell.notified().await,
            None => std::future::pending().await,
        }
    }
}

/// Delivers.
pub(crate) struct DelayDelivery {
    pub(crate) progress: Arc<DelayProgress>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) release: Release,
    pub(crate) bells: Arc<Bells>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What to do after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// There may be more.
    Again,
    /// Nothing is there.
    Idle,
    /// The first one has to wait that long.
    Wait(Duration),
}

impl DelayDelivery {
    /// Delivers the messages of a level until it is time to stop.
    pub(crate) async fn run(self: Arc<Self>, level: i32, delay: Duration, stop: Stop) {
        let mut due = DueTimes::new(delay);
        let mut retry = RETRY;
        loop {
            let next = match self.pass(level, &mut due).await {
                Ok(next) => {
                    retry = RETRY;
                    next
                }
                Err(why) => {
                    tracing::warn!(level, why, "delayed messages wait for another try");
                    let wait = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    Next::Wait(wait)
                }
            };
            let wait = async {
                match next {
                    Next::Again => tokio::task::yield_now().await,
                    Next::Wait(wait) => self.clock.sleep(wait).await,
                    Next::Idle => tokio::select! {
                        biased;
                        () = self.bells.rung(level) => {}
                        () = self.clock.sleep(IDLE) => {}
                    },
                }
            };
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = wait => {}
            }
        }
    }

    /// Delivers what is due, at most one batch.
    async fn pass(&self, level: i32, due: &mut DueTimes) -> Result<Next, String> {
        let queue = QueueKey::new(name::SCHEDULE_TOPIC, level.saturating_sub(1));
        let range = self.store.offsets(&queue);
        // A file older or newer than the log counts only inside it.
        let known = QueueOffset(self.progress.get(level));
        let from = known.max(range.start).min(range.end);
        if from >= range.end {
            return Ok(Next::Idle);
        }
        due.seen(from, range.end, self.clock.monotonic());
        let request =
            ReadRequest { queue: &queue, offset: from, count_max: BATCH, bytes_max: 4 << 20 };
        let outcome = self.cold.read(&request).await.map_err(|error| error.to_string())?;
        let now = Timestamp::from(self.clock.wall());
        match outcome.status {
            ReadStatus::Found => {}
            ReadStatus::MessageWasRemoving | ReadStatus::OffsetTooSmall
                if outcome.next_offset > from =>
            {
                self.progress.set(level, outcome.next_offset, now);
                return Ok(Next::Again);
            }
            status => return Err(format!("read ended with {status:?} at {from}")),
        }
        let mut delivered = Delivered { next: from, end: None };
        let wait = self.deliver_due(outcome.records, due, &mut delivered)?;
        if let Some(end) = delivered.end {
            self.release.appender.settled(end).await.map_err(|error| error.to_string())?;
        }
        if delivered.next > from {
            self.progress.set(level, delivered.next, now);
        }
        Ok(wait.map_or(Next::Again, Next::Wait))
    }

    /// Stages records until one must wait; how long, if one must.
    fn deliver_due(
        &self,
        slices: Vec<Bytes>,
        due: &DueTimes,
        delivered: &mut Delivered,
    ) -> Result<Option<Duration>, String> {
        for mut slice in slices {
            while !slice.is_empty() {
                let record = RecordView::parse(&slice).map_err(|error| error.to_string())?;
                let (wall, now) = (Timestamp::from(self.clock.wall()), self.clock.monotonic());
                let wait = due.wait(record.store_timestamp, record.queue_offset, wall, now);
                if !wait.is_zero() {
                    return Ok(Some(wait));
                }
                match self.release.stage(&record, record.properties) {
                    Ok(end) => delivered.end = end.or(delivered.end),
                    // What was staged before is kept; this one comes again.
                    Err(_) if delivered.end.is_some() => return Ok(Some(RETRY)),
                    Err(error) => return Err(error.to_string()),
                }
                delivered.next = record.queue_offset + 1;
                let len = record.total_len;
                slice.advance(len.min(slice.len()));
            }
        }
        Ok(None)
    }
}

/// How far a pass has come.
struct Delivered {
    next: QueueOffset,
    /// End of what was staged.
    end: Option<PhysicalOffset>,
}
