//! Reading: messages of a queue, by time, by position and by key.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use rmq_message::record::{self, Head, RecordView};
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp};

use crate::api::{
    Boundary, KeyQuery, MessageFilter, QueryOutcome, ReadError, ReadOutcome, ReadRequest,
    ReadStatus,
};
use crate::commit_log::CommitLog;
use crate::commit_log::writer::signed;
use crate::config::Config;
use crate::consume_queue::extension::is_address;
use crate::consume_queue::{Queue, UNIT_LEN, Unit, partition, units};
use crate::index::{self, KeyIndex};
use crate::segmented_log::Segment;

/// What is in memory together.
const PAGE: u64 = 4096;
/// Entries that are fetched at once.
const FETCH: usize = 128;

/// Bounds of one read.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    count: usize,
    bytes: usize,
}

pub(crate) struct Reader<'a> {
    pub(crate) log: &'a CommitLog,
    pub(crate) config: &'a Config,
    /// Whether it may wait for the disk.
    pub(crate) waits: bool,
}

/// A stretch of the log that is known to be in memory.
#[derive(Default)]
struct Cached {
    from: u64,
    to: u64,
}

/// A file of the log, mapped.
struct Mapped {
    start: u64,
    bytes: Bytes,
}

impl Mapped {
    fn of(segment: &Segment) -> io::Result<Self> {
        let len = usize::try_from(segment.len).unwrap_or(usize::MAX);
        Ok(Self { start: segment.start, bytes: segment.slice(segment.start, len)? })
    }

    fn range(&self, from: u64, to: u64) -> Option<std::ops::Range<usize>> {
        let place = |at: u64| usize::try_from(at.checked_sub(self.start)?).ok();
        let range = place(from)?..place(to)?;
        (range.start <= range.end && range.end <= self.bytes.len()).then_some(range)
    }

    fn get(&self, unit: Unit) -> Option<&[u8]> {
        self.bytes.get(self.range(unit.physical, unit.end())?)
    }
}

/// The records found so far.
struct Found {
    records: Vec<Bytes>,
    count: usize,
    bytes: usize,
    /// Log positions of the last slice, which grows while records adjoin.
    from: u64,
    to: u64,
    file: Option<Mapped>,
    /// Records before it may lie on the disk only, and whoever sends them on must not wait for it:
    /// they are copied.
    copied_to: u64,
}

impl Found {
    fn new(copied_to: u64) -> Self {
        Self { records: Vec::new(), count: 0, bytes: 0, from: 0, to: 0, file: None, copied_to }
    }

    fn flush(&mut self) {
        if let Some(file) = &self.file
            && let Some(range) = file.range(self.from, self.to).filter(|range| !range.is_empty())
        {
            let bytes = file.bytes.slice(range);
            let is_old = self.from < self.copied_to;
            self.records.push(if is_old { Bytes::copy_from_slice(&bytes) } else { bytes });
        }
        self.from = self.to;
    }

    fn add(&mut self, unit: Unit) {
        if self.to != unit.physical {
            self.flush();
            self.from = unit.physical;
        }
        self.to = unit.end();
        self.count += 1;
        self.bytes += unit.size as usize;
    }

    /// Goes to the file that holds a position. `false` when it has been removed from the log.
    fn turn_to(&mut self, log: &CommitLog, at: u64) -> io::Result<bool> {
        if self.file.as_ref().is_none_or(|file| file.range(at, at + 1).is_none()) {
            self.flush();
            self.file = log.segments.find(at).map(|segment| Mapped::of(&segment)).transpose()?;
        }
        Ok(self.file.is_some())
    }
}

impl Cached {
    /// Whether the record of an entry is in memory. Only what is new is asked for.
    fn covers(&mut self, log: &CommitLog, unit: Unit) -> io::Result<bool> {
        if !(self.from..=self.to).contains(&unit.physical) {
            *self = Self { from: unit.physical, to: unit.physical };
        }
        let Some(missing) = unit.end().checked_sub(self.to).filter(|missing| *missing > 0) else {
            return Ok(true);
        };
        let Some(segment) = log.segments.find(self.to) else { return Ok(true) };
        // Whole pages are in memory; records share them.
        let to = (self.to + missing).next_multiple_of(PAGE).min(segment.end());
        let len = usize::try_from(to.saturating_sub(self.to)).unwrap_or(usize::MAX);
        let is_cached = segment.is_cached(self.to, len)?;
        self.to = to;
        Ok(is_cached)
    }
}

impl Reader<'_> {
    /// See [`MessageStore::read`](crate::MessageStore::read).
    pub(crate) fn read(
        &self,
        request: &ReadRequest<'_>,
        filter: &dyn MessageFilter,
    ) -> Result<ReadOutcome, ReadError> {
        let queue = self.log.queues.get(request.queue);
        let (min, max) = queue.as_ref().map_or((0, 0), |queue| (queue.min(), queue.visible()));
        let mut outcome = ReadOutcome {
            status: ReadStatus::NoMessageInQueue,
            next_offset: QueueOffset::ZERO,
            min_offset: QueueOffset(signed(min)),
            max_offset: QueueOffset(signed(max)),
            records: Vec::new(),
            count: 0,
            bytes: 0,
            suggest_replica: false,
        };
        let Some(queue) = queue.filter(|_| max > 0) else { return Ok(outcome) };
        let from = match u64::try_from(request.offset.0) {
            Ok(from) if from >= min => from,
            _ => {
                outcome.status = ReadStatus::OffsetTooSmall;
                outcome.next_offset = outcome.min_offset;
                return Ok(outcome);
            }
        };
        if from >= max {
            outcome.status = if from == max {
                ReadStatus::OffsetOverflowOne
            } else {
                ReadStatus::OffsetOverflowBadly
            };
            outcome.next_offset = outcome.max_offset;
            return Ok(outcome);
        }
        self.read_units(&queue, from, request, filter, &mut outcome)?;
        Ok(outcome)
    }

    fn read_units(
        &self,
        queue: &Arc<Queue>,
        from: u64,
        request: &ReadRequest<'_>,
        filter: &dyn MessageFilter,
        outcome: &mut ReadOutcome,
    ) -> Result<(), ReadError> {
        let log_end = self.log.visible.get();
        let looked_at_max = (self.config.max_filter_message_size / UNIT_LEN).max(request.count_max);
        let scan_end = from.saturating_add(looked_at_max.max(1) as u64);
        let count_max = request.count_max.max(1);
        let hot_from = self.hot_from(log_end);
        let mut found = Found::new(if self.waits { hot_from } else { 0 });
        let mut cached = Cached::default();
        let mut entries = [0; FETCH * UNIT_LEN];
        let (mut next, mut last, mut missing) = (from, 0, false);
        let mut gone_to = 0;
        'scan: while next < scan_end {
            let wanted = usize::try_from(scan_end - next).unwrap_or(FETCH).min(FETCH);
            let wanted = if next == from { wanted.min(count_max) } else { wanted };
            let Some(into) = entries.get_mut(..wanted * UNIT_LEN) else { break };
            if !self.waits && !queue.is_cached(&self.log.queues.context, next, wanted)? {
                return Err(ReadError::Cold);
            }
            let len = queue.read(&self.log.queues.context, next, into)?;
            if len == 0 {
                break;
            }
            let before = next;
            for unit in units(entries.get(..len).unwrap_or_default()) {
                if next >= scan_end || found.bytes >= request.bytes_max.max(1) {
                    break 'scan;
                }
                if unit.is_blank() || unit.physical < gone_to {
                    missing = true;
                    next += 1;
                    continue;
                }
                if unit.end() > log_end {
                    break 'scan;
                }
                let bounds = self.bounds(log_end, unit);
                if found.count > 0
                    && (found.count >= count_max.min(bounds.count)
                        || found.bytes + unit.size as usize > request.bytes_max.min(bounds.bytes))
                {
                    break 'scan;
                }
                last = unit.end();
                next += 1;
                if !is_address(unit.tags_code) && !filter.admits_entry(unit.tags_code) {
                    continue;
                }
                if !self.waits && unit.physical < hot_from && !cached.covers(self.log, unit)? {
                    return Err(ReadError::Cold);
                }
                if !found.turn_to(self.log, unit.physical)? {
                    missing = true;
                    gone_to = self.log.segments.min();
                    continue;
                }
                if admits(found.file.as_ref(), unit, filter) {
                    found.add(unit);
                }
            }
            if next == before {
                break;
            }
        }
        found.flush();
        outcome.next_offset = QueueOffset(signed(next));
        outcome.status = match (found.count, missing) {
            _ if next == from => {
                // The entries cannot be had: go on where the next file begins.
                let per_file = self.config.queue_file_units();
                let skipped = (from / per_file + 1) * per_file;
                outcome.next_offset = QueueOffset(signed(skipped.min(queue.visible())));
                ReadStatus::OffsetFoundNull
            }
            (0, true) => ReadStatus::MessageWasRemoving,
            (0, false) => ReadStatus::NoMatchedMessage,
            _ => ReadStatus::Found,
        };
        outcome.suggest_replica = log_end.saturating_sub(last) > self.config.memory_window();
        outcome.records = found.records;
        outcome.count = found.count;
        outcome.bytes = found.bytes;
        Ok(())
    }

    /// What was stored since the start and fits the memory is in it.
    fn hot_from(&self, log_end: u64) -> u64 {
        log_end.saturating_sub(self.config.memory_window()).max(self.log.began)
    }

    fn bounds(&self, log_end: u64, unit: Unit) -> Bounds {
        let config = self.config;
        if log_end.saturating_sub(unit.physical) <= config.memory_window() {
            Bounds {
                count: config.max_transfer_count_on_message_in_memory,
                bytes: config.max_transfer_bytes_on_message_in_memory,
            }
        } else {
            Bounds {
                count: config.max_transfer_count_on_message_in_disk,
                bytes: config.max_transfer_bytes_on_message_in_disk,
            }
        }
    }

    /// The record that begins at exactly that position (HI-22).
    pub(crate) fn message_at(&self, at: PhysicalOffset) -> Result<Bytes, ReadError> {
        let not_found = || ReadError::NotFound { at };
        let end = self.log.visible.get();
        let segment = self.log.segments.find(at.0).ok_or_else(not_found)?;
        let rest = segment.end().min(end).checked_sub(at.0).ok_or_else(not_found)?;
        if !self.waits && at.0 < self.hot_from(end) && !is_record_cached(&segment, at.0, rest)? {
            return Err(ReadError::Cold);
        }
        let rest = segment.slice(at.0, usize::try_from(rest).unwrap_or(usize::MAX))?;
        match RecordView::parse(&rest) {
            Ok(record) if record.physical_offset == at => Ok(rest.slice(..record.total_len)),
            _ => Err(not_found()),
        }
    }

    fn store_time(&self, queue: &Arc<Queue>, number: u64) -> io::Result<Option<Timestamp>> {
        let Some(unit) = self.log.queues.unit(queue, number)?.filter(|unit| !unit.is_blank())
        else {
            return Ok(None);
        };
        let Some(segment) = self.log.segments.find(unit.physical) else { return Ok(None) };
        let head = segment.slice(unit.physical, (unit.size as usize).min(128))?;
        Ok(record::store_timestamp(&head).filter(|time| time.0 >= 0))
    }

    /// See [`MessageStore::offset_at`](crate::MessageStore::offset_at).
    pub(crate) fn offset_at(
        &self,
        queue: &Arc<Queue>,
        time: Timestamp,
        boundary: Boundary,
    ) -> Result<QueueOffset, ReadError> {
        let (min, max) = (queue.min(), queue.visible());
        // What cannot be read counts as old.
        let stored = |number| self.store_time(queue, number).map(Option::unwrap_or_default);
        let number = match boundary {
            Boundary::Lower => partition(min, max, |number| Ok(stored(number)? >= time))?,
            Boundary::Upper => {
                partition(min, max, |number| Ok(stored(number)? > time))?.saturating_sub(1).max(min)
            }
        };
        Ok(QueueOffset(signed(number)))
    }

    /// See [`MessageStore::query`](crate::MessageStore::query).
    pub(crate) fn query(
        &self,
        index: &KeyIndex,
        query: &KeyQuery<'_>,
    ) -> Result<QueryOutcome, ReadError> {
        let count_max = query.count_max.min(self.config.max_msgs_num_batch);
        let mut found = std::collections::BTreeMap::new();
        if count_max > 0 {
            index.find(query, |at| {
                if let Ok(record) = self.message_at(PhysicalOffset(at))
                    && RecordView::parse(&record).is_ok_and(|it| index::answers(&it, query))
                {
                    found.insert(at, record);
                }
                let enough = found.len() >= count_max;
                Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        }
        let (at, timestamp) = index.youngest();
        Ok(QueryOutcome {
            records: found.into_values().collect(),
            index_timestamp: timestamp,
            index_offset: PhysicalOffset(at),
        })
    }
}

/// Whether what begins there is in memory: its first page, and then as much as that says.
fn is_record_cached(segment: &Segment, at: u64, rest: u64) -> io::Result<bool> {
    let len = |bytes: u64| usize::try_from(bytes.min(rest)).unwrap_or(usize::MAX);
    let first = len(PAGE - at % PAGE);
    if !segment.is_cached(at, first)? {
        return Ok(false);
    }
    match record::head(&segment.slice(at, first)?) {
        Ok(Head::Record(total)) if total > first => {
            segment.is_cached(at, len(u64::try_from(total).unwrap_or(u64::MAX)))
        }
        _ => Ok(true),
    }
}

/// Whether there is such a record, and the filter wants it.
fn admits(file: Option<&Mapped>, unit: Unit, filter: &dyn MessageFilter) -> bool {
    let Some(bytes) = file.and_then(|file| file.get(unit)) else { return false };
    if record::head(bytes) != Ok(Head::Record(bytes.len())) {
        tracing::warn!(
            at = unit.physical,
            "an entry of a consume queue points to no message; skipped"
        );
        return false;
    }
    !filter.reads_records()
        || RecordView::parse(bytes).is_ok_and(|record| filter.admits_record(&record))
}
