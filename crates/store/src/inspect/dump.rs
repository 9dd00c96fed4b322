//! Shows what is in a store: records, queues, items of the key index.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rmq_message::Timestamp;
use rmq_message::record::RecordView;
use rmq_runtime::Disk;
use serde::Serialize;

use super::files::Row;
use super::log::Log;
use super::queues::keys;
use super::report::Report;
use super::{InspectError, Known, key_index, layout};
use crate::consume_queue::{UNIT_LEN, Unit, partition};
use crate::index::file::Geometry;

/// Shows every readable record from a position on, in the order of the log, until `visit` says that
/// it is enough. Unreadable places are passed over.
///
/// # Errors
/// There is no store, or its log cannot be read.
pub fn records(
    disk: &dyn Disk,
    root: &Path,
    from: u64,
    visit: &mut dyn FnMut(&RecordView<'_>) -> ControlFlow<()>,
) -> Result<(), InspectError> {
    let layout = layout(disk, root)?;
    let mut log = Log::open(disk, &layout, &mut Report::default())?;
    // Files are read from their beginning, where a record stands.
    log.row.starts.retain(|start| start.saturating_add(log.row.len) > from);
    let mut enough = false;
    let read = log.scan(&mut Report::default(), &mut |_| {}, &mut |record| {
        if record.physical_offset.0 >= from && visit(record).is_break() {
            enough = true;
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        Ok(())
    });
    match read {
        Err(error) if !enough => Err(error.into()),
        _ => Ok(()),
    }
}

/// What a consume queue's files hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueSummary {
    /// Topic.
    pub topic: String,
    /// Number of the queue.
    pub queue_id: i32,
    /// Number of the first entry whose record is in the log.
    pub min_offset: u64,
    /// Number after the last entry.
    pub max_offset: u64,
    /// Position of the last entry's record.
    pub last_physical_offset: Option<u64>,
    /// Files.
    pub files: usize,
}

/// Every consume queue that has files.
///
/// # Errors
/// There is no store, or a file cannot be read.
pub fn queues(disk: &dyn Disk, root: &Path) -> Result<Vec<QueueSummary>, InspectError> {
    const UNIT: u64 = UNIT_LEN as u64;
    let layout = layout(disk, root)?;
    let mut ignored = Report::default();
    let log_begin = Row::load(disk, layout.commit_log(), 1, &mut ignored)?.begin();
    let mut summaries = Vec::new();
    for key in keys(disk, &layout.consume_queues())? {
        let dir = crate::layout::queue_dir(&layout.consume_queues(), &key);
        let mut row = Row::load(disk, dir, UNIT, &mut ignored)?;
        let (first, full) = (row.begin() / UNIT, row.end() / UNIT);
        let mut unit = |number: u64| {
            Ok::<_, std::io::Error>(Unit::decode(&row.read(number * UNIT, UNIT_LEN)?))
        };
        let end = partition(first, full, |number| Ok(unit(number)?.is_none()))?;
        let is_live = |unit: Unit| !unit.is_blank() && unit.physical >= log_begin;
        let min = partition(first, end, |number| Ok(unit(number)?.is_some_and(is_live)))?;
        let last = if end > first { unit(end - 1)? } else { None };
        summaries.push(QueueSummary {
            topic: key.topic.to_string(),
            queue_id: key.queue_id,
            min_offset: min,
            max_offset: end,
            last_physical_offset: last.filter(|unit| !unit.is_blank()).map(|unit| unit.physical),
            files: row.starts.len(),
        });
    }
    Ok(summaries)
}

/// One item of the key index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IndexItem {
    /// Its file.
    pub file: PathBuf,
    /// Number in the file, from 1.
    pub number: u32,
    /// Hash of `topic#key`.
    pub hash: u32,
    /// Position of the record.
    pub physical_offset: i64,
    /// Store time, to the second below.
    pub store_timestamp: Timestamp,
    /// The item before it in its slot, 0 for none.
    pub before: u32,
}

/// Every item of the key index, the oldest first, until `visit` says that it is enough.
///
/// # Errors
/// There is no store, or a file cannot be read.
pub fn index_items(
    disk: &dyn Disk,
    root: &Path,
    known: &Known,
    visit: &mut dyn FnMut(&IndexItem) -> ControlFlow<()>,
) -> Result<(), InspectError> {
    let layout = layout(disk, root)?;
    let geometry = Geometry { slots: known.index_slots, items: known.index_items };
    for file in key_index::open(disk, &layout.index(), geometry, &mut Report::default())? {
        let mut number = 1;
        loop {
            let items = file.items(number)?;
            if items.is_empty() {
                break;
            }
            for item in items {
                let shown = IndexItem {
                    file: file.path.clone(),
                    number,
                    hash: item.hash,
                    physical_offset: item.at,
                    store_timestamp: file.header.begin + i64::from(item.seconds) * 1000,
                    before: item.before,
                };
                if visit(&shown).is_break() {
                    return Ok(());
                }
                number += 1;
            }
        }
    }
    Ok(())
}
