//! Values for tests.

use bytes::Bytes;
use rmq_message::{MessageView, PhysicalOffset, Properties, QueueOffset, Timestamp};

/// A stored message of queue 0 at broker `b`.
pub(crate) fn message(topic: &str, offset: i64, body: &[u8]) -> MessageView {
    MessageView {
        topic: topic.into(),
        body: Bytes::copy_from_slice(body),
        flag: 0,
        properties: Properties::new(),
        broker_name: "b".into(),
        queue_id: 0,
        queue_offset: QueueOffset(offset),
        physical_offset: PhysicalOffset::from_i64(offset * 100).unwrap(),
        sys_flag: 0,
        reconsume_times: 0,
        born_timestamp: Timestamp(1),
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_timestamp: Timestamp(2),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        prepared_transaction_offset: 0,
        stored_len: 100,
    }
}
