//! What one pop has taken, and its answer.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use rmq_message::{CompactString, PhysicalOffset, Timestamp};
use rmq_remoting::protocol::pop::{PopMessage, PopResponse};
use rmq_remoting::{Body, Payload, Response};
use rmq_store::{QueueKey, ReadOutcome};

use crate::pop::cursor::Unsettled;
use crate::pop::receipt::{Kind, Receipt};

/// Grows from queue to queue.
pub(super) struct Batch {
    wanted: usize,
    count: usize,
    records: Vec<Bytes>,
    pop_time: i64,
    invisible: i64,
    revive_queue: i32,
    broker: CompactString,
    rest: i64,
    starts: String,
    offsets: String,
    /// With an ordered pop only.
    counts: Option<String>,
    end: Option<PhysicalOffset>,
    unsettled: Vec<Unsettled>,
    free_at: Option<i64>,
    sight: Sight,
}

/// What is known of the queues beyond what is in memory.
#[derive(Default)]
struct Sight {
    ahead: Option<Ahead>,
    cold: Option<Wanted>,
    passed: bool,
}

/// A read of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) queue: QueueKey,
    pub(super) from: i64,
    pub(super) count_max: usize,
    /// Whether the group's filter chooses; else everything is wanted.
    pub(super) filtered: bool,
}

/// What was read from the disk for the pop that comes.
pub(super) struct Ahead {
    pub(super) wanted: Wanted,
    pub(super) outcome: ReadOutcome,
}

/// Messages of one queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) kind: Kind,
    pub(super) queue_id: i32,
    pub(super) start: i64,
    pub(super) offsets: &'a [i64],
}

impl Batch {
    pub(super) fn new(
        header: &PopMessage,
        broker: &CompactString,
        revive_queue: i32,
        now: Timestamp,
        ahead: Option<Ahead>,
    ) -> Self {
        Self {
            wanted: usize::try_from(header.max_msg_nums).unwrap_or(0),
            count: 0,
            records: Vec::new(),
            pop_time: now.0,
            invisible: header.invisible_time,
            revive_queue,
            broker: broker.clone(),
            rest: 0,
            starts: String::new(),
            offsets: String::new(),
            counts: (header.order == Some(true)).then(String::new),
            end: None,
            unsettled: Vec::new(),
            free_at: None,
            sight: Sight { ahead, ..Sight::default() },
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many messages it still takes; none behind a queue that must be read from the disk first.
    pub(super) fn room(&self) -> usize {
        if self.sight.cold.is_some() {
            return 0;
        }
        self.wanted.saturating_sub(self.count)
    }

    pub(super) fn pop_time(&self) -> i64 {
        self.pop_time
    }

    pub(super) fn revive_queue(&self) -> i32 {
        self.revive_queue
    }

    /// Messages that are left in the queues.
    pub(super) fn rest(&self) -> i64 {
        self.rest
    }

    /// What must be safe before it is answered.
    pub(super) fn end(&self) -> Option<PhysicalOffset> {
        self.end
    }

    /// The receipt of what is taken from a queue beginning there.
    pub(super) fn receipt(&self, kind: Kind, start: i64) -> Receipt {
        Receipt {
            start,
            pop_time: self.pop_time,
            invisible: self.invisible,
            revive_queue: self.revive_queue,
            kind,
            broker: self.broker.clone(),
        }
    }

    /// So many are left behind.
    pub(super) fn leave(&mut self, count: i64) {
        self.rest = self.rest.saturating_add(count.max(0));
    }

    /// The outcome of that read, if it was made ahead.
    pub(super) fn seen(&mut self, wanted: &Wanted) -> Option<ReadOutcome> {
        let ahead = self.sight.ahead.take_if(|ahead| ahead.wanted == *wanted)?;
        Some(ahead.outcome)
    }

    /// A queue must be read from the disk. Whoever has messages goes without it.
    pub(super) fn cold(&mut self, wanted: Wanted) {
        if self.is_empty() {
            self.sight.cold.get_or_insert(wanted);
        }
    }

    /// What must be read before there can be more.
    pub(super) fn take_cold(&mut self) -> Option<Wanted> {
        self.sight.cold.take()
    }

    /// Messages that the group does not want were left behind; others may follow.
    pub(super) fn pass(&mut self) {
        self.sight.passed = true;
    }

    /// Whether another look may find what this one has not come to.
    pub(super) fn may_find_more(&self) -> bool {
        self.is_empty() && (self.sight.passed || self.sight.cold.is_some())
    }

    /// A queue is blocked until then, ms since 1970.
    pub(super) fn blocked(&mut self, until: i64) {
        self.free_at = Some(self.free_at.map_or(until, |known| known.min(until)));
    }

    /// How long until a blocked queue may give again.
    pub(super) fn free_in(&self, now: i64) -> Option<Duration> {
        let wait = self.free_at?.saturating_sub(now).max(1);
        Some(Duration::from_millis(u64::try_from(wait).unwrap_or(1)))
    }

    /// Takes messages whose check point ends there.
    pub(super) fn reserve(&mut self, end: PhysicalOffset, unsettled: Unsettled) {
        self.end = Some(self.end.map_or(end, |known| known.max(end)));
        self.unsettled.push(unsettled);
    }

    /// Adds what was found.
    pub(super) fn add(&mut self, found: Found<'_>, records: Vec<Bytes>) {
        let Found { kind, queue_id, start, offsets } = found;
        self.count += offsets.len();
        self.records.extend(records);
        for text in [&mut self.starts, &mut self.offsets] {
            if !text.is_empty() {
                text.push(';');
            }
        }
        let list: Vec<_> = offsets.iter().map(i64::to_string).collect();
        self.starts.push_str(&format!("{kind} {queue_id} {start}"));
        self.offsets.push_str(&format!("{kind} {queue_id} {}", list.join(",")));
    }

    /// Tells how often messages of a queue were delivered before.
    pub(super) fn count(
        &mut self,
        found: Found<'_>,
        counts: &std::collections::BTreeMap<i64, i32>,
    ) {
        let Found { kind, queue_id, offsets, .. } = found;
        let text = self.counts.get_or_insert_default();
        for (offset, count) in counts {
            let gap = if text.is_empty() { "" } else { ";" };
            write!(text, "{gap}{kind} qo{queue_id}%{offset} {count}").expect("a string takes all");
        }
        let least = counts.values().min().copied().unwrap_or(0);
        let least = if counts.len() == offsets.len() { least } else { 0 };
        let gap = if text.is_empty() { "" } else { ";" };
        write!(text, "{gap}{kind} {queue_id} {least}").expect("a string takes all");
    }

    /// The answer with the messages: what was taken is safe now, and progress moves.
    pub(super) fn found(mut self, now: Timestamp) -> Response {
        for unsettled in self.unsettled.drain(..) {
            unsettled.settled(now);
        }
        let body = std::mem::take(&mut self.records).into_iter().collect::<Body>();
        let mut response = self.response();
        response.body = body;
        response.with_remark("FOUND")
    }

    /// The answer without a message.
    pub(super) fn nothing(&self, code: i32) -> Response {
        let response = Response { code, ..self.response() };
        response.with_remark("NO_MESSAGE_IN_QUEUE")
    }

    fn response(&self) -> Response {
        let header = PopResponse {
            pop_time: self.pop_time,
            invisible_time: self.invisible,
            revive_queue_id: self.revive_queue,
            rest_num: self.rest,
            start_offset_info: Some(CompactString::new(&self.starts)),
            msg_offset_info: Some(CompactString::new(&self.offsets)),
            order_count_info: self.counts.as_ref().map(CompactString::new),
        };
        let mut response = Response::ok();
        header.write(&mut response.fields, &mut Bytes::new());
        response
    }
}
