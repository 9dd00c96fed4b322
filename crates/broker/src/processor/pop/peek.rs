//! Looks at what a pop would take, and takes nothing (200052).

use std::sync::Arc;

use bytes::Bytes;
use rmq_message::QueueOffset;
use rmq_remoting::protocol::pop::PeekMessage;
use rmq_remoting::{Body, Peer, RemotingCommand, Reply, Response, response_code};
use rmq_store::{AdmitAll, QueueKey, ReadError, ReadOutcome, ReadRequest, ReadStatus};

use super::{PopRequests, visits};
use crate::offset_table::Place;
use crate::processor::offset::read;
use crate::reply;
use crate::stats::Got;

/// Most messages of one look.
const COUNT_MAX: usize = 1_024;
/// Most bytes of one look, but at least one message.
const BYTES_MAX: usize = 4 << 20;
/// Of so many looks one begins with the retry topic.
const RETRY_FIRST: u64 = 5;

/// What a look has seen.
struct Sight {
    room: usize,
    bytes: usize,
    rest: i64,
    records: Vec<Bytes>,
    /// Whether the disk may be waited for.
    waits: bool,
}

impl PopRequests {
    /// Serves one.
    pub(crate) fn peek(self: &Arc<Self>, peer: &Arc<Peer>, request: &RemotingCommand) -> Reply {
        let asked: PeekMessage = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let queues = match self.peekable(peer, &asked) {
            Ok(queues) => queues,
            Err(refused) => return Reply::Now(reply::pop_refused(refused)),
        };
        match self.see(&asked, &queues, false) {
            Ok(response) => Reply::Now(response),
            Err(ReadError::Cold) => {
                let this = Arc::clone(self);
                Reply::Later(Box::pin(async move {
                    let aside = Arc::clone(&this);
                    let seen = this.cold.aside(move |_| aside.see(&asked, &queues, true)).await;
                    seen.flatten().unwrap_or_else(|error| unreadable(&error))
                }))
            }
            Err(error) => Reply::Now(unreadable(&error)),
        }
    }

    /// The queues to look at, in order.
    fn peekable(&self, peer: &Peer, asked: &PeekMessage) -> Result<Vec<QueueKey>, Response> {
        if !self.live.is_readable() {
            return Err(reply::peek_forbidden_here(self.identity.address().ip()));
        }
        let (topic, group) = (&asked.topic, &asked.consumer_group);
        let (found, _group) = self.readable(peer, topic, asked.queue_id, group)?;
        let chance = self.entropy.below(100);
        let mut queues: Vec<_> = if asked.queue_id < 0 {
            let visits = visits(found.read_queues, chance, false);
            visits.map(|queue_id| QueueKey::new(topic, queue_id)).collect()
        } else {
            vec![QueueKey::new(topic, asked.queue_id)]
        };
        let retry = self.retries.kind.topic(topic, group);
        if let Some(found) = self.topics.find(&retry) {
            let retries = visits(found.read_queues, chance, false);
            let at = if chance.is_multiple_of(RETRY_FIRST) { 0 } else { queues.len() };
            queues.splice(at..at, retries.map(|queue_id| QueueKey::new(&retry, queue_id)));
        }
        Ok(queues)
    }

    fn see(
        &self,
        asked: &PeekMessage,
        queues: &[QueueKey],
        waits: bool,
    ) -> Result<Response, ReadError> {
        let room = usize::try_from(asked.max_msg_nums).unwrap_or(0).min(COUNT_MAX);
        let mut sight = Sight { room, bytes: BYTES_MAX, rest: 0, records: Vec::new(), waits };
        for queue in queues {
            let group = &asked.consumer_group;
            let place = Place { group, topic: &queue.topic, queue_id: queue.queue_id };
            let range = self.store.offsets(queue);
            let from = self.cursors.taken(place).unwrap_or(range.start.0);
            sight.rest = sight.rest.saturating_add(range.end.0.saturating_sub(from));
            if sight.room == 0 || sight.bytes == 0 {
                continue;
            }
            let mut outcome = self.read_for(&sight, queue, from)?;
            if matches!(
                outcome.status,
                ReadStatus::OffsetTooSmall | ReadStatus::OffsetOverflowBadly
            ) {
                outcome = self.read_for(&sight, queue, outcome.next_offset.0)?;
            }
            let (count, bytes) = (outcome.count, outcome.bytes);
            if count > 0 {
                let Place { topic, queue_id, .. } = place;
                self.stats.got(&Got { topic, group, queue_id, count, bytes, took: None });
            }
            sight.room = sight.room.saturating_sub(count);
            sight.bytes = sight.bytes.saturating_sub(bytes);
            sight.records.extend(outcome.records);
        }
        Ok(sight.answer())
    }

    fn read_for(
        &self,
        sight: &Sight,
        queue: &QueueKey,
        from: i64,
    ) -> Result<ReadOutcome, ReadError> {
        let request = ReadRequest {
            queue,
            offset: QueueOffset(from),
            count_max: sight.room,
            bytes_max: sight.bytes,
        };
        if sight.waits {
            self.store.read(&request, &AdmitAll)
        } else {
            self.store.read_cached(&request, &AdmitAll)
        }
    }
}

impl Sight {
    fn answer(self) -> Response {
        let (code, remark) = if self.records.is_empty() {
            (response_code::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE")
        } else {
            (response_code::SUCCESS, "FOUND")
        };
        let mut response = reply::pop_nothing(Response { code, ..Response::default() }, self.rest);
        response.body = self.records.into_iter().collect::<Body>();
        response.with_remark(remark)
    }
}

fn unreadable(error: &ReadError) -> Response {
    reply::pop_refused(reply::read_failed(error))
}
