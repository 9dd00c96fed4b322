//! The timer log, `timerlog/<20 digits>`: entries in the order in which they came, each pointing to
//! the one before it in its tick. Files are made as they are needed.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rmq_message::PhysicalOffset;
use rmq_runtime::{Disk, DiskFile, OpenMode};

use super::unit::{self, Unit};

/// What fills the rest of a file: its length, 0, and this.
const FILLER: i32 = i32::from_be_bytes([0xCB, 0xD4, 0x31, 0x94]);
const FILLER_LEN: u64 = 16;
/// Bytes of an entry.
const LEN: u64 = unit::LEN as u64;

/// What can be read of the log, here or elsewhere.
#[derive(Clone)]
pub(super) struct View {
    file_len: u64,
    files: BTreeMap<u64, Arc<dyn DiskFile>>,
    end: u64,
}

/// The log.
pub(super) struct TimerLog {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    view: View,
    /// Files written to, and whether one was made, since the last sync.
    unsynced: Vec<u64>,
    made: bool,
}

impl View {
    /// The entry at a position; `None` when there is none any more.
    pub(super) fn read(&self, at: u64) -> io::Result<Option<Unit>> {
        let Some((&start, file)) = self.files.range(..=at).next_back() else { return Ok(None) };
        if at + LEN > (start + self.file_len).min(self.end) {
            return Ok(None);
        }
        let mut bytes = [0; unit::LEN];
        file.read_at(at - start, &mut bytes)?;
        Ok(Unit::decode(&bytes))
    }

    /// The entries of a tick, the last of which stands there, in the order in which they came.
    pub(super) fn tick(&self, tick: i64, last: Option<u64>) -> io::Result<Vec<Unit>> {
        let (mut units, mut at) = (Vec::new(), last);
        while let Some(position) = at {
            let unit = self.read(position)?;
            let Some(unit) = unit.filter(|unit| unit.tick == tick) else {
                tracing::error!(tick, position, "the timer log has lost entries of a tick");
                break;
            };
            // Entries only point back.
            at = unit.before.filter(|before| *before < position);
            units.push(unit);
        }
        units.reverse();
        Ok(units)
    }
}

impl TimerLog {
    /// Opens what is there; its files tell their length, `file_len` is for new ones.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: PathBuf, file_len: u64) -> io::Result<Self> {
        let mut found = Vec::new();
        for entry in disk.list(&dir)? {
            if let Ok(start) = entry.name.parse::<u64>()
                && entry.name.len() == 20
                && !entry.is_dir
            {
                found.push((start, entry.len));
            }
        }
        found.sort_unstable();
        let file_len = found.first().map_or(file_len, |(_, len)| *len).max(LEN + FILLER_LEN);
        let mut log = Self {
            disk,
            dir,
            view: View {
                file_len,
                files: BTreeMap::new(),
                end: found.first().map_or(0, |(start, _)| *start),
            },
            unsynced: Vec::new(),
            made: false,
        };
        for (start, len) in found {
            // Only an unbroken row of whole files is a log.
            if start % file_len != 0
                || len != file_len
                || log.view.files.last_key_value().is_some_and(|(last, _)| last + file_len != start)
            {
                tracing::warn!(
                    start,
                    len,
                    "a file of the timer log does not fit and is left alone"
                );
                break;
            }
            let file = log.disk.open(&log.path(start), OpenMode::Write)?;
            log.view.files.insert(start, file);
        }
        Ok(log)
    }

    fn path(&self, start: u64) -> PathBuf {
        self.dir.join(format!("{start:020}"))
    }

    /// The end of the log.
    pub(super) fn end(&self) -> u64 {
        self.view.end
    }

    /// Walks over the entries from the beginning up to `to`, or to where there is none, which
    /// becomes the end. What an earlier life has left behind the end is wiped out, so that nobody
    /// takes it for entries.
    pub(super) fn walk(&mut self, to: u64, mut each: impl FnMut(u64, Unit)) -> io::Result<()> {
        while self.view.end < to {
            let Some(unit) = self.stands_at_end()? else { break };
            each(self.view.end, unit);
            self.view.end += LEN;
        }
        let end = self.view.end;
        while self.stands_at_end()?.is_some() {
            self.write(self.view.end, &[0; unit::LEN])?;
            self.view.end += LEN;
        }
        self.view.end = end;
        Ok(())
    }

    /// The entry at the end, which moves to the next file where this one has no room for it.
    fn stands_at_end(&mut self) -> io::Result<Option<Unit>> {
        let start = self.view.end - self.view.end % self.view.file_len;
        let (start, at) = if start + self.view.file_len - self.view.end < LEN + FILLER_LEN {
            (start + self.view.file_len, start + self.view.file_len)
        } else {
            (start, self.view.end)
        };
        let Some(file) = self.view.files.get(&start) else { return Ok(None) };
        let mut bytes = [0; unit::LEN];
        file.read_at(at - start, &mut bytes)?;
        let unit = Unit::decode(&bytes);
        if unit.is_some() {
            self.view.end = at;
        }
        Ok(unit)
    }

    /// The log as it stands.
    pub(super) fn view(&self) -> View {
        self.view.clone()
    }

    /// Writes an entry at the end; its position.
    pub(super) fn append(&mut self, unit: &Unit) -> io::Result<u64> {
        let start = self.view.end - self.view.end % self.view.file_len;
        let room = start + self.view.file_len - self.view.end;
        if room < LEN + FILLER_LEN {
            self.fill(start, room)?;
            self.view.end = start + self.view.file_len;
        }
        let at = self.view.end;
        self.write(at, &unit.encode())?;
        self.view.end = at + LEN;
        Ok(at)
    }

    fn fill(&mut self, start: u64, room: u64) -> io::Result<()> {
        if room < FILLER_LEN || !self.view.files.contains_key(&start) {
            return Ok(());
        }
        let mut filler = [0; 16];
        {
            use bytes::BufMut;
            let mut out = &mut filler[..];
            out.put_i32(i32::try_from(room).unwrap_or(i32::MAX));
            out.put_i64(0);
            out.put_i32(FILLER);
        }
        self.write(self.view.end, &filler)
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let start = at - at % self.view.file_len;
        if !self.view.files.contains_key(&start) {
            self.disk.create_dir(&self.dir)?;
            let mode = OpenMode::CreateSparse { len: self.view.file_len };
            let file = self.disk.open(&self.path(start), mode)?;
            self.view.files.insert(start, file);
            self.made = true;
        }
        let Some(file) = self.view.files.get(&start) else { return Ok(()) };
        file.write_at(at - start, bytes)?;
        if self.unsynced.last() != Some(&start) {
            self.unsynced.push(start);
        }
        Ok(())
    }

    /// What has to be synced: files, and whether the directory has changed.
    pub(super) fn unsynced(&self) -> (Vec<Arc<dyn DiskFile>>, Option<PathBuf>) {
        let files = self.unsynced.iter().filter_map(|start| self.view.files.get(start).cloned());
        (files.collect(), self.made.then(|| self.dir.clone()))
    }

    /// It is.
    pub(super) fn synced(&mut self) {
        self.unsynced.clear();
        self.made = false;
    }

    /// Removes files whose last message is no longer in the commit log.
    pub(super) fn expire(&mut self, min: PhysicalOffset) -> io::Result<()> {
        while self.view.files.len() > 1 {
            let Some((&start, _)) = self.view.files.first_key_value() else { return Ok(()) };
            let last = (self.view.file_len - LEN - FILLER_LEN) / LEN * LEN;
            let is_gone = match self.view.read(start + last)? {
                Some(unit) => unit.message.0.saturating_add_signed(unit.len.into()) <= min.0,
                None => false,
            };
            if !is_gone {
                return Ok(());
            }
            self.view.files.remove(&start);
            self.disk.remove(&self.path(start))?;
        }
        Ok(())
    }
}
