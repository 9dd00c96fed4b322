//! Numbers for tools: 202, 203, 204, 208, 300, 315, 317, 328, 343, 345.

use std::collections::BTreeSet;
use std::sync::Arc;

use rmq_message::{CompactString, MessageQueue, QueueOffset};
use rmq_remoting::protocol::client::{ConsumerConnections, ProducerConnections};
use rmq_remoting::protocol::heartbeat::TopicSubscription;
use rmq_remoting::protocol::stats::{
    AllConsumeStats, ConsumeStats, GetAllConsumeStats, GetConsumeStats, GetTopicStats, GroupList,
    GroupOffset, GroupSubscription, QuerySubscription, TopicOffset, TopicStatsTable,
    ViewBrokerStats, WhoConsumes,
};
use rmq_remoting::protocol::topic::{TopicList, TopicsByConsumer};
use rmq_remoting::{RemotingCommand, Reply, Response};
use rmq_runtime::Tasks;
use rmq_store::{MessageStore, QueueKey};

use crate::consumer_registry::ConsumerRegistry;
use crate::group_table::GroupTable;
use crate::identity::Identity;
use crate::offset_table::{OffsetTable, Place};
use crate::processor::offset::{answer, blocking, read, store_time};
use crate::producer_registry::ProducerRegistry;
use crate::reply;
use crate::stats::Stats;
use crate::topic_table::TopicTable;

/// Serves them.
#[derive(Clone)]
pub(crate) struct StatsAdmin {
    pub(crate) identity: Arc<Identity>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) consumers: Arc<ConsumerRegistry>,
    pub(crate) producers: Arc<ProducerRegistry>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) tasks: Tasks,
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
            let mut table = TopicStatsTable {
                topic_put_tps: this.stats.put_rate(&asked.topic),
                ..TopicStatsTable::default()
            };
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
            self.add_topic(&asked.consumer_group, &topic, found.read_queues, &mut table);
        }
        Response::of(&table)
    }

    fn add_topic(&self, group: &str, topic: &str, queues: i32, table: &mut ConsumeStats) {
        table.consume_tps += self.stats.get_rate(topic, group);
        for queue_id in 0..queues {
            let place = Place { group, topic, queue_id };
            let queue = QueueKey::new(topic, queue_id);
            let consumer_offset = self.offsets.committed(place).unwrap_or(0);
            let row = GroupOffset {
                broker_offset: self.store.offsets(&queue).end.0,
                consumer_offset,
                last_timestamp: self.time_before(&queue, QueueOffset(consumer_offset)),
                pull_offset: self.offsets.pulled(place).unwrap_or(0),
            };
            table.offset_table.insert(self.queue(topic, queue_id), row);
        }
    }

    /// How far all groups are (317).
    pub(crate) fn all_groups(&self, request: &RemotingCommand) -> Reply {
        let asked: GetAllConsumeStats = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let this = self.clone();
        blocking(self.tasks.clone(), move || {
            let mut all = AllConsumeStats {
                broker_addr: this.identity.address().to_string().into(),
                ..AllConsumeStats::default()
            };
            for group in this.groups.snapshot().subscription_group_table.into_keys() {
                let tables = this.group_tables(&group, asked.is_order);
                for row in tables.iter().flat_map(|table| table.offset_table.values()) {
                    all.total_diff += row.broker_offset.saturating_sub(row.consumer_offset);
                    let in_flight = row.pull_offset.saturating_sub(row.consumer_offset);
                    all.total_inflight_diff += in_flight.max(0);
                }
                all.consume_stats_list.push([(group, tables)].into());
            }
            Response::of(&all)
        })
    }

    /// The progress of a group, a table for each of its topics.
    fn group_tables(&self, group: &str, ordered_only: bool) -> Vec<ConsumeStats> {
        let online = self.consumers.describe(group);
        let subscribed = online.map(|online| online.subscription_table).unwrap_or_default();
        let mut tables = Vec::new();
        for topic in self.offsets.topics_of(group) {
            let Some(found) = self.topics.find(&topic) else { continue };
            let unwanted = !subscribed.is_empty() && !subscribed.contains_key(&topic);
            if unwanted || (ordered_only && !found.order) {
                continue;
            }
            let mut table = ConsumeStats::default();
            self.add_topic(group, &topic, found.write_queues, &mut table);
            tables.push(table);
        }
        tables
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

    /// One row of the statistics (315).
    pub(crate) fn view(&self, request: &RemotingCommand) -> Response {
        answer(read::<ViewBrokerStats>(request).and_then(|asked| {
            let ViewBrokerStats { stats_name, stats_key } = asked;
            let found = self.stats.view(&self.identity.cluster, &stats_name, &stats_key);
            let found = found.ok_or_else(|| reply::no_stats(&stats_name, &stats_key))?;
            Ok(Response::of(&found))
        }))
    }
}
