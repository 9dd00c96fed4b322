//! A disk that tests slow down: the system's, with gates.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rmq_runtime::system::SystemDisk;
use rmq_runtime::{DirEntry, Disk, DiskFile, DiskLock, OpenMode, Usage};

/// Where threads wait while it is closed.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn close(&self) {
        *self.0.0.lock() = true;
    }

    pub(crate) fn open(&self) {
        *self.0.0.lock() = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut closed = self.0.0.lock();
        while *closed {
            self.0.1.wait(&mut closed);
        }
    }
}

/// Counts what one thread reads of the first file of the log, and has all others wait there.
#[derive(Clone, Default)]
pub(crate) struct Watched {
    who: Arc<Mutex<Option<ThreadId>>>,
    reads: Arc<AtomicU64>,
    pub(crate) gate: Gate,
}

impl Watched {
    /// The shard of connections that are made on this thread is watched from now on.
    pub(crate) fn watch(&self) {
        *self.who.lock() = Some(thread::current().id());
    }

    pub(crate) fn unwatch(&self) {
        *self.who.lock() = None;
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    fn note(&self) {
        if *self.who.lock() == Some(thread::current().id()) {
            self.reads.fetch_add(1, Ordering::SeqCst);
        } else {
            self.gate.pass();
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct TestDisk {
    /// Of the first file of the log.
    pub(crate) reads: Watched,
    /// Of all files of the log.
    pub(crate) writes: Gate,
    is_cold: bool,
}

impl TestDisk {
    /// One where nothing is in memory.
    pub(crate) fn cold() -> Self {
        Self { is_cold: true, ..Self::default() }
    }
}

struct TestFile {
    file: Arc<dyn DiskFile>,
    is_cold: bool,
    reads: Option<Watched>,
    writes: Option<Gate>,
}

impl TestFile {
    fn note(&self) {
        if let Some(reads) = &self.reads {
            reads.note();
        }
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let is_log = path.parent().is_some_and(|dir| dir.ends_with("commitlog"));
        let is_first = is_log && path.ends_with("00000000000000000000");
        Ok(Arc::new(TestFile {
            file: SystemDisk.open(path, mode)?,
            is_cold: self.is_cold,
            reads: is_first.then(|| self.reads.clone()),
            writes: is_log.then(|| self.writes.clone()),
        }))
    }
    fn read(&self, path: &Path) -> io::Result<Bytes> {
        SystemDisk.read(path)
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        SystemDisk.write(path, bytes)
    }
    fn exists(&self, path: &Path) -> bool {
        SystemDisk.exists(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        SystemDisk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.create_dir(dir)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.remove_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        SystemDisk.sync_dir(dir)
    }
    fn usage(&self, dir: &Path) -> io::Result<Usage> {
        SystemDisk.usage(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        SystemDisk.lock(path)
    }
}

impl DiskFile for TestFile {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(writes) = &self.writes {
            writes.pass();
        }
        self.file.write_at(offset, bytes)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.note();
        self.file.read_at(offset, into)
    }
    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.note();
        self.file.slice(offset, len)
    }
    fn is_cached(&self, offset: u64, len: usize) -> bool {
        !self.is_cold && self.file.is_cached(offset, len)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn write_back(&self, offset: u64, len: u64) {
        self.file.write_back(offset, len);
    }
}
