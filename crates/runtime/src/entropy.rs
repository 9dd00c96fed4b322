//! Chance.

/// Where random numbers come from.
pub trait Entropy: Send + Sync + 'static {
    /// Any number.
    fn next_u64(&self) -> u64;

    /// A number below `bound`; 0 when `bound` is 0.
    fn below(&self, bound: u64) -> u64 {
        // The high half of the product is spread evenly enough for choosing among queues.
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }
}
