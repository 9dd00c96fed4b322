//! What of one queue of the revive topic is still open. A plain structure: records go in, in the
//! order of the queue; what is overdue and how far the queue is done come out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rmq_message::QueueOffset;

use super::check_point::{Ack, CheckPoint, Key};

/// The structure.
#[derive(Debug)]
pub(super) struct InFlight {
    open: BTreeMap<QueueOffset, Open>,
    by_key: HashMap<Key, QueueOffset>,
    /// By the moment at which they are to be looked at, ms since 1970.
    due: BTreeSet<(i64, QueueOffset)>,
    /// Where the next record is expected.
    next: QueueOffset,
}

/// A check point with messages that are neither acknowledged nor brought back.
#[derive(Debug)]
struct Open {
    check_point: CheckPoint,
    left: Vec<i64>,
    due: i64,
    failures: u32,
}

/// What is left of a check point whose time is over.
#[derive(Debug)]
pub(super) struct Overdue {
    /// Names it here.
    pub(super) at: QueueOffset,
    pub(super) check_point: CheckPoint,
    pub(super) left: Vec<i64>,
}

/// Waits after failures, s; the last one stays.
const BACKOFF: [i64; 6] = [1, 5, 10, 30, 60, 300];

impl InFlight {
    pub(super) fn new(next: QueueOffset) -> Self {
        Self { open: BTreeMap::new(), by_key: HashMap::new(), due: BTreeSet::new(), next }
    }

    /// Where the next record is read.
    pub(super) fn next(&self) -> QueueOffset {
        self.next
    }

    /// Everything before has been read or is gone.
    pub(super) fn advance(&mut self, next: QueueOffset) {
        self.next = self.next.max(next);
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// A check point stands there. One with the name of an open one takes its acks from now on.
    pub(super) fn check_point(&mut self, at: QueueOffset, check_point: CheckPoint) {
        let (left, due) = (check_point.offsets(), check_point.due());
        if left.is_empty() {
            return;
        }
        self.by_key.insert(check_point.key(), at);
        self.due.insert((due, at));
        self.open.insert(at, Open { check_point, left, due, failures: 0 });
    }

    /// Some of its messages are done. Acks of what is not open are nothing.
    pub(super) fn ack(&mut self, ack: &Ack) {
        let Some(&at) = self.by_key.get(&ack.key()) else { return };
        let Some(open) = self.open.get_mut(&at) else { return };
        open.left.retain(|offset| !ack.done().contains(offset));
        if open.left.is_empty() {
            self.finish(at);
        }
    }

    /// Check points that are overdue, the oldest ones first.
    pub(super) fn overdue(&self, now: i64, count_max: usize) -> Vec<Overdue> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now).take(count_max);
        due.filter_map(|&(_, at)| {
            let Open { check_point, left, .. } = self.open.get(&at)?;
            Some(Overdue { at, check_point: check_point.clone(), left: left.clone() })
        })
        .collect()
    }

    /// The next moment at which something may be overdue, ms since 1970.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.due.first().map(|(due, _)| *due)
    }

    /// It is over.
    pub(super) fn finish(&mut self, at: QueueOffset) {
        let Some(open) = self.open.remove(&at) else { return };
        self.due.remove(&(open.due, at));
        let key = open.check_point.key();
        if self.by_key.get(&key) == Some(&at) {
            self.by_key.remove(&key);
        }
    }

    /// It could not be brought back: another try later.
    pub(super) fn postpone(&mut self, at: QueueOffset, now: i64) {
        let Some(open) = self.open.get_mut(&at) else { return };
        self.due.remove(&(open.due, at));
        let step = usize::try_from(open.failures).unwrap_or(usize::MAX).min(BACKOFF.len() - 1);
        let wait = BACKOFF.get(step).copied().unwrap_or_default();
        open.failures = open.failures.saturating_add(1);
        open.due = now.saturating_add(wait.saturating_mul(1000));
        self.due.insert((open.due, at));
    }

    /// The last position up to which everything is over; `None` when not even the first is.
    pub(super) fn done(&self) -> Option<QueueOffset> {
        let end = self.open.keys().next().copied().unwrap_or(self.next);
        (end > QueueOffset::ZERO).then(|| end + -1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_point(start: i64, count: i8, due: i64) -> CheckPoint {
        CheckPoint { start, count, pop_time: due, topic: "T".into(), ..CheckPoint::default() }
    }

    fn at(offset: i64) -> QueueOffset {
        QueueOffset(offset)
    }

    #[test]
    fn progress_is_the_lowest_open_check_point() {
        let mut flight = InFlight::new(at(0));
        assert_eq!(flight.done(), None);
        let (first, second) = (check_point(0, 2, 100), check_point(2, 1, 50));
        flight.check_point(at(0), first.clone());
        flight.check_point(at(1), second.clone());
        flight.advance(at(2));
        flight.ack(&Ack::of(&second, vec![2]));
        assert_eq!((flight.done(), flight.len()), (None, 1));
        flight.ack(&Ack::of(&first, vec![0]));
        assert_eq!(flight.done(), None);
        flight.ack(&Ack::of(&first, vec![1]));
        assert_eq!((flight.done(), flight.next_due()), (Some(at(1)), None));
    }

    #[test]
    fn what_is_left_is_overdue_at_its_time_and_later_again_after_a_failure() {
        let mut flight = InFlight::new(at(5));
        let taken = check_point(0, 3, 100);
        flight.check_point(at(5), taken.clone());
        flight.ack(&Ack::of(&taken, vec![1]));
        assert!(flight.overdue(99, 9).is_empty());
        let overdue = flight.overdue(100, 9).pop().unwrap();
        assert_eq!((overdue.at, overdue.check_point), (at(5), taken));
        assert_eq!(overdue.left, [0, 2]);
        flight.postpone(at(5), 100);
        assert!(flight.overdue(1_099, 9).is_empty());
        assert_eq!(flight.next_due(), Some(1_100));
        flight.finish(at(5));
        assert_eq!((flight.len(), flight.next_due()), (0, None));
    }

    #[test]
    fn acks_of_what_is_not_open_are_nothing() {
        let mut flight = InFlight::new(at(0));
        flight.ack(&Ack::of(&check_point(0, 1, 1), vec![0]));
        flight.check_point(at(0), check_point(0, 1, 1));
        flight.ack(&Ack::of(&check_point(0, 1, 2), vec![0]));
        flight.ack(&Ack::of(&check_point(0, 1, 1), vec![7, -1]));
        assert_eq!(flight.len(), 1);
    }

    #[test]
    fn of_two_with_one_name_none_is_forgotten() {
        let mut flight = InFlight::new(at(0));
        let taken = check_point(0, 1, 1);
        flight.check_point(at(0), taken.clone());
        flight.check_point(at(1), taken.clone());
        flight.ack(&Ack::of(&taken, vec![0]));
        let left: Vec<_> = flight.overdue(1, 9).into_iter().map(|overdue| overdue.at).collect();
        assert_eq!(left, [at(0)]);
    }
}
