//! Routes: which brokers hold which queues of a topic (105).

use std::collections::BTreeMap;

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body};
use crate::json::{self, IntegerKeys};

header! {
    /// Asks for the route of a topic (105); code 17 when there is none.
    #[doc(alias = "GetRouteInfoRequestHeader")]
    pub struct GetRoute {
        /// Topic.
        topic: CompactString = "topic" or "",
        /// Whether the body must be standard JSON.
        accept_standard_json_only: Option<bool> = "acceptStandardJsonOnly",
    }
}

/// First release that gets a route in standard JSON without asking for it.
pub const STANDARD_JSON_VERSION: i32 = 401;

/// Route of a topic.
#[doc(alias = "TopicRouteData")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicRoute {
    /// Brokers that hold queues of the topic.
    pub broker_datas: Vec<BrokerAddresses>,
    /// Filter servers by broker address; always empty nowadays.
    pub filter_server_table: BTreeMap<CompactString, Vec<CompactString>>,
    /// Brokers and queues of an ordered topic: `broker:queues;…`.
    pub order_topic_conf: Option<CompactString>,
    /// How many queues each of them holds.
    pub queue_datas: Vec<BrokerQueues>,
}

impl TopicRoute {
    /// The body as the asking client reads it: integer keys bare unless it can do standard JSON.
    pub fn to_body(&self, keys: IntegerKeys) -> Bytes {
        json::to_bytes_with(self, keys)
    }

    /// How the body is to be written for a client of this release that asks with this header.
    pub fn keys_for(version: i32, request: &GetRoute) -> IntegerKeys {
        if version >= STANDARD_JSON_VERSION || request.accept_standard_json_only == Some(true) {
            IntegerKeys::Quoted
        } else {
            IntegerKeys::Bare
        }
    }
}

/// Queues that one broker holds.
#[doc(alias = "QueueData")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerQueues {
    /// Broker.
    pub broker_name: CompactString,
    /// Bits of [`perm`](super::topic::perm).
    pub perm: i32,
    /// Queues for reading.
    pub read_queue_nums: i32,
    /// Unit bits.
    pub topic_sys_flag: i32,
    /// Queues for writing.
    pub write_queue_nums: i32,
}

/// Id of the master among the replicas of a broker.
pub const MASTER_ID: i64 = 0;

/// A broker and the addresses of its replicas.
#[doc(alias = "BrokerData")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerAddresses {
    /// `ip:port` by broker id; 0 is the master.
    pub broker_addrs: BTreeMap<i64, CompactString>,
    /// Broker.
    pub broker_name: CompactString,
    /// Cluster.
    pub cluster: CompactString,
    /// Whether the lowest replica may act for a master that is away.
    pub enable_acting_master: bool,
    /// Zone.
    pub zone_name: Option<CompactString>,
}

json_body!(TopicRoute);

conversation! {
    GetRoute = GET_ROUTEINFO_BY_TOPIC => TopicRoute;
}
