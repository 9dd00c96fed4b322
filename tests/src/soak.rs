//! A group at work for long: messages stream through a real broker to members that are processes of
//! their own, which join, leave and are killed all the time, as a seed decides.
//!
//! | module | owns |
//! |---|---|
//! | [`report`] | the lines in which a member tells what it got |
//! | [`ledger`] | what must be true of deliveries, with a few bits a message |
//! | `group` | members as processes, and how they come and go |
//! | `memory` | that nobody grows |
//!
//! One member stays from the beginning to the end, so that there is one whose memory can be told
//! from the others' coming and going.

mod group;
pub mod ledger;
mod memory;
pub mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use rmq_client_producer::{Message, Producer, SendStatus};
use rmq_runtime::{ClockExt, Entropy, Monotonic, Tasks};
use rmq_sim::SimEntropy;

use crate::history::Commits;
use crate::wait::{PATIENCE, WORLD, now};
use crate::{Client, Cluster};
use group::Group;
use ledger::Ledger;
use memory::Growth;

const TOPIC: &str = "Orders";
const GROUP: &str = "stock";
const QUEUES: u32 = 8;
/// Messages of one send.
const TOGETHER: u64 = 16;
/// Sends under way at once.
const AT_ONCE: usize = 32;
/// How far the sender may be ahead of the group.
const AHEAD: u64 = 200_000;
/// Bytes of a body; the first eight are the message's number.
const BODY: usize = 100;
/// Time between two looks at memory and at what has come.
const LOOK: Duration = Duration::from_secs(1);
/// Looks between two lines that tell how far it is; progress is held against deliveries as often.
const TOLD: u64 = 5;
/// Pause of the sender while it is too far ahead, or after a failure.
const PAUSE: Duration = Duration::from_millis(5);

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The program that is a member.
    pub member: PathBuf,
    /// The folder for the members' log.
    pub logs: PathBuf,
    /// How many messages.
    pub messages: u64,
    /// How many members, but for those that have just left.
    pub members: u32,
    /// Decides who does what when.
    pub seed: u64,
    /// The time over which the messages are spread; none: as fast as it goes.
    pub spread: Option<Duration>,
    /// Whether the broker is killed now and then.
    pub kill_broker: bool,
    /// Whether members consume in order.
    pub ordered: bool,
}

impl Plan {
    /// Chance for one of those who need some.
    fn chance(&self, of: u32) -> SimEntropy {
        SimEntropy::new(self.seed.wrapping_mul(1_000_003).wrapping_add(of.into()))
    }

    /// How long nothing may come. Who is killed leaves its ordered queues locked for a minute.
    fn patience(&self) -> Duration {
        if self.ordered { 4 * PATIENCE } else { PATIENCE }
    }

    /// The time in which members notice a change (INV-26); a broker that was killed is away for a
    /// while, and may have forgotten the progress of the last five seconds.
    fn notice(&self) -> Duration {
        Duration::from_secs(if self.kill_broker { 20 } else { 5 })
    }
}

/// A run under way.
struct Soak {
    plan: Plan,
    cluster: tokio::sync::Mutex<Cluster>,
    ledger: Arc<Mutex<Ledger>>,
    group: Group,
    /// Stopped when everything has come; then the members leave.
    tasks: Tasks,
    begun: Monotonic,
    sent: AtomicU64,
    broker_kills: AtomicU64,
}

/// Runs it; tells in words what happened.
///
/// # Errors
/// A broken promise, or something that does not run.
pub async fn run(plan: Plan) -> Result<String> {
    let cluster = Cluster::builder()
        .set("flushDiskType", "ASYNC_FLUSH")
        .set("mappedFileSizeCommitLog", 256 << 20)
        .start_processes()
        .await?;
    cluster.create_topic(TOPIC, QUEUES).await?;
    let namesrv = cluster.namesrv();
    let client = Client::connect(&namesrv).await?;
    let producer = Producer::builder().namesrv(&namesrv).group("load").start().await?;
    let ledger = Arc::new(Mutex::new(Ledger::new(plan.ordered, plan.notice())));
    let tasks = Tasks::new("soak");
    let soak = Soak {
        group: Group::new(&plan, &namesrv, Arc::clone(&ledger), tasks.clone())?,
        plan,
        cluster: tokio::sync::Mutex::new(cluster),
        ledger,
        tasks,
        begun: now(),
        sent: AtomicU64::new(0),
        broker_kills: AtomicU64::new(0),
    };
    let (growth, ..) = tokio::try_join!(
        soak.watch(&client),
        soak.send_all(&producer),
        soak.group.live(&soak.plan),
        soak.kill_brokers(),
    )?;
    let stored = soak.judge(&client).await?;
    producer.shutdown().await;
    client.shutdown().await;
    let told = format!("{}; {stored} stored; {growth}", soak.told());
    soak.cluster.into_inner().stop().await?;
    Ok(told)
}

impl Soak {
    /// Sends every number until it is acknowledged.
    async fn send_all(&self, producer: &Producer) -> Result<()> {
        let turns = stream::iter(0..self.plan.messages.div_ceil(TOGETHER));
        let sends = turns.map(|turn| async move {
            let first = turn * TOGETHER;
            self.turn_of(first).await;
            let numbers = first..(first + TOGETHER).min(self.plan.messages);
            loop {
                let messages = numbers.clone().map(message).collect();
                match producer.send_batch(messages).await {
                    Ok(receipt) if receipt.status == SendStatus::Ok => break,
                    // Stored or not: whoever must know sends once more.
                    Ok(_) | Err(_) => WORLD.clock.sleep(PAUSE).await,
                }
            }
            self.sent.fetch_add(numbers.end - numbers.start, Ordering::Relaxed);
            anyhow::Ok(())
        });
        sends.buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Ready when it is time for that number and the group is not too far behind.
    async fn turn_of(&self, number: u64) {
        if let Some(spread) = self.plan.spread {
            let share = number as f64 / self.plan.messages as f64;
            WORLD.clock.sleep_until(self.begun + spread.mul_f64(share)).await;
        }
        while number > self.ledger.lock().come() + AHEAD {
            WORLD.clock.sleep(PAUSE).await;
        }
    }

    async fn kill_brokers(&self) -> Result<()> {
        let chance = self.plan.chance(0);
        while self.plan.kill_broker && !self.tasks.stop_token().is_requested() {
            self.group.pause(Duration::from_millis(5000 + chance.below(15_000))).await;
            let mut cluster = self.cluster.lock().await;
            // What members write when they leave is not lost by a kill that nobody could make good.
            if self.tasks.stop_token().is_requested() {
                break;
            }
            cluster.kill_broker(0)?;
            cluster.start_broker(0).await?;
            self.broker_kills.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Looks at everything until all has come, and then has everybody end.
    async fn watch(&self, client: &Client) -> Result<Growth> {
        let (mut growth, mut commits) = (Growth::default(), Commits::default());
        let (mut last, mut since, mut progress) = (0, now(), Vec::new());
        for look in 1u64.. {
            let come = self.ledger.lock().come();
            // What a killed member got last may come once more before it counts as done.
            if come == self.plan.messages {
                // No broker is away while it is asked.
                let _there = self.cluster.lock().await;
                if self.is_done(client).await? {
                    self.tasks.request_stop();
                    break;
                }
            }
            if come > last {
                (last, since) = (come, now());
            }
            let still = now().since(since);
            ensure!(still < self.plan.patience(), "nothing came for {still:.0?}; {}", self.told());
            let share = come as f64 / self.plan.messages as f64;
            growth.seen("first member", share, self.group.first_memory());
            if let Ok(cluster) = self.cluster.try_lock() {
                growth.seen("broker", share, cluster.broker_memory(0)?);
            }
            if look % TOLD == 0 {
                say(&self.told());
                self.ledger.lock().covers(&progress)?;
                self.ledger.lock().verdict()?;
                if !self.plan.kill_broker {
                    progress = client.progress(GROUP, TOPIC).await?;
                    commits.seen(&progress)?;
                }
            }
            WORLD.clock.sleep(LOOK).await;
        }
        growth.check()?;
        Ok(growth)
    }

    /// Whether the group's progress is at the end of every queue.
    async fn is_done(&self, client: &Client) -> Result<bool> {
        let (progress, ends) = (client.progress(GROUP, TOPIC).await?, client.ends(TOPIC).await?);
        Ok(progress == ends)
    }

    /// What must be true at the end, when all members have left; tells how many messages are stored.
    async fn judge(&self, client: &Client) -> Result<i64> {
        self.ledger.lock().verdict()?;
        ensure!(self.is_done(client).await?, "progress has gone back after the end");
        let ends = client.ends(TOPIC).await?;
        self.ledger.lock().covers(&ends)?;
        let stored = ends.iter().map(|(_, end)| end).sum();
        let is_all = self.plan.kill_broker || u64::try_from(stored)? == self.plan.messages;
        ensure!(is_all, "{stored} messages are stored, {} were sent", self.plan.messages);
        Ok(stored)
    }

    fn told(&self) -> String {
        let seconds = now().since(self.begun).as_secs_f64();
        let (sent, ledger) = (self.sent.load(Ordering::Relaxed), self.ledger.lock());
        let rate = ledger.come() as f64 / seconds / 1000.0;
        let kills = match self.broker_kills.load(Ordering::Relaxed) {
            0 => String::new(),
            kills => format!(", broker killed {kills} times"),
        };
        format!("{seconds:.0} s: {sent} sent, {ledger}, {rate:.0} k/s; {}{kills}", self.group)
    }
}

fn message(number: u64) -> Message {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(BODY, b'.');
    Message::new(TOPIC, body)
}

#[expect(clippy::print_stdout, reason = "a long run tells how far it is")]
fn say(line: &str) {
    println!("{line}");
}
