//! From the command line and files to what shall run: the only place that reads settings, fills in
//! what depends on the machine, and refuses what would open the servers to other machines unasked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rmq_broker::BrokerConfig;
use rmq_namesrv::NamesrvConfig;
use rmq_remoting::tls::{ClientAuth, ClientTls, ServerTls, TlsError, TlsMode};
use rmq_runtime::World;
use thiserror::Error;

use crate::args::{Args, BrokerArgs, NamesrvArgs, Role, SharedArgs, StandaloneArgs};
use crate::broker::BrokerSettings;
use crate::settings::{SettingError, Settings};

/// Where settings of TLS lie, as at Apache, unless `tls.config.file` says else.
const TLS_FILE: &str = "/etc/rocketmq/tls.properties";

/// What shall run.
#[derive(Debug)]
pub struct Plan {
    /// A name server.
    pub namesrv: Option<NamesrvConfig>,
    /// TLS of the name server.
    pub tls: ServerTls,
    /// A broker; beside a name server of the plan it also registers there.
    pub broker: Option<BrokerSettings>,
    /// Settings that mean something to Apache's servers only.
    pub without_effect: Vec<String>,
}

/// Why nothing can be started as asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A setting is wrong.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// A settings file cannot be read.
    #[error("the settings cannot be read: {0}")]
    File(std::io::Error),
    /// A settings file is no text.
    #[error("{} is not UTF-8", .0.display())]
    Encoding(PathBuf),
    /// Other machines could reach a server that asks nobody for a password.
    #[error(
        "{what} {address} can be reached from other machines, and nobody is asked for a password; add --insecure-open if that is meant"
    )]
    Open {
        /// What listens there.
        what: &'static str,
        /// Where.
        address: IpAddr,
    },
    /// Clients would be sent where nothing listens.
    #[error(
        "brokerIP1: clients would be sent to {told}, but the broker listens on {bound} only; add --insecure-open to listen on every address"
    )]
    Unreachable {
        /// What clients are told.
        told: IpAddr,
        /// Where the broker listens.
        bound: IpAddr,
    },
    /// An address is none.
    #[error("--listen: `{0}` is no IP:PORT")]
    Listen(String),
}

impl Plan {
    /// Reads files and flags.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn new(world: &World, args: &Args) -> Result<Self, PlanError> {
        match &args.role {
            Role::Namesrv(args) => namesrv(world, args),
            Role::Broker(args) => broker(world, args),
            Role::Standalone(args) => standalone(world, args),
            // Looked at, not run.
            Role::Store(_) => Ok(Self {
                namesrv: None,
                tls: ServerTls::default(),
                broker: None,
                without_effect: Vec::new(),
            }),
        }
    }
}

fn namesrv(world: &World, args: &NamesrvArgs) -> Result<Plan, PlanError> {
    let settings = read(world, &args.shared)?;
    let mut config: NamesrvConfig = settings.read()?;
    config.bind_address = bind_address(&settings, &args.shared)?;
    if let Some(listen) = &args.listen {
        set_listen(&mut config, listen)?;
    }
    if !settings.has("kvConfigPath") {
        config.kv_config_path = Some(home().join("namesrv/kvConfig.json"));
    }
    config.config_store_path = settings_file(&args.shared);
    check_namesrv(&settings, &config, &args.shared)?;
    let tls = server_tls(world, &settings)?;
    let without_effect = settings.finish()?;
    Ok(Plan { namesrv: Some(config), tls, broker: None, without_effect })
}

fn broker(world: &World, args: &BrokerArgs) -> Result<Plan, PlanError> {
    let mut settings = read(world, &args.shared)?;
    set_broker_flags(&mut settings, args.namesrv.as_deref(), args.store.as_deref());
    default_setting(&mut settings, "storePathRootDir", &home().join("store").to_string_lossy());
    default_setting(&mut settings, "brokerName", &host_name());
    let broker = broker_settings(world, &settings, &args.shared)?;
    let (tls, without_effect) = (ServerTls::default(), settings.finish()?);
    Ok(Plan { namesrv: None, tls, broker: Some(broker), without_effect })
}

fn standalone(world: &World, args: &StandaloneArgs) -> Result<Plan, PlanError> {
    let mut settings = read(world, &args.shared)?;
    set_broker_flags(&mut settings, args.namesrv.as_deref(), args.store.as_deref());
    default_setting(&mut settings, "storePathRootDir", "rmq-data");
    default_setting(&mut settings, "brokerName", "broker-a");
    let broker = broker_settings(world, &settings, &args.shared)?;
    // `listenPort` of the file is the broker's.
    let mut config: NamesrvConfig = settings.read()?;
    config.listen_port = NamesrvConfig::default().listen_port;
    config.bind_address = broker.bind_address;
    config.config_store_path = settings_file(&args.shared);
    if let Some(listen) = &args.listen {
        set_listen(&mut config, listen)?;
    }
    if config.kv_config_path.is_none() {
        config.kv_config_path =
            Some(broker.store.store_path_root_dir.join("namesrv/kvConfig.json"));
    }
    check_namesrv(&settings, &config, &args.shared)?;
    let (tls, without_effect) = (broker.tls.clone(), settings.finish()?);
    Ok(Plan { namesrv: Some(config), tls, broker: Some(broker), without_effect })
}

fn check_namesrv(
    settings: &Settings,
    config: &NamesrvConfig,
    args: &SharedArgs,
) -> Result<(), PlanError> {
    check_open("the name server's address", config.bind_address, args)?;
    config.validate().map_err(|error| match error {
        rmq_namesrv::ConfigError::Value { key, problem } => settings.wrong(&key, problem).into(),
        other => settings.wrong("namesrv", other.to_string()).into(),
    })
}

fn read(world: &World, args: &SharedArgs) -> Result<Settings, PlanError> {
    let mut settings = read_settings(world, args.config.as_deref(), &args.set)?;
    let named = settings.get("tls.config.file").map(PathBuf::from);
    let usual = || Some(PathBuf::from(TLS_FILE)).filter(|path| world.disk.exists(path));
    if let Some(path) = named.or_else(usual) {
        settings.add_file_beneath(&path, &text(world, &path)?)?;
    }
    Ok(settings)
}

/// TLS of those who come. What cannot work is told now, with its place.
fn server_tls(world: &World, settings: &Settings) -> Result<ServerTls, PlanError> {
    let tls: ServerTls = settings.read()?;
    tls.acceptor(world).map_err(|error| misplaced(settings, error))?;
    if tls.need_client_auth != ClientAuth::None && !tls.auth_client {
        tracing::warn!("tls.server.authClient is off: any certificate of a client is accepted");
    }
    Ok(tls)
}

/// TLS of connections to others, as Apache decides it: whoever serves nothing else dials so, and
/// whoever shows a certificate for tests believes any.
fn client_tls(
    world: &World,
    settings: &Settings,
    server: &ServerTls,
) -> Result<ClientTls, PlanError> {
    let mut tls: ClientTls = settings.read()?;
    if !settings.has("tls.enable") && !settings.has("useTLS") {
        tls.enable = server.mode == TlsMode::Enforcing;
    }
    tls.test_mode |= server.is_test_mode() && tls.trust_cert_path.is_none();
    tls.connector(world).map_err(|error| misplaced(settings, error))?;
    Ok(tls)
}

fn misplaced(settings: &Settings, TlsError { setting, problem }: TlsError) -> SettingError {
    settings.wrong(setting, problem)
}

/// Settings of a file and of `--set` flags.
///
/// # Errors
/// The file cannot be read, or something in it or in the flags is malformed.
pub(crate) fn read_settings(
    world: &World,
    config: Option<&Path>,
    set: &[String],
) -> Result<Settings, PlanError> {
    let mut settings = Settings::default();
    if let Some(path) = config {
        settings.add_file(path, &text(world, path)?)?;
    }
    for flag in set {
        settings.add_flag(flag)?;
    }
    Ok(settings)
}

fn text(world: &World, path: &Path) -> Result<String, PlanError> {
    let bytes = world.disk.read(path).map_err(PlanError::File)?;
    String::from_utf8(bytes.into()).map_err(|_| PlanError::Encoding(path.to_owned()))
}

fn set_broker_flags(settings: &mut Settings, namesrv: Option<&str>, store: Option<&Path>) {
    if let Some(addresses) = namesrv {
        settings.set("namesrvAddr", addresses);
    }
    if let Some(dir) = store {
        settings.set("storePathRootDir", &dir.to_string_lossy());
    }
}

fn default_setting(settings: &mut Settings, key: &str, value: &str) {
    if !settings.has(key) {
        settings.set(key, value);
    }
}

fn broker_settings(
    world: &World,
    settings: &Settings,
    args: &SharedArgs,
) -> Result<BrokerSettings, PlanError> {
    let mut broker: BrokerConfig = settings.read()?;
    let mut store: rmq_store::Config = settings.read()?;
    if !settings.has("memorySize") {
        store.memory_size = memory().unwrap_or(store.memory_size);
    }
    broker.broker_config_path = settings_file(args);
    if !settings.has("zoneName") {
        // Where Apache's brokers have it from.
        let zone = std::env::var("ROCKETMQ_ZONE").ok().filter(|zone| !zone.trim().is_empty());
        broker.zone_name = zone.map(Into::into);
    }
    let bind_address = bind_address(settings, args)?;
    check_open("the broker's address", bind_address, args)?;
    if !settings.has("brokerIP1") {
        broker.broker_ip1 = advertised(world, bind_address);
    } else if bind_address.is_loopback() && !broker.broker_ip1.is_loopback() {
        return Err(PlanError::Unreachable { told: broker.broker_ip1, bound: bind_address });
    }
    broker.validate().map_err(|error| settings.wrong(error.key, error.problem))?;
    store.validate().map_err(|error| settings.wrong(error.key, error.problem))?;
    let tls = server_tls(world, settings)?;
    let client_tls = client_tls(world, settings, &tls)?;
    Ok(BrokerSettings { broker, store, bind_address, tls, client_tls, ..BrokerSettings::default() })
}

/// Where settings are kept that requests change: nowhere without a file.
fn settings_file(args: &SharedArgs) -> Option<PathBuf> {
    let path = args.config.as_ref()?;
    Some(std::path::absolute(path).unwrap_or_else(|_| path.clone()))
}

/// This machine only, unless it is to be open or the settings say where.
fn bind_address(settings: &Settings, args: &SharedArgs) -> Result<IpAddr, PlanError> {
    let default = if args.insecure_open { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::LOCALHOST };
    match settings.get("bindAddress") {
        None => Ok(default.into()),
        Some(text) => text.parse().map_err(|_| {
            settings.wrong("bindAddress", format!("`{text}` is no IP address")).into()
        }),
    }
}

fn check_open(what: &'static str, address: IpAddr, args: &SharedArgs) -> Result<(), PlanError> {
    if address.is_loopback() || args.insecure_open {
        Ok(())
    } else {
        Err(PlanError::Open { what, address })
    }
}

/// What clients are told when the settings do not say.
fn advertised(world: &World, bound: IpAddr) -> IpAddr {
    if bound.is_unspecified() {
        world.net.local_ips().first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into())
    } else {
        bound
    }
}

fn set_listen(config: &mut NamesrvConfig, text: &str) -> Result<(), PlanError> {
    let address: SocketAddr = text
        .replacen("localhost:", "127.0.0.1:", 1)
        .parse()
        .map_err(|_| PlanError::Listen(text.to_owned()))?;
    (config.bind_address, config.listen_port) = (address.ip(), address.port());
    Ok(())
}

fn home() -> PathBuf {
    std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// Bytes of memory of the machine.
fn memory() -> Option<u64> {
    let system = rustix::system::sysinfo();
    u64::from(system.mem_unit).checked_mul(system.totalram).filter(|bytes| *bytes > 0)
}

/// The machine's name, with letters that no broker may have replaced.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
    let name: String = name.chars().map(legal).take(rmq_message::name::TOPIC_LEN_MAX).collect();
    if name.is_empty() { "DEFAULT_BROKER".to_owned() } else { name }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
