//! Looks into queues: 303, 308, 321.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_message::record::RecordView;
use rmq_message::subscription::Subscription;
use rmq_message::{MessageQueue, QueueOffset, Timestamp};
use rmq_remoting::protocol::heartbeat::TopicSubscription;
use rmq_remoting::protocol::queue::{
    Corrections, QueryCorrection, QueryQueue, QueryTimeSpan, QueueEntries, QueueEntry, TimeSpan,
    TimeSpans,
};
use rmq_remoting::{RemotingCommand, Reply, Response};
use rmq_runtime::{Clock, Tasks};
use rmq_store::{MessageFilter, MessageStore, QueueKey, ReadRequest, ReadStatus};

use crate::consumer_registry::ConsumerRegistry;
use crate::filter_table::FilterTable;
use crate::identity::Identity;
use crate::limits::echo;
use crate::offset_table::{OffsetTable, Place};
use crate::processor::offset::{answer, blocking, read, store_time};
use crate::reply;
use crate::topic_table::TopicTable;

/// Most entries of one answer.
const ENTRIES_MAX: usize = 1024;

/// Serves them.
#[derive(Clone)]
pub(crate) struct QueueAdmin {
    pub(crate) identity: Arc<Identity>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) consumers: Arc<ConsumerRegistry>,
    pub(crate) filters: Arc<FilterTable>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
}

/// Admits all, and remembers what the queue's entries hold of the tags.
#[derive(Default)]
struct Codes(Mutex<Vec<i64>>);

impl MessageFilter for Codes {
    fn admits_entry(&self, tags_code: i64) -> bool {
        self.0.lock().push(tags_code);
        true
    }
}

impl QueueAdmin {
    /// Entries of a queue (321).
    pub(crate) fn entries(&self, request: &RemotingCommand) -> Reply {
        let asked: QueryQueue = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let this = self.clone();
        blocking(self.tasks.clone(), move || answer(this.read_entries(&asked)))
    }

    fn read_entries(&self, asked: &QueryQueue) -> Result<Response, Response> {
        let known = self.topics.find(&asked.topic);
        let queue = QueueKey::new(&asked.topic, asked.queue_id);
        if !known.is_some_and(|topic| (0..topic.queues()).contains(&asked.queue_id)) {
            return Err(reply::failed(format_args!(
                "{}@{} is not exist!",
                asked.queue_id,
                echo(&asked.topic)
            )));
        }
        let range = self.store.offsets(&queue);
        let mut body = QueueEntries {
            max_queue_index: range.end.0,
            min_queue_index: range.start.0,
            ..QueueEntries::default()
        };
        let mut subscription = None;
        if let Some(group) = asked.consumer_group.as_deref().filter(|group| !group.is_empty()) {
            subscription = self.consumers.subscription(group, &asked.topic);
            body.filter_data = Some(match &subscription {
                // What Apache writes for a group whose filter is no SQL.
                Some(_) => {
                    let condition = self.filters.describe(group, &asked.topic);
                    condition.unwrap_or_else(|| "null".to_owned())
                }
                None => format!("{}@{} is not online!", echo(group), echo(&asked.topic)),
            });
            body.subscription_data = subscription.as_deref().map(TopicSubscription::from);
        }
        let mut at = QueueOffset(asked.index);
        let wanted = usize::try_from(asked.count).unwrap_or(0).min(ENTRIES_MAX);
        let mut remark = Cow::Borrowed(reply::UNSET);
        while body.queue_data.len() < wanted {
            let missing = wanted - body.queue_data.len();
            let next = self.some_entries(&queue, at, missing, subscription.as_deref())?;
            let Some((entries, next)) = next else {
                if body.queue_data.is_empty() {
                    let topic = echo(&asked.topic);
                    let (index, queue_id) = (asked.index, asked.queue_id);
                    remark = format!("Index {index} of {queue_id}@{topic} is not exist!").into();
                }
                break;
            };
            body.queue_data.extend(entries);
            at = next;
        }
        Ok(Response::of(&body).with_remark(remark))
    }

    /// Entries from an offset on, and where to read on.
    fn some_entries(
        &self,
        queue: &QueueKey,
        offset: QueueOffset,
        count_max: usize,
        subscription: Option<&Subscription>,
    ) -> Result<Option<(Vec<QueueEntry>, QueueOffset)>, Response> {
        let codes = Codes::default();
        let request = ReadRequest { queue, offset, count_max, bytes_max: usize::MAX };
        let found =
            self.store.read(&request, &codes).map_err(|error| reply::read_failed(&error))?;
        if found.status != ReadStatus::Found {
            return Ok(None);
        }
        let codes = codes.0.into_inner();
        let mut entries = Vec::with_capacity(found.count);
        for mut slice in found.records.iter().map(|slice| &slice[..]) {
            while let Ok(record) = RecordView::parse(slice) {
                let tags_code = codes.get(entries.len()).copied().unwrap_or(0);
                entries.push(QueueEntry {
                    eval: subscription.is_some_and(|wanted| wanted.admits_code(tags_code)),
                    physic_offset: record.physical_offset.to_i64(),
                    physic_size: i32::try_from(record.total_len).unwrap_or(i32::MAX),
                    tags_code,
                });
                slice = slice.get(record.total_len..).unwrap_or_default();
            }
        }
        Ok(Some((entries, found.next_offset)))
    }

    /// From when to when messages are, and how far a group is (303).
    pub(crate) fn time_spans(&self, request: &RemotingCommand) -> Reply {
        let asked: QueryTimeSpan = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let Some(topic) = self.topics.find(&asked.topic) else {
            return Reply::Now(reply::stats_topic_missing(&asked.topic));
        };
        let this = self.clone();
        blocking(self.tasks.clone(), move || {
            let spans = (0..topic.write_queues).map(|queue_id| this.time_span(&asked, queue_id));
            Response::of(&TimeSpans { consume_time_span_set: spans.collect() })
        })
    }

    fn time_span(&self, asked: &QueryTimeSpan, queue_id: i32) -> TimeSpan {
        let queue = QueueKey::new(&asked.topic, queue_id);
        let range = self.store.offsets(&queue);
        let time = |offset: QueueOffset| {
            let inside = range.contains(&offset);
            let time = inside.then(|| store_time(&*self.store, &queue, offset).ok().flatten());
            time.flatten().map_or(-1, |time| time.0)
        };
        let place = Place { group: &asked.group, topic: &asked.topic, queue_id };
        let done = QueueOffset(self.offsets.committed(place).unwrap_or(0));
        let first = time(range.start);
        let next = if done < range.end { time(done.max(range.start)) } else { -1 };
        let now = Timestamp::from(self.clock.wall()).0;
        TimeSpan {
            consume_time_stamp: if done > range.start { time(done + -1) } else { first },
            delay_time: if next >= 0 { now.saturating_sub(next) } else { 0 },
            max_time_stamp: time(range.end + -1),
            message_queue: MessageQueue::new(&asked.topic, &self.identity.name, queue_id),
            min_time_stamp: first,
        }
    }

    /// The lowest positions of other groups; the greatest number where one group lies behind them
    /// (308). Unlike Apache's this forgets nobody's progress.
    pub(crate) fn corrections(&self, request: &RemotingCommand) -> Response {
        answer(read::<QueryCorrection>(request).map(|asked| {
            let left_out: Vec<&str> =
                asked.filter_groups.as_deref().unwrap_or_default().split(',').collect();
            let mut lowest: BTreeMap<i32, i64> = BTreeMap::new();
            for group in self.offsets.groups_of(&asked.topic) {
                if left_out.contains(&group.as_str()) {
                    continue;
                }
                for (queue_id, offset) in self.offsets.queues_of(&group, &asked.topic) {
                    let start = self.store.offsets(&QueueKey::new(&asked.topic, queue_id)).start.0;
                    if offset >= start {
                        let known = lowest.entry(queue_id).or_insert(offset);
                        *known = offset.min(*known);
                    }
                }
            }
            for (queue_id, offset) in self.offsets.queues_of(&asked.compare_group, &asked.topic) {
                if let Some(known) = lowest.get_mut(&queue_id).filter(|known| **known > offset) {
                    *known = i64::MAX;
                }
            }
            Response::of(&Corrections { correction_offsets: lowest })
        }))
    }
}
