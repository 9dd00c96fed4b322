//! Requests of operators: who serves which.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmq_remoting::request_code as code;
use rmq_remoting::{RemotingCommand, Reply, Response};

use super::parts::Parts;
use crate::admin::clients::ClientAdmin;
use crate::admin::config::ConfigAdmin;
use crate::admin::groups::GroupAdmin;
use crate::admin::offsets::OffsetAdmin;
use crate::admin::queues::QueueAdmin;
use crate::admin::read_limits::{self, ReadLimits};
use crate::admin::replicas::ReplicaAdmin;
use crate::admin::runtime::{RuntimeAdmin, Started};
use crate::admin::stats::StatsAdmin;
use crate::admin::topics::TopicAdmin;
use crate::processor::offset::OffsetRequests;
use crate::reply;
use crate::timer::Board;

/// Those who serve them.
pub(super) struct Administration {
    topics: Arc<TopicAdmin>,
    groups: GroupAdmin,
    moves: OffsetAdmin,
    stats: StatsAdmin,
    queues: QueueAdmin,
    runtime: RuntimeAdmin,
    config: ConfigAdmin,
    clients: ClientAdmin,
    offsets: OffsetRequests,
    replicas: ReplicaAdmin,
    read_limits: ReadLimits,
    /// None when nothing is timed.
    timers: Option<Arc<Board>>,
}

impl Administration {
    pub(super) fn new(p: &Parts, timers: Option<Arc<Board>>) -> Self {
        let topics = Arc::new(topics(p));
        Self {
            groups: groups(p, &topics),
            topics,
            moves: moves(p),
            stats: stats(p),
            queues: queues(p),
            runtime: runtime(p, timers.clone()),
            config: ConfigAdmin {
                config: p.config.clone(),
                live: Arc::clone(&p.live),
                others: Arc::default(),
                topics: Arc::clone(&p.topics),
                disk: Arc::clone(&p.world.disk),
                clock: p.clock(),
                tasks: p.tasks.clone(),
            },
            clients: clients(p),
            offsets: super::requests::offsets(p),
            replicas: ReplicaAdmin {
                identity: Arc::clone(&p.identity),
                admin: Arc::clone(&p.store_admin),
                opened_end: p.store_admin.status().max_physical,
            },
            read_limits: ReadLimits::default(),
            timers,
        }
    }

    /// Sets what is shown of other parts of the process.
    pub(super) fn show_settings(&self, settings: BTreeMap<String, String>) {
        self.config.others.show(settings);
    }

    /// Serves the request; one that nobody serves is answered so.
    pub(super) fn process(&self, request: &RemotingCommand) -> Reply {
        match request.code {
            code::UPDATE_AND_CREATE_TOPIC => self.topics.create(request),
            code::UPDATE_AND_CREATE_TOPIC_LIST => self.topics.create_all(request),
            code::DELETE_TOPIC_IN_BROKER => self.topics.delete(request),
            code::GET_ALL_TOPIC_CONFIG => self.topics.all(request).into(),
            code::GET_TOPIC_CONFIG => self.topics.get(request).into(),
            code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => self.topics.system().into(),
            code::CLEAN_UNUSED_TOPIC => self.topics.clean_unused(),
            code::CLEAN_EXPIRED_CONSUMEQUEUE | code::DELETE_EXPIRED_COMMITLOG => {
                self.topics.clean_expired()
            }
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => self.groups.create(request),
            code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => self.groups.create_all(request),
            code::DELETE_SUBSCRIPTIONGROUP => self.groups.delete(request),
            code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => self.groups.all(request).into(),
            code::GET_SUBSCRIPTIONGROUP_CONFIG => self.groups.get(request).into(),
            code::UPDATE_AND_GET_GROUP_FORBIDDEN => self.groups.forbid(request).into(),
            code::GET_ALL_CONSUMER_OFFSET => self.offsets.all().into(),
            code::GET_ALL_DELAY_OFFSET => self.offsets.delays().into(),
            code::INVOKE_BROKER_TO_RESET_OFFSET => self.moves.reset(request),
            code::CLONE_GROUP_OFFSET => self.moves.clone_group(request).into(),
            code::GET_TOPIC_STATS_INFO => self.stats.topic(request),
            code::GET_CONSUME_STATS => self.stats.group(request),
            code::GET_BROKER_CONSUME_STATS => self.stats.all_groups(request),
            code::QUERY_CONSUME_QUEUE => self.queues.entries(request),
            code::QUERY_CONSUME_TIME_SPAN => self.queues.time_spans(request),
            code::QUERY_CORRECTION_OFFSET => self.queues.corrections(request).into(),
            code::NOTIFY_MIN_BROKER_ID_CHANGE => self.replicas.min_broker(request).into(),
            code::EXCHANGE_BROKER_HA_INFO => self.replicas.addresses(request).into(),
            code::GET_BROKER_HA_STATUS => self.replicas.status().into(),
            code::GET_BROKER_EPOCH_CACHE => reply::no_controller().into(),
            // Concern replicas only; a master answers that all is well.
            code::RESET_MASTER_FLUSH_OFFSET | code::NOTIFY_BROKER_ROLE_CHANGED => {
                Response::ok().into()
            }
            code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG => self.read_limits.limit(request).into(),
            code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG => self.read_limits.unlimit(request).into(),
            code::GET_COLD_DATA_FLOW_CTR_INFO => self.read_limits.show().into(),
            code::SET_COMMITLOG_READ_MODE => read_limits::read_ahead(request).into(),
            code::GET_CONSUMER_CONNECTION_LIST => self.stats.consumers(request).into(),
            code::GET_PRODUCER_CONNECTION_LIST => self.stats.producers(request).into(),
            code::GET_ALL_PRODUCER_INFO => self.stats.all_producers().into(),
            code::QUERY_TOPIC_CONSUME_BY_WHO => self.stats.who_consumes(request).into(),
            code::QUERY_TOPICS_BY_CONSUMER => self.stats.topics_of(request).into(),
            code::QUERY_SUBSCRIPTION_BY_CONSUMER => self.stats.subscription(request).into(),
            code::VIEW_BROKER_STATS_DATA => self.stats.view(request).into(),
            code::GET_BROKER_RUNTIME_INFO => self.runtime.describe(),
            code::UPDATE_BROKER_CONFIG => self.config.update(request),
            code::GET_BROKER_CONFIG => self.config.get().into(),
            code::GET_CONSUMER_RUNNING_INFO => self.clients.describe(request),
            code::CONSUME_MESSAGE_DIRECTLY => self.clients.consume(request),
            code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => self.clients.status(request),
            code::GET_TIMER_CHECK_POINT => match &self.timers {
                Some(board) => Response::ok().with_body(board.note.lock().clone()).into(),
                None => reply::no_timer_check().into(),
            },
            code::GET_TIMER_METRICS => match &self.timers {
                Some(board) => Response::of(&board.counts.lock().metrics()).into(),
                None => reply::no_timers().into(),
            },
            code::SWITCH_TIMER_ENGINE => {
                reply::timer_engine(self.timers.is_some(), &request.fields).into()
            }
            other => reply::unserved(other).into(),
        }
    }
}

fn topics(p: &Parts) -> TopicAdmin {
    TopicAdmin {
        topics: Arc::clone(&p.topics),
        offsets: Arc::clone(&p.offsets),
        locks: Arc::clone(&p.locks),
        holds: Arc::clone(&p.holds),
        admin: Arc::clone(&p.store_admin),
        publication: Arc::clone(&p.publication),
        stats: Arc::clone(&p.stats),
        orders: Arc::clone(&p.pop.orders),
        clock: p.clock(),
        tasks: p.tasks.clone(),
    }
}

fn groups(p: &Parts, topic_admin: &Arc<TopicAdmin>) -> GroupAdmin {
    GroupAdmin {
        live: Arc::clone(&p.live),
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        offsets: Arc::clone(&p.offsets),
        locks: Arc::clone(&p.locks),
        stats: Arc::clone(&p.stats),
        orders: Arc::clone(&p.pop.orders),
        topic_admin: Arc::clone(topic_admin),
        clock: p.clock(),
    }
}

fn moves(p: &Parts) -> OffsetAdmin {
    OffsetAdmin {
        identity: Arc::clone(&p.identity),
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        offsets: Arc::clone(&p.offsets),
        holds: Arc::clone(&p.holds),
        store: Arc::clone(&p.store),
        clock: p.clock(),
        tasks: p.tasks.clone(),
    }
}

fn stats(p: &Parts) -> StatsAdmin {
    StatsAdmin {
        identity: Arc::clone(&p.identity),
        topics: Arc::clone(&p.topics),
        offsets: Arc::clone(&p.offsets),
        consumers: Arc::clone(&p.consumers),
        producers: Arc::clone(&p.producers),
        groups: Arc::clone(&p.groups),
        store: Arc::clone(&p.store),
        stats: Arc::clone(&p.stats),
        tasks: p.tasks.clone(),
    }
}

fn queues(p: &Parts) -> QueueAdmin {
    QueueAdmin {
        identity: Arc::clone(&p.identity),
        topics: Arc::clone(&p.topics),
        offsets: Arc::clone(&p.offsets),
        consumers: Arc::clone(&p.consumers),
        filters: Arc::clone(&p.filter_table),
        store: Arc::clone(&p.store),
        clock: p.clock(),
        tasks: p.tasks.clone(),
    }
}

fn runtime(p: &Parts, timers: Option<Arc<Board>>) -> RuntimeAdmin {
    RuntimeAdmin {
        holds: Arc::clone(&p.holds),
        delays: Arc::clone(&p.delays),
        levels: p.levels.clone(),
        store: Arc::clone(&p.store),
        admin: Arc::clone(&p.store_admin),
        stats: Arc::clone(&p.stats),
        disk: Arc::clone(&p.world.disk),
        dir: p.config.store_path_root_dir.clone(),
        clock: p.clock(),
        tasks: p.tasks.clone(),
        timers,
        started: Started { wall: p.opened.0, monotonic: p.opened.1 },
        accept_from: p.config.start_accept_send_request_time_stamp,
    }
}

fn clients(p: &Parts) -> ClientAdmin {
    ClientAdmin {
        identity: Arc::clone(&p.identity),
        topics: Arc::clone(&p.topics),
        groups: Arc::clone(&p.groups),
        consumers: Arc::clone(&p.consumers),
        cold: Arc::clone(&p.cold),
    }
}
