//! Brokers at their name servers: registration (103, 104), version check (322), heartbeat (904),
//! replicas of a broker (901).

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body};
use super::kv::KvTable;
use super::topic::TopicConfigs;

/// Version of a table. Equal when all three are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Changes since the start.
    pub counter: i64,
    /// Epoch of the state machine.
    pub state_version: i64,
    /// Time of the last change, ms since 1970.
    pub timestamp: i64,
}

header! {
    /// Registers a broker (103); the body is a [`RegisterBody`].
    #[doc(alias = "RegisterBrokerRequestHeader")]
    pub struct RegisterBroker {
        /// Broker.
        broker_name: CompactString = "brokerName",
        /// `ip:port`.
        broker_addr: CompactString = "brokerAddr",
        /// Cluster.
        cluster_name: CompactString = "clusterName",
        /// `ip:port` for replicas.
        ha_server_addr: CompactString = "haServerAddr" or "",
        /// Id among its replicas; 0 is the master.
        broker_id: i64 = "brokerId",
        /// Ms after which the broker counts as away.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMillis",
        /// Whether the lowest replica may act for the master.
        enable_acting_master: Option<bool> = "enableActingMaster",
        /// Whether the body is compressed.
        compressed: bool = "compressed" or false,
        /// CRC-32 of the body as sent, without its highest bit; 0: not checked.
        body_crc32: i32 = "bodyCrc32" or 0,
        /// Zone.
        zone_name: Option<CompactString> = "__ZONE_NAME",
    }

    /// Answer to a registration.
    #[doc(alias = "RegisterBrokerResponseHeader")]
    pub struct RegisterResponse {
        /// Where a replica finds its master's data.
        ha_server_addr: Option<CompactString> = "haServerAddr",
        /// Address of the master.
        master_addr: Option<CompactString> = "masterAddr",
    }

    /// A broker leaves (104).
    #[doc(alias = "UnRegisterBrokerRequestHeader")]
    pub struct UnregisterBroker {
        /// Broker.
        broker_name: CompactString = "brokerName" or "",
        /// `ip:port`.
        broker_addr: CompactString = "brokerAddr" or "",
        /// Cluster.
        cluster_name: CompactString = "clusterName" or "",
        /// Id among its replicas.
        broker_id: i64 = "brokerId" or 0,
    }

    /// Asks whether the name server knows this version of the topics (322); the body is a
    /// [`DataVersion`].
    #[doc(alias = "QueryDataVersionRequestHeader")]
    pub struct QueryDataVersion {
        /// Broker.
        broker_name: CompactString = "brokerName" or "",
        /// `ip:port`.
        broker_addr: CompactString = "brokerAddr",
        /// Cluster.
        cluster_name: CompactString = "clusterName",
        /// Id among its replicas.
        broker_id: i64 = "brokerId" or 0,
    }

    /// Answer to a version check.
    #[doc(alias = "QueryDataVersionResponseHeader")]
    pub struct QueryDataVersionResponse {
        /// Whether the broker must register anew.
        changed: bool = "changed" or true,
    }

    /// A broker is alive (904).
    #[doc(alias = "BrokerHeartbeatRequestHeader")]
    pub struct BrokerHeartbeat {
        /// Cluster.
        cluster_name: CompactString = "clusterName",
        /// `ip:port`.
        broker_addr: CompactString = "brokerAddr",
        /// Broker.
        broker_name: CompactString = "brokerName" or "",
        /// For controllers: id among the replicas.
        broker_id: Option<i64> = "brokerId",
        /// For controllers: epoch of the log.
        epoch: Option<i32> = "epoch",
        /// For controllers: end of the log.
        max_offset: Option<i64> = "maxOffset",
        /// For controllers: confirmed end of the log.
        confirm_offset: Option<i64> = "confirmOffset",
        /// For controllers: ms after which the broker counts as away; misspelt on the wire.
        heartbeat_timeout_millis: Option<i64> = "heartbeatTimeoutMills",
        /// For controllers: rank in an election.
        election_priority: Option<i32> = "electionPriority",
    }

    /// Asks for the replicas of a broker (901).
    #[doc(alias = "GetBrokerMemberGroupRequestHeader")]
    pub struct GetBrokerGroup {
        /// Cluster.
        cluster_name: CompactString = "clusterName" or "",
        /// Broker.
        broker_name: CompactString = "brokerName" or "",
    }
}

/// What a broker registers.
#[doc(alias = "RegisterBrokerBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBody {
    /// Filter servers; always empty nowadays.
    pub filter_server_list: Vec<CompactString>,
    /// Topics.
    pub topic_config_serialize_wrapper: TopicConfigs,
}

/// Replicas of a broker (answer to 901).
#[doc(alias = "GetBrokerMemberGroupResponseBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerGroupResponse {
    /// Replicas.
    pub broker_member_group: Option<BrokerGroup>,
}

/// Replicas of a broker.
#[doc(alias = "BrokerMemberGroup")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerGroup {
    /// `ip:port` by broker id.
    pub broker_addrs: BTreeMap<i64, CompactString>,
    /// Broker.
    pub broker_name: CompactString,
    /// Cluster.
    pub cluster: CompactString,
}

json_body!(DataVersion, RegisterBody, BrokerGroupResponse);

conversation! {
    (RegisterBroker, RegisterBody) = REGISTER_BROKER => (RegisterResponse, Option<KvTable>);
    UnregisterBroker = UNREGISTER_BROKER => ();
    (QueryDataVersion, DataVersion) = QUERY_DATA_VERSION
        => (QueryDataVersionResponse, Option<DataVersion>);
    BrokerHeartbeat = BROKER_HEARTBEAT => ();
    GetBrokerGroup = GET_BROKER_MEMBER_GROUP => BrokerGroupResponse;
}
