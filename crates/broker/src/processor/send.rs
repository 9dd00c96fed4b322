//! Sends: 10, 310, 320.
//!
//! The order of the checks is Apache's, since clients retry by the code. The hot path reads the
//! header in one pass, walks the properties once, and stages one record; no map is built.

mod properties;

use std::net::SocketAddr;
use std::sync::Arc;

use rmq_message::id::{self, UniqueIds};
use rmq_message::record::NewRecord;
use rmq_message::{CompactString, Timestamp, batch, java, name, property, sys_flag};
use rmq_remoting::protocol::send::{MSG_REGION, SendMessage, TRACE_ON};
use rmq_remoting::protocol::send_back::SEND_BACK_MAX_VERSION;
use rmq_remoting::{Fields, Peer, RemotingCommand, Reply, Response, request_code};
use rmq_runtime::{Clock, Entropy};
use rmq_store::{AppendReceipt, QueueKey};
use smallvec::SmallVec;

use properties::{Edits, Marks, Scan};

use crate::append::{Appender, Before};
use crate::config::Live;
use crate::delay::Levels;
use crate::document::Document;
use crate::group_table::GroupTable;
use crate::identity::Identity;
use crate::queue_lock::LockTable;
use crate::reply;
use crate::stats::{Count, Stats};
use crate::timer::Timing;
use crate::timer::recall::Ticket;
use crate::topic_table::{Template, Topic, TopicTable};
use crate::transaction;

/// Flags that a sender cannot give a message: kinds of records that only the broker writes.
pub(super) const NOT_SENDERS: i32 =
    sys_flag::TRANSACTION_ROLLBACK | sys_flag::NEED_UNWRAP | sys_flag::INNER_BATCH;

/// Serves sends.
pub(crate) struct SendRequests {
    pub(crate) identity: Arc<Identity>,
    pub(crate) live: Arc<Live>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) appender: Appender,
    pub(crate) levels: Levels,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) ids: UniqueIds,
    pub(crate) stats: Arc<Stats>,
    pub(crate) timers: Timing,
    /// Whether messages of transactions are refused.
    pub(crate) reject_transactions: bool,
    /// Sends are refused before this moment, ms since 1970.
    pub(crate) accept_from: i64,
}

/// Where a message goes.
pub(super) struct Target {
    pub(super) topic: CompactString,
    pub(super) queue_id: i32,
    pub(super) before: Before,
    /// Delay level in place of the message's own, when the message goes to the dead letters.
    delay: Option<i32>,
    /// Queues that priorities may choose among.
    queues: i32,
}

impl SendRequests {
    /// Serves one.
    pub(crate) fn process(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Reply {
        self.send(peer, request).unwrap_or_else(|mut refused| {
            self.stats.add(Count::PutFailed, 1);
            self.mark(&mut refused.fields);
            Reply::Now(refused)
        })
    }

    /// Tells the region, and whether to trace.
    pub(super) fn mark(&self, fields: &mut Fields) {
        fields.push(MSG_REGION, &self.identity.region);
        fields.push(TRACE_ON, self.identity.trace_text());
    }

    fn send(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Response> {
        let header = SendMessage::from_fields(&request.fields).map_err(reply::failed)?;
        let now = Timestamp::from(self.clock.wall());
        if now.0 < self.accept_from {
            return Err(reply::not_yet_accepting(self.accept_from));
        }
        let target = self.target(peer, &header, now)?;
        if request.body.is_empty() {
            return Err(reply::failed("the message has no body"));
        }
        let incoming = Incoming { peer, request, header, now };
        if incoming.header.batch || request.code == request_code::SEND_BATCH_MESSAGE {
            self.batch(&incoming, target)
        } else {
            self.single(&incoming, target)
        }
    }

    /// Finds or makes the topic, and chooses the queue.
    pub(super) fn target(
        &self,
        peer: &Arc<Peer>,
        header: &SendMessage<'_>,
        now: Timestamp,
    ) -> Result<Target, Response> {
        let known = self.topics.find(header.topic);
        if !self.live.is_writable() && known.is_some_and(|topic| topic.order) {
            return Err(reply::send_forbidden_here(self.identity.address().ip()));
        }
        name::validate_topic(header.topic)
            .map_err(|error| reply::bad_topic_name(header.topic, &error))?;
        if !name::is_sendable(header.topic) {
            return Err(reply::topic_not_sendable(header.topic));
        }
        let (topic, change) = match known {
            Some(topic) => (topic, None),
            None => self.make_topic(header, now)?,
        };
        if header.queue_id >= topic.queues() {
            let config = self.topics.get(header.topic).unwrap_or_default();
            return Err(reply::send_queue(header.queue_id, &config, peer.remote()));
        }
        let queue_id = match header.queue_id {
            asked @ 0.. => asked,
            _ => self.any_queue(topic.write_queues)?,
        };
        let saved = change.map(|change| self.topics.changes().saved(change));
        let before = Before { saved, no_flush: false };
        let queues = topic.write_queues;
        Ok(Target { topic: header.topic.into(), queue_id, before, delay: None, queues })
    }

    fn make_topic(
        &self,
        header: &SendMessage<'_>,
        now: Timestamp,
    ) -> Result<(Topic, Option<u64>), Response> {
        let is_retry = name::is_retry(header.topic);
        let sys_flag = match (header.unit_mode, is_retry) {
            (false, _) => 0,
            (true, true) => sys_flag::topic::UNIT_SUB,
            (true, false) => sys_flag::topic::UNIT,
        };
        let template = Template {
            topic: header.default_topic,
            queues: header.default_topic_queue_nums,
            sys_flag,
            auto_create: self.live.auto_create_topic(),
        };
        let made = self.topics.inherit(header.topic, template, now).or_else(|| {
            is_retry.then(|| self.topics.provide(header.topic, 1, sys_flag, now)).flatten()
        });
        let made = made.ok_or_else(|| reply::send_topic_missing(header.topic))?;
        Ok((made.topic, made.change))
    }

    fn any_queue(&self, queues: i32) -> Result<i32, Response> {
        let bound = u64::try_from(queues).unwrap_or(0);
        let chosen = (bound > 0).then(|| self.entropy.below(bound));
        chosen
            .and_then(|queue| i32::try_from(queue).ok())
            .ok_or_else(|| reply::failed("the topic has no queue to write to"))
    }

    fn single(&self, incoming: &Incoming<'_>, target: Target) -> Result<Reply, Response> {
        let Incoming { peer, request, ref header, now } = *incoming;
        let asked_queue = target.queue_id;
        let scan = Scan::of(header.properties)
            .map_err(|error| reply::illegal_message(format_args!("{error}")))?;
        let mut target = self.redirect_retry(incoming, target)?;
        let priority = scan.priority_queue(target.queues);
        if let Ok(Some(queue_id)) = priority {
            target.queue_id = queue_id;
        }
        target.before.no_flush |= scan.no_wait || request.is_oneway();
        let wait = self.wait(header, &scan, &target, now)?;
        let level = wait.level();
        let delay = level.and_then(|level| self.levels.delay(level));

        let made_id;
        let unique_id = match scan.unique_id {
            Some(id) => id,
            None => {
                made_id = self.ids.next(now);
                &made_id
            }
        };
        let edits = Edits {
            unique_id: scan.unique_id.is_none().then_some(unique_id),
            // Written anew where it is not what the sender wrote.
            delay: level.filter(|level| *level != scan.delay).or(target.delay),
            real: (wait != Wait::None).then_some((&*target.topic, target.queue_id)),
            tick: wait.tick(),
            transaction_id: (wait == Wait::Verdict).then_some(unique_id),
            no_priority: priority.is_err(),
        };
        let marks = Marks {
            cluster: &self.identity.cluster,
            region: &self.identity.region,
            trace_on: self.identity.trace_text(),
        };
        let mut text: SmallVec<[u8; 512]> = SmallVec::new();
        properties::rewrite(header.properties, &scan, &edits, &marks, &mut text);

        let queue = wait.queue(&target);
        let tags_code = match delay {
            Some(delay) => now.0.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(0)),
            None => scan.tags.map_or(0, |tag| java::hash(tag).into()),
        };
        let record = NewRecord {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            flag: header.flag,
            sys_flag: header.sys_flag & !NOT_SENDERS,
            born_timestamp: Timestamp(header.born_timestamp),
            born_host: born_host(peer),
            store_host: self.identity.address(),
            reconsume_times: header.reconsume_times,
            prepared_transaction_offset: 0,
            body: &request.body,
            properties: &text,
            tags_code,
        };
        let receipt = self
            .appender
            .stage(&queue, std::slice::from_ref(&record))
            .map_err(|error| reply::append_failed(&error, self.appender.body_max()))?;
        // Of a message that waits the queue that was asked for, but the offset where it waits.
        let queue_id = if wait == Wait::None { target.queue_id } else { asked_queue };
        let ids = id::offset_id(self.identity.address(), receipt.physical_offset);
        let mut response = self.stored(&ids, queue_id, &receipt, unique_id);
        if let Wait::Tick(tick) = wait
            && !name::is_retry(&target.topic)
        {
            let broker = self.identity.name.clone();
            let at = tick.saturating_add(1);
            let ticket = Ticket { topic: target.topic, broker, at, unique_id: unique_id.into() };
            response.fields.push("recallHandle", &ticket.encode());
        }
        Ok(self.finish(request, &receipt, target.before, response))
    }

    /// What a message has to wait for before it goes where it belongs.
    fn wait(
        &self,
        header: &SendMessage<'_>,
        scan: &Scan<'_>,
        target: &Target,
        now: Timestamp,
    ) -> Result<Wait, Response> {
        let level = self.levels.clamp(target.delay.unwrap_or(scan.delay));
        // A dead letter is one whatever it was before, and so is a retry.
        let is_again = target.delay.is_some() || (header.reconsume_times > 0 && level.is_some());
        if scan.transaction && !is_again {
            if self.reject_transactions {
                return Err(reply::transactions_forbidden(self.identity.address().ip()));
            }
            if level.is_some() || !scan.wish.is_none() {
                return Err(reply::transaction_delayed());
            }
            return Ok(Wait::Verdict);
        }
        match level {
            Some(level) => Ok(Wait::Level(level)),
            None if scan.wish.is_none() || target.delay.is_some() => Ok(Wait::None),
            None => self.tick(scan, now),
        }
    }

    /// The tick that a message asks for, if it is still to come.
    fn tick(&self, scan: &Scan<'_>, now: Timestamp) -> Result<Wait, Response> {
        if !self.timers.enabled {
            return Err(reply::timers_disabled());
        }
        let max = self.timers.delay_ms_max;
        let tick = scan.wish.tick(now, max).map_err(|_| reply::timer_illegal(max))?;
        match tick {
            Some(tick) => Ok(Wait::Tick(tick)),
            // There is nothing left to take back.
            None if scan.takes_back => Err(reply::timer_illegal(max)),
            None => Ok(Wait::None),
        }
    }

    /// Sends to a retry topic: too many deliveries, or a group that consumes in order, end in the
    /// dead-letter topic (INV-31).
    fn redirect_retry(&self, incoming: &Incoming<'_>, target: Target) -> Result<Target, Response> {
        let Incoming { request, ref header, now, .. } = *incoming;
        let Some(group) = header.topic.strip_prefix(name::RETRY_PREFIX) else { return Ok(target) };
        let found = self
            .groups
            .find(group, self.live.auto_create_group(), now)
            .ok_or_else(|| reply::send_group_missing(group))?;
        let max = header
            .max_reconsume_times
            .filter(|_| request.version >= SEND_BACK_MAX_VERSION)
            .unwrap_or(found.retry_max);
        let in_order = self.locks.is_held(group, self.clock.monotonic());
        if header.reconsume_times <= max && !in_order {
            return Ok(target);
        }
        self.stats.dead(header.topic, group);
        let topic = name::dlq_topic(group);
        let made =
            self.topics.provide(&topic, 1, 0, now).ok_or_else(|| reply::topic_unmade(&topic))?;
        let saved = made.change.map(|change| self.topics.changes().saved(change));
        let before = Before { saved: saved.or(target.before.saved), ..target.before };
        Ok(Target { topic: topic.into(), queue_id: 0, before, delay: Some(-1), queues: 1 })
    }

    fn batch(&self, incoming: &Incoming<'_>, target: Target) -> Result<Reply, Response> {
        let Incoming { peer, request, ref header, now } = *incoming;
        if name::is_retry(header.topic) {
            return Err(reply::batch_to_retry(header.topic));
        }
        if header.topic.len() > name::TOPIC_LEN_MAX {
            return Err(reply::batch_topic_too_long(header.topic.len()));
        }
        let body_max = self.appender.body_max();
        if request.body.len() > body_max {
            return Err(reply::message_unfit(body_max));
        }
        let scan = Scan::of(header.properties)
            .map_err(|error| reply::illegal_message(format_args!("{error}")))?;
        if scan.transaction
            || !scan.wish.is_none()
            || scan.delay > 0
            || sys_flag::transaction(header.sys_flag) != 0
        {
            return Err(reply::message_unfit(body_max));
        }
        let items = batch::decode(&request.body).map_err(reply::illegal_message)?;
        let records: Vec<NewRecord<'_>> = items
            .iter()
            .map(|item| NewRecord {
                topic: header.topic,
                queue_id: target.queue_id,
                flag: item.flag,
                sys_flag: header.sys_flag & !NOT_SENDERS,
                born_timestamp: Timestamp(header.born_timestamp),
                born_host: born_host(peer),
                store_host: self.identity.address(),
                reconsume_times: header.reconsume_times,
                prepared_transaction_offset: 0,
                body: item.body,
                properties: item.properties,
                tags_code: rmq_message::properties::find(item.properties, property::TAGS)
                    .map_or(0, |tag| java::hash(tag).into()),
            })
            .collect();
        let queue = QueueKey { topic: target.topic.clone(), queue_id: target.queue_id };
        let receipt = self
            .appender
            .stage(&queue, &records)
            .map_err(|error| reply::append_failed(&error, body_max))?;
        let address = self.identity.address();
        let ids: Vec<_> =
            receipt.physical_offsets().map(|offset| id::offset_id(address, offset)).collect();
        let made_id;
        let unique_id = match scan.unique_id {
            Some(id) => id,
            None => {
                made_id = self.ids.next(now);
                &made_id
            }
        };
        let response = self.stored(&ids.join(","), target.queue_id, &receipt, unique_id);
        let no_flush = scan.no_wait || request.is_oneway();
        let before = Before { no_flush, ..target.before };
        Ok(self.finish(request, &receipt, before, response))
    }

    fn stored(
        &self,
        ids: &str,
        queue_id: i32,
        receipt: &AppendReceipt,
        unique_id: &str,
    ) -> Response {
        let mut response = Response::ok();
        let fields = &mut response.fields;
        fields.push("msgId", ids);
        fields.push_int("queueId", queue_id);
        fields.push_int("queueOffset", receipt.queue_offset.0);
        fields.push("transactionId", unique_id);
        self.mark(fields);
        response
    }

    fn finish(
        &self,
        request: &RemotingCommand,
        receipt: &AppendReceipt,
        before: Before,
        response: Response,
    ) -> Reply {
        if request.is_oneway() {
            return Reply::None;
        }
        self.appender.answer(receipt.end, before, response)
    }
}

/// Where a message comes from; an IPv4 address that came over an IPv6 socket is one still.
pub(super) fn born_host(peer: &Peer) -> SocketAddr {
    SocketAddr::new(peer.remote().ip().to_canonical(), peer.remote().port())
}

/// What a message has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    None,
    /// The time of a delay level.
    Level(i32),
    /// The end of a tick, ms.
    Tick(i64),
    /// The end of its transaction.
    Verdict,
}

impl Wait {
    /// Where a message lies meanwhile.
    fn queue(self, target: &Target) -> QueueKey {
        match self {
            Self::Level(level) => QueueKey::new(name::SCHEDULE_TOPIC, level - 1),
            Self::Tick(_) => QueueKey::new(name::TIMER_TOPIC, 0),
            Self::Verdict => transaction::half_queue(),
            Self::None => QueueKey { topic: target.topic.clone(), queue_id: target.queue_id },
        }
    }

    fn tick(self) -> Option<i64> {
        match self {
            Self::Tick(tick) => Some(tick),
            Self::None | Self::Level(_) | Self::Verdict => None,
        }
    }

    fn level(self) -> Option<i32> {
        match self {
            Self::Level(level) => Some(level),
            Self::None | Self::Tick(_) | Self::Verdict => None,
        }
    }
}

/// A send as it came.
struct Incoming<'a> {
    peer: &'a Arc<Peer>,
    request: &'a RemotingCommand,
    header: SendMessage<'a>,
    now: Timestamp,
}
