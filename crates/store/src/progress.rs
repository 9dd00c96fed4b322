//! Exactly how far everything derived from the log has come, so that a start needs to look only at
//! what is younger. A hint: without it recovery goes by Apache's checkpoint, which is coarser.
//!
//! It is valid only together with the checkpoint it was written with, so a store that another
//! program has written to in between is not believed.

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
    /// The three times of the checkpoint that was written with it.
    checkpoint: (i64, i64, i64),
    /// Everything before this position is synced, in the log and in the consume queues.
    pub(crate) log: u64,
    /// After a clean stop: what the key index, which is synced, has.
    pub(crate) index: Option<IndexProgress>,
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
        queues: Vec<QueueProgress>,
    ) -> Self {
        Self { checkpoint: times(checkpoint), log, index, queues }
    }

    pub(crate) fn save(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::other)?;
        state_file::save(disk, path, &text)
    }

    /// The progress written with that checkpoint, if there is one that can be read.
    pub(crate) fn load(disk: &dyn Disk, path: &Path, checkpoint: &Checkpoint) -> Option<Self> {
        let loaded = state_file::load(disk, path, |bytes| serde_json::from_slice::<Self>(&bytes));
        match loaded {
            Ok(loaded) => loaded.into_value().filter(|it| it.checkpoint == times(checkpoint)),
            Err(error) => {
                tracing::warn!(%error, "progress is not readable; recovery goes by the checkpoint");
                None
            }
        }
    }
}
