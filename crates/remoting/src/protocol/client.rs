//! Clients as others see them: who is in a group (38, 203, 204, 328), and what brokers ask of
//! clients (40, 220, 221, 307, 309).

use std::collections::BTreeMap;

use bytes::Bytes;
use compact_str::CompactString;
use rmq_message::MessageQueue;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body, no_payload, wire_enum};
use super::heartbeat::{ConsumeFromWhere, ConsumeType, MessageModel, TopicSubscription};
use super::offset::ResetOffsets;
use crate::language::Language;

header! {
    /// Asks for the client ids of a consumer group (38).
    #[doc(alias = "GetConsumerListByGroupRequestHeader")]
    pub struct ConsumerList {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
    }

    /// Tells a client that the members of its group changed (40, one-way).
    #[doc(alias = "NotifyConsumerIdsChangedRequestHeader")]
    pub struct ConsumersChanged {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
    }

    /// Asks for the connections of a consumer group (203).
    #[doc(alias = "GetConsumerConnectionListRequestHeader")]
    pub struct ConsumerConnections {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
    }

    /// Asks for the connections of a producer group (204).
    #[doc(alias = "GetProducerConnectionListRequestHeader")]
    pub struct ProducerConnections {
        /// Group.
        producer_group: CompactString = "producerGroup",
    }

    /// Tells a client to move its group to new positions (220, one-way); the body is
    /// [`ResetOffsets`].
    pub struct ResetClientOffset {
        /// Topic.
        topic: CompactString = "topic",
        /// Group.
        group: CompactString = "group",
        /// Time, ms since 1970.
        timestamp: i64 = "timestamp" or 0,
        /// Whether to move forward as well as back.
        is_force: bool = "isForce" or false,
        /// Queue; −1 for all.
        queue_id: i32 = "queueId" or -1,
    }

    /// Asks a client how far it is (221).
    #[doc(alias = "GetConsumerStatusRequestHeader")]
    pub struct ClientStatus {
        /// Topic.
        topic: CompactString = "topic",
        /// Group.
        group: CompactString = "group",
        /// Client id; empty for all.
        client_addr: Option<CompactString> = "clientAddr",
    }

    /// Asks a broker how far the clients of a group are (223).
    pub struct GroupStatus {
        /// Topic.
        topic: CompactString = "topic",
        /// Group.
        group: CompactString = "group",
        /// Client id; empty for all.
        client_addr: Option<CompactString> = "clientAddr",
    }

    /// Asks a client what it is doing (307; a broker relays it).
    #[doc(alias = "GetConsumerRunningInfoRequestHeader")]
    pub struct DescribeConsumer {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
        /// Client id.
        client_id: CompactString = "clientId",
        /// Whether stacks of threads are wanted.
        jstack_enable: Option<bool> = "jstackEnable",
    }

    /// Has a client consume one message now (309; a broker relays it and adds the stored message as
    /// body).
    #[doc(alias = "ConsumeMessageDirectlyResultRequestHeader")]
    pub struct ConsumeDirectly {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
        /// Client id.
        client_id: Option<CompactString> = "clientId",
        /// Offset message id.
        msg_id: Option<CompactString> = "msgId",
        /// Broker.
        broker_name: Option<CompactString> = "brokerName",
        /// Topic.
        topic: Option<CompactString> = "topic",
        /// System flag of the topic.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// System flag of the group.
        group_sys_flag: Option<i32> = "groupSysFlag",
    }
}

/// Client ids of a group.
#[doc(alias = "GetConsumerListByGroupResponseBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerIds {
    /// Client ids.
    pub consumer_id_list: Vec<CompactString>,
}

/// A live connection of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// `ip:port`.
    pub client_addr: CompactString,
    /// Client id.
    pub client_id: CompactString,
    /// Language.
    pub language: Language,
    /// Release.
    pub version: i32,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            client_addr: CompactString::default(),
            client_id: CompactString::default(),
            language: Language::Unknown,
            version: 0,
        }
    }
}

/// Connections and subscriptions of a consumer group (answer to 203).
#[doc(alias = "ConsumerConnection")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerConnectionList {
    /// Connections.
    pub connection_set: Vec<Connection>,
    /// Where the group begins.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets its messages.
    pub consume_type: ConsumeType,
    /// Shared or each for itself.
    pub message_model: MessageModel,
    /// Subscriptions by topic.
    pub subscription_table: BTreeMap<CompactString, TopicSubscription>,
}

/// Connections of a producer group (answer to 204).
#[doc(alias = "ProducerConnection")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerConnectionList {
    /// Connections.
    pub connection_set: Vec<Connection>,
}

/// All producers of a broker (answer to 328).
#[doc(alias = "ProducerTableInfo")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerTable {
    /// Producers by group.
    pub data: BTreeMap<CompactString, Vec<ProducerRow>>,
}

/// One producer.
#[doc(alias = "ProducerInfo")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerRow {
    /// Client id.
    pub client_id: CompactString,
    /// Language.
    pub language: Language,
    /// Last heartbeat, ms since 1970.
    pub last_update_timestamp: i64,
    /// `/ip:port`.
    #[serde(rename = "remoteIP")]
    pub remote_ip: CompactString,
    /// Release.
    pub version: i32,
}

impl Default for ProducerRow {
    fn default() -> Self {
        Self {
            client_id: CompactString::default(),
            language: Language::Unknown,
            last_update_timestamp: 0,
            remote_ip: CompactString::default(),
            version: 0,
        }
    }
}

/// How far clients are (answer to 221 and 223).
#[doc(alias = "GetConsumerStatusBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatus {
    /// By client, filled by brokers.
    pub consumer_table: BTreeMap<CompactString, BTreeMap<MessageQueue, i64>>,
    /// Filled by clients.
    pub message_queue_table: BTreeMap<MessageQueue, i64>,
}

/// What a consumer is doing (answer to 307).
#[doc(alias = "ConsumerRunningInfo")]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerSnapshot {
    /// Stacks of threads.
    pub jstack: Option<String>,
    /// Queues consumed by pop.
    pub mq_pop_table: BTreeMap<MessageQueue, PopQueueSnapshot>,
    /// Queues consumed by pull.
    pub mq_table: BTreeMap<MessageQueue, ProcessQueueSnapshot>,
    /// Settings, see [`property`].
    pub properties: BTreeMap<CompactString, String>,
    /// Rates by topic.
    pub status_table: BTreeMap<CompactString, ConsumeRates>,
    /// Subscriptions.
    pub subscription_set: Vec<TopicSubscription>,
    /// Whatever the user adds.
    pub user_consumer_info: BTreeMap<CompactString, String>,
}

/// Names in [`ConsumerSnapshot::properties`].
pub mod property {
    /// Name servers.
    pub const NAMESRV_ADDR: &str = "PROP_NAMESERVER_ADDR";
    /// Threads.
    pub const THREADPOOL_CORE_SIZE: &str = "PROP_THREADPOOL_CORE_SIZE";
    /// Whether messages of a queue are consumed one after the other.
    pub const CONSUME_ORDERLY: &str = "PROP_CONSUMEORDERLY";
    /// Name of [`super::ConsumeType`].
    pub const CONSUME_TYPE: &str = "PROP_CONSUME_TYPE";
    /// Release.
    pub const CLIENT_VERSION: &str = "PROP_CLIENT_VERSION";
    /// Start, ms since 1970.
    pub const START_TIMESTAMP: &str = "PROP_CONSUMER_START_TIMESTAMP";
}

/// State of a queue consumed by pop.
#[doc(alias = "PopProcessQueueInfo")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PopQueueSnapshot {
    /// Whether it was given up; misspelt on the wire.
    pub droped: bool,
    /// Last pop, ms since 1970.
    pub last_pop_timestamp: i64,
    /// Messages not yet acknowledged.
    pub wait_ack_count: i32,
}

/// State of a queue consumed by pull.
#[doc(alias = "ProcessQueueInfo")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessQueueSnapshot {
    /// Messages waiting.
    pub cached_msg_count: i32,
    /// Last position waiting.
    pub cached_msg_max_offset: i64,
    /// First position waiting.
    pub cached_msg_min_offset: i64,
    /// MiB waiting.
    #[serde(rename = "cachedMsgSizeInMiB")]
    pub cached_msg_size_in_mib: i32,
    /// Committed position.
    pub commit_offset: i64,
    /// Whether it was given up; misspelt on the wire.
    pub droped: bool,
    /// Ms since 1970.
    pub last_consume_timestamp: i64,
    /// Ms since 1970.
    pub last_lock_timestamp: i64,
    /// Ms since 1970.
    pub last_pull_timestamp: i64,
    /// Whether the broker's lock is held.
    pub locked: bool,
    /// Messages being consumed in order.
    pub transaction_msg_count: i32,
    /// Last of them.
    pub transaction_msg_max_offset: i64,
    /// First of them.
    pub transaction_msg_min_offset: i64,
    /// Failed unlocks.
    pub try_unlock_times: i64,
}

/// Rates of a topic at one consumer.
#[doc(alias = "ConsumeStatus")]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeRates {
    /// Failures of the last hour.
    pub consume_failed_msgs: i64,
    /// Failures a second.
    #[serde(rename = "consumeFailedTPS")]
    pub consume_failed_tps: f64,
    /// Successes a second.
    #[serde(rename = "consumeOKTPS")]
    pub consume_ok_tps: f64,
    /// Average ms of a consumption.
    #[serde(rename = "consumeRT")]
    pub consume_rt: f64,
    /// Average ms of a pull.
    #[serde(rename = "pullRT")]
    pub pull_rt: f64,
    /// Messages pulled a second.
    #[serde(rename = "pullTPS")]
    pub pull_tps: f64,
}

/// Outcome of a direct consumption (answer to 309).
#[doc(alias = "ConsumeMessageDirectlyResult")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DirectOutcome {
    /// Whether progress is committed by itself.
    pub auto_commit: bool,
    /// What the listener said.
    pub consume_result: DirectResult,
    /// Whether the listener is an orderly one.
    pub order: bool,
    /// Text of an error.
    pub remark: Option<String>,
    /// Ms that it took.
    pub spent_time_mills: i64,
}

wire_enum! {
    /// What the listener said.
    #[doc(alias = "CMResult")]
    pub enum DirectResult {
        /// Consumed.
        #[default]
        Success = "CR_SUCCESS",
        /// Try again.
        Later = "CR_LATER",
        /// Rolled back.
        Rollback = "CR_ROLLBACK",
        /// Committed.
        Commit = "CR_COMMIT",
        /// It failed.
        ThrowException = "CR_THROW_EXCEPTION",
        /// It said nothing.
        ReturnNull = "CR_RETURN_NULL",
    }
}

/// Asks for all producers of a broker (328).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllProducers;

no_payload!(AllProducers);
json_body!(
    ConsumerIds,
    ConsumerConnectionList,
    ProducerConnectionList,
    ProducerTable,
    ConsumerStatus,
    ConsumerSnapshot,
    DirectOutcome
);

conversation! {
    ConsumerList = GET_CONSUMER_LIST_BY_GROUP => ConsumerIds;
    ConsumersChanged = NOTIFY_CONSUMER_IDS_CHANGED => ();
    ConsumerConnections = GET_CONSUMER_CONNECTION_LIST => ConsumerConnectionList;
    ProducerConnections = GET_PRODUCER_CONNECTION_LIST => ProducerConnectionList;
    AllProducers = GET_ALL_PRODUCER_INFO => ProducerTable;
    (ResetClientOffset, ResetOffsets) = RESET_CONSUMER_CLIENT_OFFSET => ();
    ClientStatus = GET_CONSUMER_STATUS_FROM_CLIENT => ConsumerStatus;
    GroupStatus = INVOKE_BROKER_TO_GET_CONSUMER_STATUS => ConsumerStatus;
    DescribeConsumer = GET_CONSUMER_RUNNING_INFO => ConsumerSnapshot;
    (ConsumeDirectly, Bytes) = CONSUME_MESSAGE_DIRECTLY => DirectOutcome;
}
