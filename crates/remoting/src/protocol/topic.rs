//! Topics on brokers (17, 18, 21, 215, 351) and on name servers (206, 216, 217, 224, 304, 305,
//! 311–313).

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body, no_payload};
use super::register::DataVersion;
use super::route::TopicRoute;

/// Permission bits of a topic.
pub mod perm {
    /// Messages may be read.
    pub const READ: i32 = 4;
    /// Messages may be written.
    pub const WRITE: i32 = 2;
    /// New topics may inherit from it.
    pub const INHERIT: i32 = 1;
}

/// Settings of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Attributes.
    pub attributes: BTreeMap<CompactString, CompactString>,
    /// Whether messages must be in order even when a broker is away.
    pub order: bool,
    /// Bits of [`perm`].
    pub perm: i32,
    /// Queues for reading.
    pub read_queue_nums: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    pub topic_filter_type: CompactString,
    /// Topic.
    pub topic_name: CompactString,
    /// Unit bits.
    pub topic_sys_flag: i32,
    /// Queues for writing.
    pub write_queue_nums: i32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: perm::READ | perm::WRITE,
            read_queue_nums: 16,
            topic_filter_type: CompactString::const_new("SINGLE_TAG"),
            topic_name: CompactString::default(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

header! {
    /// Makes or alters a topic (17).
    #[doc(alias = "CreateTopicRequestHeader")]
    pub struct CreateTopic {
        /// Topic.
        topic: CompactString = "topic",
        /// Template topic.
        default_topic: CompactString = "defaultTopic" or "",
        /// Queues for reading.
        read_queue_nums: i32 = "readQueueNums",
        /// Queues for writing.
        write_queue_nums: i32 = "writeQueueNums",
        /// Bits of [`perm`].
        perm: i32 = "perm",
        /// `SINGLE_TAG` or `MULTI_TAG`.
        topic_filter_type: CompactString = "topicFilterType" or "SINGLE_TAG",
        /// Unit bits.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// Whether the topic is an ordered one.
        order: bool = "order" or false,
        /// Changes of attributes: `+key=value,-key`.
        attributes: Option<CompactString> = "attributes",
        /// Static topics only.
        force: Option<bool> = "force",
    }

    /// Removes a topic from a broker (215).
    #[doc(alias = "DeleteTopicRequestHeader")]
    pub struct DeleteTopic {
        /// Topic.
        topic: CompactString = "topic" or "",
    }

    /// Asks for all topics of a broker, by pages (21). Old clients send no field and get all.
    #[doc(alias = "GetAllTopicConfigRequestHeader")]
    pub struct AllTopicConfigs {
        /// First row of the page.
        topic_seq: Option<i32> = "topicSeq",
        /// Version of the earlier pages, as JSON text.
        data_version: Option<CompactString> = "dataVersion",
        /// Rows of a page.
        max_topic_num: Option<i32> = "maxTopicNum",
    }

    /// Answer to a page.
    pub struct AllTopicConfigsResponse {
        /// Rows in all.
        total_topic_num: Option<i32> = "totalTopicNum",
    }

    /// Asks for the settings of a topic (351); code 17 when there is none.
    #[doc(alias = "GetTopicConfigRequestHeader")]
    pub struct GetTopicConfig {
        /// Topic.
        topic: CompactString = "topic",
        /// Static topics: whether logical queues are meant.
        lo: Option<bool> = "lo",
    }

    /// Removes a topic from a name server (216).
    #[doc(alias = "DeleteTopicFromNamesrvRequestHeader")]
    pub struct DeleteTopicRoute {
        /// Topic.
        topic: CompactString = "topic" or "",
        /// One cluster, or all.
        cluster_name: Option<CompactString> = "clusterName",
    }

    /// Makes a topic known to a name server (217); the body is a [`TopicRoute`] of which the queues
    /// count.
    #[doc(alias = "RegisterTopicRequestHeader")]
    pub struct RegisterTopic {
        /// Topic.
        topic: CompactString = "topic",
    }

    /// Asks for the topics of a cluster (224).
    #[doc(alias = "GetTopicsByClusterRequestHeader")]
    pub struct TopicsByCluster {
        /// Cluster.
        cluster: CompactString = "cluster" or "",
    }

    /// Asks for the topics that a group consumes (343).
    #[doc(alias = "QueryTopicsByConsumerRequestHeader")]
    pub struct TopicsByConsumer {
        /// Group.
        group: CompactString = "group",
    }
}

/// Settings of many topics (18).
#[doc(alias = "CreateTopicListRequestBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateTopics {
    /// Topics.
    pub topic_config_list: Vec<TopicConfig>,
}

/// Topics of a broker (answer to 21), and the document in which it keeps them.
#[doc(alias("TopicConfigSerializeWrapper", "TopicConfigAndMappingSerializeWrapper"))]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigs {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Version of the mapping of static topics.
    pub mapping_data_version: Option<DataVersion>,
    /// By topic.
    pub topic_config_table: BTreeMap<CompactString, TopicConfig>,
}

/// Names of topics.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// A broker, where that is asked for.
    pub broker_addr: Option<CompactString>,
    /// Topics.
    pub topic_list: Vec<CompactString>,
}

/// Asks a name server for all topics (206).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AllTopics;

/// Asks a name server for its clusters and brokers, which are topics too (304).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SystemTopics;

/// Asks a broker for its system topics (305).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BrokerSystemTopics;

/// Asks a name server for the topics of units (311).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitTopics;

/// Asks a name server for the topics with subscriptions of units (312).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitSubTopics;

/// Asks a name server for the topics with subscriptions of units that are no unit topics (313).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnitSubUnunitTopics;

no_payload!(
    AllTopics,
    SystemTopics,
    BrokerSystemTopics,
    UnitTopics,
    UnitSubTopics,
    UnitSubUnunitTopics
);
json_body!(TopicConfig, CreateTopics, TopicConfigs, TopicList);

conversation! {
    CreateTopic = UPDATE_AND_CREATE_TOPIC => ();
    CreateTopics = UPDATE_AND_CREATE_TOPIC_LIST => ();
    DeleteTopic = DELETE_TOPIC_IN_BROKER => ();
    AllTopicConfigs = GET_ALL_TOPIC_CONFIG => (AllTopicConfigsResponse, TopicConfigs);
    GetTopicConfig = GET_TOPIC_CONFIG => TopicConfig;
    AllTopics = GET_ALL_TOPIC_LIST_FROM_NAMESERVER => TopicList;
    DeleteTopicRoute = DELETE_TOPIC_IN_NAMESRV => ();
    (RegisterTopic, TopicRoute) = REGISTER_TOPIC_IN_NAMESRV => ();
    TopicsByCluster = GET_TOPICS_BY_CLUSTER => TopicList;
    TopicsByConsumer = QUERY_TOPICS_BY_CONSUMER => TopicList;
    SystemTopics = GET_SYSTEM_TOPIC_LIST_FROM_NS => TopicList;
    BrokerSystemTopics = GET_SYSTEM_TOPIC_LIST_FROM_BROKER => TopicList;
    UnitTopics = GET_UNIT_TOPIC_LIST => TopicList;
    UnitSubTopics = GET_HAS_UNIT_SUB_TOPIC_LIST => TopicList;
    UnitSubUnunitTopics = GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => TopicList;
}
