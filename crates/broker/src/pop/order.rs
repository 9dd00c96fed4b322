//! What members of a group that pops in order hold (`consumerOrderInfo.json`,
//! `ConsumerOrderInfoManager`): a queue gives nothing more until all of its last batch is
//! acknowledged or visible again. Progress stays at the first message that is not acknowledged, so
//! losing this table costs nothing but a second delivery.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use rmq_message::{CompactString, Timestamp};
use serde::{Deserialize, Serialize};

use crate::document::{self, Changes, Document, Files};
use crate::limits;
use crate::offset_table::Place;

/// Name of the file.
pub(crate) const FILE: &str = "consumerOrderInfo.json";
/// A batch of which nothing was heard for so long is forgotten, ms.
const LIFE: i64 = 24 * 3_600 * 1_000;

/// The table.
#[derive(Debug, Default)]
pub(crate) struct OrderTable {
    rows: Mutex<Rows>,
    changes: Changes,
}

#[derive(Debug, Default)]
struct Rows {
    /// By `topic@group` and queue.
    batches: HashMap<CompactString, BTreeMap<i32, Batch>>,
    count: usize,
}

/// The last batch of one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Batch {
    #[serde(rename = "a", skip_serializing_if = "Option::is_none")]
    attempt: Option<CompactString>,
    /// Bits of those that are acknowledged.
    #[serde(rename = "cm")]
    acked: i64,
    #[serde(rename = "i")]
    invisible: Option<i64>,
    /// When it was taken, ms since 1970.
    #[serde(rename = "l")]
    taken_at: i64,
    /// The first offset, then the distances of the others from it.
    #[serde(rename = "o")]
    offsets: Vec<i64>,
    /// Earlier deliveries, where there were any.
    #[serde(rename = "oc", skip_serializing_if = "Option::is_none")]
    counts: Option<BTreeMap<i64, i32>>,
    /// When single ones are visible again, ms since 1970.
    #[serde(rename = "ot", skip_serializing_if = "Option::is_none")]
    visible: Option<BTreeMap<i64, i64>>,
    #[serde(rename = "popTime")]
    pop_time: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OrderFile {
    order_info_count: i32,
    ordered_consumption_level: CompactString,
    table: BTreeMap<CompactString, BTreeMap<i32, Batch>>,
}

/// A batch that is handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) attempt: Option<&'a str>,
    pub(crate) pop_time: i64,
    pub(crate) invisible: i64,
    pub(crate) offsets: &'a [i64],
}

/// What became of an ack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acked {
    /// Progress is now there.
    Next(i64),
    /// It belongs to an earlier pop: nothing happens.
    Stale,
    /// The batch has no such message.
    Unknown,
}

impl Batch {
    fn offset(&self, index: usize) -> i64 {
        let first = self.offsets.first().copied().unwrap_or(0);
        match index {
            0 => first,
            _ => first.saturating_add(self.offsets.get(index).copied().unwrap_or(0)),
        }
    }

    fn offsets(&self) -> impl Iterator<Item = (usize, i64)> + use<'_> {
        (0..self.offsets.len().min(64)).map(|index| (index, self.offset(index)))
    }

    fn is_acked(&self, index: usize) -> bool {
        self.acked & (1_i64 << index) != 0
    }

    /// When nothing of it is hidden any more; `None` when all is acknowledged.
    fn free_at(&self) -> Option<i64> {
        let whole = self.pop_time.saturating_add(self.invisible.unwrap_or(0));
        self.offsets()
            .filter(|(index, _)| !self.is_acked(*index))
            .map(|(_, offset)| {
                let single = self.visible.as_ref().and_then(|visible| visible.get(&offset));
                single.copied().unwrap_or(whole)
            })
            .max()
    }

    /// The first that is not acknowledged, or what follows the last.
    fn next(&self) -> i64 {
        let open = self.offsets().find(|(index, _)| !self.is_acked(*index));
        let last = self.offset(self.offsets.len().saturating_sub(1));
        open.map_or(last.saturating_add(1), |(_, offset)| offset)
    }

    /// Deliveries of the messages of a new batch that were in this one too.
    fn counts_for(&self, attempt: Option<&str>, offsets: &[i64]) -> BTreeMap<i64, i32> {
        let counts = self.counts.clone().unwrap_or_default();
        if attempt.is_some() && self.attempt.as_deref() == attempt {
            return counts;
        }
        let mine: Vec<i64> = self.offsets().map(|(_, offset)| offset).collect();
        let again = offsets.iter().filter(|offset| mine.contains(offset));
        again
            .map(|offset| (*offset, counts.get(offset).map_or(1, |count| count.saturating_add(1))))
            .collect()
    }
}

impl OrderTable {
    pub(crate) fn open(files: &Files) -> std::io::Result<Self> {
        let file = files.load::<OrderFile>(FILE)?.unwrap_or_default();
        let batches: HashMap<_, _> = file.table.into_iter().collect();
        let count = batches.values().map(BTreeMap::len).sum();
        Ok(Self { rows: Mutex::new(Rows { batches, count }), changes: Changes::default() })
    }

    /// Until when the queue gives nothing, ms since 1970; `None` when it may.
    pub(crate) fn blocked_until(
        &self,
        place: Place<'_>,
        attempt: Option<&str>,
        now: i64,
    ) -> Option<i64> {
        let rows = self.rows.lock();
        let batch = rows.batches.get(&key(place))?.get(&place.queue_id)?;
        if attempt.is_some() && batch.attempt.as_deref() == attempt {
            return None;
        }
        batch.free_at().filter(|free_at| now < *free_at)
    }

    /// Notes a batch, and answers the earlier deliveries of its messages where there were any.
    pub(crate) fn take(
        &self,
        place: Place<'_>,
        taken: Taken<'_>,
        now: Timestamp,
    ) -> BTreeMap<i64, i32> {
        let mut rows = self.rows.lock();
        if rows.count >= limits::POSITIONS_MAX {
            return BTreeMap::new();
        }
        let Rows { batches, count } = &mut *rows;
        let queues = batches.entry(key(place)).or_default();
        let before = queues.get(&place.queue_id);
        *count += usize::from(before.is_none());
        let counts = before.map(|batch| batch.counts_for(taken.attempt, taken.offsets));
        let first = taken.offsets.first().copied().unwrap_or(0);
        let others = taken.offsets.iter().skip(1).map(|offset| offset.saturating_sub(first));
        let batch = Batch {
            attempt: taken.attempt.map(Into::into),
            invisible: Some(taken.invisible),
            taken_at: now.0,
            offsets: std::iter::once(first).chain(others).collect(),
            counts: counts.clone(),
            pop_time: taken.pop_time,
            ..Batch::default()
        };
        queues.insert(place.queue_id, batch);
        drop(rows);
        self.changes.note_quietly();
        counts.unwrap_or_default()
    }

    /// Acknowledges one message; `committed` is where the group stands.
    pub(crate) fn ack(
        &self,
        place: Place<'_>,
        offset: i64,
        pop_time: i64,
        committed: i64,
    ) -> Acked {
        let mut rows = self.rows.lock();
        let batch = rows.batches.get_mut(&key(place));
        let Some(batch) = batch.and_then(|queues| queues.get_mut(&place.queue_id)) else {
            // Lost with a crash: only what changes nothing for the others is believed.
            return match offset == committed {
                true => Acked::Next(offset.saturating_add(1)),
                false => Acked::Stale,
            };
        };
        if batch.pop_time != pop_time {
            return Acked::Stale;
        }
        let Some((index, _)) = batch.offsets().find(|(_, known)| *known == offset) else {
            return Acked::Unknown;
        };
        batch.acked |= 1 << index;
        let next = batch.next();
        drop(rows);
        self.changes.note_quietly();
        Acked::Next(next)
    }

    /// Changes when one message is visible again.
    pub(crate) fn hide(&self, place: Place<'_>, offset: i64, pop_time: i64, until: i64) {
        let mut rows = self.rows.lock();
        let batch = rows.batches.get_mut(&key(place));
        let Some(batch) = batch.and_then(|queues| queues.get_mut(&place.queue_id)) else { return };
        if batch.pop_time == pop_time && batch.offsets().any(|(_, known)| known == offset) {
            batch.visible.get_or_insert_default().insert(offset, until);
            drop(rows);
            self.changes.note_quietly();
        }
    }

    /// The group was moved: the queue gives again.
    pub(crate) fn clear(&self, place: Place<'_>) {
        let mut rows = self.rows.lock();
        let Rows { batches, count } = &mut *rows;
        let Some(queues) = batches.get_mut(&key(place)) else { return };
        *count -= usize::from(queues.remove(&place.queue_id).is_some());
        drop(rows);
        self.changes.note_quietly();
    }

    /// Forgets a topic (INV-35).
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.forget(|known, _| known == topic);
    }

    /// Forgets a group (INV-35).
    pub(crate) fn forget_group(&self, group: &str) {
        self.forget(|_, known| known == group);
    }

    fn forget(&self, goes: impl Fn(&str, &str) -> bool) {
        let mut rows = self.rows.lock();
        rows.batches
            .retain(|key, _| !key.split_once('@').is_some_and(|(topic, group)| goes(topic, group)));
        rows.count = rows.batches.values().map(BTreeMap::len).sum();
        drop(rows);
        self.changes.note_quietly();
    }

    /// Forgets batches of which nothing was heard for a day.
    pub(crate) fn expire(&self, now: Timestamp) {
        let mut rows = self.rows.lock();
        let Rows { batches, count } = &mut *rows;
        let before = *count;
        batches.retain(|_, queues| {
            let known = queues.len();
            queues.retain(|_, batch| now.0.saturating_sub(batch.taken_at) <= LIFE);
            *count -= known - queues.len();
            !queues.is_empty()
        });
        let changed = *count != before;
        drop(rows);
        if changed {
            self.changes.note_quietly();
        }
    }
}

fn key(place: Place<'_>) -> CompactString {
    CompactString::from(format!("{}@{}", place.topic, place.group))
}

impl Document for OrderTable {
    fn file(&self) -> &'static str {
        FILE
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn render(&self) -> Vec<u8> {
        let rows = self.rows.lock();
        document::render(&OrderFile {
            order_info_count: i32::try_from(rows.count).unwrap_or(i32::MAX),
            ordered_consumption_level: CompactString::const_new("QUEUE"),
            table: rows.batches.iter().map(|(key, queues)| (key.clone(), queues.clone())).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { group: "g", topic: "T", queue_id: 0 };

    fn taken(pop_time: i64, offsets: &[i64]) -> Taken<'_> {
        Taken { attempt: Some("a1"), pop_time, invisible: 100, offsets }
    }

    fn take(table: &OrderTable, pop_time: i64, offsets: &[i64]) -> BTreeMap<i64, i32> {
        table.take(PLACE, taken(pop_time, offsets), Timestamp(pop_time))
    }

    #[test]
    fn a_queue_is_blocked_until_its_batch_is_acknowledged() {
        let table = OrderTable::default();
        assert_eq!(table.blocked_until(PLACE, None, 0), None);
        take(&table, 1_000, &[5, 6, 8]);
        assert_eq!(table.blocked_until(PLACE, None, 1_050), Some(1_100));
        // The same try of the same call gets it again.
        assert_eq!(table.blocked_until(PLACE, Some("a1"), 1_050), None);
        assert_eq!(table.ack(PLACE, 6, 1_000, 5), Acked::Next(5));
        assert_eq!(table.ack(PLACE, 5, 1_000, 5), Acked::Next(8));
        assert_eq!(table.ack(PLACE, 7, 1_000, 8), Acked::Unknown);
        assert_eq!(table.ack(PLACE, 8, 999, 8), Acked::Stale);
        assert_eq!(table.ack(PLACE, 8, 1_000, 8), Acked::Next(9));
        assert_eq!(table.blocked_until(PLACE, None, 1_050), None);
    }

    #[test]
    fn what_becomes_visible_again_is_counted() {
        let table = OrderTable::default();
        assert_eq!(take(&table, 1_000, &[5, 6]), BTreeMap::new());
        table.hide(PLACE, 6, 1_000, 1_500);
        assert_eq!(table.blocked_until(PLACE, None, 1_200), Some(1_500));
        let counts = table.take(
            PLACE,
            Taken { attempt: Some("a2"), ..taken(1_600, &[5, 6, 7]) },
            Timestamp(1_600),
        );
        assert_eq!(counts, BTreeMap::from([(5, 1), (6, 1)]));
        let counts = table.take(
            PLACE,
            Taken { attempt: Some("a3"), ..taken(1_800, &[6, 7]) },
            Timestamp(1_800),
        );
        assert_eq!(counts, BTreeMap::from([(6, 2), (7, 1)]));
    }

    #[test]
    fn an_ack_of_an_unknown_batch_skips_nothing() {
        let table = OrderTable::default();
        assert_eq!(table.ack(PLACE, 7, 1_000, 5), Acked::Stale);
        assert_eq!(table.ack(PLACE, 5, 1_000, 5), Acked::Next(6));
    }

    #[test]
    fn batches_are_kept_in_the_shape_of_apache_and_expire() {
        let table = OrderTable::default();
        take(&table, 1_000, &[5, 6]);
        let text = String::from_utf8(table.render()).unwrap();
        let file: OrderFile = rmq_remoting::json::from_slice(text.as_bytes()).unwrap();
        assert_eq!(file.order_info_count, 1);
        assert_eq!(file.table["T@g"][&0].offsets, [5, 1]);
        for name in ["\"cm\"", "\"popTime\"", "orderedConsumptionLevel"] {
            assert!(text.contains(name), "{name}: {text}");
        }
        table.expire(Timestamp(1_000 + LIFE + 1));
        assert_eq!(table.blocked_until(PLACE, None, 1_001), None);
    }
}
