//! The cluster as name servers see it (106), write permission of a broker (205, 327), settings of
//! servers (25, 26, 318, 319).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body, no_payload, raw_body};
use super::route::BrokerAddresses;

/// Clusters and brokers (answer to 106).
#[doc(alias = "ClusterInfo")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterTable {
    /// Brokers by name.
    pub broker_addr_table: BTreeMap<CompactString, BrokerAddresses>,
    /// Names of brokers by cluster.
    pub cluster_addr_table: BTreeMap<CompactString, BTreeSet<CompactString>>,
}

/// Asks for all clusters and brokers (106).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GetClusters;

/// Asks a broker for its settings (26): lines of `key=value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GetBrokerConfig;

/// Asks a name server for its settings (319): lines of `key=value`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GetNamesrvConfig;

/// Changes settings of a broker (25): lines of `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateBrokerConfig(pub Bytes);

/// Changes settings of a name server (318): lines of `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateNamesrvConfig(pub Bytes);

header! {
    /// Takes the write permission of a broker away from all its topics (205).
    #[doc(alias = "WipeWritePermOfBrokerRequestHeader")]
    pub struct WipeWritePerm {
        /// Broker.
        broker_name: CompactString = "brokerName" or "",
    }

    /// Answer: how many topics changed.
    pub struct WipeWritePermResponse {
        /// Topics.
        wipe_topic_count: i32 = "wipeTopicCount",
    }

    /// Gives the write permission back (327).
    #[doc(alias = "AddWritePermOfBrokerRequestHeader")]
    pub struct AddWritePerm {
        /// Broker.
        broker_name: CompactString = "brokerName" or "",
    }

    /// Answer: how many topics changed.
    pub struct AddWritePermResponse {
        /// Topics.
        add_topic_count: i32 = "addTopicCount",
    }

    /// Answer to 26: version of the settings.
    pub struct BrokerConfigResponse {
        /// A [`DataVersion`](super::register::DataVersion) as JSON text.
        version: Option<CompactString> = "version",
    }
}

no_payload!(GetClusters, GetBrokerConfig, GetNamesrvConfig);
raw_body!(UpdateBrokerConfig, UpdateNamesrvConfig);
json_body!(ClusterTable);

conversation! {
    GetClusters = GET_BROKER_CLUSTER_INFO => ClusterTable;
    WipeWritePerm = WIPE_WRITE_PERM_OF_BROKER => WipeWritePermResponse;
    AddWritePerm = ADD_WRITE_PERM_OF_BROKER => AddWritePermResponse;
    GetBrokerConfig = GET_BROKER_CONFIG => (BrokerConfigResponse, Bytes);
    GetNamesrvConfig = GET_NAMESRV_CONFIG => Bytes;
    UpdateBrokerConfig = UPDATE_BROKER_CONFIG => ();
    UpdateNamesrvConfig = UPDATE_NAMESRV_CONFIG => ();
}
