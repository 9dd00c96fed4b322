//! Takes timed messages back (370): a mark in the tick of the message, which then is not delivered.

use std::sync::Arc;

use rmq_message::record::NewRecord;
use rmq_message::{Timestamp, java, name, property};
use rmq_remoting::protocol::send::{MSG_REGION, RecallMessage, RecallResponse};
use rmq_remoting::{Peer, RemotingCommand, Reply, Response};
use rmq_runtime::Clock;
use rmq_store::QueueKey;

use super::offset::read;
use crate::append::{Appender, Before};
use crate::config::Live;
use crate::identity::Identity;
use crate::reply;
use crate::timer::recall::Ticket;
use crate::timer::{TICK_MS, Timing};
use crate::topic_table::TopicTable;

/// Tag of a mark.
const MARK_TAG: &str = "_RECALL_TAG_";

/// Serves recalls.
pub(crate) struct RecallRequests {
    pub(crate) identity: Arc<Identity>,
    pub(crate) live: Arc<Live>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) appender: Appender,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rules: Timing,
}

impl RecallRequests {
    /// Serves one.
    pub(crate) fn process(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Reply {
        self.recall(peer, request).unwrap_or_else(|mut refused| {
            refused.fields.push(MSG_REGION, &self.identity.region);
            Reply::Now(refused)
        })
    }

    fn recall(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Response> {
        if !self.rules.recall {
            return Err(reply::recall_forbidden());
        }
        let asked: RecallMessage = read(request)?;
        if !self.live.is_writable() {
            return Err(reply::recall_unavailable());
        }
        if self.topics.find(&asked.topic).is_none() {
            return Err(reply::recall_topic_missing(&asked.topic));
        }
        let ticket = Ticket::decode(&asked.recall_handle)
            .ok_or_else(|| reply::recall_illegal("recall handle is invalid"))?;
        if ticket.topic != asked.topic {
            return Err(reply::recall_illegal("recall failed, topic not match"));
        }
        if ticket.broker != self.identity.name {
            return Err(reply::recall_illegal("recall failed, broker service not available"));
        }
        let now = Timestamp::from(self.clock.wall());
        let left = ticket.at.saturating_sub(now.0);
        if left <= 0 || left >= self.rules.delay_ms_max {
            return Err(reply::recall_illegal("recall failed, timestamp invalid"));
        }
        self.mark(peer, request, &asked, &ticket, now)
    }

    fn mark(
        &self,
        peer: &Arc<Peer>,
        request: &RemotingCommand,
        asked: &RecallMessage,
        ticket: &Ticket,
        now: Timestamp,
    ) -> Result<Reply, Response> {
        let tick = ticket.at.div_euclid(TICK_MS) * TICK_MS;
        let (at, born, tick) = (ticket.at.to_string(), now.0.to_string(), tick.to_string());
        let group = asked.producer_group.as_deref().unwrap_or_default();
        let mut text = String::new();
        for (name, value) in [
            (property::UNIQ_KEY, &*ticket.unique_id),
            (property::TIMER_DEL_UNIQKEY, &ticket.unique_id),
            (property::TIMER_DELIVER_MS, &at),
            (property::TIMER_OUT_MS, &tick),
            (property::TAGS, MARK_TAG),
            (property::PRODUCER_GROUP, group),
            (property::BORN_TIMESTAMP, &born),
            (property::TRACE_CONTEXT, ""),
            (property::REAL_TOPIC, &ticket.topic),
            (property::REAL_QUEUE_ID, "0"),
        ] {
            text.extend([name, "\u{1}", value, "\u{2}"]);
        }
        let queue = QueueKey::new(name::TIMER_TOPIC, 0);
        let record = NewRecord {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: now,
            born_host: peer.remote(),
            store_host: self.identity.address(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"0",
            properties: text.as_bytes(),
            tags_code: java::hash(MARK_TAG).into(),
        };
        let receipt = self
            .appender
            .stage(&queue, std::slice::from_ref(&record))
            .map_err(|error| reply::append_failed(&error, self.appender.body_max()))?;

        let response = Response::of(&RecallResponse {
            msg_id: ticket.unique_id.clone(),
            region: Some(self.identity.region.clone()),
        });
        if request.is_oneway() {
            return Ok(Reply::None);
        }
        Ok(self.appender.answer(receipt.end, Before::default(), response))
    }
}
