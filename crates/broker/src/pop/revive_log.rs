//! The writing side of the revive topic: check points, and acks of what they hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rmq_message::record::NewRecord;
use rmq_message::{CompactString, Properties, Timestamp, java, name, property};
use rmq_remoting::json;
use rmq_runtime::Clock;
use rmq_store::{AppendError, AppendReceipt, QueueKey};

use super::check_point::{Ack, CHECK_POINT_TAG, CheckPoint};
use crate::append::Appender;
use crate::identity::Identity;

/// A check point's record is dated so much before its messages come again, ms: Apache's own reads
/// it then before their acks.
const LEAD: i64 = 1_000;

/// Writes.
pub(crate) struct ReviveLog {
    identity: Arc<Identity>,
    appender: Appender,
    clock: Arc<dyn Clock>,
    topic: CompactString,
    queues: i32,
    turns: AtomicU64,
}

/// What is written.
struct Line {
    body: bytes::Bytes,
    tag: &'static str,
    unique_key: String,
    /// When Apache's own reader is to see it, ms since 1970.
    deliver: i64,
}

impl ReviveLog {
    pub(crate) fn new(
        identity: Arc<Identity>,
        appender: Appender,
        clock: Arc<dyn Clock>,
        queues: i32,
    ) -> Self {
        let topic = CompactString::from(format!("{}{}", name::REVIVE_PREFIX, identity.cluster));
        Self { identity, appender, clock, topic, queues, turns: AtomicU64::new(0) }
    }

    /// Its queues.
    pub(crate) fn queues(&self) -> impl Iterator<Item = QueueKey> + use<'_> {
        (0..self.queues).map(|queue_id| QueueKey::new(&self.topic, queue_id))
    }

    /// The queue whose turn it is.
    pub(crate) fn any_queue(&self) -> i32 {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed);
        i32::try_from(turn % u64::from(self.queues.unsigned_abs().max(1))).unwrap_or(0)
    }

    /// Whether there is such a queue.
    pub(crate) fn has_queue(&self, queue_id: i32) -> bool {
        (0..self.queues).contains(&queue_id)
    }

    /// Stages a check point.
    pub(crate) fn check_point(
        &self,
        queue_id: i32,
        check_point: &CheckPoint,
    ) -> Result<AppendReceipt, AppendError> {
        let line = Line {
            body: json::to_bytes(check_point),
            tag: CHECK_POINT_TAG,
            unique_key: check_point.unique_key(),
            deliver: check_point.due().saturating_sub(LEAD),
        };
        self.stage(queue_id, &line)
    }

    /// Stages an ack; `due` is when its check point's messages come again.
    pub(crate) fn ack(
        &self,
        queue_id: i32,
        ack: &Ack,
        due: i64,
    ) -> Result<AppendReceipt, AppendError> {
        let line = Line {
            body: json::to_bytes(ack),
            tag: ack.tag(),
            unique_key: ack.unique_key(),
            deliver: due,
        };
        self.stage(queue_id, &line)
    }

    fn stage(&self, queue_id: i32, line: &Line) -> Result<AppendReceipt, AppendError> {
        let mut properties = Properties::new();
        properties.set(property::TAGS, line.tag);
        properties.set(property::UNIQ_KEY, &line.unique_key);
        properties.set(property::TIMER_DELIVER_MS, line.deliver.to_string());
        let text = properties.render();
        let queue = QueueKey::new(&self.topic, queue_id);
        let record = NewRecord {
            topic: &self.topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: Timestamp::from(self.clock.wall()),
            born_host: self.identity.address(),
            store_host: self.identity.address(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &line.body,
            properties: text.as_bytes(),
            tags_code: java::hash(line.tag).into(),
        };
        self.appender.stage(&queue, std::slice::from_ref(&record))
    }
}
