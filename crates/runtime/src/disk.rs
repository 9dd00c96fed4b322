//! Files. All calls block; callers that may not block go through [`Tasks::blocking`].
//!
//! [`Tasks::blocking`]: crate::Tasks::blocking

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to be read.
    Read,
    /// An existing file, to be read and written.
    Write,
    /// A new file of `len` zero bytes whose space is allocated: later writes inside it do not run
    /// out of space. Fails with `StorageFull` and leaves nothing behind when there is too little.
    Create {
        /// Bytes.
        len: u64,
    },
    /// A new file of `len` zero bytes that takes space as it is written.
    CreateSparse {
        /// Bytes.
        len: u64,
    },
}

/// What a directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// File name without its directory.
    pub name: String,
    /// Bytes.
    pub len: u64,
    /// Last modification.
    pub modified: SystemTime,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Space of the file system that holds a directory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// All of it.
    pub total: u64,
    /// What nobody uses.
    pub free: u64,
    /// What this process may still use; less than is free when the system keeps some for itself.
    pub usable: u64,
}

impl Usage {
    /// Of a file system that keeps nothing for itself.
    pub fn new(total: u64, free: u64) -> Self {
        Self { total, free, usable: free }
    }

    /// Used share of what could be used, 0 to 1: the `Use%` of `df`.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
    pub fn share(&self) -> f64 {
        let used = self.total.saturating_sub(self.free);
        match used.saturating_add(self.usable) {
            0 => 0.0,
            all => used as f64 / all as f64,
        }
    }
}

/// A held lock; dropping it lets go.
pub trait DiskLock: Send + Sync {}

/// A file system, held open so that it misses no failure of a write.
pub trait Volume: Send + Sync {
    /// Makes everything durable that was written to it, bytes and entries of directories: for
    /// hundreds of files cheaper than one by one. After an error nothing is known about what was.
    fn sync(&self) -> io::Result<()>;
}

/// Files and directories. Errors name the path.
pub trait Disk: Send + Sync + 'static {
    /// Opens or creates a file; the directory must exist. Only regular files are opened.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// A whole small file.
    fn read(&self, path: &Path) -> io::Result<Bytes>;
    /// Writes a whole small file and syncs it. Not atomic: see [`state_file`](crate::state_file).
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Whether there is something at that path.
    fn exists(&self, path: &Path) -> bool;
    /// Entries by name; none when the directory does not exist.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes a directory and those above it; fine when it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes a file; fine when it is not there.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that is in it; fine when it is not there.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Renames a file, replacing what had the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes creations, removals and renames in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Space of the file system that holds `dir`.
    fn usage(&self, dir: &Path) -> io::Result<Usage>;
    /// The file system that holds `dir`. `None` where files can only be synced one by one.
    fn volume(&self, _dir: &Path) -> io::Result<Option<Arc<dyn Volume>>> {
        Ok(None)
    }
    /// Names the time since the machine was started: as long as it is the same, whatever was written
    /// can be read again, synced or not. `None` when that cannot be told.
    fn boot(&self) -> Option<String> {
        None
    }
    /// Takes the exclusive lock of a lock file (created with the text `lock` when missing), against
    /// this process, others, and Java's `FileLock`. Fails with `WouldBlock` when somebody holds it.
    /// The file must not be opened in another way while the lock is held.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "a length in bytes, not a collection")]
pub trait DiskFile: Send + Sync + 'static {
    /// Bytes.
    fn len(&self) -> u64;
    /// Writes all bytes at that position, inside the file.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Fills `into` from that position; `UnexpectedEof` beyond the end.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Bytes of the file without a copy where the file is mapped. They show what is written there
    /// later, so ask only for what is final. The file must not shrink below them while they live.
    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes>;
    /// Lets go of the map behind [`slice`](Self::slice); slices that are out keep it.
    fn unmap(&self) {}
    /// Whether a range can be read without waiting for the device, as far as can be told.
    fn is_cached(&self, _offset: u64, _len: usize) -> bool {
        true
    }
    /// The first position from `offset` on that may hold anything but zeros, as far as the file
    /// system can tell; the end of the file when nothing does.
    fn data_from(&self, offset: u64) -> u64 {
        offset
    }
    /// Cuts or grows the file (with zeros).
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes all that was written durable. After an error nothing is known about what was.
    fn sync(&self) -> io::Result<()>;
    /// Begins to write that range to the device, as a hint: nothing is durable by it.
    fn write_back(&self, offset: u64, len: u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_keeps_for_itself_counts_neither_as_used_nor_as_free() {
        let share = |total, free, usable| Usage { total, free, usable }.share();
        assert_eq!(share(252, 202, 50), 0.5);
        assert_eq!(share(100, 0, 0), 1.0);
        assert_eq!(share(0, 0, 0), 0.0);
        assert_eq!(Usage::new(100, 25).share(), 0.75);
    }
}
