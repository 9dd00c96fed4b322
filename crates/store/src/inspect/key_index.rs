//! The key index held against itself (counts, chains) and against the log, item by item.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use rmq_message::record::RecordView;
use rmq_runtime::{Disk, DiskFile, OpenMode};

use super::log::{Log, Scanned};
use super::report::{Finding, Report, Severity};
use super::{Step, View};
use crate::index::file::{Geometry, Header, Item};
use crate::index::hashes;

const PART: &str = "key index";
const REBUILD: &str = "stop the broker and remove the directory `index`: rmq builds it again from \
                       the log in the background";
const LAG: &str = "the next start builds the youngest file again";
const TOLD_MAX: usize = 5;
/// Items that are read at once.
const CHUNK: u32 = 4096;

/// One index file, read only.
pub(super) struct IndexReader {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    geometry: Geometry,
    file: std::sync::Arc<dyn DiskFile>,
}

/// The files by age. Those of another length than expected are told.
pub(super) fn open(
    disk: &dyn Disk,
    dir: &Path,
    geometry: Geometry,
    report: &mut Report,
) -> io::Result<Vec<IndexReader>> {
    let mut files = Vec::new();
    for entry in disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir) {
        let path = dir.join(&entry.name);
        if entry.len != geometry.file_len() {
            let text = format!(
                "has {} bytes; files of {} slots and {} items have {}",
                entry.len,
                geometry.slots,
                geometry.items,
                geometry.file_len()
            );
            let next = "tell the broker's maxHashSlotNum and maxIndexNum with --config or --set; \
                        with others the next start of rmq builds the index again";
            report.add(Finding::unchecked(&path, text, next));
            continue;
        }
        let file = disk.open(&path, OpenMode::Read)?;
        let mut bytes = [0; 40];
        file.read_at(0, &mut bytes)?;
        files.push(IndexReader { path, header: Header::decode(&bytes), geometry, file });
    }
    // A header that was not written yet is the youngest file's.
    files.sort_by_key(|file| (file.header.next == 0, file.header.begin_at, file.header.end_at));
    Ok(files)
}

impl IndexReader {
    /// Items from a number on, a chunk of them.
    pub(super) fn items(&self, from: u32) -> io::Result<Vec<Item>> {
        let to = self.header.next.min(self.geometry.items).min(from.saturating_add(CHUNK));
        let len = to.saturating_sub(from) as usize * Item::LEN;
        let mut bytes = vec![0; len];
        self.file.read_at(self.geometry.item_at(from), &mut bytes)?;
        Ok(bytes.chunks_exact(Item::LEN).filter_map(Item::decode).collect())
    }

    fn slots(&self) -> io::Result<Vec<u32>> {
        let mut bytes = vec![0; self.geometry.slots as usize * 4];
        self.file.read_at(Geometry::slot_at(0), &mut bytes)?;
        let slots = bytes.chunks_exact(4).filter_map(|bytes| bytes.first_chunk());
        Ok(slots.map(|bytes| u32::from_be_bytes(*bytes)).collect())
    }
}

pub(super) fn check(
    disk: &dyn Disk,
    log: &mut Log<'_>,
    view: &View<'_>,
    report: &mut Report,
    on_step: &mut dyn FnMut(Step),
) -> io::Result<()> {
    let dir = view.layout.index();
    let geometry = Geometry { slots: view.known.index_slots, items: view.known.index_items };
    let files = open(disk, &dir, geometry, report)?;
    let unknown = disk.list(&dir)?.iter().filter(|entry| !entry.is_dir).count() > files.len();
    report.counts.index_files = files.len() as u64;
    let mut keyed = Keyed::new(view.scanned);
    let total = files.len() as u64;
    for (index, file) in files.iter().enumerate() {
        on_step(Step { part: PART, done: index as u64, total });
        let lag = if index + 1 == files.len() { view.lag() } else { Severity::Damage };
        let mut look = Look { file, lag, told: 0, more: 0 };
        let sane = (1..=geometry.items).contains(&file.header.next)
            && (0..=file.header.end_at).contains(&file.header.begin_at);
        if !sane {
            look.tell(0, format!("its header makes no sense: {:?}", file.header), report);
            continue;
        }
        look.chains(report)?;
        look.records(log, &mut keyed, report)?;
        if look.more > 0 {
            let text = format!("{} further findings about this file are left out", look.more);
            report.add(Finding::new(lag, &file.path, text, REBUILD));
        }
        report.counts.index_items += u64::from(file.header.next.saturating_sub(1));
    }
    on_step(Step { part: PART, done: total, total });
    if unknown {
        return Ok(());
    }
    tell_rest(log, &mut keyed, view, &files, report)
}

/// What no file has.
fn tell_rest(
    log: &mut Log<'_>,
    keyed: &mut Keyed<'_>,
    view: &View<'_>,
    files: &[IndexReader],
    report: &mut Report,
) -> io::Result<()> {
    let dir = view.layout.index();
    let first = keyed.peek(log)?;
    let mut rest = 0_u64;
    while keyed.next(log)?.is_some() {
        rest += 1;
    }
    let Some((at, _)) = first else { return Ok(()) };
    let finding = if files.is_empty() {
        let text = format!("no key of {rest} is in an index");
        Finding::note(
            &dir,
            text,
            "fine with messageIndexEnable=false; else a start of rmq makes it",
        )
    } else {
        let text = format!("{rest} keys of records from {at} on are not in it");
        Finding::new(view.lag(), &dir, text, if view.unclean { LAG } else { REBUILD })
    };
    report.add(finding);
    Ok(())
}

struct Look<'a> {
    file: &'a IndexReader,
    /// What a difference means.
    lag: Severity,
    told: usize,
    more: u64,
}

impl Look<'_> {
    fn tell(&mut self, at: u64, problem: String, report: &mut Report) {
        if self.told >= TOLD_MAX {
            self.more += 1;
            return;
        }
        self.told += 1;
        let next = if self.lag == Severity::Note { LAG } else { REBUILD };
        report.add(Finding::new(self.lag, &self.file.path, problem, next).at(at));
    }

    /// Every item is the youngest of its slot, or before one that is; nothing else is in a slot.
    fn chains(&mut self, report: &mut Report) -> io::Result<()> {
        let file = self.file;
        let geometry = file.geometry;
        let mut youngest = vec![0_u32; geometry.slots as usize];
        let mut number = 1;
        while number < file.header.next {
            let items = file.items(number)?;
            if items.is_empty() {
                break;
            }
            for item in items {
                let slot = item.hash.checked_rem(geometry.slots).unwrap_or(0) as usize;
                let Some(before) = youngest.get_mut(slot) else { continue };
                let expected = std::mem::replace(before, number);
                if item.before != expected {
                    let text = if item.before >= number {
                        format!("item {number} is followed by {}, a circle", item.before)
                    } else {
                        format!(
                            "item {number} is followed by {}, and {expected} is the one before in \
                             its slot",
                            item.before
                        )
                    };
                    self.tell(geometry.item_at(number), text, report);
                }
                number += 1;
            }
        }
        let slots = file.slots()?;
        let (mut used, mut slot) = (0, 0);
        for (found, expected) in slots.iter().zip(&youngest) {
            // A number that is not given yet counts as none.
            let found = if *found < file.header.next { *found } else { 0 };
            used += i64::from(*expected != 0);
            if found != *expected {
                let text = format!("slot {slot} holds item {found}, its youngest is {expected}");
                self.tell(Geometry::slot_at(slot), text, report);
            }
            slot += 1;
        }
        if i64::from(file.header.used_slots) != used {
            let text = format!("says {} used slots, {used} are", file.header.used_slots);
            // Nothing reads it.
            let next = "nothing; no one goes by this number";
            report.add(Finding::note(&file.path, text, next).at(32));
        }
        Ok(())
    }

    /// Every item points to a record with its key, and no key between them is left out.
    fn records(
        &mut self,
        log: &mut Log<'_>,
        keyed: &mut Keyed<'_>,
        report: &mut Report,
    ) -> io::Result<()> {
        let file = self.file;
        let mut number = 1;
        while number < file.header.next {
            let items = file.items(number)?;
            if items.is_empty() {
                break;
            }
            for item in items {
                self.item(number, item, log, keyed, report)?;
                number += 1;
            }
        }
        Ok(())
    }

    fn item(
        &mut self,
        number: u32,
        item: Item,
        log: &mut Log<'_>,
        keyed: &mut Keyed<'_>,
        report: &mut Report,
    ) -> io::Result<()> {
        let place = self.file.geometry.item_at(number);
        let Ok(at) = u64::try_from(item.at) else {
            self.tell(place, format!("item {number} points to {}", item.at), report);
            return Ok(());
        };
        if at < keyed.scanned.begin {
            return Ok(());
        }
        keyed.begin(at);
        let (mut left_out, mut first) = (0_u64, 0);
        while let Some((expected, _)) = keyed.peek(log)?.filter(|(expected, _)| *expected < at) {
            first = if left_out == 0 { expected } else { first };
            left_out += 1;
            keyed.next(log)?;
        }
        if left_out > 0 {
            let text = format!(
                "{left_out} keys of records from {first} on are left out before item {number}"
            );
            self.tell(place, text, report);
        }
        if keyed.peek(log)? == Some((at, item.hash)) {
            keyed.next(log)?;
            return Ok(());
        }
        // Indexed twice, which recovery may do, or wrong.
        let record = log.record_at(at)?;
        let has_key = record
            .as_ref()
            .and_then(|bytes| RecordView::parse(bytes).ok())
            .is_some_and(|record| hashes(&record).any(|hash| hash == item.hash));
        if !has_key && !keyed.scanned.in_hole(at) {
            let text = match record {
                Some(_) => format!("item {number} points to {at}, which has no such key"),
                None => format!("item {number} points to {at}, where no record begins"),
            };
            self.tell(place, text, report);
        }
        Ok(())
    }
}

/// Positions and hashes of all keys of the log, in the order in which they are indexed.
struct Keyed<'a> {
    scanned: &'a Scanned,
    at: Option<u64>,
    waiting: VecDeque<(u64, u32)>,
}

impl<'a> Keyed<'a> {
    fn new(scanned: &'a Scanned) -> Self {
        Self { scanned, at: None, waiting: VecDeque::new() }
    }

    /// Begins there, unless it has begun: what is older was not to be indexed, or has gone.
    fn begin(&mut self, at: u64) {
        self.at.get_or_insert(at);
    }

    fn peek(&mut self, log: &mut Log<'_>) -> io::Result<Option<(u64, u32)>> {
        let mut at = *self.at.get_or_insert(self.scanned.begin);
        while self.waiting.is_empty() && at < self.scanned.end {
            if let Some((_, to)) =
                self.scanned.holes.iter().find(|(from, to)| (*from..*to).contains(&at))
            {
                at = *to;
                continue;
            }
            let Some(bytes) = log.record_at(at)? else {
                // The blank that ends a file.
                at = log.row.find(at).map_or(self.scanned.end, |start| start + log.row.len);
                continue;
            };
            if let Ok(record) = RecordView::parse(&bytes) {
                self.waiting.extend(hashes(&record).map(|hash| (at, hash)));
            }
            at += bytes.len() as u64;
        }
        self.at = Some(at);
        Ok(self.waiting.front().copied())
    }

    fn next(&mut self, log: &mut Log<'_>) -> io::Result<Option<(u64, u32)>> {
        self.peek(log)?;
        Ok(self.waiting.pop_front())
    }
}
