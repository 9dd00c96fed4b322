//! The small files of a store: `abort`, `checkpoint`, and our own `progress`.

use std::io;

use rmq_message::Timestamp;
use rmq_runtime::{Disk, state_file};

use super::View;
use super::queues::Ends;
use super::report::{Finding, Report};
use crate::checkpoint::{self, Checkpoint};
use crate::layout::Layout;
use crate::progress::Progress;

/// Whether the store was not stopped in good order, or runs.
pub(super) fn was_left_open(disk: &dyn Disk, layout: &Layout, report: &mut Report) -> bool {
    let there = disk.exists(&layout.abort());
    if there {
        let text = "is there: a broker runs on this directory, or was not stopped in good order";
        let next = "what lags behind the log is no damage; the next start brings it up";
        report.add(Finding::note(&layout.abort(), text, next));
    }
    there
}

pub(super) fn check(
    disk: &dyn Disk,
    view: &View<'_>,
    ends: &Ends,
    report: &mut Report,
) -> io::Result<()> {
    let checkpoint = check_checkpoint(disk, view, report)?;
    check_progress(disk, view, &checkpoint, ends, report);
    Ok(())
}

fn check_checkpoint(
    disk: &dyn Disk,
    view: &View<'_>,
    report: &mut Report,
) -> io::Result<Checkpoint> {
    let path = view.layout.checkpoint();
    if !disk.exists(&path) {
        let next = "the next start reads the log from its beginning, and writes it";
        report.add(Finding::note(&path, "is missing", next));
        return Ok(Checkpoint::default());
    }
    let len = disk.read(&path)?.len() as u64;
    if len != checkpoint::LEN {
        let text = format!("has {len} bytes instead of {}", checkpoint::LEN);
        let next = "remove it: the next start reads the log from its beginning";
        report.add(Finding::damage(&path, text, next));
    }
    let checkpoint = Checkpoint::load(disk, &path)?;
    let last = view.scanned.last_timestamp;
    for (time, at, what) in [
        (checkpoint.log, 0, "the log"),
        (checkpoint.queues, 8, "consume queues"),
        (checkpoint.index, 16, "the key index"),
    ] {
        let text = if time < Timestamp(0) {
            format!("the time of {what} is negative: {time}")
        } else if time > last && last > Timestamp(0) {
            format!("{what} had been synced up to {time}, and the last record is of {last}")
        } else {
            continue;
        };
        let next = "if no damaged end was cut off on purpose, the log has lost its end: restore it \
                    from a replica";
        report.add(Finding::damage(&path, text, next).at(at));
    }
    Ok(checkpoint)
}

fn check_progress(
    disk: &dyn Disk,
    view: &View<'_>,
    checkpoint: &Checkpoint,
    ends: &Ends,
    report: &mut Report,
) {
    let path = view.layout.progress();
    let parse = |bytes: bytes::Bytes| serde_json::from_slice::<Progress>(&bytes);
    let progress = match state_file::look(disk, &path, parse) {
        Ok(state_file::Loaded::Missing) => return,
        Ok(state_file::Loaded::Current(progress)) => progress,
        Ok(state_file::Loaded::Previous { value, why }) => {
            report.add(Finding::note(&path, why, "the generation before it is used"));
            value
        }
        Err(error) => {
            let next = "remove it: the next start goes by the checkpoint";
            report.add(Finding::damage(&path, error.to_string(), next));
            return;
        }
    };
    if !progress.fits(checkpoint) {
        let text = "belongs to another checkpoint: another program has written to this store since";
        report.add(Finding::note(&path, text, "nothing; the next start goes by the checkpoint"));
        return;
    }
    if progress.log > view.scanned.end {
        let text = format!(
            "the log had been synced up to {} and ends at {}",
            progress.log, view.scanned.end
        );
        let next = "the log has lost its end: restore it from a replica";
        report.add(Finding::damage(&path, text, next));
    }
    for known in &progress.queues {
        let key = known.key();
        let end = ends.get(&key).copied().unwrap_or(0);
        // Empty queues whose files went with their records are brought back from here.
        let went = known.min == known.end && !ends.contains_key(&key);
        if end < known.end && !went {
            let text = format!("entries up to {} had been synced, {end} are there", known.end);
            let next = "the next start builds the queue again from the log";
            report.add(Finding::damage(&path, text, next).queue(&key));
        }
    }
}
