//! Settings: 25, 26.
//!
//! A request changes settings of a list only, all of them or none, and never a path (INV-46). What
//! it changes is written to the settings file first, when the broker was started with one.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rmq_message::Timestamp;
use rmq_remoting::protocol::cluster::BrokerConfigResponse;
use rmq_remoting::{RemotingCommand, Reply, Response, json};
use rmq_runtime::{Clock, Disk, Tasks, settings_file};

use crate::config::{BrokerConfig, Live, LiveError};
use crate::limits::echo;
use crate::processor::offset::{answer, blocking};
use crate::reply;
use crate::topic_table::TopicTable;

/// Serves them.
#[derive(Clone)]
pub(crate) struct ConfigAdmin {
    pub(crate) config: BrokerConfig,
    pub(crate) live: Arc<Live>,
    pub(crate) others: Arc<OtherSettings>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
}

/// Settings of other parts of this process, to be shown with the broker's.
#[derive(Debug, Default)]
pub(crate) struct OtherSettings {
    shown: OnceLock<BTreeMap<String, String>>,
    /// Held while settings change.
    changing: Mutex<()>,
}

impl OtherSettings {
    /// Sets them; the first call counts.
    pub(crate) fn show(&self, settings: BTreeMap<String, String>) {
        self.shown.get_or_init(|| settings);
    }
}

impl ConfigAdmin {
    /// Changes settings (25).
    pub(crate) fn update(&self, request: &RemotingCommand) -> Reply {
        let changes = match self.checked(&request.body) {
            Ok(changes) => changes,
            Err(refused) => return Reply::Now(refused),
        };
        let this = self.clone();
        blocking(self.tasks.clone(), move || answer(this.apply(&changes)))
    }

    /// The changes that a request asks for, if all of them may be made.
    fn checked(&self, body: &[u8]) -> Result<Vec<(String, String)>, Response> {
        let text =
            std::str::from_utf8(body).map_err(|_| reply::invalid("the settings are not UTF-8"))?;
        let entries = settings_file::parse(text).map_err(reply::invalid)?;
        for settings_file::Entry { key, value, .. } in &entries {
            match self.live.check(key, value) {
                Ok(()) => {}
                Err(LiveError::Forbidden) => return Err(reply::config_forbidden()),
                Err(LiveError::Fixed) => {
                    return Err(reply::invalid(format_args!(
                        "{} does not change while the broker runs",
                        echo(key)
                    )));
                }
                Err(LiveError::Value) => {
                    return Err(reply::invalid(format_args!("{key} cannot be {}", echo(value))));
                }
            }
        }
        Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }

    fn apply(&self, changes: &[(String, String)]) -> Result<Response, Response> {
        let _alone = self.others.changing.lock();
        if let Some(path) = &self.config.broker_config_path {
            self.save(path, changes).map_err(|error| {
                reply::failed(format_args!(
                    "the settings cannot be saved, nothing changed: {error}"
                ))
            })?;
        }
        for (key, value) in changes {
            if self.live.set(key, value).is_ok() {
                tracing::info!(key, value, "setting changed");
            }
        }
        if changes.iter().any(|(key, _)| key == "brokerPermission") {
            // Name servers learn of it by a new version of the topics.
            self.topics.touch(Timestamp::from(self.clock.wall()));
        }
        Ok(match &self.config.broker_config_path {
            Some(_) => Response::ok(),
            None => Response::ok().with_remark(
                "in effect until the broker stops, which was started without a settings file",
            ),
        })
    }

    fn save(&self, path: &Path, changes: &[(String, String)]) -> std::io::Result<()> {
        let changes: Vec<_> =
            changes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        settings_file::change(&*self.disk, path, &changes)
    }

    /// All settings (26).
    pub(crate) fn get(&self) -> Response {
        let mut rows = self.others.shown.get().cloned().unwrap_or_default();
        let config = self.live.applied(&self.config);
        if let Ok(serde_json::Value::Object(settings)) = serde_json::to_value(&config) {
            for (key, value) in settings {
                let value = match value {
                    serde_json::Value::Null => continue,
                    serde_json::Value::String(value) => value,
                    value => value.to_string(),
                };
                rows.insert(key, value);
            }
        }
        let mut text = String::new();
        for (key, value) in rows {
            let _infallible = writeln!(text, "{key}={value}");
        }
        let version = json::to_bytes(&self.topics.version());
        let version = String::from_utf8_lossy(&version).into_owned();
        Response::of(&BrokerConfigResponse { version: Some(version.into()) }).with_body(text)
    }
}
