//! What the counters were at moments of the past, and the sums and rates between them: the last
//! minute in steps of ten seconds, the last hour in steps of ten minutes, the last day in hours.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rmq_remoting::protocol::stats::{BrokerStats, BrokerStatsItem};
use rmq_runtime::Monotonic;

use super::counters::{Row, Tally};

/// Between two moments of the last minute.
pub(super) const STEP: Duration = Duration::from_secs(10);
/// Steps from one moment of the last hour to the next, and of the last day.
const STEPS: [u64; 3] = [1, 60, 360];
/// Moments that are kept of each.
const MOMENTS: [usize; 3] = [7, 7, 25];

/// Which amount of a tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    Count,
    Bytes,
}

impl Amount {
    fn of(self, tally: &Tally) -> u64 {
        match self {
            Self::Count => tally.count,
            Self::Bytes => tally.bytes,
        }
    }
}

/// The series of all rows.
#[derive(Debug, Default)]
pub(super) struct AllSeries {
    rows: BTreeMap<Row, Series>,
    steps: u64,
}

impl AllSeries {
    /// Notes what the counters are now; once each [`STEP`]. Rows that are counted no more go.
    pub(super) fn note(&mut self, rows: BTreeMap<Row, Tally>, now: Monotonic) {
        self.rows.retain(|row, _| rows.contains_key(row));
        for (row, tally) in rows {
            self.rows.entry(row).or_default().note(self.steps, now, tally);
        }
        self.steps += 1;
    }

    pub(super) fn get(&self, row: &Row) -> Option<&Series> {
        self.rows.get(row)
    }

    pub(super) fn forget(&mut self, matches: impl Fn(&Row) -> bool) {
        self.rows.retain(|row, _| !matches(row));
    }
}

/// The past of one row.
#[derive(Debug, Default)]
pub(super) struct Series {
    spans: [VecDeque<(Monotonic, Tally)>; 3],
}

impl Series {
    pub(super) fn note(&mut self, step: u64, now: Monotonic, tally: Tally) {
        for ((span, every), kept) in self.spans.iter_mut().zip(STEPS).zip(MOMENTS) {
            if !step.is_multiple_of(every) {
                continue;
            }
            if span.is_empty() {
                // A row begins with nothing, one step ago.
                let before = STEP.saturating_mul(u32::try_from(every).unwrap_or(1));
                let began = Monotonic(now.0.saturating_sub(before));
                span.push_back((began, Tally::default()));
            }
            span.push_back((now, tally));
            if span.len() > kept {
                span.pop_front();
            }
        }
    }

    pub(super) fn view(&self, amount: Amount) -> BrokerStats {
        let [minute, hour, day] = &self.spans;
        BrokerStats {
            stats_minute: difference(minute, amount),
            stats_hour: difference(hour, amount),
            stats_day: difference(day, amount),
        }
    }
}

fn difference(span: &VecDeque<(Monotonic, Tally)>, amount: Amount) -> BrokerStatsItem {
    let (Some((began, first)), Some((now, last))) = (span.front(), span.back()) else {
        return BrokerStatsItem::default();
    };
    let sum = amount.of(last).saturating_sub(amount.of(first));
    let events = last.events.saturating_sub(first.events);
    let seconds = now.since(*began).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "numbers for people")]
    let (exact, by_event) = (sum as f64, events as f64);
    BrokerStatsItem {
        avgpt: if events > 0 { exact / by_event } else { 0.0 },
        sum: i64::try_from(sum).unwrap_or(i64::MAX),
        tps: if seconds > 0.0 { exact / seconds } else { 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn a_row_shows_its_last_minute_hour_and_day() {
        let mut series = Series::default();
        // One event of two messages and three bytes each second, for two hours.
        for step in 0..=720 {
            let seconds = 1000 + step * 10;
            let events = step * 10;
            let tally = Tally { count: events * 2, bytes: events * 3, events };
            series.note(step, at(seconds), tally);
        }
        let counts = series.view(Amount::Count);
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert_eq!(counts.stats_minute.sum, 120);
        assert!(close(counts.stats_minute.tps, 2.0) && close(counts.stats_minute.avgpt, 2.0));
        assert_eq!(counts.stats_hour.sum, 7200);
        assert_eq!(counts.stats_day.sum, 14_400);
        assert_eq!(series.view(Amount::Bytes).stats_minute.sum, 180);
    }

    #[test]
    fn a_new_row_shows_what_it_has_at_its_first_moment() {
        let mut series = Series::default();
        series.note(7, at(1000), Tally { count: 50, bytes: 100, events: 5 });
        let view = series.view(Amount::Count);
        assert_eq!((view.stats_minute.sum, view.stats_hour.sum), (50, 0));
        assert!((view.stats_minute.tps - 5.0).abs() < 1e-9);
        assert!((view.stats_minute.avgpt - 10.0).abs() < 1e-9);
        series.note(60, at(1530), Tally { count: 60, bytes: 100, events: 6 });
        assert_eq!(series.view(Amount::Count).stats_hour.sum, 60);
    }
}
