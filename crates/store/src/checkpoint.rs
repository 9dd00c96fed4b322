//! Apache's checkpoint: 4096 bytes, six numbers at the front.
//!
//! | at | number |
//! |---|---|
//! | 0 | store time of the last synced record |
//! | 8 | store time up to which consume queues are synced |
//! | 16 | store time of the last record of the last *full* index file |
//! | 24 | position that the master has flushed (replication) |
//! | 32 | confirmed position (replication) |
//! | 40 | position of consume queues (unused) |
//!
//! Our own recovery stands on [`crate::progress`]; this one is kept true for Apache's.

use std::io;
use std::path::Path;

use rmq_message::Timestamp;
use rmq_runtime::{Disk, OpenMode};

pub(crate) const LEN: u64 = 4096;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) log: Timestamp,
    pub(crate) queues: Timestamp,
    pub(crate) index: Timestamp,
    /// The three numbers of replication, carried along.
    pub(crate) replication: [i64; 3],
}

impl Checkpoint {
    /// Reads the file; all zero when it is missing or short.
    pub(crate) fn load(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        if !disk.exists(path) {
            return Ok(Self::default());
        }
        let bytes = disk.read(path)?;
        let number = |index: usize| {
            let bytes = bytes.get(index * 8..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| i64::from_be_bytes(*bytes))
        };
        Ok(Self {
            log: Timestamp(number(0)),
            queues: Timestamp(number(1)),
            index: Timestamp(number(2)),
            replication: [number(3), number(4), number(5)],
        })
    }

    /// Writes the numbers in place and syncs them.
    pub(crate) fn save(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let mut bytes = [0; 48];
        let [a, b, c] = self.replication;
        let numbers = [self.log.0, self.queues.0, self.index.0, a, b, c];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        let file = match disk.open(path, OpenMode::Write) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                disk.open(path, OpenMode::Create { len: LEN })?
            }
            other => other?,
        };
        if file.len() != LEN {
            file.set_len(LEN)?;
        }
        file.write_at(0, &bytes)?;
        file.sync()
    }

    /// Everything stored up to this time is in the log and the queues for certain.
    pub(crate) fn min_timestamp(&self) -> Timestamp {
        Timestamp(self.log.0.min(self.queues.0).saturating_sub(3000).max(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_runtime::system::SystemDisk;

    #[test]
    fn what_is_saved_is_loaded_and_short_files_are_healed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint");
        assert_eq!(Checkpoint::load(&SystemDisk, &path).unwrap(), Checkpoint::default());
        let checkpoint = Checkpoint {
            log: Timestamp(9000),
            queues: Timestamp(8000),
            index: Timestamp(7),
            replication: [4, 5, 6],
        };
        SystemDisk.write(&path, b"short").unwrap();
        checkpoint.save(&SystemDisk, &path).unwrap();
        assert_eq!(SystemDisk.read(&path).unwrap().len(), 4096);
        assert_eq!(Checkpoint::load(&SystemDisk, &path).unwrap(), checkpoint);
        assert_eq!(checkpoint.min_timestamp(), Timestamp(5000));
    }
}
