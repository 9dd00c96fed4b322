//! The queues of topics on all brokers, as a name server tells them; remembered for half a minute.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_message::{CompactString, MessageQueue};
use rmq_remoting::protocol::route::{GetRoute, TopicRoute};
use rmq_remoting::protocol::topic::perm;
use rmq_remoting::typed::{self, CallError};
use rmq_remoting::{Endpoint, Invoker};
use rmq_runtime::{Clock, Monotonic};

use crate::identity::Identity;
use crate::limits;
use crate::topic_table::TopicTable;

/// How long an answer is remembered.
const FRESH: Duration = Duration::from_secs(30);
/// How long it is remembered that there is no route.
const FRESH_NONE: Duration = Duration::from_secs(1);
/// Longest wait for a name server.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The view.
pub(crate) struct RouteView {
    identity: Arc<Identity>,
    topics: Arc<TopicTable>,
    servers: Vec<Endpoint>,
    clock: Arc<dyn Clock>,
    /// What name servers are asked with, once the broker has started.
    invoker: OnceLock<Arc<dyn Invoker>>,
    known: Mutex<HashMap<CompactString, Known>>,
}

/// What was told last.
#[derive(Clone, Debug)]
struct Known {
    queues: Option<Vec<MessageQueue>>,
    until: Monotonic,
}

impl RouteView {
    pub(crate) fn new(
        identity: Arc<Identity>,
        topics: Arc<TopicTable>,
        servers: Vec<Endpoint>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (invoker, known) = (OnceLock::new(), Mutex::default());
        Self { identity, topics, servers, clock, invoker, known }
    }

    /// From now on name servers are asked through this; the first one stays.
    pub(crate) fn ask_through(&self, invoker: &Arc<dyn Invoker>) {
        self.invoker.get_or_init(|| Arc::clone(invoker));
    }

    /// The readable queues of a topic; `None` when there is no such topic, or nobody knows.
    pub(crate) async fn queues(&self, topic: &str) -> Option<Vec<MessageQueue>> {
        let (Some(invoker), false) = (self.invoker.get(), self.servers.is_empty()) else {
            return self.here(topic);
        };
        let now = self.clock.monotonic();
        let known = self.known.lock().get(topic).cloned();
        if let Some(known) = known.as_ref().filter(|known| now < known.until) {
            return known.queues.clone();
        }
        let request = GetRoute { topic: topic.into(), accept_standard_json_only: Some(true) };
        for server in &self.servers {
            let route = typed::call(&**invoker, server, &request, TIMEOUT).await;
            let (queues, fresh) = match route {
                Ok(route) => (Some(readable(topic, &route)), FRESH),
                Err(CallError::Refused { .. }) => (None, FRESH_NONE),
                Err(error) => {
                    tracing::debug!(%server, %error, topic, "no route from this name server");
                    continue;
                }
            };
            let mut table = self.known.lock();
            if table.len() >= limits::TOPICS_MAX {
                table.clear();
            }
            let known = Known { queues: queues.clone(), until: now + fresh };
            table.insert(topic.into(), known);
            return queues;
        }
        // What is old is better than nothing.
        known.and_then(|known| known.queues)
    }

    /// The queues of this broker alone.
    fn here(&self, topic: &str) -> Option<Vec<MessageQueue>> {
        let found = self.topics.find(topic).filter(|found| found.is_readable())?;
        let queues = 0..found.read_queues;
        Some(queues.map(|id| MessageQueue::new(topic, &self.identity.name, id)).collect())
    }
}

fn readable(topic: &str, route: &TopicRoute) -> Vec<MessageQueue> {
    let brokers = route.queue_datas.iter().filter(|queues| queues.perm & perm::READ != 0);
    brokers
        .flat_map(|broker| {
            let count = broker.read_queue_nums.clamp(0, limits::QUEUES_MAX);
            (0..count).map(|id| MessageQueue::new(topic, &broker.broker_name, id))
        })
        .collect()
}
