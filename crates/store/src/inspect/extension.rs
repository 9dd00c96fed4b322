//! Extensions of consume queues (`enableConsumeQueueExt`): a unit says what one tags code cannot.

use std::io;
use std::path::PathBuf;

use rmq_message::Timestamp;
use rmq_runtime::Disk;

use super::files::Row;
use super::report::Report;
use crate::consume_queue::extension::{ExtensionUnit, is_address, position};

pub(super) struct Extension<'a> {
    row: Row<'a>,
    used: u64,
}

/// Longest unit.
const UNIT_MAX: usize = 32_767;

/// What is held against the record.
pub(super) struct Found {
    pub(super) tags_code: i64,
    pub(super) stored: Timestamp,
}

impl<'a> Extension<'a> {
    pub(super) fn load(disk: &'a dyn Disk, dir: PathBuf, report: &mut Report) -> io::Result<Self> {
        Ok(Self { row: Row::load(disk, dir, 1, report)?, used: 0 })
    }

    /// Whether a tags code is the place of a unit.
    pub(super) fn is_address(tags_code: i64) -> bool {
        is_address(tags_code)
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// The unit at an address.
    pub(super) fn unit(&mut self, tags_code: i64) -> io::Result<Option<Found>> {
        let bytes = self.row.read(position(tags_code), UNIT_MAX)?;
        self.row.close();
        let Some(unit) = ExtensionUnit::decode(&bytes) else { return Ok(None) };
        self.used += 1;
        Ok(Some(Found { tags_code: unit.tags_code, stored: unit.store_timestamp }))
    }
}
