//! The store under power loss, kills and failing disks, on a simulated one.
//!
//! Everything runs on the test's own thread from a seed, so each failure can be replayed: it prints
//! how. `RMQ_TORTURE_POINTS` and `RMQ_TORTURE_SEED` set the amount and the histories;
//! `cargo xtask torture` does it all at large.

#![cfg(test)]

mod amounts;
mod damage;
mod failures;
mod history;
mod life;
mod marks;
mod model;
mod power_loss;
mod pulse;
mod regressions;
#[path = "../both/set_clock.rs"]
mod set_clock;
mod tail;
mod threads;
