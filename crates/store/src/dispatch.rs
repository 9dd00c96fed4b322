//! Follows the log and applies every record to what is derived from it: consume queues in
//! recovery (appends do it inline, with the same bytes), the key index always.

use std::time::Duration;

use rmq_message::record::RecordView;
use rmq_message::{
    CompactString, QueueOffset, Timestamp, java, name, properties, property, sys_flag,
};

use crate::api::QueueKey;
use crate::commit_log::writer::is_queued;
use crate::consume_queue::Unit;

/// Delays of levels 1, 2, ….
#[derive(Clone, Debug)]
pub(crate) struct DelayLevels(pub(crate) Vec<Duration>);

impl DelayLevels {
    /// What an entry of the schedule topic holds instead of a tag's hash: the time of delivery.
    pub(crate) fn delivery_time(&self, properties: &[u8], stored: Timestamp) -> Option<i64> {
        let level: i64 = properties::find(properties, property::DELAY)?.parse().ok()?;
        let level = usize::try_from(level).ok()?.min(self.0.len());
        let delay = self.0.get(level.checked_sub(1)?)?;
        Some((stored + i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)).0)
    }
}

/// Where a record belongs: its queue, its place there, and the entry. `None` for records without
/// an entry: half messages, and inner batches, whose queues have another form.
pub(crate) fn entry(
    record: &RecordView<'_>,
    delays: &DelayLevels,
) -> Option<(QueueKey, QueueOffset, Unit)> {
    if !is_queued(record.sys_flag) || record.sys_flag & sys_flag::INNER_BATCH != 0 {
        return None;
    }
    let tag = || record.property(property::TAGS).map_or(0, |tag| i64::from(java::hash(tag)));
    let tags_code = if record.topic == name::SCHEDULE_TOPIC {
        delays.delivery_time(record.properties, record.store_timestamp).unwrap_or_else(tag)
    } else {
        tag()
    };
    let unit = Unit {
        physical: record.physical_offset.0,
        size: u32::try_from(record.total_len).ok()?,
        tags_code,
    };
    let key = QueueKey { topic: CompactString::new(record.topic), queue_id: record.queue_id };
    Some((key, record.queue_offset, unit))
}
