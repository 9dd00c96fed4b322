//! How many timed messages wait, by topic: request 61 and the file `config/timermetrics`.
//!
//! The timer log is the truth. A start counts its entries again and takes from the file only the
//! names of topics, of which the log has but the hash.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use rmq_message::{CompactString, PhysicalOffset, Timestamp, java};
use rmq_remoting::json;
use rmq_remoting::protocol::register::DataVersion;
use rmq_remoting::protocol::stats::{TimerMetric, TimerMetrics};
use rmq_runtime::{Disk, state_file};

use super::unit::Unit;
use crate::limits::TOPICS_MAX;

/// Name of the file.
const FILE: &str = "timermetrics";

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// By the hash of the topic, as the log has it.
    rows: HashMap<i32, Row>,
    version: DataVersion,
}

#[derive(Debug)]
struct Row {
    topic: CompactString,
    waiting: TimerMetric,
}

/// Entries that wait at a start: how many, and a message of theirs, by the hash of the topic.
#[derive(Debug, Default)]
pub(super) struct Tally(HashMap<i32, (i64, PhysicalOffset)>);

impl Tally {
    pub(super) fn put(&mut self, unit: &Unit) {
        self.0.entry(unit.topic_hash).or_insert((0, unit.message)).0 += weight(unit);
    }
}

/// What an entry counts: one that takes another back makes up for it.
fn weight(unit: &Unit) -> i64 {
    if unit.takes_back { -1 } else { 1 }
}

impl Counts {
    /// The counts of the log; `topic_of` tells the topic of a message.
    pub(super) fn open(
        disk: &dyn Disk,
        dir: &Path,
        tally: Tally,
        topic_of: impl Fn(PhysicalOffset) -> Option<CompactString>,
    ) -> Self {
        let read = |text: bytes::Bytes| json::from_slice::<TimerMetrics>(&text);
        let loaded = state_file::load(disk, &dir.join(FILE), read);
        let file = loaded.map(state_file::Loaded::into_value).unwrap_or_else(|error| {
            tracing::warn!(%error, "the counts of timed messages are made anew");
            None
        });
        let file = file.unwrap_or_default();
        let known = file.timing_count.into_iter().map(|(topic, known)| {
            (java::hash(&topic), Row { topic, waiting: TimerMetric { count: 0, ..known } })
        });
        let mut counts = Self { rows: known.collect(), version: file.data_version };
        for (hash, (count, message)) in tally.0 {
            if let Some(row) = counts.row(hash, || topic_of(message)) {
                row.waiting.count = count;
            }
        }
        counts
    }

    /// An entry has come, of a message of that topic.
    pub(super) fn came(&mut self, unit: &Unit, topic: &str, now: Timestamp) {
        self.add(unit.topic_hash, weight(unit), now, || Some(topic.into()));
    }

    /// An entry is done.
    pub(super) fn done(&mut self, unit: &Unit, now: Timestamp) {
        self.add(unit.topic_hash, -weight(unit), now, || None);
    }

    fn add(
        &mut self,
        hash: i32,
        weight: i64,
        now: Timestamp,
        topic: impl FnOnce() -> Option<CompactString>,
    ) {
        let Some(row) = self.row(hash, topic) else { return };
        row.waiting.count = row.waiting.count.saturating_add(weight);
        row.waiting.time_stamp = now.0;
        self.version.counter = self.version.counter.saturating_add(1);
        self.version.timestamp = now.0;
    }

    /// The row of a hash; a new one when its topic can be told and there is room.
    fn row(
        &mut self,
        hash: i32,
        topic: impl FnOnce() -> Option<CompactString>,
    ) -> Option<&mut Row> {
        if !self.rows.contains_key(&hash) {
            if self.rows.len() >= TOPICS_MAX {
                self.rows.retain(|_, row| row.waiting.count != 0);
            }
            if self.rows.len() >= TOPICS_MAX {
                return None;
            }
            let row = Row { topic: topic()?, waiting: TimerMetric::default() };
            self.rows.insert(hash, row);
        }
        self.rows.get_mut(&hash)
    }

    /// How many wait in all.
    pub(crate) fn total(&self) -> i64 {
        self.rows.values().fold(0, |total, row| total.saturating_add(row.waiting.count))
    }

    /// They, as they are told and kept.
    pub(crate) fn metrics(&self) -> TimerMetrics {
        let rows = self.rows.values().map(|row| (row.topic.clone(), row.waiting));
        TimerMetrics { data_version: self.version, timing_count: rows.collect() }
    }
}

/// Keeps them for the next start.
pub(super) fn save(disk: &dyn Disk, dir: &Path, metrics: &TimerMetrics) -> io::Result<()> {
    state_file::save(disk, &dir.join(FILE), &json::to_bytes(metrics))
}
