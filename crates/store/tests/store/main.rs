//! The store through its public door.
#![expect(clippy::disallowed_methods, reason = "tests look at files and start threads themselves")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod append;
mod cold;
mod faults;
mod golden;
mod inspect;
mod memory_disk;
mod model;
mod recovery;
mod support;

#[path = "../both/set_clock.rs"]
mod set_clock;
