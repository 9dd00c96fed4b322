//! Deliveries of a group, held against its promises as they come, with a few bits a message.
//!
//! A *tenure* is one ownership of one queue by one member. What may come twice, exactly (INV-26):
//!
//! 1. Within a tenure nothing comes twice; in ordered consumption offsets go up one by one.
//! 2. A new tenure begins at most [`WINDOW`] messages before what had been delivered of the queue
//!    [`notice`](Ledger::new) before it began. That is all that the former owner can have had
//!    without progress: with each pull it tells its progress, and it does not pull while its
//!    unfinished messages lie further apart than `consumeConcurrentlyMaxSpan`. The time is what the
//!    new owner takes from reading progress to its first delivery.
//! 3. Two tenures of one queue overlap for at most that time: then the former owner has noticed.
//!
//! So a change of owner costs at most `WINDOW` messages of its queue, and what comes of it in twice
//! that time; without changes nothing comes twice.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};
use rmq_message::MessageQueue;
use rmq_runtime::Monotonic;

/// `consumeConcurrentlyMaxSpan` and `pullBatchSize`, as they are by default, and the message that
/// holds up progress.
pub const WINDOW: i64 = 2000 + 32 + 1;
/// Time between two samples of how far a queue is.
const SAMPLE: Duration = Duration::from_millis(100);
/// Broken promises that are kept to be told.
const WRONG_MAX: usize = 20;

/// An ownership of a queue: which member, and its how many-th ownership of any. Number 0 stands for
/// one that is being given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tenure {
    /// Who.
    pub member: u32,
    /// Which of its ownerships.
    pub number: u32,
}

/// One message given to one listener.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// Queue id.
    pub queue: i32,
    /// By whom it is owned.
    pub tenure: Tenure,
    /// Offset in the queue.
    pub offset: i64,
    /// The message's own number.
    pub number: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Ledger {
    ordered: bool,
    notice: Duration,
    numbers: Bits,
    queues: BTreeMap<i32, Queue>,
    deliveries: u64,
    wrong: Vec<String>,
}

#[derive(Debug, Default)]
struct Queue {
    offsets: Bits,
    /// Samples of late: when they began, and behind the highest offset that came until they ended.
    ends: VecDeque<(Monotonic, i64)>,
    end: i64,
    tenures: BTreeMap<Tenure, Held>,
    /// Who delivered last.
    latest: Option<Tenure>,
    last: Option<Monotonic>,
    longest_pause: Duration,
}

#[derive(Debug)]
struct Held {
    offsets: Bits,
    /// Nothing below may come again.
    floor: i64,
    began: Monotonic,
    last: Monotonic,
    next: i64,
    repeated: u64,
}

impl Ledger {
    /// An empty one. Members notice changes within that time.
    pub fn new(ordered: bool, notice: Duration) -> Self {
        let (numbers, queues) = (Bits::default(), BTreeMap::new());
        Self { ordered, notice, numbers, queues, deliveries: 0, wrong: Vec::new() }
    }

    /// Notes a delivery.
    pub fn delivered(&mut self, now: Monotonic, it: Delivery) {
        self.deliveries += 1;
        self.numbers.insert(it.number);
        let queue = self.queues.entry(it.queue).or_default();
        for broken in queue.delivered(now, &it, self.ordered, self.notice) {
            if self.wrong.len() < WRONG_MAX {
                self.wrong.push(format!("{it:?} at {now:?} {broken}"));
            }
        }
    }

    /// How many different messages have come.
    pub fn come(&self) -> u64 {
        self.numbers.count
    }

    /// Deliveries of what had been delivered before.
    pub fn repeated(&self) -> u64 {
        self.deliveries - self.queues.values().map(|queue| queue.offsets.count).sum::<u64>()
    }

    /// Whether everything was right so far.
    ///
    /// # Errors
    /// What was not.
    pub fn verdict(&self) -> Result<()> {
        ensure!(self.wrong.is_empty(), "broken promises: {}", self.wrong.join("; "));
        Ok(())
    }

    /// Whether everything below these positions has come.
    ///
    /// # Errors
    /// What has not.
    pub fn covers(&self, positions: &[(MessageQueue, i64)]) -> Result<()> {
        for (queue, end) in positions.iter().filter(|(_, end)| *end > 0) {
            let come = self.queues.get(&queue.queue_id);
            let missing = come.map_or(0, |come| come.offsets.first_missing());
            ensure!(
                missing >= end.cast_unsigned(),
                "{queue} {missing} never came, progress is {end}"
            );
        }
        Ok(())
    }
}

impl Queue {
    /// Notes a delivery; returns what is wrong with it.
    fn delivered(
        &mut self,
        now: Monotonic,
        it: &Delivery,
        ordered: bool,
        notice: Duration,
    ) -> Vec<&'static str> {
        let mut wrong = Vec::new();
        let repeated = !self.offsets.insert(it.offset.cast_unsigned());
        let floor = self.end_before(now, notice) - WINDOW;
        self.went_on(now, it.offset + 1);
        if it.tenure.number == 0 {
            return wrong;
        }
        let held = match self.tenures.entry(it.tenure) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Held {
                offsets: Bits::default(),
                floor,
                began: now,
                last: now,
                next: it.offset,
                repeated: 0,
            }),
        };
        held.last = now;
        held.repeated += u64::from(repeated);
        if !held.offsets.insert(it.offset.cast_unsigned()) {
            wrong.push("came twice to one owner");
        }
        if it.offset < held.floor {
            wrong.push("had been finished for long");
        }
        if ordered && it.offset != held.next {
            wrong.push("is out of order");
        }
        held.next = it.offset + 1;
        let began = held.began;
        let former = self.latest.replace(it.tenure).filter(|former| *former != it.tenure);
        let former = former.and_then(|former| self.tenures.get(&former));
        if former.is_some_and(|former| former.last.since(began.max(former.began)) > notice) {
            wrong.push("came while the queue had another owner");
        }
        wrong
    }

    /// Behind the highest offset that had come so long ago.
    fn end_before(&mut self, now: Monotonic, notice: Duration) -> i64 {
        let is_old = |sample: &(Monotonic, i64)| now.since(sample.0) >= notice + SAMPLE;
        while self.ends.get(1).is_some_and(is_old) {
            self.ends.pop_front();
        }
        self.ends.front().filter(|sample| is_old(sample)).map_or(0, |(_, end)| *end)
    }

    fn went_on(&mut self, now: Monotonic, end: i64) {
        self.end = self.end.max(end);
        match self.ends.back_mut() {
            Some((at, end)) if now.since(*at) < SAMPLE => *end = self.end,
            _ => self.ends.push_back((now, self.end)),
        }
        let pause = self.last.replace(now).map_or(Duration::ZERO, |last| now.since(last));
        self.longest_pause = self.longest_pause.max(pause);
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenures = || self.queues.values().flat_map(|queue| queue.tenures.values());
        let worst = tenures().map(|held| held.repeated).max().unwrap_or(0);
        let pause = self.queues.values().map(|queue| queue.longest_pause).max();
        write!(
            f,
            "{} came, {} came again after {} changes of owners (at most {worst} after one), no queue \
             stood still for more than {:.1} s",
            self.come(),
            self.repeated(),
            tenures().count(),
            pause.unwrap_or_default().as_secs_f64()
        )
    }
}

/// A set of numbers of which most come: a bit each.
#[derive(Debug, Default)]
struct Bits {
    pages: BTreeMap<u64, Box<[u64; WORDS]>>,
    count: u64,
}

const WORDS: usize = 16;
const PAGE: u64 = 64 * WORDS as u64;

impl Bits {
    /// Whether it is new.
    fn insert(&mut self, number: u64) -> bool {
        let page = self.pages.entry(number / PAGE).or_insert_with(|| Box::new([0; WORDS]));
        let (word, bit) = ((number % PAGE / 64) as usize, 1 << (number % 64));
        let is_new = page[word] & bit == 0;
        page[word] |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    fn first_missing(&self) -> u64 {
        let holed = (0..).zip(&self.pages).find_map(|(expected, (number, words))| {
            if *number != expected {
                return Some(expected * PAGE);
            }
            let (word, bits) = words.iter().enumerate().find(|(_, bits)| **bits != u64::MAX)?;
            Some(number * PAGE + 64 * word as u64 + u64::from(bits.trailing_ones()))
        });
        holed.unwrap_or(PAGE * self.pages.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTICE: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Monotonic {
        Monotonic::default() + Duration::from_secs(seconds)
    }

    fn got(ledger: &mut Ledger, seconds: u64, member: u32, offsets: std::ops::Range<i64>) {
        for offset in offsets {
            let tenure = Tenure { member, number: 1 };
            let number = offset.cast_unsigned();
            ledger.delivered(at(seconds), Delivery { queue: 0, tenure, offset, number });
        }
    }

    #[test]
    fn a_change_of_owner_may_repeat_what_was_in_flight() {
        let mut ledger = Ledger::new(true, NOTICE);
        got(&mut ledger, 0, 1, 0..10_000);
        got(&mut ledger, 10, 1, 10_000..20_000);
        got(&mut ledger, 11, 2, 10_000 - WINDOW..30_000);
        ledger.verdict().unwrap();
        assert_eq!((ledger.come(), ledger.repeated()), (30_000, 10_000 + WINDOW.cast_unsigned()));
        ledger.covers(&[(MessageQueue::new("T", "a", 0), 30_000)]).unwrap();
    }

    #[test]
    fn every_broken_promise_is_found() {
        type Story = fn(&mut Ledger);
        let stories: [(&str, Story); 4] = [
            ("twice to one owner", |it| got(it, 1, 1, 99..100)),
            ("long finished", |it| got(it, 100, 2, 10_000 - WINDOW - 1..10_000)),
            ("out of order", |it| got(it, 1, 1, 10_001..10_002)),
            ("two owners", |it| {
                for seconds in 1..=8 {
                    let offset = 10_000 + i64::try_from(seconds).unwrap();
                    got(it, seconds, 2, offset..offset + 1);
                    got(it, seconds, 1, offset - 1..offset);
                }
            }),
        ];
        for (what, story) in stories {
            let mut ledger = Ledger::new(true, NOTICE);
            got(&mut ledger, 0, 1, 0..10_000);
            ledger.verdict().unwrap();
            story(&mut ledger);
            assert!(ledger.verdict().is_err(), "{what}");
        }
        let mut ledger = Ledger::new(false, NOTICE);
        got(&mut ledger, 0, 1, 0..5000);
        got(&mut ledger, 0, 1, 5001..9000);
        let covers = |end| ledger.covers(&[(MessageQueue::new("T", "a", 0), end)]);
        covers(5000).unwrap();
        assert!(covers(5001).is_err(), "progress passed what never came");
    }
}
