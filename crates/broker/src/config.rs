//! Settings under the names and with the defaults of Apache RocketMQ 5.5.0, and those of them that
//! change while the broker runs.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use rmq_message::{CompactString, name};
use rmq_store::FlushDiskType;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits;

/// Settings of a broker. Times are milliseconds. Keys that also concern the store are read by both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BrokerConfig {
    /// Cluster.
    pub broker_cluster_name: CompactString,
    /// Name that this broker shares with its replicas.
    pub broker_name: CompactString,
    /// Id among the replicas; 0 is the master.
    pub broker_id: i64,
    /// Address that clients are told, and that stored messages carry.
    #[serde(rename = "brokerIP1")]
    pub broker_ip1: IpAddr,
    /// Port.
    pub listen_port: u16,
    /// Zone that name servers note; clients in zone mode use brokers of their own zone.
    pub zone_name: Option<CompactString>,
    /// The file that the settings came from; what requests change is written there.
    pub broker_config_path: Option<PathBuf>,
    /// Name servers: `host:port;host:port`. Empty: none.
    pub namesrv_addr: String,
    /// Bits: 4 read, 2 write.
    pub broker_permission: i32,
    /// Whether a send makes the topic it names.
    pub auto_create_topic_enable: bool,
    /// Whether the first use of a group makes it.
    pub auto_create_subscription_group: bool,
    /// Queues of a topic made by a send, and of the template topic.
    pub default_topic_queue_nums: i32,
    /// Whether topics may be made from the one named after the cluster.
    pub cluster_topic_enable: bool,
    /// Whether topics may be made from the one named after the broker.
    pub broker_topic_enable: bool,
    /// Whether there is a topic for traces.
    pub trace_topic_enable: bool,
    /// Its name.
    pub msg_trace_topic_name: CompactString,
    /// Whether clients are to trace what they send.
    pub trace_on: bool,
    /// Region that messages are marked with.
    pub region_id: CompactString,
    /// Largest body.
    pub max_message_size: usize,
    /// Delays of levels 1, 2, …
    pub message_delay_level: String,
    /// Whether pulls are held.
    pub long_polling_enable: bool,
    /// How long a pull is held when they are not.
    pub short_polling_time_mills: u64,
    /// Most messages of one pull.
    pub pull_batch_max_message_count: usize,
    /// Whether messages may wait until a moment of their own.
    pub timer_wheel_enable: bool,
    /// Longest such wait, seconds.
    pub timer_max_delay_sec: u32,
    /// Precision of such waits: 1,000 is the only one served.
    pub timer_precision_ms: u32,
    /// Such a message waits at most so many seconds, and then is stored anew for the rest.
    pub timer_roll_window_slot: u32,
    /// Bytes of a file of the timer log.
    pub mapped_file_size_timer_log: u64,
    /// Whether such messages may be taken back.
    pub recall_message_enable: bool,
    /// Whether consumers may filter by conditions over properties (SQL92).
    pub enable_property_filter: bool,
    /// Between registrations at the name servers; 10,000 to 60,000 take effect.
    pub register_name_server_period: u64,
    /// Longest wait for a name server.
    pub register_broker_timeout_mills: u64,
    /// Whether members of a group are told when it changes.
    pub notify_consumer_ids_changed_enable: bool,
    /// After this time without a heartbeat a client is gone.
    pub channel_expired_timeout: u64,
    /// Between writes of consumer progress.
    pub flush_consumer_offset_interval: u64,
    /// Between writes of the progress of delay levels.
    pub flush_delay_offset_interval: u64,
    /// Sends are refused before this moment, ms since 1970.
    pub start_accept_send_request_time_stamp: i64,
    /// Directory of the store; `config` in it holds the tables.
    pub store_path_root_dir: PathBuf,
    /// Whether messages of transactions are refused.
    pub reject_transaction_message: bool,
    /// Age at which the producer of an open transaction is asked about it.
    #[serde(rename = "transactionTimeOut")]
    pub transaction_timeout: u64,
    /// How often it is asked before the transaction is given up.
    pub transaction_check_max: u32,
    /// Between looks for open transactions.
    pub transaction_check_interval: u64,
    /// Hours after which files of the log expire, and with them open transactions.
    pub file_reserved_time: u64,
    /// Whether replies of request-reply exchanges are stored.
    pub store_reply_message_enable: bool,
    /// When a message is durable.
    pub flush_disk_type: FlushDiskType,
    /// Whether pop retry topics are named `%RETRY%group+topic` instead of `%RETRY%group_topic`.
    pub enable_retry_topic_v2: bool,
    /// With the former, whether those of the latter name are still read.
    pub retrieve_message_from_pop_retry_topic_v1: bool,
    /// Percent of pops that look into the retry topic first.
    pub pop_from_retry_probability: u64,
    /// The same of pops in the order of priorities.
    pub pop_from_retry_probability_for_priority: u64,
    /// Whether the highest queue stands for the highest priority; ordinary pops too go through the
    /// queues from there.
    pub priority_order_asc: bool,
    /// Queues of the revive topic.
    pub revive_queue_num: i32,
    /// Longest wait for a flush before a send is answered with "flush timed out".
    pub sync_flush_timeout: u64,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            broker_cluster_name: CompactString::const_new("DefaultCluster"),
            broker_name: CompactString::const_new("DEFAULT_BROKER"),
            broker_id: 0,
            broker_ip1: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listen_port: 10911,
            zone_name: None,
            broker_config_path: None,
            namesrv_addr: String::new(),
            broker_permission: 6,
            auto_create_topic_enable: true,
            auto_create_subscription_group: true,
            default_topic_queue_nums: 8,
            cluster_topic_enable: true,
            broker_topic_enable: true,
            trace_topic_enable: false,
            msg_trace_topic_name: CompactString::const_new(name::TRACE_TOPIC),
            trace_on: true,
            region_id: CompactString::const_new("DefaultRegion"),
            max_message_size: 4 << 20,
            message_delay_level: "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h"
                .to_owned(),
            long_polling_enable: true,
            short_polling_time_mills: 1000,
            pull_batch_max_message_count: 160,
            timer_wheel_enable: true,
            timer_max_delay_sec: 3 * 86_400,
            timer_precision_ms: 1000,
            timer_roll_window_slot: 2 * 86_400,
            mapped_file_size_timer_log: 100 << 20,
            recall_message_enable: false,
            enable_property_filter: false,
            register_name_server_period: 30_000,
            register_broker_timeout_mills: 24_000,
            notify_consumer_ids_changed_enable: true,
            channel_expired_timeout: 120_000,
            flush_consumer_offset_interval: 5000,
            flush_delay_offset_interval: 1000,
            start_accept_send_request_time_stamp: 0,
            store_path_root_dir: PathBuf::from("store"),
            reject_transaction_message: false,
            transaction_timeout: 6000,
            transaction_check_max: 15,
            transaction_check_interval: 30_000,
            file_reserved_time: 72,
            store_reply_message_enable: true,
            flush_disk_type: FlushDiskType::Sync,
            enable_retry_topic_v2: false,
            retrieve_message_from_pop_retry_topic_v1: true,
            pop_from_retry_probability: 20,
            pop_from_retry_probability_for_priority: 0,
            priority_order_asc: true,
            revive_queue_num: 8,
            sync_flush_timeout: 5000,
        }
    }
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// Its name.
    pub key: &'static str,
    /// What is wrong.
    pub problem: String,
}

fn check(ok: bool, key: &'static str, problem: &str) -> Result<(), ConfigError> {
    if ok { Ok(()) } else { Err(ConfigError { key, problem: problem.to_owned() }) }
}

impl BrokerConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`ConfigError`] names the first one that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (key, text) in [
            ("brokerClusterName", &self.broker_cluster_name),
            ("brokerName", &self.broker_name),
            ("regionId", &self.region_id),
            ("msgTraceTopicName", &self.msg_trace_topic_name),
        ] {
            // Names of brokers and clusters are names of topics too.
            name::validate_topic(text)
                .map_err(|error| ConfigError { key, problem: error.to_string() })?;
        }
        check(self.broker_id == 0, "brokerId", "only the master, 0, is served by this version")?;
        check((0..=15).contains(&self.broker_permission), "brokerPermission", "must be 0 to 15")?;
        check(
            (1..=limits::QUEUES_MAX).contains(&self.default_topic_queue_nums),
            "defaultTopicQueueNums",
            "must be 1 to 16384",
        )?;
        check(
            (1..=64 << 20).contains(&self.max_message_size),
            "maxMessageSize",
            "must be 1 byte to 64 MiB",
        )?;
        check(
            crate::delay::Levels::parse(&self.message_delay_level).is_some(),
            "messageDelayLevel",
            "must be 1 to 100 delays such as `1s 5m 2h 1d`",
        )?;
        check(self.timer_precision_ms == 1000, "timerPrecisionMs", "only 1000 is served")?;
        check(
            (2..=7 * 86_400 - 60).contains(&self.timer_roll_window_slot),
            "timerRollWindowSlot",
            "must be 2 to 604740 seconds, so that a tick fits into the wheel",
        )?;
        check(
            (4096..=1 << 30).contains(&self.mapped_file_size_timer_log),
            "mappedFileSizeTimerLog",
            "must be 4 KiB to 1 GiB",
        )?;
        check(
            self.pull_batch_max_message_count > 0,
            "pullBatchMaxMessageCount",
            "must be above 0",
        )?;
        check((1..=64).contains(&self.revive_queue_num), "reviveQueueNum", "must be 1 to 64")?;
        for (key, value) in [
            ("shortPollingTimeMills", self.short_polling_time_mills),
            ("channelExpiredTimeout", self.channel_expired_timeout),
            ("flushConsumerOffsetInterval", self.flush_consumer_offset_interval),
            ("flushDelayOffsetInterval", self.flush_delay_offset_interval),
            ("transactionTimeOut", self.transaction_timeout),
            ("transactionCheckInterval", self.transaction_check_interval),
            ("registerBrokerTimeoutMills", self.register_broker_timeout_mills),
            ("syncFlushTimeout", self.sync_flush_timeout),
        ] {
            check((1..=86_400_000).contains(&value), key, "must be 1 ms to a day")?;
        }
        self.name_servers().map(drop)
    }

    /// The name servers.
    ///
    /// # Errors
    /// [`ConfigError`] when one of them is no `host:port`.
    pub fn name_servers(&self) -> Result<Vec<rmq_remoting::Endpoint>, ConfigError> {
        self.namesrv_addr
            .split(';')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(|text| {
                text.parse().map_err(|error: rmq_remoting::EndpointError| ConfigError {
                    key: "namesrvAddr",
                    problem: error.to_string(),
                })
            })
            .collect()
    }
}

/// The settings that an operator may change while the broker runs (request 25).
#[derive(Debug)]
pub(crate) struct Live {
    permission: AtomicI32,
    auto_create_topic: AtomicBool,
    auto_create_group: AtomicBool,
    default_queues: AtomicI32,
    long_polling: AtomicBool,
    notify: AtomicBool,
    short_polling_ms: AtomicU64,
    pull_count_max: AtomicU64,
}

/// Why a setting is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LiveError {
    /// Nobody may change it from outside.
    Forbidden,
    /// It takes a restart.
    Fixed,
    /// The text is no value of it.
    Value,
}

impl Live {
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        Self {
            permission: AtomicI32::new(config.broker_permission),
            auto_create_topic: AtomicBool::new(config.auto_create_topic_enable),
            auto_create_group: AtomicBool::new(config.auto_create_subscription_group),
            default_queues: AtomicI32::new(config.default_topic_queue_nums),
            long_polling: AtomicBool::new(config.long_polling_enable),
            notify: AtomicBool::new(config.notify_consumer_ids_changed_enable),
            short_polling_ms: AtomicU64::new(config.short_polling_time_mills),
            pull_count_max: AtomicU64::new(config.pull_batch_max_message_count as u64),
        }
    }

    pub(crate) fn permission(&self) -> i32 {
        self.permission.load(Ordering::Relaxed)
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.permission() & rmq_remoting::protocol::topic::perm::READ != 0
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.permission() & rmq_remoting::protocol::topic::perm::WRITE != 0
    }

    pub(crate) fn auto_create_topic(&self) -> bool {
        self.auto_create_topic.load(Ordering::Relaxed)
    }

    pub(crate) fn auto_create_group(&self) -> bool {
        self.auto_create_group.load(Ordering::Relaxed)
    }

    pub(crate) fn default_queues(&self) -> i32 {
        self.default_queues.load(Ordering::Relaxed)
    }

    pub(crate) fn long_polling(&self) -> bool {
        self.long_polling.load(Ordering::Relaxed)
    }

    pub(crate) fn notify(&self) -> bool {
        self.notify.load(Ordering::Relaxed)
    }

    /// How long a pull is held when long polling is off.
    pub(crate) fn short_polling(&self) -> Duration {
        Duration::from_millis(self.short_polling_ms.load(Ordering::Relaxed))
    }

    /// Most messages of one pull.
    pub(crate) fn pull_count_max(&self) -> usize {
        usize::try_from(self.pull_count_max.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    /// Whether `set` would do it.
    pub(crate) fn check(&self, key: &str, value: &str) -> Result<(), LiveError> {
        self.with(key, value, false)
    }

    /// Changes a setting.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<(), LiveError> {
        self.with(key, value, true)
    }

    fn with(&self, key: &str, value: &str, store: bool) -> Result<(), LiveError> {
        let int = |cell: &AtomicI32, range: std::ops::RangeInclusive<i32>| {
            let value = value.parse().ok().filter(|value| range.contains(value));
            let value = value.ok_or(LiveError::Value)?;
            if store {
                cell.store(value, Ordering::Relaxed);
            }
            Ok(())
        };
        let long = |cell: &AtomicU64, range: std::ops::RangeInclusive<u64>| {
            let value = value.parse().ok().filter(|value| range.contains(value));
            let value = value.ok_or(LiveError::Value)?;
            if store {
                cell.store(value, Ordering::Relaxed);
            }
            Ok(())
        };
        let bool = |cell: &AtomicBool| {
            let value = value.to_ascii_lowercase().parse().map_err(|_| LiveError::Value)?;
            if store {
                cell.store(value, Ordering::Relaxed);
            }
            Ok(())
        };
        match key {
            "brokerPermission" => int(&self.permission, 0..=15),
            "defaultTopicQueueNums" => int(&self.default_queues, 1..=limits::QUEUES_MAX),
            "autoCreateTopicEnable" => bool(&self.auto_create_topic),
            "autoCreateSubscriptionGroup" => bool(&self.auto_create_group),
            "longPollingEnable" => bool(&self.long_polling),
            "notifyConsumerIdsChangedEnable" => bool(&self.notify),
            "shortPollingTimeMills" => long(&self.short_polling_ms, 1..=86_400_000),
            "pullBatchMaxMessageCount" => long(&self.pull_count_max, 1..=1 << 20),
            "rocketmqHome" | "configBlackList" => Err(LiveError::Forbidden),
            key if key.contains("Path") => Err(LiveError::Forbidden),
            _ => Err(LiveError::Fixed),
        }
    }

    /// The configuration with what has been changed since.
    pub(crate) fn applied(&self, config: &BrokerConfig) -> BrokerConfig {
        BrokerConfig {
            broker_permission: self.permission(),
            auto_create_topic_enable: self.auto_create_topic(),
            auto_create_subscription_group: self.auto_create_group(),
            default_topic_queue_nums: self.default_queues(),
            long_polling_enable: self.long_polling(),
            notify_consumer_ids_changed_enable: self.notify(),
            short_polling_time_mills: self.short_polling_ms.load(Ordering::Relaxed),
            pull_batch_max_message_count: self.pull_count_max(),
            ..config.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_apache() {
        let text = r#"{"brokerIP1":"10.0.0.7","listenPort":0,"namesrvAddr":"a:1; b:2"}"#;
        let config: BrokerConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.broker_ip1.to_string(), "10.0.0.7");
        assert_eq!(config.name_servers().unwrap().len(), 2);
    }

    #[test]
    fn senseless_settings_are_named() {
        let wrong = |config: BrokerConfig| config.validate().unwrap_err().key;
        let base = BrokerConfig::default;
        assert_eq!(wrong(BrokerConfig { broker_name: "a b".into(), ..base() }), "brokerName");
        assert_eq!(wrong(BrokerConfig { namesrv_addr: "nowhere".into(), ..base() }), "namesrvAddr");
        assert_eq!(
            wrong(BrokerConfig { message_delay_level: "1s 5x".into(), ..base() }),
            "messageDelayLevel"
        );
    }

    #[test]
    fn only_listed_settings_change_while_running() {
        let live = Live::new(&BrokerConfig::default());
        assert_eq!(live.set("brokerPermission", "4"), Ok(()));
        assert!(!live.is_writable() && live.is_readable());
        assert_eq!(live.set("brokerPermission", "99"), Err(LiveError::Value));
        assert_eq!(live.set("listenPort", "1"), Err(LiveError::Fixed));
        for key in ["storePathRootDir", "brokerConfigPath", "authConfigPath", "rocketmqHome"] {
            assert_eq!(live.set(key, "/"), Err(LiveError::Forbidden), "{key}");
        }
        assert_eq!(live.set("pullBatchMaxMessageCount", "0"), Err(LiveError::Value));
        assert_eq!(live.set("shortPollingTimeMills", "5"), Ok(()));
        assert_eq!(live.short_polling(), Duration::from_millis(5));
        assert_eq!(live.applied(&BrokerConfig::default()).broker_permission, 4);
    }
}
