//! Messages by key (12) and by physical offset (33).

use bytes::Bytes;
use compact_str::CompactString;

use super::declare::{conversation, header};

header! {
    /// Asks for messages by key (12); code 22 when there is none.
    #[doc(alias = "QueryMessageRequestHeader")]
    pub struct QueryMessage {
        /// Topic.
        topic: CompactString = "topic" or "",
        /// Key.
        key: CompactString = "key" or "",
        /// Most messages wanted.
        max_num: i32 = "maxNum",
        /// From, ms since 1970.
        begin_timestamp: i64 = "beginTimestamp",
        /// Until, ms since 1970.
        end_timestamp: i64 = "endTimestamp",
        /// `K`: keys, `U`: unique key, `T`: tag.
        index_type: Option<CompactString> = "indexType",
        /// Where an earlier page ended.
        last_key: Option<CompactString> = "lastKey",
        /// Whether the key is the unique key.
        unique_key: Option<bool> = "_UNIQUE_KEY_QUERY",
    }

    /// Answer to a query by key; the body is the stored messages.
    #[doc(alias = "QueryMessageResponseHeader")]
    pub struct QueryResponse {
        /// Store time of the last indexed message.
        index_last_update_timestamp: i64 = "indexLastUpdateTimestamp" or 0,
        /// Physical offset of the last indexed message; misspelt on the wire.
        index_last_update_phyoffset: i64 = "indexLastUpdatePhyoffset" or 0,
    }

    /// Asks for the message at a physical offset (33); the body of the answer is the stored
    /// message.
    #[doc(alias = "ViewMessageRequestHeader")]
    pub struct ViewMessage {
        /// Topic.
        topic: Option<CompactString> = "topic",
        /// Physical offset.
        offset: i64 = "offset",
    }
}

conversation! {
    QueryMessage = QUERY_MESSAGE => (QueryResponse, Bytes);
    ViewMessage = VIEW_MESSAGE_BY_ID => Bytes;
}
