//! The request codes of RocketMQ 5.5.0: one table of what each is called, who serves it and how
//! large its body may be.

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestCode {
    /// Number on the wire.
    pub code: i32,
    /// Name in the protocol.
    pub name: &'static str,
    /// Who serves it.
    pub served_by: ServedBy,
    /// What kind of traffic it is.
    pub traffic: Traffic,
    /// How large its body may be.
    pub body: BodyLimit,
}

/// Who serves a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServedBy {
    /// The name server.
    NameServer,
    /// The broker; some requests are relayed to a client.
    Broker,
    /// A client, asked by its broker.
    Client,
    /// The controller.
    Controller,
    /// Declared, but served by no release.
    Nobody,
}

/// Kinds of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// One or more for each message or batch.
    Hot,
    /// Ordinary work of clients and servers.
    Ordinary,
    /// Tools, replication, people.
    Admin,
}

/// Classes of body size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyLimit {
    /// No body is expected: 64 KiB.
    Small,
    /// A document: 8 MiB.
    Document,
    /// Messages: whatever fits into a frame.
    Message,
}

impl BodyLimit {
    /// The limit in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Small => 64 << 10,
            Self::Document => 8 << 20,
            Self::Message => crate::frame::FRAME_MAX,
        }
    }
}

macro_rules! codes {
    ($($name:ident = $code:literal $served_by:ident $traffic:ident $body:ident,)*) => {
        $(#[doc = concat!("`", stringify!($name), "`")] pub const $name: i32 = $code;)*

        /// All codes in ascending order.
        pub const ALL: &[RequestCode] = &[$(RequestCode {
            code: $code,
            name: stringify!($name),
            served_by: ServedBy::$served_by,
            traffic: Traffic::$traffic,
            body: BodyLimit::$body,
        },)*];
    };
}

/// The row of a code; `None` for a number that 5.5.0 does not know.
pub fn find(code: i32) -> Option<&'static RequestCode> {
    let at = ALL.binary_search_by_key(&code, |row| row.code).ok()?;
    ALL.get(at)
}

/// The name of a code, for logs.
pub fn name(code: i32) -> &'static str {
    find(code).map_or("UNKNOWN", |row| row.name)
}

codes! {
    SEND_MESSAGE = 10 Broker Hot Message,
    PULL_MESSAGE = 11 Broker Hot Small,
    QUERY_MESSAGE = 12 Broker Admin Small,
    QUERY_BROKER_OFFSET = 13 Nobody Admin Small,
    QUERY_CONSUMER_OFFSET = 14 Broker Ordinary Small,
    UPDATE_CONSUMER_OFFSET = 15 Broker Hot Small,
    UPDATE_AND_CREATE_TOPIC = 17 Broker Ordinary Document,
    UPDATE_AND_CREATE_TOPIC_LIST = 18 Broker Admin Document,
    GET_ALL_TOPIC_CONFIG = 21 Broker Admin Small,
    GET_TOPIC_CONFIG_LIST = 22 Nobody Admin Small,
    GET_TOPIC_NAME_LIST = 23 Nobody Admin Small,
    UPDATE_BROKER_CONFIG = 25 Broker Admin Document,
    GET_BROKER_CONFIG = 26 Broker Admin Small,
    TRIGGER_DELETE_FILES = 27 Nobody Admin Small,
    GET_BROKER_RUNTIME_INFO = 28 Broker Admin Small,
    SEARCH_OFFSET_BY_TIMESTAMP = 29 Broker Ordinary Small,
    GET_MAX_OFFSET = 30 Broker Ordinary Small,
    GET_MIN_OFFSET = 31 Broker Ordinary Small,
    GET_EARLIEST_MSG_STORETIME = 32 Broker Admin Small,
    VIEW_MESSAGE_BY_ID = 33 Broker Admin Small,
    HEART_BEAT = 34 Broker Ordinary Document,
    UNREGISTER_CLIENT = 35 Broker Ordinary Small,
    CONSUMER_SEND_MSG_BACK = 36 Broker Ordinary Small,
    END_TRANSACTION = 37 Broker Ordinary Small,
    GET_CONSUMER_LIST_BY_GROUP = 38 Broker Ordinary Small,
    CHECK_TRANSACTION_STATE = 39 Client Ordinary Message,
    NOTIFY_CONSUMER_IDS_CHANGED = 40 Client Ordinary Small,
    LOCK_BATCH_MQ = 41 Broker Ordinary Document,
    UNLOCK_BATCH_MQ = 42 Broker Ordinary Document,
    GET_ALL_CONSUMER_OFFSET = 43 Broker Admin Small,
    GET_ALL_DELAY_OFFSET = 45 Broker Admin Small,
    CHECK_CLIENT_CONFIG = 46 Broker Ordinary Document,
    GET_CLIENT_CONFIG = 47 Nobody Admin Small,
    GET_TIMER_CHECK_POINT = 60 Broker Admin Small,
    GET_TIMER_METRICS = 61 Broker Admin Small,
    PUT_KV_CONFIG = 100 NameServer Admin Small,
    GET_KV_CONFIG = 101 NameServer Admin Small,
    DELETE_KV_CONFIG = 102 NameServer Admin Small,
    REGISTER_BROKER = 103 NameServer Ordinary Document,
    UNREGISTER_BROKER = 104 NameServer Ordinary Small,
    GET_ROUTEINFO_BY_TOPIC = 105 NameServer Ordinary Small,
    GET_BROKER_CLUSTER_INFO = 106 NameServer Ordinary Small,
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP = 200 Broker Ordinary Document,
    GET_ALL_SUBSCRIPTIONGROUP_CONFIG = 201 Broker Admin Small,
    GET_TOPIC_STATS_INFO = 202 Broker Admin Small,
    GET_CONSUMER_CONNECTION_LIST = 203 Broker Admin Small,
    GET_PRODUCER_CONNECTION_LIST = 204 Broker Admin Small,
    WIPE_WRITE_PERM_OF_BROKER = 205 NameServer Admin Small,
    GET_ALL_TOPIC_LIST_FROM_NAMESERVER = 206 NameServer Admin Small,
    DELETE_SUBSCRIPTIONGROUP = 207 Broker Admin Small,
    GET_CONSUME_STATS = 208 Broker Admin Small,
    SUSPEND_CONSUMER = 209 Nobody Admin Small,
    RESUME_CONSUMER = 210 Nobody Admin Small,
    RESET_CONSUMER_OFFSET_IN_CONSUMER = 211 Nobody Admin Small,
    RESET_CONSUMER_OFFSET_IN_BROKER = 212 Nobody Admin Small,
    ADJUST_CONSUMER_THREAD_POOL = 213 Nobody Admin Small,
    WHO_CONSUME_THE_MESSAGE = 214 Nobody Admin Small,
    DELETE_TOPIC_IN_BROKER = 215 Broker Admin Small,
    DELETE_TOPIC_IN_NAMESRV = 216 NameServer Admin Small,
    REGISTER_TOPIC_IN_NAMESRV = 217 NameServer Admin Document,
    GET_KVLIST_BY_NAMESPACE = 219 NameServer Admin Small,
    RESET_CONSUMER_CLIENT_OFFSET = 220 Client Admin Document,
    GET_CONSUMER_STATUS_FROM_CLIENT = 221 Client Admin Small,
    INVOKE_BROKER_TO_RESET_OFFSET = 222 Broker Admin Small,
    INVOKE_BROKER_TO_GET_CONSUMER_STATUS = 223 Broker Admin Small,
    GET_TOPICS_BY_CLUSTER = 224 NameServer Admin Small,
    UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST = 225 Broker Admin Document,
    QUERY_TOPIC_CONSUME_BY_WHO = 300 Broker Admin Small,
    REGISTER_FILTER_SERVER = 301 Nobody Admin Small,
    REGISTER_MESSAGE_FILTER_CLASS = 302 Nobody Admin Small,
    QUERY_CONSUME_TIME_SPAN = 303 Broker Admin Small,
    GET_SYSTEM_TOPIC_LIST_FROM_NS = 304 NameServer Admin Small,
    GET_SYSTEM_TOPIC_LIST_FROM_BROKER = 305 Broker Admin Small,
    CLEAN_EXPIRED_CONSUMEQUEUE = 306 Broker Admin Small,
    GET_CONSUMER_RUNNING_INFO = 307 Broker Admin Small,
    QUERY_CORRECTION_OFFSET = 308 Broker Admin Small,
    CONSUME_MESSAGE_DIRECTLY = 309 Broker Admin Message,
    SEND_MESSAGE_V2 = 310 Broker Hot Message,
    GET_UNIT_TOPIC_LIST = 311 NameServer Admin Small,
    GET_HAS_UNIT_SUB_TOPIC_LIST = 312 NameServer Admin Small,
    GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST = 313 NameServer Admin Small,
    CLONE_GROUP_OFFSET = 314 Broker Admin Small,
    VIEW_BROKER_STATS_DATA = 315 Broker Admin Small,
    CLEAN_UNUSED_TOPIC = 316 Broker Admin Small,
    GET_BROKER_CONSUME_STATS = 317 Broker Admin Small,
    UPDATE_NAMESRV_CONFIG = 318 NameServer Admin Document,
    GET_NAMESRV_CONFIG = 319 NameServer Admin Small,
    SEND_BATCH_MESSAGE = 320 Broker Hot Message,
    QUERY_CONSUME_QUEUE = 321 Broker Admin Small,
    QUERY_DATA_VERSION = 322 NameServer Ordinary Document,
    RESUME_CHECK_HALF_MESSAGE = 323 Broker Admin Small,
    SEND_REPLY_MESSAGE = 324 Broker Admin Message,
    SEND_REPLY_MESSAGE_V2 = 325 Broker Admin Message,
    PUSH_REPLY_MESSAGE_TO_CLIENT = 326 Client Admin Message,
    ADD_WRITE_PERM_OF_BROKER = 327 NameServer Admin Small,
    GET_ALL_PRODUCER_INFO = 328 Broker Admin Small,
    DELETE_EXPIRED_COMMITLOG = 329 Broker Admin Small,
    QUERY_TOPICS_BY_CONSUMER = 343 Broker Admin Small,
    QUERY_SUBSCRIPTION_BY_CONSUMER = 345 Broker Admin Small,
    GET_TOPIC_CONFIG = 351 Broker Admin Small,
    GET_SUBSCRIPTIONGROUP_CONFIG = 352 Broker Admin Small,
    UPDATE_AND_GET_GROUP_FORBIDDEN = 353 Broker Admin Small,
    CHECK_ROCKSDB_CQ_WRITE_PROGRESS = 354 Broker Admin Small,
    EXPORT_ROCKSDB_CONFIG_TO_JSON = 355 Broker Admin Small,
    LITE_PULL_MESSAGE = 361 Broker Hot Small,
    RECALL_MESSAGE = 370 Broker Admin Small,
    QUERY_ASSIGNMENT = 400 Broker Admin Document,
    SET_MESSAGE_REQUEST_MODE = 401 Broker Admin Document,
    GET_ALL_MESSAGE_REQUEST_MODE = 402 Broker Admin Small,
    UPDATE_AND_CREATE_STATIC_TOPIC = 513 Broker Admin Document,
    GET_BROKER_MEMBER_GROUP = 901 NameServer Admin Small,
    ADD_BROKER = 902 Broker Admin Document,
    REMOVE_BROKER = 903 Broker Admin Small,
    BROKER_HEARTBEAT = 904 NameServer Admin Small,
    NOTIFY_MIN_BROKER_ID_CHANGE = 905 Broker Admin Small,
    EXCHANGE_BROKER_HA_INFO = 906 Broker Admin Small,
    GET_BROKER_HA_STATUS = 907 Broker Admin Small,
    RESET_MASTER_FLUSH_OFFSET = 908 Broker Admin Small,
    CONTROLLER_ALTER_SYNC_STATE_SET = 1001 Controller Admin Document,
    CONTROLLER_ELECT_MASTER = 1002 Controller Admin Small,
    CONTROLLER_REGISTER_BROKER = 1003 Controller Admin Small,
    CONTROLLER_GET_REPLICA_INFO = 1004 Controller Admin Small,
    CONTROLLER_GET_METADATA_INFO = 1005 Controller Admin Small,
    CONTROLLER_GET_SYNC_STATE_DATA = 1006 Controller Admin Document,
    GET_BROKER_EPOCH_CACHE = 1007 Broker Admin Small,
    NOTIFY_BROKER_ROLE_CHANGED = 1008 Broker Admin Document,
    UPDATE_CONTROLLER_CONFIG = 1009 Controller Admin Document,
    GET_CONTROLLER_CONFIG = 1010 Controller Admin Small,
    CLEAN_BROKER_DATA = 1011 Controller Admin Small,
    CONTROLLER_GET_NEXT_BROKER_ID = 1012 Controller Admin Small,
    CONTROLLER_APPLY_BROKER_ID = 1013 Controller Admin Small,
    UPDATE_COLD_DATA_FLOW_CTR_CONFIG = 2001 Broker Admin Document,
    REMOVE_COLD_DATA_FLOW_CTR_CONFIG = 2002 Broker Admin Document,
    GET_COLD_DATA_FLOW_CTR_INFO = 2003 Broker Admin Small,
    SET_COMMITLOG_READ_MODE = 2004 Broker Admin Small,
    AUTH_CREATE_USER = 3001 Broker Admin Document,
    AUTH_UPDATE_USER = 3002 Broker Admin Document,
    AUTH_DELETE_USER = 3003 Broker Admin Small,
    AUTH_GET_USER = 3004 Broker Admin Small,
    AUTH_LIST_USER = 3005 Broker Admin Small,
    AUTH_CREATE_ACL = 3006 Broker Admin Document,
    AUTH_UPDATE_ACL = 3007 Broker Admin Document,
    AUTH_DELETE_ACL = 3008 Broker Admin Small,
    AUTH_GET_ACL = 3009 Broker Admin Small,
    AUTH_LIST_ACL = 3010 Broker Admin Small,
    SWITCH_TIMER_ENGINE = 5001 Broker Admin Small,
    POP_MESSAGE = 200050 Broker Hot Small,
    ACK_MESSAGE = 200051 Broker Hot Small,
    PEEK_MESSAGE = 200052 Broker Admin Small,
    CHANGE_MESSAGE_INVISIBLETIME = 200053 Broker Hot Small,
    NOTIFICATION = 200054 Broker Admin Small,
    POLLING_INFO = 200055 Broker Admin Small,
    POP_ROLLBACK = 200056 Broker Admin Small,
    POP_LITE_MESSAGE = 200070 Broker Admin Small,
    LITE_SUBSCRIPTION_CTL = 200071 Broker Admin Document,
    ACK_LITE_MESSAGE = 200072 Nobody Admin Small,
    NOTIFY_UNSUBSCRIBE_LITE = 200073 Client Admin Small,
    GET_BROKER_LITE_INFO = 200074 Broker Admin Small,
    GET_PARENT_TOPIC_INFO = 200075 Broker Admin Small,
    GET_LITE_TOPIC_INFO = 200076 Broker Admin Small,
    GET_LITE_CLIENT_INFO = 200077 Broker Admin Small,
    GET_LITE_GROUP_INFO = 200078 Broker Admin Small,
    TRIGGER_LITE_DISPATCH = 200079 Broker Admin Small,
    BATCH_ACK_MESSAGE = 200151 Broker Hot Document,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_holds_each_code_once_in_order() {
        assert_eq!(ALL.len(), 164);
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
    }

    #[test]
    fn code_is_found_by_its_number_only_when_listed() {
        assert_eq!(find(SEND_MESSAGE_V2).map(|row| row.name), Some("SEND_MESSAGE_V2"));
        assert_eq!(find(200_151).map(|row| row.traffic), Some(Traffic::Hot));
        assert_eq!(find(13_333), None);
    }
}
