//! Counters of this broker and their rates over 10 s, 1 min and 10 min.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_runtime::Monotonic;

/// Between two samples.
pub(crate) const SAMPLE_PERIOD: Duration = Duration::from_secs(5);
/// Samples kept: those of ten minutes.
const SAMPLES: usize = 121;
const WINDOWS: [Duration; 3] =
    [Duration::from_secs(10), Duration::from_secs(60), Duration::from_secs(600)];

/// What is counted.
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
}

const KINDS: usize = 6;

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    counts: [AtomicU64; KINDS],
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Monotonic,
    counts: [u64; KINDS],
}

impl Stats {
    pub(crate) fn add(&self, kind: Count, count: u64) {
        if let Some(cell) = self.counts.get(kind as usize) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn get(&self, kind: Count) -> u64 {
        self.counts.get(kind as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Takes a sample; every [`SAMPLE_PERIOD`].
    pub(crate) fn sample(&self, now: Monotonic) {
        let counts = std::array::from_fn(|index| {
            self.counts.get(index).map_or(0, |cell| cell.load(Ordering::Relaxed))
        });
        let mut samples = self.samples.lock();
        if samples.len() >= SAMPLES {
            samples.pop_front();
        }
        samples.push_back(Sample { at: now, counts });
    }

    /// Rates a second over the windows that have been measured, each followed by a blank: the form
    /// that tools split.
    pub(crate) fn rates(&self, kinds: &[Count]) -> String {
        use std::fmt::Write;
        let samples = self.samples.lock();
        let sum = |sample: &Sample| -> u64 {
            kinds.iter().filter_map(|kind| sample.counts.get(*kind as usize)).sum()
        };
        let mut text = String::new();
        let Some(last) = samples.back() else { return text };
        for window in WINDOWS {
            let Some(first) = samples.iter().rev().find(|s| last.at.since(s.at) >= window) else {
                break;
            };
            let seconds = last.at.since(first.at).as_secs_f64();
            let count = sum(last).saturating_sub(sum(first));
            #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
            let rate = count as f64 / seconds;
            let _infallible = write!(text, "{rate:?} ");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_cover_the_windows_that_have_been_measured() {
        let stats = Stats::default();
        assert_eq!(stats.rates(&[Count::Put]), "");
        for second in (0..=60).step_by(5) {
            stats.sample(Monotonic(Duration::from_secs(second)));
            stats.add(Count::Put, 10);
            stats.add(Count::Found, 1);
        }
        assert_eq!(stats.rates(&[Count::Put]), "2.0 2.0 ");
        assert_eq!(stats.rates(&[Count::Put, Count::Found]), "2.2 2.2 ");
        assert_eq!(stats.get(Count::Put), 130);
    }
}
