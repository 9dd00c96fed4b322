//! The producer as its user holds it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client_core::client_id::unique_ids;
use rmq_client_core::{ClientError, ClientInstance, PublishRoute, SendReceipt};
use rmq_message::id::UniqueIds;
use rmq_message::{CompactString, Message, MessageQueue, property};
use rmq_runtime::{ClockExt, OnFailure, Tasks, World};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::builder::{ProducerBuilder, wall};
use crate::config::ProducerConfig;
use crate::error::SendError;
use crate::fault::{self, Faults};
use crate::hook::SendHook;
use crate::outgoing::Outgoing;
use crate::selector::{QueueSelector, RoundRobin};
use crate::send::Sending;
use crate::trace::Traces;

/// Bodies of so many bytes are compressed away from the runtime's own threads.
const COMPRESS_ASIDE: usize = 64 << 10;
/// Time that the farewell to the brokers may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// Sends messages. Clones share everything; see the [crate] for what may be lost or doubled.
#[doc(alias("DefaultMQProducer", "DefaultMQProducerImpl"))]
#[derive(Clone)]
pub struct Producer {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: ProducerConfig,
    pub(crate) instance: Arc<ClientInstance>,
    is_own: bool,
    ids: UniqueIds,
    pub(crate) round: RoundRobin,
    pub(crate) faults: Arc<Faults>,
    pub(crate) hooks: Vec<Arc<dyn SendHook>>,
    pub(crate) traces: Option<Traces>,
    /// Topics whose brokers have heard of this client, so that replies find it.
    pub(crate) asked: Mutex<BTreeSet<CompactString>>,
    tasks: Tasks,
    permits: Semaphore,
    bytes: Semaphore,
}

impl Producer {
    /// A producer with the usual settings, to be changed and started.
    pub fn builder() -> ProducerBuilder {
        ProducerBuilder::default()
    }

    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    /// Sends a message to one of the topic's queues, trying other brokers when one fails.
    ///
    /// Dropping the future gives the answer up; the message may be stored.
    ///
    /// # Errors
    /// [`SendError`]; kind `Timeout` means that the message may be stored.
    pub async fn send(&self, message: Message) -> Result<SendReceipt, SendError> {
        self.send_marked(message, 0).await
    }

    /// As [`Producer::send`], with further flags.
    pub(crate) async fn send_marked(
        &self,
        message: Message,
        sys_flag: i32,
    ) -> Result<SendReceipt, SendError> {
        let began = self.shared.begin(message.body.len()).await?;
        let mut outgoing = self.shared.prepare(message).await?;
        outgoing.sys_flag |= sys_flag;
        let receipt = began.sending.anywhere(outgoing).await?;
        Ok(self.shared.told(receipt))
    }

    /// Sends a message to that queue. One try only.
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_to(
        &self,
        queue: &MessageQueue,
        message: Message,
    ) -> Result<SendReceipt, SendError> {
        let began = self.shared.begin(message.body.len()).await?;
        let outgoing = self.shared.prepare(message).await?;
        let topic = self.shared.instance.namespace().wrap(&queue.topic);
        let queue = MessageQueue { topic, ..queue.clone() };
        Ok(self.shared.told(began.sending.to(outgoing, &queue).await?))
    }

    /// Sends a message to the queue that a selector chooses, a closure or
    /// [`ByHash`](crate::ByHash). One try only.
    ///
    /// # Errors
    /// As [`Producer::send`], and [`SendError::NoQueue`].
    pub async fn send_with(
        &self,
        selector: &dyn QueueSelector,
        message: Message,
    ) -> Result<SendReceipt, SendError> {
        let began = self.shared.begin(message.body.len()).await?;
        let queues = &self.queues(&message.topic).await?;
        let chosen = selector.select(queues, &message).and_then(|index| queues.get(index));
        let queue = chosen.ok_or(SendError::NoQueue)?;
        let outgoing = self.shared.prepare(message).await?;
        let topic = self.shared.instance.namespace().wrap(&queue.topic);
        let queue = MessageQueue { topic, ..queue.clone() };
        Ok(self.shared.told(began.sending.to(outgoing, &queue).await?))
    }

    /// Hands a message to the connection of a broker and waits for nothing: it may be lost without
    /// notice.
    ///
    /// # Errors
    /// [`SendError`] when it could not even be handed over.
    pub async fn send_oneway(&self, message: Message) -> Result<(), SendError> {
        let began = self.shared.begin(message.body.len()).await?;
        let outgoing = self.shared.prepare(message).await?;
        began.sending.oneway(outgoing).await
    }

    /// Sends several messages of one topic to one queue, all or none. They lie next to each other;
    /// the receipt's offset is that of the first.
    ///
    /// # Errors
    /// As [`Producer::send`], and [`SendError::Message`] when they are not of one kind.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<SendReceipt, SendError> {
        let began = self.shared.begin(messages.iter().map(|m| m.body.len()).sum()).await?;
        let Shared { config, ids, .. } = &*self.shared;
        let messages = messages.into_iter().map(|message| self.shared.wrapped(message)).collect();
        let outgoing = Outgoing::batch(messages, config, ids, wall(self.shared.world()))?;
        Ok(self.shared.told(began.sending.anywhere(outgoing).await?))
    }

    /// Takes a timed message back before it is delivered; the handle is that of its receipt. Its
    /// unique id.
    ///
    /// # Errors
    /// The broker cannot, or does not answer: then it may have done so.
    #[doc(alias = "recallMessage")]
    pub async fn recall(&self, topic: &str, handle: &str) -> Result<CompactString, ClientError> {
        let Shared { instance, config, .. } = &*self.shared;
        let topic = instance.namespace().wrap(topic);
        instance.brokers().recall(&config.group, &topic, handle, config.timeout).await
    }

    /// Queues of a topic to which messages can be sent, for [`Producer::send_to`].
    ///
    /// # Errors
    /// [`SendError::Route`].
    #[doc(alias = "fetchPublishMessageQueues")]
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, SendError> {
        let namespace = self.shared.instance.namespace();
        let route = self.shared.route(&namespace.wrap(topic)).await?;
        let mut queues = route.queues.to_vec();
        for queue in &mut queues {
            queue.topic = namespace.strip(&queue.topic);
        }
        Ok(queues)
    }

    /// Waits for the sends that are under way, at most the time of a send, refuses new ones, and
    /// takes leave of the brokers. Further calls do nothing.
    pub async fn shutdown(&self) {
        let shared = &*self.shared;
        if shared.permits.is_closed() {
            return;
        }
        // Whoever asks for a permit from now on stands behind this, and is sent away.
        let all = shared.permits.acquire_many(shared.config.in_flight_max);
        let all = shared.world().clock.timeout(shared.config.timeout, all).await;
        shared.permits.close();
        drop(all);
        shared.tasks.stop(shared.world().clock.as_ref(), FAREWELL).await;
        if let Some(traces) = &shared.traces {
            traces.close(shared.world()).await;
        }
        shared.instance.leave_producer(&shared.config.group).await;
        if shared.is_own {
            let stragglers = shared.instance.shutdown(FAREWELL).await;
            if !stragglers.is_empty() {
                tracing::warn!(?stragglers, "tasks of the client did not end in time");
            }
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("group", &self.shared.config.group)
            .field("client_id", &self.shared.instance.client_id())
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        config: ProducerConfig,
        instance: Arc<ClientInstance>,
        is_own: bool,
        traces: Option<Traces>,
    ) -> Self {
        let world = instance.world();
        let (tasks, faults) = (instance.tasks().child("producer"), Arc::<Faults>::default());
        if config.detector && config.avoid_slow_brokers {
            let (faults, instance) = (Arc::clone(&faults), Arc::downgrade(&instance));
            let detect = fault::detect(faults, instance, config.clone(), tasks.stop_token());
            tasks.spawn("detector", OnFailure::Log, detect);
        }
        let bytes = usize::try_from(config.in_flight_bytes_max).unwrap_or(Semaphore::MAX_PERMITS);
        let start = usize::try_from(world.entropy.next_u64() >> 33).unwrap_or(0);
        Self {
            permits: Semaphore::new(
                usize::try_from(config.in_flight_max)
                    .unwrap_or(Semaphore::MAX_PERMITS)
                    .min(Semaphore::MAX_PERMITS),
            ),
            ids: unique_ids(world),
            round: RoundRobin::new(start),
            bytes: Semaphore::new(bytes.min(Semaphore::MAX_PERMITS)),
            faults,
            hooks: Vec::new(),
            traces,
            asked: Mutex::default(),
            tasks,
            config,
            is_own,
            instance,
        }
    }

    pub(crate) fn world(&self) -> &World {
        self.instance.world()
    }

    /// Waits for its turn.
    async fn begin(&self, len: usize) -> Result<Began<'_>, SendError> {
        let clock = &self.world().clock;
        let began = clock.monotonic();
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                let waited = self.config.timeout;
                let limit = self.config.in_flight_max;
                let turn = clock.timeout(waited, self.permits.acquire()).await;
                turn.map_err(|_| SendError::Busy { limit, waited })?
                    .map_err(|_| SendError::Closed)?
            }
        };
        let bytes = u32::try_from(len).unwrap_or(u32::MAX).min(self.config.in_flight_bytes_max);
        let bytes = match self.bytes.try_acquire_many(bytes) {
            Ok(bytes) => bytes,
            Err(_) => {
                let rest = self.config.timeout.saturating_sub(clock.monotonic().since(began));
                let (limit, waited) = (self.config.in_flight_max, self.config.timeout);
                let turn = clock.timeout(rest, self.bytes.acquire_many(bytes)).await;
                turn.map_err(|_| SendError::Busy { limit, waited })?
                    .map_err(|_| SendError::Closed)?
            }
        };
        Ok(Began { sending: Sending { shared: self, began }, _turn: (permit, bytes) })
    }

    /// The message as brokers know it.
    fn wrapped(&self, mut message: Message) -> Message {
        let namespace = self.instance.namespace();
        if !namespace.is_none() {
            message.topic = namespace.wrap(&message.topic);
            let instance = self.instance.config().namespace.as_deref().unwrap_or_default();
            if !instance.is_empty() {
                message.properties.set(property::INSTANCE_ID, instance);
            }
        }
        message
    }

    /// The receipt as users know its topic.
    fn told(&self, mut receipt: SendReceipt) -> SendReceipt {
        let namespace = self.instance.namespace();
        if !namespace.is_none() {
            receipt.queue.topic = namespace.strip(&receipt.queue.topic);
        }
        receipt
    }

    async fn prepare(&self, message: Message) -> Result<Outgoing, SendError> {
        let message = self.wrapped(message);
        let outgoing = Outgoing::single(message, &self.config, &self.ids, wall(self.world()))?;
        if !outgoing.is_compressible(&self.config) {
            return Ok(outgoing);
        }
        if outgoing.body.len() < COMPRESS_ASIDE {
            return Ok(outgoing.compressed(&self.config));
        }
        let config = self.config.clone();
        let aside = self.instance.tasks().blocking(move || outgoing.compressed(&config)).await;
        aside.ok_or(SendError::Closed)
    }

    pub(crate) async fn route(&self, topic: &str) -> Result<Arc<PublishRoute>, SendError> {
        let create = Some(self.config.default_topic_queue_nums);
        self.instance.publish_queues(topic, create).await.map_err(SendError::Route)
    }
}

/// A send that has its turn.
struct Began<'a> {
    sending: Sending<'a>,
    _turn: (SemaphorePermit<'a>, SemaphorePermit<'a>),
}
