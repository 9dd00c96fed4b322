//! Chance from a seed.

use std::sync::atomic::{AtomicU64, Ordering};

use rmq_runtime::Entropy;

/// Chance from a seed: the same numbers each time (splitmix64).
#[derive(Debug)]
pub struct SimEntropy(AtomicU64);

impl SimEntropy {
    /// Begins with that seed. Neighbouring seeds give unrelated numbers.
    pub fn new(seed: u64) -> Self {
        let entropy = Self(AtomicU64::new(seed));
        let _first = entropy.next_u64();
        entropy
    }

    /// True once in `n` times.
    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A place in a row of `len` things; 0 when there are none.
    pub fn place(&self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }
}

impl Entropy for SimEntropy {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again() {
        let numbers = |seed| {
            let entropy = SimEntropy::new(seed);
            (0..100).map(|_| entropy.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
        assert!((0..1000).any(|n| numbers(7).contains(&n)));
    }
}
