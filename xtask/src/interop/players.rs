//! Producers and consumers of either side, and the Java admin client.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};

use super::foreign;
use super::house::Side;
use super::stage::Stage;
use super::words::{self, Got, Sent};
use crate::process::Running;
use crate::signals;

const START_WITHIN: Duration = Duration::from_secs(30);
const SEND_WITHIN: Duration = Duration::from_secs(120);
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Lines of an answer that a complaint shows; all are in the log.
const SHOWN: usize = 20;
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Whose client plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Player {
    Ours,
    Java,
    /// Java's last client before version 5.
    OldJava,
    Go,
    Python,
}

impl From<Side> for Player {
    fn from(side: Side) -> Self {
        match side {
            Side::Ours => Self::Ours,
            Side::Apache => Self::Java,
        }
    }
}

impl Player {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "our",
            Self::Java => "Java's",
            Self::OldJava => "old Java's",
            Self::Go => "Go's",
            Self::Python => "Python's",
        }
    }
}

/// What a producer shall send.
#[derive(Clone)]
pub(super) struct Sends {
    /// Java class that sends.
    driver: &'static str,
    options: Vec<String>,
    binary: bool,
}

impl Sends {
    /// `count` messages whose keys and bodies are `prefix-0`, `prefix-1`, ...
    pub(super) fn new(topic: &str, prefix: &str, count: u32) -> Self {
        let options = ["--topic", topic, "--key-prefix", prefix, "--count", &count.to_string()]
            .map(str::to_owned)
            .to_vec();
        Self { driver: "Produce", options, binary: false }
    }

    /// Another Java class than the usual one sends.
    pub(super) fn driver(mut self, driver: &'static str) -> Self {
        self.driver = driver;
        self
    }

    pub(super) fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// Java's binary header encoding instead of JSON.
    pub(super) fn binary(mut self, binary: bool) -> Self {
        self.binary = binary;
        self
    }
}

/// What a consumer shall receive.
#[derive(Clone)]
pub(super) struct Wants {
    options: Vec<String>,
    binary: bool,
}

impl Wants {
    pub(super) fn new(group: &str, topic: &str) -> Self {
        Self {
            options: ["--group", group, "--topic", topic].map(str::to_owned).to_vec(),
            binary: false,
        }
    }

    pub(super) fn with(mut self, options: &[&str]) -> Self {
        self.options.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    /// Java's binary header encoding instead of JSON.
    pub(super) fn binary(mut self, binary: bool) -> Self {
        self.binary = binary;
        self
    }
}

impl Stage<'_> {
    /// Sends all; an error unless all were confirmed.
    pub(super) fn produce(
        &mut self,
        side: impl Into<Player>,
        name_server: impl Display,
        sends: &Sends,
    ) -> Result<Vec<Sent>> {
        all_sent(self.start_producing(side, name_server, sends)?)
    }

    /// Sends all through a proxy.
    pub(super) fn produce_grpc(&mut self, proxy: SocketAddr, sends: &Sends) -> Result<Vec<Sent>> {
        all_sent(self.grpc("GrpcProduce", proxy, &sends.options)?)
    }

    /// Starts a consumer at a proxy and waits until it is ready.
    pub(super) fn consume_grpc(&mut self, proxy: SocketAddr, wants: &Wants) -> Result<Consumer> {
        ready(self.grpc("GrpcConsume", proxy, &wants.options)?)
    }

    /// Starts any other player at a proxy; the caller looks at what is printed.
    pub(super) fn play_grpc(
        &mut self,
        class: &str,
        proxy: SocketAddr,
        options: &[&str],
    ) -> Result<Running> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        self.grpc(class, proxy, &options)
    }

    fn grpc(&mut self, class: &str, proxy: SocketAddr, options: &[String]) -> Result<Running> {
        let home = self.dressing_room(class)?;
        let mut command = self.house.grpc()?.driver(class, &home);
        command.args(["--proxy", &proxy.to_string()]).args(options).stdin(Stdio::piped());
        Running::start(class, command, &home.join("out"), |_| {})
    }

    /// Starts to send; the caller looks at what is printed.
    pub(super) fn start_producing(
        &mut self,
        side: impl Into<Player>,
        name_server: impl Display,
        sends: &Sends,
    ) -> Result<Running> {
        self.player(
            side.into(),
            [sends.driver, "produce"],
            name_server,
            &sends.options,
            sends.binary,
        )
    }

    /// Starts a consumer and waits until it is ready.
    pub(super) fn consume(
        &mut self,
        side: impl Into<Player>,
        name_server: impl Display,
        wants: &Wants,
    ) -> Result<Consumer> {
        self.consume_with(side, name_server, ["PushConsume", "consume"], wants)
    }

    /// The same with another program.
    pub(super) fn consume_with(
        &mut self,
        side: impl Into<Player>,
        name_server: impl Display,
        names: [&str; 2],
        wants: &Wants,
    ) -> Result<Consumer> {
        ready(self.player(side.into(), names, name_server, &wants.options, wants.binary)?)
    }

    /// Starts any other player; the caller looks at what is printed.
    pub(super) fn play(
        &mut self,
        side: Side,
        names: [&str; 2],
        name_server: impl Display,
        options: &[&str],
    ) -> Result<Running> {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        self.player(side.into(), names, name_server, &options, false)
    }

    fn player(
        &mut self,
        player: Player,
        [class, act]: [&str; 2],
        name_server: impl Display,
        options: &[String],
        binary: bool,
    ) -> Result<Running> {
        let player =
            if player == Player::Ours { self.house.cast(Side::Ours).into() } else { player };
        let name = format!("{} {act}", player.name());
        let home = self.dressing_room(&name.replace([' ', '\''], "-"))?;
        let mut command: Command = match player {
            Player::Ours => self.house.example(act),
            Player::Java => self.house.driver(class, &home, binary),
            Player::OldJava => foreign::old_java(act, &home)?,
            Player::Go => foreign::go(act)?,
            Player::Python => foreign::python(act)?,
        };
        command
            .args(["--namesrv", &name_server.to_string()])
            .args(options)
            .env("NO_COLOR", "1")
            .env("HOME", &home)
            .current_dir(&home)
            .stdin(Stdio::piped());
        Running::start(&name, command, &home.join("out"), |_| {})
    }

    /// The Java admin client, which answers any number of questions.
    pub(super) fn admin(&mut self, name_server: impl Display) -> Result<Admin> {
        let home = self.dressing_room("admin")?;
        let mut command = self.house.driver("Admin", &home, false);
        // Some commands leave files where they are called.
        command.arg(name_server.to_string()).current_dir(&home).stdin(Stdio::piped());
        Ok(Admin { running: Running::start("admin", command, &home.join("out"), |_| {})?, read: 0 })
    }
}

/// What was sent, once the producer has ended; an error unless all were confirmed.
fn all_sent(mut running: Running) -> Result<Vec<Sent>> {
    let status = running.wait_end(SEND_WITHIN)?;
    let lines = running.lines();
    if !status.success() {
        let failed = lines.iter().filter(|line| line.text.starts_with("FAILED "));
        let first =
            failed.clone().next().or(lines.last()).map_or("nothing", |line| line.text.as_str());
        bail!(
            "{} ended with {status}, {} sends failed, it said: {first}; see {}",
            running.name(),
            failed.count(),
            running.log().display()
        );
    }
    Ok(words::sent(&lines))
}

fn ready(mut running: Running) -> Result<Consumer> {
    running.wait_for("READY", START_WITHIN, |lines| {
        lines.iter().any(|line| line.text == "READY").then_some(())
    })?;
    Ok(Consumer { running })
}

/// A consumer that runs, or was killed; what it got stays known.
pub(super) struct Consumer {
    running: Running,
}

impl Consumer {
    pub(super) fn got(&self) -> Vec<Got> {
        words::got(&self.running.lines())
    }

    pub(super) fn assigned(&self, topic: &str) -> BTreeSet<String> {
        words::assigned(&self.running.lines(), topic)
    }

    pub(super) fn kill(&mut self) {
        self.running.kill();
    }

    /// SIGTERM, so that it leaves its group in order; an error if it does not end by itself.
    pub(super) fn leave(&mut self) -> Result<()> {
        ensure!(
            self.running.stop(STOP_WITHIN),
            "{} did not stop within {} s",
            self.running.name(),
            STOP_WITHIN.as_secs()
        );
        Ok(())
    }

    pub(super) fn stop(mut self) -> Result<()> {
        self.leave()
    }
}

/// Waits until every message came to one of the consumers.
pub(super) fn await_all(consumers: &[&Consumer], sent: &[Sent], within: Duration) -> Result<()> {
    let mut missing: BTreeSet<String> = BTreeSet::new();
    let outcome = await_until("all messages", within, || {
        missing = sent.iter().map(|one| one.body.clone()).collect();
        for one in consumers.iter().flat_map(|consumer| consumer.got()) {
            missing.remove(&one.body);
        }
        missing.is_empty()
    });
    outcome.map_err(|error| {
        let first: Vec<&str> = missing.iter().take(5).map(String::as_str).collect();
        anyhow!(
            "{error}: {} of {} are missing, such as {}",
            missing.len(),
            sent.len(),
            first.join(", ")
        )
    })
}

/// Waits until a condition holds.
pub(super) fn await_until(
    what: &str,
    within: Duration,
    mut holds: impl FnMut() -> bool,
) -> Result<()> {
    let deadline = Instant::now() + within;
    while !holds() {
        if signals::asked_to_stop() {
            bail!("interrupted");
        }
        if Instant::now() > deadline {
            bail!("no {what} within {} s", within.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// The Java admin client.
pub(super) struct Admin {
    running: Running,
    read: usize,
}

impl Admin {
    /// The lines of the answer; an error if the verb failed.
    pub(super) fn ask(&mut self, question: &str) -> Result<Vec<String>> {
        let verb = question.split(' ').next().unwrap_or_default();
        let (well, badly) = (format!("OK {verb}"), format!("ERROR {verb} "));
        self.running.tell(question)?;
        let from = self.read;
        let answer =
            self.running.wait_for(&format!("answer to `{question}`"), ANSWER_WITHIN, |lines| {
                let new = lines.get(from..)?;
                let end = new
                    .iter()
                    .position(|line| line.text == well || line.text.starts_with(&badly))?;
                Some(new[..=end].iter().map(|line| line.text.clone()).collect::<Vec<_>>())
            })?;
        self.read += answer.len();
        match answer.last() {
            Some(last) if *last == well => Ok(answer[..answer.len() - 1].to_vec()),
            last => {
                let begin: Vec<&str> = answer.iter().take(SHOWN).map(String::as_str).collect();
                bail!("`{question}`: {}\n{}", last.cloned().unwrap_or_default(), begin.join("\n"))
            }
        }
    }

    /// Asks, and expects every fragment in one of the lines.
    pub(super) fn expect(&mut self, question: &str, fragments: &[&str]) -> Result<Vec<String>> {
        let answer = self.ask(question)?;
        for fragment in fragments {
            ensure!(
                answer.iter().any(|line| line.contains(fragment)),
                "`{question}` does not tell `{fragment}`:\n{}",
                answer.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n")
            );
        }
        Ok(answer)
    }

    /// A topic with a number of queues, once the name server tells it.
    pub(super) fn create_topic(
        &mut self,
        broker: SocketAddr,
        topic: &str,
        queues: u32,
    ) -> Result<()> {
        self.ask(&format!("createTopic {broker} {topic} {queues}"))?;
        await_until("route of the new topic", ANSWER_WITHIN, || {
            self.ask(&format!("topicRoute {topic}")).is_ok()
        })
    }
}
