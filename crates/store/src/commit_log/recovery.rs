//! Finds the end of the log after a start, and makes sure that nothing behind it can ever be taken
//! for a record (INV-04 to INV-07).

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use rmq_message::Timestamp;
use rmq_message::record::{BLANK_LEN, Head, RecordError, RecordView, head};

use super::{Unsynced, checksum};
use crate::config::Config;
use crate::local::OpenError;
use crate::segmented_log::{Segment, SegmentedLog};
use rmq_runtime::canary;

/// So many zero bytes in a row are the part of a file that has never been written: more than can
/// be on its way to the disk at once.
const ZEROS_MAX: u64 = 64 << 20;
const CHUNK: usize = 1 << 20;
/// Bytes that are written again and synced together.
const STRETCH: usize = 64 << 20;
/// What reaches a disk whole or not at all, mostly.
const SECTOR: usize = 512;
/// So many zero bytes before the end of a sector have not been written; fields of a record make
/// shorter runs.
const ZEROS_MIN: usize = 32;

/// How far records follow each other without fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned {
    /// First byte after the last record.
    pub(crate) end: u64,
    pub(crate) last_timestamp: Timestamp,
    pub(crate) records: u64,
}

/// What of a record is checked, besides that its parts fit and that it says where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    Form,
    /// The checksum of the body.
    Body,
    /// Also that topic and properties hold no zero byte: we store none, so it is a sector that
    /// never arrived, which the body's checksum does not tell.
    Own,
    /// The checksum of everything, which must be there.
    Whole,
}

impl Check {
    /// What recovery checks; `own` when the log was last written by us.
    pub(crate) fn of(config: &Config, own: bool) -> Self {
        match config {
            Config { force_verify_prop_crc: true, .. } => Self::Whole,
            Config { check_crc_on_recover: true, .. } if own => Self::Own,
            Config { check_crc_on_recover: true, .. } => Self::Body,
            _ => Self::Form,
        }
    }
}

/// The record that stands at a position.
pub(crate) fn verify(bytes: &[u8], at: u64, check: Check) -> Result<RecordView<'_>, RecordError> {
    let record = RecordView::parse(bytes)?;
    if record.physical_offset.0 != at {
        // Left over from another place or time.
        return Err(RecordError::Lengths { total: record.total_len });
    }
    if canary("RS-21 a checksum of zero is none") && record.body_crc == 0 {
        return Err(RecordError::Checksum);
    }
    match check {
        Check::Form => {}
        Check::Own if canary("INV-08 half the properties are enough") => record.verify()?,
        Check::Own if record.properties.contains(&0) || record.topic.contains('\0') => {
            return Err(RecordError::Checksum);
        }
        Check::Body | Check::Own => record.verify()?,
        Check::Whole if checksum::is_sealed(bytes.get(..record.total_len).unwrap_or_default()) => {}
        Check::Whole => return Err(RecordError::Checksum),
    }
    Ok(record)
}

/// Reads record after record from `from` to the first place where there is none, or to `to`.
pub(crate) fn scan(
    log: &SegmentedLog,
    from: u64,
    to: u64,
    check: Check,
    mut on_record: impl FnMut(&RecordView<'_>) -> io::Result<()>,
) -> io::Result<Scanned> {
    let mut scanned = Scanned { end: from, last_timestamp: Timestamp(0), records: 0 };
    while let Some(segment) = log.find(scanned.end).filter(|_| scanned.end < to) {
        let bytes = rest_of(&segment, scanned.end)?;
        let mut rest = &bytes[..];
        loop {
            if scanned.end >= to {
                return Ok(scanned);
            }
            if ends_file(rest, || log.find(segment.end()).is_some()) {
                scanned.end = segment.end();
                break;
            }
            let Ok(record) = verify(rest, scanned.end, check) else { return Ok(scanned) };
            on_record(&record)?;
            rest = rest.get(record.total_len..).unwrap_or_default();
            scanned.end += record.total_len as u64;
            scanned.last_timestamp = record.store_timestamp;
            scanned.records += 1;
        }
    }
    Ok(scanned)
}

fn rest_of(segment: &Segment, at: u64) -> io::Result<Bytes> {
    segment.slice(at, usize::try_from(segment.end() - at).unwrap_or(usize::MAX))
}

/// Whether the log goes on in the next file.
pub(crate) fn ends_file(rest: &[u8], has_next: impl Fn() -> bool) -> bool {
    match head(rest) {
        Ok(Head::Blank(remaining)) => remaining == rest.len(),
        _ => rest.len() < BLANK_LEN && has_next(),
    }
}

/// The first record of a file, if it has a valid one.
pub(crate) fn first_timestamp(segment: &Segment) -> io::Result<Option<Timestamp>> {
    let bytes = rest_of(segment, segment.start)?;
    Ok(verify(&bytes, segment.start, Check::Body).ok().map(|record| record.store_timestamp))
}

/// Whether a record, the end of a file, or nothing at all stands at a position, or a record that
/// power loss has torn.
pub(crate) fn is_boundary(log: &SegmentedLog, at: u64, check: Check) -> io::Result<bool> {
    let Some(segment) = log.find(at) else {
        return Ok(log.last().is_none_or(|last| last.end() == at));
    };
    let bytes = rest_of(&segment, at)?;
    let nothing = bytes.iter().take(BLANK_LEN).all(|byte| *byte == 0);
    if nothing || ends_file(&bytes, || true) || verify(&bytes, at, Check::Body).is_ok() {
        return Ok(true);
    }
    match survey(log, at, check)?.record {
        Some(next) => is_torn(log, at, next),
        None => Ok(true),
    }
}

/// What lies behind the end.
#[derive(Default)]
struct Remains {
    /// Where a valid record begins.
    record: Option<u64>,
    /// Stretches that are not all zero: file, position in it, bytes.
    written: Vec<(Arc<Segment>, u64, usize)>,
}

fn survey(log: &SegmentedLog, end: u64, check: Check) -> io::Result<Remains> {
    let mut remains = Remains::default();
    for segment in log.all() {
        if segment.end() <= end {
            continue;
        }
        let bytes = rest_of(&segment, segment.start.max(end))?;
        let first = segment.len - bytes.len() as u64;
        let (mut at, mut zeros) = (0, 0_u64);
        while zeros < ZEROS_MAX && at < bytes.len() {
            // What has never been written need not be looked at.
            let data = segment.file()?.data_from(first + at as u64).saturating_sub(first);
            let skipped = usize::try_from(data).unwrap_or(at).saturating_sub(at) / CHUNK * CHUNK;
            if skipped > 0 {
                (at, zeros) = (at + skipped, zeros + skipped as u64);
                continue;
            }
            let Some(chunk) = bytes.get(at..bytes.len().min(at + CHUNK)) else { break };
            if chunk.iter().all(|byte| *byte == 0) {
                zeros += chunk.len() as u64;
            } else {
                zeros = 0;
                let position = first + at as u64;
                remains.written.push((Arc::clone(&segment), position, chunk.len()));
                if remains.record.is_none() {
                    remains.record =
                        find_record(&bytes, at, chunk.len(), segment.start + first, check);
                }
            }
            at += chunk.len();
        }
    }
    Ok(remains)
}

/// The first valid record that begins in a stretch of `bytes`, whose first byte has position
/// `start` in the log.
pub(crate) fn find_record(
    bytes: &[u8],
    from: usize,
    len: usize,
    start: u64,
    check: Check,
) -> Option<u64> {
    (from..from + len).find_map(|at| {
        let rest = bytes.get(at..)?;
        // All magics begin alike; most places end here.
        if rest.get(4..7) != Some(&[0xDA, 0xA3, 0x20]) {
            return None;
        }
        let position = start + at as u64;
        verify(rest, position, check).is_ok().then_some(position)
    })
}

/// Whether it is power loss that nothing can be read at `end` although a valid record begins at
/// `next`: then a sector in between was on its way to the disk together with that record and never
/// arrived, so it still is zero from what was there before to its last byte. A device that damages
/// what it had stored leaves no such trace.
fn is_torn(log: &SegmentedLog, end: u64, next: u64) -> io::Result<bool> {
    let Some(segment) = log.find(end) else { return Ok(false) };
    let mut bytes = rest_of(&segment, end)?;
    let next_or_blank = match usize::try_from(next - end) {
        Ok(next) if next < bytes.len() => next,
        // Behind the blank that ends a file it has never been written.
        _ => (0..bytes.len())
            .find(|at| ends_file(bytes.get(*at..).unwrap_or_default(), || false))
            .unwrap_or(bytes.len()),
    };
    // The first bytes of its size are zero in any case: they may be what is left of a sector.
    let place = end - segment.start + next_or_blank as u64;
    let to_sector = usize::try_from(place.next_multiple_of(SECTOR as u64) - place).unwrap_or(0);
    let size = bytes.get(next_or_blank..next_or_blank + to_sector);
    let size = size.filter(|size| size.len() < size_of::<u32>());
    let is_zero = size.is_some_and(|size| size.iter().all(|byte| *byte == 0));
    let until = next_or_blank + if is_zero { to_sector } else { 0 };
    bytes.truncate(until);
    let first = SECTOR - usize::try_from((end - segment.start) % SECTOR as u64).unwrap_or(0);
    let Some((head, rest)) = bytes.split_at_checked(first) else { return Ok(false) };
    let zeros = |bytes: &[u8]| bytes.iter().rev().take_while(|byte| **byte == 0).count();
    // The first sector may hold what was synced before; the record begins behind that.
    let lost_here = zeros(head) >= ZEROS_MIN.min(head.len());
    let is_size = |size: u64| {
        // Less than a size of the record is here: does the rest of it tell that this was not zero?
        let size = u32::try_from(size).unwrap_or(0).to_be_bytes();
        let (here, there) = size.split_at(head.len().min(size.len()));
        here.iter().any(|byte| *byte != 0) && rest.starts_with(there)
    };
    let lost_here = lost_here && (head.len() >= size_of::<u32>() || is_size(next - end));
    Ok(lost_here || rest.chunks_exact(SECTOR).any(|sector| zeros(sector) >= ZEROS_MIN))
}

/// Ends the log at `end`: what lies behind is zeroed and synced, later files are removed. Refuses
/// when a valid record lies behind that has not come there [out of order](is_torn), unless the
/// operator has decided (`cutDamagedLog`).
pub(crate) fn cut(
    log: &SegmentedLog,
    end: u64,
    check: Check,
    config: &Config,
) -> Result<(), OpenError> {
    let remains = survey(log, end, check)?;
    if let Some(next) = remains.record
        && !canary("INV-06 whatever is damaged is cut")
        && !is_torn(log, end, next)?
    {
        let path = log.find(end).map_or_else(|| log.dir().to_owned(), |it| it.path.clone());
        let (at, next) = (rmq_message::PhysicalOffset(end), rmq_message::PhysicalOffset(next));
        if !config.cut_damaged_log {
            return Err(OpenError::Damaged { path, at, next });
        }
        tracing::error!(path = %path.display(), %at, %next, "cutting the log before valid messages, as configured");
    }
    if canary("INV-07 a cut only moves positions") {
        return Ok(());
    }
    // The last file first: whenever this is interrupted, what is left is cut the same way again.
    let keep = if end == log.min() { end + 1 } else { end };
    log.remove_from(keep)?;
    let last = log.last();
    let zeros = vec![0; remains.written.iter().map(|(_, _, len)| *len).max().unwrap_or(0)];
    for (segment, position, len) in remains.written.iter().rev() {
        if last.as_ref().is_some_and(|last| last.start == segment.start) {
            let bytes = zeros.get(..*len).unwrap_or_default();
            segment.file()?.write_at(*position, bytes)?;
        }
    }
    if let Some(last) = last.filter(|_| !remains.written.is_empty()) {
        tracing::warn!(path = %last.path.display(), end, "cut a torn end off the commit log");
        last.file()?.sync()?;
    }
    Ok(())
}

/// Makes durable what was found from a position on: a process that was killed may have written it
/// without a sync, and from now on it can be read (INV-02). Up to `again` it is written once more,
/// because the kernel takes what a failed sync could not write for clean (INV-03). Tells how far
/// it has come.
pub(crate) fn make_durable(
    log: &SegmentedLog,
    Unsynced { from, again }: Unsynced,
    told: impl Fn(u64),
) -> io::Result<()> {
    if canary("INV-02 recovery syncs nothing") {
        return Ok(());
    }
    for segment in log.all().into_iter().filter(|segment| segment.end() > from) {
        let (mut at, file) = (from.max(segment.start), segment.file()?);
        let end = again.min(segment.end());
        while at < end {
            for _ in 0..STRETCH / CHUNK {
                let len = CHUNK.min(usize::try_from(end.saturating_sub(at)).unwrap_or(CHUNK));
                file.write_at(at - segment.start, &segment.slice(at, len)?)?;
                at += len as u64;
            }
            file.sync()?;
            told(at);
        }
        file.sync()?;
    }
    log.sync_dir()
}
