//! A name server: its tables, the loop that looks for silent brokers, and the notices that it sends.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockUpgradableReadGuard};
use rmq_remoting::{Peer, RemotingCommand, request_code};
use rmq_runtime::{ClockExt as _, Monotonic, OnFailure, Tasks, World, settings_file};
use thiserror::Error;

use crate::config::{ConfigError, NamesrvConfig};
use crate::kv_config::{KvConfig, KvError};
use crate::registration::LowestChanged;
use crate::route_table::RouteTable;

/// A name server.
pub struct Namesrv {
    world: World,
    tasks: Tasks,
    pub(crate) config: Arc<RwLock<NamesrvConfig>>,
    pub(crate) table: RwLock<RouteTable>,
    pub(crate) kv: Arc<KvConfig>,
    /// Those that have registered a broker, by connection.
    pub(crate) brokers: Mutex<HashMap<u64, Arc<Peer>>>,
    pub(crate) started: Monotonic,
}

/// Why a name server cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The key-value store is there but cannot be read.
    #[error("the key-value store cannot be read: {0}")]
    KvConfig(#[from] io::Error),
}

/// Why settings are not changed; none of them is then.
#[derive(Debug, Error)]
pub(crate) enum ChangeError {
    /// One of them cannot change so.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What was sent is no list of settings.
    #[error("{0}")]
    Syntax(String),
    /// They cannot be written to the settings file.
    #[error("the settings cannot be saved, nothing changed: {0}")]
    Save(io::Error),
}

impl Namesrv {
    /// Loads the key-value store and begins to look for silent brokers. Stops with its tasks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn start(
        world: World,
        tasks: &Tasks,
        config: NamesrvConfig,
    ) -> Result<Arc<Self>, OpenError> {
        config.validate()?;
        let kv = KvConfig::open(Arc::clone(&world.disk), config.kv_config_path.clone())?;
        let namesrv = Arc::new(Self {
            started: world.clock.monotonic(),
            world,
            tasks: tasks.child("namesrv"),
            config: Arc::new(RwLock::new(config)),
            table: RwLock::default(),
            kv: Arc::new(kv),
            brokers: Mutex::default(),
        });
        let watched = Arc::downgrade(&namesrv);
        let (stop, clock) = (namesrv.tasks.stop_token(), Arc::clone(&namesrv.world.clock));
        namesrv.tasks.spawn("expiry", OnFailure::Unhealthy, async move {
            while let Some(pause) =
                watched.upgrade().map(|namesrv| namesrv.config.read().scan_interval())
            {
                tokio::select! {
                    biased;
                    () = stop.requested() => return,
                    () = clock.sleep(pause) => {}
                }
                if let Some(namesrv) = watched.upgrade() {
                    namesrv.expire();
                }
            }
        });
        Ok(namesrv)
    }

    /// How many topics and broker processes are known.
    pub fn counts(&self) -> (usize, usize) {
        let table = self.table.read();
        (table.topic_count(), table.broker_count())
    }

    pub(crate) fn now(&self) -> Monotonic {
        self.world.clock.monotonic()
    }

    fn expire(&self) {
        let departures = self.table.write().expire(self.now());
        for departure in departures {
            tracing::warn!(broker = %departure.broker, address = %departure.address, "broker fell silent");
            if let Some(peer) = self.brokers.lock().remove(&departure.connection) {
                peer.close();
            }
            if let Some(change) = departure.lowest {
                self.tell_lowest(&change);
            }
        }
    }

    /// Tells replicas that the lowest of them is another one.
    pub(crate) fn tell_lowest(&self, change: &LowestChanged) {
        if !self.config.read().notify_min_broker_id_changed {
            return;
        }
        let mut notice =
            RemotingCommand::request(request_code::NOTIFY_MIN_BROKER_ID_CHANGE).oneway();
        notice.fields.push_int("minBrokerId", change.id);
        notice.fields.push("brokerName", &change.broker);
        notice.fields.push("minBrokerAddr", &change.address);
        for (name, value) in
            [("offlineBrokerAddr", &change.offline), ("haBrokerAddr", &change.ha_address)]
        {
            if let Some(value) = value {
                notice.fields.push(name, value);
            }
        }
        let peers = self.brokers.lock();
        for peer in change.tell.iter().filter_map(|id| peers.get(id)) {
            if let Err(error) = peer.oneway(notice.clone()) {
                tracing::debug!(%error, "a replica was not told of its lowest broker");
            }
        }
    }

    /// Takes away what had registered on a connection that is closed now.
    pub(crate) fn disconnected(&self, peer: &Peer) {
        if self.brokers.lock().remove(&peer.id()).is_none() {
            return;
        }
        for departure in self.table.write().disconnected(peer.id()) {
            tracing::warn!(broker = %departure.broker, address = %departure.address, "broker lost its connection");
            if let Some(change) = departure.lowest {
                self.tell_lowest(&change);
            }
        }
    }

    /// Changes settings, all of them or none; first in the settings file if there is one.
    pub(crate) fn change_settings(
        &self,
        body: Bytes,
    ) -> impl Future<Output = Option<Result<(), ChangeError>>> + Send + 'static {
        let (config, disk) = (Arc::clone(&self.config), Arc::clone(&self.world.disk));
        let tasks = self.tasks.clone();
        async move {
            tasks
                .blocking(move || {
                    let syntax =
                        |error: &dyn std::fmt::Display| ChangeError::Syntax(error.to_string());
                    let text = std::str::from_utf8(&body).map_err(|error| syntax(&error))?;
                    let entries = settings_file::parse(text).map_err(|error| syntax(&error))?;
                    let changes: Vec<_> =
                        entries.iter().map(|e| (e.key.as_str(), e.value.as_str())).collect();
                    // Held while the file is written, so that file and settings agree.
                    let config = config.upgradable_read();
                    let next = config.updated(&changes)?;
                    if let Some(path) = &config.config_store_path {
                        settings_file::change(&*disk, path, &changes).map_err(ChangeError::Save)?;
                    }
                    *RwLockUpgradableReadGuard::upgrade(config) = next;
                    tracing::info!("settings changed by request: {text:?}");
                    Ok(())
                })
                .await
        }
    }

    /// Changes the key-value store, away from the caller's turn since that writes a file.
    pub(crate) fn change_kv(
        &self,
        change: impl FnOnce(&KvConfig) -> Result<(), KvError> + Send + 'static,
    ) -> impl Future<Output = Option<Result<(), KvError>>> + Send + 'static {
        let (kv, tasks) = (Arc::clone(&self.kv), self.tasks.clone());
        async move { tasks.blocking(move || change(&kv)).await }
    }
}

impl std::fmt::Debug for Namesrv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (topics, brokers) = self.counts();
        f.debug_struct("Namesrv").field("topics", &topics).field("brokers", &brokers).finish()
    }
}
