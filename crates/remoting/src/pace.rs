//! Connections that are too slow, or quiet for too long.
//!
//! A connection looks at the clock only once in a while, and compares what it sees then with what
//! it saw the time before. So a limit holds to within one step.

use std::time::Duration;

use crate::frame::Arrived;
use crate::limits::Limits;

/// What is remembered between two looks.
pub(crate) struct Pace {
    stall_steps: u32,
    idle_steps: u32,
    /// Steps in which nothing came.
    quiet: u32,
    /// Steps in which nothing came and nothing went.
    still: u32,
    last: Sight,
}

/// A connection at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sight {
    /// Bytes that have ever come.
    pub(crate) received: u64,
    /// Frames that have ever come.
    pub(crate) frames: u64,
    /// How far an unfinished frame has come, if there is one.
    pub(crate) begun: Option<Arrived>,
    /// Bytes that wait to be written.
    pub(crate) unsent: usize,
    /// Whether this side owes or awaits an answer.
    pub(crate) busy: bool,
    /// Whether this side reads; it does not while it has too much to write.
    pub(crate) reading: bool,
}

/// Why a connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Verdict {
    #[error("a header did not come in time")]
    SlowHeader,
    #[error("a frame did not go on in time")]
    Stalled,
    #[error("nothing moved for too long")]
    Idle,
}

impl Pace {
    pub(crate) fn new(limits: &Limits) -> Self {
        let steps = |time: Duration| {
            let steps = time.as_nanos().div_ceil(limits.header.as_nanos().max(1));
            u32::try_from(steps).unwrap_or(u32::MAX)
        };
        Self {
            stall_steps: steps(limits.stall),
            idle_steps: steps(limits.idle),
            quiet: 0,
            still: 0,
            last: Sight::default(),
        }
    }

    /// One step later.
    pub(crate) fn tick(&mut self, now: Sight) -> Result<(), Verdict> {
        let last = std::mem::replace(&mut self.last, now);
        let came = now.received != last.received;
        let went = now.unsent < last.unsent;
        self.quiet = if came || !now.reading { 0 } else { self.quiet.saturating_add(1) };
        self.still = if came || went { 0 } else { self.still.saturating_add(1) };
        let no_header = |sight: Sight| matches!(sight.begun, Some(Arrived::Beginning));
        if no_header(last) && no_header(now) && now.frames == last.frames && now.reading {
            return Err(Verdict::SlowHeader);
        }
        if now.begun.is_some() && self.quiet >= self.stall_steps {
            return Err(Verdict::Stalled);
        }
        if self.still >= self.idle_steps && (now.unsent > 0 || !now.busy) {
            return Err(Verdict::Idle);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: Option<Arrived> = Some(Arrived::Header { missing: 9 });
    const HEADER: Option<Arrived> = Some(Arrived::Beginning);

    /// Steps of 10 s until the connection is given up, and why.
    fn steps_until(verdict: Verdict, sight: impl Fn(u64) -> Sight) -> Option<u64> {
        let mut pace = Pace::new(&Limits::SERVER);
        (1..100).find(|step| match pace.tick(sight(*step)) {
            Ok(()) => false,
            Err(other) => {
                assert_eq!(other, verdict);
                true
            }
        })
    }

    fn quiet() -> Sight {
        Sight { reading: true, ..Sight::default() }
    }

    #[test]
    fn connection_on_which_nothing_moves_ends_after_two_minutes() {
        assert_eq!(steps_until(Verdict::Idle, |_| quiet()), Some(12));
        assert_eq!(steps_until(Verdict::Idle, |_| Sight { unsent: 5, ..quiet() }), Some(12));
        assert_eq!(steps_until(Verdict::Idle, |_| Sight { busy: true, ..quiet() }), None);
        assert_eq!(steps_until(Verdict::Idle, |n| Sight { received: n, ..quiet() }), None);
    }

    #[test]
    fn frame_that_does_not_go_on_ends_its_connection_after_half_a_minute() {
        let stalled = Sight { begun: BODY, busy: true, ..quiet() };
        assert_eq!(steps_until(Verdict::Stalled, |_| stalled), Some(3));
        assert_eq!(steps_until(Verdict::Stalled, |n| Sight { received: n, ..stalled }), None);
        let blocked = Sight { reading: false, ..stalled };
        assert_eq!(steps_until(Verdict::Stalled, |_| blocked), None);
    }

    #[test]
    fn header_that_comes_byte_by_byte_ends_its_connection_at_the_second_look() {
        let header = |n| Sight { begun: HEADER, received: n, ..quiet() };
        assert_eq!(steps_until(Verdict::SlowHeader, header), Some(2));
        let others = |n| Sight { frames: n, ..header(n) };
        assert_eq!(steps_until(Verdict::SlowHeader, others), None);
    }
}
