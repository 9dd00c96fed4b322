//! A disk in memory that loses power.
//!
//! What was written but not synced is kept apart: bytes by sector of 512, lengths, and entries of
//! directories. A power loss chooses for each sector whether it holds what was synced, what was
//! written, something in between, or a torn part of it; for each entry whether its change arrived.
//! Only what the documentation of the calls promises is durable:
//!
//! | call | makes durable |
//! |---|---|
//! | `DiskFile::sync` | bytes and length of the file, not its entry in the directory |
//! | `Disk::write` | the same |
//! | `Disk::sync_dir` | creations, removals and renames in that directory |
//! | `Volume::sync` | everything |
//! | `DiskFile::write_back` | nothing |
//!
//! A power loss begins another [boot](Disk::boot), a kill does not.
//!
//! A crash is a new disk ([`after_power_loss`](SimDisk::after_power_loss),
//! [`after_kill`](SimDisk::after_kill)): whoever still holds the old one cannot touch the new, no
//! lock is held on it, and several crashes can be tried from one state. To crash at an operation,
//! tell the disk to [freeze](SimDisk::freeze_at) there: that operation is begun, and from then on
//! every call fails.

mod content;
mod faults;
mod tree;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;
use rmq_runtime::{Clock, DirEntry, Disk, DiskFile, DiskLock, OpenMode, Usage, Volume};

use crate::{SimClock, SimEntropy};
use content::Content;
pub use faults::Fault;
use faults::{Faults, Nature, Turn};
use tree::{Id, Tree};

struct State {
    tree: Tree,
    faults: Faults,
    locks: BTreeSet<PathBuf>,
    /// Power losses so far.
    boot: u64,
    usage: Usage,
    /// Chooses what of a failing sync has arrived.
    chance: SimEntropy,
}

/// A disk in memory that loses power. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    clock: Arc<SimClock>,
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk; modification times are those of the clock.
    pub fn new(clock: &Arc<SimClock>) -> Self {
        Self::of(clock, Tree::new(), 0, Usage::new(1 << 40, 1 << 39))
    }

    fn of(clock: &Arc<SimClock>, tree: Tree, boot: u64, usage: Usage) -> Self {
        let (faults, locks, chance) = (Faults::default(), BTreeSet::new(), SimEntropy::new(0));
        let state = State { tree, faults, locks, boot, usage, chance };
        Self { clock: Arc::clone(clock), state: Arc::new(Mutex::new(state)) }
    }

    /// The disk after the power failed now; the seed chooses what of the unsynced is there.
    #[must_use]
    pub fn after_power_loss(&self, seed: u64) -> Self {
        let state = self.state.lock();
        let tree = state.tree.after_power_loss(&SimEntropy::new(seed), self.clock.wall());
        Self::of(&self.clock, tree, state.boot + 1, state.usage)
    }

    /// The disk after the process died now: everything written is there, and as unsynced as before.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let state = self.state.lock();
        Self::of(&self.clock, state.tree.clone(), state.boot, state.usage)
    }

    /// Makes everything durable that is there.
    pub fn settle(&self) {
        self.state.lock().tree.settle_all();
    }

    /// Calls so far that changed or synced something: the places where it can [freeze](Self::freeze_at).
    pub fn operations(&self) -> u64 {
        self.state.lock().faults.operations()
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.state.lock().faults.calls()
    }

    /// The last operations, one line each.
    pub fn trace(&self) -> Vec<String> {
        self.state.lock().faults.trace()
    }

    /// The `n`-th operation from now on is begun and fails, as does every call after it.
    pub fn freeze_at(&self, n: u64) {
        self.state.lock().faults.freeze_at(n);
    }

    /// Whether that has come.
    pub fn is_frozen(&self) -> bool {
        self.state.lock().faults.frozen
    }

    /// The `n`-th call from now on fails.
    pub fn fail_call(&self, n: u64, fault: Fault) {
        self.state.lock().faults.fail_call(n, fault);
    }

    /// The next call on a path that holds `part` fails.
    pub fn fail_path(&self, part: &'static str, fault: Fault) {
        self.state.lock().faults.fail_path(part, fault);
    }

    /// The `n`-th sync of a file from now on fails, and the kernel forgets what was to be synced:
    /// later syncs succeed without it. `seed` chooses what has arrived all the same.
    pub fn fail_sync(&self, n: u64, seed: u64) {
        let mut state = self.state.lock();
        state.chance = SimEntropy::new(seed);
        state.faults.fail_sync(n);
    }

    /// Whether a call has failed that was told to.
    pub fn has_struck(&self) -> bool {
        self.state.lock().faults.struck
    }

    /// Sets the space of the file system, in bytes.
    pub fn set_usage(&self, usage: Usage) {
        self.state.lock().usage = usage;
    }

    /// All files.
    pub fn paths(&self) -> Vec<PathBuf> {
        fn below(tree: &Tree, dir: Id, path: &Path, paths: &mut Vec<PathBuf>) {
            for (name, id) in tree.entries(dir) {
                let path = path.join(name);
                if tree.is_dir(id) { below(tree, id, &path, paths) } else { paths.push(path) }
            }
        }
        let (state, mut paths) = (self.state.lock(), Vec::new());
        let root = Path::new("/");
        if let Some(id) = state.tree.find(root) {
            below(&state.tree, id, root, &mut paths);
        }
        paths
    }

    /// The bytes of a file, or none.
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let id = state.tree.find(path)?;
        Some(state.tree.file(id).ok()?.live().to_vec())
    }

    /// Changes a file as a fault of the device does: unnoticed and durable. Whether there is one.
    pub fn damage(&self, path: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut state = self.state.lock();
        let Some(id) = state.tree.find(path) else { return false };
        let Ok(content) = state.tree.file_mut(id) else { return false };
        let mut bytes = content.live().to_vec();
        damage(&mut bytes);
        *content = Content::settled(bytes, content.modified);
        true
    }

    /// Gives a file another time of its last modification. Whether there is one.
    pub fn set_modified(&self, path: &Path, time: SystemTime) -> bool {
        let mut state = self.state.lock();
        let Some(id) = state.tree.find(path) else { return false };
        state.tree.file_mut(id).map(|content| content.modified = time).is_ok()
    }

    fn content(&self, len: u64) -> io::Result<Content> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
        Ok(Content::new(len, self.clock.wall()))
    }

    /// One call: counted, failed when told to, and done.
    fn call<T>(
        &self,
        (nature, what): (Nature, &'static str),
        path: &Path,
        act: impl FnOnce(&mut Tree) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        match state.faults.step(nature, what, path, None)? {
            Turn::Go => act(&mut state.tree).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
            }),
            Turn::GoAndFail(error) | Turn::Half(error) | Turn::LoseSync(error) => {
                // Done or not, the caller only learns of the fault.
                drop(act(&mut state.tree));
                Err(error)
            }
        }
    }

    fn write_file(&self, (id, path): (Id, &Path), offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let range = Some((offset, bytes.len()));
        let turn = state.faults.step(Nature::Changes, "write", path, range)?;
        let content = state.tree.file_mut(id)?;
        content.modified = self.clock.wall();
        match turn {
            Turn::Go => content.write(offset, bytes),
            Turn::Half(error) => {
                content.write(offset, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
                Err(error)
            }
            Turn::GoAndFail(error) | Turn::LoseSync(error) => {
                content.write(offset, bytes)?;
                Err(error)
            }
        }
    }

    fn sync_file(&self, id: Id, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let turn = state.faults.step(Nature::Syncs, "sync", path, None)?;
        let State { tree, chance, .. } = &mut *state;
        let content = tree.file_mut(id)?;
        match turn {
            Turn::Go => {
                content.sync();
                Ok(())
            }
            Turn::Half(error) | Turn::GoAndFail(error) | Turn::LoseSync(error) => {
                content.fail_sync(chance);
                Err(error)
            }
        }
    }
}

const READS: Nature = Nature::Reads;
const CHANGES: Nature = Nature::Changes;

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let id = match mode {
            OpenMode::Read | OpenMode::Write => self.call((READS, "open"), path, |tree| {
                let id = tree.find(path).ok_or(io::ErrorKind::NotFound)?;
                tree.file(id).map(|_| id)
            }),
            OpenMode::Create { len } | OpenMode::CreateSparse { len } => {
                let content = self.content(len)?;
                self.call((CHANGES, "create"), path, |tree| tree.create(path, content))
            }
        }?;
        Ok(Arc::new(SimFile { disk: self.clone(), id, path: path.to_owned() }))
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        self.call((READS, "read"), path, |tree| {
            let id = tree.find(path).ok_or(io::ErrorKind::NotFound)?;
            Ok(Bytes::copy_from_slice(tree.file(id)?.live()))
        })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let fresh = self.content(0)?;
        let id = self.call((CHANGES, "truncate"), path, |tree| match tree.find(path) {
            Some(id) => {
                tree.file_mut(id)?.set_len(0);
                Ok(id)
            }
            None => tree.create(path, fresh),
        })?;
        {
            let mut state = self.state.lock();
            state.tree.file_mut(id)?.set_len(bytes.len());
        }
        self.write_file((id, path), 0, bytes)?;
        self.sync_file(id, path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.state.lock().tree.find(path).is_some()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.call((READS, "list"), dir, |tree| {
            let Some(id) = tree.find(dir) else { return Ok(Vec::new()) };
            let entry = |(name, id): (&String, Id)| {
                let file = tree.file(id).ok();
                DirEntry {
                    name: name.clone(),
                    len: file.map_or(0, |file| file.live().len() as u64),
                    modified: file.map_or(std::time::UNIX_EPOCH, |file| file.modified),
                    is_dir: file.is_none(),
                }
            };
            Ok(tree.entries(id).map(entry).collect())
        })
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.call((CHANGES, "mkdir"), dir, |tree| tree.create_dir(dir))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call((CHANGES, "remove"), path, |tree| tree.remove(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.call((CHANGES, "rmdir"), dir, |tree| tree.remove_dir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call((CHANGES, "rename"), from, |tree| tree.rename(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Counted among the changes: one that fails has not done its work.
        let mut state = self.state.lock();
        match state.faults.step(CHANGES, "sync dir", dir, None)? {
            Turn::Go => state.tree.sync_dir(dir),
            Turn::GoAndFail(error) | Turn::Half(error) | Turn::LoseSync(error) => Err(error),
        }
    }

    fn usage(&self, dir: &Path) -> io::Result<Usage> {
        let usage = self.state.lock().usage;
        self.call((READS, "look at"), dir, |_| Ok(usage))
    }

    fn volume(&self, dir: &Path) -> io::Result<Option<Arc<dyn Volume>>> {
        self.call((READS, "open"), dir, |_| Ok(()))?;
        Ok(Some(Arc::new(SimVolume { disk: self.clone(), path: dir.to_owned() })))
    }

    fn boot(&self) -> Option<String> {
        Some(format!("boot {}", self.state.lock().boot))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state.lock();
        if state.tree.find(path).is_none() {
            match state.faults.step(CHANGES, "lock", path, None)? {
                Turn::Go => {
                    let content = Content::settled(b"lock".to_vec(), self.clock.wall());
                    state.tree.create(path, content)?;
                }
                Turn::GoAndFail(error) | Turn::Half(error) | Turn::LoseSync(error) => {
                    return Err(error);
                }
            }
        } else {
            drop(state.faults.step(READS, "lock", path, None)?);
        }
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held { disk: self.clone(), path: path.to_owned() }))
    }
}

struct SimVolume {
    disk: SimDisk,
    path: PathBuf,
}

impl Volume for SimVolume {
    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let turn = state.faults.step(Nature::Syncs, "sync all", &self.path, None)?;
        let State { tree, chance, .. } = &mut *state;
        match turn {
            Turn::Go => {
                tree.settle_all();
                Ok(())
            }
            Turn::Half(error) | Turn::GoAndFail(error) | Turn::LoseSync(error) => {
                tree.fail_sync_all(chance);
                Err(error)
            }
        }
    }
}

struct Held {
    disk: SimDisk,
    path: PathBuf,
}

impl DiskLock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        self.disk.state.lock().locks.remove(&self.path);
    }
}

struct SimFile {
    disk: SimDisk,
    id: Id,
    path: PathBuf,
}

impl DiskFile for SimFile {
    fn len(&self) -> u64 {
        self.disk.state.lock().tree.file(self.id).map_or(0, |file| file.live().len() as u64)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write_file((self.id, &self.path), offset, bytes)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.call((READS, "read"), &self.path, |tree| {
            into.copy_from_slice(tree.file(self.id)?.slice(offset, into.len())?);
            Ok(())
        })
    }

    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.disk.call((READS, "read"), &self.path, |tree| {
            Ok(Bytes::copy_from_slice(tree.file(self.id)?.slice(offset, len)?))
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::StorageFull)?;
        self.disk.call((CHANGES, "resize"), &self.path, |tree| {
            tree.file_mut(self.id)?.set_len(len);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_file(self.id, &self.path)
    }

    fn write_back(&self, _offset: u64, _len: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> SimDisk {
        SimDisk::new(&SimClock::new(1_000))
    }

    fn create(disk: &SimDisk, path: &str, len: u64) -> Arc<dyn DiskFile> {
        disk.open(Path::new(path), OpenMode::Create { len }).unwrap()
    }

    /// In how many of 200 power losses it holds.
    fn count(disk: &SimDisk, holds: impl Fn(&SimDisk) -> bool) -> usize {
        (0..200).filter(|seed| holds(&disk.after_power_loss(*seed))).count()
    }

    #[test]
    fn an_entry_is_durable_by_the_sync_of_its_directory_only() {
        let disk = disk();
        disk.create_dir(Path::new("/a/b")).unwrap();
        let file = create(&disk, "/a/b/f", 1000);
        file.write_at(0, b"x").unwrap();
        file.sync().unwrap();
        let there = |disk: &SimDisk| disk.exists(Path::new("/a/b/f"));
        assert!((1..200).contains(&count(&disk, there)));
        disk.sync_dir(Path::new("/a/b")).unwrap();
        // The directories above may still be lost.
        assert!((1..200).contains(&count(&disk, there)));
        disk.sync_dir(Path::new("/a")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        assert_eq!(count(&disk, there), 200);
        disk.remove(Path::new("/a/b/f")).unwrap();
        assert!((1..200).contains(&count(&disk, there)));
    }

    #[test]
    fn a_rename_happens_whole_or_not_at_all() {
        let disk = disk();
        disk.write(Path::new("/old"), b"1").unwrap();
        disk.write(Path::new("/new"), b"2").unwrap();
        disk.settle();
        disk.rename(Path::new("/new"), Path::new("/old")).unwrap();
        let state = |disk: &SimDisk| (disk.bytes(Path::new("/old")), disk.bytes(Path::new("/new")));
        let before = (Some(b"1".to_vec()), Some(b"2".to_vec()));
        let after = (Some(b"2".to_vec()), None);
        let (kept, done) =
            (count(&disk, |it| state(it) == before), count(&disk, |it| state(it) == after));
        assert!(kept > 0 && done > 0 && kept + done == 200, "{kept} {done}");
    }

    #[test]
    fn the_same_seed_leaves_the_same_disk() {
        let make = || {
            let disk = disk();
            for name in ["/a", "/b", "/c"] {
                create(&disk, name, 4000).write_at(100, &[7; 3000]).unwrap();
            }
            disk
        };
        for seed in 0..50 {
            let (one, two) = (make().after_power_loss(seed), make().after_power_loss(seed));
            assert_eq!(one.paths(), two.paths());
            for path in one.paths() {
                assert_eq!(one.bytes(&path), two.bytes(&path));
            }
        }
    }

    #[test]
    fn a_frozen_disk_has_begun_its_last_operation_and_answers_nothing_more() {
        let disk = disk();
        let file = create(&disk, "/f", 10);
        disk.freeze_at(2);
        file.write_at(0, b"one").unwrap();
        assert!(file.write_at(3, b"two").is_err() && disk.is_frozen());
        assert!(file.write_at(6, b"six").is_err() && file.read_at(0, &mut [0]).is_err());
        assert!(file.sync().is_err() && disk.list(Path::new("/")).is_err());
        let left = disk.after_kill();
        assert_eq!(left.bytes(Path::new("/f")).unwrap(), b"onetwo\0\0\0\0");
        assert!(!left.is_frozen() && left.operations() == 0);
        assert!(disk.trace().last().unwrap().ends_with("write     /f 3..6"), "{:?}", disk.trace());
    }

    #[test]
    fn a_kill_keeps_what_was_written_but_makes_nothing_durable() {
        let disk = disk();
        create(&disk, "/f", 1000).write_at(0, b"written").unwrap();
        let killed = disk.after_kill();
        assert_eq!(&killed.bytes(Path::new("/f")).unwrap()[..7], b"written");
        assert!(count(&killed, |it| !it.exists(Path::new("/f"))) > 0);
        assert_eq!(killed.boot(), disk.boot());
        assert_ne!(killed.after_power_loss(1).boot(), disk.boot());
    }

    #[test]
    fn told_calls_fail_and_a_short_write_is_half_done() {
        let disk = disk();
        let file = create(&disk, "/f", 10);
        let faults = [
            (Fault::Error, io::ErrorKind::Other, b"\0\0\0\0"),
            (Fault::StorageFull, io::ErrorKind::StorageFull, b"\0\0\0\0"),
            (Fault::Interrupted, io::ErrorKind::Interrupted, b"\0\0\0\0"),
            (Fault::Short, io::ErrorKind::Other, b"ab\0\0"),
        ];
        disk.fail_path("/other", Fault::Error);
        for (fault, kind, left) in faults {
            disk.fail_call(2, fault);
            file.read_at(0, &mut [0]).unwrap();
            assert_eq!(file.write_at(0, b"abcd").unwrap_err().kind(), kind);
            assert!(disk.has_struck());
            assert_eq!(&disk.bytes(Path::new("/f")).unwrap()[..4], left);
        }
    }

    #[test]
    fn a_failed_sync_loses_what_later_syncs_do_not_bring_back() {
        let disk = disk();
        let file = create(&disk, "/f", 4096);
        disk.settle();
        disk.fail_sync(2, 5);
        file.write_at(0, b"first").unwrap();
        file.sync().unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        assert!(file.sync().is_err());
        file.sync().unwrap();
        let whole = |disk: &SimDisk| disk.bytes(Path::new("/f")).unwrap() == [1; 4096];
        assert!(whole(&disk));
        assert_eq!(count(&disk, whole), 0);
    }

    #[test]
    fn a_lock_is_held_once_and_a_crash_lets_go_of_it() {
        let disk = disk();
        let path = Path::new("/lock");
        let held = disk.lock(path).unwrap();
        assert_eq!(disk.lock(path).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        assert!(disk.after_kill().lock(path).is_ok());
        drop(held);
        assert!(disk.lock(path).is_ok());
    }
}
