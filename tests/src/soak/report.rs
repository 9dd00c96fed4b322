//! The lines in which a member tells what it got: `<queue> <tenure> <offset>:<number>,…`, one for each
//! call of its listener, written at once and before the call ends. So whatever a member has finished
//! is known, even if it is killed.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};

use anyhow::{Context as _, Result};
use parking_lot::Mutex;

use super::ledger::{Delivery, Ledger, Tenure};
use crate::wait::now;

/// The line for messages of a queue: their offsets and numbers.
pub fn line(queue: i32, tenure: u32, messages: impl Iterator<Item = (i64, u64)>) -> String {
    let mut line = format!("{queue} {tenure} ");
    for (offset, number) in messages {
        // Writing to a string cannot fail.
        let _written = write!(line, "{offset}:{number},");
    }
    line.push('\n');
    line
}

/// Notes in the ledger what a member tells, until it has ended. A line that it could not end is none:
/// it is short enough to be written wholly or not at all, and then the listener had not ended either.
///
/// # Errors
/// A line that is no report.
pub fn read(output: impl Read, member: u32, ledger: &Mutex<Ledger>) -> Result<()> {
    let mut reader = BufReader::with_capacity(64 << 10, output);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
        note(line.trim_end(), member, ledger).with_context(|| format!("not a report: {line:?}"))?;
        line.clear();
    }
    Ok(())
}

fn note(line: &str, member: u32, ledger: &Mutex<Ledger>) -> Option<()> {
    let mut words = line.split(' ');
    let queue = words.next()?.parse().ok()?;
    let tenure = Tenure { member, number: words.next()?.parse().ok()? };
    let (at, mut ledger) = (now(), ledger.lock());
    for message in words.next()?.split_terminator(',') {
        let (offset, number) = message.split_once(':')?;
        let (offset, number) = (offset.parse().ok()?, number.parse().ok()?);
        ledger.delivered(at, Delivery { queue, tenure, offset, number });
    }
    Some(())
}
