//! Messages that come back for a later delivery (36), and where they end after too many (INV-31).

use std::sync::Arc;

use rmq_message::record::{NewRecord, RecordView};
use rmq_message::{PhysicalOffset, Properties, Timestamp, id, java, name, property, sys_flag};
use rmq_remoting::protocol::send_back::{SEND_BACK_MAX_VERSION, SendBack};
use rmq_remoting::{RemotingCommand, Reply, Response};
use rmq_runtime::{Clock, Entropy};
use rmq_store::QueueKey;

use super::offset::read;
use crate::append::{Appender, Before};
use crate::cold::ColdReads;
use crate::config::Live;
use crate::delay::Levels;
use crate::document::Document;
use crate::group_table::{Group, GroupTable};
use crate::identity::Identity;
use crate::reply;
use crate::stats::Stats;
use crate::topic_table::{Ensured, TopicTable};

/// Delay level of a first retry that names none.
const FIRST_RETRY_LEVEL: i32 = 3;

/// Serves messages that come back.
pub(crate) struct SendBackRequests {
    pub(crate) identity: Arc<Identity>,
    pub(crate) live: Arc<Live>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) appender: Appender,
    pub(crate) levels: Levels,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) stats: Arc<Stats>,
}

impl SendBackRequests {
    /// Serves one.
    pub(crate) fn process(self: &Arc<Self>, request: &RemotingCommand) -> Reply {
        self.admit(request).unwrap_or_else(Reply::Now)
    }

    fn admit(self: &Arc<Self>, request: &RemotingCommand) -> Result<Reply, Response> {
        let asked: SendBack = read(request)?;
        let now = Timestamp::from(self.clock.wall());
        let group = self
            .groups
            .find(&asked.group, self.live.auto_create_group(), now)
            .ok_or_else(|| reply::send_group_missing(&asked.group))?;
        if !self.live.is_writable() {
            return Err(reply::send_back_forbidden_here(self.identity.address().ip()));
        }
        if group.retry_queues <= 0 {
            return Ok(Reply::Now(Response::ok()));
        }
        let sys_flag = if asked.unit_mode == Some(true) { sys_flag::topic::UNIT_SUB } else { 0 };
        let retry =
            self.provide(&name::retry_topic(&asked.group), group.retry_queues, sys_flag, now)?;
        let at = PhysicalOffset::from_i64(asked.offset)
            .ok_or_else(|| reply::message_not_found(asked.offset))?;
        let max = asked
            .max_reconsume_times
            .filter(|_| request.version >= SEND_BACK_MAX_VERSION)
            .unwrap_or(group.retry_max);
        let retry = self.any_queue(group, retry);
        let this = Arc::clone(self);
        Ok(self.cold.with_message(at, move |record| {
            let record = record.map_err(|_| reply::message_not_found(asked.offset));
            let stored = record.and_then(|record| this.send_back(&asked, &record, max, retry));
            stored.unwrap_or_else(Reply::Now)
        }))
    }

    fn send_back(
        &self,
        asked: &SendBack,
        record: &[u8],
        max: i32,
        retry: Destination,
    ) -> Result<Reply, Response> {
        let now = Timestamp::from(self.clock.wall());
        let message =
            RecordView::parse(record).map_err(|_| reply::message_not_found(asked.offset))?;
        self.stats.sent_back(message.topic, &asked.group);
        if message.reconsume_times >= max || asked.delay_level < 0 {
            self.stats.dead(message.topic, &asked.group);
            let dead = self.provide(&name::dlq_topic(&asked.group), 1, 0, now)?;
            return self.store(&message, dead, 0, now);
        }
        let level = match asked.delay_level {
            0 => FIRST_RETRY_LEVEL.saturating_add(message.reconsume_times),
            level => level,
        };
        self.store(&message, retry, level, now)
    }

    fn provide(
        &self,
        topic: &str,
        queues: i32,
        sys_flag: i32,
        now: Timestamp,
    ) -> Result<Destination, Response> {
        let made = self.topics.provide(topic, queues, sys_flag, now);
        let Ensured { topic: found, change } = made.ok_or_else(|| reply::topic_unmade(topic))?;
        if !found.is_writable() {
            return Err(reply::topic_not_writable(topic));
        }
        let saved = change.map(|change| self.topics.changes().saved(change));
        Ok(Destination { queue: QueueKey::new(topic, 0), saved })
    }

    fn any_queue(&self, group: Group, mut retry: Destination) -> Destination {
        let queue = self.entropy.below(u64::try_from(group.retry_queues).unwrap_or(1));
        retry.queue.queue_id = i32::try_from(queue).unwrap_or(0);
        retry
    }

    fn store(
        &self,
        message: &RecordView<'_>,
        to: Destination,
        level: i32,
        now: Timestamp,
    ) -> Result<Reply, Response> {
        let mut properties = Properties::parse(&String::from_utf8_lossy(message.properties));
        if properties.get(property::RETRY_TOPIC).is_none() {
            properties.set(property::RETRY_TOPIC, message.topic);
        }
        if properties.get(property::ORIGIN_MESSAGE_ID).is_none_or(|id| id.trim().is_empty()) {
            let origin = id::offset_id(message.store_host, message.physical_offset);
            properties.set(property::ORIGIN_MESSAGE_ID, origin);
        }
        properties.set(property::WAIT, "false");
        // Those of an earlier wait; another one writes its own.
        properties.remove(property::REAL_TOPIC);
        properties.remove(property::REAL_QUEUE_ID);
        let level = self.levels.clamp(level);
        properties.set(property::DELAY, level.unwrap_or(0).to_string());
        let tags_code = properties.get(property::TAGS).map_or(0, |tag| java::hash(tag).into());
        let (queue, tags_code) = match level {
            None => (to.queue, tags_code),
            Some(level) => {
                properties.set(property::REAL_TOPIC, &to.queue.topic);
                properties.set(property::REAL_QUEUE_ID, to.queue.queue_id.to_string());
                let delay = self.levels.delay(level).unwrap_or_default();
                let due = now + i64::try_from(delay.as_millis()).unwrap_or(0);
                (QueueKey::new(name::SCHEDULE_TOPIC, level - 1), due.0)
            }
        };
        let text = properties.render();
        let record = NewRecord {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            flag: message.flag,
            // A half or rolled-back message has no place in a queue, and none comes back.
            sys_flag: message.sys_flag & !sys_flag::TRANSACTION_PREPARED,
            born_timestamp: message.born_timestamp,
            born_host: message.born_host,
            store_host: self.identity.address(),
            reconsume_times: message.reconsume_times.saturating_add(1),
            prepared_transaction_offset: 0,
            body: message.body,
            properties: text.as_bytes(),
            tags_code,
        };
        let receipt = self
            .appender
            .stage(&queue, std::slice::from_ref(&record))
            .map_err(|error| reply::failed(reply::put_status(&error)))?;
        // The client lets go of the original when this is answered, so the copy must be durable.
        let before = Before { saved: to.saved, no_flush: false };
        Ok(self.appender.answer(receipt.end, before, Response::ok()))
    }
}

/// Where the copy goes.
struct Destination {
    queue: QueueKey,
    saved: Option<rmq_runtime::watermark::Reached>,
}
