//! `cargo xtask cluster`: a name server and brokers on this machine, from our own sources, until Ctrl-C.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::process::Running;
use crate::workspace::{self, Profile};
use crate::{ports, remoting, signals};

const DEFAULT_PORT: u16 = 9876;
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many brokers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=26))]
    brokers: u16,
    /// Port of the name server; the brokers take port + 10, port + 20, ...
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Optimised programs
    #[arg(long)]
    release: bool,
    /// Forget all messages of earlier runs first
    #[arg(long)]
    clean: bool,
    /// A further line of every broker.conf, such as flushDiskType=ASYNC_FLUSH (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Stop by itself after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// When the cluster is ready, run this in a shell (NAMESRV_ADDR is set), then stop and end with its exit status
    #[arg(long, value_name = "COMMAND", conflicts_with = "seconds")]
    run: Option<String>,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    signals::install();
    let plan = Plan::new(arguments)?;
    workspace::build(plan.profile, &["--bin", "rmq-server"])?;
    if plan.arguments.clean && plan.folder.exists() {
        fs::remove_dir_all(&plan.folder)
            .with_context(|| format!("cannot wipe {}", plan.folder.display()))?;
    }
    ports::expect_free(
        plan.ports(),
        "is another cluster running? `--port` gives this one other ports",
    )?;
    let mut cluster = Cluster::start(&plan)?;
    let outcome = cluster.await_routes(&plan).and_then(|()| {
        plan.greet();
        cluster.serve(&plan)
    });
    cluster.stop();
    outcome
}

/// What shall run where.
struct Plan {
    arguments: Arguments,
    profile: Profile,
    folder: PathBuf,
}

impl Plan {
    fn new(arguments: Arguments) -> Result<Self> {
        if u32::from(arguments.port) + 10 * u32::from(arguments.brokers) > u32::from(u16::MAX) {
            bail!("--port {} leaves no room for {} brokers", arguments.port, arguments.brokers);
        }
        let folder = match arguments.port {
            DEFAULT_PORT => workspace::target().join("cluster"),
            other => workspace::target().join(format!("cluster-{other}")),
        };
        Ok(Self { profile: Profile::chosen(arguments.release), arguments, folder })
    }

    fn name_server(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.arguments.port))
    }

    /// Names and ports of the brokers: broker-a, broker-b, ...
    fn brokers(&self) -> impl Iterator<Item = (String, u16)> {
        let first = self.arguments.port;
        ('a'..='z')
            .zip(1..=self.arguments.brokers)
            .map(move |(letter, i)| (format!("broker-{letter}"), first + 10 * i))
    }

    fn ports(&self) -> impl Iterator<Item = u16> {
        std::iter::once(self.arguments.port).chain(self.brokers().map(|(_, port)| port))
    }

    fn name_server_conf(&self) -> String {
        let port = self.arguments.port;
        let store = self.folder.join("namesrv");
        format!(
            "listenPort={port}\nbindAddress=127.0.0.1\nkvConfigPath={}\n",
            store.join("kvConfig.json").display()
        )
    }

    fn broker_conf(&self, name: &str, port: u16) -> String {
        let mut conf = format!(
            "brokerClusterName=DefaultCluster\nbrokerName={name}\nbrokerId=0\nlistenPort={port}\nbrokerIP1=127.0.0.1\n\
             namesrvAddr={}\nstorePathRootDir={}\nautoCreateTopicEnable=true\n",
            self.name_server(),
            self.folder.join(name).display()
        );
        for line in &self.arguments.set {
            conf.push_str(line);
            conf.push('\n');
        }
        conf
    }

    fn greet(&self) {
        let name_server = self.name_server();
        println!("\ncluster is ready: name server {name_server}");
        for (name, port) in self.brokers() {
            println!("  {name}  127.0.0.1:{port}");
        }
        println!("  stores, settings and logs: {}", self.folder.display());
        println!("\nnow, in two other terminals:");
        println!(
            "  cargo run -p rmq-client-push --example hello -- --namesrv {name_server} --topic Hello"
        );
        println!(
            "  cargo run -p rmq-client-producer --example hello -- --namesrv {name_server} --topic Hello --count 3"
        );
        println!("\nCtrl-C stops all.\n");
    }
}

/// The programs that run; the name server is the first.
struct Cluster {
    members: Vec<Running>,
}

impl Cluster {
    fn start(plan: &Plan) -> Result<Self> {
        let mut members = vec![start_member(plan, "namesrv", "namesrv", &plan.name_server_conf())?];
        for (name, port) in plan.brokers() {
            members.push(start_member(plan, &name, "broker", &plan.broker_conf(&name, port))?);
        }
        Ok(Self { members })
    }

    /// Until the name server knows every broker.
    fn await_routes(&mut self, plan: &Plan) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let known = remoting::brokers(plan.name_server());
            let missing: Vec<String> = match &known {
                Ok(known) => plan
                    .brokers()
                    .map(|(name, _)| name)
                    .filter(|name| !known.contains_key(name))
                    .collect(),
                Err(_) => vec!["the name server".to_owned()],
            };
            if missing.is_empty() {
                return Ok(());
            }
            self.expect_alive()?;
            if signals::asked_to_stop() {
                bail!("interrupted while starting");
            }
            if Instant::now() > deadline {
                let reason = known.err().map_or_else(String::new, |error| format!(" ({error:#})"));
                bail!(
                    "not ready after {} s, missing: {}{reason}; see {}",
                    READY_WITHIN.as_secs(),
                    missing.join(", "),
                    plan.folder.join("logs").display()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Until it is time to stop; a member that ends by itself is an error.
    fn serve(&mut self, plan: &Plan) -> Result<ExitCode> {
        let mut visitor = match &plan.arguments.run {
            Some(command) => Some(Visitor::start(command, plan)?),
            None => None,
        };
        let end =
            plan.arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        loop {
            if let Some(status) = visitor.as_mut().and_then(Visitor::ended) {
                return Ok(exit_code(status));
            }
            if signals::asked_to_stop() {
                println!("stopping");
                return Ok(if visitor.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS });
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(ExitCode::SUCCESS);
            }
            self.expect_alive()?;
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn expect_alive(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(status) = member.ended() {
                thread::sleep(Duration::from_millis(100)); // its last words are still on the way
                let lines = member.lines();
                let last: Vec<&str> =
                    lines.iter().rev().take(10).rev().map(|line| line.text.as_str()).collect();
                bail!(
                    "{} ended by itself ({status}):\n{}\n(all of it: {})",
                    member.name(),
                    last.join("\n"),
                    member.log().display()
                );
            }
        }
        Ok(())
    }

    /// Brokers first, side by side, so that they can still sign off at the name server.
    fn stop(&mut self) {
        let (name_server, brokers) = self.members.split_at_mut(1);
        brokers.iter_mut().for_each(Running::ask_to_stop);
        for member in brokers.iter_mut().chain(name_server) {
            if !member.stop(STOP_WITHIN) {
                eprintln!("{} had to be killed after {} s", member.name(), STOP_WITHIN.as_secs());
            }
        }
    }
}

fn start_member(plan: &Plan, name: &str, kind: &str, conf: &str) -> Result<Running> {
    let conf_file = plan.folder.join("conf").join(format!("{name}.conf"));
    let store = plan.folder.join(name);
    write(&conf_file, conf)?;
    fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
    let mut command = Command::new(plan.profile.folder().join("rmq-server"));
    command.arg(kind).arg("--config").arg(&conf_file).env("NO_COLOR", "1").stdin(Stdio::null());
    let prefix = name.to_owned();
    Running::start(
        name,
        command,
        &plan.folder.join("logs").join(format!("{name}.log")),
        move |line| {
            if worth_showing(line) {
                println!("[{prefix}] {line}");
            }
        },
    )
}

/// Start lines, warnings and errors; the rest stays in the log.
fn worth_showing(line: &str) -> bool {
    ["listens on", "WARN", "ERROR", "panicked", "error:"].iter().any(|word| line.contains(word))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The command of `--run`, which talks to the terminal itself.
struct Visitor {
    child: std::process::Child,
}

impl Visitor {
    fn start(command: &str, plan: &Plan) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .current_dir(workspace::root())
            .env("NAMESRV_ADDR", plan.name_server().to_string());
        Ok(Self { child: shell.spawn().context("sh could not be started")? })
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        // It has usually ended already, and then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(port: u16, brokers: u16) -> Result<Plan> {
        Plan::new(Arguments {
            brokers,
            port,
            release: false,
            clean: false,
            set: vec!["a=b".to_owned()],
            seconds: None,
            run: None,
        })
    }

    #[test]
    fn neighbours_share_no_port() {
        let first: Vec<u16> = plan(9876, 3).unwrap().ports().collect();
        let second: Vec<u16> = plan(9877, 3).unwrap().ports().collect();
        assert_eq!(first, [9876, 9886, 9896, 9906]);
        assert!(first.iter().all(|port| !second.contains(port)));
    }

    #[test]
    fn further_lines_come_last() {
        assert!(plan(9876, 1).unwrap().broker_conf("broker-a", 1).ends_with("\na=b\n"));
    }

    #[test]
    fn ports_beyond_the_end_are_refused() {
        assert!(plan(65_530, 2).is_err());
    }
}
