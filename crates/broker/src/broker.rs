//! The broker: its parts, built once, and the way of a request to the part that serves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_message::id::UniqueIds;
use rmq_message::{QueueOffset, Timestamp, name};
use rmq_remoting::request_code as code;
use rmq_remoting::{
    Endpoint, Invoker, Peer, Processor, RemotingCommand, Reply, Response, Unsettled,
};
use rmq_runtime::{ClockExt, OnFailure, Tasks, World};
use rmq_store::{ArrivalListener, MessageStore, QueueKey, StoreAdmin};
use thiserror::Error;

use crate::admin::clients::ClientAdmin;
use crate::admin::config::ConfigAdmin;
use crate::admin::groups::GroupAdmin;
use crate::admin::offsets::OffsetAdmin;
use crate::admin::stats::{Started, StatsAdmin};
use crate::admin::topics::TopicAdmin;
use crate::append::Appender;
use crate::config::{BrokerConfig, ConfigError, Live};
use crate::consumer_registry::ConsumerRegistry;
use crate::delay::{Bells, DelayDelivery, DelayProgress, Levels};
use crate::document::{self, Document, Files, Rhythm};
use crate::group_table::GroupTable;
use crate::hold::HoldService;
use crate::identity::Identity;
use crate::offset_table::OffsetTable;
use crate::processor::client::ClientRequests;
use crate::processor::lock::LockRequests;
use crate::processor::offset::OffsetRequests;
use crate::processor::pull::PullRequests;
use crate::processor::query::QueryRequests;
use crate::processor::send::SendRequests;
use crate::processor::send_back::SendBackRequests;
use crate::producer_registry::ProducerRegistry;
use crate::queue_lock::LockTable;
use crate::registrar::{Publication, Registrar};
use crate::stats::{SAMPLE_PERIOD, Stats};
use crate::topic_table::TopicTable;

/// Between looks for clients and locks that have expired.
const EXPIRY_PERIOD: Duration = Duration::from_secs(10);
/// Time that tasks get to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Why a broker does not open.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A table in the directory `config` of the store cannot be read.
    #[error("{0}; restore the file from its .bak or a copy, or remove it to start without it")]
    Table(#[from] std::io::Error),
}

/// A broker over a message store: serves requests and does its work in time. Built by
/// [`Broker::open`], at work after [`Broker::start`].
pub struct Broker {
    send: SendRequests,
    pull: Arc<PullRequests>,
    offsets: OffsetRequests,
    clients: ClientRequests,
    locks: LockRequests,
    queries: QueryRequests,
    send_back: SendBackRequests,
    topic_admin: Arc<TopicAdmin>,
    group_admin: GroupAdmin,
    offset_admin: OffsetAdmin,
    stats_admin: StatsAdmin,
    config_admin: ConfigAdmin,
    client_admin: ClientAdmin,
    work: Work,
}

/// What the broker's own tasks work on.
struct Work {
    world: World,
    tasks: Tasks,
    store: Arc<dyn MessageStore>,
    files: Arc<Files>,
    documents: Vec<(Arc<dyn Document>, Rhythm)>,
    delivery: Arc<DelayDelivery>,
    publication: Arc<Publication>,
    servers: Vec<Endpoint>,
    registrar: Mutex<Option<Arc<Registrar>>>,
    lock_table: Arc<LockTable>,
}

/// Brings news of the store to those who wait for it. Holds nothing that holds the store.
struct Arrivals {
    holds: Arc<HoldService>,
    bells: Arc<Bells>,
}

impl ArrivalListener for Arrivals {
    fn arrived(&self, queue: &QueueKey, end: QueueOffset) {
        self.holds.arrived(queue, end);
        if queue.topic == name::SCHEDULE_TOPIC {
            self.bells.ring(queue.queue_id);
        }
    }
}

impl Broker {
    /// Builds a broker over an opened store and reads its tables. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open<S: MessageStore + StoreAdmin>(
        world: &World,
        tasks: &Tasks,
        config: BrokerConfig,
        store: Arc<S>,
    ) -> Result<Arc<Self>, OpenError> {
        config.validate()?;
        let levels = Levels::parse(&config.message_delay_level).ok_or(ConfigError {
            key: "messageDelayLevel",
            problem: "must be 1 to 100 delays".to_owned(),
        })?;
        let tasks = tasks.child("broker");
        let admin: Arc<dyn StoreAdmin> = Arc::clone(&store) as _;
        let store: Arc<dyn MessageStore> = store;
        let clock = &world.clock;
        let (wall, monotonic) = (Timestamp::from(clock.wall()), clock.monotonic());

        let files = Files::new(Arc::clone(&world.disk), config.store_path_root_dir.join("config"));
        let topics = Arc::new(TopicTable::open(&files, &config, wall)?);
        let groups = Arc::new(GroupTable::open(&files, wall)?);
        let offsets = Arc::new(OffsetTable::open(&files)?);
        let locks = Arc::new(LockTable::open(&files, monotonic)?);
        let delays = Arc::new(DelayProgress::open(&files)?);

        let identity = Arc::new(Identity::new(&config));
        let live = Arc::new(Live::new(&config));
        let consumers = Arc::new(ConsumerRegistry::default());
        let producers = Arc::new(ProducerRegistry::default());
        let holds = Arc::new(HoldService::default());
        let stats = Arc::new(Stats::default());
        let bells = Arc::new(Bells::new(&levels));
        let publication = Arc::new(Publication::new());
        let appender =
            Appender::new(Arc::clone(&store), Arc::clone(clock), Arc::clone(&stats), &config);
        store.on_arrival(Arc::new(Arrivals {
            holds: Arc::clone(&holds),
            bells: Arc::clone(&bells),
        }));

        let send = SendRequests {
            identity: Arc::clone(&identity),
            live: Arc::clone(&live),
            topics: Arc::clone(&topics),
            groups: Arc::clone(&groups),
            locks: Arc::clone(&locks),
            appender: appender.clone(),
            levels: levels.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(&world.entropy),
            ids: UniqueIds::new(
                config.broker_ip1,
                std::process::id(),
                u32::try_from(world.entropy.below(1 << 32)).unwrap_or(0),
                clock.utc_offset_ms(),
            ),
            stats: Arc::clone(&stats),
            accept_from: config.start_accept_send_request_time_stamp,
        };
        let pull = Arc::new(PullRequests {
            identity: Arc::clone(&identity),
            live: Arc::clone(&live),
            topics: Arc::clone(&topics),
            groups: Arc::clone(&groups),
            offsets: Arc::clone(&offsets),
            consumers: Arc::clone(&consumers),
            store: Arc::clone(&store),
            holds: Arc::clone(&holds),
            clock: Arc::clone(clock),
            stats: Arc::clone(&stats),
            count_max: config.pull_batch_max_message_count,
            short_polling: Duration::from_millis(config.short_polling_time_mills),
        });
        let clients = ClientRequests {
            live: Arc::clone(&live),
            topics: Arc::clone(&topics),
            groups: Arc::clone(&groups),
            consumers: Arc::clone(&consumers),
            producers: Arc::clone(&producers),
            clock: Arc::clone(clock),
        };
        let send_back = SendBackRequests {
            identity: Arc::clone(&identity),
            live: Arc::clone(&live),
            topics: Arc::clone(&topics),
            groups: Arc::clone(&groups),
            store: Arc::clone(&store),
            appender: appender.clone(),
            levels: levels.clone(),
            clock: Arc::clone(clock),
            entropy: Arc::clone(&world.entropy),
        };
        let offset_requests = OffsetRequests {
            topics: Arc::clone(&topics),
            groups: Arc::clone(&groups),
            offsets: Arc::clone(&offsets),
            delays: Arc::clone(&delays),
            store: Arc::clone(&store),
            clock: Arc::clone(clock),
            tasks: tasks.clone(),
        };
        let topic_admin = Arc::new(TopicAdmin {
            topics: Arc::clone(&topics),
            offsets: Arc::clone(&offsets),
            locks: Arc::clone(&locks),
            holds: Arc::clone(&holds),
            admin: Arc::clone(&admin),
            publication: Arc::clone(&publication),
            clock: Arc::clone(clock),
            tasks: tasks.clone(),
        });
        let group_admin = GroupAdmin {
            live: Arc::clone(&live),
            topics: Arc::clone(&topics),
            groups: Arc::clone(&groups),
            offsets: Arc::clone(&offsets),
            locks: Arc::clone(&locks),
            topic_admin: Arc::clone(&topic_admin),
            clock: Arc::clone(clock),
        };
        let offset_admin = OffsetAdmin {
            identity: Arc::clone(&identity),
            topics: Arc::clone(&topics),
            groups: Arc::clone(&groups),
            offsets: Arc::clone(&offsets),
            holds: Arc::clone(&holds),
            store: Arc::clone(&store),
            clock: Arc::clone(clock),
            tasks: tasks.clone(),
        };
        let stats_admin = StatsAdmin {
            identity: Arc::clone(&identity),
            topics: Arc::clone(&topics),
            offsets: Arc::clone(&offsets),
            consumers: Arc::clone(&consumers),
            producers: Arc::clone(&producers),
            holds: Arc::clone(&holds),
            delays: Arc::clone(&delays),
            levels: levels.clone(),
            store: Arc::clone(&store),
            admin,
            stats,
            clock: Arc::clone(clock),
            tasks: tasks.clone(),
            started: Started { wall, monotonic },
        };
        let client_admin = ClientAdmin {
            identity: Arc::clone(&identity),
            topics: Arc::clone(&topics),
            groups: Arc::clone(&groups),
            consumers,
            store: Arc::clone(&store),
        };
        let delivery = Arc::new(DelayDelivery {
            identity,
            topics: Arc::clone(&topics),
            progress: Arc::clone(&delays),
            store: Arc::clone(&store),
            appender,
            bells,
            clock: Arc::clone(clock),
        });
        let every = |millis| Rhythm::Every(Duration::from_millis(millis));
        let work = Work {
            world: world.clone(),
            tasks: tasks.clone(),
            store: Arc::clone(&store),
            files: Arc::new(files),
            documents: vec![
                (Arc::clone(&topics) as _, Rhythm::AtOnce),
                (groups as _, Rhythm::AtOnce),
                (Arc::clone(&locks) as _, Rhythm::AtOnce),
                (offsets as _, every(config.flush_consumer_offset_interval)),
                (delays as _, every(config.flush_delay_offset_interval)),
            ],
            delivery,
            publication,
            servers: config.name_servers()?,
            registrar: Mutex::new(None),
            lock_table: Arc::clone(&locks),
        };
        Ok(Arc::new(Self {
            send,
            pull,
            offsets: offset_requests,
            clients,
            locks: LockRequests { topics: Arc::clone(&topics), locks, clock: Arc::clone(clock) },
            queries: QueryRequests { store, tasks },
            send_back,
            topic_admin,
            group_admin,
            offset_admin,
            stats_admin,
            config_admin: ConfigAdmin { config, live, topics, clock: Arc::clone(clock) },
            client_admin,
            work,
        }))
    }

    /// Sets the address that clients and name servers are told, and that stored messages carry:
    /// `brokerIP1` with the port that was bound. Before requests are served; the first call counts.
    pub fn advertise(&self, address: SocketAddr) {
        self.send.identity.advertise(address);
    }

    /// The address that clients and name servers are told.
    pub fn address(&self) -> SocketAddr {
        self.send.identity.address()
    }

    /// Starts the broker's own work: saving tables, waking held pulls, delivering delayed messages,
    /// letting go of clients that are gone, and registering at the name servers through `invoker`.
    /// Needs a runtime around it.
    pub fn start(self: &Arc<Self>, invoker: Arc<dyn Invoker>) {
        let Work { world, tasks, .. } = &self.work;
        let stop = || tasks.stop_token();
        for (document, rhythm) in &self.work.documents {
            let keep = document::keep(
                Arc::clone(&self.work.files),
                Arc::clone(document),
                *rhythm,
                Arc::clone(&world.clock),
                tasks.clone(),
            );
            tasks.spawn(document.file(), OnFailure::Unhealthy, keep);
        }
        let holds = Arc::clone(&self.pull.holds).run(Arc::clone(&world.clock), stop());
        tasks.spawn("hold", OnFailure::Unhealthy, holds);
        for (level, delay) in self.send.levels.iter() {
            let run = Arc::clone(&self.work.delivery).run(level, delay, stop());
            tasks.spawn(&format!("delay-{level}"), OnFailure::Unhealthy, run);
        }
        tasks.spawn("expiry", OnFailure::Unhealthy, Arc::clone(self).expire());
        tasks.spawn("stats", OnFailure::Log, Arc::clone(self).sample());
        self.register(invoker);
    }

    fn register(&self, invoker: Arc<dyn Invoker>) {
        let config = &self.config_admin.config;
        let period = config.register_name_server_period.clamp(10_000, 60_000);
        let registrar = Arc::new(Registrar {
            identity: Arc::clone(&self.send.identity),
            live: Arc::clone(&self.send.live),
            topics: Arc::clone(&self.send.topics),
            invoker,
            publication: Arc::clone(&self.work.publication),
            clock: Arc::clone(&self.work.world.clock),
            period: Duration::from_millis(period),
            timeout: Duration::from_millis(config.register_broker_timeout_mills),
        });
        for server in &self.work.servers {
            let run = Arc::clone(&registrar).run(server.clone(), self.work.tasks.stop_token());
            self.work.tasks.spawn(&format!("register-{server}"), OnFailure::Unhealthy, run);
        }
        *self.work.registrar.lock() = Some(registrar);
    }

    async fn expire(self: Arc<Self>) {
        let life = Duration::from_millis(self.config_admin.config.channel_expired_timeout);
        let (clock, stop) = (Arc::clone(&self.work.world.clock), self.work.tasks.stop_token());
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = clock.sleep(EXPIRY_PERIOD) => {}
            }
            self.clients.expire(life);
            self.work.lock_table.expire(clock.monotonic());
        }
    }

    async fn sample(self: Arc<Self>) {
        let (clock, stop) = (Arc::clone(&self.work.world.clock), self.work.tasks.stop_token());
        loop {
            self.send.stats.sample(clock.monotonic());
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = clock.sleep(SAMPLE_PERIOD) => {}
            }
        }
    }

    /// Answers all held pulls; later ones are not held.
    pub fn release_holds(&self) {
        self.pull.holds.close();
    }

    /// Says good-bye to the name servers. What comes first when a broker stops.
    pub async fn unregister(&self) {
        let registrar = self.work.registrar.lock().take();
        if let Some(registrar) = registrar {
            registrar.unregister(&self.work.servers).await;
        }
    }

    /// Stops: says good-bye to the name servers, answers held pulls, ends its tasks, saves its
    /// tables. The store stays open. Returns the names of tasks that did not end in time.
    pub async fn stop(&self) -> Vec<String> {
        let Work { world, tasks, .. } = &self.work;
        self.unregister().await;
        self.release_holds();
        let stragglers = tasks.stop(&*world.clock, STOP_GRACE).await;
        for (document, _) in &self.work.documents {
            let (files, document) = (Arc::clone(&self.work.files), Arc::clone(document));
            let file = document.file();
            match tasks.blocking(move || files.save(&*document)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::error!(%error, file, "a table is not saved"),
                None => tracing::error!(file, "a table is not saved"),
            }
        }
        stragglers
    }
}

impl Processor for Broker {
    fn process(&self, peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        match request.code {
            code::SEND_MESSAGE_V2 | code::SEND_MESSAGE | code::SEND_BATCH_MESSAGE => {
                self.send.process(peer, &request)
            }
            code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => self.pull.process(peer, request),
            code::UPDATE_CONSUMER_OFFSET => self.offsets.update(&request).into(),
            code::QUERY_CONSUMER_OFFSET => self.offsets.query(&request).into(),
            code::CONSUMER_SEND_MSG_BACK => self.send_back.process(&request),
            code::HEART_BEAT => self.clients.heartbeat(peer, &request).into(),
            code::GET_CONSUMER_LIST_BY_GROUP => self.clients.list(&request).into(),
            code::LOCK_BATCH_MQ => self.locks.lock(&request),
            code::UNLOCK_BATCH_MQ => self.locks.unlock(&request).into(),
            code::UNREGISTER_CLIENT => self.clients.unregister(peer, &request).into(),
            code::CHECK_CLIENT_CONFIG => ClientRequests::check(&request).into(),
            code::GET_MAX_OFFSET => self.offsets.max(&request).into(),
            code::GET_MIN_OFFSET => self.offsets.min(&request).into(),
            code::GET_EARLIEST_MSG_STORETIME => self.offsets.earliest(&request).into(),
            code::SEARCH_OFFSET_BY_TIMESTAMP => self.offsets.search(&request),
            code::QUERY_MESSAGE => self.queries.query(&request),
            code::VIEW_MESSAGE_BY_ID => self.queries.view(&request).into(),
            _ => self.administer(&request),
        }
    }

    fn settle(&self) -> Result<(), Unsettled> {
        let settled = self.work.store.settle();
        settled.map_err(|error| Unsettled { reason: error.to_string() })
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.clients.closed(peer);
    }
}

impl Broker {
    fn administer(&self, request: &RemotingCommand) -> Reply {
        match request.code {
            code::UPDATE_AND_CREATE_TOPIC => self.topic_admin.create(request),
            code::UPDATE_AND_CREATE_TOPIC_LIST => self.topic_admin.create_all(request),
            code::DELETE_TOPIC_IN_BROKER => self.topic_admin.delete(request),
            code::GET_ALL_TOPIC_CONFIG => self.topic_admin.all(request).into(),
            code::GET_TOPIC_CONFIG => self.topic_admin.get(request).into(),
            code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => self.topic_admin.system().into(),
            code::CLEAN_UNUSED_TOPIC => self.topic_admin.clean_unused(),
            code::CLEAN_EXPIRED_CONSUMEQUEUE | code::DELETE_EXPIRED_COMMITLOG => {
                self.topic_admin.clean_expired()
            }
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => self.group_admin.create(request),
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => self.group_admin.create_all(request),
            code::DELETE_SUBSCRIPTIONGROUP => self.group_admin.delete(request),
            code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => self.group_admin.all(request).into(),
            code::GET_SUBSCRIPTIONGROUP_CONFIG => self.group_admin.get(request).into(),
            code::UPDATE_AND_GET_GROUP_FORBIDDEN => self.group_admin.forbid(request).into(),
            code::GET_ALL_CONSUMER_OFFSET => self.offsets.all().into(),
            code::GET_ALL_DELAY_OFFSET => self.offsets.delays().into(),
            code::INVOKE_BROKER_TO_RESET_OFFSET => self.offset_admin.reset(request),
            code::CLONE_GROUP_OFFSET => self.offset_admin.clone_group(request).into(),
            code::GET_TOPIC_STATS_INFO => self.stats_admin.topic(request),
            code::GET_CONSUME_STATS => self.stats_admin.group(request),
            code::GET_CONSUMER_CONNECTION_LIST => self.stats_admin.consumers(request).into(),
            code::GET_PRODUCER_CONNECTION_LIST => self.stats_admin.producers(request).into(),
            code::GET_ALL_PRODUCER_INFO => self.stats_admin.all_producers().into(),
            code::QUERY_TOPIC_CONSUME_BY_WHO => self.stats_admin.who_consumes(request).into(),
            code::QUERY_TOPICS_BY_CONSUMER => self.stats_admin.topics_of(request).into(),
            code::QUERY_SUBSCRIPTION_BY_CONSUMER => self.stats_admin.subscription(request).into(),
            code::VIEW_BROKER_STATS_DATA => StatsAdmin::view(request).into(),
            code::GET_BROKER_RUNTIME_INFO => self.stats_admin.runtime().into(),
            code::UPDATE_BROKER_CONFIG => self.config_admin.update(request).into(),
            code::GET_BROKER_CONFIG => self.config_admin.get().into(),
            code::GET_CONSUMER_RUNNING_INFO => self.client_admin.describe(request),
            code::CONSUME_MESSAGE_DIRECTLY => self.client_admin.consume(request),
            code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => self.client_admin.status(request),
            other => Response::not_supported(other).into(),
        }
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("address", &self.address()).finish_non_exhaustive()
    }
}
