//! Queue locks of orderly consumers (41, 42).

use compact_str::CompactString;
use rmq_message::MessageQueue;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, json_body};

/// Asks for the locks of some queues (41).
#[doc(alias = "LockBatchRequestBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LockQueues {
    /// Client id.
    pub client_id: CompactString,
    /// Group.
    pub consumer_group: CompactString,
    /// Queues.
    pub mq_set: Vec<MessageQueue>,
    /// Whether other replicas are left out.
    pub only_this_broker: bool,
}

/// Gives locks back (42).
#[doc(alias = "UnlockBatchRequestBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UnlockQueues {
    /// Client id.
    pub client_id: CompactString,
    /// Group.
    pub consumer_group: CompactString,
    /// Queues.
    pub mq_set: Vec<MessageQueue>,
    /// Whether other replicas are left out.
    pub only_this_broker: bool,
}

/// Queues whose locks the client holds now.
#[doc(alias = "LockBatchResponseBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LockedQueues {
    /// Queues.
    #[serde(rename = "lockOKMQSet")]
    pub lock_ok_mq_set: Vec<MessageQueue>,
}

json_body!(LockQueues, UnlockQueues, LockedQueues);

conversation! {
    LockQueues = LOCK_BATCH_MQ => LockedQueues;
    UnlockQueues = UNLOCK_BATCH_MQ => ();
}
