//! Consume queues held against the log: each record in its entry, nothing but records in entries.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use rmq_message::record::RecordView;
use rmq_message::{CompactString, Timestamp, property};
use rmq_runtime::Disk;

use super::extension::Extension;
use super::files::Row;
use super::report::{Finding, Report, Severity};
use super::{Step, View};
use crate::api::QueueKey;
use crate::consume_queue::{UNIT_LEN, Unit};
use crate::dispatch::{DelayLevels, entry};
use crate::layout::Layout;

/// Findings about one queue; more are counted.
const TOLD_MAX: usize = 5;
const UNIT: u64 = UNIT_LEN as u64;
/// Entries that are read at once.
const CHUNK: usize = 4096;
const PART: &str = "consume queues";
/// Property with the offsets that light queues gave a message.
const LIGHT_OFFSETS: &str = "INNER_MULTI_QUEUE_OFFSET";
const LIGHT_PREFIX: &str = "%LMQ%";

const REBUILD: &str = "stop the broker and remove this queue's directory: the next start of rmq \
                       builds it again from the log";
const LAG: &str = "the next start adds or cuts what differs";

/// How far the entries of each queue go.
pub(super) type Ends = BTreeMap<QueueKey, u64>;

pub(super) struct Queues<'a> {
    walks: BTreeMap<QueueKey, Walk<'a>>,
    /// Records whose queue has no directory: how many, and where the first is.
    homeless: BTreeMap<QueueKey, (u64, u64)>,
    levels: DelayLevels,
}

/// An entry that a record must have.
struct Expected {
    number: u64,
    unit: Unit,
    stored: Timestamp,
    holds_time: bool,
}

impl<'a> Queues<'a> {
    pub(super) fn load(
        disk: &'a dyn Disk,
        layout: &Layout,
        report: &mut Report,
    ) -> io::Result<Self> {
        let mut walks = BTreeMap::new();
        for key in keys(disk, &layout.consume_queues())? {
            let dir = crate::layout::queue_dir(&layout.consume_queues(), &key);
            let extension = crate::layout::queue_dir(&layout.queue_extensions(), &key);
            let walk = Walk {
                row: Row::load(disk, dir, UNIT, report)?,
                extension: Extension::load(disk, extension, report)?,
                key: key.clone(),
                chunk: (0, Vec::new()),
                first: None,
                next: 0,
                missing: None,
                findings: Vec::new(),
                more: 0,
                entries: 0,
            };
            walks.insert(key, walk);
        }
        Ok(Self { walks, homeless: BTreeMap::new(), levels: DelayLevels(Vec::new()) })
    }

    /// Holds a record of the log against its entries.
    pub(super) fn takes(&mut self, record: &RecordView<'_>) -> io::Result<()> {
        let Some((key, offset, unit)) = entry(record, &self.levels) else { return Ok(()) };
        let holds_time = key.topic == rmq_message::name::SCHEDULE_TOPIC;
        let stored = record.store_timestamp;
        if let Ok(number) = u64::try_from(offset.0) {
            self.expect(key, Expected { number, unit, stored, holds_time })?;
        }
        let (Some(names), Some(offsets)) =
            (record.property(property::INNER_MULTI_DISPATCH), record.property(LIGHT_OFFSETS))
        else {
            return Ok(());
        };
        for (name, offset) in names.split(',').zip(offsets.split(',')) {
            if let Ok(number) = offset.parse()
                && name.starts_with(LIGHT_PREFIX)
                && !name.contains('/')
            {
                let key = QueueKey { topic: CompactString::new(name), queue_id: 0 };
                self.expect(key, Expected { number, unit, stored, holds_time: false })?;
            }
        }
        Ok(())
    }

    fn expect(&mut self, key: QueueKey, expected: Expected) -> io::Result<()> {
        match self.walks.get_mut(&key) {
            Some(walk) => walk.expect(&expected),
            None => {
                let place = (0, expected.unit.physical);
                self.homeless.entry(key).or_insert(place).0 += 1;
                Ok(())
            }
        }
    }

    /// Looks at what no record has asked for, and tells everything.
    pub(super) fn finish(
        self,
        view: &View<'_>,
        report: &mut Report,
        on_step: &mut dyn FnMut(Step),
    ) -> io::Result<Ends> {
        let total = self.walks.len() as u64;
        report.counts.queues += total;
        let mut ends = Ends::new();
        for (done, (key, mut walk)) in (0..).zip(self.walks) {
            on_step(Step { part: PART, done, total });
            let end = walk.finish(view)?;
            report.counts.entries += walk.entries;
            report.counts.extension_units += walk.extension.used();
            walk.findings.into_iter().for_each(|finding| report.add(finding));
            if walk.more > 0 {
                let text = format!("{} further findings about this queue are left out", walk.more);
                let severity = Severity::Damage;
                report.add(Finding::new(severity, &walk.row.dir, text, REBUILD).queue(&key));
            }
            ends.insert(key, end);
        }
        on_step(Step { part: PART, done: total, total });
        for (key, (count, first)) in &self.homeless {
            tell_homeless(view, key, *count, *first, report);
        }
        Ok(ends)
    }
}

fn tell_homeless(view: &View<'_>, key: &QueueKey, count: u64, first: u64, report: &mut Report) {
    let dir = crate::layout::queue_dir(&view.layout.consume_queues(), key);
    let text = format!("there is no such directory for {count} records from position {first} on");
    let finding = if view.unclean {
        Finding::note(&dir, text, "the next start makes it, unless the topic was deleted")
    } else if view.known.topics.contains(key.topic.as_str()) {
        let next = "if the topic was not deleted and made again: start rmq after removing \
                    `progress` and `checkpoint`, it builds all queues from the log";
        Finding::unchecked(&dir, text, next)
    } else {
        Finding::note(&dir, text, "nothing: the topic was deleted, and its records expire")
    };
    report.add(finding.queue(key));
}

/// All queues that have a directory.
pub(super) fn keys(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<QueueKey>> {
    let mut keys = Vec::new();
    for topic in disk.list(dir)?.into_iter().filter(|entry| entry.is_dir) {
        for queue in disk.list(&dir.join(&topic.name))? {
            if let Some(queue_id) = queue.name.parse().ok().filter(|_| queue.is_dir) {
                keys.push(QueueKey { topic: CompactString::new(&topic.name), queue_id });
            }
        }
    }
    keys.sort_unstable();
    Ok(keys)
}

/// One queue, followed while the log is read.
struct Walk<'a> {
    key: QueueKey,
    row: Row<'a>,
    extension: Extension<'a>,
    /// Entries read ahead: number of the first, and bytes.
    chunk: (u64, Vec<u8>),
    /// Number of the first record of the log.
    first: Option<u64>,
    /// Number after the last record.
    next: u64,
    /// The first entry that should be there and is not.
    missing: Option<u64>,
    findings: Vec<Finding>,
    more: u64,
    entries: u64,
}

impl Walk<'_> {
    fn tell(&mut self, severity: Severity, number: u64, problem: String, next: &'static str) {
        let (path, at) = self.row.place(number.saturating_mul(UNIT));
        if self.findings.len() < TOLD_MAX {
            let finding = Finding::new(severity, &path, problem, next).at(at).queue(&self.key);
            self.findings.push(finding);
        } else {
            self.more += 1;
        }
    }

    /// An entry; `None` where there is none.
    fn unit(&mut self, number: u64) -> io::Result<Option<Unit>> {
        let (first, bytes) = &self.chunk;
        let known = number.checked_sub(*first).and_then(|index| {
            let at = usize::try_from(index).ok()?.checked_mul(UNIT_LEN)?;
            bytes.get(at..at.checked_add(UNIT_LEN)?)
        });
        if let Some(bytes) = known {
            return Ok(Unit::decode(bytes));
        }
        let bytes = self.row.read(number.saturating_mul(UNIT), CHUNK.next_multiple_of(UNIT_LEN))?;
        // There may be more queues than a process may have open files.
        self.row.close();
        let unit = bytes.get(..UNIT_LEN).and_then(Unit::decode);
        self.chunk = (number, bytes);
        Ok(unit)
    }

    fn expect(&mut self, expected: &Expected) -> io::Result<()> {
        let Expected { number, unit, .. } = *expected;
        if number == 0 && self.first.is_some() {
            // The topic was deleted and made again: what came before has no entries any more.
            (self.first, self.missing, self.more, self.entries) = (None, None, 0, 0);
            self.findings.clear();
        }
        if self.first.is_some() && number != self.next {
            let text = format!(
                "the record at {} says that it is number {number}, and {} comes next",
                unit.physical, self.next
            );
            let next = "messages between them are gone from the log, or two have one number; \
                        restore the log from a replica";
            self.tell(Severity::Damage, number, text, next);
        }
        self.first.get_or_insert(number);
        self.next = number.saturating_add(1);
        let Some(found) = self.unit(number)? else {
            self.missing.get_or_insert(number);
            return Ok(());
        };
        if let Some(missing) = self.missing.take() {
            let text = format!("entries {missing} to {number} are missing, and others follow");
            self.tell(Severity::Damage, missing, text, REBUILD);
        }
        self.entries += 1;
        if (found.physical, found.size) != (unit.physical, unit.size) {
            let text = format!(
                "entry {number} points to {} bytes at {}, its record has {} at {}",
                found.size, found.physical, unit.size, unit.physical
            );
            self.tell(Severity::Damage, number, text, REBUILD);
            return Ok(());
        }
        let mut code = found.tags_code;
        if Extension::is_address(code) {
            match self.extension.unit(code)? {
                Some(unit) if unit.stored == expected.stored => code = unit.tags_code,
                Some(unit) => {
                    let text = format!(
                        "entry {number} stands for a message stored at {}, its extension for one \
                         at {}",
                        expected.stored, unit.stored
                    );
                    self.tell(Severity::Damage, number, text, REBUILD);
                    return Ok(());
                }
                None => {
                    let text = format!("entry {number} points to no unit of its extension");
                    self.tell(Severity::Damage, number, text, REBUILD);
                    return Ok(());
                }
            }
        }
        let is_time = expected.holds_time && code >= expected.stored.0;
        if code != unit.tags_code && !is_time {
            let text = format!(
                "entry {number} has tags code {code}, its record's tag has {}",
                unit.tags_code
            );
            self.tell(Severity::Damage, number, text, REBUILD);
        }
        Ok(())
    }

    /// Looks before the first and behind the last record; tells where the entries end.
    fn finish(&mut self, view: &View<'_>) -> io::Result<u64> {
        let log_begin = view.scanned.begin;
        let first_number = self.row.begin() / UNIT;
        if let Some(missing) = self.missing {
            let count = self.next - missing;
            let text = format!("{count} entries are missing from number {missing} on");
            let next = if view.unclean { LAG } else { REBUILD };
            self.tell(view.lag(), missing, text, next);
        }
        let mut number = first_number;
        let old_end = self.first.unwrap_or(u64::MAX);
        let mut last = 0;
        while number < old_end && number < self.row.end() / UNIT {
            let Some(unit) = self.unit(number)? else { break };
            if !unit.is_blank() {
                self.judge_stray(view, number, unit, log_begin, last);
                last = unit.end();
            }
            number += 1;
        }
        if self.first.is_none() {
            return Ok(number);
        }
        if number < old_end && number < self.row.end() / UNIT {
            let text = format!("entries {number} to {old_end} are missing, and others follow");
            self.tell(Severity::Damage, number, text, REBUILD);
        }
        if let Some(missing) = self.missing {
            return Ok(missing);
        }
        let mut number = self.next;
        while let Some(unit) = self.unit(number)? {
            self.judge_stray(view, number, unit, log_begin, 0);
            number += 1;
        }
        Ok(number)
    }

    /// An entry that no record of the log belongs to.
    fn judge_stray(&mut self, view: &View<'_>, number: u64, unit: Unit, log_begin: u64, last: u64) {
        if unit.physical < log_begin {
            if unit.physical < last {
                let text = format!(
                    "entry {number} points to {}, before the record of the entry before it",
                    unit.physical
                );
                self.tell(Severity::Damage, number, text, REBUILD);
            }
        } else if view.scanned.in_hole(unit.physical) {
            // Told with the log.
        } else if unit.end() > view.scanned.end {
            let text = format!(
                "entry {number} points to {}, and the log ends at {}",
                unit.physical, view.scanned.end
            );
            let next = if view.unclean {
                LAG
            } else {
                "the log has lost its end: restore it from a replica"
            };
            self.tell(view.lag(), number, text, next);
        } else {
            let text = format!("entry {number} points to no record of it, at {}", unit.physical);
            self.tell(Severity::Damage, number, text, REBUILD);
        }
    }
}
