//! What the broker is built of. Used while it is built only: each part then holds what it needs,
//! and no part reaches another through here.

use std::sync::Arc;
use std::time::Duration;

use rmq_message::Timestamp;
use rmq_remoting::Endpoint;
use rmq_runtime::{Clock, Monotonic, Tasks, World};
use rmq_store::{MessageStore, StoreAdmin};
use tokio::sync::Notify;

use super::OpenError;
use crate::append::Appender;
use crate::assignment::modes::RequestModes;
use crate::assignment::routes::RouteView;
use crate::cold::ColdReads;
use crate::config::{BrokerConfig, ConfigError, Live};
use crate::consumer_registry::ConsumerRegistry;
use crate::delay::{Bells, DelayDelivery, DelayProgress, Levels, Release};
use crate::document::Files;
use crate::filter::Filters;
use crate::filter_table::FilterTable;
use crate::group_table::GroupTable;
use crate::hold::HoldService;
use crate::identity::Identity;
use crate::offset_table::OffsetTable;
use crate::pop::cursor::Cursors;
use crate::pop::order::OrderTable;
use crate::pop::receipt::Kind;
use crate::pop::revive::{Revival, ReviveWatch};
use crate::pop::revive_log::ReviveLog;
use crate::processor::pop::Retries;
use crate::producer_registry::ProducerRegistry;
use crate::queue_lock::LockTable;
use crate::registrar::{Publication, Registrar};
use crate::stats::Stats;
use crate::timer::{Timers, Timing, Tools};
use crate::topic_table::TopicTable;
use crate::transaction::{self, Ledger, Rules, TransactionCheck};

const HOUR_MS: i64 = 3_600_000;

/// They.
pub(super) struct Parts {
    pub(super) world: World,
    pub(super) tasks: Tasks,
    pub(super) config: BrokerConfig,
    pub(super) servers: Vec<Endpoint>,
    pub(super) levels: Levels,
    pub(super) opened: (Timestamp, Monotonic),
    pub(super) store: Arc<dyn MessageStore>,
    pub(super) store_admin: Arc<dyn StoreAdmin>,
    pub(super) cold: Arc<ColdReads>,
    pub(super) files: Arc<Files>,
    pub(super) topics: Arc<TopicTable>,
    pub(super) groups: Arc<GroupTable>,
    pub(super) offsets: Arc<OffsetTable>,
    pub(super) locks: Arc<LockTable>,
    pub(super) delays: Arc<DelayProgress>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) identity: Arc<Identity>,
    pub(super) live: Arc<Live>,
    pub(super) consumers: Arc<ConsumerRegistry>,
    pub(super) producers: Arc<ProducerRegistry>,
    pub(super) holds: Arc<HoldService>,
    pub(super) filters: Arc<Filters>,
    pub(super) filter_table: Arc<FilterTable>,
    pub(super) bells: Arc<Bells>,
    pub(super) timer_bell: Arc<Notify>,
    pub(super) stats: Arc<Stats>,
    pub(super) publication: Arc<Publication>,
    pub(super) pop: PopParts,
    pub(super) modes: Arc<RequestModes>,
    pub(super) routes: Arc<RouteView>,
}

/// Parts of pop consumption.
pub(super) struct PopParts {
    pub(super) cursors: Arc<Cursors>,
    pub(super) orders: Arc<OrderTable>,
    pub(super) log: Arc<ReviveLog>,
    pub(super) watch: Arc<ReviveWatch>,
    pub(super) retries: Retries,
    /// Whether higher queues come first.
    pub(super) ascending: bool,
}

impl Parts {
    /// Checks the settings and reads the tables.
    pub(super) fn open(
        world: &World,
        tasks: Tasks,
        config: BrokerConfig,
        store: Arc<dyn MessageStore>,
        store_admin: Arc<dyn StoreAdmin>,
    ) -> Result<Self, OpenError> {
        config.validate()?;
        let levels = Levels::parse(&config.message_delay_level).ok_or(ConfigError {
            key: "messageDelayLevel",
            problem: "must be 1 to 100 delays".to_owned(),
        })?;
        let now = Timestamp::from(world.clock.wall());
        let monotonic = world.clock.monotonic();
        let files = Files::new(Arc::clone(&world.disk), config.store_path_root_dir.join("config"));
        let (identity, stats) = (Arc::new(Identity::new(&config)), Arc::<Stats>::default());
        let offsets = Arc::new(OffsetTable::open(&files)?);
        let clock = Arc::clone(&world.clock);
        let appender = Appender::new(Arc::clone(&store), clock, Arc::clone(&stats), &config);
        let pop = PopParts::open(world, &files, &config, appender, (&identity, &offsets))?;
        let ledger = transaction::open(&*store, &offsets)?;
        let topics = Arc::new(TopicTable::open(&files, &config, now)?);
        let servers = config.name_servers()?;
        let clock = Arc::clone(&world.clock);
        let routes =
            RouteView::new(Arc::clone(&identity), Arc::clone(&topics), servers.clone(), clock);
        Ok(Self {
            ledger: Arc::new(ledger),
            pop,
            modes: Arc::new(RequestModes::open(&files)?),
            routes: Arc::new(routes),
            topics,
            groups: Arc::new(GroupTable::open(&files, now)?),
            offsets,
            locks: Arc::new(LockTable::open(&files, monotonic)?),
            delays: Arc::new(DelayProgress::open(&files)?),
            filter_table: Arc::new(FilterTable::open(&files, now)?),
            files: Arc::new(files),
            identity,
            live: Arc::new(Live::new(&config)),
            consumers: Arc::default(),
            producers: Arc::default(),
            holds: Arc::default(),
            filters: Arc::new(Filters::new(config.enable_property_filter)),
            timer_bell: Arc::default(),
            bells: Arc::new(Bells::new(&levels)),
            stats,
            publication: Arc::new(Publication::new()),
            servers,
            opened: (now, monotonic),
            world: world.clone(),
            cold: Arc::new(ColdReads::new(Arc::clone(&store), tasks.clone())),
            tasks,
            config,
            levels,
            store,
            store_admin,
        })
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.world.clock)
    }

    pub(super) fn appender(&self) -> Appender {
        let (store, stats) = (Arc::clone(&self.store), Arc::clone(&self.stats));
        Appender::new(store, self.clock(), stats, &self.config)
    }

    /// The timers, as far as an earlier life has come; none when nothing is timed.
    pub(super) fn timers(&self) -> std::io::Result<Option<Timers>> {
        let rules = Timing::of(&self.config);
        let tools = Tools {
            disk: Arc::clone(&self.world.disk),
            clock: self.clock(),
            tasks: self.tasks.clone(),
            store: Arc::clone(&self.store),
            cold: Arc::clone(&self.cold),
            store_admin: Arc::clone(&self.store_admin),
            release: self.release(),
            bell: Arc::clone(&self.timer_bell),
        };
        let root = self.config.store_path_root_dir.clone();
        rules.enabled.then(|| Timers::open(root, rules, tools)).transpose()
    }

    pub(super) fn release(&self) -> Release {
        Release {
            identity: Arc::clone(&self.identity),
            topics: Arc::clone(&self.topics),
            appender: self.appender(),
        }
    }

    pub(super) fn delivery(&self) -> DelayDelivery {
        DelayDelivery {
            progress: Arc::clone(&self.delays),
            store: Arc::clone(&self.store),
            cold: Arc::clone(&self.cold),
            release: self.release(),
            bells: Arc::clone(&self.bells),
            clock: self.clock(),
        }
    }

    pub(super) fn revival(&self) -> Revival {
        Revival {
            identity: Arc::clone(&self.identity),
            topics: Arc::clone(&self.topics),
            groups: Arc::clone(&self.groups),
            offsets: Arc::clone(&self.offsets),
            store: Arc::clone(&self.store),
            cold: Arc::clone(&self.cold),
            appender: self.appender(),
            log: Arc::clone(&self.pop.log),
            watch: Arc::clone(&self.pop.watch),
            clock: self.clock(),
            retry_kind: self.pop.retries.kind,
        }
    }

    pub(super) fn transaction_rules(&self) -> Rules {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Rules {
            timeout_ms: signed(self.config.transaction_timeout),
            checks_max: self.config.transaction_check_max,
            age_max_ms: signed(self.config.file_reserved_time).saturating_mul(HOUR_MS),
        }
    }

    pub(super) fn transaction_check(&self) -> TransactionCheck {
        TransactionCheck {
            identity: Arc::clone(&self.identity),
            topics: Arc::clone(&self.topics),
            offsets: Arc::clone(&self.offsets),
            producers: Arc::clone(&self.producers),
            store: Arc::clone(&self.store),
            cold: Arc::clone(&self.cold),
            appender: self.appender(),
            ledger: Arc::clone(&self.ledger),
            clock: self.clock(),
            rules: self.transaction_rules(),
            interval: Duration::from_millis(self.config.transaction_check_interval),
        }
    }

    pub(super) fn registrar(&self) -> Registrar {
        let period = self.config.register_name_server_period.clamp(10_000, 60_000);
        Registrar {
            identity: Arc::clone(&self.identity),
            live: Arc::clone(&self.live),
            topics: Arc::clone(&self.topics),
            publication: Arc::clone(&self.publication),
            clock: self.clock(),
            tasks: self.tasks.child("registrar"),
            servers: self.servers.clone(),
            period: Duration::from_millis(period),
            timeout: Duration::from_millis(self.config.register_broker_timeout_mills),
        }
    }
}

impl PopParts {
    fn open(
        world: &World,
        files: &Files,
        config: &BrokerConfig,
        appender: Appender,
        (identity, offsets): (&Arc<Identity>, &Arc<OffsetTable>),
    ) -> std::io::Result<Self> {
        let clock = Arc::clone(&world.clock);
        let queues = config.revive_queue_num;
        let log = Arc::new(ReviveLog::new(Arc::clone(identity), appender, clock, queues));
        let v2 = config.enable_retry_topic_v2;
        Ok(Self {
            cursors: Cursors::new(Arc::clone(offsets)),
            orders: Arc::new(OrderTable::open(files)?),
            watch: Arc::new(ReviveWatch::new(&log)),
            log,
            retries: Retries {
                kind: if v2 { Kind::RetryV2 } else { Kind::RetryV1 },
                old_too: v2 && config.retrieve_message_from_pop_retry_topic_v1,
                first: config.pop_from_retry_probability,
                first_by_priority: config.pop_from_retry_probability_for_priority,
            },
            ascending: config.priority_order_asc,
        })
    }
}
