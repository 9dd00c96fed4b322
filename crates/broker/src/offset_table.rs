//! Progress of consumer groups: committed, pulled and reset positions (`consumerOffset.json`).
//!
//! A position moves back only because somebody said so: a reset, or an explicit commit of a client
//! that has sought back. A commit that rides on a pull never moves it back (INV-22).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rmq_message::{CompactString, Timestamp};
use rmq_remoting::protocol::register::DataVersion;
use serde::{Deserialize, Serialize};

use crate::document::{self, Changes, Document};
use crate::limits;

/// Commits between two versions of the document.
const COMMITS_PER_VERSION: u64 = 500;

/// Name of the file.
pub(crate) const FILE: &str = "consumerOffset.json";

/// The table.
#[derive(Debug, Default)]
pub(crate) struct OffsetTable {
    groups: RwLock<Groups>,
    commits: AtomicU64,
    went_back: AtomicU64,
    changes: Changes,
}

type ByQueue = BTreeMap<i32, Position>;

#[derive(Debug, Default)]
struct Groups {
    /// By group, topic and queue.
    by_group: HashMap<CompactString, HashMap<CompactString, ByQueue>>,
    count: usize,
    version: DataVersion,
}

#[derive(Clone, Copy, Debug, Default)]
struct Position {
    committed: Option<i64>,
    pulled: Option<i64>,
    /// Waits for the group's next pull.
    reset: Option<i64>,
}

/// One queue as one group sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) group: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    Done,
    /// A reset waits for the group's next pull; the commit is void.
    Reset,
    /// The table is full, or the position is none.
    Refused,
}

/// How a commit treats a position that lies behind the one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backward {
    /// It is taken: the client says so.
    Allowed,
    /// It is left out: the request may be an old one.
    Ignored,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OffsetsFile {
    data_version: DataVersion,
    group_topic_map: BTreeMap<CompactString, BTreeSet<CompactString>>,
    offset_table: BTreeMap<CompactString, BTreeMap<i32, i64>>,
    pull_offset_table: BTreeMap<CompactString, BTreeMap<i32, i64>>,
}

impl OffsetTable {
    /// The positions of the file, if there is one.
    pub(crate) fn open(files: &document::Files) -> std::io::Result<Self> {
        let file = files.load::<OffsetsFile>(FILE)?.unwrap_or_default();
        let mut groups = Groups { version: file.data_version, ..Groups::default() };
        for (key, queues) in &file.offset_table {
            groups.fill(key, queues, |position| &mut position.committed);
        }
        for (key, queues) in &file.pull_offset_table {
            groups.fill(key, queues, |position| &mut position.pulled);
        }
        Ok(Self { groups: RwLock::new(groups), ..Self::default() })
    }

    /// The committed position; a reset that waits counts as committed.
    pub(crate) fn committed(&self, place: Place<'_>) -> Option<i64> {
        self.groups.read().get(place)?.committed
    }

    /// The position that was last handed out.
    pub(crate) fn pulled(&self, place: Place<'_>) -> Option<i64> {
        self.groups.read().get(place)?.pulled
    }

    /// Commits a position.
    pub(crate) fn commit(
        &self,
        place: Place<'_>,
        offset: i64,
        backward: Backward,
        now: Timestamp,
    ) -> Commit {
        if offset < 0 {
            return Commit::Refused;
        }
        let mut groups = self.groups.write();
        let Some(position) = groups.entry(place) else { return Commit::Refused };
        if position.reset.is_some() {
            return Commit::Reset;
        }
        match position.committed {
            Some(known) if offset < known => {
                self.went_back.fetch_add(1, Ordering::Relaxed);
                if backward == Backward::Ignored {
                    return Commit::Done;
                }
                let Place { group, topic, queue_id } = place;
                tracing::info!(group, topic, queue_id, known, offset, "progress goes back");
            }
            Some(known) if offset == known => return Commit::Done,
            _ => {}
        }
        position.committed = Some(offset);
        let commits = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if commits.is_multiple_of(COMMITS_PER_VERSION) {
            groups.version = document::next_version(groups.version, now);
        }
        drop(groups);
        self.changes.note_quietly();
        Commit::Done
    }

    /// Notes what was handed out. Only for groups with progress of their own or that pull by
    /// themselves; lost on a full table.
    pub(crate) fn note_pulled(&self, place: Place<'_>, offset: i64) {
        let mut groups = self.groups.write();
        let Some(position) = groups.entry(place) else { return };
        if position.pulled != Some(offset) {
            position.pulled = Some(offset);
            drop(groups);
            self.changes.note_quietly();
        }
    }

    /// Moves a group; its next pull is told.
    pub(crate) fn reset(&self, place: Place<'_>, offset: i64, now: Timestamp) -> Commit {
        let mut groups = self.groups.write();
        let Some(position) = groups.entry(place) else { return Commit::Refused };
        position.committed = Some(offset);
        position.reset = Some(offset);
        groups.version = document::next_version(groups.version, now);
        drop(groups);
        self.changes.note_quietly();
        Commit::Done
    }

    /// The reset that waits for this pull, once.
    pub(crate) fn take_reset(&self, place: Place<'_>) -> Option<i64> {
        self.groups.read().get(place)?.reset?;
        self.groups.write().get_mut(place)?.reset.take()
    }

    /// The topics of which the group has progress, sorted.
    pub(crate) fn topics_of(&self, group: &str) -> Vec<CompactString> {
        let groups = self.groups.read();
        let topics = groups.by_group.get(group).into_iter().flatten();
        let mut topics: Vec<_> = topics
            .filter(|(_, queues)| queues.values().any(|position| position.committed.is_some()))
            .map(|(topic, _)| topic.clone())
            .collect();
        topics.sort_unstable();
        topics
    }

    /// The groups that have progress on the topic, sorted.
    pub(crate) fn groups_of(&self, topic: &str) -> Vec<CompactString> {
        let groups = self.groups.read();
        let mut names: Vec<_> = groups
            .by_group
            .iter()
            .filter(|(_, topics)| {
                let queues = topics.get(topic).into_iter().flat_map(BTreeMap::values);
                queues.into_iter().any(|position| position.committed.is_some())
            })
            .map(|(group, _)| group.clone())
            .collect();
        names.sort_unstable();
        names
    }

    /// The committed positions of a group on a topic, by queue.
    pub(crate) fn queues_of(&self, group: &str, topic: &str) -> Vec<(i32, i64)> {
        let groups = self.groups.read();
        let queues = groups.by_group.get(group).and_then(|topics| topics.get(topic));
        let queues = queues.into_iter().flatten();
        queues.filter_map(|(queue_id, position)| Some((*queue_id, position.committed?))).collect()
    }

    /// Copies the committed positions of one group on a topic to another group.
    pub(crate) fn copy(&self, from: &str, to: &str, topic: &str, now: Timestamp) {
        let mut groups = self.groups.write();
        let Some(queues) = groups.by_group.get(from).and_then(|topics| topics.get(topic)) else {
            return;
        };
        let committed: Vec<_> = queues
            .iter()
            .filter_map(|(queue_id, position)| Some((*queue_id, position.committed?)))
            .collect();
        for (queue_id, offset) in committed {
            if let Some(position) = groups.entry(Place { group: to, topic, queue_id }) {
                position.committed = Some(offset);
            }
        }
        groups.version = document::next_version(groups.version, now);
        drop(groups);
        self.changes.note_quietly();
    }

    /// Forgets a topic (INV-35).
    pub(crate) fn forget_topic(&self, topic: &str) {
        let mut groups = self.groups.write();
        let mut gone = 0;
        groups.by_group.retain(|_, topics| {
            gone += topics.remove(topic).map_or(0, |queues| queues.len());
            !topics.is_empty()
        });
        groups.count = groups.count.saturating_sub(gone);
        drop(groups);
        self.changes.note_quietly();
    }

    /// Forgets a group (INV-35).
    pub(crate) fn forget_group(&self, group: &str) {
        let mut groups = self.groups.write();
        let topics = groups.by_group.remove(group).unwrap_or_default();
        let gone: usize = topics.values().map(BTreeMap::len).sum();
        groups.count = groups.count.saturating_sub(gone);
        drop(groups);
        self.changes.note_quietly();
    }

    /// How often a commit lay behind what was known.
    #[cfg(test)]
    pub(crate) fn went_back(&self) -> u64 {
        self.went_back.load(Ordering::Relaxed)
    }

    fn file(&self) -> OffsetsFile {
        let groups = self.groups.read();
        let mut file = OffsetsFile { data_version: groups.version, ..OffsetsFile::default() };
        for (group, topics) in &groups.by_group {
            for (topic, queues) in topics {
                let key = CompactString::from(format!("{topic}@{group}"));
                let pick = |of: fn(&Position) -> Option<i64>| -> BTreeMap<i32, i64> {
                    queues.iter().filter_map(|(id, position)| Some((*id, of(position)?))).collect()
                };
                let (committed, pulled) =
                    (pick(|position| position.committed), pick(|position| position.pulled));
                if !committed.is_empty() {
                    let topics = file.group_topic_map.entry(group.clone()).or_default();
                    topics.insert(topic.clone());
                    file.offset_table.insert(key.clone(), committed);
                }
                if !pulled.is_empty() {
                    file.pull_offset_table.insert(key, pulled);
                }
            }
        }
        file
    }

    /// The document as one answer: what request 43 asks for.
    pub(crate) fn document(&self) -> bytes::Bytes {
        rmq_remoting::json::to_bytes(&self.file())
    }
}

impl Document for OffsetTable {
    fn file(&self) -> &'static str {
        FILE
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn render(&self) -> Vec<u8> {
        document::render(&self.file())
    }
}

impl Groups {
    fn get(&self, place: Place<'_>) -> Option<&Position> {
        self.by_group.get(place.group)?.get(place.topic)?.get(&place.queue_id)
    }

    fn get_mut(&mut self, place: Place<'_>) -> Option<&mut Position> {
        self.by_group.get_mut(place.group)?.get_mut(place.topic)?.get_mut(&place.queue_id)
    }

    /// The position, made when it is not there and there is room. Allocates only then.
    fn entry(&mut self, place: Place<'_>) -> Option<&mut Position> {
        if self.get(place).is_none() {
            if self.count >= limits::POSITIONS_MAX {
                return None;
            }
            self.count += 1;
            let topics = self.by_group.entry(place.group.into()).or_default();
            topics.entry(place.topic.into()).or_default().insert(place.queue_id, <_>::default());
        }
        self.get_mut(place)
    }

    fn fill(
        &mut self,
        key: &str,
        queues: &BTreeMap<i32, i64>,
        slot: fn(&mut Position) -> &mut Option<i64>,
    ) {
        let Some((topic, group)) = key.split_once('@') else { return };
        for (&queue_id, &offset) in queues.iter().filter(|(id, offset)| **id >= 0 && **offset >= 0)
        {
            if let Some(position) = self.entry(Place { group, topic, queue_id }) {
                *slot(position) = Some(offset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rmq_runtime::World;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000);
    const PLACE: Place<'static> = Place { group: "g", topic: "T", queue_id: 0 };

    fn files(dir: &tempfile::TempDir) -> document::Files {
        document::Files::new(Arc::clone(&World::system().disk), dir.path().into())
    }

    #[test]
    fn a_commit_that_rides_on_a_pull_never_goes_back() {
        let table = OffsetTable::default();
        assert_eq!(table.commit(PLACE, 10, Backward::Ignored, NOW), Commit::Done);
        assert_eq!(table.commit(PLACE, 4, Backward::Ignored, NOW), Commit::Done);
        assert_eq!(table.committed(PLACE), Some(10));
        assert_eq!(table.commit(PLACE, 4, Backward::Allowed, NOW), Commit::Done);
        assert_eq!(table.committed(PLACE), Some(4));
        assert_eq!(table.went_back(), 2);
        assert_eq!(table.commit(PLACE, -1, Backward::Allowed, NOW), Commit::Refused);
    }

    #[test]
    fn commits_are_void_until_the_reset_was_told() {
        let table = OffsetTable::default();
        table.commit(PLACE, 10, Backward::Allowed, NOW);
        table.reset(PLACE, 2, NOW);
        assert_eq!(table.committed(PLACE), Some(2));
        assert_eq!(table.commit(PLACE, 11, Backward::Allowed, NOW), Commit::Reset);
        assert_eq!(table.take_reset(PLACE), Some(2));
        assert_eq!(table.take_reset(PLACE), None);
        assert_eq!(table.commit(PLACE, 3, Backward::Allowed, NOW), Commit::Done);
    }

    #[test]
    fn a_deleted_topic_or_group_is_forgotten() {
        let table = OffsetTable::default();
        for (group, topic) in [("g", "T"), ("g", "U"), ("h", "T")] {
            table.commit(Place { group, topic, queue_id: 0 }, 1, Backward::Allowed, NOW);
        }
        assert_eq!(table.groups_of("T"), ["g", "h"]);
        table.forget_topic("T");
        assert_eq!(table.topics_of("g"), ["U"]);
        table.forget_group("g");
        assert_eq!(table.topics_of("g"), Vec::<CompactString>::new());
        assert_eq!(table.groups.read().count, 0);
    }

    #[test]
    fn positions_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let table = OffsetTable::default();
        table.commit(PLACE, 10, Backward::Allowed, NOW);
        table.note_pulled(PLACE, 12);
        table.copy("g", "h", "T", NOW);
        files(&dir).save(&table).unwrap();
        let again = OffsetTable::open(&files(&dir)).unwrap();
        assert_eq!(again.committed(PLACE), Some(10));
        assert_eq!(again.pulled(PLACE), Some(12));
        assert_eq!(again.committed(Place { group: "h", ..PLACE }), Some(10));
    }

    #[test]
    fn a_file_of_apache_reads_and_writes_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let text = include_bytes!("../tests/golden/config/consumerOffset.json");
        World::system().disk.write(&dir.path().join(FILE), text).unwrap();
        let table = OffsetTable::open(&files(&dir)).unwrap();
        let place = Place { group: "GSql", topic: "StoreA", queue_id: 1 };
        assert_eq!(table.committed(place), Some(11));
        let ours: OffsetsFile = rmq_remoting::json::from_slice(&table.render()).unwrap();
        let theirs: OffsetsFile = rmq_remoting::json::from_slice(text).unwrap();
        assert_eq!(ours.offset_table, theirs.offset_table);
        assert_eq!(ours.pull_offset_table, theirs.pull_offset_table);
        assert_eq!(ours.group_topic_map, theirs.group_topic_map);
    }
}
