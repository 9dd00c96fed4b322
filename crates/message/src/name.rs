//! What topics and groups may be called, and the names with a meaning.

use thiserror::Error;

/// Prefix of a group's retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's dead-letter topic.
pub const DLQ_PREFIX: &str = "%DLQ%";
/// The topic from which others are created on their first send.
pub const AUTO_CREATE_TOPIC: &str = "TBW102";
/// Where messages with a delay level wait.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Where half messages wait.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Where ends of transactions are noted.
pub const OP_HALF_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages of the RocksDB engine.
pub const ROCKSDB_HALF_TOPIC: &str = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC";
/// Ends of transactions of the RocksDB engine.
pub const ROCKSDB_OP_HALF_TOPIC: &str = "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC";
/// Where undecided transactions end.
pub const TRANS_CHECK_MAX_TIME_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// Self test.
pub const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
/// Benchmarks.
pub const BENCHMARK_TOPIC: &str = "BenchmarkTest";
/// Moved offsets.
pub const OFFSET_MOVED_TOPIC: &str = "OFFSET_MOVED_EVENT";
/// Message traces.
pub const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";
/// Where messages with a delivery time wait.
pub const TIMER_TOPIC: &str = "rmq_sys_wheel_timer";
/// Prefix of pop's revive topics.
pub const REVIVE_PREFIX: &str = "rmq_sys_REVIVE_LOG_";
/// Prefix of the topics by which brokers of one name keep in touch.
pub const SYNC_MEMBER_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
/// Suffix of a cluster's reply topic.
pub const REPLY_SUFFIX: &str = "REPLY_TOPIC";
/// Prefix of system groups.
pub const SYSTEM_GROUP_PREFIX: &str = "CID_RMQ_SYS_";
/// Group of the producer inside a client.
pub const CLIENT_INNER_PRODUCER: &str = "CLIENT_INNER_PRODUCER";
/// The consumer group that must be replaced by a real name.
pub const DEFAULT_CONSUMER: &str = "DEFAULT_CONSUMER";
/// The producer group that must be replaced by a real name.
pub const DEFAULT_PRODUCER: &str = "DEFAULT_PRODUCER";

/// Longest ordinary topic name, in characters.
pub const TOPIC_LEN_MAX: usize = 127;
/// Longest name of a retry or dead-letter topic, in characters.
pub const RETRY_TOPIC_LEN_MAX: usize = 255;
/// Longest group name, in characters.
pub const GROUP_LEN_MAX: usize = 120;

/// Groups that every broker knows.
pub const SYSTEM_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

/// Topics to which clients may not send.
const NOT_ALLOWED: [&str; 8] = [
    SCHEDULE_TOPIC,
    HALF_TOPIC,
    OP_HALF_TOPIC,
    ROCKSDB_HALF_TOPIC,
    ROCKSDB_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_TOPIC,
];

/// System topics whose names do not depend on the broker's own name.
const SYSTEM_TOPICS: [&str; 12] = [
    AUTO_CREATE_TOPIC,
    SCHEDULE_TOPIC,
    BENCHMARK_TOPIC,
    HALF_TOPIC,
    OP_HALF_TOPIC,
    ROCKSDB_HALF_TOPIC,
    ROCKSDB_OP_HALF_TOPIC,
    TRANS_CHECK_MAX_TIME_TOPIC,
    TRACE_TOPIC,
    SELF_TEST_TOPIC,
    OFFSET_MOVED_TOPIC,
    "CHECKPOINT_TOPIC",
];

/// Why a name is refused. The texts are those of Apache RocketMQ's client.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Empty or only blanks.
    #[error("the specified {kind} is blank")]
    Blank {
        /// `topic` or `group`.
        kind: &'static str,
    },
    /// Too long.
    #[error("the specified {kind}[{name}] is longer than {kind} max length: {max}.")]
    TooLong {
        /// `topic` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The bound, in characters.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error(
        "the specified {kind}[{name}] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
    )]
    Illegal {
        /// `topic` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
}

/// Whether every character may stand in a topic or group name.
pub fn is_legal(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'-' | b'_'))
}

fn validate(kind: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank { kind });
    }
    if name.chars().count() > max {
        return Err(NameError::TooLong { kind, name: name.chars().take(max).collect(), max });
    }
    if !is_legal(name) {
        return Err(NameError::Illegal { kind, name: name.to_owned() });
    }
    Ok(())
}

/// Checks a topic name as a client does before it sends or subscribes: at most 127 characters, or
/// 255 for retry and dead-letter topics.
pub fn validate_topic(topic: &str) -> Result<(), NameError> {
    let long = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
    validate("topic", topic, if long { RETRY_TOPIC_LEN_MAX } else { TOPIC_LEN_MAX })
}

/// Checks a group name: at most 120 characters.
pub fn validate_group(group: &str) -> Result<(), NameError> {
    validate("group", group, GROUP_LEN_MAX)
}

/// The retry topic of a group.
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The dead-letter topic of a group.
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// Whether the topic is some group's retry topic.
pub fn is_retry(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX)
}

/// Whether the topic is some group's dead-letter topic.
pub fn is_dlq(topic: &str) -> bool {
    topic.starts_with(DLQ_PREFIX)
}

/// Whether the topic belongs to the system on every broker. Topics named after a broker or its
/// cluster are system topics too, but only that broker knows them.
pub fn is_system_topic(topic: &str) -> bool {
    topic.starts_with("rmq_sys_") || SYSTEM_TOPICS.contains(&topic)
}

/// Whether clients may send to the topic.
pub fn is_sendable(topic: &str) -> bool {
    !NOT_ALLOWED.contains(&topic)
}

/// Whether the group belongs to the system.
pub fn is_system_group(group: &str) -> bool {
    group.starts_with(SYSTEM_GROUP_PREFIX) || SYSTEM_GROUPS.contains(&group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_names_of_the_alphabet_pass() {
        assert_eq!(validate_topic("Order-Paid_1|%"), Ok(()));
        assert!(matches!(validate_topic(" "), Err(NameError::Blank { .. })));
        assert!(matches!(validate_topic("../../x"), Err(NameError::Illegal { .. })));
        assert!(matches!(validate_topic("a\0b"), Err(NameError::Illegal { .. })));
        assert!(matches!(validate_topic("bestеllung"), Err(NameError::Illegal { .. })));
        assert!(matches!(validate_topic(&"a".repeat(128)), Err(NameError::TooLong { .. })));
        assert_eq!(validate_topic(&retry_topic(&"a".repeat(200))), Ok(()));
        assert!(matches!(validate_group(&"a".repeat(121)), Err(NameError::TooLong { .. })));
    }

    #[test]
    fn errors_read_as_the_java_client_says_them() {
        assert_eq!(validate_group("").unwrap_err().to_string(), "the specified group is blank");
        assert_eq!(
            validate_group("a b").unwrap_err().to_string(),
            "the specified group[a b] contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$"
        );
    }
}
