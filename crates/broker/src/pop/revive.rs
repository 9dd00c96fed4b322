//! Reads the revive topic, and brings back what nobody has acknowledged in time: into the pop retry
//! topic of the group, or after too many deliveries into its dead-letter topic.
//!
//! One loop for each queue. What is brought back is acknowledged in the revive topic itself, so that
//! a restart brings nothing back that was brought back before; a crash between the two brings it
//! twice (INV-32). How far a queue is done is progress of the group
//! [`REVIVE_GROUP`](super::REVIVE_GROUP): everything up to that offset, this one included.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rmq_message::record::{NewRecord, RecordView};
use rmq_message::{
    CompactString, PhysicalOffset, Properties, QueueOffset, Timestamp, id, java, name, property,
    sys_flag,
};
use rmq_runtime::{Clock, ClockExt, Stop};
use rmq_store::{AppendError, MessageStore, QueueKey, ReadRequest, ReadStatus};
use tokio::sync::Notify;

use super::REVIVE_GROUP;
use super::check_point::{ACK_TAG, Ack, BATCH_ACK_TAG, CHECK_POINT_TAG, CheckPoint};
use super::in_flight::{InFlight, Overdue};
use super::receipt::{Kind, normal_topic};
use super::revive_log::ReviveLog;
use crate::append::{Appender, SAVE_WAIT};
use crate::cold::ColdReads;
use crate::document::Document;
use crate::group_table::{Group, GroupTable};
use crate::identity::Identity;
use crate::offset_table::{Backward, OffsetTable, Place};
use crate::topic_table::TopicTable;

/// Records of one read.
const BATCH: usize = 256;
/// Check points that are brought back before one wait for the store.
const OVERDUE: usize = 64;
/// Longest wait without a look at clock and queue; arrivals are only hints, and clocks may step.
const IDLE: Duration = Duration::from_secs(1);
/// From the first record of a rush until it is read, with those that have come meanwhile: nobody
/// waits for that but what is overdue.
const GATHER: Duration = Duration::from_millis(20);
/// Wait after a queue could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Brings back.
pub(crate) struct Revival {
    pub(crate) identity: Arc<Identity>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) appender: Appender,
    pub(crate) log: Arc<ReviveLog>,
    pub(crate) watch: Arc<ReviveWatch>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retry_kind: Kind,
}

/// Rings when the revive topic has grown; knows how much is in flight.
#[derive(Debug)]
pub(crate) struct ReviveWatch {
    topic: CompactString,
    bells: Vec<Notify>,
    in_flight: Vec<AtomicUsize>,
}

impl ReviveWatch {
    pub(crate) fn new(log: &ReviveLog) -> Self {
        let queues: Vec<_> = log.queues().collect();
        Self {
            topic: queues.first().map(|queue| queue.topic.clone()).unwrap_or_default(),
            bells: queues.iter().map(|_| Notify::new()).collect(),
            in_flight: queues.iter().map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// A queue has grown.
    pub(crate) fn arrived(&self, queue: &QueueKey) {
        if queue.topic == self.topic
            && let Some(bell) = of(&self.bells, queue.queue_id)
        {
            bell.notify_one();
        }
    }

    /// Check points in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

fn of<T>(cells: &[T], queue_id: i32) -> Option<&T> {
    usize::try_from(queue_id).ok().and_then(|index| cells.get(index))
}

impl Revival {
    /// Serves one queue of the revive topic until it is time to stop.
    pub(crate) async fn run(self: Arc<Self>, queue: QueueKey, stop: Stop) {
        let place = Place { group: REVIVE_GROUP, topic: &queue.topic, queue_id: queue.queue_id };
        let first = self.offsets.committed(place).map_or(0, |done| done.saturating_add(1));
        let mut flight = InFlight::new(QueueOffset(first));
        loop {
            let wait = match self.pass(&queue, &mut flight).await {
                Ok(wait) => wait,
                Err(why) => {
                    tracing::warn!(%queue, why, "popped messages wait for another try");
                    RETRY
                }
            };
            self.note(&queue, &flight);
            let rung = async {
                match of(&self.watch.bells, queue.queue_id) {
                    Some(bell) => bell.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = rung => self.clock.sleep(GATHER).await,
                () = self.clock.sleep(wait) => {}
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from(self.clock.wall())
    }

    /// Keeps what is known where others see it.
    fn note(&self, queue: &QueueKey, flight: &InFlight) {
        if let Some(count) = of(&self.watch.in_flight, queue.queue_id) {
            count.store(flight.len(), Ordering::Relaxed);
        }
        if let Some(done) = flight.done() {
            let place =
                Place { group: REVIVE_GROUP, topic: &queue.topic, queue_id: queue.queue_id };
            self.offsets.commit(place, done.0, Backward::Ignored, self.now());
        }
    }

    /// Reads all that is new, then brings back all that is overdue. How long to wait then.
    async fn pass(&self, queue: &QueueKey, flight: &mut InFlight) -> Result<Duration, String> {
        while self.read(queue, flight).await? {
            tokio::task::yield_now().await;
        }
        while self.bring_back_some(queue, flight).await? {}
        let wait = flight.next_due().map_or(IDLE, |due| {
            let millis = u64::try_from(due.saturating_sub(self.now().0)).unwrap_or(0);
            Duration::from_millis(millis)
        });
        Ok(wait.min(IDLE))
    }

    /// Reads some records; whether there may be more.
    async fn read(&self, queue: &QueueKey, flight: &mut InFlight) -> Result<bool, String> {
        let range = self.store.offsets(queue);
        flight.advance(range.start);
        let from = flight.next();
        if from >= range.end {
            return Ok(false);
        }
        let request = ReadRequest { queue, offset: from, count_max: BATCH, bytes_max: 4 << 20 };
        let outcome = self.cold.read(&request).await.map_err(|error| error.to_string())?;
        if outcome.status != ReadStatus::Found && outcome.next_offset <= from {
            return Err(format!("read ended with {:?} at {from}", outcome.status));
        }
        for mut slice in outcome.records {
            while !slice.is_empty() {
                let record = RecordView::parse(&slice).map_err(|error| error.to_string())?;
                apply(flight, &record);
                let len = record.total_len;
                slice.advance(len.min(slice.len()));
            }
        }
        flight.advance(outcome.next_offset);
        Ok(true)
    }

    /// Brings back what is overdue, at most one batch; whether there may be more.
    async fn bring_back_some(
        &self,
        queue: &QueueKey,
        flight: &mut InFlight,
    ) -> Result<bool, String> {
        let now = self.now().0;
        let overdue = flight.overdue(now, OVERDUE);
        let (mut back, mut end) = (Vec::new(), None);
        for one in &overdue {
            match self.bring_back(queue, one).await {
                Ok(staged) => {
                    back.push(one.at);
                    end = staged.or(end);
                }
                Err(error) => {
                    let CheckPoint { topic, group, .. } = &one.check_point;
                    tracing::warn!(%topic, %group, error, "popped messages cannot come back yet");
                    flight.postpone(one.at, now);
                }
            }
        }
        if let Some(end) = end {
            self.appender.settled(end).await.map_err(|error| error.to_string())?;
        }
        back.into_iter().for_each(|at| flight.finish(at));
        Ok(overdue.len() == OVERDUE)
    }

    /// Stages what is left of a check point, and its ack.
    async fn bring_back(
        &self,
        queue: &QueueKey,
        overdue: &Overdue,
    ) -> Result<Option<PhysicalOffset>, String> {
        let Overdue { check_point, left, .. } = overdue;
        let topic = normal_topic(&check_point.topic, &check_point.group);
        let group = self.groups.peek(&check_point.group);
        // Without topic or group nobody waits for it any more (INV-35).
        let (Some(group), Some(_)) = (group, self.topics.find(topic)) else { return Ok(None) };
        let from = QueueKey::new(&check_point.topic, check_point.queue_id);
        for offset in left {
            let Some(slice) = self.message(&from, *offset).await? else { continue };
            let record = RecordView::parse(&slice).map_err(|error| error.to_string())?;
            self.store_again(check_point, group, &record).await?;
        }
        let done = Ack::of(check_point, left.clone());
        let receipt = self.log.ack(queue.queue_id, &done, check_point.due());
        receipt.map(|receipt| Some(receipt.end)).map_err(|error| error.to_string())
    }

    /// The message, unless it is gone.
    async fn message(&self, queue: &QueueKey, offset: i64) -> Result<Option<Bytes>, String> {
        let request =
            ReadRequest { queue, offset: QueueOffset(offset), count_max: 1, bytes_max: 1 };
        let outcome = self.cold.read(&request).await.map_err(|error| error.to_string())?;
        match outcome.status {
            ReadStatus::Found => Ok(outcome.records.into_iter().next()),
            ReadStatus::OffsetFoundNull => Err(format!("{queue} cannot be read at {offset}")),
            _ => Ok(None),
        }
    }

    /// Stages the message where it comes again.
    async fn store_again(
        &self,
        check_point: &CheckPoint,
        group: Group,
        message: &RecordView<'_>,
    ) -> Result<(), String> {
        let counted = i32::from(!check_point.suspend);
        let reconsume_times = message.reconsume_times.saturating_add(counted);
        let dead = reconsume_times > group.retry_max;
        let topic = match Kind::of(&check_point.topic) {
            _ if dead => CompactString::from(name::dlq_topic(&check_point.group)),
            Kind::Normal => self.retry_kind.topic(&check_point.topic, &check_point.group),
            _ => check_point.topic.clone(),
        };
        self.provide(&topic, &check_point.group, dead).await?;
        let properties = properties(check_point, message, dead).render();
        let queue = QueueKey::new(&topic, 0);
        let record = NewRecord {
            topic: &topic,
            queue_id: 0,
            flag: message.flag,
            sys_flag: message.sys_flag & !sys_flag::TRANSACTION_PREPARED,
            born_timestamp: message.born_timestamp,
            born_host: self.identity.address(),
            store_host: self.identity.address(),
            reconsume_times,
            prepared_transaction_offset: 0,
            body: message.body,
            properties: properties.as_bytes(),
            tags_code: message.property(property::TAGS).map_or(0, |tag| java::hash(tag).into()),
        };
        match self.appender.stage(&queue, std::slice::from_ref(&record)) {
            Ok(_) => Ok(()),
            // It will never fit, and must not hold up all others.
            Err(error @ (AppendError::TooLarge { .. } | AppendError::Unfit(_))) => {
                tracing::error!(%topic, %error, "a popped message cannot come back");
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Makes the topic if it is not there; a new retry topic begins at its beginning.
    async fn provide(&self, topic: &str, group: &str, dead: bool) -> Result<(), String> {
        let now = self.now();
        let made = self.topics.provide(topic, 1, 0, now);
        let made = made.ok_or_else(|| format!("{topic} cannot be made"))?;
        if !dead {
            let place = Place { group, topic, queue_id: 0 };
            if self.offsets.committed(place).is_none() {
                self.offsets.commit(place, 0, Backward::Ignored, now);
            }
        }
        let Some(change) = made.change else { return Ok(()) };
        let saved = self.topics.changes().saved(change);
        match self.clock.timeout(SAVE_WAIT, saved).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(format!("{topic} is not saved")),
        }
    }
}

/// Notes a record of the revive topic. What cannot be read is nothing.
fn apply(flight: &mut InFlight, record: &RecordView<'_>) {
    let known = match record.property(property::TAGS) {
        Some(CHECK_POINT_TAG) => rmq_remoting::json::from_slice(record.body)
            .map(|check_point| flight.check_point(record.queue_offset, check_point)),
        Some(ACK_TAG | BATCH_ACK_TAG) => {
            rmq_remoting::json::from_slice::<Ack>(record.body).map(|ack| flight.ack(&ack))
        }
        _ => return,
    };
    if let Err(error) = known {
        let offset = record.physical_offset.0;
        tracing::warn!(offset, %error, "a record of the revive topic cannot be read");
    }
}

fn properties(check_point: &CheckPoint, message: &RecordView<'_>, dead: bool) -> Properties {
    let mut properties = Properties::parse(&String::from_utf8_lossy(message.properties));
    if message.reconsume_times == 0 || properties.get(property::FIRST_POP_TIME).is_none() {
        properties.set(property::FIRST_POP_TIME, check_point.pop_time.to_string());
    }
    properties.set(property::ORIGIN_GROUP, &check_point.group);
    if dead {
        let origin = normal_topic(message.topic, &check_point.group);
        if properties.get(property::RETRY_TOPIC).is_none() {
            properties.set(property::RETRY_TOPIC, origin);
        }
        if properties.get(property::ORIGIN_MESSAGE_ID).is_none_or(|id| id.trim().is_empty()) {
            let offset_id = id::offset_id(message.store_host, message.physical_offset);
            properties.set(property::ORIGIN_MESSAGE_ID, offset_id);
        }
    }
    properties
}
