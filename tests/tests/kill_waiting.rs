//! A broker is killed again and again while messages wait: half ones for their verdict, delayed and timed ones for
//! their time, popped ones for their acknowledgement. None that was acknowledged is lost, none comes that was rolled
//! back or that nobody sent, none comes early. `RMQ_TORTURE_KILLS` says how often, for each way to flush, and
//! `RMQ_TORTURE_SEED` which messages there are and how long the broker lives each time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future;
use parking_lot::Mutex;
use rmq_client_core::{ClientConfig, PopCall, PopOutcome, Popped};
use rmq_client_producer::{
    ErrorKind, Message, MessageView, Producer, SendError, SendReceipt, SendStatus,
    TransactionListener, TransactionProducer, Verdict,
};
use rmq_message::{MessageQueue, Subscription, Timestamp, property};
use rmq_runtime::{ClockExt as _, Entropy as _};
use rmq_sim::SimEntropy;
use rmq_tests::inbox::{balanced, consumer};
use rmq_tests::promises::{Arrival, Kept, Promises, Told};
use rmq_tests::{Client, Cluster, Inbox, WORLD, eventually};

const TOPIC: &str = "Waiting";
const POPPERS: &str = "poppers";
/// Kills of an ordinary test run.
const KILLS: u64 = 5;
/// Kills between two lines that tell how far it is.
const TOLD: u64 = 10;
const SENDERS: u64 = 4;
const GRACE: Duration = Duration::from_secs(5);
/// How long popped messages are hidden.
const INVISIBLE: Duration = Duration::from_secs(2);
/// Levels of delay, one second each more than the one before.
const LEVELS: u64 = 3;
/// In the body of a message that is rolled back.
const DROPPED: &str = "dropped";
/// In the body of a transaction whose producer does not know at first when it is asked.
const DOUBTFUL: &str = "doubtful";

/// A number from the environment.
fn setting(name: &str, otherwise: u64) -> Result<u64> {
    let Some(text) = std::env::var_os(name) else { return Ok(otherwise) };
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
    number.with_context(|| format!("{name} is {text:?}; give a number above 0"))
}

#[expect(clippy::print_stdout, reason = "a long run tells how far it is")]
fn say(line: &str) {
    println!("{line}");
}

fn wall() -> Timestamp {
    WORLD.clock.wall().into()
}

/// Answers by what the body says; in doubt only when it is asked once more.
#[derive(Default)]
struct Judge(Mutex<BTreeSet<Bytes>>);

#[async_trait]
impl TransactionListener for Judge {
    async fn execute(&self, _message: &Message, _receipt: &SendReceipt) -> Verdict {
        Verdict::Unknown
    }

    async fn check(&self, message: &MessageView) -> Verdict {
        let text = String::from_utf8_lossy(&message.body);
        if text.contains(DOUBTFUL) && self.0.lock().insert(message.body.clone()) {
            Verdict::Unknown
        } else if text.contains(DROPPED) {
            Verdict::Rollback
        } else {
            Verdict::Commit
        }
    }
}

/// Everybody who works on the cluster, and what they were told.
struct Crew {
    promises: Promises,
    producer: Producer,
    transactions: TransactionProducer,
    client: Client,
    stop: AtomicBool,
    popped: Mutex<Vec<Arrival>>,
    /// Bodies whose acknowledgement was answered.
    acked: Mutex<BTreeSet<Bytes>>,
    hidden: AtomicUsize,
}

impl Crew {
    async fn hire(cluster: &Cluster) -> Result<Self> {
        // Brokers ask only producers that they hear of.
        let client = ClientConfig {
            heartbeat_interval: Duration::from_millis(500),
            ..ClientConfig::new(&cluster.namesrv())
        };
        // One try only: so a message is stored once, or the sender does not know.
        let builder = || {
            let builder = Producer::builder().client_config(client.clone()).retries(0);
            builder.timeout(Duration::from_secs(10))
        };
        Ok(Self {
            promises: Promises::default(),
            producer: builder().group("senders").start().await?,
            transactions: builder()
                .group("deals")
                .start_transactions(Arc::<Judge>::default())
                .await?,
            client: Client::connect(&cluster.namesrv()).await?,
            stop: AtomicBool::new(false),
            popped: Mutex::default(),
            acked: Mutex::default(),
            hidden: AtomicUsize::new(0),
        })
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    async fn send_all(&self, sender: u64, chance: &SimEntropy) {
        for number in 0u64.. {
            if self.is_stopped() {
                return;
            }
            let name = format!("{number} of {sender}");
            match chance.below(7) {
                0 => self.send_plain(&name).await,
                1 | 2 => self.send_delayed(&name, 1 + chance.below(LEVELS)).await,
                3 => self.send_timed(&name, chance.below(4000)).await,
                _ => self.deal(&name, chance).await,
            }
            // More than a broker can ask about would only pile up.
            WORLD.clock.sleep(Duration::from_millis(5 + chance.below(30))).await;
        }
    }

    async fn send_plain(&self, name: &str) {
        let body = Bytes::from(format!("plain {name}"));
        self.promises.begun(body.clone(), "plain", true, wall());
        self.note(&body, self.producer.send(Message::new(TOPIC, body.clone())).await).await;
    }

    async fn send_delayed(&self, name: &str, level: u64) {
        let body = Bytes::from(format!("delayed {name}"));
        let due = wall() + i64::try_from(level * 1000).unwrap_or(0);
        self.promises.begun(body.clone(), "delayed", true, due);
        let level = u32::try_from(level).unwrap_or(1);
        let message = Message::new(TOPIC, body.clone()).with_delay_level(level);
        self.note(&body, self.producer.send(message).await).await;
    }

    async fn send_timed(&self, name: &str, ahead_ms: u64) {
        let body = Bytes::from(format!("timed {name}"));
        let due = wall() + i64::try_from(ahead_ms).unwrap_or(0);
        self.promises.begun(body.clone(), "timed", true, due);
        let mut message = Message::new(TOPIC, body.clone());
        message.properties.set(property::TIMER_DELIVER_MS, due.0.to_string());
        self.note(&body, self.producer.send(message).await).await;
    }

    /// A transaction that ends one way or the other, at once or when the broker asks.
    async fn deal(&self, name: &str, chance: &SimEntropy) {
        let (is_dropped, is_open, in_doubt) =
            (chance.one_in(2), chance.one_in(2), chance.one_in(4));
        let kind = match (is_dropped, is_open) {
            (false, false) => "committed",
            (false, true) => "committed when asked",
            (true, false) => "rolled back",
            (true, true) => "rolled back when asked",
        };
        let end = if is_dropped { DROPPED } else { "wanted" };
        let doubt = if in_doubt { DOUBTFUL } else { "sure" };
        let body = Bytes::from(format!("deal {name}: {end}, {doubt}"));
        self.promises.begun(body.clone(), kind, !is_dropped, wall());
        let begun = self.transactions.begin(Message::new(TOPIC, body.clone())).await;
        let told = match begun {
            Ok(open) => {
                let receipt = open.receipt().clone();
                match (is_open, is_dropped) {
                    (true, _) => drop(open),
                    (false, true) => open.rollback().await,
                    (false, false) => open.commit().await,
                }
                Ok(receipt)
            }
            Err(error) => Err(error),
        };
        self.note(&body, told).await;
    }

    async fn note(&self, body: &Bytes, sent: Result<SendReceipt, SendError>) {
        match sent {
            Ok(receipt) if receipt.status == SendStatus::Ok => {
                self.promises.ended(body, Told::Stored);
            }
            // Stored, but not as safe as it should be: it may go with the next kill.
            Ok(_) => {}
            Err(error) => {
                if error.kind() != ErrorKind::Timeout {
                    self.promises.ended(body, Told::Refused);
                }
                // A dead broker refuses at once: the sender is to try until it is back, not to spin.
                WORLD.clock.sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Pops and acknowledges, hides for another time, or forgets.
    async fn pop_all(&self, chance: &SimEntropy, is_over: &AtomicBool) {
        let (any, wanted) =
            (MessageQueue::new(TOPIC, "broker-a", -1), Subscription::all(TOPIC, Timestamp(1)));
        let brokers = self.client.instance().brokers();
        while !is_over.load(Ordering::Relaxed) {
            let call = PopCall {
                group: POPPERS,
                queue: &any,
                subscription: &wanted,
                max_messages: 16,
                invisible: INVISIBLE,
                poll: Duration::from_millis(200),
                timeout: Duration::from_secs(5),
                from_start: true,
                born: wall(),
            };
            let Ok(PopOutcome::Found { popped, .. }) = brokers.pop(&call).await else {
                WORLD.clock.sleep(Duration::from_millis(10)).await;
                continue;
            };
            let done = popped.iter().map(|one| self.settle(one, chance));
            future::join_all(done).await;
        }
    }

    /// Acknowledges most messages, hides some for another time, and forgets others.
    async fn settle(&self, popped: &Popped, chance: &SimEntropy) {
        let (body, receipt) = (popped.message.body.clone(), &popped.receipt);
        let stored = popped.message.store_timestamp;
        self.popped.lock().push(Arrival { body: body.clone(), stored });
        let brokers = self.client.instance().brokers();
        match chance.below(10) {
            0 => {}
            1 => {
                let time = Duration::from_millis(500 + chance.below(2000));
                let hidden = brokers.hide(POPPERS, receipt, time).await;
                self.hidden.fetch_add(usize::from(hidden.is_ok()), Ordering::Relaxed);
            }
            _ => {
                if brokers.ack(POPPERS, receipt).await.is_ok() {
                    self.acked.lock().insert(body);
                }
            }
        }
    }

    async fn acknowledged_more(&self, count: usize) -> Result<()> {
        let before = self.promises.acknowledged();
        eventually("acknowledged sends", async || {
            (self.promises.acknowledged() >= before + count).then_some(())
        })
        .await
    }

    /// What was popped is as it must be, and all of it is acknowledged.
    fn check_popped(&self) -> Result<Kept> {
        let popped = self.popped.lock();
        let kept = self.promises.check(&popped).context("popped")?;
        let acked = self.acked.lock();
        let open = popped.iter().find(|arrival| !acked.contains(&arrival.body));
        ensure!(open.is_none(), "{open:?} is not acknowledged");
        Ok(kept)
    }
}

fn check_pushed(crew: &Crew, inbox: &Inbox) -> Result<Kept> {
    let arrivals: Vec<_> = inbox
        .all()
        .into_iter()
        .map(|one| Arrival { body: one.message.body, stored: one.message.store_timestamp })
        .collect();
    crew.promises.check(&arrivals).context("pushed")
}

/// Waits until everything has come to both groups and is acknowledged, as long as more and more of it is.
async fn kept(crew: &Crew, inbox: &Inbox) -> Result<(Kept, Kept)> {
    loop {
        let before = crew.acked.lock().len() + inbox.bodies().len();
        let mut last = String::new();
        let kept = eventually("what was promised", async || {
            // A look at everything costs more than the wait for something.
            WORLD.clock.sleep(Duration::from_millis(300)).await;
            let both =
                check_pushed(crew, inbox).and_then(|pushed| Ok((pushed, crew.check_popped()?)));
            both.map_err(|error| last = format!("{error:#}")).ok()
        })
        .await;
        let now = crew.acked.lock().len() + inbox.bodies().len();
        match kept {
            Err(error) if now == before => return Err(error.context(last)),
            Err(_) => {}
            Ok(kept) => return Ok(kept),
        }
    }
}

async fn start(flush: &str) -> Result<Cluster> {
    let cluster = Cluster::builder()
        .set("flushDiskType", flush)
        .set("mappedFileSizeCommitLog", 1 << 20)
        .set("mappedFileSizeConsumeQueue", 20_000)
        .set("messageDelayLevel", "1s 2s 3s")
        .set("transactionTimeOut", 500)
        .set("transactionCheckInterval", 300)
        .set("transactionCheckMax", 1000)
        // Shorter than most of its lives, so that groups get on between the kills.
        .set("flushConsumerOffsetInterval", 500)
        .set("flushDelayOffsetInterval", 500)
        .start_processes()
        .await?;
    cluster.create_topic(TOPIC, 4).await?;
    Ok(cluster)
}

/// Kills the broker after times that chance chooses, sometimes again while it recovers.
async fn kill_again_and_again(
    cluster: &mut Cluster,
    crew: &Crew,
    kills: u64,
    chance: &SimEntropy,
    told: impl Fn(&str),
) -> Result<()> {
    for round in 1..=kills {
        WORLD.clock.sleep(Duration::from_millis(200 + chance.below(2000))).await;
        cluster.kill_broker(0)?;
        if chance.one_in(3) {
            let after = Duration::from_millis(chance.below(60));
            cluster.start_and_kill_broker(0, after).await?;
        }
        cluster.start_broker(0).await.with_context(|| format!("after kill {round}"))?;
        crew.acknowledged_more(1).await.with_context(|| format!("after kill {round}"))?;
        if round % TOLD == 0 {
            let sent = crew.promises.acknowledged();
            told(&format!("{round} of {kills} kills, {sent} messages acknowledged"));
        }
    }
    crew.acknowledged_more(100).await
}

async fn play(flush: &str, kills: u64, seed: u64) -> Result<String> {
    let chance = SimEntropy::new(seed);
    let mut cluster = start(flush).await?;
    let crew = Crew::hire(&cluster).await?;
    let inbox = Inbox::new();
    let member = consumer(&cluster.namesrv(), "pushed", TOPIC).listener(inbox.listener("one"));
    let member = member.start().await?;
    balanced(&[&member], TOPIC, &[4]).await?;

    let is_over = AtomicBool::new(false);
    let senders: Vec<_> = (0..SENDERS).map(|_| SimEntropy::new(chance.next_u64())).collect();
    let poppers: Vec<_> = (0..2).map(|_| SimEntropy::new(chance.next_u64())).collect();
    let work = async {
        let told = |text: &str| say(&format!("{flush}: {text}"));
        let killed = kill_again_and_again(&mut cluster, &crew, kills, &chance, told).await;
        crew.stop.store(true, Ordering::Relaxed);
        let judged = async {
            killed?;
            let (pushed, popped) = kept(&crew, &inbox).await?;
            // What should not come has had its time to come, too.
            WORLD.clock.sleep(INVISIBLE).await;
            check_pushed(&crew, &inbox)?;
            crew.promises.check(&crew.popped.lock())?;
            ensure!(pushed.acknowledged.len() == 7, "not every kind was sent: {pushed}");
            let hidden = crew.hidden.load(Ordering::Relaxed);
            anyhow::Ok(format!(
                "{flush}: seed {seed}, {kills} kills, nothing lost, early or invented: pushed \
                 {pushed}; popped {popped}; {hidden} hidden for another time"
            ))
        }
        .await;
        is_over.store(true, Ordering::Relaxed);
        judged
    };
    let send = (0..SENDERS).zip(&senders).map(|(sender, chance)| crew.send_all(sender, chance));
    let pop = poppers.iter().map(|chance| crew.pop_all(chance, &is_over));
    let (summary, _, _) = future::join3(work, future::join_all(send), future::join_all(pop)).await;
    let summary = summary?;
    cluster.expect_alive()?;
    member.shutdown(GRACE).await;
    crew.producer.shutdown().await;
    crew.transactions.shutdown().await;
    crew.client.shutdown().await;
    cluster.stop().await?;
    Ok(summary)
}

async fn wait_and_be_killed(flush: &str) -> Result<()> {
    let kills = setting("RMQ_TORTURE_KILLS", KILLS)?;
    let seed = setting("RMQ_TORTURE_SEED", 1)?;
    let summary = play(flush, kills, seed).await.with_context(|| {
        format!("{flush}; again: cargo xtask torture --only-kills --kills {kills} --seed {seed}")
    })?;
    say(&summary);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_survives_kills_with_synchronous_flush() -> Result<()> {
    wait_and_be_killed("SYNC_FLUSH").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_survives_kills_with_asynchronous_flush() -> Result<()> {
    wait_and_be_killed("ASYNC_FLUSH").await
}
