//! Files of one queue's extension: units are appended when entries are written, and looked up when
//! entries are read, so that everybody above sees plain tags codes. A unit that is lost or was never
//! written leaves its entry with an address, which every filter admits.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rmq_message::{Timestamp, record};
use rmq_runtime::{Disk, DiskFile, OpenMode};

use super::extension::{ExtensionUnit, address, is_address, position};
use super::unit::{UNIT_LEN, Unit};
use crate::api::QueueKey;
use crate::layout;

/// Bytes that a unit leaves free at the end of a file.
const END_LEN: u64 = 4;
/// Instead of a unit at the end of a file.
const END: [u8; 2] = (-1_i16).to_be_bytes();
const UNIT: u64 = ExtensionUnit::LEN_MIN as u64;
/// Bytes of a record in which its store time lies.
const HEAD_LEN: usize = 80;
/// Queues of these topics keep plain codes.
const LIGHT_PREFIX: &str = "%LMQ%";

/// What extensions of all queues have in common.
#[derive(Debug, Default)]
pub(crate) struct ExtensionContext {
    /// Directory of all of them.
    pub(crate) dir: PathBuf,
    /// Bytes of a file; 0 when units are only read.
    pub(crate) file_len: u64,
    /// Where records are, for their store times.
    pub(crate) log_dir: PathBuf,
    pub(crate) log_file_len: u64,
}

impl ExtensionContext {
    /// When the record at a position of the log was stored.
    fn stored(&self, disk: &dyn Disk, open: &mut Open, at: u64) -> io::Result<Timestamp> {
        let start = at - at.checked_rem(self.log_file_len).unwrap_or(0);
        let file = open_at(disk, &self.log_dir, open, start)?;
        let mut head = [0; HEAD_LEN];
        file.read_at(at - start, &mut head)?;
        record::store_timestamp(&head).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// A file that was used last, by its start.
type Open = Option<(u64, Arc<dyn DiskFile>)>;

fn open_at(
    disk: &dyn Disk,
    dir: &Path,
    open: &mut Open,
    start: u64,
) -> io::Result<Arc<dyn DiskFile>> {
    if let Some((at, file)) = open
        && *at == start
    {
        return Ok(Arc::clone(file));
    }
    let file = disk.open(&dir.join(layout::file_name(start)), OpenMode::Write)?;
    *open = Some((start, Arc::clone(&file)));
    Ok(file)
}

/// The extension of one queue; looks at its directory when it is first needed.
#[derive(Default)]
pub(crate) struct ExtensionFiles {
    found: Option<Found>,
}

struct Found {
    dir: PathBuf,
    /// Where files begin.
    starts: VecDeque<u64>,
    /// Bytes of each.
    len: u64,
    /// Behind the last unit.
    end: u64,
    open: Open,
    unsynced: Vec<u64>,
    /// Whether directories were made since the last sync.
    fresh: bool,
}

impl ExtensionFiles {
    fn found(
        &mut self,
        disk: &dyn Disk,
        context: &ExtensionContext,
        queue: &QueueKey,
    ) -> io::Result<&mut Found> {
        let found = match self.found.take() {
            Some(found) => found,
            None => Found::look(disk, context, queue)?,
        };
        Ok(self.found.insert(found))
    }

    /// Puts plain tags codes in the place of addresses.
    pub(crate) fn resolve(
        &mut self,
        disk: &dyn Disk,
        context: &ExtensionContext,
        queue: &QueueKey,
        entries: &mut [u8],
    ) -> io::Result<()> {
        for entry in entries.chunks_exact_mut(UNIT_LEN) {
            if let Some(unit) = Unit::decode(entry).filter(|unit| is_address(unit.tags_code))
                && let Some(found) = self.found(disk, context, queue)?.unit(disk, unit.tags_code)?
            {
                entry.copy_from_slice(&Unit { tags_code: found.tags_code, ..unit }.encode());
            }
        }
        Ok(())
    }

    /// Writes units for entries, and puts their addresses in the place of tags codes.
    pub(crate) fn extend(
        &mut self,
        disk: &dyn Disk,
        context: &ExtensionContext,
        queue: &QueueKey,
        entries: &mut [u8],
    ) -> io::Result<()> {
        if context.file_len == 0 || queue.topic.starts_with(LIGHT_PREFIX) {
            return Ok(());
        }
        let mut log = None;
        for entry in entries.chunks_exact_mut(UNIT_LEN) {
            let Some(unit) = Unit::decode(entry).filter(|unit| !unit.is_blank()) else { continue };
            let store_timestamp = context.stored(disk, &mut log, unit.physical)?;
            let extended = ExtensionUnit { tags_code: unit.tags_code, store_timestamp };
            let at = self.found(disk, context, queue)?.append(disk, context, &extended)?;
            if let Some(tags_code) = address(at) {
                entry.copy_from_slice(&Unit { tags_code, ..unit }.encode());
            }
        }
        Ok(())
    }

    /// Makes all units durable; to be done before the entries that point to them.
    pub(crate) fn sync(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let Some(found) = &mut self.found else { return Ok(()) };
        while let Some(start) = found.unsynced.last().copied() {
            open_at(disk, &found.dir, &mut found.open, start)?.sync()?;
            found.unsynced.pop();
        }
        if found.fresh {
            for dir in found.dir.ancestors().take(3) {
                disk.sync_dir(dir)?;
            }
            found.fresh = false;
        }
        Ok(())
    }

    /// See [`QueueFiles::leave_to_volume`](super::files::QueueFiles::leave_to_volume).
    pub(crate) fn leave_to_volume(&mut self) {
        if let Some(found) = &mut self.found {
            found.unsynced.clear();
            found.fresh = false;
        }
    }

    pub(crate) fn close(&mut self) {
        if let Some(found) = &mut self.found {
            found.open = None;
        }
    }

    /// Removes files whose units lie before that of an entry.
    pub(crate) fn expire(
        &mut self,
        disk: &dyn Disk,
        context: &ExtensionContext,
        queue: &QueueKey,
        tags_code: i64,
    ) -> io::Result<()> {
        if !is_address(tags_code) {
            return Ok(());
        }
        let found = self.found(disk, context, queue)?;
        found.open = None;
        while let Some(start) = found.starts.front().copied().filter(|start| {
            found.starts.len() > 1 && start.saturating_add(found.len) <= position(tags_code)
        }) {
            disk.remove(&found.dir.join(layout::file_name(start)))?;
            disk.sync_dir(&found.dir)?;
            found.starts.pop_front();
            found.unsynced.retain(|unsynced| *unsynced != start);
        }
        Ok(())
    }

    /// Removes everything.
    pub(crate) fn remove(
        &mut self,
        disk: &dyn Disk,
        context: &ExtensionContext,
        queue: &QueueKey,
    ) -> io::Result<()> {
        self.found = None;
        disk.remove_dir(&layout::queue_dir(&context.dir, queue))
    }
}

impl Found {
    fn look(disk: &dyn Disk, context: &ExtensionContext, queue: &QueueKey) -> io::Result<Self> {
        let dir = layout::queue_dir(&context.dir, queue);
        let mut found = Self {
            dir,
            starts: VecDeque::new(),
            len: context.file_len,
            end: 0,
            open: None,
            unsynced: Vec::new(),
            fresh: false,
        };
        for entry in disk.list(&found.dir)?.into_iter().filter(|entry| !entry.is_dir) {
            let Some(start) = layout::parse_file_name(&entry.name) else { continue };
            if found.starts.is_empty() {
                found.len = entry.len;
            }
            let follows = found.starts.back().is_none_or(|last| last + found.len == start);
            if entry.len != found.len || entry.len == 0 || !follows {
                // What lies behind can neither be reached nor be trusted.
                break;
            }
            found.starts.push_back(start);
        }
        if let Some(last) = found.starts.back().copied() {
            found.end = found.end_in(disk, last)?;
        }
        Ok(found)
    }

    /// Behind the last unit of a file.
    fn end_in(&mut self, disk: &dyn Disk, start: u64) -> io::Result<u64> {
        let mut at = start;
        while let Some((len, unit)) = self.head(disk, at)? {
            if unit.is_none() {
                return Ok(start.saturating_add(self.len));
            }
            at += len;
        }
        Ok(at)
    }

    /// Length and unit at a position, no unit at the end of a file; nothing where nothing is.
    fn head(
        &mut self,
        disk: &dyn Disk,
        at: u64,
    ) -> io::Result<Option<(u64, Option<ExtensionUnit>)>> {
        let Some(start) = at.checked_rem(self.len).map(|within| at - within) else {
            return Ok(None);
        };
        if !self.starts.contains(&start) {
            return Ok(None);
        }
        let left = self.len - (at - start);
        let mut bytes = [0; ExtensionUnit::LEN_MIN];
        let len = usize::try_from(left).unwrap_or(bytes.len()).min(bytes.len());
        let Some(part) = bytes.get_mut(..len) else { return Ok(None) };
        open_at(disk, &self.dir, &mut self.open, start)?.read_at(at - start, part)?;
        if part.starts_with(&END) {
            return Ok(Some((left, None)));
        }
        let size = part.first_chunk().map_or(0, |size| u64::from(u16::from_be_bytes(*size)));
        let unit = ExtensionUnit::decode(part).filter(|_| size <= left);
        Ok(unit.map(|unit| (size, Some(unit))))
    }

    fn unit(&mut self, disk: &dyn Disk, tags_code: i64) -> io::Result<Option<ExtensionUnit>> {
        Ok(self.head(disk, position(tags_code))?.and_then(|(_, unit)| unit))
    }

    /// Writes a unit behind the last; tells where.
    fn append(
        &mut self,
        disk: &dyn Disk,
        context: &ExtensionContext,
        unit: &ExtensionUnit,
    ) -> io::Result<u64> {
        let within = self.end.checked_rem(self.len).unwrap_or(0);
        if self.starts.back().is_some_and(|last| *last + within == self.end)
            && within + UNIT + END_LEN > self.len
        {
            let start = self.end - within;
            if within + END.len() as u64 <= self.len {
                open_at(disk, &self.dir, &mut self.open, start)?.write_at(within, &END)?;
                self.written(start);
            }
            self.end = start + self.len;
        }
        let start = self.end - self.end.checked_rem(self.len).unwrap_or(0);
        if !self.starts.contains(&start) {
            self.create(disk, context, start)?;
        }
        let at = self.end;
        open_at(disk, &self.dir, &mut self.open, start)?.write_at(at - start, &unit.encode())?;
        self.written(start);
        self.end = at + UNIT;
        Ok(at)
    }

    fn written(&mut self, start: u64) {
        if !self.unsynced.contains(&start) {
            self.unsynced.push(start);
        }
    }

    fn create(
        &mut self,
        disk: &dyn Disk,
        context: &ExtensionContext,
        start: u64,
    ) -> io::Result<()> {
        if self.starts.is_empty() {
            self.len = context.file_len;
        }
        disk.create_dir(&self.dir)?;
        let path = self.dir.join(layout::file_name(start));
        let mode = OpenMode::CreateSparse { len: self.len };
        let file = match disk.open(&path, mode) {
            // Left behind by a creation that failed half-way, or not to be trusted.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(&path)?;
                disk.open(&path, mode)?
            }
            other => other?,
        };
        self.open = Some((start, file));
        self.starts.push_back(start);
        self.fresh = true;
        Ok(())
    }
}
