//! Looks into queues for tools: entries of a queue (321), times of what a group has and has not
//! consumed (303), positions compared between groups (308).

use std::collections::BTreeMap;

use compact_str::CompactString;
use rmq_message::MessageQueue;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body};
use super::heartbeat::TopicSubscription;

header! {
    /// Asks for entries of a queue (321).
    #[doc(alias = "QueryConsumeQueueRequestHeader")]
    pub struct QueryQueue {
        /// Topic.
        topic: CompactString = "topic",
        /// Queue.
        queue_id: i32 = "queueId" or 0,
        /// First entry.
        index: i64 = "index" or 0,
        /// How many.
        count: i32 = "count" or 0,
        /// Whose subscription is tried on them.
        consumer_group: Option<CompactString> = "consumerGroup",
    }

    /// Asks from when to when the messages of a topic are, and how far a group is (303).
    #[doc(alias = "QueryConsumeTimeSpanRequestHeader")]
    pub struct QueryTimeSpan {
        /// Topic.
        topic: CompactString = "topic",
        /// Group.
        group: CompactString = "group" or "",
    }

    /// Asks for the lowest positions of other groups beside one group's (308).
    #[doc(alias = "QueryCorrectionOffsetHeader")]
    pub struct QueryCorrection {
        /// Groups that do not count, separated by commas.
        filter_groups: Option<CompactString> = "filterGroups",
        /// The group that is compared.
        compare_group: CompactString = "compareGroup" or "",
        /// Topic.
        topic: CompactString = "topic",
    }
}

/// Entries of a queue (answer to 321).
#[doc(alias = "QueryConsumeQueueResponseBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueEntries {
    /// Filter of the group, or why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_data: Option<String>,
    /// Position after the last entry.
    pub max_queue_index: i64,
    /// First position.
    pub min_queue_index: i64,
    /// The entries.
    pub queue_data: Vec<QueueEntry>,
    /// Subscription of the group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_data: Option<TopicSubscription>,
}

/// One of them.
#[doc(alias = "ConsumeQueueData")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueEntry {
    /// Whether the group's filter admits it.
    pub eval: bool,
    /// Position in the log.
    pub physic_offset: i64,
    /// Bytes of the record.
    pub physic_size: i32,
    /// Hash of the tag, or time of delivery.
    pub tags_code: i64,
}

/// Times of a topic's queues and of a group in them (answer to 303).
#[doc(alias = "QueryConsumeTimeSpanBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimeSpans {
    /// By queue.
    pub consume_time_span_set: Vec<TimeSpan>,
}

/// Store times of one queue, ms since 1970; -1 where there is no message.
#[doc(alias = "QueueTimeSpan")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TimeSpan {
    /// Of the last message that the group has consumed.
    pub consume_time_stamp: i64,
    /// Age of the first message that it has not consumed, ms.
    pub delay_time: i64,
    /// Of the last message.
    pub max_time_stamp: i64,
    /// Queue.
    pub message_queue: MessageQueue,
    /// Of the first message.
    pub min_time_stamp: i64,
}

/// Positions by queue (answer to 308).
#[doc(alias = "QueryCorrectionOffsetBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Corrections {
    /// By queue id.
    pub correction_offsets: BTreeMap<i32, i64>,
}

json_body!(QueueEntries, TimeSpans, Corrections);

conversation! {
    QueryQueue = QUERY_CONSUME_QUEUE => QueueEntries;
    QueryTimeSpan = QUERY_CONSUME_TIME_SPAN => TimeSpans;
    QueryCorrection = QUERY_CORRECTION_OFFSET => Corrections;
}
