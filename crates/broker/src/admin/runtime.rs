//! The state of this broker in words (28).
//!
//! Keys and forms are those of Apache RocketMQ 5.5: dashboards and exporters parse each of them.
//! Requests do not wait in queues of thread pools here, so those are always empty; their capacities
//! are Apache's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rmq_message::record::RecordView;
use rmq_message::{PhysicalOffset, Timestamp, name};
use rmq_remoting::protocol::kv::KvTable;
use rmq_remoting::{Reply, Response};
use rmq_runtime::{Clock, Disk, Monotonic, Tasks};
use rmq_store::{MessageStore, QueueKey, StoreAdmin};

use crate::delay::{DelayProgress, Levels};
use crate::hold::HoldService;
use crate::processor::offset::blocking;
use crate::stats::{Count, Stats};
use crate::timer::Board;

/// Serves them.
#[derive(Clone)]
pub(crate) struct RuntimeAdmin {
    pub(crate) holds: Arc<HoldService>,
    pub(crate) delays: Arc<DelayProgress>,
    pub(crate) levels: Levels,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) admin: Arc<dyn StoreAdmin>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) started: Started,
    /// None when nothing is timed.
    pub(crate) timers: Option<Arc<Board>>,
    /// Sends are refused before this moment, ms since 1970.
    pub(crate) accept_from: i64,
}

/// When the broker has started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Monotonic,
}

type Rows = BTreeMap<String, String>;

impl RuntimeAdmin {
    /// The state of this broker (28).
    pub(crate) fn describe(&self) -> Reply {
        let this = self.clone();
        blocking(self.tasks.clone(), move || {
            let mut rows = this.work();
            rows.extend(this.files());
            rows.extend(pools());
            rows.extend(this.waiting());
            let table = rows.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
            Response::of(&KvTable { table })
        })
    }

    /// What it has done.
    fn work(&self) -> Rows {
        let up = self.clock.monotonic().since(self.started.monotonic).as_secs();
        let count = |kind| self.stats.get(kind);
        let rates = |kinds: &[Count]| self.stats.rates(kinds);
        let mornings = self.stats.mornings();
        let (puts, bytes) = (count(Count::Put), count(Count::PutBytes));
        #[expect(clippy::cast_precision_loss, reason = "an average for people")]
        let average = if puts > 0 { bytes as f64 / puts as f64 } else { 0.0 };
        rows([
            ("brokerActive", self.admin.health().writable.to_string()),
            ("brokerVersionDesc", "V5_5_0".to_owned()),
            // Apache has dropped it, and its exporter reads it still.
            ("brokerVersion", rmq_remoting::VERSION.to_string()),
            ("bootTimestamp", self.started.wall.to_string()),
            (
                "runtime",
                format!(
                    "[ {} days, {} hours, {} minutes, {} seconds ]",
                    up / 86_400,
                    up / 3_600 % 24,
                    up / 60 % 60,
                    up % 60
                ),
            ),
            ("startAcceptSendRequestTimeStamp", self.accept_from.to_string()),
            ("msgPutTotalYesterdayMorning", mornings.yesterday.0.to_string()),
            ("msgPutTotalTodayMorning", mornings.today.0.to_string()),
            ("msgPutTotalTodayNow", count(Count::PutByUsers).to_string()),
            ("msgGetTotalYesterdayMorning", mornings.yesterday.1.to_string()),
            ("msgGetTotalTodayMorning", mornings.today.1.to_string()),
            ("msgGetTotalTodayNow", count(Count::GotByUsers).to_string()),
            ("putMessageTimesTotal", puts.to_string()),
            ("putMessageFailedTimes", count(Count::PutFailed).to_string()),
            ("putMessageSizeTotal", bytes.to_string()),
            ("putMessageAverageSize", format!("{average:?}")),
            // Not measured; the exporter knows this word.
            ("putMessageDistributeTime", "null".to_owned()),
            ("putMessageEntireTimeMax", "0".to_owned()),
            ("putLatency99", "0.00".to_owned()),
            ("putLatency999", "0.00".to_owned()),
            ("getMessageEntireTimeMax", self.stats.longest_read().as_millis().to_string()),
            ("putTps", rates(&[Count::Put])),
            ("getFoundTps", rates(&[Count::Found])),
            ("getMissTps", rates(&[Count::Miss])),
            ("getTotalTps", rates(&[Count::Found, Count::Miss])),
            ("getTransferredTps", rates(&[Count::Transferred])),
            ("heldPulls", self.holds.held().to_string()),
        ])
    }

    /// Where its files stand.
    fn files(&self) -> Rows {
        let status = self.admin.status();
        let ratio = format!("{:.2}", status.disk_used);
        let mut rows = rows([
            ("dispatchBehindBytes", (status.max_physical - status.indexed_end).to_string()),
            ("dispatchMaxBuffer", "0".to_owned()),
            ("remainHowManyDataToFlush", bytes(status.staged_end - status.durable_end)),
            ("remainTransientStoreBufferNumbs", i32::MAX.to_string()),
            ("pageCacheLockTimeMills", "0".to_owned()),
            ("earliestMessageTimeStamp", self.earliest(status.min_physical).to_string()),
            ("commitLogMinOffset", status.min_physical.to_string()),
            ("commitLogMaxOffset", status.max_physical.to_string()),
            ("commitLogDiskRatio", ratio.clone()),
            ("consumeQueueDiskRatio", ratio.clone()),
        ]);
        let log = self.dir.join("commitlog");
        rows.insert(format!("commitLogDiskRatio_{}", log.display()), ratio);
        if let Ok(usage) = self.disk.usage(&self.dir) {
            let capacity = format!("Total : {}, Free : {}.", bytes(usage.total), bytes(usage.free));
            rows.insert("commitLogDirCapacity".to_owned(), capacity);
        }
        rows
    }

    /// Store time of the first message; -1 without one.
    fn earliest(&self, first: PhysicalOffset) -> Timestamp {
        let record = self.store.message_at(first).ok();
        let record = record.as_deref().and_then(|record| RecordView::parse(record).ok());
        record.map_or(Timestamp(-1), |record| record.store_timestamp)
    }

    /// Messages that wait for their time.
    fn waiting(&self) -> Rows {
        let timed = self.timers.as_ref().map_or(0, |board| board.counts.lock().total());
        let mut rows = rows([
            ("timerReadBehind", "0".to_owned()),
            ("timerOffsetBehind", "0".to_owned()),
            ("timerCongestNum", timed.to_string()),
            ("timerEnqueueTps", "0.0".to_owned()),
            ("timerDequeueTps", "0.0".to_owned()),
        ]);
        for (level, _) in self.levels.iter() {
            let queue = QueueKey::new(name::SCHEDULE_TOPIC, level - 1);
            let max = self.store.offsets(&queue).end;
            let key = format!("scheduleMessageOffset_{level}");
            rows.insert(key, format!("{},{max}", self.delays.get(level)));
        }
        rows
    }
}

fn rows<const N: usize>(rows: [(&str, String); N]) -> Rows {
    rows.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// Queues of thread pools: there are none, so nothing waits in them.
fn pools() -> Rows {
    let mut rows = Rows::new();
    for (pool, capacity) in [
        ("send", 10_000),
        ("pull", 100_000),
        ("litePull", 100_000),
        ("query", 20_000),
        ("ack", 100_000),
    ] {
        rows.insert(format!("{pool}ThreadPoolQueueSize"), "0".to_owned());
        rows.insert(format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), "0".to_owned());
        rows.insert(format!("{pool}ThreadPoolQueueCapacity"), capacity.to_string());
    }
    rows.insert("EndTransactionQueueSize".to_owned(), "0".to_owned());
    rows.insert("EndTransactionThreadPoolQueueCapacity".to_owned(), "100000".to_owned());
    rows
}

/// Bytes as people read them: `511 B`, `4.7 KiB`, `252.0 GiB`.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS.get(unit).copied().unwrap_or("EiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_read_as_apache_writes_them() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (4813, "4.7 KiB"),
            (252 << 30, "252.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
