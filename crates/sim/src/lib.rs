//! A world that does only what it is told, and the same each time: a disk that loses power, a clock
//! that stands until it is moved, chance from a seed. For tests; no product crate stands on it.
//!
//! | module | owns |
//! |---|---|
//! | [`disk`] | [`SimDisk`]: what is synced and what is not, by sector and by directory entry; faults |
//! | [`clock`] | [`SimClock`]: time that is moved by hand |
//! | [`entropy`] | [`SimEntropy`]: chance from a seed |
//! | [`world`] | a [`World`](rmq_runtime::World) of them, without a network |

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod world;

pub use clock::SimClock;
pub use disk::{Fault, SimDisk};
pub use entropy::SimEntropy;
pub use world::world;
