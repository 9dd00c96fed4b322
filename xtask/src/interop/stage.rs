//! The stage of one scene: servers of either side on free ports, with stores and logs in the scene's own folder.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::house::{House, Side};
use crate::apache::{self, START_WITHIN};
use crate::ports::Ports;
use crate::process::Running;
use crate::{remoting, signals};

const STOP_WITHIN: Duration = Duration::from_secs(40);
/// Small files, so that stores are quickly made and have many of them; short delays.
const COMMON_LINES: &str = "brokerClusterName=DefaultCluster\nbrokerId=0\nbrokerIP1=127.0.0.1\nautoCreateTopicEnable=true\nenablePropertyFilter=true\nrecallMessageEnable=true\n\
    transactionTimeOut=4000\ntransactionCheckInterval=3000\nmappedFileSizeCommitLog=1048576\nmappedFileSizeConsumeQueue=4000\ndiskMaxUsedSpaceRatio=95\ndiskSpaceWarningLevelRatio=95\nmaxHashSlotNum=5000\nmaxIndexNum=20000\n\
    messageDelayLevel=1s 2s 3s 4s 5s 6s 7s 8s 9s 10s 11s 12s 13s 14s 15s 16s 17s 18s\n";

pub(super) struct Stage<'h> {
    pub(super) house: &'h House,
    pub(super) folder: PathBuf,
    ports: Ports,
    started: usize,
    /// Settings of TLS that all servers get.
    tls: Vec<(&'static str, String)>,
}

/// A name server that runs, or did.
pub(super) struct NameServer {
    running: Option<Running>,
    pub(super) address: SocketAddr,
    side: Side,
    home: PathBuf,
}

/// Apache's proxy.
pub(super) struct Proxy {
    _running: Running,
    pub(super) address: SocketAddr,
}

/// A broker that runs, or did.
pub(super) struct Broker {
    running: Option<Running>,
    pub(super) name: String,
    pub(super) address: SocketAddr,
    side: Side,
    home: PathBuf,
    store: PathBuf,
    conf: PathBuf,
}

/// One name server with one broker. The broker is dropped first.
pub(super) struct Cluster {
    pub(super) broker: Broker,
    pub(super) name_server: NameServer,
}

impl Cluster {
    pub(super) fn address(&self) -> SocketAddr {
        self.name_server.address
    }
}

impl<'h> Stage<'h> {
    pub(super) fn new(house: &'h House, folder: PathBuf) -> Self {
        Self { house, folder, ports: Ports::new(), started: 0, tls: Vec::new() }
    }

    /// Has all servers that start from now on keep to settings of TLS, by Apache's names.
    pub(super) fn secure(&mut self, settings: &[(&'static str, &str)]) {
        self.tls = settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    }

    /// Whether only TLS is served, so that we cannot ask.
    fn is_closed_to_us(&self) -> bool {
        self.tls.iter().any(|(key, value)| *key == "tls.server.mode" && value == "enforcing")
    }

    /// One of our servers.
    fn ours(&self, kind: &str, conf: &Path) -> Command {
        let mut command = program(self.house, kind, conf);
        for (key, value) in &self.tls {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
    }

    /// One of Apache's, which takes these settings as properties of its machine.
    fn apaches(&self, mut command: Command) -> Command {
        if !self.tls.is_empty() {
            let properties = self.tls.iter().map(|(key, value)| format!("-D{key}={value}"));
            command.env("JAVA_TOOL_OPTIONS", properties.collect::<Vec<_>>().join(" "));
        }
        command
    }

    /// A fresh folder for a player's settings and logs; the name tells the order in which they entered.
    pub(super) fn dressing_room(&mut self, name: &str) -> Result<PathBuf> {
        self.started += 1;
        let home = self.folder.join(format!("{:02}-{name}", self.started));
        fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        Ok(home)
    }

    pub(super) fn cluster(&mut self, side: Side) -> Result<Cluster> {
        let name_server = self.name_server(side)?;
        let broker = self.broker(side, &name_server, "broker-a")?;
        Ok(Cluster { broker, name_server })
    }

    pub(super) fn name_server(&mut self, side: Side) -> Result<NameServer> {
        let side = self.house.cast(side);
        let home = self.dressing_room("namesrv")?;
        let port = self.ports.take()?;
        let conf = match side {
            Side::Ours => format!(
                "listenPort={port}\nbindAddress=127.0.0.1\nkvConfigPath={}\n",
                home.join("kvConfig.json").display()
            ),
            Side::Apache => apache::name_server_conf(&home, port),
        };
        fs::write(home.join("namesrv.conf"), conf)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = NameServer { running: None, address, side, home };
        self.restart_name_server(&mut server)?;
        Ok(server)
    }

    /// The same name server again, at the same place.
    pub(super) fn restart_name_server(&self, server: &mut NameServer) -> Result<()> {
        let conf = server.home.join("namesrv.conf");
        let command = match server.side {
            Side::Ours => self.ours("namesrv", &conf),
            Side::Apache => self.apaches(self.house.jars.name_server(&server.home, &conf)),
        };
        let log = server.home.join("namesrv.out");
        let mut running = Running::start("the name server", command, &log, |_| {})?;
        let closed = self.is_closed_to_us();
        await_server(&mut running, || match closed {
            true => std::net::TcpStream::connect(server.address).is_ok(),
            false => remoting::brokers(server.address).is_ok(),
        })?;
        server.running = Some(running);
        Ok(())
    }

    /// Apache's proxy in front of a cluster.
    pub(super) fn proxy(&mut self, name_server: SocketAddr) -> Result<Proxy> {
        let home = self.dressing_room("proxy")?;
        let conf = home.join("rmq-proxy.json");
        let ports = [self.ports.take()?, self.ports.take()?];
        fs::write(&conf, apache::proxy_conf(name_server, ports))?;
        let command = self.house.grpc()?.proxy.proxy(&home, &conf);
        let mut running = Running::start("the proxy", command, &home.join("proxy.out"), |_| {})?;
        let address = SocketAddr::from(([127, 0, 0, 1], ports[0]));
        running.wait_for("its own word that it is up", START_WITHIN, |lines| {
            lines.iter().any(|line| line.text.contains("startup successfully")).then_some(())
        })?;
        Ok(Proxy { _running: running, address })
    }

    /// A broker on a store of its own.
    pub(super) fn broker(
        &mut self,
        side: Side,
        name_server: &NameServer,
        name: &str,
    ) -> Result<Broker> {
        let store = self.folder.join(format!("store-{name}"));
        self.broker_on(side, name_server, name, &store)
    }

    /// A broker on a given store, which may have been written by the other side.
    pub(super) fn broker_on(
        &mut self,
        side: Side,
        name_server: &NameServer,
        name: &str,
        store: &Path,
    ) -> Result<Broker> {
        self.broker_with(side, name_server, name, store, "")
    }

    /// The same with further lines of settings.
    pub(super) fn broker_with(
        &mut self,
        side: Side,
        name_server: &NameServer,
        name: &str,
        store: &Path,
        lines: &str,
    ) -> Result<Broker> {
        self.broker_at(side, &[name_server], name, store, lines)
    }

    /// The same at several name servers; up when all of them know it.
    pub(super) fn broker_at(
        &mut self,
        side: Side,
        name_servers: &[&NameServer],
        name: &str,
        store: &Path,
        lines: &str,
    ) -> Result<Broker> {
        let side = self.house.cast(side);
        let home = self.dressing_room(name)?;
        fs::create_dir_all(store)?;
        let port = self.ports.take()?;
        let mut conf = format!(
            "brokerName={name}\nlistenPort={port}\nnamesrvAddr={}\nstorePathRootDir={}\n{COMMON_LINES}{lines}",
            addresses(name_servers),
            store.display()
        );
        if side == Side::Apache {
            conf.push_str(&apache::broker_conf_extras(port, store));
        }
        let broker = Broker {
            running: None,
            name: name.to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            side,
            conf: home.join("broker.conf"),
            store: store.to_owned(),
            home,
        };
        fs::write(&broker.conf, conf)?;
        self.restart_at(broker, name_servers)
    }

    /// The same broker again: same place, same store.
    pub(super) fn restart(&self, broker: Broker, name_server: &NameServer) -> Result<Broker> {
        self.restart_at(broker, &[name_server])
    }

    fn restart_at(&self, mut broker: Broker, name_servers: &[&NameServer]) -> Result<Broker> {
        let command = match broker.side {
            Side::Ours => self.ours("broker", &broker.conf),
            Side::Apache => self.apaches(self.house.jars.broker(&broker.home, &broker.conf)),
        };
        let mut running =
            Running::start(&broker.name, command, &broker.home.join("broker.out"), |_| {})?;
        let closed = self.is_closed_to_us();
        await_server(&mut running, || {
            let listens = std::net::TcpStream::connect(broker.address).is_ok();
            let is_known = || name_servers.iter().all(|server| server.knows(&broker));
            listens && (closed || is_known())
        })?;
        broker.running = Some(running);
        Ok(broker)
    }
}

impl NameServer {
    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.running = None;
    }

    /// Whether it tells where the broker is.
    pub(super) fn knows(&self, broker: &Broker) -> bool {
        let address = broker.address.to_string();
        remoting::brokers(self.address).is_ok_and(|known| known.get(&broker.name) == Some(&address))
    }
}

/// The addresses as clients and brokers take them.
pub(super) fn addresses(name_servers: &[&NameServer]) -> String {
    let all: Vec<_> = name_servers.iter().map(|server| server.address.to_string()).collect();
    all.join(";")
}

impl Broker {
    /// SIGTERM; an error if it does not end by itself.
    pub(super) fn stop(mut self) -> Result<Self> {
        if let Some(mut running) = self.running.take() {
            ensure!(
                running.stop(STOP_WITHIN),
                "{} did not stop within {} s",
                self.name,
                STOP_WITHIN.as_secs()
            );
        }
        Ok(self)
    }

    /// SIGKILL.
    pub(super) fn kill(mut self) -> Self {
        self.running = None;
        self
    }

    pub(super) fn store(&self) -> &Path {
        &self.store
    }
}

fn program(house: &House, kind: &str, conf: &Path) -> Command {
    let mut command = house.server();
    command.arg(kind).arg("--config").arg(conf).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn await_server(running: &mut Running, mut up: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + START_WITHIN;
    while !up() {
        if let Some(status) = running.ended() {
            bail!(
                "{} ended while starting ({status}); see {}",
                running.name(),
                running.log().display()
            );
        }
        if signals::asked_to_stop() {
            bail!("interrupted");
        }
        if Instant::now() > deadline {
            bail!(
                "{} is not up after {} s; see {}",
                running.name(),
                START_WITHIN.as_secs(),
                running.log().display()
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
