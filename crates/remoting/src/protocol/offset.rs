//! Positions: committed progress of groups (14, 15), ends of queues (30, 31, 32), search by time
//! (29), reset and copy (222, 314).

use std::collections::BTreeMap;

use compact_str::CompactString;
use rmq_message::MessageQueue;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body, no_payload, wire_enum};

header! {
    /// Asks for the committed position of a group (14); code 22 when there is none.
    #[doc(alias = "QueryConsumerOffsetRequestHeader")]
    pub struct QueryConsumerOffset {
        /// Group.
        consumer_group: CompactString = "consumerGroup" or "",
        /// Topic.
        topic: CompactString = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Whether a group that never committed may start at 0 when the queue still begins there.
        set_zero_if_not_found: Option<bool> = "setZeroIfNotFound",
    }

    /// Commits the position of a group (15), mostly one-way.
    #[doc(alias = "UpdateConsumerOffsetRequestHeader")]
    pub struct UpdateConsumerOffset {
        /// Group.
        consumer_group: CompactString = "consumerGroup" or "",
        /// Topic.
        topic: CompactString = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Position of the next message.
        commit_offset: i64 = "commitOffset",
    }

    /// Asks for the first position at or after a time (29).
    #[doc(alias = "SearchOffsetRequestHeader")]
    pub struct SearchOffset {
        /// Topic.
        topic: CompactString = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Store time, ms since 1970.
        timestamp: i64 = "timestamp",
        /// Which one among equal times.
        boundary: Option<Boundary> = "boundaryType",
    }

    /// Asks for the position that the next message will get (30).
    #[doc(alias = "GetMaxOffsetRequestHeader")]
    pub struct MaxOffset {
        /// Topic.
        topic: CompactString = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Always meant as true.
        committed: Option<bool> = "committed",
    }

    /// Asks for the first position of a queue (31).
    #[doc(alias = "GetMinOffsetRequestHeader")]
    pub struct MinOffset {
        /// Topic.
        topic: CompactString = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
    }

    /// Asks for the store time of the oldest message (32).
    #[doc(alias = "GetEarliestMsgStoretimeRequestHeader")]
    pub struct EarliestStoreTime {
        /// Topic.
        topic: CompactString = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
    }

    /// An answer of one position.
    pub struct OffsetResponse {
        /// Position.
        offset: i64 = "offset",
    }

    /// An answer of one time.
    pub struct TimestampResponse {
        /// Ms since 1970; −1 when there is no message.
        timestamp: i64 = "timestamp",
    }

    /// Moves a group to a position or a time (222).
    #[doc(alias = "ResetOffsetRequestHeader")]
    pub struct ResetOffset {
        /// Topic.
        topic: CompactString = "topic",
        /// Group.
        group: CompactString = "group" or "",
        /// Queue; −1 for all.
        queue_id: i32 = "queueId" or -1,
        /// Position; −1 when the time decides.
        offset: Option<i64> = "offset",
        /// Time, ms since 1970; −1 for the end.
        timestamp: i64 = "timestamp" or 0,
        /// Whether to move forward as well as back.
        is_force: bool = "isForce" or false,
    }

    /// Copies the positions of one group to another (314).
    #[doc(alias = "CloneGroupOffsetRequestHeader")]
    pub struct CloneGroupOffset {
        /// From.
        src_group: CompactString = "srcGroup",
        /// To.
        dest_group: CompactString = "destGroup",
        /// One topic, or all.
        topic: Option<CompactString> = "topic",
        /// Whether the group may be offline.
        offline: bool = "offline" or false,
    }
}

wire_enum! {
    /// Which position of several equal times.
    #[doc(alias = "BoundaryType")]
    pub enum Boundary {
        /// The first.
        #[default]
        Lower = "LOWER",
        /// The last.
        Upper = "UPPER",
    }
}

/// Positions that were set (answer to 222, body of 220).
#[doc(alias = "ResetOffsetBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsets {
    /// New position of each queue.
    pub offset_table: BTreeMap<MessageQueue, i64>,
}

/// The same as a list: what a C++ client reads (220).
#[doc(alias = "ResetOffsetBodyForC")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetList {
    /// New position of each queue.
    pub offset_table: Vec<QueuePosition>,
}

/// A queue and a position.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueuePosition {
    /// Broker.
    pub broker_name: CompactString,
    /// Position.
    pub offset: i64,
    /// Queue.
    pub queue_id: i32,
    /// Topic.
    pub topic: CompactString,
}

/// Progress of all groups (answer to 43), and the document in which a broker keeps it.
#[doc(alias = "ConsumerOffsetSerializeWrapper")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerOffsets {
    /// Version of the document.
    pub data_version: super::register::DataVersion,
    /// By `topic@group`, then by queue.
    pub offset_table: BTreeMap<CompactString, BTreeMap<i32, i64>>,
}

json_body!(ResetOffsets, ResetOffsetList, ConsumerOffsets);

/// Asks for the progress of all groups (43).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllConsumerOffsets;

no_payload!(AllConsumerOffsets);

conversation! {
    QueryConsumerOffset = QUERY_CONSUMER_OFFSET => OffsetResponse;
    UpdateConsumerOffset = UPDATE_CONSUMER_OFFSET => ();
    SearchOffset = SEARCH_OFFSET_BY_TIMESTAMP => OffsetResponse;
    MaxOffset = GET_MAX_OFFSET => OffsetResponse;
    MinOffset = GET_MIN_OFFSET => OffsetResponse;
    EarliestStoreTime = GET_EARLIEST_MSG_STORETIME => TimestampResponse;
    AllConsumerOffsets = GET_ALL_CONSUMER_OFFSET => ConsumerOffsets;
    ResetOffset = INVOKE_BROKER_TO_RESET_OFFSET => ResetOffsets;
    CloneGroupOffset = CLONE_GROUP_OFFSET => ();
}
