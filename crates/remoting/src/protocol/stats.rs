//! Numbers for tools: topics (202), progress of groups (208, 317), who consumes (300, 345), rates
//! (315), state of a broker (28), of its replicas (907) and of its timers (61).

use std::collections::BTreeMap;

use compact_str::CompactString;
use rmq_message::MessageQueue;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body, no_payload};
use super::heartbeat::TopicSubscription;
use super::kv::KvTable;
use super::register::DataVersion;

header! {
    /// Asks for the ranges of a topic's queues (202).
    #[doc(alias = "GetTopicStatsInfoRequestHeader")]
    pub struct GetTopicStats {
        /// Topic.
        topic: CompactString = "topic",
    }

    /// Asks how far a group is (208).
    #[doc(alias = "GetConsumeStatsRequestHeader")]
    pub struct GetConsumeStats {
        /// Group.
        consumer_group: CompactString = "consumerGroup",
        /// One topic, or all.
        topic: Option<CompactString> = "topic",
        /// Several topics, separated by semicolons.
        topic_list: Option<CompactString> = "topicList",
    }

    /// Asks how far all groups of a broker are (317).
    #[doc(alias = "GetConsumeStatsInBrokerHeader")]
    pub struct GetAllConsumeStats {
        /// Only groups on ordered topics.
        is_order: bool = "isOrder" or false,
    }

    /// Asks which groups consume a topic (300).
    #[doc(alias = "QueryTopicConsumeByWhoRequestHeader")]
    pub struct WhoConsumes {
        /// Topic.
        topic: CompactString = "topic",
    }

    /// Asks for the subscription of a group (345).
    #[doc(alias = "QuerySubscriptionByConsumerRequestHeader")]
    pub struct QuerySubscription {
        /// Group.
        group: CompactString = "group",
        /// Topic.
        topic: Option<CompactString> = "topic",
    }

    /// Asks for one row of a broker's statistics (315).
    #[doc(alias = "ViewBrokerStatsDataRequestHeader")]
    pub struct ViewBrokerStats {
        /// Statistic.
        stats_name: CompactString = "statsName",
        /// Row.
        stats_key: CompactString = "statsKey",
    }
}

/// Ranges of a topic's queues (answer to 202).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStatsTable {
    /// By queue.
    pub offset_table: BTreeMap<MessageQueue, TopicOffset>,
    /// Messages stored a second.
    pub topic_put_tps: f64,
}

/// Range of one queue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicOffset {
    /// Store time of the last message, ms since 1970.
    pub last_update_timestamp: i64,
    /// Position after the last message.
    pub max_offset: i64,
    /// First position.
    pub min_offset: i64,
}

/// How far a group is (answer to 208).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumeStats {
    /// Messages consumed a second.
    pub consume_tps: f64,
    /// By queue.
    pub offset_table: BTreeMap<MessageQueue, GroupOffset>,
}

/// How far a group is in one queue.
#[doc(alias = "OffsetWrapper")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupOffset {
    /// Position after the last message.
    pub broker_offset: i64,
    /// Committed position.
    pub consumer_offset: i64,
    /// Store time of the last consumed message, ms since 1970.
    pub last_timestamp: i64,
    /// Pulled position.
    pub pull_offset: i64,
}

/// How far all groups are (answer to 317).
#[doc(alias = "ConsumeStatsList")]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AllConsumeStats {
    /// Address of the broker.
    pub broker_addr: CompactString,
    /// One map for each group: its progress on each of its topics.
    pub consume_stats_list: Vec<BTreeMap<CompactString, Vec<ConsumeStats>>>,
    /// Messages that are not committed.
    pub total_diff: i64,
    /// Messages that are handed out and not committed.
    pub total_inflight_diff: i64,
}

/// Replicas of a broker as its master sees them (answer to 907).
#[doc(alias = "HARuntimeInfo")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaStatus {
    /// This broker as a replica itself.
    pub ha_client_runtime_info: ReplicaProgress,
    /// Those that are connected.
    pub ha_connection_info: Vec<Replica>,
    /// How many of them are in sync.
    pub in_sync_slave_nums: i32,
    /// Whether this broker is the master.
    pub master: bool,
    /// End of its commit log.
    pub master_commit_log_max_offset: i64,
}

/// A connected replica.
#[doc(alias = "HAConnectionRuntimeInfo")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Replica {
    /// Where it is.
    pub addr: CompactString,
    /// Bytes that it lacks.
    pub diff: i64,
    /// Whether it is in sync.
    pub in_sync: bool,
    /// What it has confirmed.
    pub slave_ack_offset: i64,
    /// Where its copy began.
    pub transfer_from_where: i64,
    /// Bytes a second.
    pub transferred_byte_in_second: i64,
}

/// Names of groups (answer to 300).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    /// Groups.
    pub group_list: Vec<CompactString>,
}

/// How far a replica is; all 0 on a master.
#[doc(alias = "HAClientRuntimeInfo")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaProgress {
    /// Ms since 1970.
    pub last_read_timestamp: i64,
    /// Ms since 1970.
    pub last_write_timestamp: i64,
    /// What the master has flushed.
    pub master_flush_offset: i64,
    /// End of its log.
    pub max_offset: i64,
    /// Bytes a second.
    pub transferred_byte_in_second: i64,
}

/// How many timed messages wait (answer to 61; also the file `timermetrics`).
#[doc(alias = "TimerMetricsSerializeWrapper")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimerMetrics {
    /// Changes with each message that comes or goes.
    pub data_version: DataVersion,
    /// By topic.
    pub timing_count: BTreeMap<CompactString, TimerMetric>,
}

/// Those of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TimerMetric {
    /// How many.
    pub count: i64,
    /// When that changed, ms since 1970.
    pub time_stamp: i64,
}

/// Subscription of a group (answer to 345).
#[doc(alias = "QuerySubscriptionResponseBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupSubscription {
    /// Group.
    pub group: CompactString,
    /// Subscription.
    pub subscription_data: Option<TopicSubscription>,
    /// Topic.
    pub topic: CompactString,
}

/// One row of a broker's statistics (answer to 315).
#[doc(alias = "BrokerStatsData")]
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStats {
    /// Last day.
    pub stats_day: BrokerStatsItem,
    /// Last hour.
    pub stats_hour: BrokerStatsItem,
    /// Last minute.
    pub stats_minute: BrokerStatsItem,
}

/// Numbers of one span.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerStatsItem {
    /// Value by event.
    pub avgpt: f64,
    /// Total.
    pub sum: i64,
    /// Total a second.
    pub tps: f64,
}

/// Asks a broker for its state (28).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BrokerRuntime;

/// Asks a broker for the state of its replicas (907).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GetReplicaStatus;

/// Asks a broker how many timed messages wait (61).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GetTimerMetrics;

no_payload!(BrokerRuntime, GetReplicaStatus, GetTimerMetrics);
json_body!(
    TopicStatsTable,
    ConsumeStats,
    AllConsumeStats,
    ReplicaStatus,
    TimerMetrics,
    GroupList,
    GroupSubscription,
    BrokerStats,
);

conversation! {
    GetTopicStats = GET_TOPIC_STATS_INFO => TopicStatsTable;
    GetConsumeStats = GET_CONSUME_STATS => ConsumeStats;
    GetAllConsumeStats = GET_BROKER_CONSUME_STATS => AllConsumeStats;
    GetReplicaStatus = GET_BROKER_HA_STATUS => ReplicaStatus;
    GetTimerMetrics = GET_TIMER_METRICS => TimerMetrics;
    WhoConsumes = QUERY_TOPIC_CONSUME_BY_WHO => GroupList;
    QuerySubscription = QUERY_SUBSCRIPTION_BY_CONSUMER => GroupSubscription;
    ViewBrokerStats = VIEW_BROKER_STATS_DATA => BrokerStats;
    BrokerRuntime = GET_BROKER_RUNTIME_INFO => KvTable;
}
