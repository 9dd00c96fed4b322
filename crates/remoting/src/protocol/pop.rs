//! Pop consumption: take (200050), acknowledge (200051), prolong (200053), be told (200054).

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body};

header! {
    /// Takes messages and hides them for a while (200050); codes 0, 209, 210.
    #[doc(alias = "PopMessageRequestHeader")]
    pub struct PopMessage {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
        /// Topic.
        topic: CompactString = "topic",
        /// Queue; −1 for any.
        queue_id: i32 = "queueId" or 0,
        /// Most messages wanted.
        max_msg_nums: i32 = "maxMsgNums" or 0,
        /// Ms before messages come again.
        invisible_time: i64 = "invisibleTime" or 0,
        /// Ms that the broker may hold the request.
        poll_time: i64 = "pollTime" or 0,
        /// When the request was made, ms since 1970; 0: now.
        born_time: i64 = "bornTime" or 0,
        /// Where a new group begins: 0 at the beginning, 1 at the end.
        init_mode: i32 = "initMode" or 0,
        /// `TAG` or `SQL92`.
        expression_type: Option<CompactString> = "expType",
        /// Expression.
        expression: Option<CompactString> = "exp",
        /// Whether messages of a queue come one after the other.
        order: Option<bool> = "order",
        /// Same in each try of one call.
        attempt_id: Option<CompactString> = "attemptId",
    }

    /// Answer to a pop; the body is the stored messages.
    #[doc(alias = "PopMessageResponseHeader")]
    pub struct PopResponse {
        /// When the messages were taken, ms since 1970.
        pop_time: i64 = "popTime",
        /// Ms before they come again.
        invisible_time: i64 = "invisibleTime",
        /// Queue of the revive topic.
        revive_queue_id: i32 = "reviveQid" or 0,
        /// Messages left, about.
        rest_num: i64 = "restNum" or 0,
        /// First position by queue.
        start_offset_info: Option<CompactString> = "startOffsetInfo",
        /// Positions by queue.
        msg_offset_info: Option<CompactString> = "msgOffsetInfo",
        /// Deliveries by queue.
        order_count_info: Option<CompactString> = "orderCountInfo",
    }

    /// Looks at what there is to take (200052); codes 0, 19. Answered as a pop.
    #[doc(alias = "PeekMessageRequestHeader")]
    pub struct PeekMessage {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
        /// Topic.
        topic: CompactString = "topic",
        /// Queue; −1 for any.
        queue_id: i32 = "queueId" or 0,
        /// Most messages wanted.
        max_msg_nums: i32 = "maxMsgNums" or 0,
    }

    /// Acknowledges one message (200051).
    #[doc(alias = "AckMessageRequestHeader")]
    pub struct AckMessage {
        /// Group.
        consumer_group: CompactString = "consumerGroup" or "",
        /// Topic.
        topic: CompactString = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Receipt.
        extra_info: CompactString = "extraInfo",
        /// Position.
        offset: i64 = "offset",
    }

    /// Changes when a message comes again (200053).
    #[doc(alias = "ChangeInvisibleTimeRequestHeader")]
    pub struct ChangeInvisibleTime {
        /// Group.
        consumer_group: CompactString = "consumerGroup" or "",
        /// Topic.
        topic: CompactString = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Receipt.
        extra_info: CompactString = "extraInfo",
        /// Position.
        offset: i64 = "offset",
        /// Ms before it comes again.
        invisible_time: i64 = "invisibleTime",
        /// Whether the delivery does not count.
        suspend: Option<bool> = "suspend",
    }

    /// Answer: the new receipt's parts.
    #[doc(alias = "ChangeInvisibleTimeResponseHeader")]
    pub struct ChangeInvisibleTimeResponse {
        /// When it was changed, ms since 1970.
        pop_time: i64 = "popTime",
        /// Ms before it comes again.
        invisible_time: i64 = "invisibleTime",
        /// Queue of the revive topic.
        revive_queue_id: i32 = "reviveQid",
    }

    /// Asks to be told when there are messages (200054).
    #[doc(alias = "NotificationRequestHeader")]
    pub struct Notification {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
        /// Topic.
        topic: CompactString = "topic",
        /// Queue; −1 for any.
        queue_id: i32 = "queueId" or 0,
        /// Ms that the broker may hold the request.
        poll_time: i64 = "pollTime" or 0,
        /// When the request was made, ms since 1970; 0: now.
        born_time: i64 = "bornTime" or 0,
        /// Whether messages of a queue come one after the other.
        order: Option<bool> = "order",
        /// Same in each try of one call.
        attempt_id: Option<CompactString> = "attemptId",
        /// `TAG` or `SQL92`.
        expression_type: Option<CompactString> = "expType",
        /// Expression.
        expression: Option<CompactString> = "exp",
    }

    /// Answer to a notification.
    #[doc(alias = "NotificationResponseHeader")]
    pub struct NotificationResponse {
        /// Whether there are messages.
        has_msg: bool = "hasMsg" or false,
        /// Whether too many are waiting.
        polling_full: Option<bool> = "pollingFull",
    }
}

header! {
    /// Asks how many pops wait (200055).
    #[doc(alias = "PollingInfoRequestHeader")]
    pub struct PollingCount {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
        /// Topic.
        topic: CompactString = "topic",
        /// Queue; −1 for those that wait for any.
        queue_id: i32 = "queueId" or 0,
    }

    /// Answer: how many wait.
    #[doc(alias = "PollingInfoResponseHeader")]
    pub struct PollingCountResponse {
        /// How many.
        polling_count: i32 = "pollingNum",
    }
}

/// Acknowledges many messages (200151).
#[doc(alias = "BatchAckMessageRequestBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BatchAckMessage {
    /// By check point.
    pub acks: Vec<BatchAck>,
    /// Broker that is meant.
    pub broker_name: CompactString,
}

/// Messages of one check point.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchAck {
    /// Bits counted from the first offset, as bytes in Base64, the lowest first.
    #[serde(rename = "b", alias = "bitSet")]
    pub bits: CompactString,
    /// Group.
    #[serde(rename = "c", alias = "consumerGroup")]
    pub consumer_group: CompactString,
    /// Ms before messages come again.
    #[serde(rename = "it", alias = "invisibleTime")]
    pub invisible_time: i64,
    /// When they were taken, ms since 1970.
    #[serde(rename = "pt", alias = "popTime")]
    pub pop_time: i64,
    /// Queue.
    #[serde(rename = "q", alias = "queueId")]
    pub queue_id: i32,
    /// `0` from the topic, `1` or `2` from a retry topic.
    #[serde(rename = "r", alias = "retry")]
    pub retry: CompactString,
    /// Queue of the revive topic.
    #[serde(rename = "rq", alias = "reviveQueueId")]
    pub revive_queue_id: i32,
    /// First offset of the pop.
    #[serde(rename = "so", alias = "startOffset")]
    pub start_offset: i64,
    /// Topic.
    #[serde(rename = "t", alias = "topic")]
    pub topic: CompactString,
}

impl BatchAck {
    /// Offsets counted from the first one, at most so many; `None` when the text is no Base64.
    pub fn positions(&self, count_max: usize) -> Option<Vec<i64>> {
        let bytes = base64::decode(&self.bits)?;
        let bits = bytes.iter().enumerate().flat_map(|(index, byte)| {
            let first = i64::try_from(index).unwrap_or(i64::MAX / 8).saturating_mul(8);
            (0..8_u8)
                .filter(move |bit| byte & (1 << bit) != 0)
                .map(move |bit| first + i64::from(bit))
        });
        Some(bits.take(count_max).collect())
    }
}

json_body!(BatchAckMessage);

conversation! {
    PollingCount = POLLING_INFO => PollingCountResponse;
    BatchAckMessage = BATCH_ACK_MESSAGE => ();
    PopMessage = POP_MESSAGE => (PopResponse, Bytes);
    PeekMessage = PEEK_MESSAGE => (PopResponse, Bytes);
    AckMessage = ACK_MESSAGE => ();
    ChangeInvisibleTime = CHANGE_MESSAGE_INVISIBLETIME => ChangeInvisibleTimeResponse;
    Notification = NOTIFICATION => NotificationResponse;
}

/// RFC 4648 with the ordinary alphabet, with or without padding.
mod base64 {
    /// The bytes; `None` at the first character that is none of the alphabet.
    pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
        let (mut held, mut bits) = (0_u32, 0_u32);
        for letter in text.trim_end_matches('=').bytes() {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            held = (held << 6 | u32::from(value)) & 0xFFFF;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                bytes.push(u8::try_from(held >> bits & 0xFF).ok()?);
            }
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_a_batch_are_positions() {
        let of = |bits: &str| BatchAck { bits: bits.into(), ..BatchAck::default() }.positions(9);
        assert_eq!(of("Aw=="), Some(vec![0, 1]));
        assert_eq!(of("AIA"), Some(vec![15]));
        assert_eq!(of(""), Some(vec![]));
        assert_eq!(of("////"), Some((0..9).collect()));
        assert_eq!(of("ä"), None);
    }

    #[test]
    fn long_and_short_names_of_a_batch_are_read() {
        let short = br#"{"acks":[{"b":"Aw==","c":"g","it":1,"pt":2,"q":3,"r":"0","rq":4,"so":5,"t":"T"}],"brokerName":"b"}"#;
        let long = br#"{"acks":[{"bitSet":"Aw==","consumerGroup":"g","invisibleTime":1,"popTime":2,"queueId":3,"retry":"0","reviveQueueId":4,"startOffset":5,"topic":"T"}],"brokerName":"b"}"#;
        let read = |text: &[u8]| crate::json::from_slice::<BatchAckMessage>(text).unwrap();
        assert_eq!(read(short), read(long));
        assert_eq!(&crate::json::to_bytes(&read(short))[..], short);
    }
}
