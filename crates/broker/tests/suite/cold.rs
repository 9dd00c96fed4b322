//! Pulls of what is on the disk only, on a disk where nothing is in memory.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use bytes::Bytes;
use parking_lot::Mutex;
use rmq_remoting::response_code;
use rmq_runtime::system::SystemDisk;
use rmq_runtime::{DirEntry, Disk, DiskFile, DiskLock, OpenMode, Usage, World};

use crate::fixture::{Fixture, bodies, config};

/// Counts what one thread reads of files.
#[derive(Clone, Default)]
struct Watched {
    who: Arc<Mutex<Option<ThreadId>>>,
    reads: Arc<AtomicU64>,
}

impl Watched {
    fn note(&self) {
        if *self.who.lock() == Some(thread::current().id()) {
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
    }
}

#[derive(Clone, Default)]
struct ColdDisk(Watched);

struct ColdFile {
    file: Arc<dyn DiskFile>,
    watched: Watched,
}

impl Disk for ColdDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = SystemDisk.open(path, mode)?;
        Ok(Arc::new(ColdFile { file, watched: self.0.clone() }))
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

impl DiskFile for ColdFile {
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.watched.note();
        self.file.read_at(offset, into)
    }
    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.watched.note();
        self.file.slice(offset, len)
    }
    fn is_cached(&self, _offset: u64, _len: usize) -> bool {
        false
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

#[tokio::test]
async fn a_pull_from_the_disk_is_not_read_on_its_shard() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "one", "").await;
    fixture.send("Orders", "two", "").await;
    fixture.stop().await;

    let disk = ColdDisk::default();
    let watched = disk.0.clone();
    let world = World { disk: Arc::new(disk), ..World::system() };
    let fixture = Fixture::start_in(world, config(dir.path()));
    // The shard of this connection is this thread.
    *watched.who.lock() = Some(thread::current().id());
    let found = fixture.pull("Orders", 0, 0).await;
    *watched.who.lock() = None;
    assert_eq!(found.code, response_code::SUCCESS, "{:?}", found.remark);
    assert_eq!(bodies(&found), ["one", "two"]);
    assert_eq!(watched.reads.load(Ordering::SeqCst), 0, "reads on the shard");

    // What has just been stored is answered in its turn.
    fixture.send("Orders", "three", "").await;
    *watched.who.lock() = Some(thread::current().id());
    assert_eq!(bodies(&fixture.pull("Orders", 0, 2).await), ["three"]);
    *watched.who.lock() = None;
    assert!(watched.reads.load(Ordering::SeqCst) > 0, "read on the shard, from memory");
    fixture.stop().await;
}
