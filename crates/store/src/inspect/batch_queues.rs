//! Batch consume queues (`queue.type=BatchCQ`): 46 bytes an entry, one for each record.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | physical offset |
//! | 4 | size |
//! | 8 | tags code |
//! | 8 | store time |
//! | 8 | offset of the first message |
//! | 2 | messages |
//! | 4, 4 | compacted offset (-1), reserved (0) |

use std::collections::BTreeMap;
use std::io;

use rmq_message::record::RecordView;
use rmq_message::{CompactString, property, sys_flag};
use rmq_runtime::Disk;

use super::View;
use super::files::Row;
use super::report::{Finding, Report};
use crate::api::QueueKey;
use crate::commit_log::writer::is_queued;
use crate::layout::{self, Layout};

const UNIT_LEN: usize = 46;
const UNIT: u64 = UNIT_LEN as u64;
const NEXT: &str = "restore the directory from a replica, or have Apache build it from the log";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BatchUnit {
    physical: u64,
    size: u32,
    stored: i64,
    base: i64,
    count: i16,
}

impl BatchUnit {
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (physical, rest) = bytes.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (_tags_code, rest) = rest.split_first_chunk::<8>()?;
        let (stored, rest) = rest.split_first_chunk::<8>()?;
        let (base, rest) = rest.split_first_chunk::<8>()?;
        let size = u32::try_from(i32::from_be_bytes(*size)).ok().filter(|size| *size > 0)?;
        Some(Self {
            physical: u64::try_from(i64::from_be_bytes(*physical)).ok()?,
            size,
            stored: i64::from_be_bytes(*stored),
            base: i64::from_be_bytes(*base),
            count: i16::from_be_bytes(*rest.first_chunk()?),
        })
    }

    fn of(record: &RecordView<'_>) -> Option<Self> {
        let number = |name| record.property(name).and_then(|text| text.parse::<i64>().ok());
        let is_batch = record.sys_flag & sys_flag::INNER_BATCH != 0;
        let (base, count) = if is_batch {
            (number(property::INNER_BASE)?, i16::try_from(number(property::INNER_NUM)?).ok()?)
        } else {
            (record.queue_offset.0, 1)
        };
        Some(Self {
            physical: record.physical_offset.0,
            size: u32::try_from(record.total_len).ok()?,
            stored: record.store_timestamp.0,
            base,
            count,
        })
    }
}

struct Walk<'a> {
    row: Row<'a>,
    /// Where the next entry is; none before the first record.
    at: Option<u64>,
    findings: Vec<Finding>,
    missing: u64,
}

pub(super) struct BatchQueues<'a> {
    walks: BTreeMap<QueueKey, Walk<'a>>,
}

impl<'a> BatchQueues<'a> {
    pub(super) fn load(
        disk: &'a dyn Disk,
        layout: &Layout,
        report: &mut Report,
    ) -> io::Result<Self> {
        let root = layout.batch_consume_queues();
        let mut walks = BTreeMap::new();
        for key in super::queues::keys(disk, &root)? {
            let row = Row::load(disk, layout::queue_dir(&root, &key), UNIT, report)?;
            walks.insert(key, Walk { row, at: None, findings: Vec::new(), missing: 0 });
        }
        report.counts.queues += walks.len() as u64;
        Ok(Self { walks })
    }

    /// Whether the record belongs into one of these; if so it is held against its entry.
    pub(super) fn takes(&mut self, record: &RecordView<'_>) -> io::Result<bool> {
        let topic = CompactString::new(record.topic);
        let key = QueueKey { topic, queue_id: record.queue_id };
        let Some(walk) = self.walks.get_mut(&key) else { return Ok(false) };
        if let Some(expected) = BatchUnit::of(record).filter(|_| is_queued(record.sys_flag)) {
            walk.expect(&key, expected)?;
        }
        Ok(true)
    }

    pub(super) fn finish(self, view: &View<'_>, report: &mut Report) -> io::Result<()> {
        for (key, mut walk) in self.walks {
            if walk.missing > 0 {
                let text = format!("{} entries are missing at the end", walk.missing);
                let finding = Finding::new(view.lag(), &walk.row.dir, text, NEXT);
                walk.findings.push(finding.queue(&key));
            } else if let Some(unit) = walk.unit(walk.at.unwrap_or(walk.row.begin()))?
                && unit.physical >= view.scanned.begin
                && !view.scanned.in_hole(unit.physical)
            {
                let text = format!("an entry points to {} and no record is there", unit.physical);
                let (path, at) = walk.row.place(walk.at.unwrap_or(0));
                let finding = Finding::new(view.lag(), &path, text, NEXT);
                walk.findings.push(finding.at(at).queue(&key));
            }
            walk.findings.into_iter().for_each(|finding| report.add(finding));
        }
        Ok(())
    }
}

impl Walk<'_> {
    fn unit(&mut self, at: u64) -> io::Result<Option<BatchUnit>> {
        let unit = BatchUnit::decode(&self.row.read(at, UNIT_LEN)?);
        self.row.close();
        Ok(unit)
    }

    fn expect(&mut self, key: &QueueKey, expected: BatchUnit) -> io::Result<()> {
        let mut at = match self.at {
            Some(at) => at,
            None => self.row.begin(),
        };
        let mut found = self.unit(at)?;
        while self.at.is_none() && found.is_some_and(|unit| unit.physical < expected.physical) {
            // Of records that have expired.
            at += UNIT;
            found = self.unit(at)?;
        }
        match found {
            Some(found) if found == expected => self.at = Some(at + UNIT),
            Some(found) => {
                let (path, place) = self.row.place(at);
                let text = format!("is {found:?}, its record is {expected:?}");
                self.findings.push(Finding::damage(&path, text, NEXT).at(place).queue(key));
                self.at = Some(at + UNIT);
            }
            None => {
                self.at = Some(at);
                self.missing += 1;
            }
        }
        Ok(())
    }
}
