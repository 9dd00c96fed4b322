//! The commit log: every record, and every place where none can be read.

use std::io;

use bytes::Bytes;
use rmq_message::Timestamp;
use rmq_message::record::{BLANK_LEN, RecordView};
use rmq_runtime::Disk;

use super::files::Row;
use super::report::{Finding, Report};
use super::{InspectError, Step};
use crate::commit_log::recovery::{Check, ends_file, find_record, verify};
use crate::layout::Layout;

const CHUNK: usize = 1 << 20;
const PART: &str = "commit log";

pub(super) struct Log<'a> {
    pub(super) row: Row<'a>,
    check: Check,
}

/// What the log holds.
#[derive(Default)]
pub(super) struct Scanned {
    pub(super) begin: u64,
    /// First byte after the last record.
    pub(super) end: u64,
    pub(super) last_timestamp: Timestamp,
    /// Where nothing can be read although records follow.
    pub(super) holes: Vec<(u64, u64)>,
}

impl Scanned {
    pub(super) fn in_hole(&self, at: u64) -> bool {
        self.holes.iter().any(|(from, to)| (*from..*to).contains(&at))
    }
}

/// A place where no record can be read.
struct Broken {
    at: u64,
    why: String,
}

impl<'a> Log<'a> {
    pub(super) fn open(
        disk: &'a dyn Disk,
        layout: &Layout,
        report: &mut Report,
    ) -> Result<Self, InspectError> {
        let row = Row::load(disk, layout.commit_log(), 1, report)?;
        report.counts.log_files = row.starts.len() as u64;
        // As recovery does.
        let check = if disk.exists(&layout.progress()) { Check::Own } else { Check::Body };
        Ok(Self { row, check })
    }

    /// Reads the whole log.
    pub(super) fn scan(
        &mut self,
        report: &mut Report,
        on_step: &mut dyn FnMut(Step),
        on_record: &mut dyn FnMut(&RecordView<'_>) -> io::Result<()>,
    ) -> io::Result<Scanned> {
        let (begin, total) = (self.row.begin(), self.row.end() - self.row.begin());
        let mut scanned = Scanned { begin, end: begin, ..Scanned::default() };
        let mut broken: Option<Broken> = None;
        let mut told = begin;
        for start in self.row.starts.clone() {
            let bytes = self.row.rest(start)?;
            let mut at = 0;
            while let Some(rest) = bytes.get(at..) {
                let position = start + at as u64;
                if position >= told {
                    on_step(Step { part: PART, done: position - begin, total });
                    told = position + CHUNK as u64;
                }
                if ends_file(rest, || true) {
                    if broken.is_none() {
                        scanned.end = start + bytes.len() as u64;
                    }
                    break;
                }
                match verify(rest, position, self.check) {
                    Ok(record) => {
                        if let Some(broken) = broken.take() {
                            self.tell_hole(&broken, position, report);
                            scanned.holes.push((broken.at, position));
                        }
                        on_record(&record)?;
                        report.counts.records += 1;
                        at += record.total_len;
                        scanned.end = position + record.total_len as u64;
                        scanned.last_timestamp = record.store_timestamp;
                    }
                    Err(error) => {
                        let nothing = rest.iter().take(BLANK_LEN).all(|byte| *byte == 0);
                        let why =
                            if nothing { "nothing is there".into() } else { error.to_string() };
                        broken.get_or_insert(Broken { at: position, why });
                        match next_record(&bytes, at + 1, start, self.check) {
                            Some(next) => at = next,
                            None => break,
                        }
                    }
                }
            }
        }
        on_step(Step { part: PART, done: total, total });
        if let Some(broken) = broken {
            self.tell_tail(&broken, report)?;
        }
        report.counts.log_begin = begin;
        report.counts.log_end = scanned.end;
        Ok(scanned)
    }

    fn tell_hole(&self, broken: &Broken, next: u64, report: &mut Report) {
        let (path, at) = self.row.place(broken.at);
        let text = format!(
            "no record can be read at position {} ({}), and a valid one follows at {next}",
            broken.at, broken.why
        );
        let what = "restore the file from a replica, or start the broker with cutDamagedLog=true \
                    to lose everything from there on";
        report.add(Finding::damage(&path, text, what).at(at));
    }

    /// What lies behind the last record: nothing, or the remains of what a crash has torn.
    fn tell_tail(&mut self, broken: &Broken, report: &mut Report) -> io::Result<()> {
        for start in self.row.starts.clone() {
            if start + self.row.len <= broken.at {
                continue;
            }
            let from = start.max(broken.at);
            let bytes = self.row.rest(from)?;
            for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
                if let Some(first) = chunk.iter().position(|byte| *byte != 0) {
                    let (path, at) = self.row.place(from + (index * CHUNK + first) as u64);
                    let text = format!(
                        "bytes that are no record ({}) lie behind the end of the log at {}",
                        broken.why, broken.at
                    );
                    let next = "a write that a crash has torn, or what a recovery of Apache's has \
                                left; the next start cuts it off";
                    report.add(Finding::note(&path, text, next).at(at));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The valid record that begins there, if one does.
    pub(super) fn record_at(&mut self, at: u64) -> io::Result<Option<Bytes>> {
        let rest = self.row.rest(at)?;
        let len = verify(&rest, at, Check::Form).ok().map(|record| record.total_len);
        Ok(len.map(|len| rest.slice(..len)))
    }
}

/// The first valid record from a byte of a file on.
fn next_record(bytes: &[u8], from: usize, start: u64, check: Check) -> Option<usize> {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..bytes.len().min(at + CHUNK)).filter(|c| !c.is_empty()) {
        // The magic of a record that begins in a chunk of zeros may stand in the next.
        let from = at.saturating_sub(BLANK_LEN).max(from);
        if chunk.iter().any(|byte| *byte != 0)
            && let Some(found) = find_record(bytes, from, at - from + chunk.len(), start, check)
        {
            return usize::try_from(found - start).ok();
        }
        at += chunk.len();
    }
    None
}
