//! The files of the commit log: one row without gaps, each of one length, named by the position of
//! its first byte (INV-09). Finds, rolls, and removes from either end.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rmq_runtime::{DirEntry, Disk, DiskFile, OpenMode, canary};

use crate::layout;
use crate::local::OpenError;

/// Files that may be mapped at once, however small the memory.
const MAPPED_MIN: usize = 8;

/// One file of the log. Opened when first used.
pub(crate) struct Segment {
    pub(crate) start: u64,
    pub(crate) len: u64,
    pub(crate) path: PathBuf,
    disk: Arc<dyn Disk>,
    file: OnceLock<Arc<dyn DiskFile>>,
    maps: Arc<Maps>,
}

/// The files that are mapped. Beyond a bound the oldest is unmapped: page tables of a map take
/// memory, and what is far behind the end is read seldom.
struct Maps {
    max: usize,
    files: Mutex<Vec<(u64, Weak<dyn DiskFile>)>>,
}

impl Maps {
    /// Notes that the file of the segment that begins at `start` has been mapped.
    fn note(&self, start: u64, file: &Arc<dyn DiskFile>) {
        let mut files = self.files.lock();
        if files.iter().any(|(noted, _)| *noted == start) {
            return;
        }
        if files.len() >= self.max
            && let Some(oldest) =
                (0..files.len()).min_by_key(|index| files.get(*index).map(|it| it.0))
            && let Some(file) = files.swap_remove(oldest).1.upgrade()
        {
            file.unmap();
        }
        files.push((start, Arc::downgrade(file)));
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Segment({})", self.path.display())
    }
}

impl Segment {
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    pub(crate) fn file(&self) -> io::Result<&Arc<dyn DiskFile>> {
        match self.file.get() {
            Some(file) => Ok(file),
            None => {
                let file = self.disk.open(&self.path, OpenMode::Write)?;
                Ok(self.file.get_or_init(|| file))
            }
        }
    }

    /// Bytes from a position of the log on; an error when they reach beyond the file.
    pub(crate) fn slice(&self, at: u64, len: usize) -> io::Result<Bytes> {
        let Some(position) = at.checked_sub(self.start) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let file = self.file()?;
        let slice = file.slice(position, len)?;
        self.maps.note(self.start, file);
        Ok(slice)
    }

    /// Whether bytes from a position of the log on can be had without waiting for the disk.
    pub(crate) fn is_cached(&self, at: u64, len: usize) -> io::Result<bool> {
        Ok(self.file()?.is_cached(at.saturating_sub(self.start), len))
    }
}

pub(crate) struct SegmentedLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    len: u64,
    segments: RwLock<VecDeque<Arc<Segment>>>,
    /// The file after the last, made ahead of need.
    next: Mutex<Option<Arc<Segment>>>,
    maps: Arc<Maps>,
}

impl SegmentedLog {
    /// Looks at the directory. A last file of no length is removed (a crash while it was made);
    /// any other length than the configured, and a gap, is an error. About `mapped_max` bytes are
    /// mapped at once.
    pub(crate) fn load(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        len: u64,
        mapped_max: u64,
    ) -> Result<Self, OpenError> {
        let max = usize::try_from(mapped_max / len.max(1)).unwrap_or(MAPPED_MIN).max(MAPPED_MIN);
        let maps = Arc::new(Maps { max, files: Mutex::default() });
        let log =
            Self { disk, dir, len, segments: RwLock::default(), next: Mutex::default(), maps };
        let mut entries = log.disk.list(&log.dir)?;
        entries.retain(|entry| !entry.is_dir);
        if let Some(last) = entries.pop_if(|last| last.len == 0) {
            log.disk.remove(&log.dir.join(last.name))?;
        }
        let mut segments = VecDeque::new();
        for entry in entries {
            let path = log.dir.join(&entry.name);
            let problem = |problem: String| OpenError::File { path: path.clone(), problem };
            let start = layout::parse_file_name(&entry.name)
                .ok_or_else(|| problem("the name is no position".to_owned()))?;
            if entry.len != len {
                let text = format!("has {} bytes, mappedFileSizeCommitLog is {len}", entry.len);
                return Err(problem(text));
            }
            if let Some(last) = segments.back().map(|last: &Arc<Segment>| last.end())
                && last != start
            {
                return Err(problem(format!("a file that begins at {last} is missing before it")));
            }
            segments.push_back(log.segment(start, OnceLock::new()));
        }
        *log.segments.write() = segments;
        Ok(log)
    }

    fn segment(&self, start: u64, file: OnceLock<Arc<dyn DiskFile>>) -> Arc<Segment> {
        let path = self.dir.join(layout::file_name(start));
        let (disk, maps) = (Arc::clone(&self.disk), Arc::clone(&self.maps));
        Arc::new(Segment { start, len: self.len, path, disk, file, maps })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn segment_len(&self) -> u64 {
        self.len
    }

    /// The segment that contains the position, or none (INV-10).
    pub(crate) fn find(&self, at: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let mut distance = at.checked_sub(segments.front()?.start);
        if canary("RS-05 a removed file is taken for its neighbour") {
            distance = Some(at.saturating_sub(segments.front()?.start));
        }
        let distance = distance?;
        let index = usize::try_from(distance / self.len).ok()?;
        segments.get(index).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.segments.read().iter().cloned().collect()
    }

    pub(crate) fn last(&self) -> Option<Arc<Segment>> {
        self.segments.read().back().cloned()
    }

    /// First position of the log; 0 when there are no files.
    pub(crate) fn min(&self) -> u64 {
        self.segments.read().front().map_or(0, |first| first.start)
    }

    fn create(&self, start: u64) -> io::Result<Arc<Segment>> {
        self.disk.create_dir(&self.dir)?;
        let path = self.dir.join(layout::file_name(start));
        let mode = OpenMode::Create { len: self.len };
        let file = match self.disk.open(&path, mode) {
            // Left behind by a creation that failed half-way.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(&path)?;
                self.disk.open(&path, mode)?
            }
            other => other?,
        };
        // The length first: a file that is there without it would be in the way of the next start.
        if let Err(error) = file.sync().and_then(|()| self.sync_dir()) {
            // Half made it must not be taken for a file of the log by the next start.
            drop(self.disk.remove(&path));
            return Err(error);
        }
        Ok(self.segment(start, OnceLock::from(file)))
    }

    /// Makes creations and removals of files durable. Each by itself, so that no power loss leaves
    /// a gap (INV-09).
    pub(crate) fn sync_dir(&self) -> io::Result<()> {
        self.disk.sync_dir(&self.dir)
    }

    fn remove(&self, segment: &Segment) -> io::Result<()> {
        self.disk.remove(&segment.path)?;
        if canary("INV-09 removals in any order") {
            return Ok(());
        }
        self.sync_dir()
    }

    fn next_start(&self) -> u64 {
        self.segments.read().back().map_or(0, |last| last.end())
    }

    /// Makes the file after the last, unless it is there.
    pub(crate) fn prepare(&self) -> io::Result<()> {
        let mut next = self.next.lock();
        if next.is_none() {
            *next = Some(self.create(self.next_start())?);
        }
        Ok(())
    }

    /// Goes on to the next file: the prepared one, or one that is made now.
    pub(crate) fn roll(&self) -> io::Result<Arc<Segment>> {
        let mut next = self.next.lock();
        let segment = match next.take() {
            Some(segment) => segment,
            None => self.create(self.next_start())?,
        };
        self.segments.write().push_back(Arc::clone(&segment));
        Ok(segment)
    }

    /// Removes what holds nothing: the prepared file.
    pub(crate) fn discard_prepared(&self) -> io::Result<()> {
        match self.next.lock().take() {
            Some(next) => self.remove(&next),
            None => Ok(()),
        }
    }

    /// Removes the files that begin at or behind a position.
    pub(crate) fn remove_from(&self, at: u64) -> io::Result<()> {
        while let Some(last) = self.last().filter(|last| last.start >= at) {
            self.remove(&last)?;
            self.segments.write().pop_back();
        }
        Ok(())
    }

    /// Whether there is a first file that is not the last, that lies before `end`, and whose last
    /// change is such.
    pub(crate) fn first_has(
        &self,
        end: u64,
        such: impl Fn(SystemTime) -> bool,
    ) -> io::Result<bool> {
        let first = {
            let segments = self.segments.read();
            match segments.front() {
                Some(first) if segments.len() > 1 && first.end() <= end => {
                    layout::file_name(first.start)
                }
                _ => return Ok(false),
            }
        };
        let entries = self.disk.list(&self.dir)?;
        let is_such = |entry: &DirEntry| {
            such(entry.modified) || canary("RS-06 a young file goes with the old")
        };
        Ok(entries.iter().find(|entry| entry.name == first).is_none_or(is_such))
    }

    /// Removes the first file. Readers lose it before the disk does (INV-10).
    pub(crate) fn remove_first(&self) -> io::Result<()> {
        let first = self.segments.write().pop_front();
        first.map_or(Ok(()), |first| self.remove(&first))
    }
}
