//! The broker as a program: opens its store, listens, registers, and stops in the one order that
//! loses nothing.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rmq_broker::{Broker, BrokerConfig};
use rmq_remoting::tls::{Acceptor, ClientTls, Connector, ServerTls};
use rmq_remoting::{
    Client, ClientConfig, Processor, Server, ServerConfig, ServerHandle, Unsupported,
};
use rmq_runtime::{Tasks, World};
use rmq_store::{FlushDiskType, LocalStore, OpenError};

use crate::registration::Watched;
use crate::running::{Running, StartError, check_free, listen};

/// How long a start waits for name servers; those that are late are told later.
const REGISTER_WAIT: Duration = Duration::from_secs(1);
/// The VIP port lies so far below the broker's.
const VIP_BELOW: u16 = 2;
/// Most threads that serve connections.
const SHARDS_MAX: usize = 16;

/// What a broker runs with.
#[derive(Debug, Clone)]
pub struct BrokerSettings {
    /// Settings of the broker itself.
    pub broker: BrokerConfig,
    /// Settings of its store.
    pub store: rmq_store::Config,
    /// Address to listen on.
    pub bind_address: IpAddr,
    /// Threads that serve connections.
    pub shards: usize,
    /// TLS of those who come.
    pub tls: ServerTls,
    /// TLS of connections to name servers.
    pub client_tls: ClientTls,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            broker: BrokerConfig::default(),
            store: rmq_store::Config::default(),
            bind_address: Ipv4Addr::LOCALHOST.into(),
            shards: cores.min(SHARDS_MAX),
            tls: ServerTls::default(),
            client_tls: ClientTls::default(),
        }
    }
}

impl BrokerSettings {
    /// Has the store, and the broker's tables in it, in that directory.
    pub fn set_store(&mut self, dir: &Path) {
        dir.clone_into(&mut self.broker.store_path_root_dir);
        dir.clone_into(&mut self.store.store_path_root_dir);
    }

    /// Has the broker register there as well.
    pub fn add_name_server(&mut self, at: SocketAddr) {
        let addresses = &mut self.broker.namesrv_addr;
        *addresses =
            if addresses.is_empty() { at.to_string() } else { format!("{at};{addresses}") };
    }
}

/// Starts a broker: its tasks on the runtime of the caller, its connections on threads of their own.
/// Ready when it serves; name servers have been told by then, those that answered within a second.
///
/// # Errors
/// [`StartError`]; nothing runs then.
pub async fn start_broker(world: &World, settings: BrokerSettings) -> Result<Running, StartError> {
    let tasks = Tasks::new("broker");
    let started = Parts::start(world, &tasks, &settings).await;
    if started.is_err() {
        tasks.stop(&*world.clock, REGISTER_WAIT).await;
    }
    let parts = started?;
    let registered = parts.register(&settings).await;

    let (config, addr) = (&settings.broker, parts.server.local_addr());
    let told = parts.broker.address();
    let dir = &settings.store.store_path_root_dir;
    let mut lines = vec![
        format!("broker {} listens on {addr}{}", config.broker_name, also(addr, told)),
        match &parts.vip {
            Some(vip) => format!("tools with the VIP channel switched on use {}", vip.local_addr()),
            None => "tools with the VIP channel switched on do not reach it".to_owned(),
        },
        format!(
            "store {} with {}",
            std::path::absolute(dir).unwrap_or_else(|_| dir.clone()).display(),
            match settings.store.flush_disk_type {
                FlushDiskType::Async => "ASYNC_FLUSH",
                FlushDiskType::Sync => "SYNC_FLUSH",
            }
        ),
    ];
    lines.extend(registered);
    let failure = tasks.clone();
    Ok(Running {
        addr,
        tasks: failure,
        lines,
        end: Box::new(move |grace| Box::pin(parts.stop(grace))),
    })
}

fn also(bound: SocketAddr, told: SocketAddr) -> String {
    if bound == told { String::new() } else { format!(", clients are told {told}") }
}

/// What a running broker consists of.
struct Parts {
    world: World,
    tasks: Tasks,
    store: Arc<LocalStore>,
    broker: Arc<Broker>,
    server: ServerHandle,
    vip: Option<ServerHandle>,
    connector: Option<Arc<Connector>>,
}

impl Parts {
    async fn start(
        world: &World,
        tasks: &Tasks,
        settings: &BrokerSettings,
    ) -> Result<Self, StartError> {
        const WHAT: &str = "the broker";
        let acceptor = settings.tls.acceptor(world)?;
        let connector = settings.client_tls.connector(world)?;
        let at = SocketAddr::new(settings.bind_address, settings.broker.listen_port);
        // Before the store is opened, which may take a while.
        check_free(world, WHAT, at).await?;
        let store = open_store(world, tasks, &settings.store).await?;
        let opened = open_broker(world, tasks, &settings.broker, &store).await;
        let listening = match opened {
            Ok(broker) => {
                let config = ServerConfig { shards: settings.shards, ..ServerConfig::default() };
                let processor: Arc<dyn Processor> = Arc::clone(&broker) as _;
                let server = Server::builder(world.clone(), tasks)
                    .listen(at)
                    .processor(processor)
                    .tls(acceptor.clone())
                    .config(config);
                listen(WHAT, at, server).await.map(|server| (broker, server))
            }
            Err(error) => Err(error),
        };
        match listening {
            Ok((broker, server)) => {
                let (world, tasks) = (world.clone(), tasks.clone());
                let vip = listen_for_tools(&world, &tasks, at, &broker, acceptor).await;
                Ok(Self { world, tasks, store, broker, server, vip, connector })
            }
            Err(error) => {
                if let Err(stop) = store.stop().await {
                    tracing::warn!("{stop}");
                }
                Err(error)
            }
        }
    }

    /// Begins the broker's own work. Returns what came of the first registrations, a line each.
    async fn register(&self, settings: &BrokerSettings) -> Vec<String> {
        let port = self.server.local_addr().port();
        self.broker.advertise(SocketAddr::new(settings.broker.broker_ip1, port));
        self.broker.show_settings(shown(settings));
        let client = Client::with_tls(
            self.world.clone(),
            &self.tasks,
            ClientConfig::default(),
            Arc::new(Unsupported),
            self.connector.clone(),
        );
        let watched = Watched::new(client);
        self.broker.start(Arc::clone(&watched) as _);
        let servers = settings.broker.name_servers().unwrap_or_default();
        let missing = watched.wait(&*self.world.clock, &servers, REGISTER_WAIT).await;
        let told = servers.iter().filter(|server| !missing.contains(server));
        let told = told.map(|server| format!("registered at {server}"));
        let late =
            missing.iter().map(|server| format!("not yet registered at {server}, goes on trying"));
        told.chain(late).collect()
    }

    /// The stop order. Every step may take `grace`.
    async fn stop(self, grace: Duration) -> Vec<String> {
        let clock = &*self.world.clock;
        self.broker.unregister().await;
        self.server.stop_accepting();
        self.broker.release_holds();
        match &self.vip {
            Some(vip) => drop(tokio::join!(self.server.drain(grace), vip.drain(grace))),
            None => self.server.drain(grace).await,
        }
        let mut unfinished = self.broker.stop().await;
        if let Err(error) = self.store.stop().await {
            unfinished.push(error.to_string());
        }
        unfinished.extend(self.tasks.stop(clock, grace).await);
        unfinished
    }
}

/// Listens on the VIP port too. Clients use it when told so, Apache's dashboard always is; a broker
/// without it serves all others, so a port that is taken is no reason to stop.
async fn listen_for_tools(
    world: &World,
    tasks: &Tasks,
    broker_at: SocketAddr,
    broker: &Arc<Broker>,
    acceptor: Option<Arc<Acceptor>>,
) -> Option<ServerHandle> {
    // A broker on a port of the system's choice has no neighbour.
    let port = broker_at.port().checked_sub(VIP_BELOW).filter(|port| *port > 0)?;
    let at = SocketAddr::new(broker_at.ip(), port);
    let processor: Arc<dyn Processor> = Arc::clone(broker) as _;
    let config = ServerConfig { shards: 0, ..ServerConfig::default() };
    let server = Server::builder(world.clone(), tasks).listen(at).processor(processor);
    match server.tls(acceptor).config(config).start().await {
        Ok(server) => Some(server),
        Err(error) => {
            tracing::warn!(%at, %error, "no VIP port: tools that use it do not reach this broker");
            None
        }
    }
}

/// Settings that are not the broker's own, and what stands firm here but is read by tools: under
/// Apache's names.
fn shown(settings: &BrokerSettings) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    if let Ok(serde_json::Value::Object(store)) = serde_json::to_value(&settings.store) {
        for (key, value) in store {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            rows.insert(key, value);
        }
    }
    let log = settings.store.store_path_root_dir.join("commitlog");
    for (key, value) in [
        ("bindAddress", settings.bind_address.to_string()),
        ("brokerIP2", settings.broker.broker_ip1.to_string()),
        ("brokerRole", "ASYNC_MASTER".to_owned()),
        // The exporter's and `exportMetrics`' number of processors.
        ("clientCallbackExecutorThreads", settings.shards.to_string()),
        ("storePathCommitLog", log.display().to_string()),
        ("storeType", "default".to_owned()),
        ("slaveReadEnable", false.to_string()),
        ("useTLS", settings.client_tls.enable.to_string()),
        ("aclEnable", false.to_string()),
        ("enableControllerMode", false.to_string()),
        ("litePullMessageEnable", true.to_string()),
        ("useServerSideResetOffset", true.to_string()),
        ("enableSplitMetadata", true.to_string()),
    ] {
        rows.insert(key.to_owned(), value);
    }
    rows
}

async fn open_store(
    world: &World,
    tasks: &Tasks,
    config: &rmq_store::Config,
) -> Result<Arc<LocalStore>, StartError> {
    let (world, inner, config) = (world.clone(), tasks.clone(), config.clone());
    let dir = config.store_path_root_dir.clone();
    let opened = tasks.blocking(move || LocalStore::open(&world, &inner, config)).await;
    match opened {
        Some(Ok(store)) => Ok(store),
        Some(Err(OpenError::Io(error))) if is_full(&error) => Err(disk_full(dir, &error)),
        Some(Err(error)) => Err(StartError::Store(error)),
        None => Err(StartError::Panicked),
    }
}

async fn open_broker(
    world: &World,
    tasks: &Tasks,
    config: &BrokerConfig,
    store: &Arc<LocalStore>,
) -> Result<Arc<Broker>, StartError> {
    let (world, inner, config) = (world.clone(), tasks.clone(), config.clone());
    let (store, dir) = (Arc::clone(store), config.store_path_root_dir.clone());
    match tasks.blocking(move || Broker::open(&world, &inner, config, store)).await {
        Some(Ok(broker)) => Ok(broker),
        Some(Err(rmq_broker::OpenError::Table(error))) if is_full(&error) => {
            Err(disk_full(dir, &error))
        }
        Some(Err(error)) => Err(StartError::Broker(error)),
        None => Err(StartError::Panicked),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn disk_full(dir: PathBuf, error: &io::Error) -> StartError {
    StartError::DiskFull { dir, problem: error.to_string() }
}
