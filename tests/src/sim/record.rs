//! What everybody saw, in order; and what is wrong the moment it happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rmq_client_push::MessageView;
use rmq_message::MessageQueue;
use rmq_runtime::Clock;
use rmq_sim::SimClock;

use super::Outcome;
use super::stage::{GROUPS, Seat};
use crate::History;

/// Nanoseconds after which nothing that a group was done with may come again: no trouble keeps
/// progress from being written and saved for so long.
const STALE: u64 = 240_000_000_000;
/// Wrong things after which no more are noted.
const VIOLATIONS_MAX: usize = 20;
/// Youngest lines of the record that a failing run shows.
const LINES_MAX: usize = 50_000;

/// A place in a queue, as a group sees it.
type Place = (usize, MessageQueue, i64);

/// See the module.
pub(super) struct Record {
    clock: Arc<SimClock>,
    /// Sends whose senders try once.
    pub(super) orders: History,
    /// Sends whose senders try again.
    pub(super) bills: History,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hasher: DefaultHasher,
    lines: VecDeque<String>,
    violations: Vec<String>,
    /// What was noted last before the first of them.
    lines_then: Vec<String>,
    /// Since when a place is behind a group: its listener has answered, and an ordered one well.
    answered: BTreeMap<Place, u64>,
    /// Messages that a group has done with.
    done: BTreeSet<(usize, Bytes)>,
    /// Ordered queues with a call of a listener.
    at_work: BTreeMap<(usize, MessageQueue), Seat>,
    /// Members that were stopped in the middle of their work: their calls may outlast their locks.
    frozen: BTreeSet<Seat>,
    owned: BTreeMap<Seat, BTreeSet<MessageQueue>>,
    committed: BTreeMap<(usize, MessageQueue), (u64, i64)>,
    /// Until when the cluster may not be in balance.
    disturbed: u64,
    deliveries: usize,
    troubles: usize,
}

impl State {
    fn wrong(&mut self, what: String) {
        if self.violations.is_empty() {
            self.lines_then = self.lines.iter().cloned().collect();
        }
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }
}

/// A call of a listener.
pub(super) struct Call<'a> {
    record: &'a Record,
    seat: Seat,
    queue: MessageQueue,
    messages: Vec<(i64, Bytes)>,
    ordered: bool,
}

impl Record {
    pub(super) fn new(clock: &Arc<SimClock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            orders: History::default(),
            bills: History::default(),
            state: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().0.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Notes what happened.
    pub(super) fn note(&self, what: &str) {
        let line = format!("{:>12.6} {what}", self.clock.monotonic().0.as_secs_f64());
        let mut state = self.state.lock();
        state.hasher.write(line.as_bytes());
        if state.lines.len() == LINES_MAX {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
    }

    /// Notes what must not be.
    pub(super) fn wrong(&self, what: String) {
        self.note(&format!("WRONG {what}"));
        let at = self.clock.monotonic().0;
        self.state.lock().wrong(format!("{at:.3?}: {what}"));
    }

    /// Notes that something goes wrong on purpose, and until when that may be felt.
    pub(super) fn trouble(&self, what: &str, felt_for: std::time::Duration) {
        self.note(what);
        self.state.lock().troubles += 1;
        self.disturb(felt_for);
    }

    /// Until then nobody can expect balance.
    pub(super) fn disturb(&self, felt_for: std::time::Duration) {
        let until = self.now() + u64::try_from(felt_for.as_nanos()).unwrap_or(0);
        let mut state = self.state.lock();
        state.disturbed = state.disturbed.max(until);
    }

    /// Whether nothing has gone wrong for long.
    pub(super) fn is_calm(&self) -> bool {
        self.state.lock().disturbed < self.now()
    }

    /// A member was stopped where it stood.
    pub(super) fn froze(&self, seat: Seat) {
        self.state.lock().frozen.insert(seat);
    }

    /// A listener is called.
    pub(super) fn called(
        &self,
        seat: Seat,
        queue: &MessageQueue,
        messages: &[MessageView],
    ) -> Call<'_> {
        let ordered = GROUPS[seat.group].1;
        let messages: Vec<_> =
            messages.iter().map(|it| (it.queue_offset.0, it.body.clone())).collect();
        for (offset, body) in &messages {
            self.note(&format!("{seat:?} {queue} {offset} {}", String::from_utf8_lossy(body)));
        }
        let (calm, now) = (self.is_calm(), self.now());
        let mut state = self.state.lock();
        state.deliveries += messages.len();
        let mut wrong = Vec::new();
        if ordered {
            let key = (seat.group, queue.clone());
            if let Some(other) = state.at_work.insert(key, seat)
                && !state.frozen.contains(&other)
            {
                wrong.push(format!("INV-24: {seat:?} has {queue} while {other:?} works on it"));
            }
            for (offset, _) in messages.iter().filter(|(offset, _)| *offset > 0) {
                let before = (seat.group, queue.clone(), offset - 1);
                let in_call = messages.iter().any(|(other, _)| *other == offset - 1);
                if !in_call && !state.answered.contains_key(&before) {
                    wrong.push(format!("P3: {seat:?} gets {queue} {offset} before {}", before.2));
                }
            }
        }
        for (offset, _) in &messages {
            let place = (seat.group, queue.clone(), *offset);
            let Some(answered) = state.answered.get(&place) else { continue };
            if now.saturating_sub(*answered) > STALE {
                wrong.push(format!("INV-26: {seat:?} gets {queue} {offset} again long after"));
            }
            if calm {
                wrong.push(format!("INV-26: {seat:?} gets {queue} {offset} again in calm times"));
            }
        }
        drop(state);
        wrong.into_iter().for_each(|what| self.wrong(what));
        Call { record: self, seat, queue: queue.clone(), messages, ordered }
    }

    /// The queues that a member has; none when it is gone.
    pub(super) fn owns(&self, seat: Seat, queues: Option<BTreeSet<MessageQueue>>) {
        let mut state = self.state.lock();
        let before = state.owned.get(&seat).cloned();
        match &queues {
            Some(queues) => state.owned.insert(seat, queues.clone()),
            None => state.owned.remove(&seat),
        };
        drop(state);
        if before != queues {
            self.note(&format!("{seat:?} owns {:?}", queues.map(|queues| queues.len())));
        }
    }

    /// Members of a group that have a queue.
    pub(super) fn owners(&self, group: usize, queue: &MessageQueue) -> Vec<Seat> {
        let state = self.state.lock();
        let seats = state.owned.iter().filter(|(seat, _)| seat.group == group);
        seats.filter(|(_, queues)| queues.contains(queue)).map(|(seat, _)| *seat).collect()
    }

    /// A broker was asked for a group's progress. `life` is the broker's.
    pub(super) fn committed(&self, group: usize, queue: &MessageQueue, life: u64, offset: i64) {
        let mut state = self.state.lock();
        let last = state.committed.insert((group, queue.clone()), (life, offset));
        let mut wrong = Vec::new();
        let mut from = 0;
        if let Some((before, last)) = last {
            if before == life && last > offset {
                wrong.push(format!("INV-22: {group} goes back in {queue} from {last} to {offset}"));
            }
            from = last;
        }
        for offset in from..offset {
            if !state.answered.contains_key(&(group, queue.clone(), offset)) {
                wrong.push(format!("INV-21: {group} has passed {queue} {offset} unseen"));
                break;
            }
        }
        drop(state);
        if last.map(|(_, last)| last) != Some(offset) {
            self.note(&format!("{group} committed {queue} {offset}"));
        }
        wrong.into_iter().for_each(|what| self.wrong(what));
    }

    /// Whether a group has done with a message.
    pub(super) fn is_done(&self, group: usize, body: &Bytes) -> bool {
        self.state.lock().done.contains(&(group, body.clone()))
    }

    pub(super) fn outcome(&self) -> Outcome {
        let state = self.state.lock();
        Outcome {
            digest: state.hasher.finish(),
            violations: state.violations.clone(),
            acknowledged: self.orders.acknowledged() + self.bills.acknowledged(),
            deliveries: state.deliveries,
            troubles: state.troubles,
            lines: match state.violations.is_empty() {
                true => state.lines.iter().cloned().collect(),
                false => state.lines_then.clone(),
            },
            ..Outcome::default()
        }
    }
}

impl Call<'_> {
    /// The listener answers; `done` when its messages are done with.
    pub(super) fn answers(self, done: bool) {
        let now = self.record.now();
        let mut state = self.record.state.lock();
        for (offset, body) in &self.messages {
            // An ordered queue stays where it is when its listener fails.
            if done || !self.ordered {
                let place = (self.seat.group, self.queue.clone(), *offset);
                state.answered.entry(place).or_insert(now);
            }
            if done {
                state.done.insert((self.seat.group, body.clone()));
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut state = self.record.state.lock();
        let key = (self.seat.group, self.queue.clone());
        if self.ordered && state.at_work.get(&key) == Some(&self.seat) {
            state.at_work.remove(&key);
        }
    }
}
