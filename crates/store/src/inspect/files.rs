//! A row of files: each of one length, named by the position of its first byte.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rmq_runtime::{Disk, DiskFile, OpenMode};

use super::report::{Finding, Report};
use crate::layout;

const RESTORE: &str = "restore the file from a replica or a backup";
const REMOVE: &str = "move it away: nothing in it can be reached";

pub(super) struct Row<'a> {
    disk: &'a dyn Disk,
    pub(super) dir: PathBuf,
    /// Where files begin.
    pub(super) starts: Vec<u64>,
    /// Bytes of each.
    pub(super) len: u64,
    /// The one that was read last.
    open: Option<(u64, Arc<dyn DiskFile>)>,
}

impl<'a> Row<'a> {
    /// Finds the files. Those whose name, length or place is wrong are reported.
    pub(super) fn load(
        disk: &'a dyn Disk,
        dir: PathBuf,
        unit: u64,
        report: &mut Report,
    ) -> io::Result<Self> {
        let mut entries = disk.list(&dir)?;
        entries.retain(|entry| !entry.is_dir);
        let mut row = Self { disk, dir, starts: Vec::new(), len: 0, open: None };
        if let Some(last) = entries.pop_if(|last| last.len == 0) {
            let path = row.dir.join(&last.name);
            report.add(Finding::note(&path, "is empty", "the next start removes it"));
        }
        for entry in entries {
            let path = row.dir.join(&entry.name);
            let Some(start) = layout::parse_file_name(&entry.name) else {
                let text = "its name is no position of 20 digits, and the store does not start";
                report.add(Finding::damage(&path, text, REMOVE));
                continue;
            };
            if row.len == 0 {
                row.len = entry.len;
            }
            let fits = entry.len == row.len && entry.len.is_multiple_of(unit) && entry.len > 0;
            if !fits || !start.is_multiple_of(entry.len) {
                let text = format!(
                    "has {} bytes and begins at {start}; its neighbours have {} bytes each",
                    entry.len, row.len
                );
                report.add(Finding::damage(&path, text, RESTORE));
                continue;
            }
            if let Some(last) = row.starts.last().map(|last| last + row.len)
                && last != start
            {
                let text = format!("the file that begins at {last} is missing before it");
                report.add(Finding::damage(&path, text, RESTORE));
            }
            row.starts.push(start);
        }
        Ok(row)
    }

    pub(super) fn begin(&self) -> u64 {
        self.starts.first().copied().unwrap_or(0)
    }

    pub(super) fn end(&self) -> u64 {
        self.starts.last().map_or(0, |last| last + self.len)
    }

    /// Start of the file that has a position.
    pub(super) fn find(&self, at: u64) -> Option<u64> {
        let start = at.checked_sub(at.checked_rem(self.len)?)?;
        self.starts.binary_search(&start).is_ok().then_some(start)
    }

    /// The file that begins there.
    pub(super) fn path(&self, start: u64) -> PathBuf {
        self.dir.join(layout::file_name(start))
    }

    /// File and byte in it of a position, to tell where something is.
    pub(super) fn place(&self, at: u64) -> (PathBuf, u64) {
        match self.find(at) {
            Some(start) => (self.path(start), at - start),
            None => (self.dir.clone(), at),
        }
    }

    fn file(&mut self, start: u64) -> io::Result<Arc<dyn DiskFile>> {
        match &self.open {
            Some((open, file)) if *open == start => Ok(Arc::clone(file)),
            _ => {
                let file = self.disk.open(&self.path(start), OpenMode::Read)?;
                self.open = Some((start, Arc::clone(&file)));
                Ok(file)
            }
        }
    }

    /// Lets go of the open file, for rows of which there may be many.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// Everything from a position to the end of its file; nothing when no file has it.
    pub(super) fn rest(&mut self, at: u64) -> io::Result<Bytes> {
        let Some(start) = self.find(at) else { return Ok(Bytes::new()) };
        let file = self.file(start)?;
        let len = file.len().min(self.len).saturating_sub(at - start);
        file.slice(at - start, usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// Up to `len` bytes from a position, within one file; a copy, nothing is mapped.
    pub(super) fn read(&mut self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let Some(start) = self.find(at) else { return Ok(Vec::new()) };
        let left = self.len - (at - start);
        let mut bytes = vec![0; len.min(usize::try_from(left).unwrap_or(len))];
        self.file(start)?.read_at(at - start, &mut bytes)?;
        Ok(bytes)
    }
}
