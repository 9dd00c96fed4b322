//! The youngest entries of a queue, in RAM: those that wait to be written, and some before them for
//! readers who are close behind.

use rmq_runtime::system::prefetch;

use super::unit::{UNIT_LEN, Unit};

/// Entries that are kept together with the queue's numbers before they join the others.
const FRESH: usize = 4;

/// With thousands of queues each append finds its queue out of the processor's caches. The last
/// entries lie in the lines that it needs anyway; where the older ones are is fetched for several
/// at once.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// Number of the first entry.
    from: u64,
    older: Vec<u8>,
    fresh: [[u8; UNIT_LEN]; FRESH],
    /// So many of `fresh`.
    count: usize,
}

impl Tail {
    /// None yet; the next entry has that number.
    pub(super) fn at(from: u64) -> Self {
        Self { from, ..Self::default() }
    }

    /// Number of the first entry.
    pub(super) fn from(&self) -> u64 {
        self.from
    }

    /// Asks for what the next [`push`](Self::push) touches: it comes while the record is encoded.
    pub(super) fn approach(&self) {
        if self.count == FRESH {
            prefetch(self.older.as_ptr().wrapping_add(self.older.len()), FRESH * UNIT_LEN);
        }
    }

    /// Adds the entry of that number, which follows the last one.
    pub(super) fn push(&mut self, number: u64, unit: Unit) {
        if self.count == 0 && self.older.is_empty() {
            self.from = number;
        }
        if self.count == FRESH {
            self.gather();
        }
        if let Some(place) = self.fresh.get_mut(self.count) {
            *place = unit.encode();
            self.count += 1;
        }
    }

    fn gather(&mut self) {
        for unit in self.fresh.iter().take(self.count) {
            self.older.extend_from_slice(unit);
        }
        self.count = 0;
    }

    /// Entries from one number to before another; none unless all are here.
    pub(super) fn bytes(&mut self, from: u64, to: u64) -> &[u8] {
        self.gather();
        let place = |number: u64| {
            let after = usize::try_from(number.checked_sub(self.from)?).ok()?;
            after.checked_mul(UNIT_LEN)
        };
        let range = place(from).zip(place(to));
        range.and_then(|(from, to)| self.older.get(from..to)).unwrap_or_default()
    }

    /// Forgets entries before that number.
    pub(super) fn keep_from(&mut self, number: u64) {
        let surplus = number.saturating_sub(self.from);
        if let Ok(surplus) = usize::try_from(surplus)
            && surplus > 0
        {
            self.gather();
            self.older.drain(..surplus.saturating_mul(UNIT_LEN).min(self.older.len()));
            self.from = number;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(number: u64) -> Unit {
        Unit { physical: number * 100, size: 91, tags_code: 7 }
    }

    proptest! {
        #[test]
        fn entries_are_read_as_they_came_wherever_they_lie(
            first in 0..1000_u64,
            steps in prop::collection::vec((0..7_u64, 0..9_u64), 1..40),
        ) {
            let (mut tail, mut end) = (Tail::at(0), first);
            let mut kept = first;
            for (pushed, forgotten) in steps {
                for _ in 0..pushed {
                    tail.push(end, unit(end));
                    end += 1;
                }
                if end == first {
                    continue;
                }
                kept = (kept + forgotten).min(end - 1);
                tail.keep_from(kept);
                prop_assert_eq!(tail.from(), kept);
                let all: Vec<_> = (kept..end).flat_map(|number| unit(number).encode()).collect();
                prop_assert_eq!(tail.bytes(kept, end), &all);
                prop_assert_eq!(tail.bytes(end - 1, end), &unit(end - 1).encode());
                prop_assert!(tail.bytes(kept, end + 1).is_empty());
                prop_assert!(kept == 0 || tail.bytes(kept - 1, end).is_empty());
            }
        }
    }
}
