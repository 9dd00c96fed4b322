//! A disk in memory: can be copied as a killed process or a power loss leaves it, fails when told,
//! and holds syncs back.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use rmq_runtime::{DirEntry, Disk, DiskFile, DiskLock, OpenMode, Usage};

#[derive(Default)]
struct Content {
    live: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Default)]
struct Faults {
    calls: AtomicU64,
    fail_at: AtomicU64,
    syncs: AtomicU64,
    waiting: AtomicU64,
    fail_syncs: AtomicU64,
    cold: AtomicBool,
    unmapped: AtomicU64,
    reads: AtomicU64,
    held: Mutex<bool>,
    released: Condvar,
}

impl Faults {
    fn step(&self, path: &Path) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call == self.fail_at.load(Ordering::SeqCst) {
            return Err(io::Error::other(format!("{}: failed as told", path.display())));
        }
        Ok(())
    }
}

type Files = BTreeMap<PathBuf, Arc<Mutex<Content>>>;

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk {
    files: Arc<Mutex<Files>>,
    dirs: Arc<Mutex<BTreeSet<PathBuf>>>,
    locks: Arc<Mutex<BTreeSet<PathBuf>>>,
    faults: Arc<Faults>,
    /// Power losses so far.
    boot: u64,
    /// Modification time of every file, in seconds since 1970.
    pub(crate) modified: Arc<AtomicU64>,
}

impl MemoryDisk {
    fn copy(&self, boot: u64, of: impl Fn(&Content) -> Vec<u8>) -> Self {
        let files = self.files.lock();
        let files = files.iter().map(|(path, content)| {
            let bytes = of(&content.lock());
            (path.clone(), Arc::new(Mutex::new(Content { live: bytes.clone(), synced: bytes })))
        });
        let copy = Self { boot, ..Self::default() };
        *copy.files.lock() = files.collect();
        copy.dirs.lock().clone_from(&self.dirs.lock());
        copy
    }

    /// What is left when the process is killed now.
    pub(crate) fn killed(&self) -> Self {
        self.copy(self.boot, |content| content.live.clone())
    }

    /// What is left when the power fails now and nothing unsynced was written.
    pub(crate) fn power_lost(&self) -> Self {
        self.copy(self.boot + 1, |content| content.synced.clone())
    }

    /// The `n`-th call from now on fails; 0 for none.
    pub(crate) fn fail_at(&self, n: u64) {
        let now = self.faults.calls.load(Ordering::SeqCst);
        self.faults.fail_at.store(if n == 0 { 0 } else { now + n }, Ordering::SeqCst);
    }

    /// Whether the call that was told to fail has come.
    pub(crate) fn has_failed(&self) -> bool {
        self.faults.calls.load(Ordering::SeqCst) >= self.faults.fail_at.load(Ordering::SeqCst)
    }

    pub(crate) fn hold_syncs(&self) {
        *self.faults.held.lock() = true;
    }

    pub(crate) fn release_syncs(&self) {
        *self.faults.held.lock() = false;
        self.faults.released.notify_all();
    }

    /// All syncs from now on fail.
    pub(crate) fn fail_syncs(&self) {
        self.faults.fail_syncs.store(1, Ordering::SeqCst);
    }

    /// From now on everything has to be waited for.
    pub(crate) fn cool(&self) {
        self.faults.cold.store(true, Ordering::SeqCst);
    }

    /// How often a map was let go of.
    pub(crate) fn unmapped(&self) -> u64 {
        self.faults.unmapped.load(Ordering::SeqCst)
    }

    pub(crate) fn reads(&self) -> u64 {
        self.faults.reads.load(Ordering::SeqCst)
    }

    pub(crate) fn syncs_waiting(&self) -> u64 {
        self.faults.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.faults.syncs.load(Ordering::SeqCst)
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.files.lock().keys().cloned().collect()
    }

    pub(crate) fn edit(&self, path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
        let content = Arc::clone(&self.files.lock()[path]);
        let mut content = content.lock();
        edit(&mut content.live);
        content.synced = content.live.clone();
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.files.lock()[path].lock().live.clone()
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Mutex<Content>>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, path.display().to_string());
        self.files.lock().get(path).cloned().ok_or_else(missing)
    }
}

struct Held(MemoryDisk, PathBuf);
impl DiskLock for Held {}
impl Drop for Held {
    fn drop(&mut self) {
        self.0.locks.lock().remove(&self.1);
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.faults.step(path)?;
        let content = match mode {
            OpenMode::Read | OpenMode::Write => self.file(path)?,
            OpenMode::Create { len } | OpenMode::CreateSparse { len } => {
                assert!(self.dirs.lock().contains(path.parent().unwrap()), "{}", path.display());
                let mut files = self.files.lock();
                if files.contains_key(path) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let zeros = vec![0; usize::try_from(len).unwrap()];
                let content = Content { live: zeros.clone(), synced: zeros };
                Arc::clone(files.entry(path.to_owned()).or_insert(Arc::new(Mutex::new(content))))
            }
        };
        Ok(Arc::new(MemoryFile {
            path: path.to_owned(),
            content,
            faults: Arc::clone(&self.faults),
        }))
    }
    fn read(&self, path: &Path) -> io::Result<Bytes> {
        self.faults.step(path)?;
        Ok(self.file(path)?.lock().live.clone().into())
    }
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.faults.step(path)?;
        let content = Content { live: bytes.to_vec(), synced: bytes.to_vec() };
        self.files.lock().insert(path.to_owned(), Arc::new(Mutex::new(content)));
        Ok(())
    }
    fn exists(&self, path: &Path) -> bool {
        self.files.lock().contains_key(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.faults.step(dir)?;
        let modified =
            SystemTime::UNIX_EPOCH + Duration::from_secs(self.modified.load(Ordering::SeqCst));
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut entries: Vec<_> = self
            .dirs
            .lock()
            .iter()
            .filter(|path| path.parent() == Some(dir))
            .map(|path| DirEntry { name: name(path), len: 0, modified, is_dir: true })
            .collect();
        for (path, content) in self.files.lock().iter().filter(|(p, _)| p.parent() == Some(dir)) {
            let len = content.lock().live.len() as u64;
            entries.push(DirEntry { name: name(path), len, modified, is_dir: false });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.step(dir)?;
        self.dirs.lock().extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.faults.step(path)?;
        self.files.lock().remove(path);
        Ok(())
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.step(dir)?;
        self.files.lock().retain(|path, _| !path.starts_with(dir));
        self.dirs.lock().retain(|path| !path.starts_with(dir));
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.faults.step(from)?;
        let content = self.file(from)?;
        let mut files = self.files.lock();
        files.remove(from);
        files.insert(to.to_owned(), content);
        Ok(())
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.faults.step(dir)
    }
    fn usage(&self, dir: &Path) -> io::Result<Usage> {
        self.faults.step(dir)?;
        Ok(Usage::new(1 << 40, 1 << 39))
    }
    fn boot(&self) -> Option<String> {
        Some(format!("boot {}", self.boot))
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.faults.step(path)?;
        if !self.locks.lock().insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held(self.clone(), path.to_owned())))
    }
}

struct MemoryFile {
    path: PathBuf,
    content: Arc<Mutex<Content>>,
    faults: Arc<Faults>,
}

impl DiskFile for MemoryFile {
    fn len(&self) -> u64 {
        self.content.lock().live.len() as u64
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.faults.step(&self.path)?;
        let at = usize::try_from(offset).unwrap();
        let mut content = self.content.lock();
        let place = content.live.get_mut(at..at + bytes.len());
        place.ok_or(io::ErrorKind::UnexpectedEof)?.copy_from_slice(bytes);
        Ok(())
    }
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        into.copy_from_slice(&self.slice(offset, into.len())?);
        Ok(())
    }
    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.faults.step(&self.path)?;
        let at = usize::try_from(offset).unwrap();
        self.faults.reads.fetch_add(1, Ordering::SeqCst);
        let content = self.content.lock();
        let bytes = content.live.get(at..at + len).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Bytes::copy_from_slice(bytes))
    }
    fn unmap(&self) {
        self.faults.unmapped.fetch_add(1, Ordering::SeqCst);
    }
    fn is_cached(&self, _offset: u64, _len: usize) -> bool {
        !self.faults.cold.load(Ordering::SeqCst)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.step(&self.path)?;
        self.content.lock().live.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        let mut held = self.faults.held.lock();
        self.faults.waiting.fetch_add(1, Ordering::SeqCst);
        while *held {
            self.faults.released.wait(&mut held);
        }
        self.faults.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(held);
        if self.faults.fail_syncs.load(Ordering::SeqCst) == 1 {
            return Err(io::Error::other(format!("{}: failed as told", self.path.display())));
        }
        self.faults.step(&self.path)?;
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        let mut content = self.content.lock();
        content.synced = content.live.clone();
        Ok(())
    }
    fn write_back(&self, _offset: u64, _len: u64) {}
}
