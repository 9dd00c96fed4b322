//! How far queues have been taken by groups, while that is not yet committed.
//!
//! A pop moves the cursor when its check point is staged; progress is committed when the check
//! point is as safe as configured, never before (INV-32, RS-34). So a crash brings messages twice
//! rather than not at all. A cursor lives only while some of its pops are unsettled.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_message::{CompactString, Timestamp};

use crate::offset_table::{Backward, OffsetTable, Place};

/// Pops of queues in one shard come one after the other.
const SHARDS: usize = 64;

/// All cursors.
pub(crate) struct Cursors {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    offsets: Arc<OffsetTable>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    group: CompactString,
    topic: CompactString,
    queue_id: i32,
}

struct Cursor {
    next: i64,
    /// The first pop since the cursor came into being, and the last one.
    pops: (u64, u64),
}

/// Cursors of some queues, and the number of the next pop.
#[derive(Default)]
struct Shard {
    cursors: HashMap<Key, Cursor>,
    pops: u64,
}

/// One queue of a group, while nobody else pops it.
pub(crate) struct Turn<'a> {
    cursors: &'a Arc<Cursors>,
    shard: &'a mut Shard,
    key: Key,
}

/// A pop that is not settled yet. Dropped, it commits nothing; a later one commits for it.
pub(crate) struct Unsettled {
    cursors: Arc<Cursors>,
    key: Key,
    next: i64,
    pop: u64,
}

impl Cursors {
    pub(crate) fn new(offsets: Arc<OffsetTable>) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { shards, hasher: RandomState::new(), offsets })
    }

    /// Does something with a queue while nobody else pops it. Must not block.
    pub(crate) fn at<R>(self: &Arc<Self>, place: Place<'_>, act: impl FnOnce(Turn<'_>) -> R) -> R {
        let key =
            Key { group: place.group.into(), topic: place.topic.into(), queue_id: place.queue_id };
        let mut shard = self.shard(&key).lock();
        act(Turn { cursors: self, shard: &mut shard, key })
    }

    /// How far the queue has been taken, committed or not.
    pub(crate) fn taken(self: &Arc<Self>, place: Place<'_>) -> Option<i64> {
        let committed = self.offsets.committed(place)?;
        self.at(place, |turn| Some(turn.ahead().map_or(committed, |next| next.max(committed))))
    }

    fn shard(&self, key: &Key) -> &Mutex<Shard> {
        let shards = u64::try_from(SHARDS).unwrap_or(1);
        let index = usize::try_from(self.hasher.hash_one(key) % shards).unwrap_or(0);
        self.shards.get(index).expect("the index is below SHARDS")
    }

    fn commit(&self, key: &Key, next: i64, now: Timestamp) {
        let place = Place { group: &key.group, topic: &key.topic, queue_id: key.queue_id };
        // Without progress the topic or the group has been deleted meanwhile (INV-35).
        if self.offsets.committed(place).is_some() {
            self.offsets.commit(place, next, Backward::Ignored, now);
        }
    }
}

impl Turn<'_> {
    /// How far it was taken beyond what is committed.
    pub(crate) fn ahead(&self) -> Option<i64> {
        self.shard.cursors.get(&self.key).map(|cursor| cursor.next)
    }

    /// The group was moved: what was taken before counts no more.
    pub(crate) fn restart(&mut self) {
        self.shard.cursors.remove(&self.key);
    }

    /// Moves on, past messages that are staged as in flight.
    pub(crate) fn take(&mut self, next: i64) -> Unsettled {
        self.shard.pops += 1;
        let pop = self.shard.pops;
        let cursor = self.shard.cursors.entry(self.key.clone());
        let cursor = cursor.or_insert(Cursor { next, pops: (pop, pop) });
        cursor.next = next;
        cursor.pops.1 = pop;
        Unsettled { cursors: Arc::clone(self.cursors), key: self.key.clone(), next, pop }
    }

    /// Moves on, past messages that nobody wants.
    pub(crate) fn pass(&mut self, next: i64, now: Timestamp) {
        match self.shard.cursors.get_mut(&self.key) {
            // Whoever settles last commits this too.
            Some(cursor) => cursor.next = next,
            None => self.cursors.commit(&self.key, next, now),
        }
    }
}

impl Unsettled {
    /// Its check point is safe, and with it all earlier ones: commits.
    pub(crate) fn settled(self, now: Timestamp) {
        let mut shard = self.cursors.shard(&self.key).lock();
        // Without a cursor a later pop has committed, or the group was moved.
        let Some(cursor) = shard.cursors.get(&self.key) else { return };
        let (first, last) = cursor.pops;
        if self.pop == last {
            self.cursors.commit(&self.key, cursor.next, now);
            shard.cursors.remove(&self.key);
        } else if self.pop >= first {
            self.cursors.commit(&self.key, self.next, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);
    const PLACE: Place<'static> = Place { group: "g", topic: "T", queue_id: 0 };

    fn table() -> (Arc<OffsetTable>, Arc<Cursors>) {
        let offsets = Arc::new(OffsetTable::default());
        offsets.commit(PLACE, 0, Backward::Ignored, NOW);
        (Arc::clone(&offsets), Cursors::new(offsets))
    }

    #[test]
    fn progress_moves_only_when_a_pop_is_settled() {
        let (offsets, cursors) = table();
        let first = cursors.at(PLACE, |mut turn| turn.take(5));
        assert_eq!((offsets.committed(PLACE), cursors.taken(PLACE)), (Some(0), Some(5)));
        let second = cursors.at(PLACE, |mut turn| turn.take(8));
        cursors.at(PLACE, |mut turn| turn.pass(9, NOW));
        first.settled(NOW);
        assert_eq!(offsets.committed(PLACE), Some(5));
        second.settled(NOW);
        assert_eq!(offsets.committed(PLACE), Some(9));
        assert_eq!(cursors.at(PLACE, |turn| turn.ahead()), None);
        cursors.at(PLACE, |mut turn| turn.pass(11, NOW));
        assert_eq!(offsets.committed(PLACE), Some(11));
    }

    #[test]
    fn nothing_is_passed_while_an_unsettled_pop_lies_before_it() {
        let (offsets, cursors) = table();
        drop(cursors.at(PLACE, |mut turn| turn.take(5)));
        cursors.at(PLACE, |mut turn| turn.pass(9, NOW));
        assert_eq!((offsets.committed(PLACE), cursors.taken(PLACE)), (Some(0), Some(9)));
    }

    #[test]
    fn pops_from_before_a_reset_commit_nothing() {
        let (offsets, cursors) = table();
        let (old, older) = cursors.at(PLACE, |mut turn| (turn.take(7), turn.take(8)));
        cursors.at(PLACE, |mut turn| turn.restart());
        older.settled(NOW);
        let new = cursors.at(PLACE, |mut turn| turn.take(2));
        old.settled(NOW);
        assert_eq!(offsets.committed(PLACE), Some(0));
        new.settled(NOW);
        assert_eq!(offsets.committed(PLACE), Some(2));
        offsets.forget_topic("T");
        cursors.at(PLACE, |mut turn| turn.take(9)).settled(NOW);
        assert_eq!(offsets.committed(PLACE), None);
    }
}
