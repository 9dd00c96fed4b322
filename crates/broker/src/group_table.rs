//! The consumer groups of this broker and their settings, and which topics they may not read:
//! `subscriptionGroup.json`.

use std::collections::{BTreeMap, HashMap};

use parking_lot::RwLock;
use rmq_message::{CompactString, Timestamp, name};
use rmq_remoting::protocol::group::{GroupConfigs, SubscriptionGroupConfig};
use rmq_remoting::protocol::register::DataVersion;

use crate::attributes::{self, AttributeError};
use crate::document::{self, Changes, Document};
use crate::limits;

/// The bit that forbids reading.
const READ_FORBIDDEN: i32 = 1 << 2;

/// Name of the file.
pub(crate) const FILE: &str = "subscriptionGroup.json";

/// The table.
#[derive(Debug, Default)]
pub(crate) struct GroupTable {
    rows: RwLock<Rows>,
    changes: Changes,
}

#[derive(Debug, Default)]
struct Rows {
    configs: HashMap<CompactString, SubscriptionGroupConfig>,
    /// Bits by group and topic.
    forbidden: BTreeMap<CompactString, BTreeMap<CompactString, i32>>,
    version: DataVersion,
}

/// What requests must know of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) consume: bool,
    pub(crate) broadcast: bool,
    pub(crate) notify: bool,
    pub(crate) retry_queues: i32,
    pub(crate) retry_max: i32,
    pub(crate) sys_flag: i32,
    /// Percent of pops that take the queues of a topic of priorities strictly in their order.
    pub(crate) priority_factor: u64,
}

impl Group {
    fn of(config: &SubscriptionGroupConfig) -> Self {
        Self {
            consume: config.consume_enable,
            broadcast: config.consume_broadcast_enable,
            notify: config.notify_consumer_ids_changed_enable,
            retry_queues: config.retry_queue_nums,
            retry_max: config.retry_max_times,
            sys_flag: config.group_sys_flag,
            priority_factor: config
                .attributes
                .get(attributes::PRIORITY_FACTOR)
                .and_then(|factor| factor.parse().ok())
                .unwrap_or(100),
        }
    }
}

/// Why a group is not made or altered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UpdateError {
    #[error(transparent)]
    Name(#[from] name::NameError),
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    #[error("the settings of a group are at most {} bytes", limits::GROUP_BYTES_MAX)]
    TooLarge,
    #[error("this broker has {} groups and takes no more", limits::GROUPS_MAX)]
    TooMany,
}

impl GroupTable {
    /// The groups of the file, if there is one, and those that every broker knows.
    pub(crate) fn open(files: &document::Files, now: Timestamp) -> std::io::Result<Self> {
        let file = files.load::<GroupConfigs>(FILE)?.unwrap_or_default();
        let mut configs: HashMap<_, _> = file
            .subscription_group_table
            .into_iter()
            .filter(|(group, _)| name::validate_group(group).is_ok())
            .map(|(group, config)| {
                (group.clone(), SubscriptionGroupConfig { group_name: group, ..config })
            })
            .collect();
        let known = configs.len();
        for group in name::SYSTEM_GROUPS {
            configs.entry(group.into()).or_insert_with(|| SubscriptionGroupConfig {
                consume_broadcast_enable: true,
                ..named(group)
            });
        }
        let fresh = configs.len() != known;
        let version = match file.data_version {
            DataVersion { timestamp: 0, .. } => DataVersion { timestamp: now.0, ..<_>::default() },
            version => version,
        };
        let table = Self {
            rows: RwLock::new(Rows { configs, forbidden: file.forbidden_table, version }),
            changes: Changes::default(),
        };
        if fresh {
            table.changes.note();
        }
        Ok(table)
    }

    /// What requests must know of a group; makes it if `auto_create` and the name allow it.
    pub(crate) fn find(&self, group: &str, auto_create: bool, now: Timestamp) -> Option<Group> {
        if let Some(found) = self.peek(group) {
            return Some(found);
        }
        let wanted = auto_create || group.starts_with(name::SYSTEM_GROUP_PREFIX);
        if !wanted || name::validate_group(group).is_err() {
            return None;
        }
        let mut rows = self.rows.write();
        if let Some(config) = rows.configs.get(group) {
            return Some(Group::of(config));
        }
        if rows.configs.len() >= limits::GROUPS_MAX {
            tracing::warn!(group, "no more groups: the table is full");
            return None;
        }
        let config = named(group);
        let made = Group::of(&config);
        rows.configs.insert(group.into(), config);
        rows.version = document::next_version(rows.version, now);
        drop(rows);
        tracing::info!(group, "group made");
        self.changes.note();
        Some(made)
    }

    /// What requests must know of a group that is there.
    pub(crate) fn peek(&self, group: &str) -> Option<Group> {
        self.rows.read().configs.get(group).map(Group::of)
    }

    /// All settings of a group.
    pub(crate) fn get(&self, group: &str) -> Option<SubscriptionGroupConfig> {
        self.rows.read().configs.get(group).cloned()
    }

    /// The whole table, sorted.
    pub(crate) fn snapshot(&self) -> GroupConfigs {
        let rows = self.rows.read();
        GroupConfigs {
            data_version: rows.version,
            forbidden_table: rows.forbidden.clone(),
            subscription_group_table: rows
                .configs
                .iter()
                .map(|(group, config)| (group.clone(), config.clone()))
                .collect(),
        }
    }

    /// Makes or replaces a group. The change, or `None` when the table already says so.
    pub(crate) fn update(
        &self,
        mut config: SubscriptionGroupConfig,
        now: Timestamp,
    ) -> Result<Option<u64>, UpdateError> {
        name::validate_group(&config.group_name)?;
        if rmq_remoting::json::to_bytes(&config).len() > limits::GROUP_BYTES_MAX {
            return Err(UpdateError::TooLarge);
        }
        let mut rows = self.rows.write();
        let known = rows.configs.get(&config.group_name);
        let current = known.map(|config| &config.attributes);
        config.attributes = attributes::apply(&attributes::OF_GROUPS, current, &config.attributes)?;
        if known == Some(&config) {
            return Ok(None);
        }
        if known.is_none() && rows.configs.len() >= limits::GROUPS_MAX {
            return Err(UpdateError::TooMany);
        }
        rows.configs.insert(config.group_name.clone(), config);
        rows.version = document::next_version(rows.version, now);
        drop(rows);
        Ok(Some(self.changes.note()))
    }

    /// Takes a group out, and what it may not read. The change, or `None` when it was not there.
    pub(crate) fn remove(&self, group: &str, now: Timestamp) -> Option<u64> {
        let mut rows = self.rows.write();
        let known = rows.configs.remove(group).is_some();
        let forbidden = rows.forbidden.remove(group).is_some();
        if !known && !forbidden {
            return None;
        }
        rows.version = document::next_version(rows.version, now);
        drop(rows);
        Some(self.changes.note())
    }

    /// Whether the group may read the topic.
    pub(crate) fn may_read(&self, group: &str, topic: &str) -> bool {
        let rows = self.rows.read();
        let bits = rows.forbidden.get(group).and_then(|topics| topics.get(topic));
        bits.is_none_or(|bits| bits & READ_FORBIDDEN == 0)
    }

    /// Forbids or allows the group to read the topic. The change.
    pub(crate) fn set_readable(
        &self,
        group: &str,
        topic: &str,
        readable: bool,
        now: Timestamp,
    ) -> Option<u64> {
        let mut rows = self.rows.write();
        let Rows { forbidden, version, .. } = &mut *rows;
        if readable {
            let topics = forbidden.get_mut(group)?;
            let bits = topics.get_mut(topic)?;
            *bits &= !READ_FORBIDDEN;
            if *bits == 0 {
                topics.remove(topic);
            }
            if topics.is_empty() {
                forbidden.remove(group);
            }
        } else {
            let topics = forbidden.entry(group.into()).or_default();
            if topics.len() >= limits::FORBIDDEN_MAX && !topics.contains_key(topic) {
                return None;
            }
            *topics.entry(topic.into()).or_default() |= READ_FORBIDDEN;
        }
        *version = document::next_version(*version, now);
        drop(rows);
        Some(self.changes.note())
    }
}

impl Document for GroupTable {
    fn file(&self) -> &'static str {
        FILE
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn render(&self) -> Vec<u8> {
        document::render(&self.snapshot())
    }
}

fn named(group: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig { group_name: group.into(), ..SubscriptionGroupConfig::default() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rmq_runtime::World;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn files(dir: &tempfile::TempDir) -> document::Files {
        document::Files::new(Arc::clone(&World::system().disk), dir.path().into())
    }

    fn table() -> GroupTable {
        GroupTable::open(&files(&tempfile::tempdir().unwrap()), NOW).unwrap()
    }

    #[test]
    fn the_first_use_makes_a_group_with_a_legal_name() {
        let table = table();
        assert_eq!(table.find("g", false, NOW), None);
        assert_eq!(table.find("g", true, NOW).unwrap().retry_max, 16);
        assert_eq!(table.peek("g").unwrap().retry_queues, 1);
        assert_eq!(table.find("bad group!", true, NOW), None);
        assert!(table.find("CID_RMQ_SYS_X", false, NOW).is_some());
        assert!(table.peek("TOOLS_CONSUMER").is_some());
    }

    #[test]
    fn an_update_of_a_group_merges_its_attributes() {
        let table = table();
        let with = |attributes: &str| SubscriptionGroupConfig {
            attributes: attributes::parse(attributes).unwrap(),
            ..named("g")
        };
        table.update(with("+priority.factor=7"), NOW).unwrap();
        table.update(with("+lite.sub.wildcard=x"), NOW).unwrap();
        assert_eq!(table.peek("g").unwrap().priority_factor, 7);
        table.update(with("-priority.factor"), NOW).unwrap();
        assert_eq!(table.peek("g").unwrap().priority_factor, 100);
        assert!(table.update(with("+priority.factor=-1"), NOW).is_err());
    }

    #[test]
    fn a_forbidden_topic_is_forbidden_for_that_group_only() {
        let table = table();
        table.set_readable("g", "T", false, NOW).unwrap();
        assert!(!table.may_read("g", "T") && table.may_read("g", "U") && table.may_read("h", "T"));
        table.set_readable("g", "U", false, NOW).unwrap();
        table.set_readable("g", "T", true, NOW).unwrap();
        assert!(table.may_read("g", "T") && !table.may_read("g", "U"));
        assert_eq!(table.set_readable("g", "T", true, NOW), None);
    }

    #[test]
    fn a_removed_group_leaves_nothing() {
        let table = table();
        table.find("g", true, NOW).unwrap();
        table.set_readable("g", "T", false, NOW).unwrap();
        assert!(table.remove("g", NOW).is_some());
        assert!(table.peek("g").is_none() && table.may_read("g", "T"));
        assert_eq!(table.remove("g", NOW), None);
    }

    #[test]
    fn a_file_of_apache_is_read_and_written_back() {
        let dir = tempfile::tempdir().unwrap();
        let text = include_bytes!("../tests/golden/config/subscriptionGroup.json");
        World::system().disk.write(&dir.path().join(FILE), text).unwrap();
        let table = GroupTable::open(&files(&dir), NOW).unwrap();
        assert!(!table.may_read("GOff", "StoreBatch"));
        assert_eq!(table.snapshot().data_version.counter, 11);
        table.set_readable("g", "T", false, NOW).unwrap();
        files(&dir).save(&table).unwrap();
        let again = GroupTable::open(&files(&dir), NOW).unwrap();
        assert_eq!(again.snapshot(), table.snapshot());
    }
}
