//! Bodies of the revive topic, as JSON (`PopCheckPoint`, `AckMsg`, `BatchAckMsg`), and how an ack
//! names its check point.

use rmq_message::CompactString;
use serde::{Deserialize, Serialize};

/// Tag of a check point.
pub(crate) const CHECK_POINT_TAG: &str = "ck";
/// Tag of the ack of one message.
pub(crate) const ACK_TAG: &str = "ack";
/// Tag of the ack of several messages.
pub(crate) const BATCH_ACK_TAG: &str = "bAck";

/// Messages of one queue that were handed out together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CheckPoint {
    /// Acknowledged ones; always 0 in the log.
    #[serde(rename = "bm")]
    pub(crate) acked: i32,
    #[serde(rename = "bn")]
    pub(crate) broker: CompactString,
    #[serde(rename = "c")]
    pub(crate) group: CompactString,
    /// Offsets counted from `start`. Old writers leave them out: then there are `count` from it on.
    #[serde(rename = "d")]
    pub(crate) diffs: Option<Vec<i32>>,
    /// Hidden for so long, ms.
    #[serde(rename = "it")]
    pub(crate) invisible: i64,
    #[serde(rename = "n")]
    pub(crate) count: i8,
    /// When they were taken, ms since 1970.
    #[serde(rename = "pt")]
    pub(crate) pop_time: i64,
    #[serde(rename = "q")]
    pub(crate) queue_id: i32,
    /// When they come again; derived from the two above.
    #[serde(rename = "reviveTime")]
    pub(crate) due: i64,
    /// Position in the revive topic; not known to the writer.
    #[serde(rename = "ro")]
    pub(crate) revive_offset: i64,
    #[serde(rename = "so")]
    pub(crate) start: i64,
    /// Whether the delivery does not count.
    #[serde(rename = "sp")]
    pub(crate) suspend: bool,
    /// The topic that was read; may be a retry topic.
    #[serde(rename = "t")]
    pub(crate) topic: CompactString,
}

/// Names a check point.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    topic: CompactString,
    group: CompactString,
    queue_id: i32,
    start: i64,
    pop_time: i64,
    broker: CompactString,
}

impl CheckPoint {
    pub(crate) fn key(&self) -> Key {
        Key {
            topic: self.topic.clone(),
            group: self.group.clone(),
            queue_id: self.queue_id,
            start: self.start,
            pop_time: self.pop_time,
            broker: self.broker.clone(),
        }
    }

    /// When its messages come again, ms since 1970.
    pub(crate) fn due(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible)
    }

    /// Offsets of its messages.
    pub(crate) fn offsets(&self) -> Vec<i64> {
        let count = i64::from(self.count.max(0));
        match &self.diffs {
            Some(diffs) if !diffs.is_empty() => {
                diffs.iter().map(|diff| self.start.saturating_add(i64::from(*diff))).collect()
            }
            _ => (0..count).map(|index| self.start.saturating_add(index)).collect(),
        }
    }

    /// Unique key of its record.
    pub(crate) fn unique_key(&self) -> String {
        let Self { topic, queue_id, start, group, pop_time, broker, .. } = self;
        format!("{topic}@{queue_id}@{start}@{group}@{pop_time}@{broker}@{CHECK_POINT_TAG}")
    }
}

/// Messages of one check point that are done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Ack {
    /// Offset of the message; −1 when `offsets` says them.
    #[serde(rename = "ao")]
    pub(crate) offset: i64,
    #[serde(rename = "aol", skip_serializing_if = "Vec::is_empty")]
    pub(crate) offsets: Vec<i64>,
    #[serde(rename = "bn")]
    pub(crate) broker: CompactString,
    #[serde(rename = "c")]
    pub(crate) group: CompactString,
    #[serde(rename = "pt")]
    pub(crate) pop_time: i64,
    #[serde(rename = "q")]
    pub(crate) queue_id: i32,
    #[serde(rename = "so")]
    pub(crate) start: i64,
    #[serde(rename = "t")]
    pub(crate) topic: CompactString,
}

impl Ack {
    /// The ack of some messages of a check point.
    pub(crate) fn of(check_point: &CheckPoint, offsets: Vec<i64>) -> Self {
        Self {
            offset: -1,
            offsets,
            broker: check_point.broker.clone(),
            group: check_point.group.clone(),
            pop_time: check_point.pop_time,
            queue_id: check_point.queue_id,
            start: check_point.start,
            topic: check_point.topic.clone(),
        }
    }

    /// Names its check point.
    pub(crate) fn key(&self) -> Key {
        Key {
            topic: self.topic.clone(),
            group: self.group.clone(),
            queue_id: self.queue_id,
            start: self.start,
            pop_time: self.pop_time,
            broker: self.broker.clone(),
        }
    }

    /// Offsets of its messages.
    pub(crate) fn done(&self) -> &[i64] {
        if self.offsets.is_empty() { std::slice::from_ref(&self.offset) } else { &self.offsets }
    }

    /// Tag of its record.
    pub(crate) fn tag(&self) -> &'static str {
        if self.offsets.is_empty() { ACK_TAG } else { BATCH_ACK_TAG }
    }

    /// Unique key of its record.
    pub(crate) fn unique_key(&self) -> String {
        let Self { topic, queue_id, offset, group, pop_time, broker, .. } = self;
        format!("{topic}@{queue_id}@{offset}@{group}@{pop_time}@{broker}@{ACK_TAG}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_point_is_written_as_apache_does() {
        let check_point = CheckPoint {
            broker: "broker-a".into(),
            group: "g".into(),
            diffs: Some(vec![0, 2]),
            invisible: 10_000,
            count: 2,
            pop_time: 1_000,
            due: 11_000,
            start: 5,
            topic: "T".into(),
            ..CheckPoint::default()
        };
        let text = String::from_utf8(rmq_remoting::json::to_bytes(&check_point).to_vec()).unwrap();
        assert_eq!(
            text,
            r#"{"bm":0,"bn":"broker-a","c":"g","d":[0,2],"it":10000,"n":2,"pt":1000,"q":0,"reviveTime":11000,"ro":0,"so":5,"sp":false,"t":"T"}"#
        );
        let read: CheckPoint = rmq_remoting::json::from_slice(text.as_bytes()).unwrap();
        assert_eq!(read, check_point);
        assert_eq!(read.offsets(), [5, 7]);
        assert_eq!(read.unique_key(), "T@0@5@g@1000@broker-a@ck");
    }

    #[test]
    fn what_old_writers_leave_out_is_made_up_for() {
        let text = br#"{"bm":0,"c":"g","it":1,"n":3,"pt":2,"q":0,"so":5,"t":"T"}"#;
        let read: CheckPoint = rmq_remoting::json::from_slice(text).unwrap();
        assert_eq!((read.offsets(), read.due()), (vec![5, 6, 7], 3));
    }

    #[test]
    fn acks_name_their_check_point() {
        let check_point = CheckPoint { topic: "T".into(), ..CheckPoint::default() };
        let ack = Ack::of(&check_point, vec![1, 2]);
        assert_eq!((ack.key(), ack.tag()), (check_point.key(), "bAck"));
        let one = Ack { offset: 7, ..Ack::default() };
        assert_eq!((one.done(), one.tag()), (&[7][..], "ack"));
        let text = rmq_remoting::json::to_bytes(&one);
        assert_eq!(&text[..], br#"{"ao":7,"bn":"","c":"","pt":0,"q":0,"so":0,"t":""}"#);
    }
}
