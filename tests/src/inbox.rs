//! Consumers, and what they got.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use parking_lot::Mutex;
use rmq_client_push::{
    ClientConfig, ConsumeContext, ConsumeFrom, ConsumeOutcome, MessageView, Messages, PushConsumer,
    PushConsumerBuilder, PushSettings,
};
use rmq_message::MessageQueue;
use rmq_runtime::Monotonic;

use crate::history::Stored;
use crate::wait::{eventually, now};

/// One message given to one member.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Who got it.
    pub member: String,
    /// When.
    pub at: Monotonic,
    /// The message.
    pub message: MessageView,
}

impl Delivery {
    fn stored(&self) -> (MessageQueue, Stored) {
        let message = &self.message;
        let stored = Stored { offset: message.queue_offset.0, body: message.body.clone() };
        (message.queue(), stored)
    }
}

/// What the consumers of a test got, in the order in which it came.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<Vec<Delivery>>);

impl Inbox {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A listener that takes everything in, in the name of a member.
    pub fn listener(
        self: &Arc<Self>,
        member: &str,
    ) -> impl Fn(Messages, ConsumeContext) -> std::future::Ready<()> + Send + Sync + 'static {
        let (inbox, member) = (Arc::clone(self), member.to_owned());
        move |messages, _context| {
            inbox.put(&member, &messages);
            std::future::ready(())
        }
    }

    /// A listener that takes everything in and then answers as told.
    pub fn answering(
        self: &Arc<Self>,
        member: &str,
        answer: impl Fn(&Delivery) -> ConsumeOutcome + Send + Sync + 'static,
    ) -> impl Fn(Messages, ConsumeContext) -> std::future::Ready<ConsumeOutcome> + Send + Sync + 'static
    {
        let (inbox, member) = (Arc::clone(self), member.to_owned());
        move |messages, _context| {
            let last = inbox.put(&member, &messages);
            std::future::ready(last.map_or(ConsumeOutcome::Success, |last| answer(&last)))
        }
    }

    fn put(&self, member: &str, messages: &Messages) -> Option<Delivery> {
        let at = now();
        let delivery = |message: &MessageView| Delivery {
            member: member.to_owned(),
            at,
            message: message.clone(),
        };
        let mut all = self.0.lock();
        all.extend(messages.iter().map(delivery));
        all.last().cloned()
    }

    /// Places and bytes of all that came, to be held against what is stored.
    pub fn stored(&self) -> Vec<(MessageQueue, Stored)> {
        self.0.lock().iter().map(Delivery::stored).collect()
    }

    /// How many deliveries there were.
    pub fn count(&self) -> usize {
        self.0.lock().len()
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<Delivery> {
        self.0.lock().clone()
    }

    /// Bodies so far, each once.
    pub fn bodies(&self) -> BTreeSet<Bytes> {
        self.0.lock().iter().map(|delivery| delivery.message.body.clone()).collect()
    }

    /// How often each body came.
    pub fn counts(&self) -> BTreeMap<Bytes, usize> {
        let mut counts = BTreeMap::new();
        for delivery in self.0.lock().iter() {
            *counts.entry(delivery.message.body.clone()).or_default() += 1;
        }
        counts
    }

    /// Waits for so many different messages.
    ///
    /// # Errors
    /// They do not come in time.
    pub async fn wait_for(&self, count: usize) -> Result<()> {
        let came =
            eventually("messages", async || (self.bodies().len() >= count).then_some(())).await;
        came.map_err(|error| error.context(format!("{} of {count} came", self.bodies().len())))
    }
}

/// A consumer as tests need it: from the first message on, and quick to balance.
pub fn consumer(namesrv: &str, group: &str, topic: &str) -> PushConsumerBuilder {
    let builder = PushConsumer::builder().client_config(client(namesrv));
    builder.settings(settings(group)).subscribe(topic, "*")
}

/// Settings of the client of [`consumer`].
pub fn client(namesrv: &str) -> ClientConfig {
    ClientConfig {
        rebalance_interval: Duration::from_secs(1),
        rebalance_min_interval: Duration::from_millis(100),
        route_interval: Duration::from_secs(1),
        ..ClientConfig::new(namesrv)
    }
}

/// Settings of [`consumer`].
pub fn settings(group: &str) -> PushSettings {
    PushSettings {
        consumer_group: group.to_owned(),
        consume_from_where: ConsumeFrom::FirstOffset,
        first_pull_delay_millis: 50,
        ..PushSettings::default()
    }
}

/// Queues of a topic that a consumer has.
pub fn queues_of(consumer: &PushConsumer, topic: &str) -> BTreeSet<MessageQueue> {
    consumer.assignment().into_iter().filter(|queue| queue.topic == topic).collect()
}

/// Waits until the members have so many queues of a topic, each its own.
///
/// # Errors
/// It does not come to that in time.
pub async fn balanced(members: &[&PushConsumer], topic: &str, counts: &[usize]) -> Result<()> {
    let owned = || members.iter().map(|member| queues_of(member, topic)).collect::<Vec<_>>();
    let mut wanted = counts.to_vec();
    wanted.sort_unstable();
    let spread = eventually("balance", async || {
        let owned = owned();
        let mut sizes: Vec<usize> = owned.iter().map(BTreeSet::len).collect();
        sizes.sort_unstable();
        let distinct: BTreeSet<_> = owned.iter().flatten().collect();
        (sizes == wanted && distinct.len() == counts.iter().sum::<usize>()).then_some(())
    });
    spread
        .await
        .map_err(|error| error.context(format!("{counts:?} wanted, there are {:?}", owned())))
}
