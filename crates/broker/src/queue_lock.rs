//! Locks of queues for orderly consumption: per group, queue → owner, for a minute of the monotonic
//! clock (INV-24).
//!
//! Who owns what is kept in a file of ours (`queueLocks.json`; Apache RocketMQ keeps none), so that
//! after a restart nobody but the former owner gets a queue before the owner must have noticed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_message::{CompactString, MessageQueue};
use rmq_runtime::Monotonic;
use serde::{Deserialize, Serialize};

use crate::document::{self, Changes, Document};
use crate::limits;

/// How long a lock lives without being asked for again.
const LIFE: Duration = Duration::from_secs(60);
/// How long a client trusts a lock it was granted before a restart.
const LIFE_AFTER_RESTART: Duration = Duration::from_secs(30);

/// Name of the file.
pub(crate) const FILE: &str = "queueLocks.json";

/// The table.
#[derive(Debug, Default)]
pub(crate) struct LockTable {
    groups: Mutex<Groups>,
    changes: Changes,
}

#[derive(Debug, Default)]
struct Groups {
    by_group: HashMap<CompactString, HashMap<MessageQueue, Lease>>,
    count: usize,
}

#[derive(Clone, Debug)]
struct Lease {
    client: CompactString,
    until: Monotonic,
}

/// What a client owns after it has asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) queues: Vec<MessageQueue>,
    /// The change to be saved when a queue has a new owner.
    pub(crate) change: Option<u64>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct LocksFile {
    /// By group and client.
    groups: BTreeMap<CompactString, BTreeMap<CompactString, Vec<MessageQueue>>>,
}

impl LockTable {
    /// The locks that were held when the broker ended.
    pub(crate) fn open(files: &document::Files, now: Monotonic) -> std::io::Result<Self> {
        let file = files.load::<LocksFile>(FILE)?.unwrap_or_default();
        let table = Self::default();
        let mut groups = table.groups.lock();
        for (group, clients) in file.groups {
            for (client, queues) in clients {
                let lease = Lease { client, until: now + LIFE_AFTER_RESTART };
                let held = groups.by_group.entry(group.clone()).or_default();
                held.extend(queues.into_iter().map(|queue| (queue, lease.clone())));
            }
        }
        groups.count = groups.by_group.values().map(HashMap::len).sum();
        drop(groups);
        Ok(table)
    }

    /// Takes or renews locks; those of others that have run out are taken over. Returns what the
    /// client owns of what it asked for.
    pub(crate) fn lock(
        &self,
        group: &str,
        client: &str,
        queues: Vec<MessageQueue>,
        now: Monotonic,
    ) -> Granted {
        let mut groups = self.groups.lock();
        let Groups { by_group, count } = &mut *groups;
        let held = by_group.entry(group.into()).or_default();
        let mut new_owner = false;
        let mut granted = Vec::with_capacity(queues.len().min(limits::LOCKS_PER_REQUEST_MAX));
        for queue in queues.into_iter().take(limits::LOCKS_PER_REQUEST_MAX) {
            match held.get_mut(&queue) {
                Some(lease) if lease.client == client => lease.until = now + LIFE,
                Some(lease) if lease.until <= now => {
                    *lease = Lease { client: client.into(), until: now + LIFE };
                    new_owner = true;
                }
                Some(_) => continue,
                None if *count >= limits::LOCKS_MAX => continue,
                None => {
                    *count += 1;
                    let lease = Lease { client: client.into(), until: now + LIFE };
                    held.insert(queue.clone(), lease);
                    new_owner = true;
                }
            }
            granted.push(queue);
        }
        if held.is_empty() {
            by_group.remove(group);
        }
        drop(groups);
        Granted { queues: granted, change: new_owner.then(|| self.changes.note()) }
    }

    /// Gives locks back; those of others stay.
    pub(crate) fn unlock(&self, group: &str, client: &str, queues: &[MessageQueue]) {
        let mut groups = self.groups.lock();
        let Some(held) = groups.by_group.get_mut(group) else { return };
        let before = held.len();
        for queue in queues {
            if held.get(queue).is_some_and(|lease| lease.client == client) {
                held.remove(queue);
            }
        }
        let gone = before - held.len();
        if held.is_empty() {
            groups.by_group.remove(group);
        }
        groups.count = groups.count.saturating_sub(gone);
        drop(groups);
        if gone > 0 {
            self.changes.note();
        }
    }

    /// Whether the group consumes in order: somebody holds a lock of it.
    pub(crate) fn is_held(&self, group: &str, now: Monotonic) -> bool {
        let groups = self.groups.lock();
        let mut leases = groups.by_group.get(group).into_iter().flat_map(HashMap::values);
        leases.any(|lease| lease.until > now)
    }

    /// Forgets locks that have run out long ago, so that the table does not grow.
    pub(crate) fn expire(&self, now: Monotonic) {
        self.retain(|_, _, lease| lease.until + LIFE > now);
    }

    /// Forgets a topic (INV-35).
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.retain(|_, queue, _| queue.topic != topic);
    }

    /// Forgets a group (INV-35).
    pub(crate) fn forget_group(&self, group: &str) {
        self.retain(|name, _, _| name != group);
    }

    fn retain(&self, keep: impl Fn(&str, &MessageQueue, &Lease) -> bool) {
        let mut groups = self.groups.lock();
        let before = groups.count;
        groups.by_group.retain(|group, held| {
            held.retain(|queue, lease| keep(group, queue, lease));
            !held.is_empty()
        });
        groups.count = groups.by_group.values().map(HashMap::len).sum();
        let changed = groups.count != before;
        drop(groups);
        if changed {
            self.changes.note();
        }
    }
}

impl Document for LockTable {
    fn file(&self) -> &'static str {
        FILE
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn render(&self) -> Vec<u8> {
        let mut file = LocksFile::default();
        for (group, held) in &self.groups.lock().by_group {
            let clients = file.groups.entry(group.clone()).or_default();
            for (queue, lease) in held {
                clients.entry(lease.client.clone()).or_default().push(queue.clone());
            }
        }
        document::render(&file)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rmq_runtime::World;

    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    fn queues(ids: &[i32]) -> Vec<MessageQueue> {
        ids.iter().map(|id| MessageQueue::new("T", "b", *id)).collect()
    }

    #[test]
    fn a_queue_has_one_owner_until_its_minute_is_over() {
        let table = LockTable::default();
        assert_eq!(table.lock("g", "a", queues(&[0, 1]), at(0)).queues, queues(&[0, 1]));
        assert_eq!(table.lock("g", "b", queues(&[1, 2]), at(59)).queues, queues(&[2]));
        assert_eq!(table.lock("h", "b", queues(&[1]), at(59)).queues, queues(&[1]));
        let renewed = table.lock("g", "a", queues(&[0]), at(59));
        assert_eq!(renewed, Granted { queues: queues(&[0]), change: None });
        assert_eq!(table.lock("g", "b", queues(&[0, 1]), at(60)).queues, queues(&[1]));
        assert!(table.is_held("g", at(60)) && !table.is_held("g", at(500)));
    }

    #[test]
    fn only_the_owner_gives_a_lock_back() {
        let table = LockTable::default();
        table.lock("g", "a", queues(&[0]), at(0));
        table.unlock("g", "b", &queues(&[0]));
        assert!(table.is_held("g", at(1)));
        table.unlock("g", "a", &queues(&[0]));
        assert!(!table.is_held("g", at(1)));
        assert_eq!(table.groups.lock().count, 0);
    }

    #[test]
    fn after_a_restart_only_the_former_owner_goes_on_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let files = document::Files::new(Arc::clone(&World::system().disk), dir.path().into());
        let table = LockTable::open(&files, at(1_000)).unwrap();
        table.lock("g", "a", queues(&[0, 1]), at(1_000));
        files.save(&table).unwrap();
        let again = LockTable::open(&files, at(5)).unwrap();
        assert_eq!(again.lock("g", "b", queues(&[0, 1]), at(6)).queues, queues(&[]));
        assert_eq!(again.lock("g", "a", queues(&[0]), at(6)).queues, queues(&[0]));
        assert_eq!(again.lock("g", "b", queues(&[0, 1]), at(35)).queues, queues(&[1]));
    }

    #[test]
    fn locks_of_what_is_deleted_or_long_gone_are_forgotten() {
        let table = LockTable::default();
        table.lock("g", "a", queues(&[0]), at(0));
        table.forget_topic("T");
        assert!(!table.is_held("g", at(0)));
        table.lock("g", "a", queues(&[0]), at(0));
        table.forget_group("g");
        assert!(!table.is_held("g", at(0)));
        table.lock("g", "a", queues(&[0]), at(0));
        table.expire(at(121));
        assert_eq!(table.groups.lock().by_group.len(), 0);
    }
}
