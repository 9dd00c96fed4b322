//! Whether the work that promises need goes on (INV-16): work that is there and has not moved for
//! five looks in a row, a second apart, closes the store until it moves again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rmq_runtime::{Stop, canary};

use super::LocalStore;
use crate::config::FlushDiskType;

/// Between two looks.
const BEAT: Duration = Duration::from_secs(1);
/// Looks without progress that are too many. They are counted, not timed: a machine that was
/// suspended, or whose clock leaps, has not looked.
const MISSED_MAX: u64 = 5;

/// One kind of work at one look.
struct Work {
    name: &'static str,
    done: u64,
    /// Steps on the way.
    steps: u64,
    /// Where it should get to.
    target: u64,
    /// How long it may rest of its own accord, in milliseconds.
    rests_ms: u64,
}

#[derive(Default)]
struct Pulse {
    /// What was done at the last look, with its steps, and looks since it moved.
    seen: HashMap<&'static str, ((u64, u64), u64)>,
}

impl Pulse {
    /// The work that stands still.
    fn look(&mut self, works: &[Work]) -> Option<&'static str> {
        let mut still = None;
        for work in works {
            let now = (work.done, work.steps);
            let (seen, missed) = self.seen.entry(work.name).or_insert((now, 0));
            *missed = if *seen == now && work.done < work.target { *missed + 1 } else { 0 };
            *seen = now;
            if *missed > MISSED_MAX + work.rests_ms / 1000 {
                still = still.or(Some(work.name));
            }
        }
        still
    }
}

impl LocalStore {
    fn works(&self) -> Vec<Work> {
        let visible = self.log.visible.get();
        let (flushed, rests_ms) = match self.log.mode() {
            FlushDiskType::Sync => (self.log.staged_end(), 0),
            FlushDiskType::Async => (visible, self.config.flush_interval_commit_log),
        };
        let done = self.log.durable.get();
        let mut works = vec![
            Work { name: "the flush of the log", done, steps: 0, target: flushed, rests_ms },
            Work {
                name: "the writing of consume queues",
                done: self.derived.load(Ordering::Relaxed),
                steps: self.log.queues.steps(),
                target: visible,
                rests_ms: self.config.flush_interval_consume_queue,
            },
        ];
        if self.index.is_some() {
            let done = self.indexed.get();
            works.push(Work {
                name: "the key index",
                done,
                steps: 0,
                target: visible,
                rests_ms: 0,
            });
        }
        works
    }

    /// Looks each second whether work goes on.
    pub(super) async fn feel_pulse(self: Arc<Self>, stop: Stop) {
        let mut pulse = Pulse::default();
        let mut told = None;
        while self.rest(BEAT, &stop).await {
            let still = pulse.look(&self.works());
            if canary("INV-16 nobody feels the pulse") || still == told {
                continue;
            }
            told = still;
            let reason = still.map(|work| {
                format!("{work} has made no progress for {MISSED_MAX} s; look at the disk")
            });
            match &reason {
                Some(reason) => tracing::error!(reason, "no messages are taken"),
                None => tracing::info!("the work goes on; messages are taken again"),
            }
            self.log.gate.set_still(reason.map(Into::into));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(done: u64, target: u64) -> Work {
        Work { name: "work", done, steps: 0, target, rests_ms: 0 }
    }

    #[test]
    fn only_work_that_is_there_and_does_not_move_stands_still() {
        let mut pulse = Pulse::default();
        for _ in 0..20 {
            assert_eq!(pulse.look(&[at(7, 7)]), None, "nothing to do");
        }
        for done in 7..30 {
            assert_eq!(pulse.look(&[at(done, 100)]), None, "it moves");
        }
        for _ in 0..MISSED_MAX {
            assert_eq!(pulse.look(&[at(29, 100)]), None, "not yet");
        }
        assert_eq!(pulse.look(&[at(29, 200)]), Some("work"));
        assert_eq!(pulse.look(&[at(30, 200)]), None, "it moves again");
    }

    #[test]
    fn work_of_many_steps_moves_with_each() {
        let mut pulse = Pulse::default();
        for steps in 0..100 {
            assert_eq!(pulse.look(&[Work { steps, ..at(1, 2) }]), None);
        }
    }

    #[test]
    fn work_may_rest_as_long_as_it_is_configured_to() {
        let mut pulse = Pulse::default();
        let resting = || [Work { rests_ms: 10_000, ..at(1, 2) }];
        let looks = (1..100).take_while(|_| pulse.look(&resting()).is_none()).count();
        assert_eq!(looks, 15);
    }
}
