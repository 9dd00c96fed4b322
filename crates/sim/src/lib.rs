//! A world that does only what it is told, and the same each time: a disk that loses power, a clock
//! that stands until it is moved, chance from a seed; and on top of them machines with a network
//! between them, on which whole programs run in one thread. For tests; no product crate stands on it.
//!
//! | module | owns |
//! |---|---|
//! | [`disk`] | [`SimDisk`]: what is synced and what is not, by sector and by directory entry; faults |
//! | [`clock`] | [`SimClock`]: time that is moved by hand, or by a schedule |
//! | [`entropy`] | [`SimEntropy`]: chance from a seed |
//! | [`world`] | a [`World`](rmq_runtime::World) of them, without a network |
//! | [`schedule`] | [`Schedule`]: which task runs next, and when time passes |
//! | [`net`] | [`SimNet`]: connections that are late, cut, half open, reset |
//! | [`machine`] | [`Machine`]: address, disk and clock of a program, which is killed and started again |
//!
//! A simulated cluster is a [`Schedule`], a [`SimNet`] and some [`Machine`]s. All chance comes from
//! one seed, so a run can be repeated bit by bit, as long as nothing in it looks at the real world or
//! acts in the order of a hash table. Time passes only when nobody has anything to do: ten minutes
//! take as long as the work in them.

pub mod clock;
pub mod disk;
pub mod entropy;
pub mod machine;
pub mod net;
pub mod schedule;
pub mod world;

pub use clock::SimClock;
pub use disk::{Fault, SimDisk};
pub use entropy::SimEntropy;
pub use machine::Machine;
pub use net::SimNet;
pub use schedule::{Life, Schedule};
pub use world::world;
