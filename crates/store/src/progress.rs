//! Exactly how far everything derived from the log has come, so that a start needs to look only at
//! what is younger. A hint: without it recovery goes by Apache's checkpoint, which is coarser.
//!
//! It is valid only together with the checkpoint that is written right after it, or with the one
//! before, in case that never came; so a store that another program has written to in between is
//! not believed.

use std::io;
use std::path::Path;

use rmq_runtime::{Disk, state_file};
use serde::{Deserialize, Serialize};

use crate::api::QueueKey;
use crate::checkpoint::Checkpoint;

/// One queue: everything below `end` was in its files, synced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueueProgress {
    pub(crate) topic: String,
    pub(crate) queue: i32,
    /// First offset.
    pub(crate) min: u64,
    /// End.
    pub(crate) end: u64,
}

impl QueueProgress {
    pub(crate) fn key(&self) -> QueueKey {
        QueueKey::new(&self.topic, self.queue)
    }
}

/// Everything before `seen` is in the index, whose youngest item is of the record at `youngest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexProgress {
    pub(crate) seen: u64,
    pub(crate) youngest: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The three times of the checkpoint that is written after it.
    checkpoint: (i64, i64, i64),
    /// Those of the checkpoint before. Only in the file.
    #[serde(default)]
    before: Option<(i64, i64, i64)>,
    /// Everything before this position is synced, in the log and in the consume queues.
    pub(crate) log: u64,
    /// After a clean stop: what the key index, which is synced, has.
    pub(crate) index: Option<IndexProgress>,
    /// Position of the last record of the last full file of the key index; that and all files
    /// before it are synced.
    #[serde(default)]
    pub(crate) index_sealed: Option<u64>,
    pub(crate) queues: Vec<QueueProgress>,
}

fn times(checkpoint: &Checkpoint) -> (i64, i64, i64) {
    (checkpoint.log.0, checkpoint.queues.0, checkpoint.index.0)
}

impl Progress {
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        log: u64,
        index: Option<IndexProgress>,
        index_sealed: Option<u64>,
        queues: Vec<QueueProgress>,
    ) -> Self {
        Self { checkpoint: times(checkpoint), before: None, log, index, index_sealed, queues }
    }

    /// Writes it, to be followed by its checkpoint; `before` is the one that is there now.
    pub(crate) fn save(&self, disk: &dyn Disk, path: &Path, before: &Checkpoint) -> io::Result<()> {
        let both = Self { before: Some(times(before)), ..self.clone() };
        let text = serde_json::to_vec(&both).map_err(io::Error::other)?;
        state_file::save(disk, path, &text)
    }

    /// The last progress that was written, if there is one that can be read.
    pub(crate) fn load(disk: &dyn Disk, path: &Path) -> Option<Self> {
        match state_file::load(disk, path, |bytes| serde_json::from_slice(&bytes)) {
            Ok(loaded) => loaded.into_value(),
            Err(error) => {
                tracing::warn!(%error, "progress is not readable; recovery goes by the checkpoint");
                None
            }
        }
    }

    /// Whether that checkpoint was the last when it was written, or was written with it.
    pub(crate) fn fits(&self, checkpoint: &Checkpoint) -> bool {
        let times = times(checkpoint);
        self.checkpoint == times || self.before == Some(times)
    }
}
