//! The store through its public door.

mod append;
mod faults;
mod golden;
mod memory_disk;
mod model;
mod recovery;
mod support;
