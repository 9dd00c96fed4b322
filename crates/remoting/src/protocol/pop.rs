//! Pop consumption: take (200050), acknowledge (200051), prolong (200053), be told (200054).

use bytes::Bytes;
use compact_str::CompactString;

use super::declare::{conversation, header};

header! {
    /// Takes messages and hides them for a while (200050); codes 0, 209, 210.
    #[doc(alias = "PopMessageRequestHeader")]
    pub struct PopMessage {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
        /// Topic.
        topic: CompactString = "topic",
        /// Queue; −1 for any.
        queue_id: i32 = "queueId",
        /// Most messages wanted.
        max_msg_nums: i32 = "maxMsgNums",
        /// Ms before messages come again.
        invisible_time: i64 = "invisibleTime",
        /// Ms that the broker may hold the request.
        poll_time: i64 = "pollTime",
        /// When the request was made, ms since 1970.
        born_time: i64 = "bornTime",
        /// Where a new group begins: 0 at the beginning, 1 at the end.
        init_mode: i32 = "initMode",
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

    /// Acknowledges one message (200051).
    #[doc(alias = "AckMessageRequestHeader")]
    pub struct AckMessage {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
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
        consumer_group: CompactString = "consumerGroup",
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
        queue_id: i32 = "queueId",
        /// Ms that the broker may hold the request.
        poll_time: i64 = "pollTime",
        /// When the request was made, ms since 1970.
        born_time: i64 = "bornTime",
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

conversation! {
    PopMessage = POP_MESSAGE => (PopResponse, Bytes);
    AckMessage = ACK_MESSAGE => ();
    ChangeInvisibleTime = CHANGE_MESSAGE_INVISIBLETIME => ChangeInvisibleTimeResponse;
    Notification = NOTIFICATION => NotificationResponse;
}
