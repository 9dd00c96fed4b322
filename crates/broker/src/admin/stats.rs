//! Numbers for tools: 28, 202, 203, 204, 208, 300, 315, 328, 343, 345.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rmq_message::{CompactString, MessageQueue, QueueOffset, Timestamp};
use rmq_remoting::protocol::client::{ConsumerConnections, ProducerConnections};
use rmq_remoting::protocol::heartbeat::TopicSubscription;
use rmq_remoting::protocol::kv::KvTable;
use rmq_remoting::protocol::stats::{
    ConsumeStats, GetConsumeStats, GetTopicStats, GroupList, GroupOffset, GroupSubscription,
    QuerySubscription, TopicOffset, TopicStatsTable, ViewBrokerStats, WhoConsumes,
};
use rmq_remoting::protocol::topic::{TopicList, TopicsByConsumer};
use rmq_remoting::{RemotingCommand, Reply, Response};
use rmq_runtime::{Clock, Monotonic, Tasks};
use rmq_store::{MessageStore, QueueKey, StoreAdmin};

use crate::consumer_registry::ConsumerRegistry;
use crate::delay::{DelayProgress, Levels};
use crate::hold::HoldService;
use crate::identity::Identity;
use crate::offset_table::{OffsetTable, Place};
use crate::processor::offset::{answer, blocking, read, store_time};
use crate::producer_registry::ProducerRegistry;
use crate::reply;
use crate::stats::{Count, Stats};
use crate::topic_table::TopicTable;

/// Serves them.
#[derive(Clone)]
pub(crate) struct StatsAdmin {
    pub(crate) identity: Arc<Identity>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) consumers: Arc<ConsumerRegistry>,
    pub(crate) producers: Arc<ProducerRegistry>,
    pub(crate) holds: Arc<HoldService>,
    pub(crate) delays: Arc<DelayProgress>,
    pub(crate) levels: Levels,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) admin: Arc<dyn StoreAdmin>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) started: Started,
}

/// When the broker has started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    pub(crate) wall: Timestamp,
    pub(crate) monotonic: Monotonic,
}

impl StatsAdmin {
    /// The ranges of a topic's queues (202).
    pub(crate) fn topic(&self, request: &RemotingCommand) -> Reply {
        let asked: GetTopicStats = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let Some(topic) = self.topics.find(&asked.topic) else {
            return Reply::Now(reply::stats_topic_missing(&asked.topic));
        };
        let this = self.clone();
        blocking(self.tasks.clone(), move || {
            let mut table = TopicStatsTable::default();
            for queue_id in 0..topic.queues() {
                let queue = QueueKey::new(&asked.topic, queue_id);
                let range = this.store.offsets(&queue);
                let last = this.time_before(&queue, range.end);
                let row = TopicOffset {
                    last_update_timestamp: last,
                    max_offset: range.end.0,
                    min_offset: range.start.0,
                };
                table.offset_table.insert(this.queue(&asked.topic, queue_id), row);
            }
            Response::of(&table)
        })
    }

    fn queue(&self, topic: &str, queue_id: i32) -> MessageQueue {
        MessageQueue::new(topic, &self.identity.name, queue_id)
    }

    /// Store time of the message before an offset; 0 when there is none.
    fn time_before(&self, queue: &QueueKey, offset: QueueOffset) -> i64 {
        if offset <= QueueOffset::ZERO {
            return 0;
        }
        let time = store_time(&*self.store, queue, offset + -1);
        time.ok().flatten().map_or(0, |time| time.0)
    }

    /// How far a group is (208).
    pub(crate) fn group(&self, request: &RemotingCommand) -> Reply {
        let asked: GetConsumeStats = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let this = self.clone();
        blocking(self.tasks.clone(), move || this.group_stats(&asked))
    }

    fn group_stats(&self, asked: &GetConsumeStats) -> Response {
        let named = |text: &Option<CompactString>| -> Vec<CompactString> {
            let names = text.as_deref().unwrap_or_default().split(';').map(str::trim);
            names.filter(|name| !name.is_empty()).map(CompactString::from).collect()
        };
        let mut topics = named(&asked.topic_list);
        if topics.is_empty() {
            topics = named(&asked.topic);
        }
        if topics.is_empty() {
            topics = self.offsets.topics_of(&asked.consumer_group);
        }
        let online = self.consumers.describe(&asked.consumer_group);
        let subscribed = online.map(|online| online.subscription_table).unwrap_or_default();
        let mut table = ConsumeStats::default();
        for topic in topics {
            let Some(found) = self.topics.find(&topic) else { continue };
            if !subscribed.is_empty() && !subscribed.contains_key(&topic) {
                continue;
            }
            for queue_id in 0..found.read_queues {
                let place = Place { group: &asked.consumer_group, topic: &topic, queue_id };
                let queue = QueueKey::new(&topic, queue_id);
                let consumer_offset = self.offsets.committed(place).unwrap_or(0);
                let row = GroupOffset {
                    broker_offset: self.store.offsets(&queue).end.0,
                    consumer_offset,
                    last_timestamp: self.time_before(&queue, QueueOffset(consumer_offset)),
                    pull_offset: self.offsets.pulled(place).unwrap_or(0),
                };
                table.offset_table.insert(self.queue(&topic, queue_id), row);
            }
        }
        Response::of(&table)
    }

    /// Connections of a consumer group (203).
    pub(crate) fn consumers(&self, request: &RemotingCommand) -> Response {
        answer(read::<ConsumerConnections>(request).and_then(|asked| {
            let list = self.consumers.describe(&asked.consumer_group);
            Ok(Response::of(&list.ok_or_else(|| reply::group_offline(&asked.consumer_group))?))
        }))
    }

    /// Connections of a producer group (204).
    pub(crate) fn producers(&self, request: &RemotingCommand) -> Response {
        answer(read::<ProducerConnections>(request).and_then(|asked| {
            let list = self.producers.describe(&asked.producer_group);
            Ok(Response::of(&list.ok_or_else(|| reply::no_producer(&asked.producer_group))?))
        }))
    }

    /// All producers (328).
    pub(crate) fn all_producers(&self) -> Response {
        Response::of(&self.producers.table())
    }

    /// Which groups consume a topic (300).
    pub(crate) fn who_consumes(&self, request: &RemotingCommand) -> Response {
        answer(read::<WhoConsumes>(request).map(|asked| {
            let mut groups: BTreeSet<_> =
                self.consumers.groups_of(&asked.topic).into_iter().collect();
            groups.extend(self.offsets.groups_of(&asked.topic));
            Response::of(&GroupList { group_list: groups.into_iter().collect() })
        }))
    }

    /// Which topics a group consumes (343).
    pub(crate) fn topics_of(&self, request: &RemotingCommand) -> Response {
        answer(read::<TopicsByConsumer>(request).map(|asked| {
            Response::of(&TopicList {
                broker_addr: Some(self.identity.address().to_string().into()),
                topic_list: self.offsets.topics_of(&asked.group),
            })
        }))
    }

    /// What a group wants of a topic (345).
    pub(crate) fn subscription(&self, request: &RemotingCommand) -> Response {
        answer(read::<QuerySubscription>(request).map(|asked| {
            let topic = asked.topic.unwrap_or_default();
            let found = self.consumers.subscription(&asked.group, &topic);
            Response::of(&GroupSubscription {
                group: asked.group,
                subscription_data: found.map(|found| TopicSubscription::from(&*found)),
                topic,
            })
        }))
    }

    /// One row of the statistics (315); none are kept by topic or group.
    pub(crate) fn view(request: &RemotingCommand) -> Response {
        answer(
            read::<ViewBrokerStats>(request)
                .map(|asked| reply::no_stats(&asked.stats_name, &asked.stats_key)),
        )
    }

    /// The state of this broker (28).
    pub(crate) fn runtime(&self) -> Response {
        let status = self.admin.status();
        let health = self.admin.health();
        let up = self.clock.monotonic().since(self.started.monotonic).as_secs();
        let count = |kind| self.stats.get(kind).to_string();
        let mut rows: BTreeMap<String, String> = [
            ("brokerActive", health.writable.to_string()),
            ("brokerVersionDesc", "V5_5_0".to_owned()),
            ("bootTimestamp", self.started.wall.to_string()),
            (
                "runtime",
                format!(
                    "[ {} days, {} hours, {} minutes, {} seconds ]",
                    up / 86_400,
                    up / 3_600 % 24,
                    up / 60 % 60,
                    up % 60
                ),
            ),
            ("msgPutTotalYesterdayMorning", "0".to_owned()),
            ("msgPutTotalTodayMorning", "0".to_owned()),
            ("msgPutTotalTodayNow", count(Count::Put)),
            ("msgGetTotalYesterdayMorning", "0".to_owned()),
            ("msgGetTotalTodayMorning", "0".to_owned()),
            ("msgGetTotalTodayNow", count(Count::Transferred)),
            ("putMessageTimesTotal", count(Count::Put)),
            ("putMessageFailedTimes", count(Count::PutFailed)),
            ("putMessageSizeTotal", count(Count::PutBytes)),
            ("putTps", self.stats.rates(&[Count::Put])),
            ("getFoundTps", self.stats.rates(&[Count::Found])),
            ("getMissTps", self.stats.rates(&[Count::Miss])),
            ("getTotalTps", self.stats.rates(&[Count::Found, Count::Miss])),
            ("getTransferredTps", self.stats.rates(&[Count::Transferred])),
            ("dispatchBehindBytes", (status.max_physical - status.indexed_end).to_string()),
            ("remainHowManyDataToFlush", format!("{} B", status.staged_end - status.durable_end)),
            ("commitLogMinOffset", status.min_physical.to_string()),
            ("commitLogMaxOffset", status.max_physical.to_string()),
            ("commitLogDiskRatio", format!("{:?}", status.disk_used)),
            ("consumeQueueDiskRatio", format!("{:?}", status.disk_used)),
            ("heldPulls", self.holds.held().to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into();
        for (level, _) in self.levels.iter() {
            let queue = QueueKey::new(rmq_message::name::SCHEDULE_TOPIC, level - 1);
            let max = self.store.offsets(&queue).end;
            rows.insert(
                format!("scheduleMessageOffset_{level}"),
                format!("{},{max}", self.delays.get(level)),
            );
        }
        let table = rows.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Response::of(&KvTable { table })
    }
}
