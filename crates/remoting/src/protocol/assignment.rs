//! Assignment of queues by the broker (400, 401).

use std::collections::BTreeMap;

use compact_str::CompactString;
use rmq_message::MessageQueue;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, json_body, wire_enum};
use super::heartbeat::MessageModel;

/// Asks which queues a member of a group is to consume (400).
#[doc(alias = "QueryAssignmentRequestBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueryAssignment {
    /// Client id.
    pub client_id: CompactString,
    /// Group.
    pub consumer_group: CompactString,
    /// Shared or each for itself.
    pub message_model: MessageModel,
    /// Name of the strategy.
    pub strategy_name: CompactString,
    /// Topic.
    pub topic: CompactString,
}

/// Queues of a member (answer to 400).
#[doc(alias = "QueryAssignmentResponseBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Assignments {
    /// Queues; without them the broker cannot tell, and the member keeps what it has.
    pub message_queue_assignments: Option<Vec<Assignment>>,
}

/// One queue of a member.
#[doc(alias = "MessageQueueAssignment")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Assignment {
    /// Private words.
    pub attachments: Option<BTreeMap<CompactString, CompactString>>,
    /// Queue; id −1 for all queues of a broker.
    pub message_queue: Option<MessageQueue>,
    /// Pull or pop.
    pub mode: RequestMode,
}

wire_enum! {
    /// How messages are asked for.
    #[doc(alias = "MessageRequestMode")]
    pub enum RequestMode {
        /// By pull.
        #[default]
        Pull = "PULL",
        /// By pop.
        Pop = "POP",
    }
}

/// Sets pull or pop for a topic and a group (401).
#[doc(alias = "SetMessageRequestModeRequestBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetRequestMode {
    /// Group.
    pub consumer_group: CompactString,
    /// Pull or pop.
    pub mode: RequestMode,
    /// Queues that members share; 0: all.
    pub pop_share_queue_num: i32,
    /// Topic.
    pub topic: CompactString,
}

json_body!(QueryAssignment, Assignments, SetRequestMode);

conversation! {
    QueryAssignment = QUERY_ASSIGNMENT => Assignments;
    SetRequestMode = SET_MESSAGE_REQUEST_MODE => ();
}
