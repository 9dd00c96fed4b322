//! A store that does nothing by itself: its background work, one piece at a time and by hand, on
//! the caller's thread. For simulations, where every run of a seed must be the same.

use std::io;

use rmq_message::Timestamp;

use super::LocalStore;
use crate::api::StoreAdmin;
use crate::config::FlushDiskType;

/// One piece of what a store does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Syncs the log; with `SYNC_FLUSH` writes it first and lets everybody know, as its flusher.
    Flush,
    /// Makes the next file of the log.
    Prepare,
    /// Writes consume queue entries, and notes how far.
    WriteQueues,
    /// Syncs the log and consume queues, and saves how far they are.
    Save,
    /// Puts visible records into the key index.
    Index,
    /// Removes expired files.
    Expire,
}

impl LocalStore {
    /// Does one piece of background work of a store that was opened [still](Self::open_still).
    /// Errors are also dealt with as the background work does: they close the store or are logged.
    pub fn work(&self, chore: Chore) -> io::Result<()> {
        match chore {
            Chore::Flush if self.log.mode() == FlushDiskType::Sync => {
                self.finish_log().map_err(io::Error::other)
            }
            Chore::Flush => self.log.sync().map(drop).map_err(io::Error::other),
            Chore::Prepare => self.log.segments.prepare(),
            Chore::WriteQueues => self.derive(Self::mark),
            Chore::Save => self.derive(|store| store.save(None)),
            Chore::Index => self.index_some(),
            Chore::Expire => {
                let now = Timestamp::from(self.world.clock.wall());
                self.expire(now).map(drop).map_err(io::Error::other)
            }
        }
    }
}
