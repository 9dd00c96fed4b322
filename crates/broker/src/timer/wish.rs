//! When a message wants to be delivered, as its sender says it, and the tick it gets. Pure.

use rmq_message::{Timestamp, property};
use thiserror::Error;

/// Length of a tick in ms (`timerPrecisionMs`; Apache's default, and the only one served).
pub(crate) const TICK_MS: i64 = 1000;

/// What the properties of a message say. Of several the first of these counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish<'a> {
    /// Seconds from now.
    pub(crate) delay_sec: Option<&'a str>,
    /// Milliseconds from now.
    pub(crate) delay_ms: Option<&'a str>,
    /// Milliseconds since 1970.
    pub(crate) deliver_ms: Option<&'a str>,
}

/// A wish that is no number, or too far away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a delay is no number or too long")]
pub(crate) struct Unfulfillable;

impl<'a> Wish<'a> {
    /// Whether the property of that name is part of a wish; takes it if so.
    pub(crate) fn take(&mut self, name: &str, value: &'a str) -> bool {
        let place = match name {
            property::TIMER_DELAY_SEC => &mut self.delay_sec,
            property::TIMER_DELAY_MS => &mut self.delay_ms,
            property::TIMER_DELIVER_MS => &mut self.deliver_ms,
            _ => return false,
        };
        *place = Some(value);
        true
    }

    /// Whether nothing is wished.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The tick of the message (ms, its `TIMER_OUT_MS`); `None` when it is to be delivered at once.
    pub(crate) fn tick(
        &self,
        now: Timestamp,
        delay_ms_max: i64,
    ) -> Result<Option<i64>, Unfulfillable> {
        let number = |text: &str| text.parse::<i64>().map_err(|_| Unfulfillable);
        let at = match *self {
            Self { delay_sec: Some(text), .. } => {
                number(text)?.checked_mul(1000).and_then(|delay| now.0.checked_add(delay))
            }
            Self { delay_ms: Some(text), .. } => now.0.checked_add(number(text)?),
            Self { deliver_ms: Some(text), .. } => Some(number(text)?),
            Self { .. } => return Ok(None),
        }
        .ok_or(Unfulfillable)?;
        if at <= now.0 {
            return Ok(None);
        }
        if at.saturating_sub(now.0) > delay_ms_max {
            return Err(Unfulfillable);
        }
        Ok(Some(before(at)))
    }
}

/// The last tick that begins before a moment: what waits in it is delivered when it has ended, so
/// never before that moment.
fn before(at: i64) -> i64 {
    at.saturating_sub(1).div_euclid(TICK_MS) * TICK_MS
}

/// The tick that a moment lies in.
pub(crate) fn tick_of(at: Timestamp) -> i64 {
    at.0.div_euclid(TICK_MS) * TICK_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(10_500);
    const MAX: i64 = 60_000;

    #[test]
    fn the_tick_is_the_one_that_ends_at_or_after_the_wished_moment_and_begins_before_it() {
        let tick = |wish: Wish<'_>| wish.tick(NOW, MAX);
        let deliver = |text| tick(Wish { deliver_ms: Some(text), ..Wish::default() });
        assert_eq!(deliver("12000"), Ok(Some(11_000)));
        assert_eq!(deliver("12001"), Ok(Some(12_000)));
        assert_eq!(deliver("12999"), Ok(Some(12_000)));
        assert_eq!(tick(Wish { delay_ms: Some("2000"), ..Wish::default() }), Ok(Some(12_000)));
        assert_eq!(tick(Wish { delay_sec: Some("2"), ..Wish::default() }), Ok(Some(12_000)));
    }

    #[test]
    fn seconds_count_before_milliseconds_before_moments() {
        let all = Wish { delay_sec: Some("1"), delay_ms: Some("5000"), deliver_ms: Some("30000") };
        assert_eq!(all.tick(NOW, MAX), Ok(Some(11_000)));
        assert_eq!(Wish { delay_sec: None, ..all }.tick(NOW, MAX), Ok(Some(15_000)));
    }

    #[test]
    fn what_is_past_is_delivered_at_once_and_what_is_no_number_or_too_far_is_refused() {
        let deliver = |text| Wish { deliver_ms: Some(text), ..Wish::default() }.tick(NOW, MAX);
        for text in ["10500", "0", "-9223372036854775808"] {
            assert_eq!(deliver(text), Ok(None), "{text}");
        }
        for text in ["70501", "9223372036854775807", "soon", "", "1.5", "99999999999999999999"] {
            assert_eq!(deliver(text), Err(Unfulfillable), "{text}");
        }
        let seconds = Wish { delay_sec: Some("9223372036854775807"), ..Wish::default() };
        assert_eq!(seconds.tick(NOW, MAX), Err(Unfulfillable));
        assert_eq!(deliver("70500"), Ok(Some(70_000)));
    }
}
