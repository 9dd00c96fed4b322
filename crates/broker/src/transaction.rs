//! Transactions: half messages wait in `RMQ_SYS_TRANS_HALF_TOPIC` until their producer has ended
//! them, and each end is noted in `RMQ_SYS_TRANS_OP_HALF_TOPIC` in the shapes of Apache RocketMQ
//! 5.5.0, so that either broker can take the directory over.
//!
//! | module | owns |
//! |---|---|
//! | `half` | what a half message says of itself, and its copies |
//! | `ends` | the notes of ended transactions |
//! | `ledger` | which transactions are open: the first verdict is final (INV-33) |
//! | `check` | asking producers about transactions that stay open |
//!
//! A verdict counts when its note can be read, which is when it is durable. The progress of both
//! topics is that of the group `CID_RMQ_SYS_TRANS` in `consumerOffset.json`.

mod check;
mod ends;
mod half;
mod ledger;

use rmq_message::{Timestamp, name};
use rmq_store::{MessageStore, QueueKey, ReadError};

pub(crate) use check::{Rules, TransactionCheck};
pub(crate) use ends::note;
pub(crate) use half::{Half, resumed_properties, tags_code};
pub(crate) use ledger::Ledger;

use crate::offset_table::{Backward, OffsetTable, Place};

/// The group whose progress is kept.
const GROUP: &str = "CID_RMQ_SYS_TRANS";

/// Where half messages wait.
pub(crate) fn half_queue() -> QueueKey {
    QueueKey::new(name::HALF_TOPIC, 0)
}

fn op_queue() -> QueueKey {
    QueueKey::new(name::OP_HALF_TOPIC, 0)
}

/// How far a queue has been worked off; a file older or newer than the log counts only inside it.
fn progress(offsets: &OffsetTable, store: &dyn MessageStore, queue: &QueueKey) -> i64 {
    let range = store.offsets(queue);
    let place = Place { group: GROUP, topic: &queue.topic, queue_id: queue.queue_id };
    let known = offsets.committed(place).unwrap_or(range.start.0);
    known.clamp(range.start.0, range.end.0)
}

fn set_progress(offsets: &OffsetTable, queue: &QueueKey, offset: i64, now: Timestamp) {
    let place = Place { group: GROUP, topic: &queue.topic, queue_id: queue.queue_id };
    // Refused only by a full table; then the same is worked off again after a restart.
    let _kept = offsets.commit(place, offset, Backward::Ignored, now);
}

/// The ledger as the log has it.
///
/// # Errors
/// [`ReadError`] when the log cannot be read.
pub(crate) fn open(store: &dyn MessageStore, offsets: &OffsetTable) -> Result<Ledger, ReadError> {
    let begin = progress(offsets, store, &half_queue());
    let ended = ends::read(store, progress(offsets, store, &op_queue()))?;
    let mut ledger = Ledger::new(begin, ended.ended);
    half::walk(store, begin, |half| ledger.found(half.offset(), half.origin()))?;
    Ok(ledger)
}
