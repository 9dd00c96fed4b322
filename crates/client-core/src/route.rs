//! Routes: which queues of a topic can be written and read, and where brokers are.
//!
//! Owns the table of routes and broker addresses, and its refresh from the name servers. What a
//! name server said last about a broker wins, whichever topic it was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rmq_message::{CompactString, MessageQueue, java, name};
use rmq_remoting::invoker::Endpoint;
use rmq_remoting::protocol::route::{MASTER_ID, TopicRoute};
use rmq_runtime::{Clock, ClockExt, Entropy};

use crate::ClientError;
use crate::name_servers::NameServers;

mod views;

pub use views::PublishRoute;

/// How long a refresh waits for others before it gives up.
const LOCK_WAIT: Duration = Duration::from_secs(3);

pub(crate) struct Routes {
    names: NameServers,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// One refresh at a time, so that answers are applied in the order of the questions.
    refreshing: tokio::sync::Mutex<()>,
    table: RwLock<Table>,
}

/// What is known.
#[derive(Default)]
struct Table {
    topics: BTreeMap<CompactString, TopicEntry>,
    brokers: BTreeMap<CompactString, BTreeMap<i64, Endpoint>>,
}

struct TopicEntry {
    route: TopicRoute,
    publish: Arc<PublishRoute>,
    subscribe: Arc<[MessageQueue]>,
}

/// The address chosen for a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replica {
    pub(crate) address: Endpoint,
    pub(crate) id: i64,
}

impl Replica {
    pub(crate) fn is_master(&self) -> bool {
        self.id == MASTER_ID
    }
}

impl Routes {
    pub(crate) fn new(
        names: NameServers,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            names,
            clock,
            entropy,
            refreshing: tokio::sync::Mutex::default(),
            table: RwLock::default(),
        }
    }

    pub(crate) fn name_servers(&self) -> &NameServers {
        &self.names
    }

    /// Fetches the route of a topic. Whether anything is new; false also when others keep the name
    /// servers busy for three seconds.
    pub(crate) async fn refresh(&self, topic: &str) -> Result<bool, ClientError> {
        self.discover(topic, None, |_| false).await
    }

    /// The same unless somebody else has done it meanwhile. With `create`, a topic without route
    /// borrows that of the template topic, with at most so many queues at each broker.
    pub(crate) async fn discover(
        &self,
        topic: &str,
        create: Option<u32>,
        is_known: impl Fn(&Self) -> bool + Send,
    ) -> Result<bool, ClientError> {
        let Ok(_turn) = self.clock.timeout(LOCK_WAIT, self.refreshing.lock()).await else {
            return Ok(false);
        };
        if is_known(self) {
            return Ok(false);
        }
        let route = match (self.names.route(topic).await, create) {
            (Err(missing @ ClientError::NoRoute { .. }), Some(queues)) => {
                match self.names.route(name::AUTO_CREATE_TOPIC).await {
                    Ok(template) => views::clamped(template, queues),
                    Err(ClientError::NoRoute { .. }) => return Err(missing),
                    Err(error) => return Err(error),
                }
            }
            (route, _) => route?,
        };
        let changed = self.table.write().put(topic, route);
        if changed {
            tracing::info!(topic, "route changed");
        }
        Ok(changed)
    }

    /// The queues to which one can send; none when the route is not known or has no such queue.
    pub(crate) fn publish(&self, topic: &str) -> Option<Arc<PublishRoute>> {
        let table = self.table.read();
        let publish = &table.topics.get(topic)?.publish;
        (!publish.queues.is_empty()).then(|| Arc::clone(publish))
    }

    /// The queues that one can read; none when the route is not known.
    pub(crate) fn subscribe(&self, topic: &str) -> Option<Arc<[MessageQueue]>> {
        self.table.read().topics.get(topic).map(|entry| Arc::clone(&entry.subscribe))
    }

    /// The master of a broker.
    pub(crate) fn master(&self, broker_name: &str) -> Option<Replica> {
        self.replica(broker_name, MASTER_ID, true)
    }

    /// The replica with that id, or (for another than the master) the one after it; unless it must
    /// be this one, any other will do.
    pub(crate) fn replica(&self, broker_name: &str, id: i64, only_this: bool) -> Option<Replica> {
        let table = self.table.read();
        let replicas = table.brokers.get(broker_name)?;
        let exact = |id: i64| replicas.get(&id).map(|address| (id, address));
        let found = exact(id)
            .or_else(|| if id == MASTER_ID { None } else { exact(id.saturating_add(1)) })
            .or_else(|| {
                let any = || replicas.iter().next().map(|(id, address)| (*id, address));
                if only_this { None } else { any() }
            });
        found.map(|(id, address)| Replica { address: address.clone(), id })
    }

    /// A broker of the topic chosen at random, its master if there is one.
    pub(crate) fn any_broker_of(&self, topic: &str) -> Option<Endpoint> {
        let table = self.table.read();
        let brokers: Vec<_> = table
            .topics
            .get(topic)?
            .route
            .broker_datas
            .iter()
            .filter_map(|broker| table.brokers.get(&broker.broker_name))
            .filter(|replicas| !replicas.is_empty())
            .collect();
        let choose = |count: usize| {
            usize::try_from(self.entropy.below(u64::try_from(count).unwrap_or(0))).unwrap_or(0)
        };
        let replicas = brokers.get(choose(brokers.len()))?;
        replicas.get(&MASTER_ID).or_else(|| replicas.values().nth(choose(replicas.len()))).cloned()
    }

    /// Every known address with the name of its broker.
    pub(crate) fn addresses(&self, masters_only: bool) -> BTreeSet<Endpoint> {
        let table = self.table.read();
        let wanted = |id: i64| !masters_only || id == MASTER_ID;
        table
            .brokers
            .values()
            .flatten()
            .filter(|(id, _)| wanted(**id))
            .map(|(_, address)| address.clone())
            .collect()
    }

    /// Whether a broker is at that address.
    pub(crate) fn is_broker(&self, address: &Endpoint) -> bool {
        self.table.read().brokers.values().any(|replicas| replicas.values().any(|a| a == address))
    }

    /// Drops addresses that no route mentions any more. Returns them.
    pub(crate) async fn forget_offline(&self) -> Vec<Endpoint> {
        let Ok(_turn) = self.clock.timeout(LOCK_WAIT, self.refreshing.lock()).await else {
            return Vec::new();
        };
        self.table.write().forget_offline()
    }
}

impl Table {
    fn put(&mut self, topic: &str, mut route: TopicRoute) -> bool {
        route.queue_datas.sort_by(|a, b| java::compare(&a.broker_name, &b.broker_name));
        route.broker_datas.sort_by(|a, b| java::compare(&a.broker_name, &b.broker_name));
        let mut moved = false;
        for broker in &route.broker_datas {
            let replicas = views::endpoints(broker);
            moved |= self.brokers.get(&broker.broker_name) != Some(&replicas);
            self.brokers.insert(broker.broker_name.clone(), replicas);
        }
        if !moved && self.topics.get(topic).is_some_and(|entry| entry.route == route) {
            return false;
        }
        let entry = TopicEntry {
            publish: Arc::new(views::publish(topic, &route)),
            subscribe: views::subscribe(topic, &route).into(),
            route,
        };
        self.topics.insert(topic.into(), entry);
        true
    }

    fn forget_offline(&mut self) -> Vec<Endpoint> {
        let mentioned: BTreeSet<Endpoint> = self
            .topics
            .values()
            .flat_map(|entry| &entry.route.broker_datas)
            .flat_map(|broker| views::endpoints(broker).into_values())
            .collect();
        let mut gone = Vec::new();
        for replicas in self.brokers.values_mut() {
            replicas.retain(|_, address| {
                let keep = mentioned.contains(address);
                if !keep {
                    gone.push(address.clone());
                }
                keep
            });
        }
        self.brokers.retain(|_, replicas| !replicas.is_empty());
        gone
    }
}

#[cfg(test)]
#[path = "route_test.rs"]
mod tests;
