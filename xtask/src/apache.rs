//! The original, from its published jars: fetched by Maven, started on loopback, in a folder of its own.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Subcommand, ValueHint};
use serde::{Deserialize, Serialize};

use crate::ports::Ports;
use crate::{process, remoting, signals, workspace};

pub(crate) const DEFAULT_VERSION: &str = "5.5.0";
const GRPC_CLIENT_VERSION: &str = "5.0.8";
/// How long a JVM may take to start on a busy machine.
pub(crate) const START_WITHIN: Duration = Duration::from_secs(90);
const STOP_WITHIN: Duration = Duration::from_secs(30);
const COPY_JARS: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// A name server and a broker on free ports; they stay when this program ends
    Start {
        /// Where settings, logs and the store go
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
        /// A further line of broker.conf (repeatable)
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// The broker's store, if not FOLDER/store
        #[arg(long, value_hint = ValueHint::DirPath)]
        store: Option<PathBuf>,
        #[arg(long, default_value = DEFAULT_VERSION)]
        apache_version: String,
    },
    /// Ends what `start` began, politely
    Stop {
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    signals::install();
    match arguments.verb {
        Verb::Start { folder, set, store, apache_version } => {
            start(&folder, &set, store, &apache_version)
        }
        Verb::Stop { folder } => stop(&folder),
    }
}

/// The jars of one version, and how Java is started on them.
pub(crate) struct Jars {
    folder: PathBuf,
}

impl Jars {
    /// The jars of servers, clients and tools below `target/interop/lib/VERSION`; fetched when they are not there.
    pub(crate) fn fetch(version: &str) -> Result<Self> {
        Self::fetch_by("pom.xml", version, version)
    }

    /// Those of the client alone, below `target/interop/lib/VERSION-client`.
    pub(crate) fn fetch_client(version: &str) -> Result<Self> {
        Self::fetch_by("client.pom.xml", version, &format!("{version}-client"))
    }

    /// Those of Apache's gRPC proxy.
    pub(crate) fn fetch_proxy(version: &str) -> Result<Self> {
        Self::fetch_by("proxy.xml", version, &format!("{version}-proxy"))
    }

    /// Those of the Java client that speaks gRPC.
    pub(crate) fn fetch_grpc_client() -> Result<Self> {
        Self::fetch_by("grpc-client.xml", GRPC_CLIENT_VERSION, "grpc-client")
    }

    fn fetch_by(pom: &str, version: &str, folder: &str) -> Result<Self> {
        let folder = workspace::target().join("interop/lib").join(folder);
        if !folder.exists() {
            println!("fetching jars of Apache RocketMQ {version} with Maven (once)");
            let part = folder.with_extension("part");
            if part.exists() {
                fs::remove_dir_all(&part)?;
            }
            let status = Command::new("mvn")
                .args(["--quiet", "--batch-mode", "--file"])
                .arg(workspace::root().join("xtask/interop").join(pom))
                .arg(format!("-Dapache.version={version}"))
                .args([COPY_JARS, "-DincludeScope=runtime"])
                .arg(format!("-DoutputDirectory={}", part.display()))
                .status()
                .context("mvn could not be started: is Maven installed?")?;
            if !status.success() {
                bail!("Maven could not fetch what {pom} names of version {version}");
            }
            fs::rename(&part, &folder)?;
        }
        Ok(Self { folder })
    }

    /// Compiles drivers, and what they need of each other, from `xtask/interop/java`.
    pub(crate) fn compile_drivers(&self, classes: &Path, names: &[&str]) -> Result<()> {
        let folder = workspace::root().join("xtask/interop/java");
        fs::create_dir_all(classes)?;
        let logging = "rmq.logback.xml";
        fs::copy(folder.join(logging), classes.join(logging))?;
        let status = Command::new("javac")
            .args(["-nowarn", "-implicit:class", "-sourcepath"])
            .arg(&folder)
            .arg("-d")
            .arg(classes)
            .arg("-cp")
            .arg(self.class_path(classes))
            .args(names.iter().map(|name| folder.join(name).with_extension("java")))
            .status()
            .context("javac could not be started: is a JDK installed?")?;
        if !status.success() {
            bail!("the Java drivers do not compile");
        }
        Ok(())
    }

    /// The class path with something in front of the jars.
    pub(crate) fn class_path(&self, first: &Path) -> String {
        format!("{}:{}/*", first.display(), self.folder.display())
    }

    /// A JVM that keeps its logs below `home`; frugal, for short runs of many.
    pub(crate) fn java(&self, home: &Path, heap_mb: u32, class_path_first: &Path) -> Command {
        self.jvm(&["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"], home, heap_mb, class_path_first)
    }

    /// The same as fast as it can be.
    pub(crate) fn fast_java(&self, home: &Path, heap_mb: u32, class_path_first: &Path) -> Command {
        self.jvm(&[], home, heap_mb, class_path_first)
    }

    fn jvm(&self, options: &[&str], home: &Path, heap_mb: u32, first: &Path) -> Command {
        let mut java = Command::new("java");
        java.arg(format!("-Xmx{heap_mb}m"))
            .args(options)
            .args(["-XX:-UsePerfData", "-XX:MaxDirectMemorySize=512m"])
            .arg(format!("-Duser.home={}", home.display()))
            .arg(format!("-Drocketmq.home.dir={}", home.display()))
            .env("ROCKETMQ_HOME", home)
            .env_remove("NAMESRV_ADDR")
            .stdin(Stdio::null());
        // Netty and the store reach into these; without the doors they complain at length or do not start.
        for package in [
            "java.lang",
            "java.nio",
            "sun.nio.ch",
            "jdk.internal.ref",
            "java.util",
            "java.util.concurrent",
        ] {
            java.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
            java.arg(format!("--add-exports=java.base/{package}=ALL-UNNAMED"));
        }
        java.arg("-cp").arg(self.class_path(first));
        java
    }

    pub(crate) fn name_server(&self, home: &Path, conf: &Path) -> Command {
        let mut java = self.java(home, 128, home);
        java.arg("org.apache.rocketmq.namesrv.NamesrvStartup").arg("-c").arg(conf);
        java
    }

    pub(crate) fn proxy(&self, home: &Path, conf: &Path) -> Command {
        let mut java = self.java(home, 384, home);
        java.arg("org.apache.rocketmq.proxy.ProxyStartup").arg("-pc").arg(conf);
        java.args(["-pm", "cluster"]).env("RMQ_PROXY_HOME", home);
        java
    }

    pub(crate) fn broker(&self, home: &Path, conf: &Path) -> Command {
        let mut java = self.java(home, 512, home);
        java.arg("org.apache.rocketmq.broker.BrokerStartup").arg("-c").arg(conf);
        java
    }
}

/// Settings of an Apache proxy in front of a cluster.
pub(crate) fn proxy_conf(name_server: SocketAddr, [grpc, remoting]: [u16; 2]) -> String {
    format!(
        r#"{{"rocketMQClusterName":"DefaultCluster","proxyClusterName":"DefaultCluster","namesrvAddr":"{name_server}",
"proxyMode":"cluster","grpcServerPort":{grpc},"remotingListenPort":{remoting},"localServeAddr":"127.0.0.1","enablePrintJstack":false}}"#
    )
}

/// Settings of an Apache name server in `home`.
pub(crate) fn name_server_conf(home: &Path, port: u16) -> String {
    let home = home.display();
    format!(
        "listenPort={port}\nbindAddress=127.0.0.1\nrocketmqHome={home}\nkvConfigPath={home}/kvConfig.json\nconfigStorePath={home}/namesrv.properties\n"
    )
}

/// Lines of a broker.conf that only Apache's broker needs to behave on a small machine beside others of its kind.
pub(crate) fn broker_conf_extras(port: u16, store: &Path) -> String {
    format!(
        "brokerRole=ASYNC_MASTER\nhaListenPort={}\nbrokerIP2=127.0.0.1\nbindAddress=127.0.0.1\nstorePathCommitLog={}\n\
         waitTimeMillsInSendQueue=5000\nautoCreateSubscriptionGroup=true\n",
        port + 1,
        store.join("commitlog").display()
    )
}

/// What `start` leaves for `stop`.
#[derive(Serialize, Deserialize)]
struct Started {
    name_server: u32,
    broker: u32,
}

const STARTED: &str = "apache.json";

fn start(folder: &Path, set: &[String], store: Option<PathBuf>, version: &str) -> Result<ExitCode> {
    let jars = Jars::fetch(version)?;
    fs::create_dir_all(folder.join("conf"))?;
    let home = fs::canonicalize(folder)?;
    if home.join(STARTED).exists() {
        bail!(
            "something was started in {} already: `cargo xtask apache stop` it first",
            home.display()
        );
    }
    let store = store.unwrap_or_else(|| home.join("store"));
    fs::create_dir_all(&store)?;
    let store = fs::canonicalize(store)?;
    let mut ports = Ports::new();
    let (name_server_port, port) = (ports.take()?, ports.take()?);
    let name_server = SocketAddr::from(([127, 0, 0, 1], name_server_port));

    let namesrv_conf = home.join("conf/namesrv.conf");
    fs::write(&namesrv_conf, name_server_conf(&home, name_server_port))?;
    let broker_conf = home.join("conf/broker.conf");
    let mut conf = format!(
        "brokerClusterName=DefaultCluster\nbrokerName=broker-a\nbrokerId=0\nlistenPort={port}\nbrokerIP1=127.0.0.1\nnamesrvAddr={name_server}\n\
         storePathRootDir={}\nautoCreateTopicEnable=true\n{}",
        store.display(),
        broker_conf_extras(port, &store)
    );
    for line in set {
        conf.push_str(line);
        conf.push('\n');
    }
    fs::write(&broker_conf, conf)?;

    let started = Started {
        name_server: start_apart(
            jars.name_server(&home, &namesrv_conf),
            &home.join("namesrv.out"),
        )?,
        broker: start_apart(jars.broker(&home, &broker_conf), &home.join("broker.out"))?,
    };
    fs::write(home.join(STARTED), serde_json::to_string(&started)?)?;
    let deadline = Instant::now() + START_WITHIN;
    while !remoting::brokers(name_server).is_ok_and(|known| known.contains_key("broker-a")) {
        if Instant::now() > deadline
            || signals::asked_to_stop()
            || !process::send_signal(started.broker, 0)
        {
            stop(&home)?;
            bail!("Apache did not come up; see {}", home.display());
        }
        thread::sleep(Duration::from_millis(200));
    }
    println!(
        "Apache {version} is up: name server {name_server}, broker 127.0.0.1:{port}, store {}",
        store.display()
    );
    println!("stop it with: cargo xtask apache stop {}", home.display());
    Ok(ExitCode::SUCCESS)
}

/// Starts a program that outlives us.
fn start_apart(mut command: Command, log: &Path) -> Result<u32> {
    let log = File::options().create(true).append(true).open(log)?;
    let child = command
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("java could not be started")?;
    Ok(child.id())
}

fn stop(folder: &Path) -> Result<ExitCode> {
    let note = folder.join(STARTED);
    let text = fs::read_to_string(&note)
        .with_context(|| format!("nothing was started in {}", folder.display()))?;
    let started: Started = serde_json::from_str(&text)?;
    for (name, process) in [("broker", started.broker), ("name server", started.name_server)] {
        if !is_java(process) {
            println!("the {name} had ended already");
            continue;
        }
        process::send_signal(process, libc::SIGTERM);
        let deadline = Instant::now() + STOP_WITHIN;
        while is_java(process) {
            if Instant::now() > deadline {
                process::send_signal(process, libc::SIGKILL);
                println!("the {name} had to be killed");
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    fs::remove_file(note)?;
    Ok(ExitCode::SUCCESS)
}

/// Process ids come round again: only a live JVM is taken for ours.
fn is_java(process: u32) -> bool {
    let alive = fs::read_to_string(format!("/proc/{process}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z "));
    alive
        && fs::read_to_string(format!("/proc/{process}/comm"))
            .is_ok_and(|name| name.trim() == "java")
}
