//! Settings of a name server, under the names and with the defaults of Apache RocketMQ 5.5.0, except
//! that it listens on the loopback address only.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Settings. Times are milliseconds where the name does not say else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NamesrvConfig {
    /// Address to listen on.
    pub bind_address: IpAddr,
    /// Port to listen on; 0 takes any that is free.
    pub listen_port: u16,
    /// File of the key-value store; without one it lives in memory only.
    pub kv_config_path: Option<PathBuf>,
    /// The file that the settings came from; what requests change is written there.
    pub config_store_path: Option<PathBuf>,
    /// Whether routes tell the queues of ordered topics.
    pub order_message_enable: bool,
    /// Whether brokers are told the ordered topics when they register.
    pub return_order_topic_config_to_broker: bool,
    /// Milliseconds between looks for silent brokers.
    pub scan_not_active_broker_interval: u64,
    /// Whether the lowest replica may stand in for a missing master in routes.
    pub support_acting_master: bool,
    /// Whether all topics may be listed.
    pub enable_all_topic_list: bool,
    /// Whether topics may be listed by cluster or unit.
    pub enable_topic_list: bool,
    /// Whether replicas are told when the lowest of them changes.
    pub notify_min_broker_id_changed: bool,
    /// Whether routes are refused for the first [`wait_seconds_for_service`](Self::wait_seconds_for_service).
    pub need_wait_for_service: bool,
    /// Seconds in which brokers are given the time to register.
    pub wait_seconds_for_service: u64,
    /// Whether a topic goes when its broker registers without it.
    pub delete_topic_with_broker_registration: bool,
}

impl Default for NamesrvConfig {
    fn default() -> Self {
        Self {
            bind_address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listen_port: 9876,
            kv_config_path: None,
            config_store_path: None,
            order_message_enable: false,
            return_order_topic_config_to_broker: true,
            scan_not_active_broker_interval: 5000,
            support_acting_master: false,
            enable_all_topic_list: true,
            enable_topic_list: true,
            notify_min_broker_id_changed: false,
            need_wait_for_service: false,
            wait_seconds_for_service: 45,
            delete_topic_with_broker_registration: false,
        }
    }
}

/// Keys that a request may never touch.
const BLACK_LIST: [&str; 4] =
    ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

/// A setting that makes no sense, or may not be changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The value is none for this key.
    #[error("{key}: {problem}")]
    Value {
        /// Its name.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The key names a path.
    #[error("Can not update config in black list.")]
    BlackListed,
    /// The key cannot change while the server runs.
    #[error("`{key}` cannot be changed while the name server runs")]
    Fixed {
        /// Its name.
        key: String,
    },
    /// There is no such key.
    #[error("there is no setting `{key}`")]
    Unknown {
        /// Its name.
        key: String,
    },
}

impl NamesrvConfig {
    /// Time between looks for silent brokers.
    pub fn scan_interval(&self) -> Duration {
        Duration::from_millis(self.scan_not_active_broker_interval)
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`ConfigError::Value`] names the first that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let check = |ok: bool, key: &str, problem: &str| {
            let (key, problem) = (key.to_owned(), problem.to_owned());
            if ok { Ok(()) } else { Err(ConfigError::Value { key, problem }) }
        };
        let scan = self.scan_not_active_broker_interval;
        check(
            (100..=600_000).contains(&scan),
            "scanNotActiveBrokerInterval",
            "must be 100 to 600,000 ms",
        )?;
        check(
            self.wait_seconds_for_service <= 3600,
            "waitSecondsForService",
            "must be 0 to 3,600 s",
        )
    }

    /// The settings with those changes applied; all of them or none.
    pub(crate) fn updated(&self, changes: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let mut next = self.clone();
        for (key, value) in changes {
            next.set(key, value)?;
        }
        next.validate()?;
        Ok(next)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ConfigError> {
        if BLACK_LIST.contains(&key) {
            return Err(ConfigError::BlackListed);
        }
        let switch = match key {
            "orderMessageEnable" => &mut self.order_message_enable,
            "returnOrderTopicConfigToBroker" => &mut self.return_order_topic_config_to_broker,
            "supportActingMaster" => &mut self.support_acting_master,
            "enableAllTopicList" => &mut self.enable_all_topic_list,
            "enableTopicList" => &mut self.enable_topic_list,
            "notifyMinBrokerIdChanged" => &mut self.notify_min_broker_id_changed,
            "needWaitForService" => &mut self.need_wait_for_service,
            "deleteTopicWithBrokerRegistration" => &mut self.delete_topic_with_broker_registration,
            "waitSecondsForService" => {
                return read(key, value, "a number").map(|n| self.wait_seconds_for_service = n);
            }
            "scanNotActiveBrokerInterval" => {
                return read(key, value, "a number")
                    .map(|n| self.scan_not_active_broker_interval = n);
            }
            "bindAddress" | "listenPort" => {
                return Err(ConfigError::Fixed { key: key.to_owned() });
            }
            _ => return Err(ConfigError::Unknown { key: key.to_owned() }),
        };
        read(key, value, "`true` or `false`").map(|on| *switch = on)
    }

    /// The settings as lines of `key=value`.
    pub(crate) fn to_lines(&self) -> String {
        let value = serde_json::to_value(self).expect("plain settings always serialize");
        let rows = value.as_object().into_iter().flatten();
        rows.filter(|(_, value)| !value.is_null())
            .map(|(key, value)| match value.as_str() {
                Some(text) => format!("{key}={text}\n"),
                None => format!("{key}={value}\n"),
            })
            .collect()
    }
}

fn read<T: std::str::FromStr>(key: &str, value: &str, wanted: &str) -> Result<T, ConfigError> {
    value.parse().map_err(|_| ConfigError::Value {
        key: key.to_owned(),
        problem: format!("`{}` is not {wanted}", value.chars().take(64).collect::<String>()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_change_settings_all_or_none() {
        let before = NamesrvConfig::default();
        let after = before
            .updated(&[("supportActingMaster", "true"), ("waitSecondsForService", "7")])
            .unwrap();
        assert!(after.support_acting_master);
        assert_eq!(after.wait_seconds_for_service, 7);
        for (key, value, problem) in [
            ("kvConfigPath", "x", "Can not update config in black list."),
            ("configStorePath", "x", "Can not update config in black list."),
            ("listenPort", "1", "`listenPort` cannot be changed while the name server runs"),
            ("nonsense", "1", "there is no setting `nonsense`"),
            ("enableTopicList", "1", "enableTopicList: `1` is not `true` or `false`"),
            (
                "scanNotActiveBrokerInterval",
                "0",
                "scanNotActiveBrokerInterval: must be 100 to 600,000 ms",
            ),
        ] {
            let changes = [("enableTopicList", "false"), (key, value)];
            assert_eq!(before.updated(&changes).unwrap_err().to_string(), problem);
        }
    }

    #[test]
    fn lines_show_every_setting_that_has_a_value() {
        let lines = NamesrvConfig::default().to_lines();
        assert!(lines.contains("listenPort=9876\n"), "{lines}");
        assert!(lines.contains("bindAddress=127.0.0.1\n"), "{lines}");
        assert!(!lines.contains("kvConfigPath"), "{lines}");
    }
}
