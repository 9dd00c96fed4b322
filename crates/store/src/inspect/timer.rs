//! Files of the timer (`timerlog`, `timerwheel`): messages that wait for a time.
//!
//! A unit of the timer log has 52 bytes: its size, the unit before it in its slot (or -1), magic,
//! time of writing, delay, position and size of the record, hash of the topic, 8 reserved.

use std::io;

use rmq_runtime::{Disk, OpenMode};

use super::View;
use super::files::Row;
use super::log::Log;
use super::report::{Finding, Report};

const UNIT_LEN: usize = 52;
/// Instead of a unit at the end of a file: what is left of it, 8 reserved, and this.
const BLANK: [u8; 4] = [0xCB, 0xD4, 0x31, 0x94];
const SLOT_LEN: usize = 32;
const NEXT: &str = "timers that it holds may be lost; restore `timerlog`, `timerwheel` and \
                    `config/timercheck` together from a replica";

pub(super) fn check(
    disk: &dyn Disk,
    log: &mut Log<'_>,
    view: &View<'_>,
    report: &mut Report,
) -> io::Result<()> {
    let mut row = Row::load(disk, view.layout.timer_log(), 1, report)?;
    for start in row.starts.clone() {
        units(&mut row, start, log, view, report)?;
    }
    wheel(disk, view, &row, report)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn units(
    row: &mut Row<'_>,
    start: u64,
    log: &mut Log<'_>,
    view: &View<'_>,
    report: &mut Report,
) -> io::Result<()> {
    let bytes = row.rest(start)?;
    let path = row.path(start);
    for (index, unit) in bytes.chunks_exact(UNIT_LEN).enumerate() {
        let at = start + (index * UNIT_LEN) as u64;
        let size = number(unit, 0).map_or(0, i32::from_be_bytes);
        if size == 0 || number(unit, 12) == Some(BLANK) {
            break;
        }
        let before = number(unit, 4).map_or(-1, i64::from_be_bytes);
        let record = number(unit, 28).map_or(-1, i64::from_be_bytes);
        let is_older = before == -1 || u64::try_from(before).is_ok_and(|before| before < at);
        if usize::try_from(size) != Ok(UNIT_LEN) || !is_older {
            let text = format!("a unit of {size} bytes, after {before}, makes no sense");
            report.add(Finding::damage(&path, text, NEXT).at(at - start));
            break;
        }
        report.counts.timer_units += 1;
        let Ok(record) = u64::try_from(record) else { continue };
        let gone = record < view.scanned.begin || view.scanned.in_hole(record);
        if !gone && log.record_at(record)?.is_none() {
            let text = format!("a unit points to {record}, where no record begins");
            report.add(Finding::new(view.lag(), &path, text, NEXT).at(at - start));
        }
    }
    Ok(())
}

/// No slot points behind the units.
fn wheel(disk: &dyn Disk, view: &View<'_>, row: &Row<'_>, report: &mut Report) -> io::Result<()> {
    let path = view.layout.timer_wheel();
    if !disk.exists(&path) {
        return Ok(());
    }
    let file = disk.open(&path, OpenMode::Read)?;
    let len = usize::try_from(file.len()).unwrap_or(usize::MAX);
    if !len.is_multiple_of(SLOT_LEN) {
        let text = format!("has {len} bytes, which is no number of slots");
        report.add(Finding::damage(&path, text, NEXT));
        return Ok(());
    }
    let bytes = file.slice(0, len)?;
    for (index, slot) in bytes.chunks_exact(SLOT_LEN).enumerate() {
        let last = number(slot, 16).map_or(-1, i64::from_be_bytes);
        let used = number(slot, 24).is_some_and(|count| i32::from_be_bytes(count) > 0);
        if used && u64::try_from(last).is_ok_and(|last| last >= row.end()) {
            let text = format!("slot {index} points to {last}, and the timer log ends before");
            let at = (index * SLOT_LEN) as u64;
            report.add(Finding::new(view.lag(), &path, text, NEXT).at(at));
        }
    }
    Ok(())
}
