//! From settings and parts to a running consumer.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use compact_str::CompactString;
use rmq_client_core::client_id::unique_ids;
use rmq_client_core::protocol::MessageModel;
use rmq_client_core::rebalance::{AllocateStrategy, Average};
use rmq_client_core::trace::{Side, Tracer};
use rmq_client_core::{
    ClientConfig, ClientInstance, ClientTls, LocalFileOffsets, Namespace, OffsetStore, Progress,
    RemoteOffsets, RequestHook,
};
use rmq_message::subscription::{ALL, ExpressionType};
use rmq_message::{MessageQueue, MessageView, Subscription, Timestamp, name};
use rmq_runtime::World;
use tokio::sync::watch;

use crate::assignment::Assignment;
use crate::call::{ConsumeHook, FilterHook, Hooks};
use crate::consumer::PushConsumer;
use crate::engine::{AssignmentListener, Engine, Listener, Parts, Workers};
use crate::error::PushError;
use crate::flow_control::Limits;
use crate::listener::{ConsumeContext, ConsumeOutcome, Each, MessageListener, OrderlyListener};
use crate::pop::PopTable;
use crate::ready::ReadyLine;
use crate::settings::{ConsumeFrom, PushSettings, SettingsError};
use crate::stats::StatsTable;
use crate::subscriptions::Subscriptions;
use crate::trace::TraceHook;

/// How long an instance that could not be used has to end.
const GIVE_UP: Duration = Duration::from_secs(1);

/// Makes a [`PushConsumer`]; nothing is checked and nothing happens before
/// [`PushConsumerBuilder::start`].
#[must_use]
#[derive(Default)]
pub struct PushConsumerBuilder {
    config: ClientConfig,
    settings: PushSettings,
    subscriptions: Vec<(CompactString, CompactString, ExpressionType)>,
    listener: Option<Listener>,
    strategy: Option<Arc<dyn AllocateStrategy>>,
    assignment_listener: Option<AssignmentListener>,
    offsets: Option<Arc<dyn OffsetStore>>,
    hooks: Hooks,
    request_hooks: Vec<Arc<dyn RequestHook>>,
    instance: Option<Arc<ClientInstance>>,
    world: Option<World>,
}

impl PushConsumerBuilder {
    /// Name servers, `host:port` separated by `;`.
    #[doc(alias = "setNamesrvAddr")]
    pub fn namesrv(mut self, addresses: &str) -> Self {
        self.config.namesrv = rmq_client_core::config::split_addresses(addresses);
        self
    }

    /// Consumer group: members of one group share the queues of a topic.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.settings.consumer_group = group.into();
        self
    }

    /// Subscribes a topic: `*` for everything, or tags separated by `||`.
    pub fn subscribe(mut self, topic: impl AsRef<str>, tags: impl AsRef<str>) -> Self {
        let (topic, tags) = (topic.as_ref().into(), tags.as_ref().into());
        self.subscriptions.push((topic, tags, ExpressionType::Tag));
        self
    }

    /// Subscribes those messages of a topic whose properties satisfy an SQL92 condition.
    #[doc(alias = "MessageSelector.bySql")]
    pub fn subscribe_sql(mut self, topic: impl AsRef<str>, condition: impl AsRef<str>) -> Self {
        let (topic, condition) = (topic.as_ref().into(), condition.as_ref().into());
        self.subscriptions.push((topic, condition, ExpressionType::Sql92));
        self
    }

    /// Who takes the messages, many calls at once. A closure gets
    /// [`Messages`](crate::Messages) and [`ConsumeContext`](crate::ConsumeContext).
    ///
    /// ```
    /// use rmq_client_push::{ConsumeContext, ConsumeOutcome, Messages, PushConsumer};
    ///
    /// let builder = PushConsumer::builder().group("mails").subscribe("Mails", "*").batch_size(16).listener(
    ///     |messages: Messages, _: ConsumeContext| async move {
    ///         match messages.iter().position(|message| message.body.is_empty()) {
    ///             None => ConsumeOutcome::Success,
    ///             Some(0) => ConsumeOutcome::dead_letter(),
    ///             Some(bad) => ConsumeOutcome::SuccessUpTo(bad - 1),
    ///         }
    ///     },
    /// );
    /// ```
    #[doc(alias = "registerMessageListener")]
    pub fn listener(mut self, listener: impl MessageListener) -> Self {
        self.listener = Some(Listener::Concurrent(Arc::new(listener)));
        self
    }

    /// Who takes the messages, one by one, many calls at once: a closure that gets a message and
    /// [`ConsumeContext`](crate::ConsumeContext).
    ///
    /// With [`Self::batch_size`] above 1, what lies behind a failed message of the same batch comes
    /// again with it, without having been tried.
    ///
    /// ```
    /// use rmq_client_push::{ConsumeContext, MessageView, PushConsumer};
    ///
    /// async fn bill(_order: &[u8]) -> Result<(), std::io::Error> { Ok(()) }
    ///
    /// let builder = PushConsumer::builder().group("billing").subscribe("Orders", "*").each(
    ///     |message: MessageView, context: ConsumeContext| async move {
    ///         tracing::info!(attempt = context.attempt(), "billing");
    ///         bill(&message.body).await
    ///     },
    /// );
    /// ```
    pub fn each<F, R>(self, handler: F) -> Self
    where
        F: Fn(MessageView, ConsumeContext) -> R + Send + Sync + 'static,
        R: Future<Output: Into<ConsumeOutcome>> + Send + 'static,
    {
        self.listener(Each(handler))
    }

    /// Who takes the messages, those of one queue one call after the other.
    ///
    /// ```
    /// use rmq_client_push::{ConsumeContext, Messages, OrderlyOutcome, PushConsumer};
    ///
    /// let builder = PushConsumer::builder().group("ledger").subscribe("Entries", "*").orderly(
    ///     |messages: Messages, context: ConsumeContext| async move {
    ///         if context.attempt() > 100 {
    ///             return OrderlyOutcome::Suspend { millis: Some(30_000) };
    ///         }
    ///         tracing::info!(count = messages.len(), queue = %context.queue(), "booked");
    ///         OrderlyOutcome::Success
    ///     },
    /// );
    /// ```
    #[doc(alias = "registerMessageListener")]
    pub fn orderly(mut self, listener: impl OrderlyListener) -> Self {
        self.listener = Some(Listener::Ordered(Arc::new(listener)));
        self
    }

    /// Whether a message is for one member or for every one.
    pub fn message_model(mut self, model: MessageModel) -> Self {
        self.settings.message_model = model;
        self
    }

    /// Where a queue without progress begins.
    pub fn consume_from(mut self, from: ConsumeFrom) -> Self {
        self.settings.consume_from_where = from;
        self
    }

    /// Calls of the listener that may run at once, 20 by default.
    #[doc(alias("setConsumeThreadMin", "setConsumeThreadMax"))]
    pub fn consume_threads(mut self, count: u32) -> Self {
        self.settings.consume_thread_min = count;
        self.settings.consume_thread_max = count;
        self
    }

    /// Most messages of one call of the listener, 1 by default.
    #[doc(alias = "setConsumeMessageBatchMaxSize")]
    pub fn batch_size(mut self, count: u32) -> Self {
        self.settings.consume_message_batch_max_size = count;
        self
    }

    /// All settings of the consumer at once; the group is one of them. They can come from a file:
    ///
    /// ```
    /// use rmq_client_push::{PushConsumer, PushSettings};
    ///
    /// let text = r#"{"consumerGroup":"billing","consumeThreadMin":8,"consumeThreadMax":8}"#;
    /// let settings: PushSettings = serde_json::from_str(text)?;
    /// let builder = PushConsumer::builder().namesrv("127.0.0.1:9876").settings(settings);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn settings(mut self, settings: PushSettings) -> Self {
        self.settings = settings;
        self
    }

    /// All settings of the client at once; the name servers are among them.
    pub fn client_config(mut self, config: ClientConfig) -> Self {
        self.config = config;
        self
    }

    /// Speaks TLS; needs the cargo feature `tls`.
    ///
    /// ```
    /// use rmq_client_push::{ClientTls, PushConsumer};
    ///
    /// let trusted = Some("/etc/rocketmq/ca.pem".into());
    /// let tls = ClientTls { enable: true, trust_cert_path: trusted, ..ClientTls::default() };
    /// let builder = PushConsumer::builder().namesrv("10.0.0.1:9876").tls(tls);
    /// ```
    #[doc(alias = "setUseTLS")]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.config.tls = tls;
        self
    }

    /// Tells clients of one machine apart.
    pub fn instance_name(mut self, name: impl Into<String>) -> Self {
        self.config.instance_name = Some(name.into());
        self
    }

    /// Tells the topic of traces about every message, for the tools that show its way; off by
    /// default. What cannot be told is dropped.
    #[doc(alias = "setEnableTrace")]
    pub fn trace(mut self, enabled: bool) -> Self {
        self.config.enable_trace = enabled;
        self
    }

    /// Names of topics and groups carry it at the brokers; here they stay as they are.
    #[doc(alias = "setNamespace")]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.config.namespace = Some(namespace.into());
        self
    }

    /// Uses an instance that others use too, instead of one of its own; it is not shut down with
    /// the consumer. Settings of the client are those of the instance.
    #[doc(alias = "MQClientManager")]
    pub fn instance(mut self, instance: &Arc<ClientInstance>) -> Self {
        self.instance = Some(Arc::clone(instance));
        self
    }

    /// How the members of the group share queues; evenly by default. All must do alike.
    #[doc(alias = "setAllocateMessageQueueStrategy")]
    pub fn strategy(mut self, strategy: impl AllocateStrategy) -> Self {
        self.strategy = Some(Arc::new(strategy));
        self
    }

    /// Where progress is kept, instead of at the brokers (or in a file when broadcasting).
    pub fn offset_store(mut self, offsets: Arc<dyn OffsetStore>) -> Self {
        self.offsets = Some(offsets);
        self
    }

    /// Takes messages out of what is pulled before the listener sees them; several are asked in the
    /// order in which they are given.
    #[doc(alias = "registerFilterMessageHook")]
    pub fn filter_hook(mut self, hook: impl FilterHook) -> Self {
        self.hooks.filter.push(Arc::new(hook));
        self
    }

    /// Sees every call of the listener, before and after it.
    #[doc(alias = "registerConsumeMessageHook")]
    pub fn consume_hook(mut self, hook: impl ConsumeHook) -> Self {
        self.hooks.consume.push(Arc::new(hook));
        self
    }

    /// Sees, and may add to, every request that the consumer's own instance sends. With
    /// [`Self::instance`] the hooks are those of that instance.
    #[doc(alias = "RPCHook")]
    pub fn request_hook(mut self, hook: impl RequestHook) -> Self {
        self.request_hooks.push(Arc::new(hook));
        self
    }

    /// Is called with a topic and all queues of it that the consumer has, each time they change.
    #[doc(alias = "MessageQueueListener")]
    pub fn on_assignment(
        mut self,
        listener: impl Fn(&str, &[MessageQueue]) + Send + Sync + 'static,
    ) -> Self {
        self.assignment_listener = Some(Box::new(listener));
        self
    }

    /// The world of an instance of its own; the real one by default.
    pub fn world(mut self, world: World) -> Self {
        self.world = Some(world);
        self
    }

    /// Checks everything, joins the group, and begins to consume.
    ///
    /// # Errors
    /// [`PushError`]; then nothing is left running.
    pub async fn start(self) -> Result<PushConsumer, PushError> {
        self.settings.validate_with(self.listener.is_some())?;
        let listener = self.listener.ok_or(SettingsError::NoListener)?;
        let broadcasting = self.settings.message_model == MessageModel::Broadcasting;
        let world = self.world.unwrap_or_else(World::system);
        let now = world.clock.wall().into();
        // Nothing is started for subscriptions that cannot be used.
        wanted(&self.settings, &Namespace::default(), &self.subscriptions, now)?;
        let (instance, own) = match self.instance {
            Some(instance) => (instance, false),
            None => {
                let hooks = self.request_hooks;
                (ClientInstance::start_hooked(world, self.config, broadcasting, hooks).await?, true)
            }
        };
        let namespace = instance.namespace();
        let subscriptions = wanted(&self.settings, namespace, &self.subscriptions, now)?;
        let group = &*namespace.wrap(&self.settings.consumer_group);
        tracing::info!(%group, model = ?self.settings.message_model, unit_mode = self.settings.unit_mode, client_id = instance.client_id(), "consumer starts");
        let offsets = self.offsets.unwrap_or_else(|| {
            if broadcasting {
                Arc::new(LocalFileOffsets::new(&instance, group))
            } else {
                Arc::new(RemoteOffsets::new(&instance, group))
            }
        });
        let strategy = self.strategy.unwrap_or_else(|| Arc::new(Average));
        let assignment_listener = self.assignment_listener;
        let mut hooks = self.hooks;
        let tracer = Tracer::start(&instance, group, Side::Consume).map(Arc::new);
        if let Some(tracer) = &tracer {
            hooks.consume.push(Arc::new(TraceHook::new(Arc::clone(tracer), &instance)));
        }
        let ordered = matches!(listener, Listener::Ordered(_));
        let engine = Arc::new(Engine {
            group: group.into(),
            assignment: Assignment::new(Limits::of(&self.settings, 0, ordered)),
            parts: Parts { listener, strategy, assignment_listener, hooks },
            subscriptions: Subscriptions::new(subscriptions),
            pops: PopTable::default(),
            line: ReadyLine::default(),
            stats: StatsTable::default(),
            ids: unique_ids(instance.world()),
            tracer,
            tasks: instance.tasks().child(&format!("push {group}")),
            paused: watch::Sender::new(false),
            stopping: AtomicBool::new(false),
            started: now,
            workers: Workers::default(),
            settings: self.settings,
            progress: Progress::new(offsets),
            instance: Arc::clone(&instance),
        });
        match PushConsumer::open(engine, own).await {
            Ok(consumer) => Ok(consumer),
            Err(error) => {
                if own {
                    instance.shutdown(GIVE_UP).await;
                }
                Err(error.into())
            }
        }
    }
}

/// The subscriptions, with the group's retry topic when failures come back.
fn wanted(
    settings: &PushSettings,
    namespace: &Namespace,
    given: &[(CompactString, CompactString, ExpressionType)],
    now: Timestamp,
) -> Result<Vec<Subscription>, PushError> {
    let mut wanted = Vec::new();
    for (topic, expression, kind) in given {
        wanted.push(subscription(&namespace.wrap(topic), expression, kind, now)?);
    }
    if settings.message_model == MessageModel::Clustering {
        wanted.push(Subscription::all(
            &name::retry_topic(&namespace.wrap(&settings.consumer_group)),
            now,
        ));
    }
    Ok(wanted)
}

/// One subscription, checked.
pub(crate) fn subscription(
    topic: &str,
    expression: &str,
    kind: &ExpressionType,
    now: Timestamp,
) -> Result<Subscription, PushError> {
    name::validate_topic(topic)?;
    let subscription = match kind {
        ExpressionType::Sql92 => Subscription::sql(topic, expression, now),
        ExpressionType::Tag | ExpressionType::Other(_) => {
            Subscription::tags(topic, if expression.is_empty() { ALL } else { expression }, now)
        }
    };
    subscription.map_err(|source| PushError::Subscription { topic: topic.into(), source })
}
