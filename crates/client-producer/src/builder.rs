//! How a producer is put together.

use std::sync::Arc;
use std::time::Duration;

use rmq_client_core::{ClientConfig, ClientInstance};
use rmq_message::Timestamp;
use rmq_runtime::World;

use crate::config::ProducerConfig;
use crate::error::StartError;
use crate::hook::SendHook;
use crate::producer::{Producer, Shared};
use crate::trace::Traces;
use crate::transaction::{TransactionListener, TransactionProducer};

/// Builds a [`Producer`]; see [`Producer::builder`].
#[derive(Clone, Default)]
#[must_use = "nothing happens before start()"]
pub struct ProducerBuilder {
    client: ClientConfig,
    producer: ProducerConfig,
    instance: Option<Arc<ClientInstance>>,
    hooks: Vec<Arc<dyn SendHook>>,
    world: Option<World>,
}

impl ProducerBuilder {
    /// Name servers: `host:port`, several separated by `;`.
    #[doc(alias = "setNamesrvAddr")]
    pub fn namesrv(mut self, addresses: &str) -> Self {
        self.client.namesrv = ClientConfig::new(addresses).namesrv;
        self
    }

    /// Group of the producer; must be set.
    #[doc(alias = "setProducerGroup")]
    pub fn group(mut self, group: &str) -> Self {
        self.producer.group = group.to_owned();
        self
    }

    /// Tells clients of one machine apart; by default they differ anyway.
    #[doc(alias = "setInstanceName")]
    pub fn instance_name(mut self, name: &str) -> Self {
        self.client.instance_name = Some(name.to_owned());
        self
    }

    /// Time for a send, all tries together (3 s).
    #[doc(alias = "setSendMsgTimeout")]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.producer.timeout = timeout;
        self
    }

    /// Tries after the first (2).
    #[doc(alias = "setRetryTimesWhenSendFailed")]
    pub fn retries(mut self, retries: u32) -> Self {
        self.producer.retries = retries;
        self
    }

    /// All settings of the producer at once, the group included.
    pub fn config(mut self, config: ProducerConfig) -> Self {
        self.producer = config;
        self
    }

    /// All settings of the client at once, name servers included.
    pub fn client_config(mut self, config: ClientConfig) -> Self {
        self.client = config;
        self
    }

    /// Tells the topic of traces about every message, for the tools that show its way; off by
    /// default. What cannot be told is dropped.
    #[doc(alias("setEnableTrace", "enableMsgTrace"))]
    pub fn trace(mut self, enabled: bool) -> Self {
        self.client.enable_trace = enabled;
        self
    }

    /// Uses a client that others use, too, instead of one of its own; settings of the client given
    /// here do not count then.
    pub fn instance(mut self, instance: &Arc<ClientInstance>) -> Self {
        self.instance = Some(Arc::clone(instance));
        self
    }

    /// Tells a hook of every try of a send.
    #[doc(alias = "registerSendMessageHook")]
    pub fn hook(mut self, hook: Arc<dyn SendHook>) -> Self {
        self.hooks.push(hook);
        self
    }

    /// Runs in another world than the real one.
    pub fn world(mut self, world: World) -> Self {
        self.world = Some(world);
        self
    }

    /// Starts the producer. Brokers are only called when there is something to send.
    ///
    /// # Errors
    /// [`StartError`]: wrong settings, or the group has a producer at that client already.
    pub async fn start(mut self) -> Result<Producer, StartError> {
        self.producer.validate()?;
        let (instance, is_own) = match self.instance {
            Some(instance) => (instance, false),
            None => {
                let world = self.world.unwrap_or_else(World::system);
                (ClientInstance::start(world, self.client, false).await?, true)
            }
        };
        self.producer.group = instance.namespace().wrap(&self.producer.group).into();
        instance.join_producer(&self.producer.group)?;
        let traces = Traces::start(&self.producer.group, &instance);
        let mut shared = Shared::new(self.producer, instance, is_own, traces);
        shared.hooks = self.hooks;
        Ok(Producer::new(shared))
    }

    /// Starts a producer of transactions.
    ///
    /// # Errors
    /// As [`ProducerBuilder::start`].
    pub async fn start_transactions(
        self,
        listener: Arc<dyn TransactionListener>,
    ) -> Result<TransactionProducer, StartError> {
        Ok(TransactionProducer::new(self.start().await?, listener))
    }
}

/// The calendar's time.
pub(crate) fn wall(world: &World) -> Timestamp {
    world.clock.wall().into()
}

impl std::fmt::Debug for ProducerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProducerBuilder")
            .field("client", &self.client)
            .field("producer", &self.producer)
            .finish_non_exhaustive()
    }
}
