//! The delays of levels 1, 2, …

use std::time::Duration;

/// Most levels.
const LEVELS_MAX: usize = 100;

/// Delays by level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels(Vec<Duration>);

impl Levels {
    /// Reads `1s 5m 2h 1d`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let delays: Option<Vec<_>> = text.split_whitespace().map(delay).collect();
        delays.filter(|delays| (1..=LEVELS_MAX).contains(&delays.len())).map(Self)
    }

    /// How many there are; the highest one.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// A level of which there is a delay: those too high are the highest, 0 and below are none.
    pub(crate) fn clamp(&self, level: i32) -> Option<i32> {
        let max = i32::try_from(self.0.len()).unwrap_or(i32::MAX);
        (level > 0).then(|| level.min(max))
    }

    /// The delay of a level.
    pub(crate) fn delay(&self, level: i32) -> Option<Duration> {
        let index = usize::try_from(level).ok()?.checked_sub(1)?;
        self.0.get(index).copied()
    }

    /// The levels, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, Duration)> {
        (1..).zip(self.0.iter().copied())
    }
}

fn delay(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = number.parse::<u32>().ok()?.checked_mul(seconds)?;
    Some(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_clamped() {
        let levels = Levels::parse("1s 5m 2h 1d").unwrap();
        assert_eq!(levels.delay(2), Some(Duration::from_secs(300)));
        assert_eq!(levels.clamp(99), Some(4));
        assert_eq!(levels.clamp(0), None);
        assert_eq!(levels.delay(0), None);
        for text in ["", "s", "1x", "99999999d", "-1s", "ä"] {
            assert_eq!(Levels::parse(text), None, "{text}");
        }
    }
}
