//! Notes of ended transactions: records in `RMQ_SYS_TRANS_OP_HALF_TOPIC` with the tag `d`, whose
//! bodies list positions of half messages, `12,15,` (4.9 writes one without the comma).

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::SocketAddr;

use rmq_message::record::NewRecord;
use rmq_message::{Timestamp, java, name};
use rmq_store::{MessageStore, ReadError};

use super::half::{read as read_batch, records};
use super::op_queue;

/// Tag of a note.
const TAG: &str = "d";
/// What Apache writes, in its order.
const PROPERTIES: &[u8] = b"WAIT\x01true\x02TAGS\x01d\x02";

/// What was noted from a position on.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Positions of half messages that are done.
    pub(super) ended: HashSet<i64>,
    /// The notes: position, and the youngest half message that each names.
    notes: Vec<(i64, i64)>,
    /// Where the notes end.
    end: i64,
}

impl Ends {
    /// The first note that names a half message not yet passed.
    pub(super) fn needed_from(&self, halves_passed: i64) -> i64 {
        let needed = self.notes.iter().find(|(_, youngest)| *youngest >= halves_passed);
        needed.map_or(self.end, |(position, _)| *position)
    }
}

/// Reads all notes from a position on.
pub(super) fn read(store: &dyn MessageStore, from: i64) -> Result<Ends, ReadError> {
    let mut ends = Ends { end: from, ..Ends::default() };
    loop {
        let (slices, next) = read_batch(store, &op_queue(), ends.end)?;
        if next <= ends.end {
            return Ok(ends);
        }
        ends.end = next;
        records(slices, |record| {
            let named = positions(record.body);
            if let Some(youngest) = named.iter().max() {
                ends.notes.push((record.queue_offset.0, *youngest));
                ends.ended.extend(named);
            }
            true
        });
    }
}

fn positions(body: &[u8]) -> Vec<i64> {
    let text = String::from_utf8_lossy(body);
    text.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

/// Stages a note of these half messages.
pub(crate) fn note<T>(
    halves: &[i64],
    now: Timestamp,
    store_host: SocketAddr,
    stage: impl FnOnce(&NewRecord<'_>) -> T,
) -> T {
    let mut body = String::with_capacity(halves.len() * 12);
    for half in halves {
        let _always = write!(body, "{half},");
    }
    stage(&NewRecord {
        topic: name::OP_HALF_TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: now,
        born_host: store_host,
        store_host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.as_bytes(),
        properties: PROPERTIES,
        tags_code: java::hash(TAG).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_of_all_releases_are_read() {
        assert_eq!(positions(b"12,15,"), [12, 15]);
        assert_eq!(positions(b"12"), [12]);
        assert_eq!(positions(b" 7 ,x,,\xff,9"), [7, 9]);
    }

    #[test]
    fn a_note_is_needed_until_all_that_it_names_is_passed() {
        let ends = Ends { ended: HashSet::new(), notes: vec![(4, 9), (5, 30), (6, 2)], end: 7 };
        assert_eq!(ends.needed_from(5), 4);
        assert_eq!(ends.needed_from(10), 5);
        assert_eq!(ends.needed_from(31), 7);
    }
}
