//! `cargo xtask bench-consumer`: our push consumer and Java's take turns at the same broker of ours, each with its defaults.
//!
//! Two races: how fast a full topic is read, and how soon a message that is sent comes to a consumer that waits. Both
//! programs count and print alike (`Meter`, `meter`); rates and processor time are taken here, from the first message that
//! counts to the last, so that the start of a virtual machine and its warming up cost nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::apache::{self, Jars};
use crate::ports::Ports;
use crate::process::{Line, Running};
use crate::workspace::{self, Profile};
use crate::{remoting, signals};

const WITHIN: Duration = Duration::from_secs(180);
/// Units of processor time in `/proc/PID/stat` a second.
const TICKS: f64 = 100.0;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each side plays
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Messages of the full topic; the first fifth of a run is for warming up
    #[arg(long, default_value_t = 500_000)]
    messages: u32,
    /// Bytes of a body
    #[arg(long, default_value_t = 256)]
    body_size: u32,
    /// Messages sent one at a time to a consumer that waits
    #[arg(long, default_value_t = 2000)]
    singles: u32,
    /// A line of broker.conf (repeatable)
    #[arg(long, value_name = "KEY=VALUE", default_value = "flushDiskType=ASYNC_FLUSH")]
    set: Vec<String>,
    #[arg(long, default_value = apache::DEFAULT_VERSION)]
    apache_version: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Ours,
    Java,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    signals::install();
    let jars = Jars::fetch(&arguments.apache_version)?;
    let classes = workspace::target().join("interop/classes").join(&arguments.apache_version);
    jars.compile_drivers(&classes, &["Meter"])?;
    let what = ["--bin", "rmq-server", "--example", "load", "--example", "meter"];
    workspace::build(Profile::Release, &what)?;
    let folder = workspace::target().join("bench-consumer");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let ground = Ground::prepare(arguments, jars, classes, folder)?;
    ground.load("Full", arguments.messages, &["--window", "256"])?;
    println!("{:<8}{:<6}{:>12}{:>22}", "reading", "who", "messages/s", "CPU s / 1 M messages");
    for round in 0..arguments.rounds {
        for side in [Side::Ours, Side::Java] {
            let pace = ground.read_all(side, &format!("read_{round}_{side:?}"))?;
            println!("{round:<8}{side:<6?}{:>12.0}{:>22.2}", pace.rate, pace.cpu_per_million);
        }
    }
    println!("{:<8}{:<6}{:>12}{:>11}{:>11}", "waiting", "who", "p50 µs", "p99 µs", "max µs");
    for round in 0..arguments.rounds {
        for side in [Side::Ours, Side::Java] {
            let topic = format!("Wait_{round}_{side:?}");
            let delays = ground.wait_for_singles(side, &topic)?;
            println!("{round:<8}{side:<6?}{:>12}{:>11}{:>11}", delays[0], delays[1], delays[2]);
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Pace {
    rate: f64,
    cpu_per_million: f64,
}

/// The broker, and what the sides need.
struct Ground<'a> {
    arguments: &'a Arguments,
    jars: Jars,
    classes: PathBuf,
    folder: PathBuf,
    name_server: SocketAddr,
    _server: Running,
}

impl<'a> Ground<'a> {
    fn prepare(
        arguments: &'a Arguments,
        jars: Jars,
        classes: PathBuf,
        folder: PathBuf,
    ) -> Result<Self> {
        let mut ports = Ports::new();
        let (listen, broker) = (ports.take()?, ports.take()?);
        let name_server = SocketAddr::from(([127, 0, 0, 1], listen));
        let mut command = Command::new(Profile::Release.folder().join("rmq-server"));
        command
            .args(["standalone", "--listen", &name_server.to_string(), "--store"])
            .arg(folder.join("store"))
            .args(["--set", &format!("listenPort={broker}"), "--set", "brokerName=a"])
            .args(arguments.set.iter().flat_map(|line| ["--set", line]))
            .stdin(Stdio::null());
        let mut server = Running::start("the server", command, &folder.join("server.out"), |_| {})?;
        // A line of any kind comes at the latest when it is ready.
        server.wait_for("route", WITHIN, |_| {
            remoting::brokers(name_server).is_ok_and(|known| known.contains_key("a")).then_some(())
        })?;
        Ok(Self { arguments, jars, classes, folder, name_server, _server: server })
    }

    fn example(&self, name: &str) -> Command {
        let mut command = Command::new(Profile::Release.folder().join("examples").join(name));
        command.args(["--namesrv", &self.name_server.to_string()]).stdin(Stdio::null());
        command
    }

    fn load(&self, topic: &str, count: u32, options: &[&str]) -> Result<()> {
        let mut command = self.example("load");
        command
            .args(["--topic", topic, "--count", &count.to_string(), "--body-size"])
            .arg(self.arguments.body_size.to_string())
            .args(options);
        let mut load =
            Running::start("the sender", command, &self.folder.join("load.out"), |_| {})?;
        let status = load.wait_end(WITHIN)?;
        ensure!(status.success(), "the sender ended with {status}; see {}", load.log().display());
        Ok(())
    }

    fn consumer(&self, side: Side, group: &str, topic: &str, options: &[&str]) -> Result<Running> {
        let mut command = match side {
            Side::Ours => self.example("meter"),
            Side::Java => {
                let mut java = self.jars.fast_java(&self.folder, 512, &self.classes);
                java.args(["Meter", "--namesrv", &self.name_server.to_string()]);
                java
            }
        };
        command.args(["--group", group, "--topic", topic]).args(options).stdin(Stdio::piped());
        let log = self.folder.join(format!("{group}.out"));
        Running::start(&format!("{side:?}"), command, &log, |_| {})
    }

    fn read_all(&self, side: Side, group: &str) -> Result<Pace> {
        let (count, skip) = (self.arguments.messages, self.arguments.messages / 5);
        let options = ["--count", &count.to_string(), "--skip", &skip.to_string()];
        let mut consumer = self.consumer(side, group, "Full", &options)?;
        let begin = consumer.wait_for("first message", WITHIN, said("FIRST"))?;
        let before = cpu_seconds(consumer.id())?;
        let end = consumer.wait_for("last message", WITHIN, said("LAST"))?;
        let cpu = cpu_seconds(consumer.id())? - before;
        let counted = f64::from(count - skip);
        let rate = counted / end.at.duration_since(begin.at).as_secs_f64();
        consumer.stop(Duration::from_secs(10));
        Ok(Pace { rate, cpu_per_million: cpu / counted * 1e6 })
    }

    /// p50, p99 and the longest delay, µs.
    fn wait_for_singles(&self, side: Side, topic: &str) -> Result<[u64; 3]> {
        let skip = self.arguments.singles / 2;
        let count = self.arguments.singles + skip;
        // Makes the topic, so that the consumer finds its queues at once.
        self.load(topic, 1, &[])?;
        let options = ["--delay", "--count", &(count + 1).to_string(), "--skip", &skip.to_string()];
        let mut consumer = self.consumer(side, topic, topic, &options)?;
        consumer.wait_for("start", WITHIN, said("READY"))?;
        self.load(topic, count, &["--pause-us", "2000"])?;
        let delays = consumer.wait_for("last message", WITHIN, |lines| {
            let mut words =
                lines.iter().find_map(|line| line.text.strip_prefix("DELAY "))?.split(' ');
            let mut next = || words.next()?.parse().ok();
            Some([next()?, next()?, next()?])
        })?;
        consumer.stop(Duration::from_secs(10));
        Ok(delays)
    }
}

fn said(word: &'static str) -> impl FnMut(&[Line]) -> Option<Line> {
    move |lines| lines.iter().find(|line| line.text == word).cloned()
}

/// Processor time of a process so far.
fn cpu_seconds(process: u32) -> Result<f64> {
    let path = format!("/proc/{process}/stat");
    let stat =
        fs::read_to_string(Path::new(&path)).with_context(|| format!("cannot read {path}"))?;
    // After the name, which may hold anything, user and system time are the 12th and 13th word.
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    let mut words = rest.split(' ').skip(11).map(str::parse::<f64>);
    match (words.next(), words.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok((user + system) / TICKS),
        _ => bail!("{path} is not understood"),
    }
}
