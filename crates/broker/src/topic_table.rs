//! The topics of this broker and their settings: `topics.json`.
//!
//! Owns the rules by which topics come to be: those of the system at the start, by an operator, by
//! a send from a template topic, and for retry and dead letters.

mod system;

use std::collections::{BTreeMap, HashMap, HashSet};

use parking_lot::RwLock;
use rmq_message::{CompactString, Timestamp, name};
use rmq_remoting::protocol::register::DataVersion;
use rmq_remoting::protocol::topic::{TopicConfig, perm};
use serde::{Deserialize, Serialize};

use crate::attributes::{self, AttributeError};
use crate::config::BrokerConfig;
use crate::document::{self, Changes, Document};
use crate::limits;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct TopicTable {
    rows: RwLock<Rows>,
    /// Topics of the system whose names depend on this broker's, and those it made at the start.
    system: HashSet<CompactString>,
    changes: Changes,
}

#[derive(Debug, Default)]
struct Rows {
    configs: HashMap<CompactString, TopicConfig>,
    version: DataVersion,
}

/// What sends and pulls must know of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) read_queues: i32,
    pub(crate) write_queues: i32,
    pub(crate) perm: i32,
    pub(crate) sys_flag: i32,
    pub(crate) order: bool,
    /// Whether its queues stand for priorities.
    pub(crate) priority: bool,
}

impl Topic {
    fn of(config: &TopicConfig) -> Self {
        Self {
            read_queues: config.read_queue_nums,
            write_queues: config.write_queue_nums,
            perm: config.perm,
            sys_flag: config.topic_sys_flag,
            order: config.order,
            priority: config
                .attributes
                .get(attributes::MESSAGE_TYPE)
                .is_some_and(|kind| kind == "PRIORITY"),
        }
    }

    pub(crate) fn is_readable(self) -> bool {
        self.perm & perm::READ != 0
    }

    pub(crate) fn is_writable(self) -> bool {
        self.perm & perm::WRITE != 0
    }

    /// One more than the largest queue id that means something.
    pub(crate) fn queues(self) -> i32 {
        self.read_queues.max(self.write_queues)
    }
}

/// A topic that is there, and the change that made it if it is new: it is kept once that is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ensured {
    pub(crate) topic: Topic,
    pub(crate) change: Option<u64>,
}

/// The template of a topic that a send makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Template<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queues: i32,
    pub(crate) sys_flag: i32,
    /// Whether the template topic of the system may be used.
    pub(crate) auto_create: bool,
}

/// Why a topic is not made or altered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpdateError {
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    #[error("{count} queues are not between 0 and {max}", max = limits::QUEUES_MAX)]
    Queues { count: i32 },
    #[error("this broker has {} topics and takes no more", limits::TOPICS_MAX)]
    TooMany,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TopicsFile {
    data_version: DataVersion,
    topic_config_table: BTreeMap<CompactString, TopicConfig>,
}

/// Name of the file.
pub(crate) const FILE: &str = "topics.json";

impl TopicTable {
    /// The topics of the file's text, if there was one, and those of the system.
    pub(crate) fn open(
        files: &document::Files,
        config: &BrokerConfig,
        now: Timestamp,
    ) -> std::io::Result<Self> {
        let file = files.load::<TopicsFile>(FILE)?.unwrap_or_default();
        let mut configs: HashMap<_, _> = file
            .topic_config_table
            .into_iter()
            .filter(|(topic, config)| {
                let sane = is_sane(topic, config);
                if !sane {
                    tracing::warn!(topic = limits::echo(topic), "senseless topic left out");
                }
                sane
            })
            .map(|(topic, config)| (topic.clone(), TopicConfig { topic_name: topic, ..config }))
            .collect();
        let mut system = HashSet::new();
        let known = configs.len();
        for row in system::topics(config) {
            system.insert(row.topic_name.clone());
            configs.entry(row.topic_name.clone()).or_insert(row);
        }
        system::withdraw(&mut configs, config);
        let fresh = configs.len() != known;
        let version = match file.data_version {
            // A version of its own for each start of an empty table.
            DataVersion { timestamp: 0, .. } => DataVersion { timestamp: now.0, ..<_>::default() },
            version => version,
        };
        let table =
            Self { rows: RwLock::new(Rows { configs, version }), system, changes: <_>::default() };
        if fresh {
            table.changes.note();
        }
        Ok(table)
    }

    /// What sends and pulls must know of a topic.
    pub(crate) fn find(&self, topic: &str) -> Option<Topic> {
        self.rows.read().configs.get(topic).map(Topic::of)
    }

    /// All settings of a topic.
    pub(crate) fn get(&self, topic: &str) -> Option<TopicConfig> {
        self.rows.read().configs.get(topic).cloned()
    }

    /// Whether operators may not make, alter or delete it.
    pub(crate) fn is_system(&self, topic: &str) -> bool {
        self.system.contains(topic) || name::is_system_topic(topic)
    }

    /// The names of the system's topics, sorted.
    pub(crate) fn system_topics(&self) -> Vec<CompactString> {
        let mut names: Vec<_> = self.system.iter().cloned().collect();
        names.sort_unstable();
        names
    }

    /// The whole table, sorted, and its version.
    pub(crate) fn snapshot(&self) -> (DataVersion, BTreeMap<CompactString, TopicConfig>) {
        let rows = self.rows.read();
        (rows.version, rows.configs.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    pub(crate) fn version(&self) -> DataVersion {
        self.rows.read().version
    }

    /// Makes a topic as a send does: from a template topic with the inherit bit.
    pub(crate) fn inherit(
        &self,
        topic: &str,
        template: Template<'_>,
        now: Timestamp,
    ) -> Option<Ensured> {
        self.ensure(topic, now, |configs| {
            let from = configs.get(template.topic)?;
            let usable = template.auto_create || template.topic != name::AUTO_CREATE_TOPIC;
            if !usable || from.perm & perm::INHERIT == 0 {
                return None;
            }
            let queues = template.queues.min(from.write_queue_nums).max(0);
            Some(TopicConfig {
                perm: from.perm & !perm::INHERIT,
                topic_filter_type: from.topic_filter_type.clone(),
                topic_sys_flag: template.sys_flag,
                ..plain(topic, queues)
            })
        })
    }

    /// Makes a topic of so many queues unless it is there: for retry and dead letters.
    pub(crate) fn provide(
        &self,
        topic: &str,
        queues: i32,
        sys_flag: i32,
        now: Timestamp,
    ) -> Option<Ensured> {
        self.ensure(topic, now, |_| {
            let queues = queues.clamp(0, limits::QUEUES_MAX);
            Some(TopicConfig { topic_sys_flag: sys_flag, ..plain(topic, queues) })
        })
    }

    fn ensure(
        &self,
        topic: &str,
        now: Timestamp,
        make: impl FnOnce(&HashMap<CompactString, TopicConfig>) -> Option<TopicConfig>,
    ) -> Option<Ensured> {
        if let Some(topic) = self.find(topic) {
            return Some(Ensured { topic, change: None });
        }
        let mut rows = self.rows.write();
        if let Some(config) = rows.configs.get(topic) {
            return Some(Ensured { topic: Topic::of(config), change: None });
        }
        if rows.configs.len() >= limits::TOPICS_MAX {
            tracing::warn!(topic, "no more topics: the table is full");
            return None;
        }
        let config = make(&rows.configs)?;
        let made = Topic::of(&config);
        rows.configs.insert(CompactString::new(topic), config);
        rows.version = document::next_version(rows.version, now);
        drop(rows);
        tracing::info!(topic, queues = made.write_queues, "topic made");
        Some(Ensured { topic: made, change: Some(self.changes.note()) })
    }

    /// Makes or replaces a topic. `config.attributes` are changes to the attributes (`+name`,
    /// `-name`). The change, or `None` when the table already says so.
    pub(crate) fn update(
        &self,
        mut config: TopicConfig,
        now: Timestamp,
    ) -> Result<Option<u64>, UpdateError> {
        for count in [config.read_queue_nums, config.write_queue_nums] {
            if !(0..=limits::QUEUES_MAX).contains(&count) {
                return Err(UpdateError::Queues { count });
            }
        }
        let mut rows = self.rows.write();
        let known = rows.configs.get(&config.topic_name);
        if known.is_none() && rows.configs.len() >= limits::TOPICS_MAX {
            return Err(UpdateError::TooMany);
        }
        let current = known.map(|config| &config.attributes);
        config.attributes = attributes::apply(&attributes::OF_TOPICS, current, &config.attributes)?;
        if known == Some(&config) {
            return Ok(None);
        }
        rows.configs.insert(config.topic_name.clone(), config);
        rows.version = document::next_version(rows.version, now);
        drop(rows);
        Ok(Some(self.changes.note()))
    }

    /// Marks topics as ordered; what a name server answers to a registration.
    pub(crate) fn mark_ordered<'a>(
        &self,
        topics: impl Iterator<Item = &'a CompactString>,
        now: Timestamp,
    ) {
        let mut rows = self.rows.write();
        let mut changed = false;
        for topic in topics {
            if let Some(config) = rows.configs.get_mut(topic).filter(|config| !config.order) {
                config.order = true;
                changed = true;
            }
        }
        if changed {
            rows.version = document::next_version(rows.version, now);
            drop(rows);
            self.changes.note();
        }
    }

    /// Takes a topic out. The change, or `None` when it was not there.
    pub(crate) fn remove(&self, topic: &str, now: Timestamp) -> Option<u64> {
        let mut rows = self.rows.write();
        rows.configs.remove(topic)?;
        rows.version = document::next_version(rows.version, now);
        drop(rows);
        Some(self.changes.note())
    }

    /// Gives the table a new version without a change in it: name servers look at it again.
    pub(crate) fn touch(&self, now: Timestamp) {
        let mut rows = self.rows.write();
        rows.version = document::next_version(rows.version, now);
        drop(rows);
        self.changes.note();
    }
}

impl Document for TopicTable {
    fn file(&self) -> &'static str {
        FILE
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn render(&self) -> Vec<u8> {
        let (data_version, topic_config_table) = self.snapshot();
        document::render(&TopicsFile { data_version, topic_config_table })
    }
}

fn plain(topic: &str, queues: i32) -> TopicConfig {
    TopicConfig {
        topic_name: CompactString::new(topic),
        read_queue_nums: queues,
        write_queue_nums: queues,
        ..TopicConfig::default()
    }
}

/// Whether a row of the file can be served. Retry topics of pop may hold a `+`.
fn is_sane(topic: &str, config: &TopicConfig) -> bool {
    let counts = [config.read_queue_nums, config.write_queue_nums];
    name::validate_topic(&topic.replace('+', "_")).is_ok()
        && counts.iter().all(|count| (0..=limits::QUEUES_MAX).contains(count))
}

#[cfg(test)]
#[path = "topic_table/tests.rs"]
mod tests;
