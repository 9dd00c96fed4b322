//! The real world.

mod clock;
mod disk;
mod map;
mod net;
mod prefetch;

pub use clock::SystemClock;
pub use disk::SystemDisk;
pub use net::SystemNet;
pub use prefetch::prefetch;

use crate::Entropy;

/// Random numbers of the operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the seam")]
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}
