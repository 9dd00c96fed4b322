//! Time that is moved by hand, or by a [`Schedule`](crate::Schedule).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rmq_runtime::{BoxFuture, Clock, Monotonic, Watermark};

/// Time that is moved by hand. Both clocks move together by [`advance`](Self::advance); the wall
/// clock alone also [steps](Self::step).
pub struct SimClock {
    /// Nanoseconds of the monotonic clock.
    passed: Arc<Watermark>,
    /// Wall clock minus monotonic clock, in milliseconds since 1970.
    wall_ahead_ms: AtomicI64,
}

impl SimClock {
    /// Stands at that wall time, milliseconds since 1970.
    pub fn new(wall_ms: i64) -> Arc<Self> {
        Arc::new(Self { passed: Watermark::new(0), wall_ahead_ms: AtomicI64::new(wall_ms) })
    }

    /// The clock of another machine: the same time passes, its wall clock steps alone.
    #[must_use]
    pub fn sibling(&self) -> Arc<Self> {
        let wall_ahead_ms = AtomicI64::new(self.wall_ahead_ms.load(Ordering::Relaxed));
        Arc::new(Self { passed: Arc::clone(&self.passed), wall_ahead_ms })
    }

    /// Moves on to the next moment somebody sleeps for; false when nobody sleeps.
    pub(crate) fn advance_to_next(&self) -> bool {
        match self.passed.next_target() {
            Some(target) => {
                self.passed.advance(target);
                true
            }
            None => false,
        }
    }

    /// Nanoseconds that have passed.
    pub(crate) fn nanos(&self) -> u64 {
        self.passed.get()
    }

    /// Lets time pass; who sleeps for less wakes.
    pub fn advance(&self, by: Duration) {
        self.passed.advance(self.passed.get().saturating_add(nanos(by)));
    }

    /// Steps the wall clock, in milliseconds, either way.
    pub fn step(&self, by_ms: i64) {
        self.wall_ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// The wall clock, milliseconds since 1970.
    pub fn wall_ms(&self) -> i64 {
        let passed_ms = i64::try_from(self.passed.get() / 1_000_000).unwrap_or(i64::MAX);
        self.wall_ahead_ms.load(Ordering::Relaxed).saturating_add(passed_ms)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock for SimClock {
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(self.wall_ms()).unwrap_or(0))
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(Duration::from_nanos(self.passed.get()))
    }

    fn sleep_until(&self, at: Monotonic) -> BoxFuture<'static, ()> {
        let reached = self.passed.reached(nanos(at.0));
        Box::pin(async move {
            // The mark never ends, so it is only ever reached.
            drop(reached.await);
        })
    }

    fn utc_offset_ms(&self) -> i64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use rmq_runtime::ClockExt;

    use super::*;

    #[test]
    fn sleepers_wake_when_time_is_moved_past_them() {
        let clock = SimClock::new(1_000);
        let mut short = pin!(clock.sleep(Duration::from_secs(1)));
        let mut long = pin!(clock.sleep(Duration::from_secs(10)));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(short.as_mut().poll(cx).is_pending());
        assert!(long.as_mut().poll(cx).is_pending());
        clock.advance(Duration::from_secs(2));
        assert!(short.as_mut().poll(cx).is_ready());
        assert!(long.as_mut().poll(cx).is_pending());
        assert_eq!(clock.wall_ms(), 3_000);
    }

    #[test]
    fn a_step_moves_only_the_wall() {
        let clock = SimClock::new(5_000);
        clock.step(-3_000);
        assert_eq!((clock.wall_ms(), clock.monotonic()), (2_000, Monotonic::default()));
    }
}
