//! A message goes back to the broker for a later delivery (36).

use compact_str::CompactString;

use super::declare::{conversation, header};

header! {
    /// Sends a message back.
    #[doc(alias = "ConsumerSendMsgBackRequestHeader")]
    pub struct SendBack {
        /// Physical offset of the message.
        offset: i64 = "offset",
        /// Group.
        group: CompactString = "group",
        /// Delay level: 0 for the usual one, negative for the dead-letter topic.
        delay_level: i32 = "delayLevel",
        /// Message id before its first retry.
        origin_msg_id: Option<CompactString> = "originMsgId",
        /// Topic before its first retry.
        origin_topic: Option<CompactString> = "originTopic",
        /// Whether the client belongs to a unit.
        unit_mode: Option<bool> = "unitMode",
        /// Deliveries before the message is given up; minds the release of the client, see
        /// [`SEND_BACK_MAX_VERSION`].
        max_reconsume_times: Option<i32> = "maxReconsumeTimes",
    }
}

/// First release whose `maxReconsumeTimes` is honoured.
pub const SEND_BACK_MAX_VERSION: i32 = 121;

conversation! {
    SendBack = CONSUMER_SEND_MSG_BACK => ();
}
