//! How far the timers have come, `config/timercheck`: 56 bytes (big-endian) of a file of 4,096.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | ticks before this one are over, ms |
//! | 8 | 8 | end of the timer log |
//! | 16 | 8 | next offset of the timers' queue |
//! | 24 | 8 | the same, of the master |
//! | 32 | 24 | state version, ms, counter |

use std::io;
use std::path::Path;

use bytes::{Buf, BufMut};
use rmq_runtime::{Disk, OpenMode};

/// Name of the file.
pub(super) const FILE: &str = "timercheck";
const FILE_LEN: usize = 4096;
/// Bytes of it that count.
pub(crate) const LEN: usize = 56;

/// The check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) read_to: i64,
    pub(super) log_end: u64,
    pub(super) queue_next: i64,
    /// When it was made, ms.
    pub(super) made: i64,
    /// How often it was.
    pub(super) count: i64,
}

impl Check {
    pub(super) fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let mut out = &mut bytes[..];
        out.put_i64(self.read_to);
        out.put_u64(self.log_end);
        out.put_i64(self.queue_next);
        out.put_i64(self.queue_next);
        out.put_i64(0);
        out.put_i64(self.made);
        out.put_i64(self.count);
        bytes
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let read_to = bytes.try_get_i64().ok()?;
        let log_end = u64::try_from(bytes.try_get_i64().ok()?).ok()?;
        let queue_next = bytes.try_get_i64().ok()?;
        let _of_the_master = bytes.try_get_i64().ok()?;
        let _state_version = bytes.try_get_i64().ok()?;
        let made = bytes.try_get_i64().ok()?;
        let count = bytes.try_get_i64().ok()?;
        Some(Self { read_to, log_end, queue_next, made, count })
    }

    /// What the file says; `None` when it says nothing.
    pub(super) fn load(disk: &dyn Disk, path: &Path) -> io::Result<Option<Self>> {
        if !disk.exists(path) {
            return Ok(None);
        }
        Ok(Self::decode(&disk.read(path)?).filter(|check| *check != Self::default()))
    }

    /// Writes and syncs it: all of it lies in one sector.
    pub(super) fn save(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        let path = dir.join(FILE);
        let is_there = disk.exists(&path);
        let file = if is_there {
            disk.open(&path, OpenMode::Write)?
        } else {
            disk.create_dir(dir)?;
            disk.open(&path, OpenMode::CreateSparse { len: FILE_LEN as u64 })?
        };
        if file.len() < FILE_LEN as u64 {
            file.set_len(FILE_LEN as u64)?;
        }
        file.write_at(0, &self.encode())?;
        file.sync()?;
        if is_there { Ok(()) } else { disk.sync_dir(dir) }
    }
}
