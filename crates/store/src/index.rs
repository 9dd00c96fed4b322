//! The key index: finds messages by unique id, business key or tag. Derived from the log, lags
//! behind it a little, and may be deleted: it is rebuilt in the background (INV-11).
//!
//! The youngest file is filled in RAM (its slots, and items up to 64 KiB) and is whole on disk only
//! when full or after a clean stop; after any other end it is made anew from the log.

pub(crate) mod file;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_message::record::RecordView;
use rmq_message::{Timestamp, java, properties, property, sys_flag};
use rmq_runtime::{Clock, Disk, OpenMode};

use crate::api::{KeyKind, KeyQuery};
use crate::config::Config;
use crate::layout;
use file::{Geometry, Header, IndexFile};

/// Stands between topic and tag in the text of a tag's key.
const TAG_MARK: &str = "T#";

pub(crate) struct KeyIndex {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    dir: PathBuf,
    geometry: Geometry,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By age; only the last is filled.
    files: Vec<IndexFile>,
    /// Store time of the last record of the last full file, which is synced.
    sealed: Timestamp,
    /// Position of that record.
    sealed_at: Option<u64>,
}

/// Which files are whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Vouched {
    /// All: the store was stopped cleanly.
    All,
    /// Those whose last record lies at or before that position, none without one.
    UpTo(Option<u64>),
    /// Those whose last record was stored at or before that time: Apache's rule.
    StoredBy(Timestamp),
}

impl Vouched {
    fn for_file(self, header: &Header) -> bool {
        match self {
            Self::All => true,
            Self::UpTo(at) => {
                at.is_some_and(|at| u64::try_from(header.end_at).is_ok_and(|end| end <= at))
            }
            Self::StoredBy(time) => header.end <= time,
        }
    }
}

/// Hash of `topic#key`: 31 bits.
fn hash(topic: i32, kind: KeyKind, key: &str) -> u32 {
    let prefix = java::hash_more(topic, "#");
    let prefix = match kind {
        KeyKind::Key => prefix,
        KeyKind::Tag => java::hash_more(prefix, TAG_MARK),
    };
    // Java's `abs` of the smallest integer stays negative and becomes 0 there.
    java::hash_more(prefix, key).checked_abs().map_or(0, i32::unsigned_abs)
}

/// What a record is found by, in the order in which Apache indexes it.
#[derive(Default)]
struct Keys<'a> {
    unique: Option<&'a str>,
    keys: Option<&'a str>,
    tag: Option<&'a str>,
}

impl<'a> Keys<'a> {
    fn of(record: &RecordView<'a>) -> Self {
        let mut found = Self::default();
        for (name, value) in properties::pairs(record.properties) {
            let place = match name {
                _ if name == property::UNIQ_KEY.as_bytes() => &mut found.unique,
                _ if name == property::KEYS.as_bytes() => &mut found.keys,
                _ if name == property::TAGS.as_bytes() => &mut found.tag,
                _ => continue,
            };
            *place = std::str::from_utf8(value).ok();
        }
        found
    }

    fn into_iter(self) -> impl Iterator<Item = (KeyKind, &'a str)> {
        let keys = self.keys.into_iter().flat_map(|keys| keys.split(' '));
        let keys = self.unique.into_iter().chain(keys).map(|key| (KeyKind::Key, key));
        let all = keys.chain(self.tag.map(|tag| (KeyKind::Tag, tag)));
        all.filter(|(_, key)| !key.is_empty())
    }
}

/// Hashes under which a record is indexed, in their order.
pub(crate) fn hashes(record: &RecordView<'_>) -> impl Iterator<Item = u32> {
    let rolled_back = sys_flag::transaction(record.sys_flag) == sys_flag::TRANSACTION_ROLLBACK;
    let keys = if rolled_back { Keys::default() } else { Keys::of(record) };
    let topic = java::hash(record.topic);
    keys.into_iter().map(move |(kind, key)| hash(topic, kind, key))
}

impl KeyIndex {
    /// Opens the files, and removes those that are not vouched for or reach beyond `log_end`, where
    /// the recovered log ends, and those after them.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        dir: PathBuf,
        config: &Config,
        vouched: Vouched,
        log_end: u64,
    ) -> io::Result<Self> {
        let geometry = Geometry { slots: config.max_hash_slot_num, items: config.max_index_num };
        let mut files: Vec<IndexFile> = Vec::new();
        let remove = |path: &Path| {
            tracing::info!(path = %path.display(), "index file is rebuilt from the log");
            disk.remove(path)
        };
        for entry in disk.list(&dir)?.into_iter().filter(|entry| !entry.is_dir) {
            let path = dir.join(&entry.name);
            let file = if entry.len == geometry.file_len() {
                IndexFile::load(path.clone(), disk.open(&path, OpenMode::Write)?, geometry)?
            } else {
                None
            };
            match file {
                Some(file) => files.push(file),
                None => remove(&path)?,
            }
        }
        // Not by name: names are times, and the clock may have been set back.
        files.sort_by_key(|file| (file.header.begin_at, file.header.end_at));
        let is_kept = |before: Option<&IndexFile>, file: &IndexFile| {
            before.is_none_or(|before| before.header.end_at <= file.header.end_at)
                && u64::try_from(file.header.end_at).is_ok_and(|at| at < log_end)
                && vouched.for_file(&file.header)
        };
        let kept = (0..files.len())
            .find(|index| {
                let before = index.checked_sub(1).and_then(|before| files.get(before));
                !files.get(*index).is_some_and(|file| is_kept(before, file))
            })
            .unwrap_or(files.len());
        for file in files.drain(kept..).rev() {
            remove(&file.path)?;
        }
        let full = files.iter().rfind(|file| file.is_full()).map(|file| file.header);
        let state = State {
            sealed: full.map_or(Timestamp(0), |full| full.end),
            sealed_at: full.and_then(|full| u64::try_from(full.end_at).ok()),
            files,
        };
        Ok(Self { disk, clock, dir, geometry, state: Mutex::new(state) })
    }

    /// Position of the last record it has, where indexing goes on; `None` when it is empty.
    pub(crate) fn resumes_at(&self) -> Option<u64> {
        let state = self.state.lock();
        let last = state.files.iter().rev().find(|file| !file.is_empty())?;
        u64::try_from(last.header.end_at).ok()
    }

    /// Store time of the last record of the last full file.
    pub(crate) fn sealed(&self) -> Timestamp {
        self.state.lock().sealed
    }

    /// Position of the last record of the last full file, which is synced.
    pub(crate) fn sealed_at(&self) -> Option<u64> {
        self.state.lock().sealed_at
    }

    /// Position and store time of the youngest record it has.
    pub(crate) fn youngest(&self) -> (u64, Timestamp) {
        let state = self.state.lock();
        state.files.last().map_or((0, Timestamp(0)), |last| {
            (u64::try_from(last.header.end_at).unwrap_or(0), last.header.end)
        })
    }

    /// Adds a record under all its keys. Does nothing for one that it has (INV-13).
    pub(crate) fn apply(&self, record: &RecordView<'_>) -> io::Result<()> {
        if sys_flag::transaction(record.sys_flag) == sys_flag::TRANSACTION_ROLLBACK {
            return Ok(());
        }
        let at = record.physical_offset.to_i64();
        let mut state = self.state.lock();
        let last_at = state.files.last().filter(|last| !last.is_empty()).map(|it| it.header.end_at);
        if last_at.is_some_and(|last_at| at < last_at) {
            return Ok(());
        }
        let keys = Keys::of(record);
        let topic = java::hash(record.topic);
        let half_done = last_at == Some(at);
        for (kind, key) in keys.into_iter() {
            let hash = hash(topic, kind, key);
            if half_done && Self::has(&state, hash, at)? {
                continue;
            }
            let file = self.fillable(&mut state)?;
            file.put(hash, at, record.store_timestamp)?;
        }
        Ok(())
    }

    fn has(state: &State, hash: u32, at: i64) -> io::Result<bool> {
        let mut found = false;
        for file in state.files.iter().rev().take(2) {
            file.walk(hash, (Timestamp(i64::MIN), Timestamp(i64::MAX)), |seen| {
                found |= i64::try_from(seen) == Ok(at);
                Ok(ControlFlow::Break(()))
            })?;
        }
        Ok(found)
    }

    /// The youngest file, or a new one when it is full.
    fn fillable<'s>(&self, state: &'s mut State) -> io::Result<&'s mut IndexFile> {
        if state.files.last().is_none_or(IndexFile::is_full) {
            let before = match state.files.last_mut() {
                Some(full) => {
                    full.flush()?;
                    full.rest();
                    state.sealed = full.header.end;
                    state.sealed_at = u64::try_from(full.header.end_at).ok();
                    Some(full.header)
                }
                None => None,
            };
            let fresh = self.create(&Header::new(before.as_ref()))?;
            state.files.push(fresh);
        }
        state.files.last_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create(&self, header: &Header) -> io::Result<IndexFile> {
        self.disk.create_dir(&self.dir)?;
        let mut local = Timestamp::from(self.clock.wall()) + self.clock.utc_offset_ms();
        loop {
            let path = self.dir.join(layout::index_name(local));
            let mode = OpenMode::CreateSparse { len: self.geometry.file_len() };
            match self.disk.open(&path, mode) {
                Ok(file) => {
                    self.disk.sync_dir(&self.dir)?;
                    return Ok(IndexFile::new(path, file, self.geometry, *header));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => local = local + 1,
                Err(e) => return Err(e),
            }
        }
    }

    /// Makes everything durable.
    pub(crate) fn flush(&self) -> io::Result<()> {
        match self.state.lock().files.last_mut() {
            Some(last) => last.flush(),
            None => Ok(()),
        }
    }

    /// Positions of messages that may have a key, the youngest first, each once, until `visit`
    /// says that it is enough. Only hashes are compared: `visit` must look at the record.
    pub(crate) fn find(
        &self,
        query: &KeyQuery<'_>,
        mut visit: impl FnMut(u64) -> io::Result<ControlFlow<()>>,
    ) -> io::Result<()> {
        let hash = hash(java::hash(query.topic), query.kind, query.key);
        let state = self.state.lock();
        let mut enough = false;
        for file in state.files.iter().rev() {
            let header = &file.header;
            if header.begin <= query.end && query.begin <= header.end + 1000 {
                file.walk(hash, (query.begin, query.end), |at| {
                    let flow = visit(at)?;
                    enough = flow.is_break();
                    Ok(flow)
                })?;
            }
            if enough || header.begin < query.begin {
                break;
            }
        }
        Ok(())
    }

    /// Removes files that only point before `log_min`; never the last.
    pub(crate) fn expire(&self, log_min: u64) -> io::Result<usize> {
        let mut state = self.state.lock();
        let mut removed = 0;
        while state.files.len() > 1
            && let Some(first) = state.files.first()
            && u64::try_from(first.header.end_at).is_ok_and(|at| at < log_min)
        {
            self.disk.remove(&first.path)?;
            state.files.remove(0);
            removed += 1;
        }
        Ok(removed)
    }
}

/// Whether a record is one that was asked for.
pub(crate) fn answers(record: &RecordView<'_>, query: &KeyQuery<'_>) -> bool {
    record.topic == query.topic
        && (query.begin..=query.end).contains(&record.store_timestamp)
        && Keys::of(record).into_iter().any(|(kind, key)| kind == query.kind && key == query.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_apache() {
        assert_eq!(hash(java::hash("T"), KeyKind::Key, "k"), 81_916);
        assert_eq!(hash(java::hash("TopicTest"), KeyKind::Key, "k1"), 2_746_024);
        assert_eq!(hash(java::hash("StoreA"), KeyKind::Tag, "tagA"), 721_898_247);
    }
}
