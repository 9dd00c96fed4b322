//! Consume queues: for each queue of each topic, where its messages lie in the log.
//!
//! An entry ([`Unit`]) has 20 bytes and stands at `offset * 20` of its queue; files hold 300,000.
//! The youngest entries are in RAM, full stretches are written at once and the rest each second;
//! only entries of visible records are ever written (INV-02).

pub(crate) mod extension;
mod extension_files;
mod files;
mod queue;
mod search;
mod table;
mod tail;
mod unit;

pub(crate) use extension_files::ExtensionContext;
pub(crate) use queue::{Applied, Queue, QueueState};
pub(crate) use search::partition;
pub(crate) use table::QueueTable;
pub(crate) use unit::{UNIT_LEN, Unit, units};
