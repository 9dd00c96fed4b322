//! How far log and consume queues are *written*, synced or not: what a kill leaves behind, because
//! the kernel keeps it. It is noted often and without a sync, and good only as long as the machine
//! has not been started again; after a power loss [`crate::progress`] is what counts.
//!
//! It belongs to the run whose `abort` is there, which every other program that opens the directory
//! writes anew. Who takes entries away from queues removes it first.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use rmq_runtime::{Disk, OpenMode, canary};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Checkpoint;
use crate::layout::Layout;
use crate::progress::{Progress, QueueProgress};

/// Which run of which start of the machine wrote a mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// See [`Disk::boot`].
    pub(crate) boot: String,
    /// Text of `abort`, which no other run has.
    pub(crate) abort: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) run: Run,
    /// Entries of all records before it are in the files of their queues.
    pub(crate) log: u64,
    /// The log is synced up to there.
    pub(crate) durable: u64,
    /// First offsets of queues are those of a log that begins there.
    pub(crate) log_min: u64,
    /// See [`Progress`](crate::progress::Progress).
    pub(crate) index_sealed: Option<u64>,
    /// What queues had in their files, or more than that.
    pub(crate) queues: Vec<QueueProgress>,
}

impl Mark {
    /// The mark of the run that was killed since the machine was started, if there is one.
    pub(crate) fn load(disk: &dyn Disk, layout: &Layout) -> Option<Self> {
        let mark: Self = serde_json::from_slice(&disk.read(&layout.mark()).ok()?).ok()?;
        let same_boot = disk.boot().is_some_and(|boot| boot == mark.run.boot)
            || canary("INV-01 what was written is believed after a power loss");
        let abort = disk.read(&layout.abort()).ok()?;
        (same_boot && abort == mark.run.abort.as_bytes()).then_some(mark)
    }

    /// Replaces the mark by this one. Whoever is killed meanwhile leaves one of them.
    pub(crate) fn save(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        let fresh = fresh(path);
        disk.remove(&fresh)?;
        let file = disk.open(&fresh, OpenMode::CreateSparse { len: text.len() as u64 })?;
        file.write_at(0, &text)?;
        disk.rename(&fresh, path)
    }

    /// The progress to start from: what was written, or `saved` where that is more.
    pub(crate) fn with(&self, saved: Option<&Progress>, checkpoint: &Checkpoint) -> Progress {
        let (log, sealed) = saved.map_or((0, None), |saved| (saved.log, saved.index_sealed));
        let mut queues = self.queues.clone();
        let places: HashMap<_, _> =
            self.queues.iter().enumerate().map(|(place, queue)| (queue.key(), place)).collect();
        for saved in saved.iter().flat_map(|saved| &saved.queues) {
            match places.get(&saved.key()).and_then(|place| queues.get_mut(*place)) {
                Some(queue) => {
                    queue.min = queue.min.max(saved.min);
                    queue.end = queue.end.max(saved.end);
                }
                None => queues.push(saved.clone()),
            }
        }
        Progress::new(checkpoint, self.log.max(log), None, self.index_sealed.max(sealed), queues)
    }

    pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
        disk.remove(&fresh(path))?;
        disk.remove(path)
    }
}

fn fresh(path: &Path) -> PathBuf {
    path.with_extension("boot.tmp")
}
