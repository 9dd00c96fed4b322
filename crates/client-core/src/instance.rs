//! The engine that producers and consumers of one client id share.
//!
//! Owns the connections, the routes, and one task each for routes, heartbeats, progress and
//! balance, so that a slow name server delays no heartbeat. Members join and leave; when the last
//! one has left, the instance can be shut down.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use rmq_message::{CompactString, MessageQueue, name};
use rmq_remoting::client::Client;
use rmq_remoting::command::HeaderEncoding;
use rmq_remoting::invoker::{Endpoint, Invoker};
use rmq_runtime::{Tasks, World};

use crate::address_server::AddressServer;
use crate::broker_client::BrokerClient;
use crate::check_back::CheckBack;
use crate::commands::{Door, Signals};
use crate::error::GroupKind;
use crate::heartbeat::{Heartbeats, Round};
use crate::hook::{RequestHook, hooked, hooks_of};
use crate::member::{GroupMember, Members};
use crate::name_servers::NameServers;
use crate::replies::{AwaitedReply, Replies};
use crate::route::{PublishRoute, Routes};
use crate::wire::Wire;
use crate::{ClientConfig, ClientError, Namespace, client_id};

mod loops;

/// Brokers that are told of a farewell at the same time.
const AT_ONCE: usize = 32;

/// What producers and consumers of one client id share. A plain value: whoever wants to share one
/// hands it over.
#[doc(alias("MQClientInstance", "MQClientManager"))]
pub struct ClientInstance {
    world: World,
    config: ClientConfig,
    namespace: Namespace,
    tasks: Tasks,
    loops: Tasks,
    engine: Arc<Engine>,
    replies: Arc<Replies>,
}

/// What the loops work on.
pub(crate) struct Engine {
    pub(crate) client_id: CompactString,
    pub(crate) routes: Arc<Routes>,
    pub(crate) brokers: Arc<BrokerClient>,
    pub(crate) members: Arc<Members>,
    pub(crate) signals: Arc<Signals>,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) invoker: Arc<dyn Invoker>,
}

impl ClientInstance {
    /// Starts an instance over the world's network. No server needs to be reachable yet.
    /// `keep_name` leaves a missing instance name `DEFAULT` (broadcasting consumers, whose offset
    /// file must be found again). Must run on the runtime that is to run its tasks.
    ///
    /// # Errors
    /// [`ClientError::NoNameServer`], [`ClientError::AddressServer`], [`ClientError::Config`]; the
    /// latter also when TLS is asked for and cannot be had.
    pub async fn start(
        world: World,
        config: ClientConfig,
        keep_name: bool,
    ) -> Result<Arc<Self>, ClientError> {
        Self::start_hooked(world, config, keep_name, Vec::new()).await
    }

    /// As [`Self::start`], with hooks that see every request.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_hooked(
        world: World,
        mut config: ClientConfig,
        keep_name: bool,
        hooks: Vec<Arc<dyn RequestHook>>,
    ) -> Result<Arc<Self>, ClientError> {
        config.find_name_servers(|name| std::env::var(name).ok());
        let unknown = config.namesrv.is_empty();
        let address_server = AddressServer::of(&config).filter(|_| unknown);
        if let Some(server) = &address_server {
            let found = server.fetch(&world).await?;
            config.namesrv = found.iter().map(ToString::to_string).collect();
        }
        let encoding =
            if config.binary_headers { HeaderEncoding::Binary } else { HeaderEncoding::Json };
        let settings =
            rmq_remoting::ClientConfig { encoding, ..rmq_remoting::ClientConfig::default() };
        let connector = config.tls.connector(&world)?;
        let instance = Self::start_over(world, config, keep_name, |world, tasks, door| {
            hooked(Client::with_tls(world.clone(), tasks, settings, door, connector), hooks)
        })?;
        if let Some(server) = address_server {
            let Self { engine, loops, world, .. } = &*instance;
            loops::spawn_address_server(engine, loops, world, server);
        }
        Ok(instance)
    }

    /// Starts an instance over any way to servers, such as a broker in this process. `connect` gets
    /// what serves the requests of brokers.
    ///
    /// # Errors
    /// [`ClientError::NoNameServer`], [`ClientError::Config`].
    pub fn start_over(
        world: World,
        mut config: ClientConfig,
        keep_name: bool,
        connect: impl FnOnce(&World, &Tasks, Arc<Door>) -> Arc<dyn Invoker>,
    ) -> Result<Arc<Self>, ClientError> {
        config.find_name_servers(|name| std::env::var(name).ok());
        config.validate()?;
        let name_servers = config.endpoints()?;
        if name_servers.is_empty() {
            return Err(ClientError::NoNameServer);
        }
        let tasks = Tasks::new("client");
        let client_id = client_id::make(&world, &config, keep_name);
        let (members, signals) = (Arc::<Members>::default(), Arc::<Signals>::default());
        let replies = Arc::<Replies>::default();
        let door = Door::new(
            Arc::clone(&members),
            Arc::clone(&signals),
            tasks.child("commands"),
            Arc::clone(&replies),
            config.body_len_max,
        );
        let invoker = hooked(connect(&world, &tasks, door), hooks_of(&config));
        let wire = Wire { invoker: Arc::clone(&invoker), vip: config.vip_channel_enabled };
        let entropy = Arc::clone(&world.entropy);
        let names =
            NameServers::new(name_servers, wire.clone(), config.api_timeout, entropy.as_ref());
        let routes = Arc::new(Routes::new(names, Arc::clone(&world.clock), entropy));
        let brokers = Arc::new(BrokerClient::new(
            wire.clone(),
            Arc::clone(&routes),
            client_id.clone(),
            config.api_timeout,
            config.body_len_max,
        ));
        let heartbeats = Heartbeats {
            client_id: client_id.clone(),
            wire,
            routes: Arc::clone(&routes),
            brokers: Arc::clone(&brokers),
            members: Arc::clone(&members),
            timeout: config.api_timeout,
            v2: config.heartbeat_v2,
            round: Round::default(),
        };
        let engine =
            Arc::new(Engine { client_id, routes, brokers, members, signals, heartbeats, invoker });
        let loops = tasks.child("loops");
        loops::spawn(&engine, &loops, &world.clock, &config);
        tracing::info!(client_id = %engine.client_id, name_servers = ?config.namesrv, "client started");
        let namespace = Namespace::of(&config);
        Ok(Arc::new(Self { world, config, namespace, tasks, loops, engine, replies }))
    }

    /// Who this client is in the eyes of brokers.
    pub fn client_id(&self) -> &str {
        &self.engine.client_id
    }

    /// Everything outside the process.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The settings with which it was started.
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// The name servers that are asked.
    pub fn name_servers(&self) -> Arc<[Endpoint]> {
        self.engine.routes.name_servers().list()
    }

    /// The namespace that names of topics and groups carry.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// All tasks of the instance; members take children of it.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Calls to brokers.
    pub fn brokers(&self) -> &BrokerClient {
        &self.engine.brokers
    }

    pub(crate) fn shared_brokers(&self) -> &Arc<BrokerClient> {
        &self.engine.brokers
    }

    /// Takes a consumer in: from now on it is announced, balanced and asked.
    ///
    /// # Errors
    /// [`ClientError::DuplicateGroup`], [`ClientError::Closed`], [`ClientError::Name`].
    #[doc(alias = "registerConsumer")]
    pub fn join(&self, member: Arc<dyn GroupMember>) -> Result<(), ClientError> {
        name::validate_group(member.group())?;
        self.engine.members.join(member, self.client_id())
    }

    /// Lets a consumer go, and tells all brokers so that others take its queues over. Whether all
    /// brokers know; those that do not notice it by the silence, after two minutes.
    #[doc(alias = "unregisterConsumer")]
    pub async fn leave(&self, group: &str) -> bool {
        self.leave_as(GroupKind::Consumer, group).await
    }

    /// Takes a producer in.
    ///
    /// # Errors
    /// [`ClientError::DuplicateGroup`], [`ClientError::Closed`], [`ClientError::Name`].
    #[doc(alias = "registerProducer")]
    pub fn join_producer(&self, group: &str) -> Result<(), ClientError> {
        name::validate_group(group)?;
        self.engine.members.join_producer(group, self.client_id())
    }

    /// Has brokers' questions about the transactions of a producer that is in answered.
    pub fn answer_checks(&self, group: &str, check_back: Arc<dyn CheckBack>) {
        self.engine.members.answer_checks(group, check_back);
    }

    /// Waits for the reply with that correlation id from now on.
    pub fn await_reply(&self, correlation_id: &str) -> AwaitedReply {
        AwaitedReply::new(&self.replies, correlation_id)
    }

    /// Lets a producer go, and tells all brokers; whether they know.
    #[doc(alias = "unregisterProducer")]
    pub async fn leave_producer(&self, group: &str) -> bool {
        self.leave_as(GroupKind::Producer, group).await
    }

    async fn leave_as(&self, kind: GroupKind, group: &str) -> bool {
        if !self.engine.members.leave(kind, group) {
            return true;
        }
        let _held = self.engine.heartbeats.hold().await;
        let brokers = &self.engine.brokers;
        let told = stream::iter(self.engine.routes.addresses(false)).map(|to| async move {
            let told = brokers.unregister(&to, kind, group).await;
            if let Err(error) = &told {
                tracing::warn!(broker = %to, group, %error, "farewell failed");
            }
            told.is_ok()
        });
        told.buffer_unordered(AT_ONCE).fold(true, async |all, told| all & told).await
    }

    /// The queues to which one can send. Asked for the first time, the route is fetched; with
    /// `create`, a topic that does not exist yet borrows the template's brokers, with at most so
    /// many queues each, and its first send creates it.
    ///
    /// # Errors
    /// [`ClientError::NoRoute`] when there is no writable queue, or why no route could be fetched.
    #[doc(alias = "tryToFindTopicPublishInfo")]
    pub async fn publish_queues(
        &self,
        topic: &str,
        create: Option<u32>,
    ) -> Result<Arc<PublishRoute>, ClientError> {
        let routes = &self.engine.routes;
        if let Some(route) = routes.publish(topic) {
            return Ok(route);
        }
        self.engine.members.publish(topic);
        let is_known = |routes: &Routes| routes.publish(topic).is_some();
        let outcome = routes.discover(topic, create, is_known).await;
        match (routes.publish(topic), outcome) {
            (Some(route), _) => Ok(route),
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => Err(ClientError::NoRoute { topic: topic.into() }),
        }
    }

    /// The queues that one can read; the route is fetched when it is not known.
    ///
    /// # Errors
    /// [`ClientError::NoRoute`], or why no route could be fetched.
    #[doc(alias = "fetchSubscribeMessageQueues")]
    pub async fn subscribe_queues(&self, topic: &str) -> Result<Arc<[MessageQueue]>, ClientError> {
        let routes = &self.engine.routes;
        if let Some(queues) = routes.subscribe(topic) {
            return Ok(queues);
        }
        routes.discover(topic, None, |routes| routes.subscribe(topic).is_some()).await?;
        routes.subscribe(topic).ok_or_else(|| ClientError::NoRoute { topic: topic.into() })
    }

    /// Fetches the route of a topic now. Whether anything is new.
    ///
    /// # Errors
    /// [`ClientError::NoRoute`], or why no route could be fetched.
    #[doc(alias = "updateTopicRouteInfoFromNameServer")]
    pub async fn refresh_route(&self, topic: &str) -> Result<bool, ClientError> {
        self.engine.routes.refresh(topic).await
    }

    /// Tells all brokers what this client is now. False when there is nothing to tell or no broker
    /// is known.
    #[doc(alias = "sendHeartbeatToAllBrokerWithLock")]
    pub async fn heartbeat(&self) -> bool {
        self.engine.heartbeats.send_all().await
    }

    /// Has the next heartbeats carry all subscriptions, after one of them changed.
    #[doc(alias = "resetBrokerAddrHeartbeatFingerprintMap")]
    pub fn subscriptions_changed(&self) {
        self.engine.heartbeats.forget_fingerprints();
    }

    /// Balances all groups soon: at once, or when the last run is a second ago.
    #[doc(alias = "rebalanceImmediately")]
    pub fn rebalance_soon(&self) {
        self.engine.signals.rebalance.notify_one();
    }

    /// The members of a group as a broker of the topic knows them. None: unknown, which is never
    /// "nobody".
    #[doc(alias = "findConsumerIdList")]
    pub async fn consumer_ids(&self, topic: &str, group: &str) -> Option<Vec<String>> {
        match self.engine.brokers.consumer_ids(topic, group).await {
            Ok(ids) => Some(ids).filter(|ids| !ids.is_empty()),
            Err(error) => {
                tracing::warn!(topic, group, %error, "the members of the group are unknown");
                None
            }
        }
    }

    /// Ends the instance when nobody is in it any more; otherwise nothing happens. Returns the
    /// names of tasks that did not end in time.
    pub async fn shutdown(&self, grace: Duration) -> Vec<String> {
        if !self.engine.members.close_if_empty() {
            return Vec::new();
        }
        let mut late = self.loops.stop(self.world.clock.as_ref(), grace).await;
        late.extend(self.tasks.stop(self.world.clock.as_ref(), grace).await);
        tracing::info!(client_id = self.client_id(), "client ended");
        late
    }
}

impl Drop for ClientInstance {
    fn drop(&mut self) {
        self.tasks.request_stop();
    }
}

impl std::fmt::Debug for ClientInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientInstance")
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "instance_test.rs"]
mod tests;
