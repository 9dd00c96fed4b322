//! A client for tests: sends, and reads everything that a topic has, without a group's progress.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use rmq_client_core::{ClientConfig, ClientInstance, PullCall, PullStatus};
use rmq_client_producer::{Producer, SendReceipt};
use rmq_message::{Message, MessageQueue, MessageView, QueueOffset, Subscription, Timestamp};

use rmq_runtime::World;

use crate::history::{Contents, Stored};
use crate::wait::WORLD;

/// See the module.
#[derive(Debug)]
pub struct Client {
    instance: Arc<ClientInstance>,
    producer: Producer,
}

/// Group of the reads of [`Client::contents`].
const READER: &str = "test_reader";
const PULL_TIMEOUT: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(5);

impl Client {
    /// Starts one; nothing is dialled yet.
    ///
    /// # Errors
    /// The address is none.
    pub async fn connect(namesrv: &str) -> Result<Self> {
        Self::connect_from(WORLD.clone(), ClientConfig::new(namesrv)).await
    }

    /// The same in another world.
    ///
    /// # Errors
    /// The address is none.
    pub async fn connect_from(world: World, config: ClientConfig) -> Result<Self> {
        let instance = ClientInstance::start(world, config, false).await?;
        let producer = Producer::builder()
            .group("test_sender")
            .timeout(PULL_TIMEOUT)
            .instance(&instance)
            .start()
            .await?;
        Ok(Self { instance, producer })
    }

    /// What it stands on.
    pub fn instance(&self) -> &Arc<ClientInstance> {
        &self.instance
    }

    /// The producer, for anything but plain sends.
    pub fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Sends a body.
    ///
    /// # Errors
    /// It was not stored, or perhaps not.
    pub async fn send(&self, topic: &str, body: impl Into<Bytes>) -> Result<SendReceipt> {
        Ok(self.producer.send(Message::new(topic, body)).await?)
    }

    /// Every message of a topic, by queue and in order; empty queues included.
    ///
    /// # Errors
    /// The topic is unknown, or a pull failed.
    pub async fn contents(&self, topic: &str) -> Result<Contents> {
        let mut contents = Contents::new();
        for (queue, messages) in self.messages(topic).await? {
            let stored = |message: MessageView| Stored {
                offset: message.queue_offset.0,
                body: message.body,
            };
            contents.insert(queue, messages.into_iter().map(stored).collect());
        }
        Ok(contents)
    }

    /// The same with everything that belongs to each message.
    ///
    /// # Errors
    /// As [`Client::contents`].
    pub async fn messages(&self, topic: &str) -> Result<Vec<(MessageQueue, Vec<MessageView>)>> {
        let mut all = Vec::new();
        for queue in self.instance.subscribe_queues(topic).await?.iter() {
            all.push((queue.clone(), self.read(queue).await?));
        }
        Ok(all)
    }

    async fn read(&self, queue: &MessageQueue) -> Result<Vec<MessageView>> {
        let brokers = self.instance.brokers();
        let mut offset = brokers.min_offset(queue).await?;
        let end = brokers.max_offset(queue).await?;
        let mut messages = Vec::new();
        while offset < end {
            let found = self.pull(queue, offset, 32).await?;
            ensure!(
                !found.is_empty(),
                "{queue} has nothing at {offset}, though it goes on to {end}"
            );
            for message in found {
                offset = message.queue_offset + 1;
                messages.push(message);
            }
        }
        Ok(messages)
    }

    /// Messages from an offset on, without waiting.
    ///
    /// # Errors
    /// The broker does not answer, or the offset is outside the queue.
    pub async fn pull(
        &self,
        queue: &MessageQueue,
        offset: QueueOffset,
        max: i32,
    ) -> Result<Vec<MessageView>> {
        let subscription = Subscription::all(&queue.topic, Timestamp(1));
        let call = PullCall {
            group: READER,
            queue,
            offset,
            subscription: &subscription,
            send_expression: true,
            max_messages: max,
            max_bytes: 1 << 20,
            commit: None,
            suspend: None,
            timeout: PULL_TIMEOUT,
            broker_id: 0,
            lite: false,
        };
        let outcome = self.instance.brokers().pull(&call).await;
        let outcome = outcome.with_context(|| format!("pull of {queue} at {offset}"))?;
        ensure!(outcome.status != PullStatus::OffsetIllegal, "{queue} has no offset {offset}");
        Ok(outcome.messages)
    }

    /// Committed progress of a group in all queues of a topic; 0 where there is none.
    ///
    /// # Errors
    /// A broker does not answer.
    pub async fn progress(&self, group: &str, topic: &str) -> Result<Vec<(MessageQueue, i64)>> {
        let mut all = Vec::new();
        for queue in self.instance.subscribe_queues(topic).await?.iter() {
            let offset = self.instance.brokers().query_offset(group, queue).await?;
            all.push((queue.clone(), offset.map_or(0, |offset| offset.0)));
        }
        Ok(all)
    }

    /// The ends of all queues of a topic.
    ///
    /// # Errors
    /// A broker does not answer.
    pub async fn ends(&self, topic: &str) -> Result<Vec<(MessageQueue, i64)>> {
        let mut all = Vec::new();
        for queue in self.instance.subscribe_queues(topic).await?.iter() {
            all.push((queue.clone(), self.instance.brokers().max_offset(queue).await?.0));
        }
        Ok(all)
    }

    /// Ends it.
    pub async fn shutdown(&self) {
        self.producer.shutdown().await;
        self.instance.shutdown(GRACE).await;
    }
}
