//! What a route means to those who write and to those who read. Pure.

use std::collections::BTreeMap;

use rmq_message::{CompactString, MessageQueue};
use rmq_remoting::invoker::Endpoint;
use rmq_remoting::protocol::route::{BrokerAddresses, BrokerQueues, MASTER_ID, TopicRoute};
use rmq_remoting::protocol::topic::perm;
use rmq_runtime::Entropy;

use crate::ClientError;

/// Most queues of one broker that a route may speak of; more would only be memory.
const QUEUES_MAX: i32 = 65_536;

/// The queues to which a producer can send.
#[doc(alias = "TopicPublishInfo")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublishRoute {
    /// Topic.
    pub topic: CompactString,
    /// Writable queues of brokers that have a master, in the order of broker names.
    pub queues: Vec<MessageQueue>,
    /// Whether the order of queues is fixed by the topic's settings.
    #[doc(alias = "orderTopic")]
    pub ordered: bool,
}

impl PublishRoute {
    /// One of the queues, by chance.
    ///
    /// # Errors
    /// [`ClientError::NoRoute`]: there is none.
    pub fn any(&self, entropy: &dyn Entropy) -> Result<&MessageQueue, ClientError> {
        let index = entropy.below(u64::try_from(self.queues.len()).unwrap_or(0));
        let queue = usize::try_from(index).ok().and_then(|index| self.queues.get(index));
        queue.ok_or_else(|| ClientError::NoRoute { topic: self.topic.clone() })
    }
}

fn numbered<'a>(
    topic: &'a str,
    broker_name: &'a str,
    count: i32,
) -> impl Iterator<Item = MessageQueue> + 'a {
    (0..count.min(QUEUES_MAX)).map(move |id| MessageQueue::new(topic, broker_name, id))
}

pub(super) fn publish(topic: &str, route: &TopicRoute) -> PublishRoute {
    let conf = route.order_topic_conf.as_deref().filter(|conf| !conf.is_empty());
    let queues = match conf {
        Some(conf) => conf
            .split(';')
            .filter_map(|item| {
                let (broker, count) = item.split_once(':')?;
                Some((broker, count.trim().parse::<i32>().ok()?))
            })
            .flat_map(|(broker, count)| numbered(topic, broker, count))
            .collect(),
        None => route
            .queue_datas
            .iter()
            .filter(|queues| queues.perm & perm::WRITE != 0 && has_master(queues, route))
            .flat_map(|queues| numbered(topic, &queues.broker_name, queues.write_queue_nums))
            .collect(),
    };
    PublishRoute { topic: topic.into(), queues, ordered: conf.is_some() }
}

fn has_master(queues: &BrokerQueues, route: &TopicRoute) -> bool {
    route.broker_datas.iter().any(|broker| {
        broker.broker_name == queues.broker_name && broker.broker_addrs.contains_key(&MASTER_ID)
    })
}

pub(super) fn subscribe(topic: &str, route: &TopicRoute) -> Vec<MessageQueue> {
    route
        .queue_datas
        .iter()
        .filter(|queues| queues.perm & perm::READ != 0)
        .flat_map(|queues| numbered(topic, &queues.broker_name, queues.read_queue_nums))
        .collect()
}

/// The route that a topic gets which will be created from a template.
pub(super) fn clamped(mut template: TopicRoute, queues: u32) -> TopicRoute {
    let most = i32::try_from(queues).unwrap_or(i32::MAX);
    for entry in &mut template.queue_datas {
        let count = entry.read_queue_nums.min(most);
        entry.read_queue_nums = count;
        entry.write_queue_nums = count;
    }
    template
}

/// The addresses of a broker that can be read.
pub(super) fn endpoints(broker: &BrokerAddresses) -> BTreeMap<i64, Endpoint> {
    let mut replicas = BTreeMap::new();
    for (id, text) in &broker.broker_addrs {
        match text.parse() {
            Ok(address) => {
                replicas.insert(*id, address);
            }
            Err(error) => tracing::warn!(broker = %broker.broker_name, id, %error, "left out"),
        }
    }
    replicas
}
