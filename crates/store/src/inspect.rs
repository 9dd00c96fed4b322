//! Looks into a store directory, ours or Apache's, without opening the store: [`check`] says what is
//! wrong where, [`records`], [`queues`] and [`index_items`] show what is in it. Nothing is written;
//! a directory that nobody changes meanwhile is judged exactly.
//!
//! The log is the truth here as everywhere: consume queues and key index are held against it, entry
//! by entry. How long files are is read off the files, so no settings are needed, but for the shape
//! of index files.
//!
//! What a store that was killed always shows (a torn end, entries and items that lag behind the
//! log) are notes, for the next start mends it; without the mark `abort` the same is damage.

mod batch_queues;
mod dump;
mod extension;
mod files;
mod key_index;
mod log;
mod queues;
mod report;
mod state;
mod timer;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use rmq_runtime::Disk;
use thiserror::Error;

use crate::layout::Layout;
use log::Log;
use queues::Queues;

pub use dump::{IndexItem, QueueSummary, index_items, queues, records};
pub use report::{Counts, Finding, Report, Severity};

/// What cannot be read off the files.
#[derive(Clone, Debug)]
pub struct Known {
    /// Slots of an index file (`maxHashSlotNum`).
    pub index_slots: u32,
    /// Items of an index file (`maxIndexNum`).
    pub index_items: u32,
    /// Topics that exist, when somebody knows. Records of other topics need no consume queue.
    pub topics: BTreeSet<String>,
}

impl Default for Known {
    fn default() -> Self {
        let config = crate::Config::default();
        Self {
            index_slots: config.max_hash_slot_num,
            index_items: config.max_index_num,
            topics: BTreeSet::new(),
        }
    }
}

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is looked at.
    pub part: &'static str,
    /// Bytes or files done,
    pub done: u64,
    /// of so many.
    pub total: u64,
}

/// Why nothing can be said at all.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is no commit log.
    #[error("{} holds no store: there is no directory `commitlog` in it", .0.display())]
    NoStore(PathBuf),
    /// It cannot be read.
    #[error("{0}; check the path and its rights")]
    Io(#[from] io::Error),
}

fn layout(disk: &dyn Disk, root: &Path) -> Result<Layout, InspectError> {
    let layout = Layout::new(root);
    if disk.exists(&layout.commit_log()) {
        Ok(layout)
    } else {
        Err(InspectError::NoStore(root.to_owned()))
    }
}

/// Checks everything in the directory that is the store's: log, queues, index and the small files.
///
/// # Errors
/// There is no store, or its log cannot be read at all. Whatever else cannot be read is a finding.
#[doc(alias = "fsck")]
pub fn check(
    disk: &dyn Disk,
    root: &Path,
    known: &Known,
    on_step: &mut dyn FnMut(Step),
) -> Result<Report, InspectError> {
    let layout = layout(disk, root)?;
    let mut report = Report::default();
    let unclean = state::was_left_open(disk, &layout, &mut report);
    let mut log = Log::open(disk, &layout, &mut report)?;
    let mut queues = Queues::load(disk, &layout, &mut report)?;
    let mut batch = batch_queues::BatchQueues::load(disk, &layout, &mut report)?;
    let scanned = log.scan(&mut report, on_step, &mut |record| {
        if !batch.takes(record)? {
            queues.takes(record)?;
        }
        Ok(())
    })?;
    let view = View { layout: &layout, scanned: &scanned, unclean, known };
    let ends = queues.finish(&view, &mut report, on_step)?;
    batch.finish(&view, &mut report)?;
    let looks: [(&Path, io::Result<()>); 3] = [
        (&layout.index(), key_index::check(disk, &mut log, &view, &mut report, on_step)),
        (&layout.checkpoint(), state::check(disk, &view, &ends, &mut report)),
        (root, timer::check(disk, &mut log, &view, &mut report)),
    ];
    for (path, looked) in looks {
        if let Err(error) = looked {
            let next = "check the disk and the file's rights, then check again";
            report.add(Finding::unchecked(path, error.to_string(), next));
        }
    }
    Ok(report)
}

/// What the parts are held against.
struct View<'a> {
    layout: &'a Layout,
    scanned: &'a log::Scanned,
    /// It was not stopped in good order, or runs.
    unclean: bool,
    known: &'a Known,
}

impl View<'_> {
    /// What is to be expected after a kill, and after a clean stop never.
    fn lag(&self) -> Severity {
        if self.unclean { Severity::Note } else { Severity::Damage }
    }
}
