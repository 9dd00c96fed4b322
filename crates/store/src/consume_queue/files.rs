//! The files of one consume queue, and the bound on how many are open in the whole store.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rmq_runtime::{Disk, DiskFile, OpenMode};

use super::extension_files::{ExtensionContext, ExtensionFiles};
use super::queue::Queue;
use super::unit::{UNIT_LEN, Unit, units};
use crate::layout;

/// Most queues that have files open at once.
const OPEN_MAX: usize = 256;
const CHUNK: usize = 64 << 10;
const SMALL_CHUNK: usize = 4 << 10;

/// A file that was used last, by its start.
type Open = Option<(u64, Arc<dyn DiskFile>)>;

/// The files of one queue. Positions are bytes from the queue's beginning.
#[derive(Default)]
pub(crate) struct QueueFiles {
    /// Where files begin; no gaps.
    starts: VecDeque<u64>,
    writing: Open,
    reading: Open,
    /// Files that were written since the last sync.
    unsynced: Vec<u64>,
    /// Whether directories were made since the last sync.
    fresh: bool,
    /// What entries stand for when their tags code is an address.
    extension: ExtensionFiles,
    /// The topic was deleted: nothing may be written any more.
    pub(crate) gone: bool,
}

/// What every queue needs to reach its files.
pub(crate) struct FileContext {
    pub(crate) disk: Arc<dyn Disk>,
    /// Directory of all consume queues.
    pub(crate) dir: PathBuf,
    /// Bytes of a file.
    pub(crate) file_len: u64,
    pub(crate) extension: ExtensionContext,
    /// Queues that have files open, the oldest first.
    pub(crate) open: Mutex<VecDeque<Weak<Queue>>>,
}

impl FileContext {
    /// Notes that a queue has opened a file, and closes those of another when it is one too many.
    fn opened(&self, queue: &Arc<Queue>) {
        let oldest = {
            let mut open = self.open.lock();
            open.push_back(Arc::downgrade(queue));
            if open.len() > OPEN_MAX { open.pop_front() } else { None }
        };
        // A queue whose files are in use this moment keeps them until it is the oldest again.
        if let Some(oldest) = oldest.and_then(|oldest| oldest.upgrade())
            && !Arc::ptr_eq(&oldest, queue)
        {
            match oldest.files.try_lock() {
                Some(mut files) => files.close(),
                None => self.open.lock().push_back(Arc::downgrade(&oldest)),
            }
        }
    }
}

/// What the files of a queue hold.
pub(crate) struct Scan {
    /// Number of the first entry of the first file.
    pub(crate) first: u64,
    /// Number after the last entry.
    pub(crate) end: u64,
    pub(crate) last: Option<Unit>,
    /// Entries or files are missing in the middle.
    pub(crate) gap: bool,
}

impl QueueFiles {
    fn close(&mut self) {
        self.writing = None;
        self.reading = None;
        self.extension.close();
    }

    fn path(context: &FileContext, queue: &Queue, start: u64) -> PathBuf {
        layout::queue_dir(&context.dir, &queue.key).join(layout::file_name(start))
    }

    fn start_of(context: &FileContext, position: u64) -> u64 {
        position - position % context.file_len
    }

    fn open(
        &mut self,
        context: &FileContext,
        queue: &Arc<Queue>,
        start: u64,
    ) -> io::Result<Arc<dyn DiskFile>> {
        for (at, file) in [&self.writing, &self.reading].into_iter().flatten() {
            if *at == start {
                return Ok(Arc::clone(file));
            }
        }
        let file = context.disk.open(&Self::path(context, queue, start), OpenMode::Write)?;
        if self.writing.is_none() && self.reading.is_none() {
            context.opened(queue);
        }
        Ok(file)
    }

    /// Whether up to `len` bytes of entries can be read without waiting for the disk.
    pub(crate) fn is_cached(
        &mut self,
        context: &FileContext,
        queue: &Arc<Queue>,
        position: u64,
        len: usize,
    ) -> io::Result<bool> {
        let start = Self::start_of(context, position);
        if !self.starts.contains(&start) {
            return Ok(true);
        }
        let file = self.open(context, queue, start)?;
        let is_cached = file.is_cached(position - start, len);
        if !matches!(&self.writing, Some((at, _)) if *at == start) {
            self.reading = Some((start, file));
        }
        Ok(is_cached)
    }

    /// Reads up to `into.len()` bytes of entries from a position on, within one file. 0 when no
    /// file has the position. Addresses are looked up in the queue's extension.
    pub(crate) fn read(
        &mut self,
        context: &FileContext,
        queue: &Arc<Queue>,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let len = self.read_raw(context, queue, position, into)?;
        let read = into.get_mut(..len).unwrap_or_default();
        self.extension.resolve(&*context.disk, &context.extension, &queue.key, read)?;
        Ok(len)
    }

    fn read_raw(
        &mut self,
        context: &FileContext,
        queue: &Arc<Queue>,
        position: u64,
        into: &mut [u8],
    ) -> io::Result<usize> {
        let start = Self::start_of(context, position);
        if !self.starts.contains(&start) {
            return Ok(0);
        }
        let file = self.open(context, queue, start)?;
        let within = position - start;
        let len = into.len().min(usize::try_from(context.file_len - within).unwrap_or(usize::MAX));
        let Some(into) = into.get_mut(..len) else { return Ok(0) };
        file.read_at(within, into)?;
        if !matches!(&self.writing, Some((at, _)) if *at == start) {
            self.reading = Some((start, file));
        }
        Ok(len)
    }

    /// Writes entries that lie within one file; makes the file when it is not there. The first
    /// file of a queue that begins above 0 is filled with blanks before its first entry.
    pub(crate) fn write(
        &mut self,
        context: &FileContext,
        queue: &Arc<Queue>,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let start = Self::start_of(context, position);
        let file = if self.starts.contains(&start) {
            self.open(context, queue, start)?
        } else {
            self.create(context, queue, start, position)?
        };
        if context.extension.file_len == 0 {
            file.write_at(position - start, bytes)?;
        } else {
            let mut bytes = bytes.to_vec();
            self.extension.extend(&*context.disk, &context.extension, &queue.key, &mut bytes)?;
            file.write_at(position - start, &bytes)?;
        }
        self.writing = Some((start, file));
        if !self.unsynced.contains(&start) {
            self.unsynced.push(start);
        }
        Ok(())
    }

    fn create(
        &mut self,
        context: &FileContext,
        queue: &Arc<Queue>,
        start: u64,
        first: u64,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let path = Self::path(context, queue, start);
        context.disk.create_dir(&layout::queue_dir(&context.dir, &queue.key))?;
        let mode = OpenMode::CreateSparse { len: context.file_len };
        let file = match context.disk.open(&path, mode) {
            // Left behind by a creation that failed half-way.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                context.disk.remove(&path)?;
                context.disk.open(&path, mode)?
            }
            other => other?,
        };
        if self.starts.is_empty() {
            let blanks = usize::try_from(first - start).unwrap_or(0) / UNIT_LEN;
            file.write_at(0, &Unit::BLANK.encode().repeat(blanks))?;
        }
        if self.writing.is_none() && self.reading.is_none() {
            context.opened(queue);
        }
        self.starts.push_back(start);
        self.fresh = true;
        Ok(file)
    }

    /// Makes all that was written durable, but for the directories above that of the queue.
    /// Whether those have to follow.
    pub(crate) fn sync(&mut self, context: &FileContext, queue: &Arc<Queue>) -> io::Result<bool> {
        self.extension.sync(&*context.disk)?;
        while let Some(start) = self.unsynced.last().copied() {
            self.open(context, queue, start)?.sync()?;
            self.unsynced.pop();
        }
        if self.fresh {
            context.disk.sync_dir(&layout::queue_dir(&context.dir, &queue.key))?;
        }
        Ok(std::mem::take(&mut self.fresh))
    }

    /// The whole file system is going to be synced: what was written is no longer this one's care.
    pub(crate) fn leave_to_volume(&mut self) {
        self.extension.leave_to_volume();
        self.unsynced.clear();
        self.fresh = false;
    }

    /// What was written from a position on may not be synced, and its files may be new.
    pub(crate) fn doubt_from(&mut self, context: &FileContext, position: u64) {
        let behind = |start: &u64| start.saturating_add(context.file_len) > position;
        self.unsynced = self.starts.iter().copied().filter(behind).collect();
        self.fresh |= self.starts.back().is_some_and(|start| *start >= position);
    }

    /// Finds the files and the end of the entries in them. Looks closely at the last three files,
    /// as Apache does, and at the last entry of the others; or only from the last of the entries
    /// `vouched` for. A file of a wrong length is an error, except an empty last one, which a crash
    /// leaves.
    pub(crate) fn load(
        &mut self,
        context: &FileContext,
        queue: &Arc<Queue>,
        vouched: Option<u64>,
    ) -> io::Result<Result<Scan, (PathBuf, String)>> {
        let dir = layout::queue_dir(&context.dir, &queue.key);
        let mut entries = context.disk.list(&dir)?;
        entries.retain(|entry| !entry.is_dir);
        if let Some(last) = entries.pop_if(|last| last.len == 0) {
            context.disk.remove(&dir.join(last.name))?;
        }
        let mut gap = false;
        for entry in entries {
            let path = dir.join(&entry.name);
            let Some(start) = layout::parse_file_name(&entry.name) else {
                return Ok(Err((path, "the name is no position".to_owned())));
            };
            if entry.len == 0 {
                // Its length never arrived, that of a later one has.
                gap = true;
                break;
            }
            if entry.len != context.file_len || !start.is_multiple_of(context.file_len) {
                let text = format!("does not fit mappedFileSizeConsumeQueue {}", context.file_len);
                return Ok(Err((path, text)));
            }
            if self.starts.back().is_some_and(|last| last.saturating_add(context.file_len) != start)
            {
                gap = true;
                break;
            }
            self.starts.push_back(start);
        }
        self.scan(context, queue, gap, vouched).map(Ok)
    }

    fn scan(
        &mut self,
        context: &FileContext,
        queue: &Arc<Queue>,
        mut gap: bool,
        vouched: Option<u64>,
    ) -> io::Result<Scan> {
        const UNIT: u64 = UNIT_LEN as u64;
        let first = self.starts.front().copied().unwrap_or(0);
        let mut end = first;
        let mut last: Option<Unit> = None;
        let close_from = self.starts.len().saturating_sub(3);
        let known = vouched.and_then(|vouched| vouched.checked_sub(1)).map(|last| last * UNIT);
        // Of what is vouched for little follows.
        let chunk = if known.is_some() { SMALL_CHUNK } else { CHUNK };
        let mut chunk = vec![0; chunk / UNIT_LEN * UNIT_LEN];
        for (index, start) in self.starts.clone().into_iter().enumerate() {
            let file_end = start + context.file_len;
            let mut position = match known {
                Some(known) if file_end <= known => continue,
                Some(known) => known.max(start),
                None if index < close_from => file_end - UNIT,
                None => start,
            };
            while position < file_end {
                let len = self.read_raw(context, queue, position, &mut chunk)?;
                let mut seen = 0;
                for unit in units(chunk.get(..len).unwrap_or_default()) {
                    // Positions in the log only grow along a queue.
                    let grows =
                        last.is_none_or(|last| last.is_blank() || unit.physical >= last.end());
                    if !grows && !unit.is_blank() {
                        break;
                    }
                    last = Some(unit);
                    seen += UNIT_LEN;
                }
                position += seen as u64;
                end = position;
                if seen < len {
                    // Later files would be out of reach.
                    gap |= index + 1 < self.starts.len();
                    return Ok(Scan { first: first / UNIT, end: end / UNIT, last, gap });
                }
            }
        }
        Ok(Scan { first: first / UNIT, end: end / UNIT, last, gap })
    }

    /// Zeroes what lies behind a position and removes the files that begin there or later.
    pub(crate) fn cut(
        &mut self,
        context: &FileContext,
        queue: &Arc<Queue>,
        at: u64,
    ) -> io::Result<()> {
        self.close();
        while let Some(start) = self.starts.pop_back_if(|start| *start >= at) {
            context.disk.remove(&Self::path(context, queue, start))?;
            self.unsynced.retain(|unsynced| *unsynced != start);
        }
        let Some(start) = self.starts.back().copied() else { return Ok(()) };
        let file = self.open(context, queue, start)?;
        let mut chunk = vec![0; CHUNK];
        let mut position = at.saturating_sub(start);
        while position < context.file_len {
            let len = CHUNK.min(usize::try_from(context.file_len - position).unwrap_or(CHUNK));
            let Some(part) = chunk.get_mut(..len) else { break };
            file.read_at(position, part)?;
            if part.iter().all(|byte| *byte == 0) {
                // Entries are written in a row: behind this nothing is that a reader can reach.
                break;
            }
            part.fill(0);
            file.write_at(position, part)?;
            position += len as u64;
        }
        self.unsynced.push(start);
        Ok(())
    }

    /// Removes all files, for good when `gone`.
    pub(crate) fn remove_all(
        &mut self,
        context: &FileContext,
        queue: &Queue,
        gone: bool,
    ) -> io::Result<()> {
        self.gone |= gone;
        self.close();
        self.starts.clear();
        self.unsynced.clear();
        self.extension.remove(&*context.disk, &context.extension, &queue.key)?;
        context.disk.remove_dir(&layout::queue_dir(&context.dir, &queue.key))
    }

    /// Removes the first file when it is not the last and its last entry's record is gone.
    pub(crate) fn remove_first_before(
        &mut self,
        context: &FileContext,
        queue: &Arc<Queue>,
        log_min: u64,
    ) -> io::Result<bool> {
        let Some(start) = self.starts.front().copied().filter(|_| self.starts.len() > 1) else {
            return Ok(false);
        };
        let mut bytes = [0; UNIT_LEN];
        let last = start + context.file_len - UNIT_LEN as u64;
        self.read_raw(context, queue, last, &mut bytes)?;
        if Unit::decode(&bytes).is_some_and(|unit| unit.physical >= log_min) {
            return Ok(false);
        }
        self.close();
        let gone = Unit::decode(&bytes).map_or(0, |unit| unit.tags_code);
        self.extension.expire(&*context.disk, &context.extension, &queue.key, gone)?;
        self.starts.pop_front();
        self.unsynced.retain(|unsynced| *unsynced != start);
        let path = Self::path(context, queue, start);
        context.disk.remove(&path)?;
        // Each by itself, so that no power loss leaves a gap.
        if let Some(dir) = path.parent() {
            context.disk.sync_dir(dir)?;
        }
        Ok(true)
    }
}
