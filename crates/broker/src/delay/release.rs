//! Puts a message that has waited where it belongs.

use std::sync::Arc;

use rmq_message::record::{NewRecord, RecordView};
use rmq_message::{CompactString, PhysicalOffset, java, name, properties, property};
use rmq_store::{AppendError, QueueKey};

use crate::append::Appender;
use crate::identity::Identity;
use crate::topic_table::TopicTable;

/// The way out of waiting.
#[derive(Clone)]
pub(crate) struct Release {
    pub(crate) identity: Arc<Identity>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) appender: Appender,
}

impl Release {
    /// Stages a message in its true queue, with `properties` in place of its own; the end of what
    /// was staged, `None` when there is no place for the message any more.
    pub(crate) fn stage(
        &self,
        record: &RecordView<'_>,
        properties: &[u8],
    ) -> Result<Option<PhysicalOffset>, AppendError> {
        let Some((queue, tags_code)) = self.destination(record) else {
            let offset = record.physical_offset.0;
            tracing::warn!(offset, "a delayed message has no topic any more and is dropped");
            return Ok(None);
        };
        self.stage_in(&queue, tags_code, record, properties)
    }

    /// The same, in a given queue.
    pub(crate) fn stage_in(
        &self,
        queue: &QueueKey,
        tags_code: i64,
        record: &RecordView<'_>,
        properties: &[u8],
    ) -> Result<Option<PhysicalOffset>, AppendError> {
        let released = NewRecord {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            flag: record.flag,
            sys_flag: record.sys_flag,
            born_timestamp: record.born_timestamp,
            born_host: record.born_host,
            store_host: self.identity.address(),
            reconsume_times: record.reconsume_times,
            prepared_transaction_offset: 0,
            body: record.body,
            properties,
            tags_code,
        };
        match self.appender.stage(queue, std::slice::from_ref(&released)) {
            Ok(receipt) => Ok(Some(receipt.end)),
            // It will never fit, and must not hold up all others.
            Err(error @ (AppendError::TooLarge { .. } | AppendError::Unfit(_))) => {
                let offset = record.physical_offset.0;
                tracing::error!(offset, %error, "a delayed message cannot be delivered");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn destination(&self, record: &RecordView<'_>) -> Option<(QueueKey, i64)> {
        let of = |name| properties::find(record.properties, name);
        let topic = of(property::REAL_TOPIC)?;
        if matches!(topic, name::HALF_TOPIC | name::ROCKSDB_HALF_TOPIC | name::SCHEDULE_TOPIC) {
            return None;
        }
        let queues = self.topics.find(topic)?.queues().max(1);
        let queue_id: i32 = of(property::REAL_QUEUE_ID)?.parse().ok()?;
        // The topic may have fewer queues than when the message came.
        let queue_id = queue_id.rem_euclid(queues);
        Some((QueueKey { topic: CompactString::new(topic), queue_id }, tags_code(record)))
    }
}

/// What a queue entry says of the tag of a message.
pub(crate) fn tags_code(record: &RecordView<'_>) -> i64 {
    properties::find(record.properties, property::TAGS).map_or(0, |tag| java::hash(tag).into())
}
