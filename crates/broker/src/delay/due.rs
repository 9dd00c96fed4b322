//! When a delayed message is due, whatever the wall clock does.

use std::time::Duration;

use rmq_message::{QueueOffset, Timestamp};
use rmq_runtime::Monotonic;

/// Due times of one level.
///
/// A message is due when the wall clock says so. Should that clock step back, a message is still due
/// when the level's delay has passed on the monotonic clock since the message was seen.
#[derive(Debug)]
pub(super) struct DueTimes {
    delay: Duration,
    /// All offsets before this one were there at that moment.
    seen: Option<(QueueOffset, Monotonic)>,
}

impl DueTimes {
    pub(super) fn new(delay: Duration) -> Self {
        Self { delay, seen: None }
    }

    /// Messages up to `end` are there now, and those before `from` have been delivered. A look
    /// counts until all that it saw has been delivered.
    pub(super) fn seen(&mut self, from: QueueOffset, end: QueueOffset, now: Monotonic) {
        if self.seen.is_none_or(|(known, _)| from >= known) {
            self.seen = Some((end, now));
        }
    }

    /// How long a message has to wait; zero when it is due.
    pub(super) fn wait(
        &self,
        stored: Timestamp,
        offset: QueueOffset,
        wall: Timestamp,
        now: Monotonic,
    ) -> Duration {
        let delay_ms = i64::try_from(self.delay.as_millis()).unwrap_or(i64::MAX);
        let by_wall = u64::try_from((stored + delay_ms) - wall).unwrap_or(0);
        let by_wall = Duration::from_millis(by_wall).min(self.delay);
        match self.seen {
            Some((end, at)) if offset < end => by_wall.min((at + self.delay).since(now)),
            _ => by_wall,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Monotonic {
        Monotonic(Duration::from_secs(seconds))
    }

    #[test]
    fn a_message_is_due_when_its_delay_is_over() {
        let mut due = DueTimes::new(DELAY);
        due.seen(QueueOffset(0), QueueOffset(5), at(100));
        let wait = |wall| due.wait(Timestamp(1_000), QueueOffset(4), Timestamp(wall), at(100));
        assert_eq!(wait(1_000), DELAY);
        assert_eq!(wait(10_999), Duration::from_millis(1));
        assert_eq!(wait(11_000), Duration::ZERO);
        assert_eq!(wait(i64::MAX), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_steps_back_holds_nothing_longer_than_a_delay() {
        let mut due = DueTimes::new(DELAY);
        due.seen(QueueOffset(0), QueueOffset(5), at(100));
        let year_ago = Timestamp(1_000 - 31_536_000_000);
        let wait = |offset, now| due.wait(Timestamp(1_000), QueueOffset(offset), year_ago, now);
        assert_eq!(wait(4, at(100)), DELAY);
        assert_eq!(wait(4, at(103)), Duration::from_secs(7));
        assert_eq!(wait(0, at(110)), Duration::ZERO);
        due.seen(QueueOffset(4), QueueOffset(9), at(110));
        let wait = |offset, now| due.wait(Timestamp(1_000), QueueOffset(offset), year_ago, now);
        assert_eq!(wait(4, at(110)), Duration::ZERO);
        // Another one, that has come after the look.
        assert_eq!(wait(5, at(110)), DELAY);
    }
}
