//! What this broker has done, in numbers: totals and their rates over 10 s, 1 min and 10 min, and
//! rows for each topic and for each group on a topic with their last minute, hour and day.
//!
//! Owned by the broker, kept in memory only, forgotten with the topic or group. Those who do
//! something count it; [`Stats::sample`] looks at the counters in time.
//!
//! Source of names and spans: Apache RocketMQ 5.5, store/BrokerStatsManager, common/StatsItem.

mod counters;
mod series;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_message::{CompactString, Timestamp, name};
use rmq_remoting::protocol::stats::BrokerStats;
use rmq_runtime::Monotonic;

use counters::{Counters, Row, Tally};
use series::{AllSeries, Amount, Series};

/// Between two samples.
pub(crate) const SAMPLE_PERIOD: Duration = Duration::from_secs(5);
/// Samples kept: those of ten minutes.
const SAMPLES: usize = 121;
const WINDOWS: [Duration; 3] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];
const DAY_MS: i64 = 86_400_000;

/// What is counted in total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Messages stored.
    Put,
    /// Bytes of their records.
    PutBytes,
    /// Messages refused.
    PutFailed,
    /// Pulls that found something.
    Found,
    /// Pulls that found nothing.
    Miss,
    /// Messages handed out.
    Transferred,
    /// Messages stored in topics that are not the system's.
    PutByUsers,
    /// Messages handed out of such topics.
    GotByUsers,
}

impl Count {
    const KINDS: usize = 8;
}

/// The statistics.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    counters: Counters,
    /// Milliseconds of the longest read.
    longest_read: AtomicU64,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    samples: VecDeque<Sample>,
    rows: AllSeries,
    broker: [Series; 4],
    steps: u64,
    stepped: Option<Monotonic>,
    mornings: Mornings,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Monotonic,
    counts: [u64; Count::KINDS],
}

/// Totals at the last two midnights, of messages put and got by users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mornings {
    day: Option<i64>,
    pub(crate) yesterday: (u64, u64),
    pub(crate) today: (u64, u64),
}

/// A read that found something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got<'a> {
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) count: usize,
    pub(crate) bytes: usize,
    /// If it was measured.
    pub(crate) took: Option<Duration>,
}

impl Stats {
    pub(crate) fn add(&self, kind: Count, count: u64) {
        self.counters.add(kind, count);
    }

    pub(crate) fn get(&self, kind: Count) -> u64 {
        self.counters.totals().get(kind as usize).copied().unwrap_or(0)
    }

    /// Messages have been stored.
    pub(crate) fn put(&self, topic: &str, count: usize, bytes: u64) {
        let count = count as u64;
        self.add(Count::Put, count);
        self.add(Count::PutBytes, bytes);
        if !name::is_system_topic(topic) {
            self.add(Count::PutByUsers, count);
        }
        self.counters.put(topic, count, bytes);
    }

    /// Messages have been handed out.
    pub(crate) fn got(&self, got: &Got<'_>) {
        let (count, bytes) = (got.count as u64, got.bytes as u64);
        self.add(Count::Found, 1);
        self.add(Count::Transferred, count);
        if !name::is_system_topic(got.topic) {
            self.add(Count::GotByUsers, count);
        }
        self.counters.with_group(got.topic, got.group, |group| group.got.add(count, bytes));
        let Some(took) = got.took else { return };
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if millis > self.longest_read.load(Ordering::Relaxed) {
            self.longest_read.fetch_max(millis, Ordering::Relaxed);
        }
        self.counters.read_took(got.topic, got.group, got.queue_id, millis);
    }

    /// A group has sent a message back.
    pub(crate) fn sent_back(&self, topic: &str, group: &str) {
        self.counters.with_group(topic, group, |group| group.sent_back.add(1, 0));
    }

    /// A message has become a dead letter.
    pub(crate) fn dead(&self, topic: &str, group: &str) {
        self.counters.with_group(topic, group, |group| group.dead.add(1, 0));
    }

    /// Forgets a topic (INV-35).
    pub(crate) fn forget_topic(&self, topic: &str) {
        self.counters.forget_topic(topic);
        self.past.lock().rows.forget(|row| row.topic() == topic);
    }

    /// Forgets a group (INV-35).
    pub(crate) fn forget_group(&self, group: &str) {
        self.counters.forget_group(group);
        self.past.lock().rows.forget(|row| row.group() == Some(group));
    }

    /// Looks at the counters; every [`SAMPLE_PERIOD`]. `local` is the wall clock of this place, ms.
    pub(crate) fn sample(&self, now: Monotonic, local: Timestamp) {
        let counts = self.counters.totals();
        let mut past = self.past.lock();
        if past.samples.len() >= SAMPLES {
            past.samples.pop_front();
        }
        past.samples.push_back(Sample { at: now, counts });
        let total = |kind: Count| counts.get(kind as usize).copied().unwrap_or(0);
        past.mornings.look(local, (total(Count::PutByUsers), total(Count::GotByUsers)));
        // Half a period of grace: sleeps are not exact.
        if past.stepped.is_some_and(|at| now.since(at) + SAMPLE_PERIOD / 2 < series::STEP) {
            return;
        }
        past.stepped = Some(now);
        let step = past.steps;
        past.steps += 1;
        for (series, kind) in past.broker.iter_mut().zip(BROKER_ROWS) {
            let count = total(kind);
            // Events are not counted apart: each message is one.
            series.note(step, now, Tally { count, bytes: 0, events: count });
        }
        past.rows.note(self.counters.rows(), now);
    }

    /// Totals at the last midnights.
    pub(crate) fn mornings(&self) -> Mornings {
        self.past.lock().mornings
    }

    /// The last minute, hour and day of a row under its name and key in the protocol.
    pub(crate) fn view(&self, cluster: &str, name: &str, key: &str) -> Option<BrokerStats> {
        let past = self.past.lock();
        if let Some(index) = BROKER_NAMES.iter().position(|known| *known == name) {
            let series = past.broker.get(index)?;
            return (key == cluster).then(|| series.view(Amount::Count));
        }
        let (row, amount) = row_of(name, key)?;
        match past.rows.get(&row) {
            Some(series) => Some(series.view(amount)),
            // Counted, and not looked at yet.
            None => self.counters.rows().contains_key(&row).then(BrokerStats::default),
        }
    }

    /// How long the longest read took that found something.
    pub(crate) fn longest_read(&self) -> Duration {
        Duration::from_millis(self.longest_read.load(Ordering::Relaxed))
    }

    /// Messages stored in a topic, a second.
    pub(crate) fn put_rate(&self, topic: &str) -> f64 {
        self.rate(&Row::Put { topic: topic.into() })
    }

    /// Messages of a topic handed out to a group, a second.
    pub(crate) fn get_rate(&self, topic: &str, group: &str) -> f64 {
        self.rate(&Row::Got { topic: topic.into(), group: group.into() })
    }

    fn rate(&self, row: &Row) -> f64 {
        let past = self.past.lock();
        past.rows.get(row).map_or(0.0, |series| series.view(Amount::Count).stats_minute.tps)
    }

    /// Rates a second over 10 s, 1 min and 10 min, with blanks between them; 0 where nothing has
    /// been measured yet, since readers expect three.
    pub(crate) fn rates(&self, kinds: &[Count]) -> String {
        let past = self.past.lock();
        let sum = |sample: &Sample| -> u64 {
            kinds.iter().filter_map(|kind| sample.counts.get(*kind as usize)).sum()
        };
        let rate = |window: Duration| {
            let last = past.samples.back()?;
            let first = past.samples.iter().rev().find(|s| last.at.since(s.at) >= window)?;
            let count = sum(last).saturating_sub(sum(first));
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let count = count as f64;
            Some(count / last.at.since(first.at).as_secs_f64())
        };
        let [ten, minute, ten_minutes] = WINDOWS.map(|window| rate(window).unwrap_or(0.0));
        format!("{ten:?} {minute:?} {ten_minutes:?}")
    }
}

/// Rows of the whole broker, and what they count.
const BROKER_NAMES: [&str; 4] = [
    "BROKER_PUT_NUMS",
    "BROKER_GET_NUMS",
    "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC",
    "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC",
];
const BROKER_ROWS: [Count; 4] =
    [Count::Put, Count::Transferred, Count::PutByUsers, Count::GotByUsers];

/// The row that a name and a key of the protocol mean.
fn row_of(name: &str, key: &str) -> Option<(Row, Amount)> {
    let pair = || -> Option<(CompactString, CompactString)> {
        key.split_once('@').map(|(topic, group)| (topic.into(), group.into()))
    };
    let group_row = |row: fn(CompactString, CompactString) -> Row| {
        pair().map(|(topic, group)| row(topic, group))
    };
    let got = |topic, group| Row::Got { topic, group };
    Some(match name {
        "TOPIC_PUT_NUMS" => (Row::Put { topic: key.into() }, Amount::Count),
        "TOPIC_PUT_SIZE" => (Row::Put { topic: key.into() }, Amount::Bytes),
        "GROUP_GET_NUMS" => (group_row(got)?, Amount::Count),
        "GROUP_GET_SIZE" => (group_row(got)?, Amount::Bytes),
        "SNDBCK_PUT_NUMS" => {
            (group_row(|topic, group| Row::SentBack { topic, group })?, Amount::Count)
        }
        "DLQ_PUT_NUMS" => (group_row(|topic, group| Row::Dead { topic, group })?, Amount::Count),
        "GROUP_GET_LATENCY" => {
            let (queue_id, rest) = key.split_once('@')?;
            let (topic, group) = rest.split_once('@')?;
            let queue_id = queue_id.parse().ok()?;
            let (topic, group) = (topic.into(), group.into());
            (Row::Latency { topic, group, queue_id }, Amount::Count)
        }
        _ => return None,
    })
}

impl Mornings {
    fn look(&mut self, local: Timestamp, totals: (u64, u64)) {
        let day = local.0.div_euclid(DAY_MS);
        if self.day.is_some_and(|known| known != day) {
            self.yesterday = self.today;
            self.today = totals;
        }
        self.day = Some(day);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn rates_are_zero_until_their_window_has_been_measured() {
        let stats = Stats::default();
        assert_eq!(stats.rates(&[Count::Put]), "0.0 0.0 0.0");
        for second in (0..=60).step_by(5) {
            stats.sample(at(second), Timestamp(0));
            stats.add(Count::Put, 10);
            stats.add(Count::Found, 1);
        }
        assert_eq!(stats.rates(&[Count::Put]), "2.0 2.0 0.0");
        assert_eq!(stats.rates(&[Count::Put, Count::Found]), "2.2 2.2 0.0");
        assert_eq!(stats.get(Count::Put), 130);
    }

    fn busy() -> Stats {
        let stats = Stats::default();
        let got = Got {
            topic: "T",
            group: "g",
            queue_id: 1,
            count: 8,
            bytes: 800,
            took: Some(Duration::from_millis(3)),
        };
        stats.put("T", 10, 1000);
        stats.put("SCHEDULE_TOPIC_XXXX", 5, 500);
        stats.got(&got);
        stats.sent_back("T", "g");
        stats.dead("T", "g");
        stats.sample(at(10), Timestamp(0));
        stats
    }

    #[test]
    fn a_row_is_there_as_soon_as_something_is_counted() {
        let stats = Stats::default();
        assert_eq!(stats.view("C", "TOPIC_PUT_NUMS", "T"), None);
        stats.put("T", 1, 100);
        assert_eq!(stats.view("C", "TOPIC_PUT_NUMS", "T"), Some(BrokerStats::default()));
    }

    #[test]
    fn rows_are_viewed_by_the_names_and_keys_of_the_protocol() {
        let stats = busy();
        for (name, key, sum) in [
            ("TOPIC_PUT_NUMS", "T", 10),
            ("TOPIC_PUT_SIZE", "T", 1000),
            ("GROUP_GET_NUMS", "T@g", 8),
            ("GROUP_GET_SIZE", "T@g", 800),
            ("SNDBCK_PUT_NUMS", "T@g", 1),
            ("DLQ_PUT_NUMS", "T@g", 1),
            ("GROUP_GET_LATENCY", "1@T@g", 3),
            ("BROKER_PUT_NUMS", "C", 15),
            ("BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "C", 10),
            ("BROKER_GET_NUMS", "C", 8),
        ] {
            let view = stats.view("C", name, key).unwrap_or_default();
            assert_eq!(view.stats_minute.sum, sum, "{name} {key}");
        }
        for (name, key) in [
            ("TOPIC_PUT_NUMS", "U"),
            ("GROUP_GET_NUMS", "T"),
            ("BROKER_PUT_NUMS", "D"),
            ("GROUP_GET_LATENCY", "x@T@g"),
            ("NONE", "T"),
        ] {
            assert_eq!(stats.view("C", name, key), None, "{name} {key}");
        }
        assert!((stats.put_rate("T") - 1.0).abs() < 1e-9);
        assert!((stats.get_rate("T", "g") - 0.8).abs() < 1e-9);
    }

    #[test]
    fn a_deleted_topic_or_group_has_no_rows() {
        let stats = busy();
        stats.forget_group("g");
        assert_eq!(stats.view("C", "GROUP_GET_NUMS", "T@g"), None);
        assert!(stats.view("C", "TOPIC_PUT_NUMS", "T").is_some());
        stats.forget_topic("T");
        assert_eq!(stats.view("C", "TOPIC_PUT_NUMS", "T"), None);
        stats.put("T", 1, 1);
        stats.sample(at(20), Timestamp(0));
        assert_eq!(stats.view("C", "TOPIC_PUT_NUMS", "T").unwrap_or_default().stats_minute.sum, 1);
    }

    #[test]
    fn threads_count_beside_each_other_and_all_is_summed() {
        let stats = Stats::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| stats.put("T", 1, 2)));
            }
        });
        stats.sample(at(10), Timestamp(0));
        assert_eq!(
            stats.view("C", "TOPIC_PUT_SIZE", "T").unwrap_or_default().stats_minute.sum,
            8000
        );
        assert_eq!(stats.get(Count::Put), 4000);
    }

    #[test]
    fn totals_of_the_morning_are_those_at_midnight() {
        let mut mornings = Mornings::default();
        mornings.look(Timestamp(DAY_MS - 1), (5, 4));
        assert_eq!((mornings.yesterday, mornings.today), ((0, 0), (0, 0)));
        mornings.look(Timestamp(DAY_MS), (7, 6));
        mornings.look(Timestamp(DAY_MS + 5000), (9, 9));
        assert_eq!((mornings.yesterday, mornings.today), ((0, 0), (7, 6)));
        mornings.look(Timestamp(2 * DAY_MS + 3), (20, 10));
        assert_eq!((mornings.yesterday, mornings.today), ((7, 6), (20, 10)));
    }
}
