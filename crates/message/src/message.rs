//! A message on its way in, and a stored message on its way out.

use std::net::SocketAddr;
use std::ops::Range;

use bytes::Bytes;
use compact_str::CompactString;

use crate::compression::{Codec, CodecError};
use crate::record::{RecordError, RecordView};
use crate::{
    MessageQueue, PhysicalOffset, Properties, QueueOffset, Timestamp, id, property, sys_flag,
};

/// A message as a producer makes it.
///
/// ```
/// use rmq_message::Message;
/// let message = Message::new("Orders", "paid").with_tag("eu").with_keys(["order-7"]);
/// assert_eq!(message.tag(), Some("eu"));
/// ```
#[doc(alias = "org.apache.rocketmq.common.message.Message")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic.
    pub topic: CompactString,
    /// Body.
    pub body: Bytes,
    /// A number of the application's, passed through.
    pub flag: i32,
    /// Properties, those of the system included.
    pub properties: Properties,
}

impl Message {
    /// A message with nothing but topic and body.
    pub fn new(topic: impl AsRef<str>, body: impl Into<Bytes>) -> Self {
        Self {
            topic: CompactString::new(topic),
            body: body.into(),
            flag: 0,
            properties: Properties::new(),
        }
    }

    /// Sets the tag.
    #[doc(alias = "setTags")]
    #[must_use]
    pub fn with_tag(mut self, tag: impl AsRef<str>) -> Self {
        self.properties.set(property::TAGS, tag);
        self
    }

    /// Sets the keys by which the message can be found.
    #[doc(alias = "setKeys")]
    #[must_use]
    pub fn with_keys<K: AsRef<str>>(mut self, keys: impl IntoIterator<Item = K>) -> Self {
        let keys: Vec<K> = keys.into_iter().collect();
        let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        self.properties.set(property::KEYS, keys.join(" "));
        self
    }

    /// Sets a property of the application's.
    #[doc(alias = "putUserProperty")]
    #[must_use]
    pub fn with_property(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.properties.set(name, value);
        self
    }

    /// Delivers the message after a delay level (1 = 1 s, 2 = 5 s, … 18 = 2 h by default).
    #[doc(alias = "setDelayTimeLevel")]
    #[must_use]
    pub fn with_delay_level(mut self, level: u32) -> Self {
        self.properties.set(property::DELAY, level.to_string());
        self
    }

    /// Gives the message a priority, from 0 on. It then goes to the queue of that number, or the
    /// last one, and those who pop a topic of the type `PRIORITY` get higher ones first. Messages
    /// with a delay or a sharding key, and half messages, have none.
    #[doc(alias = "setPriority")]
    #[must_use]
    pub fn with_priority(mut self, priority: u16) -> Self {
        self.properties.set(property::PRIORITY, priority.to_string());
        self
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.properties.get(property::TAGS)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.properties.get(property::KEYS).unwrap_or_default().split(' ').filter(|k| !k.is_empty())
    }

    /// The priority, if it has one.
    #[doc(alias = "getPriority")]
    pub fn priority(&self) -> Option<u32> {
        priority(&self.properties)
    }

    /// The delay level, 0 when there is none.
    pub fn delay_level(&self) -> i32 {
        self.properties.get(property::DELAY).and_then(|text| text.parse().ok()).unwrap_or(0)
    }
}

/// A stored message as a consumer sees it.
#[doc(alias = "MessageExt")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageView {
    /// Topic. For a retried message the one it was sent to, not the retry topic.
    pub topic: CompactString,
    /// Body, decompressed.
    pub body: Bytes,
    /// A number of the application's.
    pub flag: i32,
    /// Properties, those of the system included.
    pub properties: Properties,
    /// Broker that holds the message; empty when it is not known.
    pub broker_name: CompactString,
    /// Queue on that broker.
    pub queue_id: i32,
    /// Position in the queue.
    pub queue_offset: QueueOffset,
    /// Position in the broker's log.
    pub physical_offset: PhysicalOffset,
    /// System flags.
    pub sys_flag: i32,
    /// Earlier attempts: 0 at the first delivery.
    pub reconsume_times: i32,
    /// When the producer made it.
    pub born_timestamp: Timestamp,
    /// Where it came from.
    pub born_host: SocketAddr,
    /// When it was stored.
    pub store_timestamp: Timestamp,
    /// Where it was stored.
    pub store_host: SocketAddr,
    /// Position of the half message of a committed transaction.
    pub prepared_transaction_offset: i64,
    /// Bytes of the record it came in.
    pub stored_len: usize,
}

impl MessageView {
    /// Reads a stored record and decompresses its body to at most `body_len_max` bytes. The body
    /// shares the memory of `record` when it was not compressed.
    pub fn decode(record: &Bytes, body_len_max: usize) -> Result<Self, DecodeError> {
        let view = RecordView::parse(record)?;
        let (body, sys_flag) = if view.sys_flag & sys_flag::COMPRESSED != 0 {
            let body = Codec::of(view.sys_flag)?.decompress(view.body, body_len_max)?;
            (Bytes::from(body), view.sys_flag & !sys_flag::COMPRESSED)
        } else {
            let at: Range<usize> = view.body_at..view.body_at + view.body.len();
            (record.slice(at), view.sys_flag)
        };
        let properties = String::from_utf8_lossy(view.properties);
        Ok(Self {
            topic: CompactString::new(view.topic),
            body,
            flag: view.flag,
            properties: Properties::parse(&properties),
            broker_name: CompactString::default(),
            queue_id: view.queue_id,
            queue_offset: view.queue_offset,
            physical_offset: view.physical_offset,
            sys_flag,
            reconsume_times: view.reconsume_times,
            born_timestamp: view.born_timestamp,
            born_host: view.born_host,
            store_timestamp: view.store_timestamp,
            store_host: view.store_host,
            prepared_transaction_offset: view.prepared_transaction_offset,
            stored_len: view.total_len,
        })
    }

    /// The message's id: the unique one of its producer, else its place in the broker's log.
    #[doc(alias = "getMsgId")]
    pub fn id(&self) -> String {
        self.properties.get(property::UNIQ_KEY).map_or_else(|| self.offset_id(), ToOwned::to_owned)
    }

    /// The id made of the broker's address and the position in its log.
    #[doc(alias = "getOffsetMsgId")]
    pub fn offset_id(&self) -> String {
        id::offset_id(self.store_host, self.physical_offset)
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.properties.get(property::TAGS)
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.properties.get(property::KEYS).unwrap_or_default().split(' ').filter(|k| !k.is_empty())
    }

    /// The priority, if it has one.
    #[doc(alias = "getPriority")]
    pub fn priority(&self) -> Option<u32> {
        priority(&self.properties)
    }

    /// The queue that holds the message.
    pub fn queue(&self) -> MessageQueue {
        MessageQueue::new(&self.topic, &self.broker_name, self.queue_id)
    }
}

fn priority(properties: &Properties) -> Option<u32> {
    properties.get(property::PRIORITY)?.parse().ok()
}

/// Why a stored record is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The record is damaged.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The body cannot be decompressed.
    #[error(transparent)]
    Body(#[from] CodecError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{NewRecord, Placement, crc};

    fn stored(body: &[u8], sys_flag: i32) -> Bytes {
        let record = NewRecord {
            topic: "T",
            queue_id: 1,
            flag: 9,
            sys_flag,
            born_timestamp: Timestamp(1),
            born_host: "1.2.3.4:5".parse().unwrap(),
            store_host: "10.0.0.1:10911".parse().unwrap(),
            reconsume_times: 2,
            prepared_transaction_offset: 0,
            body,
            properties: b"KEYS\x01a b\x02",
            tags_code: 0,
        };
        let at = Placement {
            queue_offset: QueueOffset(4),
            physical_offset: PhysicalOffset(1000),
            store_timestamp: Timestamp(2),
        };
        let mut out = Vec::new();
        record.encode(&mut out, record.encoded_len().unwrap(), crc(body), at);
        out.into()
    }

    #[test]
    fn a_plain_body_is_not_copied() {
        let record = stored(b"hello", 0);
        let message = MessageView::decode(&record, 100).unwrap();
        assert_eq!(&message.body[..], b"hello");
        assert!(record.as_ptr_range().contains(&message.body.as_ptr()));
        assert_eq!(message.id(), "0A00000100002A9F00000000000003E8");
        assert_eq!(message.keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_priority_is_a_number_from_0_on() {
        let message = Message::new("T", "b");
        assert_eq!(message.priority(), None);
        assert_eq!(message.clone().with_priority(3).priority(), Some(3));
        assert_eq!(message.with_property("_SYS_MSG_PRIORITY_", "-1").priority(), None);
    }

    #[test]
    fn a_compressed_body_arrives_plain_and_unmarked() {
        let body = b"to be or not to be".repeat(10);
        let packed = Codec::Lz4.compress(&body, 5).unwrap();
        let message = MessageView::decode(&stored(&packed, Codec::Lz4.flags()), 1000).unwrap();
        assert_eq!(message.body, body);
        assert_eq!(message.sys_flag & sys_flag::COMPRESSED, 0);
        assert!(MessageView::decode(&stored(&packed, Codec::Lz4.flags()), 10).is_err());
    }
}
