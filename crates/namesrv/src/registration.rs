//! How a broker enters the route table, what of its topics is taken over, and how it leaves.
//!
//! A refused registration leaves the table untouched. A broker process that leaves takes only itself
//! away: the address must be its own, and other replicas stay routed.

use std::time::Duration;

use compact_str::CompactString;
use rmq_remoting::protocol::route::{BrokerAddresses, BrokerQueues, MASTER_ID};
use rmq_remoting::protocol::topic::{TopicConfig, TopicConfigs, perm};
use rmq_runtime::Monotonic;
use thiserror::Error;

use crate::route_table::{BrokerKey, Live, RouteTable};

/// Broker processes that are taken.
const BROKERS_MAX: usize = 4096;
/// Topics that are taken.
const TOPICS_MAX: usize = 200_000;
/// Bytes of the name of a topic, broker or cluster, and of an address.
const NAME_LEN_MAX: usize = 255;

/// What a broker says of itself.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Cluster.
    pub cluster: CompactString,
    /// Broker.
    pub broker: CompactString,
    /// `ip:port`.
    pub address: CompactString,
    /// Id among the replicas; 0 is the master.
    pub id: i64,
    /// `ip:port` for replicas.
    pub ha_address: CompactString,
    /// Zone.
    pub zone: Option<CompactString>,
    /// How long it may be silent.
    pub timeout: Duration,
    /// Whether its lowest replica may act for the master; `None` from old brokers.
    pub acting_master: Option<bool>,
    /// All its topics, or those that changed.
    pub topics: TopicConfigs,
    /// The connection that it registers on.
    pub connection: u64,
}

/// Choices of the name server.
#[derive(Debug, Clone, Copy, Default)]
pub struct RegisterRules {
    /// Whether topics go that the registration does not name.
    pub delete_missing_topics: bool,
}

/// What a registration came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registered {
    /// The process was not known before.
    pub is_new: bool,
    /// For a replica: the master's address, and its address for replicas.
    pub master: Option<(CompactString, CompactString)>,
    /// The lowest replica is another one now.
    pub lowest: Option<LowestChanged>,
}

/// A broker has another lowest replica than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowestChanged {
    /// Broker.
    pub broker: CompactString,
    /// Id of the lowest replica.
    pub id: i64,
    /// Its address.
    pub address: CompactString,
    /// Its address for replicas, where it has just come.
    pub ha_address: Option<CompactString>,
    /// The address of the former one, where it has left.
    pub offline: Option<CompactString>,
    /// Connections of the replicas to tell.
    pub tell: Vec<u64>,
}

/// Why a registration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The first registration of a broker must not hold a single topic: it would be taken for all.
    #[error("register broker failed")]
    OneTopic,
    /// A name or address is empty or too long, or an id negative.
    #[error(
        "register broker failed: names and addresses have 1 to {NAME_LEN_MAX} bytes, ids are not negative"
    )]
    Name,
    /// More than a name server takes.
    #[error(
        "register broker failed: a name server takes {BROKERS_MAX} brokers and {TOPICS_MAX} topics"
    )]
    Limit,
}

impl RouteTable {
    /// Takes a registration over.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing changed then.
    pub fn register(
        &mut self,
        registration: Registration,
        rules: RegisterRules,
        now: Monotonic,
    ) -> Result<Registered, RegisterError> {
        let key = BrokerKey::new(&registration.cluster, &registration.address);
        let known = self.brokers.get(&registration.broker);
        let former = known.and_then(|broker| broker.broker_addrs.get(&registration.id)).cloned();
        if self.is_outdated(&registration, former.as_deref()) {
            return Ok(Registered::default());
        }
        self.check(&registration, &key, former.is_none())?;
        let lowest_before = known.and_then(|broker| broker.broker_addrs.keys().next().copied());

        self.leave_former_broker(&registration, &key);
        let broker = self.enter(&registration);
        let lowest = broker.broker_addrs.keys().next().copied().unwrap_or(registration.id);
        let acting = broker.enable_acting_master;
        let is_prime = registration.acting_master.is_some() && registration.id == lowest;
        if registration.id == MASTER_ID || is_prime {
            let changed = former.is_none()
                || self
                    .live
                    .get(&key)
                    .is_none_or(|live| live.version != registration.topics.data_version);
            self.take_topics(&registration, rules, changed, acting && registration.id != MASTER_ID);
        }
        if let Some(former) = former.filter(|address| *address != registration.address) {
            self.live.remove(&BrokerKey::new(&registration.cluster, &former));
        }
        let live = Live {
            broker: registration.broker.clone(),
            id: registration.id,
            connection: registration.connection,
            heard: now,
            timeout: registration.timeout,
            version: registration.topics.data_version,
            ha_address: registration.ha_address.clone(),
        };
        let is_new = self.live.insert(key, live).is_none();
        let master =
            (registration.id != MASTER_ID).then(|| self.master_for(&registration)).flatten();
        let lowered = lowest_before.is_some_and(|before| registration.id < before);
        let lowest = lowered
            .then(|| self.lowest_of(&registration.broker, None, Some(registration.ha_address)))
            .flatten();
        Ok(Registered { is_new, master, lowest })
    }

    /// Whether another process with this id is there whose state is newer.
    fn is_outdated(&self, registration: &Registration, former: Option<&str>) -> bool {
        let Some(former) = former.filter(|address| *address != registration.address) else {
            return false;
        };
        let other = self.live.get(&BrokerKey::new(&registration.cluster, former));
        other.is_some_and(|live| {
            live.version.state_version > registration.topics.data_version.state_version
        })
    }

    fn check(
        &self,
        registration: &Registration,
        key: &BrokerKey,
        is_first: bool,
    ) -> Result<(), RegisterError> {
        let topics = &registration.topics.topic_config_table;
        let names = [&registration.cluster, &registration.broker, &registration.address];
        let good_names = names.into_iter().all(|name| is_good(name));
        if !good_names || registration.id < 0 || registration.ha_address.len() > NAME_LEN_MAX {
            return Err(RegisterError::Name);
        }
        if is_first && topics.len() == 1 {
            return Err(RegisterError::OneTopic);
        }
        if !self.live.contains_key(key) && self.live.len() >= BROKERS_MAX {
            return Err(RegisterError::Limit);
        }
        self.check_topics(topics.keys().map(CompactString::as_str))
    }

    /// Whether there is room for those topics.
    pub(crate) fn check_topics<'a>(
        &self,
        topics: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<(), RegisterError> {
        if !topics.clone().all(is_good) {
            return Err(RegisterError::Name);
        }
        let new = topics.filter(|topic| !self.topics.contains_key(*topic)).count();
        if self.topics.len() + new > TOPICS_MAX { Err(RegisterError::Limit) } else { Ok(()) }
    }

    /// A process that comes back under the name of another broker leaves the former one.
    fn leave_former_broker(&mut self, registration: &Registration, key: &BrokerKey) {
        let former = self.live.get(key).map(|live| live.broker.clone());
        if let Some(former) = former.filter(|broker| *broker != registration.broker) {
            self.unregister(&key.cluster, &former, &key.address);
        }
    }

    /// Puts the address in its place and nowhere else.
    fn enter(&mut self, registration: &Registration) -> &BrokerAddresses {
        let names = self.clusters.entry(registration.cluster.clone()).or_default();
        names.insert(registration.broker.clone());
        let broker =
            self.brokers.entry(registration.broker.clone()).or_insert_with(|| BrokerAddresses {
                broker_name: registration.broker.clone(),
                cluster: registration.cluster.clone(),
                ..BrokerAddresses::default()
            });
        broker.enable_acting_master = registration.acting_master.unwrap_or(false);
        broker.zone_name.clone_from(&registration.zone);
        broker.broker_addrs.retain(|_, address| *address != registration.address);
        broker.broker_addrs.insert(registration.id, registration.address.clone());
        broker
    }

    /// Takes over what changed of the topics; a replica that acts for its master takes no messages.
    fn take_topics(
        &mut self,
        registration: &Registration,
        rules: RegisterRules,
        changed: bool,
        read_only: bool,
    ) {
        let (broker, configs) = (&registration.broker, &registration.topics.topic_config_table);
        if rules.delete_missing_topics {
            self.topics.retain(|topic, queues| {
                if !configs.contains_key(topic) {
                    queues.remove(broker);
                }
                !queues.is_empty()
            });
        }
        for (topic, config) in configs {
            let known = self.topics.get(topic).is_some_and(|queues| queues.contains_key(broker));
            if changed || !known {
                let row = queues_of(broker, config, read_only);
                self.topics.entry(topic.clone()).or_default().insert(broker.clone(), row);
            }
        }
    }

    fn master_for(&self, registration: &Registration) -> Option<(CompactString, CompactString)> {
        let address = self.brokers.get(&registration.broker)?.broker_addrs.get(&MASTER_ID)?;
        let live = self.live.get(&BrokerKey::new(&registration.cluster, address))?;
        Some((address.clone(), live.ha_address.clone()))
    }

    fn lowest_of(
        &self,
        broker: &str,
        offline: Option<CompactString>,
        ha_address: Option<CompactString>,
    ) -> Option<LowestChanged> {
        let addresses = &self.brokers.get(broker)?.broker_addrs;
        let (&id, address) = addresses.first_key_value()?;
        // One that has just come knows by itself that it is the lowest, unless it is alone.
        let all = offline.is_some() || addresses.len() == 1;
        let tell = self
            .live
            .values()
            .filter(|live| live.broker == broker && (all || live.id != id))
            .map(|live| live.connection)
            .collect();
        Some(LowestChanged {
            broker: broker.into(),
            id,
            address: address.clone(),
            ha_address,
            offline,
            tell,
        })
    }

    /// Takes a broker process away, with its queues when it was the last one of its broker.
    pub fn unregister(
        &mut self,
        cluster: &str,
        broker: &str,
        address: &str,
    ) -> Option<LowestChanged> {
        let key = BrokerKey::new(cluster, address);
        if self.live.get(&key).is_some_and(|live| live.broker != broker) {
            return None;
        }
        self.live.remove(&key);
        let known = self.brokers.get_mut(broker)?;
        let lowest_before = known.broker_addrs.keys().next().copied();
        let before = known.broker_addrs.len();
        known.broker_addrs.retain(|_, other| other != address);
        if known.broker_addrs.len() == before {
            return None;
        }
        if known.broker_addrs.is_empty() {
            self.forget_broker(broker);
            return None;
        }
        let acting = known.enable_acting_master && !known.broker_addrs.contains_key(&MASTER_ID);
        let lowest = known.broker_addrs.keys().next().copied();
        if acting {
            self.wipe_write(broker);
        }
        (lowest != lowest_before)
            .then(|| self.lowest_of(broker, Some(address.into()), None))
            .flatten()
    }

    fn forget_broker(&mut self, broker: &str) {
        self.brokers.remove(broker);
        self.clusters.retain(|_, names| {
            names.remove(broker);
            !names.is_empty()
        });
        self.topics.retain(|_, queues| {
            queues.remove(broker);
            !queues.is_empty()
        });
    }
}

fn is_good(name: &str) -> bool {
    (1..=NAME_LEN_MAX).contains(&name.len())
}

fn queues_of(broker: &CompactString, config: &TopicConfig, read_only: bool) -> BrokerQueues {
    BrokerQueues {
        broker_name: broker.clone(),
        perm: if read_only { config.perm & !perm::WRITE } else { config.perm },
        read_queue_nums: config.read_queue_nums,
        topic_sys_flag: config.topic_sys_flag,
        write_queue_nums: config.write_queue_nums,
    }
}

#[cfg(test)]
#[path = "registration_test.rs"]
mod tests;
