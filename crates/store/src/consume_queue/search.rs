//! Searches in a queue: its first live entry, and entries by time.

use std::io;
use std::sync::Arc;

use super::queue::Queue;
use super::table::QueueTable;
use super::unit::Unit;

impl QueueTable {
    /// One entry of a queue.
    pub(crate) fn unit(&self, queue: &Arc<Queue>, number: u64) -> io::Result<Option<Unit>> {
        queue.unit(&self.context, number)
    }

    /// Sets the queue's beginning: the first entry whose record is still in the log. When all are
    /// gone the queue is empty and its offsets go on.
    pub(crate) fn find_min(&self, queue: &Arc<Queue>, log_min: u64) -> io::Result<()> {
        let (low, high) = (queue.min(), queue.visible());
        let live = |number: u64| {
            // An entry that cannot be had any more counts as gone.
            let unit = self.unit(queue, number)?;
            Ok(unit.is_some_and(|unit| !unit.is_blank() && unit.physical >= log_min))
        };
        if low < high && live(low)? {
            return Ok(());
        }
        queue.set_min(partition(low, high, live)?);
        Ok(())
    }
}

/// The first number of `low..high` for which `is_right` holds; it must hold for all after it.
pub(crate) fn partition(
    mut low: u64,
    mut high: u64,
    mut is_right: impl FnMut(u64) -> io::Result<bool>,
) -> io::Result<u64> {
    while low < high {
        let middle = low + (high - low) / 2;
        if is_right(middle)? {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}
