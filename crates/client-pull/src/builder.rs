//! How a consumer is put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmq_client_core::protocol::MessageModel;
use rmq_client_core::rebalance::{AllocateStrategy, Average};
use rmq_client_core::{
    ClientConfig, ClientInstance, LocalFileOffsets, OffsetStore, Progress, RemoteOffsets,
};
use rmq_message::{MessageQueue, Subscription, Timestamp, name};
use rmq_runtime::World;

use crate::consumer::PullConsumer;
use crate::engine::{AssignmentListener, Engine, Parts};
use crate::error::StartError;
use crate::member::Member;
use crate::settings::{ConsumeFrom, PullSettings};

/// Builds a [`PullConsumer`]; see [`PullConsumer::builder`].
#[derive(Clone, Default)]
#[must_use = "nothing happens before start()"]
pub struct PullConsumerBuilder {
    client: ClientConfig,
    settings: PullSettings,
    expressions: Vec<(String, String)>,
    instance: Option<Arc<ClientInstance>>,
    strategy: Option<Arc<dyn AllocateStrategy>>,
    listener: Option<AssignmentListener>,
    world: Option<World>,
}

impl PullConsumerBuilder {
    /// Name servers: `host:port`, several separated by `;`.
    pub fn namesrv(mut self, addresses: &str) -> Self {
        self.client.namesrv = ClientConfig::new(addresses).namesrv;
        self
    }

    /// Group of the consumer; must be set.
    pub fn group(mut self, group: &str) -> Self {
        group.clone_into(&mut self.settings.group);
        self
    }

    /// Shares the queues of a topic with the group: `*`, or tags separated by `||`.
    pub fn subscribe(mut self, topic: &str, expression: &str) -> Self {
        self.expressions.push((topic.to_owned(), expression.to_owned()));
        self
    }

    /// Where a queue begins in which the group has no progress.
    pub fn consume_from(mut self, from: ConsumeFrom) -> Self {
        self.settings.consume_from_where = from;
        self
    }

    /// Whether polls commit what earlier ones have handed out (they do).
    pub fn auto_commit(mut self, auto_commit: bool) -> Self {
        self.settings.auto_commit = auto_commit;
        self
    }

    /// All settings of the consumer at once, the group included.
    pub fn settings(mut self, settings: PullSettings) -> Self {
        self.settings = settings;
        self
    }

    /// All settings of the client at once, name servers included.
    pub fn client_config(mut self, config: ClientConfig) -> Self {
        self.client = config;
        self
    }

    /// Another way to share queues than [`Average`].
    pub fn strategy(mut self, strategy: Arc<dyn AllocateStrategy>) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// Told of a topic and the queues of it that this consumer has, whenever they change. Must not
    /// block.
    #[doc(alias = "setMessageQueueListener")]
    pub fn assignment_listener(
        mut self,
        listener: impl Fn(&str, &[MessageQueue]) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Uses a client that others use, too; settings of the client given here do not count then.
    pub fn instance(mut self, instance: &Arc<ClientInstance>) -> Self {
        self.instance = Some(Arc::clone(instance));
        self
    }

    /// Runs in another world than the real one.
    pub fn world(mut self, world: World) -> Self {
        self.world = Some(world);
        self
    }

    /// Starts the consumer.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(mut self) -> Result<PullConsumer, StartError> {
        self.settings.validate()?;
        let keeps_name = self.settings.message_model == MessageModel::Broadcasting;
        let (instance, is_own) = match self.instance {
            Some(instance) => (instance, false),
            None => {
                let world = self.world.unwrap_or_else(World::system);
                (ClientInstance::start(world, self.client, keeps_name).await?, true)
            }
        };
        self.settings.group = instance.namespace().wrap(&self.settings.group).into();
        let now = Timestamp::from(instance.world().clock.wall());
        let mut subscriptions = BTreeMap::new();
        for (topic, expression) in &self.expressions {
            name::validate_topic(topic)?;
            let topic = instance.namespace().wrap(topic);
            let subscription = Subscription::tags(&topic, expression, now)?;
            subscriptions.insert(topic, subscription);
        }
        let group = &self.settings.group;
        let store: Arc<dyn OffsetStore> = match self.settings.message_model {
            MessageModel::Broadcasting => Arc::new(LocalFileOffsets::new(&instance, group)),
            MessageModel::Clustering => Arc::new(RemoteOffsets::new(&instance, group)),
        };
        let progress = Progress::new(store);
        progress.load().await?;
        let parts = Parts {
            strategy: self.strategy.unwrap_or_else(|| Arc::new(Average)),
            listener: self.listener,
            progress,
            subscriptions,
        };
        let engine = Engine::new(self.settings, instance, parts);
        engine.instance.join(Arc::new(Member::new(&engine)))?;
        let consumer = PullConsumer::new(engine, is_own);
        consumer.announce().await;
        Ok(consumer)
    }
}

impl std::fmt::Debug for PullConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullConsumerBuilder")
            .field("client", &self.client)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
