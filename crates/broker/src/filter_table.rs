//! Conditions over properties that groups subscribe with (`consumerFilter.json`), so that Apache's
//! broker, opening this directory, knows them before the consumers are back, and keeps what ours has
//! seen; ours itself asks live members only.
//!
//! A row lives as long as its group subscribes to the topic, and is kept for a day after that, as by
//! Apache RocketMQ 5.5 (broker/filter/ConsumerFilterManager).

mod bloom;

use std::collections::BTreeMap;

use parking_lot::RwLock;
use rmq_filter::Condition;
use rmq_message::subscription::ExpressionType;
use rmq_message::{CompactString, Timestamp};
use rmq_remoting::protocol::heartbeat::TopicSubscription;
use serde::{Deserialize, Serialize};

use crate::document::{self, Changes, Document, Files};
use crate::limits;
use bloom::Bloom;

/// Name of the file.
const FILE: &str = "consumerFilter.json";
/// A row is kept so long after its group has left.
const KEPT_MS: i64 = 86_400_000;
/// A broker that was killed has seen its consumers until then, before its next start.
const KILLED_MS: i64 = 30_000;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct FilterTable {
    /// By group and topic.
    groups: RwLock<BTreeMap<CompactString, Rows>>,
    changes: Changes,
}

type Rows = BTreeMap<CompactString, Row>;

/// What a group wants of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Row {
    bloom_filter_data: Bloom,
    born_time: i64,
    /// Version of the subscription.
    client_version: i64,
    consumer_group: CompactString,
    /// Written for readers only: `dead_time` says it.
    dead: bool,
    /// When the group has left, ms since 1970; 0 while it is there.
    dead_time: i64,
    expression: CompactString,
    expression_type: CompactString,
    topic: CompactString,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct FilterFile {
    filter_data_by_topic: BTreeMap<CompactString, TopicRows>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TopicRows {
    group_filter_data: Rows,
    topic: CompactString,
}

impl Row {
    /// A row of a condition; none when it does not compile.
    fn new(group: &str, wanted: &TopicSubscription, now: Timestamp) -> Option<Self> {
        Condition::compile(&wanted.sub_string).ok()?;
        Some(Self {
            bloom_filter_data: Bloom::of(group, &wanted.topic),
            born_time: now.0,
            client_version: wanted.sub_version,
            consumer_group: group.into(),
            dead: false,
            dead_time: 0,
            expression: wanted.sub_string.clone(),
            expression_type: wanted.expression_type.clone(),
            topic: wanted.topic.clone(),
        })
    }

    fn die(&mut self, at: i64) -> bool {
        let lived = self.dead_time <= 0;
        if lived {
            self.dead_time = at.max(1);
            self.dead = true;
        }
        lived
    }

    fn live(&mut self) -> bool {
        let was_dead = self.dead_time > 0;
        self.dead_time = 0;
        self.dead = false;
        was_dead
    }

    fn has_expired(&self, now: Timestamp) -> bool {
        self.dead_time > 0 && now.0.saturating_sub(self.dead_time) >= KEPT_MS
    }
}

fn is_condition(wanted: &TopicSubscription) -> bool {
    wanted.expression_type == ExpressionType::Sql92.as_str() && !wanted.sub_string.is_empty()
}

impl FilterTable {
    pub(crate) fn open(files: &Files, now: Timestamp) -> std::io::Result<Self> {
        let file = files.load::<FilterFile>(FILE)?.unwrap_or_default();
        let mut groups = BTreeMap::<_, Rows>::new();
        for (topic, rows) in file.filter_data_by_topic {
            for (group, mut row) in rows.group_filter_data {
                row.die(row.born_time.max(now.0.saturating_sub(KILLED_MS)));
                row.dead = true;
                row.bloom_filter_data = Bloom::of(&group, &topic);
                groups.entry(group).or_default().insert(topic.clone(), row);
            }
        }
        Ok(Self { groups: RwLock::new(groups), changes: Changes::default() })
    }

    /// All that a group subscribes to now.
    pub(crate) fn subscribed(&self, group: &str, all: &[TopicSubscription], now: Timestamp) {
        if !all.iter().any(is_condition) && !self.groups.read().contains_key(group) {
            return;
        }
        let mut groups = self.groups.write();
        let mut changed = false;
        for wanted in all.iter().filter(|wanted| is_condition(wanted)) {
            let known = groups.get(group).is_some_and(|rows| rows.contains_key(&wanted.topic));
            if !known && !has_room(&mut groups) {
                continue;
            }
            let rows = groups.entry(group.into()).or_default();
            changed |= renew(rows, group, wanted, now);
        }
        for (topic, row) in groups.get_mut(group).into_iter().flatten() {
            let is_left = !all.iter().any(|wanted| wanted.topic == *topic);
            changed |= is_left && row.die(now.0);
        }
        drop(groups);
        if changed {
            self.changes.note_quietly();
        }
    }

    /// The row of a group on a topic, as text for people.
    pub(crate) fn describe(&self, group: &str, topic: &str) -> Option<String> {
        let groups = self.groups.read();
        let text = document::render(groups.get(group)?.get(topic)?);
        String::from_utf8(text).ok()
    }

    /// Nobody of the group is there any more.
    pub(crate) fn left(&self, group: &str, now: Timestamp) {
        if !self.groups.read().contains_key(group) {
            return;
        }
        let mut groups = self.groups.write();
        let rows = groups.get_mut(group).into_iter().flatten();
        let died = rows.filter_map(|(_, row)| row.die(now.0).then_some(())).count();
        drop(groups);
        if died > 0 {
            self.changes.note_quietly();
        }
    }

    /// Forgets groups that have left a day ago.
    pub(crate) fn expire(&self, now: Timestamp) {
        let mut groups = self.groups.write();
        let before: usize = groups.values().map(BTreeMap::len).sum();
        groups.retain(|_, rows| {
            rows.retain(|_, row| !row.has_expired(now));
            !rows.is_empty()
        });
        let after: usize = groups.values().map(BTreeMap::len).sum();
        drop(groups);
        if after < before {
            self.changes.note_quietly();
        }
    }
}

/// Brings one row up to the subscription; whether anything is new. An older version changes nothing.
fn renew(rows: &mut Rows, group: &str, wanted: &TopicSubscription, now: Timestamp) -> bool {
    if let Some(row) = rows.get_mut(&wanted.topic) {
        if wanted.sub_version < row.client_version {
            return false;
        }
        let same = row.expression == wanted.sub_string;
        if same || wanted.sub_version == row.client_version {
            let newer = same && wanted.sub_version > row.client_version;
            row.client_version = wanted.sub_version;
            return row.live() || newer;
        }
    }
    match Row::new(group, wanted, now) {
        Some(row) => {
            rows.insert(wanted.topic.clone(), row);
            true
        }
        None => rows.remove(&wanted.topic).is_some(),
    }
}

/// Whether there is room for a row, if need be that of one that died.
fn has_room(groups: &mut BTreeMap<CompactString, Rows>) -> bool {
    let count: usize = groups.values().map(BTreeMap::len).sum();
    if count < limits::FILTERS_MAX {
        return true;
    }
    let all = groups.iter().flat_map(|(group, rows)| rows.iter().map(move |row| (group, row)));
    let dead = all.filter(|(_, (_, row))| row.dead_time > 0);
    let Some((group, topic)) = dead
        .min_by_key(|(_, (_, row))| row.dead_time)
        .map(|(group, (topic, _))| (group.clone(), topic.clone()))
    else {
        return false;
    };
    groups.get_mut(&group).is_some_and(|rows| rows.remove(&topic).is_some())
}

impl Document for FilterTable {
    fn file(&self) -> &'static str {
        FILE
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn render(&self) -> Vec<u8> {
        let mut file = FilterFile::default();
        for (group, rows) in &*self.groups.read() {
            for (topic, row) in rows {
                let by_topic = file.filter_data_by_topic.entry(topic.clone()).or_default();
                by_topic.topic.clone_from(topic);
                by_topic.group_filter_data.insert(group.clone(), row.clone());
            }
        }
        document::render(&file)
    }
}

#[cfg(test)]
mod tests;
