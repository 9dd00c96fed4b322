//! Settings: 25, 26.

use std::fmt::Write;
use std::sync::Arc;

use rmq_message::Timestamp;
use rmq_remoting::protocol::cluster::BrokerConfigResponse;
use rmq_remoting::{RemotingCommand, Response, json};
use rmq_runtime::Clock;

use crate::config::{BrokerConfig, Live, LiveError};
use crate::limits::echo;
use crate::reply;
use crate::topic_table::TopicTable;

/// Serves them.
pub(crate) struct ConfigAdmin {
    pub(crate) config: BrokerConfig,
    pub(crate) live: Arc<Live>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl ConfigAdmin {
    /// Changes settings until the next start (25): all of them, or none.
    pub(crate) fn update(&self, request: &RemotingCommand) -> Response {
        let Ok(text) = std::str::from_utf8(&request.body) else {
            return reply::invalid("the settings are not UTF-8");
        };
        let lines: Vec<_> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
            .map(|line| {
                let (key, value) = line.split_once('=').unwrap_or((line, ""));
                (key.trim(), value.trim())
            })
            .collect();
        for (key, value) in &lines {
            match self.live.check(key, value) {
                Ok(()) => {}
                Err(LiveError::Forbidden) => return reply::config_forbidden(),
                Err(LiveError::Fixed) => {
                    return reply::invalid(format_args!(
                        "{} does not change while the broker runs",
                        echo(key)
                    ));
                }
                Err(LiveError::Value) => {
                    return reply::invalid(format_args!("{key} cannot be {}", echo(value)));
                }
            }
        }
        for (key, value) in lines {
            if self.live.set(key, value).is_ok() {
                tracing::info!(key, value, "setting changed");
                if key == "brokerPermission" {
                    // Name servers learn of it by a new version of the topics.
                    self.topics.touch(Timestamp::from(self.clock.wall()));
                }
            }
        }
        Response::ok()
    }

    /// All settings (26).
    pub(crate) fn get(&self) -> Response {
        let config = self.live.applied(&self.config);
        let mut text = String::new();
        if let Ok(serde_json::Value::Object(settings)) = serde_json::to_value(&config) {
            for (key, value) in settings {
                let value = match value {
                    serde_json::Value::String(value) => value,
                    value => value.to_string(),
                };
                let _infallible = writeln!(text, "{key}={value}");
            }
        }
        let version = json::to_bytes(&self.topics.version());
        let version = String::from_utf8_lossy(&version).into_owned();
        Response::of(&BrokerConfigResponse { version: Some(version.into()) }).with_body(text)
    }
}
