//! The ticks that have entries. Memory holds those to come; the file `timerwheel` holds a slot of 32
//! bytes for each second of two weeks, for Apache's brokers, and is never read here: it says nothing
//! that the timer log does not say.
//!
//! | at | bytes | what (big-endian) |
//! |---|---|---|
//! | 0 | 8 | second of the tick |
//! | 8 | 8 | position of its first entry |
//! | 16 | 8 | position of its last entry |
//! | 24 | 4 | messages that wait in it |
//! | 28 | 4 | 0 |

use std::collections::{BTreeMap, BTreeSet};

use super::unit::Unit;
use super::wish::TICK_MS;

const SLOT_LEN: usize = 32;
/// Twice the seconds of a week.
const SLOTS: u32 = 2 * 7 * 86_400;
/// Bytes of the file.
pub(super) const FILE_LEN: u64 = SLOTS as u64 * SLOT_LEN as u64;

/// The entries of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    first: u64,
    last: u64,
    waiting: i32,
}

/// The wheel. Ticks are in ms.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    slots: BTreeMap<i64, Slot>,
    changed: BTreeSet<i64>,
}

impl Wheel {
    /// The last entry of a tick.
    pub(super) fn last(&self, tick: i64) -> Option<u64> {
        self.slots.get(&tick).map(|slot| slot.last)
    }

    /// An entry has come.
    pub(super) fn put(&mut self, at: u64, unit: &Unit) {
        let slot = self.slots.entry(unit.tick).or_insert(Slot { first: at, last: at, waiting: 0 });
        slot.last = at;
        slot.waiting = slot.waiting.saturating_add(if unit.takes_back { -1 } else { 1 });
        self.changed.insert(unit.tick);
    }

    /// The first tick that has entries.
    pub(super) fn first(&self) -> Option<i64> {
        self.slots.first_key_value().map(|(tick, _)| *tick)
    }

    /// A tick is over. Its slot in the file stays: who reads it knows how far ticks are over.
    pub(super) fn remove(&mut self, tick: i64) {
        self.slots.remove(&tick);
    }

    /// Slots to be written, with their places in the file.
    pub(super) fn unwritten(&self) -> Vec<(u64, [u8; SLOT_LEN])> {
        let changed = self.changed.iter().filter_map(|tick| {
            let slot = self.slots.get(tick)?;
            let second = tick / TICK_MS;
            let index = u64::try_from(second.rem_euclid(SLOTS.into())).ok()?;
            let mut bytes = [0; SLOT_LEN];
            let mut out = &mut bytes[..];
            {
                use bytes::BufMut;
                out.put_i64(second);
                out.put_u64(slot.first);
                out.put_u64(slot.last);
                out.put_i32(slot.waiting);
            }
            Some((index * SLOT_LEN as u64, bytes))
        });
        changed.collect()
    }

    /// They are.
    pub(super) fn written(&mut self) {
        self.changed.clear();
    }
}
