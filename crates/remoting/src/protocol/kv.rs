//! The small key-value store of name servers (100, 101, 102, 219).

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body};

/// Namespace of the ordered topics.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

header! {
    /// Sets a value (100).
    #[doc(alias = "PutKVConfigRequestHeader")]
    pub struct PutKv {
        /// Namespace.
        namespace: CompactString = "namespace",
        /// Key.
        key: CompactString = "key",
        /// Value.
        value: CompactString = "value",
    }

    /// Asks for a value (101); code 22 when there is none.
    #[doc(alias = "GetKVConfigRequestHeader")]
    pub struct GetKv {
        /// Namespace.
        namespace: CompactString = "namespace" or "",
        /// Key.
        key: CompactString = "key" or "",
    }

    /// Answer with a value.
    pub struct KvResponse {
        /// Value.
        value: Option<CompactString> = "value",
    }

    /// Removes a value (102).
    #[doc(alias = "DeleteKVConfigRequestHeader")]
    pub struct DeleteKv {
        /// Namespace.
        namespace: CompactString = "namespace" or "",
        /// Key.
        key: CompactString = "key" or "",
    }

    /// Asks for all values of a namespace (219); code 22 when there is none.
    #[doc(alias = "GetKVListByNamespaceRequestHeader")]
    pub struct ListKv {
        /// Namespace.
        namespace: CompactString = "namespace" or "",
    }
}

/// Names and values; also the answer to 28, the state of a broker.
#[doc(alias = "KVTable")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KvTable {
    /// Values by name.
    pub table: BTreeMap<CompactString, CompactString>,
}

json_body!(KvTable);

conversation! {
    PutKv = PUT_KV_CONFIG => ();
    GetKv = GET_KV_CONFIG => KvResponse;
    DeleteKv = DELETE_KV_CONFIG => ();
    ListKv = GET_KVLIST_BY_NAMESPACE => KvTable;
}
