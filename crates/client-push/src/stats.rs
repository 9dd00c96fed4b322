//! What was pulled and consumed, by topic: totals, and what they grew by of late.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use compact_str::CompactString;
use parking_lot::Mutex;
use rmq_runtime::Monotonic;

/// Time between two samples.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);
/// Samples of one minute, and its beginning.
const MINUTE: usize = 7;
/// Samples of one hour, and its beginning.
const HOUR: usize = 361;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Totals of one topic, counted by many tasks.
        #[derive(Debug, Default)]
        pub(crate) struct TopicStats { $($name: AtomicU64,)* }

        /// Totals of one topic since the consumer began.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals { $($(#[$doc])* pub $name: u64,)* }

        impl TopicStats {
            pub(crate) fn totals(&self) -> Totals {
                Totals { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl Totals {
            fn since(self, earlier: Self) -> Self {
                Self { $($name: self.$name.saturating_sub(earlier.$name),)* }
            }
        }
    };
}
counters! {
    /// Messages that the listener finished.
    ok,
    /// Messages that the listener failed.
    failed,
    /// Calls of the listener.
    calls,
    /// Time in the listener, microseconds.
    call_us,
    /// Messages pulled.
    pulled,
    /// Pulls that brought messages.
    pulls,
    /// Time of these pulls, microseconds.
    pull_us,
}

impl Totals {
    /// Mean time of a call of the listener.
    pub fn consume_rt(&self) -> Duration {
        Duration::from_micros(self.call_us.checked_div(self.calls).unwrap_or(0))
    }

    /// Mean time of a pull that brought messages.
    pub fn pull_rt(&self) -> Duration {
        Duration::from_micros(self.pull_us.checked_div(self.pulls).unwrap_or(0))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl TopicStats {
    pub(crate) fn consumed(&self, ok: usize, failed: usize, time: Duration) {
        self.ok.fetch_add(number(ok), Ordering::Relaxed);
        self.failed.fetch_add(number(failed), Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.call_us.fetch_add(micros(time), Ordering::Relaxed);
    }

    pub(crate) fn pulled(&self, count: usize, time: Duration) {
        self.pulled.fetch_add(number(count), Ordering::Relaxed);
        self.pulls.fetch_add(1, Ordering::Relaxed);
        self.pull_us.fetch_add(micros(time), Ordering::Relaxed);
    }
}

/// Rates of one topic over the last minute.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) pull_rt_ms: f64,
    pub(crate) pull_tps: f64,
    pub(crate) consume_rt_ms: f64,
    pub(crate) ok_tps: f64,
    pub(crate) failed_tps: f64,
    /// Failures of the last hour.
    pub(crate) failed_count: u64,
}

#[derive(Default)]
struct Topic {
    stats: Arc<TopicStats>,
    samples: VecDeque<(Monotonic, Totals)>,
}

/// All topics of a consumer.
#[derive(Default)]
pub(crate) struct StatsTable(Mutex<BTreeMap<CompactString, Topic>>);

impl StatsTable {
    /// Counters of a topic, made at the first question.
    pub(crate) fn of(&self, topic: &str) -> Arc<TopicStats> {
        let mut topics = self.0.lock();
        if let Some(known) = topics.get(topic) {
            return Arc::clone(&known.stats);
        }
        Arc::clone(&topics.entry(topic.into()).or_default().stats)
    }

    pub(crate) fn totals(&self) -> BTreeMap<CompactString, Totals> {
        self.0.lock().iter().map(|(name, topic)| (name.clone(), topic.stats.totals())).collect()
    }

    /// Remembers where the totals stand; called every [`SAMPLE_INTERVAL`].
    pub(crate) fn sample(&self, now: Monotonic) {
        for topic in self.0.lock().values_mut() {
            topic.samples.push_back((now, topic.stats.totals()));
            if topic.samples.len() > HOUR {
                topic.samples.pop_front();
            }
        }
    }

    pub(crate) fn rates(&self) -> BTreeMap<CompactString, Rates> {
        self.0.lock().iter().map(|(name, topic)| (name.clone(), topic.rates())).collect()
    }
}

impl Topic {
    #[expect(clippy::cast_precision_loss, reason = "rates are for people to read")]
    fn rates(&self) -> Rates {
        let Some(&(end, last)) = self.samples.back() else { return Rates::default() };
        let minute = self.samples.len().saturating_sub(MINUTE);
        let Some(&(begin, first)) = self.samples.get(minute) else { return Rates::default() };
        let grown = last.since(first);
        let seconds = end.since(begin).as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let hour_ago = self.samples.front().map(|(_, totals)| *totals).unwrap_or_default();
        Rates {
            pull_rt_ms: grown.pull_rt().as_secs_f64() * 1000.0,
            pull_tps: per_second(grown.pulled),
            consume_rt_ms: grown.consume_rt().as_secs_f64() * 1000.0,
            ok_tps: per_second(grown.ok),
            failed_tps: per_second(grown.failed),
            failed_count: last.since(hour_ago).failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_minute() {
        let table = StatsTable::default();
        let stats = table.of("T");
        // Some time with nothing but failures, then a quick minute.
        for step in 0..20u32 {
            table.sample(Monotonic(SAMPLE_INTERVAL * step));
            if step < 13 {
                stats.consumed(0, 1, Duration::from_millis(400));
            } else {
                stats.consumed(20, 1, Duration::from_millis(4));
                stats.pulled(21, Duration::from_millis(2));
            }
        }
        let rates = table.rates()["T"];
        assert!((rates.ok_tps - 2.0).abs() < 1e-9 && (rates.failed_tps - 0.1).abs() < 1e-9);
        assert!((rates.consume_rt_ms - 4.0).abs() < 1e-9 && (rates.pull_rt_ms - 2.0).abs() < 1e-9);
        assert!((rates.pull_tps - 2.1).abs() < 1e-9);
        assert_eq!(rates.failed_count, 19, "of an hour");
        assert_eq!((table.totals()["T"].ok, table.totals()["T"].pulled), (140, 147));
    }
}
