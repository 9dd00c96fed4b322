//! Delays between tries.

use std::time::Duration;

use crate::Entropy;

/// Doubles from a first delay to a longest one, each shortened by up to a quarter at random so that
/// many clients do not come back at once.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// From `first` to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The delay before the next try.
    pub fn next(&mut self, entropy: &dyn Entropy) -> Duration {
        let delay = self.next;
        self.next = (self.next * 2).min(self.longest);
        let quarter = u64::try_from((delay / 4).as_micros()).unwrap_or(u64::MAX);
        delay.saturating_sub(Duration::from_micros(entropy.below(quarter)))
    }

    /// The last try went well: start over.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zero;
    impl Entropy for Zero {
        fn next_u64(&self) -> u64 {
            0
        }
    }

    #[test]
    fn delays_double_up_to_the_longest_and_start_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(35));
        let delays: Vec<_> = (0..4).map(|_| backoff.next(&Zero)).collect();
        assert_eq!(delays, [ms(10), ms(20), ms(35), ms(35)]);
        backoff.reset();
        assert_eq!(backoff.next(&Zero), ms(10));
    }
}
