//! Brokers, topics and queues, and the questions that clients ask about them. Pure: no clock, no
//! socket; [`registration`](crate::registration) and [`expiry`](crate::expiry) change it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use compact_str::CompactString;
use rmq_message::name::SYNC_MEMBER_PREFIX;
use rmq_remoting::protocol::cluster::ClusterTable;
use rmq_remoting::protocol::register::{BrokerGroup, DataVersion};
use rmq_remoting::protocol::route::{BrokerAddresses, BrokerQueues, MASTER_ID, TopicRoute};
use rmq_remoting::protocol::topic::{TopicList, perm};
use rmq_runtime::Monotonic;

use crate::registration::RegisterError;

/// A topic belongs to a unit.
const UNIT: i32 = 1;
/// A topic has subscriptions of units.
const UNIT_SUB: i32 = 1 << 1;

/// All that a name server knows about brokers.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Queues by topic and broker.
    pub(crate) topics: BTreeMap<CompactString, BTreeMap<CompactString, BrokerQueues>>,
    pub(crate) brokers: BTreeMap<CompactString, BrokerAddresses>,
    pub(crate) clusters: BTreeMap<CompactString, BTreeSet<CompactString>>,
    pub(crate) live: BTreeMap<BrokerKey, Live>,
}

/// One broker process: its cluster and address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BrokerKey {
    pub(crate) cluster: CompactString,
    pub(crate) address: CompactString,
}

impl BrokerKey {
    pub(crate) fn new(cluster: &str, address: &str) -> Self {
        Self { cluster: cluster.into(), address: address.into() }
    }
}

/// What is known of a broker process beside its address.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) broker: CompactString,
    pub(crate) id: i64,
    /// The connection that it registered on.
    pub(crate) connection: u64,
    pub(crate) heard: Monotonic,
    /// How long it may be silent.
    pub(crate) timeout: Duration,
    pub(crate) version: DataVersion,
    pub(crate) ha_address: CompactString,
}

/// Lists of topics that belong to units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitList {
    /// Of a unit.
    Unit,
    /// With subscriptions of units.
    UnitSub,
    /// With subscriptions of units, but of none.
    UnitSubUnunit,
}

impl UnitList {
    fn holds(self, flags: i32) -> bool {
        let (unit, sub) = (flags & UNIT != 0, flags & UNIT_SUB != 0);
        match self {
            Self::Unit => unit,
            Self::UnitSub => sub,
            Self::UnitSubUnunit => sub && !unit,
        }
    }
}

impl RouteTable {
    /// The route of a topic, when a broker that holds it is known. With `acting_master` the lowest
    /// replica takes the place of a missing master where its broker allows that.
    pub fn route(&self, topic: &str, acting_master: bool) -> Option<TopicRoute> {
        let queues = self.topics.get(topic)?;
        let mut brokers: Vec<_> =
            queues.keys().filter_map(|name| self.brokers.get(name)).cloned().collect();
        if brokers.is_empty() {
            return None;
        }
        if acting_master && !topic.starts_with(SYNC_MEMBER_PREFIX) {
            for broker in &mut brokers {
                let writable =
                    queues.get(&broker.broker_name).is_none_or(|row| row.perm & perm::WRITE != 0);
                if broker.enable_acting_master
                    && !writable
                    && !broker.broker_addrs.contains_key(&MASTER_ID)
                    && let Some((_, lowest)) = broker.broker_addrs.pop_first()
                {
                    broker.broker_addrs.insert(MASTER_ID, lowest);
                }
            }
        }
        let queue_datas = queues.values().cloned().collect();
        Some(TopicRoute { broker_datas: brokers, queue_datas, ..TopicRoute::default() })
    }

    /// All clusters and brokers.
    pub fn clusters(&self) -> ClusterTable {
        ClusterTable {
            broker_addr_table: self.brokers.clone(),
            cluster_addr_table: self.clusters.clone(),
        }
    }

    /// The replicas of a broker; none of an unknown one.
    pub fn group(&self, cluster: &str, broker: &str) -> BrokerGroup {
        let known = self.brokers.get(broker);
        BrokerGroup {
            broker_addrs: known.map(|broker| broker.broker_addrs.clone()).unwrap_or_default(),
            broker_name: broker.into(),
            cluster: cluster.into(),
        }
    }

    /// All topics.
    pub fn all_topics(&self) -> TopicList {
        TopicList { broker_addr: None, topic_list: self.topics.keys().cloned().collect() }
    }

    /// Clusters and brokers, which are topics too, and the address of one broker.
    pub fn system_topics(&self) -> TopicList {
        let mut topics = Vec::new();
        for (cluster, brokers) in &self.clusters {
            topics.push(cluster.clone());
            topics.extend(brokers.iter().cloned());
        }
        let mut addresses = self.brokers.values().flat_map(|broker| broker.broker_addrs.values());
        TopicList { broker_addr: addresses.next().cloned(), topic_list: topics }
    }

    /// The topics that brokers of a cluster hold.
    pub fn topics_of_cluster(&self, cluster: &str) -> TopicList {
        let brokers = self.clusters.get(cluster);
        let holds = |queues: &BTreeMap<CompactString, BrokerQueues>| {
            brokers.is_some_and(|names| names.iter().any(|name| queues.contains_key(name)))
        };
        self.topics_where(|queues| holds(queues))
    }

    /// The topics of a list.
    pub fn unit_topics(&self, list: UnitList) -> TopicList {
        self.topics_where(|queues| {
            queues.values().next().is_some_and(|row| list.holds(row.topic_sys_flag))
        })
    }

    fn topics_where(
        &self,
        admits: impl Fn(&BTreeMap<CompactString, BrokerQueues>) -> bool,
    ) -> TopicList {
        let admitted = self.topics.iter().filter(|(_, queues)| admits(queues));
        TopicList {
            broker_addr: None,
            topic_list: admitted.map(|(topic, _)| topic.clone()).collect(),
        }
    }

    /// Takes the write permission of a broker from all its topics, until it registers a change.
    /// Returns how many it has.
    pub fn wipe_write(&mut self, broker: &str) -> usize {
        self.each_queue_of(broker, |row| row.perm &= !perm::WRITE)
    }

    /// Makes all topics of a broker readable and writable. Returns how many it has.
    pub fn add_write(&mut self, broker: &str) -> usize {
        self.each_queue_of(broker, |row| row.perm = perm::READ | perm::WRITE)
    }

    pub(crate) fn each_queue_of(
        &mut self,
        broker: &str,
        edit: impl Fn(&mut BrokerQueues),
    ) -> usize {
        let rows = self.topics.values_mut().filter_map(|queues| queues.get_mut(broker));
        rows.map(edit).count()
    }

    /// Forgets a topic, everywhere or at the brokers of one cluster.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(cluster) = cluster else {
            self.topics.remove(topic);
            return;
        };
        let (Some(brokers), Some(queues)) =
            (self.clusters.get(cluster), self.topics.get_mut(topic))
        else {
            return;
        };
        queues.retain(|broker, _| !brokers.contains(broker));
        if queues.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// Makes a topic known at brokers; nothing changes when one of them is unknown, as at Apache.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing changed then.
    pub fn add_topic(&mut self, topic: &str, rows: Vec<BrokerQueues>) -> Result<(), RegisterError> {
        self.check_topics([topic].into_iter())?;
        if rows.iter().all(|row| self.brokers.contains_key(&row.broker_name)) {
            for row in rows {
                let queues = self.topics.entry(topic.into()).or_default();
                queues.insert(row.broker_name.clone(), row);
            }
        }
        Ok(())
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many broker processes there are.
    pub fn broker_count(&self) -> usize {
        self.live.len()
    }
}

/// Leaves those brokers of a route that are in the zone, or have no master, and their queues.
pub(crate) fn keep_zone(route: &mut TopicRoute, zone: &str) {
    route.broker_datas.retain(|broker| {
        !broker.broker_addrs.contains_key(&MASTER_ID)
            || broker.zone_name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(zone))
    });
    let kept: BTreeSet<_> = route.broker_datas.iter().map(|broker| &broker.broker_name).collect();
    route.queue_datas.retain(|row| kept.contains(&row.broker_name));
}
