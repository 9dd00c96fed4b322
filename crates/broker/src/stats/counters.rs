//! The counters themselves: some stripes side by side, so that threads that count do not wait for
//! each other. Counting takes no lock that another thread holds, and allocates only the first time
//! that a topic or group is seen.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use rmq_message::CompactString;

use super::Count;

const STRIPES: usize = 16;
/// Most pairs of topic and group of one stripe; what lies beyond is counted in the totals only.
const PAIRS_MAX: usize = 50_000;

/// What has been counted of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Messages; milliseconds where time is counted.
    pub(super) count: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// How often something was added.
    pub(super) events: u64,
}

/// A thing that is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    /// Messages stored in a topic.
    Put { topic: CompactString },
    /// Messages of a topic handed out to a group.
    Got { topic: CompactString, group: CompactString },
    /// Messages that a group sent back.
    SentBack { topic: CompactString, group: CompactString },
    /// Messages that became a group's dead letters.
    Dead { topic: CompactString, group: CompactString },
    /// Time that reads took.
    Latency { topic: CompactString, group: CompactString, queue_id: i32 },
}

impl Row {
    pub(super) fn topic(&self) -> &str {
        match self {
            Self::Put { topic }
            | Self::Got { topic, .. }
            | Self::SentBack { topic, .. }
            | Self::Dead { topic, .. }
            | Self::Latency { topic, .. } => topic,
        }
    }

    pub(super) fn group(&self) -> Option<&str> {
        match self {
            Self::Put { .. } => None,
            Self::Got { group, .. }
            | Self::SentBack { group, .. }
            | Self::Dead { group, .. }
            | Self::Latency { group, .. } => Some(group),
        }
    }
}

/// One cell of a stripe.
#[derive(Debug, Default)]
pub(super) struct Counter {
    count: AtomicU64,
    bytes: AtomicU64,
    events: AtomicU64,
}

impl Counter {
    pub(super) fn add(&self, count: u64, bytes: u64) {
        self.count.fetch_add(count, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    fn add_to(&self, tally: &mut Tally) {
        tally.count += self.count.load(Ordering::Relaxed);
        tally.bytes += self.bytes.load(Ordering::Relaxed);
        tally.events += self.events.load(Ordering::Relaxed);
    }
}

/// The cells of a group on a topic.
#[derive(Debug, Default)]
pub(super) struct GroupCounters {
    pub(super) got: Counter,
    pub(super) sent_back: Counter,
    pub(super) dead: Counter,
    latency: HashMap<i32, Counter>,
}

#[derive(Debug, Default)]
struct TopicCounters {
    put: Counter,
    groups: HashMap<CompactString, GroupCounters>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    totals: [AtomicU64; Count::KINDS],
    topics: RwLock<Topics>,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: HashMap<CompactString, TopicCounters>,
    pairs: usize,
}

/// All stripes.
#[derive(Debug, Default)]
pub(super) struct Counters {
    stripes: [Stripe; STRIPES],
}

impl Counters {
    /// The stripe of this thread.
    fn stripe(&self) -> &Stripe {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        let mine = MINE.with(Cell::get);
        self.stripes.get(mine).unwrap_or(&self.stripes[0])
    }

    pub(super) fn add(&self, kind: Count, count: u64) {
        if let Some(total) = self.stripe().totals.get(kind as usize) {
            total.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(super) fn totals(&self) -> [u64; Count::KINDS] {
        let mut sums = [0; Count::KINDS];
        for stripe in &self.stripes {
            for (sum, total) in sums.iter_mut().zip(&stripe.totals) {
                *sum += total.load(Ordering::Relaxed);
            }
        }
        sums
    }

    pub(super) fn put(&self, topic: &str, count: u64, bytes: u64) {
        let topics = &self.stripe().topics;
        if let Some(counters) = topics.read().by_name.get(topic) {
            return counters.put.add(count, bytes);
        }
        let mut topics = topics.write();
        if topics.by_name.len() < PAIRS_MAX {
            topics.by_name.entry(topic.into()).or_default().put.add(count, bytes);
        }
    }

    /// Counts something of a group on a topic.
    pub(super) fn with_group(&self, topic: &str, group: &str, count: impl Fn(&GroupCounters)) {
        let topics = &self.stripe().topics;
        if let Some(counters) =
            topics.read().by_name.get(topic).and_then(|topic| topic.groups.get(group))
        {
            return count(counters);
        }
        let mut topics = topics.write();
        if topics.pairs < PAIRS_MAX {
            topics.pairs += 1;
            let counters = topics.by_name.entry(topic.into()).or_default();
            count(counters.groups.entry(group.into()).or_default());
        }
    }

    pub(super) fn read_took(&self, topic: &str, group: &str, queue_id: i32, millis: u64) {
        let topics = &self.stripe().topics;
        let known = |topics: &Topics| {
            let group = topics.by_name.get(topic)?.groups.get(group)?;
            group.latency.get(&queue_id)?.add(millis, 0);
            Some(())
        };
        if known(&topics.read()).is_some() {
            return;
        }
        let mut topics = topics.write();
        if topics.pairs < PAIRS_MAX {
            topics.pairs += 1;
            let counters = topics.by_name.entry(topic.into()).or_default();
            let group = counters.groups.entry(group.into()).or_default();
            group.latency.entry(queue_id).or_default().add(millis, 0);
        }
    }

    /// What all stripes have counted.
    pub(super) fn rows(&self) -> BTreeMap<Row, Tally> {
        let mut rows = BTreeMap::new();
        let mut sum = |row: Row, counter: &Counter| {
            if counter.events.load(Ordering::Relaxed) > 0 {
                counter.add_to(rows.entry(row).or_default());
            }
        };
        for stripe in &self.stripes {
            for (topic, counters) in &stripe.topics.read().by_name {
                sum(Row::Put { topic: topic.clone() }, &counters.put);
                for (group, counters) in &counters.groups {
                    let (topic, group) = (topic.clone(), group.clone());
                    for (queue_id, counter) in &counters.latency {
                        let (topic, group) = (topic.clone(), group.clone());
                        sum(Row::Latency { topic, group, queue_id: *queue_id }, counter);
                    }
                    let pair = || (topic.clone(), group.clone());
                    let (topic, group) = pair();
                    sum(Row::Got { topic, group }, &counters.got);
                    let (topic, group) = pair();
                    sum(Row::SentBack { topic, group }, &counters.sent_back);
                    let (topic, group) = pair();
                    sum(Row::Dead { topic, group }, &counters.dead);
                }
            }
        }
        rows
    }

    /// Forgets a topic.
    pub(super) fn forget_topic(&self, topic: &str) {
        for stripe in &self.stripes {
            let mut topics = stripe.topics.write();
            let gone = topics.by_name.remove(topic);
            let pairs = gone.map_or(0, |topic| topic.groups.values().map(GroupCounters::len).sum());
            topics.pairs = topics.pairs.saturating_sub(pairs);
        }
    }

    /// Forgets a group.
    pub(super) fn forget_group(&self, group: &str) {
        for stripe in &self.stripes {
            let mut topics = stripe.topics.write();
            let gone = topics.by_name.values_mut().filter_map(|topic| topic.groups.remove(group));
            let pairs: usize = gone.map(|group| group.len()).sum();
            topics.pairs = topics.pairs.saturating_sub(pairs);
        }
    }
}

impl GroupCounters {
    fn len(&self) -> usize {
        1 + self.latency.len()
    }
}
