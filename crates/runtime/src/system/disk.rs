//! The machine's file system.
#![expect(clippy::disallowed_methods, reason = "this is the seam")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::map;
use crate::disk::{DirEntry, Disk, DiskFile, DiskLock, OpenMode, Usage, Volume};

/// Bytes that the kernel keeps together at least.
const PAGE: u64 = 4096;
/// The type of an ext4 file system.
const EXT4: rustix::fs::FsWord = 0xEF53;
/// A random number that Linux draws when it starts.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemDisk;

/// Adds what was done and where to an error, keeping its kind.
fn at(path: &Path, doing: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |e| io::Error::new(e.kind(), format!("cannot {doing} {}: {e}", path.display()))
}

fn allocate(file: &File, len: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(()),
        // File systems without allocation: the length is all that can be had.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(len),
        Err(e) => Err(e.into()),
    }
}

impl SystemDisk {
    fn create(path: &Path, len: u64, allocated: bool) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let sized = if allocated && len > 0 { allocate(&file, len) } else { file.set_len(len) };
        if let Err(e) = sized {
            drop(file);
            fs::remove_file(path)?;
            return Err(e);
        }
        Ok(file)
    }
}

/// Whether a Linux of that release lets `syncfs` fail when a write has failed: from 5.8 on.
fn tells_failures(release: &str) -> bool {
    let mut numbers = release.split(|it: char| !it.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 8),
        _ => false,
    }
}

/// Only where one call is as good as an `fsync` of each file: failures of writes are told, and the
/// device empties its cache. Of other file systems (overlays, XFS) that is not known.
struct SystemVolume {
    file: File,
    path: PathBuf,
}

impl Volume for SystemVolume {
    fn sync(&self) -> io::Result<()> {
        rustix::fs::syncfs(&self.file)
            .map_err(|e| at(&self.path, "sync the file system of")(e.into()))
    }
}

impl Disk for SystemDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = match mode {
            OpenMode::Read => OpenOptions::new().read(true).open(path),
            OpenMode::Write => OpenOptions::new().read(true).write(true).open(path),
            OpenMode::Create { len } => Self::create(path, len, true),
            OpenMode::CreateSparse { len } => Self::create(path, len, false),
        }
        .map_err(at(path, "open"))?;
        let metadata = file.metadata().map_err(at(path, "look at"))?;
        if !metadata.is_file() {
            let text = format!("{} is not a regular file", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Arc::new(SystemFile {
            file,
            path: path.to_owned(),
            len: AtomicU64::new(metadata.len()),
            map: Mutex::new(None),
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Bytes> {
        fs::read(path).map(Bytes::from).map_err(at(path, "read"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let write = || {
            let mut file = File::create(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(at(path, "write"))
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let read = match fs::read_dir(dir) {
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(at(dir, "list")(e)),
        };
        let mut entries = Vec::new();
        for entry in read {
            let entry = entry.map_err(at(dir, "list"))?;
            let metadata = entry.metadata().map_err(at(&entry.path(), "look at"))?;
            entries.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                len: metadata.len(),
                modified: metadata.modified()?,
                is_dir: metadata.is_dir(),
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir).map_err(at(dir, "create"))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(path, "remove")(e)),
            _ => Ok(()),
        }
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(at(dir, "remove")(e)),
            _ => Ok(()),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(at(from, "rename"))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir, "sync"))
    }

    fn usage(&self, dir: &Path) -> io::Result<Usage> {
        let stat = rustix::fs::statvfs(dir).map_err(|e| at(dir, "look at")(e.into()))?;
        Ok(Usage {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bfree.saturating_mul(stat.f_frsize),
            usable: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn volume(&self, dir: &Path) -> io::Result<Option<Arc<dyn Volume>>> {
        let file = File::open(dir).map_err(at(dir, "open"))?;
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let is_ext4 = rustix::fs::fstatfs(&file).is_ok_and(|it| it.f_type == EXT4);
        let volume = (is_ext4 && tells_failures(&release))
            .then(|| Arc::new(SystemVolume { file, path: dir.to_owned() }) as _);
        Ok(volume)
    }

    fn boot(&self) -> Option<String> {
        let id = fs::read_to_string(BOOT_ID).ok()?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let take = || {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            // flock keeps out a second store of this process, the record lock Java's FileLock.
            rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
            let record = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            rustix::fs::fcntl_lock(&file, record).map_err(|e| match e {
                rustix::io::Errno::ACCESS => io::ErrorKind::WouldBlock.into(),
                e => io::Error::from(e),
            })?;
            if file.metadata()?.len() == 0 {
                file.write_all(b"lock")?;
            }
            Ok(file)
        };
        let file = take().map_err(at(path, "lock"))?;
        Ok(Box::new(FileLock { _file: file }))
    }
}

struct FileLock {
    _file: File,
}

impl DiskLock for FileLock {}

struct SystemFile {
    file: File,
    path: PathBuf,
    len: AtomicU64,
    /// The whole file, mapped at the first slice.
    map: Mutex<Option<Bytes>>,
}

impl SystemFile {
    fn check(&self, offset: u64, len: usize) -> io::Result<()> {
        let end = offset.checked_add(len as u64);
        if end.is_some_and(|end| end <= self.len()) {
            return Ok(());
        }
        let text = format!(
            "{} has {} bytes, {len} bytes at {offset} reach beyond",
            self.path.display(),
            self.len()
        );
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, text))
    }
}

impl DiskFile for SystemFile {
    fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len())?;
        self.file.write_all_at(bytes, offset).map_err(at(&self.path, "write"))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.check(offset, into.len())?;
        self.file.read_exact_at(into, offset).map_err(at(&self.path, "read"))
    }

    fn slice(&self, offset: u64, len: usize) -> io::Result<Bytes> {
        self.check(offset, len)?;
        if len == 0 {
            return Ok(Bytes::new());
        }
        let mut map = self.map.lock();
        let whole = match &*map {
            Some(whole) => whole,
            None => map.insert(map::map(&self.file).map_err(at(&self.path, "map"))?),
        };
        let range =
            usize::try_from(offset).ok().and_then(|from| Some(from..from.checked_add(len)?));
        match range {
            Some(range) if range.end <= whole.len() => Ok(whole.slice(range)),
            _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }
    }

    fn unmap(&self) {
        *self.map.lock() = None;
    }

    fn is_cached(&self, offset: u64, len: usize) -> bool {
        let end = offset.saturating_add(len as u64).min(self.len());
        let mut page = offset - offset % PAGE;
        while page < end {
            // A byte of each page; whoever finds it missing has also begun to read it in.
            let mut byte = [0];
            let read = rustix::io::preadv2(
                &self.file,
                &mut [io::IoSliceMut::new(&mut byte)],
                page,
                rustix::io::ReadWriteFlags::NOWAIT,
            );
            match read {
                Err(rustix::io::Errno::AGAIN) => return false,
                // Whoever cannot be asked is read the ordinary way.
                Err(_) => return true,
                Ok(_) => page += PAGE,
            }
        }
        true
    }

    fn data_from(&self, offset: u64) -> u64 {
        // Nobody uses the place that this moves: reads and writes say their own.
        match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(offset)) {
            Ok(at) => at,
            Err(rustix::io::Errno::NXIO) => self.len(),
            // File systems that cannot tell.
            Err(_) => offset,
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut map = self.map.lock();
        *map = None;
        self.file.set_len(len).map_err(at(&self.path, "resize"))?;
        self.len.store(len, Ordering::Release);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data().map_err(at(&self.path, "sync"))
    }

    fn write_back(&self, offset: u64, len: u64) {
        map::write_back(&self.file, offset, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_kernel_that_tells_failures_syncs_all_at_once() {
        for release in ["5.8", "5.10.0-21-amd64", "6.18.44-x", "10.0"] {
            assert!(tells_failures(release), "{release}");
        }
        for release in ["5.7.19", "4.19.0", "3.10.0-1160.el7", "", "x", "5", "5.x"] {
            assert!(!tells_failures(release), "{release}");
        }
    }

    #[test]
    fn slices_show_what_was_written_and_outlive_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = SystemDisk.open(&path, OpenMode::Create { len: 8192 }).unwrap();
        file.write_at(4000, b"hello").unwrap();
        let slice = file.slice(4000, 5).unwrap();
        drop(file);
        SystemDisk.remove(&path).unwrap();
        assert_eq!(&slice[..], b"hello");
    }

    #[test]
    fn what_was_just_written_is_cached_and_a_map_can_be_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = SystemDisk.open(&path, OpenMode::Create { len: 1 << 20 }).unwrap();
        file.write_at(4000, &[7; 9000]).unwrap();
        assert!(file.is_cached(4000, 9000));
        let slice = file.slice(4000, 5).unwrap();
        file.unmap();
        assert_eq!(&slice[..], [7; 5]);
        assert_eq!(&file.slice(12_999, 2).unwrap()[..], [7, 0]);
    }

    #[test]
    fn data_is_never_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = SystemDisk.open(&path, OpenMode::Create { len: 8 << 20 }).unwrap();
        file.write_at(5 << 20, b"a").unwrap();
        assert!(file.data_from(0) <= 5 << 20);
        assert_eq!(file.data_from(5 << 20), 5 << 20);
        file.sync().unwrap();
        assert!((0..=5 << 20).contains(&file.data_from(0)));
        assert!(((5 << 20) + 1..=8 << 20).contains(&file.data_from((5 << 20) + 1)));
        assert_eq!(file.data_from(8 << 20), 8 << 20);
    }

    #[test]
    fn nothing_is_read_or_written_beyond_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = SystemDisk.open(&path, OpenMode::CreateSparse { len: 10 }).unwrap();
        for error in [
            file.write_at(8, b"abc").unwrap_err(),
            file.read_at(u64::MAX, &mut [0]).unwrap_err(),
            file.slice(10, 1).unwrap_err(),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert!(error.to_string().contains("segment"));
        }
        assert_eq!(file.slice(10, 0).unwrap().len(), 0);
        file.set_len(12).unwrap();
        file.write_at(8, b"abc").unwrap();
        assert_eq!(&file.slice(7, 4).unwrap()[..], b"\0abc");
    }

    #[test]
    fn too_large_a_file_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let free = SystemDisk.usage(dir.path()).unwrap().free;
        let error =
            SystemDisk.open(&path, OpenMode::Create { len: free + (1 << 30) }).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(!SystemDisk.exists(&path));
    }

    #[test]
    fn a_lock_is_held_once_even_in_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = SystemDisk.lock(&path).unwrap();
        assert_eq!(SystemDisk.lock(&path).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(SystemDisk.lock(&path).is_ok());
        assert_eq!(&SystemDisk.read(&path).unwrap()[..], b"lock");
    }

    #[test]
    fn the_boot_has_one_name() {
        let name = SystemDisk.boot();
        assert_eq!(name, SystemDisk.boot());
        assert!(name.is_none_or(|name| name.len() >= 32), "a random number");
    }

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert!(SystemDisk.open(dir.path(), OpenMode::Read).is_err());
        assert_eq!(SystemDisk.list(&dir.path().join("none")).unwrap(), []);
        SystemDisk.create_dir(&dir.path().join("b/c")).unwrap();
        SystemDisk.write(&dir.path().join("a"), b"1").unwrap();
        let names: Vec<_> =
            SystemDisk.list(dir.path()).unwrap().into_iter().map(|e| (e.name, e.is_dir)).collect();
        assert_eq!(names, [("a".to_owned(), false), ("b".to_owned(), true)]);
    }
}
