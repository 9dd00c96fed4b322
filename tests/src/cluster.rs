//! Clusters: a name server and brokers, in this process or each in one of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;
use rmq_message::name;
use rmq_remoting::request_code;
use rmq_runtime::ClockExt;
use rmq_server::args::Args;
use rmq_server::plan::Plan;
use rmq_server::{Running, start_broker, start_namesrv};
use tempfile::TempDir;

use crate::program::Program;
use crate::settings::ClusterBuilder;
use crate::wait::{PATIENCE, WORLD, eventually};
use crate::wire::{Frame, Wire};

/// Time that each step of stopping a server may take.
const GRACE: Duration = Duration::from_secs(5);

/// A name server and brokers, with their stores in a folder that goes with it.
#[derive(Debug)]
pub struct Cluster {
    name_server: Server,
    brokers: Vec<Server>,
    _dir: TempDir,
}

/// A server that runs, or will run again on the same address and store.
#[derive(Debug)]
struct Server {
    kind: &'static str,
    address: SocketAddr,
    dir: PathBuf,
    host: Option<Host>,
    is_process: bool,
}

#[derive(Debug)]
enum Host {
    Here(Running),
    Process(Program),
}

impl Cluster {
    /// A cluster of one broker, to be changed and started.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    pub(crate) async fn start(builder: &ClusterBuilder, is_process: bool) -> Result<Self> {
        let mut dir = TempDir::with_prefix("rmq-cluster-")?;
        // To look at stores and logs of a test that failed.
        dir.disable_cleanup(std::env::var_os("RMQ_TESTS_KEEP").is_some());
        let name_server = free_address().await?;
        let home = dir.path().join("namesrv");
        let conf = ClusterBuilder::name_server_conf(name_server, &home);
        let mut cluster = Self {
            name_server: Server::new("namesrv", name_server, home, &conf, is_process)?,
            brokers: Vec::new(),
            _dir: dir,
        };
        cluster.name_server.start().await?;
        for name in builder.broker_names() {
            let address = free_address().await?;
            let home = cluster._dir.path().join(&name);
            let conf = builder.broker_conf(&name, address, name_server, &home);
            cluster.brokers.push(Server::new("broker", address, home, &conf, is_process)?);
            cluster.start_broker(cluster.brokers.len() - 1).await?;
        }
        // All brokers hold the template of new topics.
        cluster.await_route(name::AUTO_CREATE_TOPIC).await?;
        Ok(cluster)
    }

    /// Address of the name server, as clients take it.
    pub fn namesrv(&self) -> String {
        self.name_server.address.to_string()
    }

    /// Address of the name server.
    pub fn namesrv_address(&self) -> SocketAddr {
        self.name_server.address
    }

    /// Address of a broker.
    pub fn broker(&self, index: usize) -> SocketAddr {
        self.brokers[index].address
    }

    /// The folder that holds a broker's store, settings and log.
    pub fn broker_dir(&self, index: usize) -> &Path {
        &self.brokers[index].dir
    }

    /// Starts a broker that does not run, on its own store; ready when it accepts connections.
    ///
    /// # Errors
    /// It runs, or does not start in time.
    pub async fn start_broker(&mut self, index: usize) -> Result<()> {
        self.brokers[index].start().await
    }

    /// Stops a broker in good order.
    ///
    /// # Errors
    /// It does not stop in time, or ends with an error.
    pub async fn stop_broker(&mut self, index: usize) -> Result<()> {
        self.brokers[index].stop().await
    }

    /// Ends a broker's process as `kill -9` does.
    ///
    /// # Errors
    /// It is no process.
    pub fn kill_broker(&mut self, index: usize) -> Result<()> {
        match self.brokers[index].host.take() {
            Some(Host::Process(mut program)) => program.kill(),
            None => Ok(()),
            Some(Host::Here(_)) => bail!("only processes can be killed"),
        }
    }

    /// Starts a broker and ends it as `kill -9` does a moment later, whatever it is doing then.
    ///
    /// # Errors
    /// It runs, or cannot be started.
    pub async fn start_and_kill_broker(&mut self, index: usize, after: Duration) -> Result<()> {
        let broker = &mut self.brokers[index];
        broker.launch()?;
        WORLD.clock.sleep(after).await;
        self.kill_broker(index)
    }

    /// Stops everything in good order, the name server last.
    ///
    /// # Errors
    /// Something does not stop in time, or ends with an error.
    pub async fn stop(mut self) -> Result<()> {
        for broker in &mut self.brokers {
            broker.stop().await?;
        }
        self.name_server.stop().await
    }

    /// Makes a topic with so many queues on each broker, and waits until its route is known.
    ///
    /// # Errors
    /// A broker refuses, or the route does not come.
    pub async fn create_topic(&self, topic: &str, queues: u32) -> Result<()> {
        let fields = [
            ("topic", topic.to_owned()),
            ("defaultTopic", name::AUTO_CREATE_TOPIC.to_owned()),
            ("readQueueNums", queues.to_string()),
            ("writeQueueNums", queues.to_string()),
            ("perm", "6".to_owned()),
            ("topicFilterType", "SINGLE_TAG".to_owned()),
            ("topicSysFlag", "0".to_owned()),
            ("order", "false".to_owned()),
        ];
        for broker in &self.brokers {
            let mut wire = Wire::connect(broker.address).await?;
            let answer = wire.ask(request_code::UPDATE_AND_CREATE_TOPIC, &fields, b"").await?;
            let code = answer.as_ref().map(Frame::code);
            ensure!(code == Some(0), "the topic is not made: {answer:?}");
        }
        self.await_route(topic).await
    }

    /// Waits until the name server tells the queues of a topic on every broker.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn await_route(&self, topic: &str) -> Result<()> {
        let mut wire = Wire::connect(self.name_server.address).await?;
        let fields = [("topic", topic.to_owned()), ("acceptStandardJsonOnly", "true".to_owned())];
        eventually(&format!("route of {topic}"), async || {
            let answer =
                wire.ask(request_code::GET_ROUTEINFO_BY_TOPIC, &fields, b"").await.ok()??;
            let route: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
            let brokers = route.get("brokerDatas")?.as_array()?.len();
            (brokers == self.brokers.len()).then_some(())
        })
        .await
    }

    /// Fails with its last words when a process that should run has ended.
    ///
    /// # Errors
    /// What it said.
    pub fn expect_alive(&mut self) -> Result<()> {
        self.brokers.iter_mut().chain([&mut self.name_server]).try_for_each(Server::expect_alive)
    }

    /// Bytes of memory that a broker's process has for itself.
    ///
    /// # Errors
    /// It is no process, or does not run.
    pub fn broker_memory(&self, index: usize) -> Result<u64> {
        match &self.brokers[index].host {
            Some(Host::Process(program)) => program.memory(),
            _ => bail!("no process"),
        }
    }
}

impl Server {
    fn new(
        kind: &'static str,
        address: SocketAddr,
        dir: PathBuf,
        conf: &str,
        is_process: bool,
    ) -> Result<Self> {
        WORLD.disk.create_dir(&dir)?;
        WORLD.disk.write(&dir.join("server.conf"), conf.as_bytes())?;
        Ok(Self { kind, address, dir, host: None, is_process })
    }

    fn conf(&self) -> PathBuf {
        self.dir.join("server.conf")
    }

    fn launch(&mut self) -> Result<()> {
        ensure!(self.host.is_none(), "the {} runs", self.kind);
        self.host = Some(Host::Process(Program::start(self.kind, &self.conf(), &self.dir)?));
        Ok(())
    }

    async fn start(&mut self) -> Result<()> {
        if !self.is_process {
            ensure!(self.host.is_none(), "the {} runs", self.kind);
            self.host = Some(Host::Here(start_here(self.kind, &self.conf()).await?));
            return Ok(());
        }
        self.launch()?;
        let address = self.address;
        eventually(&format!("{} at {address}", self.kind), async || {
            if let Err(error) = self.expect_alive() {
                return Some(Err(error));
            }
            let dial = WORLD.clock.timeout(PATIENCE, WORLD.net.connect(address)).await;
            dial.ok()?.ok().map(|_| Ok(()))
        })
        .await?
    }

    async fn stop(&mut self) -> Result<()> {
        match self.host.take() {
            Some(Host::Process(program)) => program.stop().await,
            Some(Host::Here(running)) => {
                let late = running.stop(GRACE).await;
                ensure!(late.is_empty(), "did not end in time: {late:?}");
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn expect_alive(&mut self) -> Result<()> {
        match &mut self.host {
            Some(Host::Process(program)) => program.expect_alive(),
            _ => Ok(()),
        }
    }
}

/// What `rmq-server` does with the same command line.
async fn start_here(kind: &str, conf: &Path) -> Result<Running> {
    let conf = conf.to_str().context("the folder of the test has an odd name")?;
    let plan = Plan::new(&WORLD, &Args::try_parse_from(["rmq-server", kind, "--config", conf])?)?;
    match (plan.namesrv, plan.broker) {
        (Some(config), _) => Ok(start_namesrv(&WORLD, config, &plan.tls).await?),
        (_, Some(settings)) => Ok(start_broker(&WORLD, settings).await?),
        (None, None) => bail!("{kind} plans nothing"),
    }
}

/// A port of this machine that nobody listens on, below the range from which the system takes the
/// ports of outgoing connections: a broker that is killed finds its port free again. A broker takes
/// the one two below as well.
async fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 14_000;
    const COUNT: u16 = 15_000;
    const APART: u16 = 4;
    let start = u16::try_from(std::process::id().wrapping_mul(64) % u32::from(COUNT))?;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(APART, Ordering::Relaxed);
        let port = FIRST + start.wrapping_add(step) % COUNT;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if WORLD.net.listen(address, false).await.is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port")
}
