//! What runs on the machines: the real parts, wired as the server wires them.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmq_broker::{Broker, BrokerConfig};
use rmq_client_producer::{ErrorKind, Message, Producer, SendStatus};
use rmq_client_push::{
    ConsumeContext, ConsumeFrom, ConsumeOutcome, Messages, OrderlyOutcome, PushConsumer,
    PushSettings,
};
use rmq_namesrv::{Namesrv, NamesrvConfig};
use rmq_remoting::{Client, ClientConfig, Processor, Server, ServerConfig, Unsupported};
use rmq_runtime::{ClockExt, OnFailure, Tasks, World};
use rmq_sim::{SimEntropy, net};
use rmq_store::{Chore, FlushDiskType, LocalStore};

use super::stage::{BILLS, GROUPS, ORDERS, QUEUES, Seat, Stage};
use crate::Outcome;

const PORT: u16 = 10_911;
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks of the flusher.
const FLUSH: Duration = Duration::from_millis(4);
/// Between two rounds of the other chores of a store.
const CHORES: Duration = Duration::from_secs(1);
/// Failures of a message after which it is a dead letter.
pub(super) const ATTEMPTS: i32 = 2;

pub(super) async fn namesrv(world: World) {
    let tasks = Tasks::new("namesrv");
    let at = Stage::namesrv_address();
    let namesrv = Namesrv::start(world.clone(), &tasks, NamesrvConfig::default())
        .expect("there is nothing to be read");
    let server = Server::builder(world, &tasks).listen(at).processor(namesrv).start().await;
    let _server = server.expect("the port is free");
    std::future::pending::<()>().await;
}

fn store_config(flush: FlushDiskType) -> rmq_store::Config {
    rmq_store::Config {
        store_path_root_dir: "/store".into(),
        mapped_file_size_commit_log: 128 << 10,
        mapped_file_size_consume_queue: 20 * 500,
        max_hash_slot_num: 1_000,
        max_index_num: 4_000,
        max_message_size: 64 << 10,
        flush_disk_type: flush,
        ..rmq_store::Config::default()
    }
}

pub(super) async fn broker(stage: Arc<Stage>, number: u8, world: World) {
    let (tasks, flush) = (Tasks::new("broker"), stage.shape.flush);
    let config = store_config(flush);
    let opened = match flush {
        FlushDiskType::Sync => LocalStore::open_still(&world, &tasks, config),
        FlushDiskType::Async => LocalStore::open(&world, &tasks, config),
    };
    let store = match opened {
        Ok(store) => store,
        Err(error) => return stage.record.wrong(format!("the store of {number} is lost: {error}")),
    };
    if flush == FlushDiskType::Sync {
        keep_store(&tasks, &world, &store);
    }
    let config = BrokerConfig {
        broker_name: format!("broker-{number}").into(),
        broker_ip1: net::address(number),
        namesrv_addr: Stage::namesrv_address().to_string(),
        default_topic_queue_nums: QUEUES,
        store_path_root_dir: "/store".into(),
        flush_disk_type: flush,
        ..BrokerConfig::default()
    };
    let broker = match Broker::open(&world, &tasks, config, Arc::clone(&store)) {
        Ok(broker) => broker,
        Err(error) => return stage.record.wrong(format!("the broker {number} is lost: {error}")),
    };
    let at = SocketAddr::new(net::address(number), PORT);
    let processor: Arc<dyn Processor> = Arc::clone(&broker) as _;
    let config = ServerConfig { shards: 0, ..ServerConfig::default() };
    let server = Server::builder(world.clone(), &tasks).listen(at).processor(processor);
    let server = server.config(config).start().await.expect("the port is free");
    broker.advertise(at);
    let client = Client::new(world.clone(), &tasks, ClientConfig::default(), Arc::new(Unsupported));
    broker.start(client);
    let life = stage.broker_lives().into_iter().find(|(broker, _)| *broker == number);
    let life = life.map_or(0, |(_, life)| life);
    stage.stores.lock().insert(number, Arc::clone(&store));
    stage.left(number, life).await;
    stage.stores.lock().remove(&number);
    broker.unregister().await;
    server.stop_accepting();
    broker.release_holds();
    server.drain(GRACE).await;
    for late in broker.stop().await {
        stage.record.note(&format!("{late} of broker {number} did not end in time"));
    }
    if let Err(error) = store.stop().await {
        stage.record.wrong(format!("the store of {number} does not stop: {error}"));
    }
}

/// What threads and tasks of a store with synchronous flush do.
fn keep_store(tasks: &Tasks, world: &World, store: &Arc<LocalStore>) {
    let (clock, kept, stop) = (Arc::clone(&world.clock), Arc::clone(store), tasks.stop_token());
    tasks.spawn("flush", OnFailure::Unhealthy, async move {
        while !stop.is_requested() {
            // A failure closes the store, which senders see.
            drop(kept.work(Chore::Flush));
            clock.sleep(FLUSH).await;
        }
    });
    let (clock, kept, stop) = (Arc::clone(&world.clock), Arc::clone(store), tasks.stop_token());
    tasks.spawn("chores", OnFailure::Unhealthy, async move {
        while !stop.is_requested() {
            for chore in [Chore::Prepare, Chore::WriteQueues, Chore::Save, Chore::Index] {
                drop(kept.work(chore));
            }
            clock.sleep(CHORES).await;
        }
    });
}

pub(super) async fn producer(stage: Arc<Stage>, (number, life): (u8, u64), world: World) {
    let start = |retries: u32, group: &str| {
        let mut config = Stage::client_config(number, life);
        config.instance_name = Some(format!("{group}-{number}-{life}"));
        let builder = Producer::builder().client_config(config).world(world.clone());
        builder.group(group).retries(retries).start()
    };
    let (once, again) = futures_util::join!(start(0, "once"), start(2, "again"));
    let (once, again) = (once.expect("settings are right"), again.expect("settings are right"));
    let sender = usize::from(number) * 1_000 + usize::try_from(life).unwrap_or(0) * 10;
    futures_util::join!(
        send(&stage, &once, (sender, ORDERS), &world),
        send(&stage, &once, (sender + 1, ORDERS), &world),
        send(&stage, &again, (sender + 2, BILLS), &world),
    );
}

/// Sends one message after the other.
async fn send(stage: &Stage, producer: &Producer, (sender, topic): (usize, &str), world: &World) {
    let history = if topic == ORDERS { &stage.record.orders } else { &stage.record.bills };
    let pause = u64::try_from(stage.shape.pause.as_millis()).unwrap_or(1_000);
    let mut sending = stage.sending.subscribe();
    for number in 0u32.. {
        let pause = Duration::from_millis(world.entropy.below(pause));
        world.clock.sleep(pause).await;
        if sending.wait_for(|sending| *sending).await.is_err() {
            return;
        }
        let body = Bytes::from(format!("{topic} {sender} {number}"));
        let call = history.invoked(sender, body.clone());
        let outcome = match producer.send(Message::new(topic, body)).await {
            Ok(receipt) if receipt.status == SendStatus::Ok => {
                Outcome::Ok { queue: receipt.queue, offset: receipt.queue_offset.0 }
            }
            Ok(_) => Outcome::Unknown,
            Err(error) if error.kind() == ErrorKind::Timeout => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        stage.record.note(&format!("{topic} {sender} {number} {outcome:?}"));
        history.ended(call, outcome);
    }
}

fn settings(group: &str) -> PushSettings {
    PushSettings {
        consumer_group: group.to_owned(),
        consume_from_where: ConsumeFrom::FirstOffset,
        consume_thread_min: 4,
        consume_thread_max: 4,
        suspend_current_queue_time_millis: 200,
        max_reconsume_times: if group == "ledger" { -1 } else { ATTEMPTS },
        ..PushSettings::default()
    }
}

pub(super) async fn consumer(
    stage: Arc<Stage>,
    seat: Seat,
    (number, life): (u8, u64),
    world: World,
) {
    let (group, ordered) = GROUPS[seat.group];
    let chance = Arc::new(SimEntropy::new(stage.seed ^ (u64::from(number) << 8) ^ life));
    let consumer = loop {
        let mut builder = PushConsumer::builder()
            .client_config(Stage::client_config(number, life))
            .world(world.clone())
            .settings(settings(group))
            .subscribe(ORDERS, "*");
        if group == "stock" {
            builder = builder.subscribe(BILLS, "*");
        }
        let (shared, chance, clock) =
            (Arc::clone(&stage), Arc::clone(&chance), Arc::clone(&world.clock));
        builder = if ordered {
            builder.orderly(move |messages: Messages, context: ConsumeContext| {
                let (stage, chance, clock) =
                    (Arc::clone(&shared), Arc::clone(&chance), Arc::clone(&clock));
                async move {
                    let call = stage.record.called(seat, context.queue(), &messages);
                    clock.sleep(work(&chance)).await;
                    let done = !chance.one_in(20);
                    call.answers(done);
                    if done { OrderlyOutcome::Success } else { OrderlyOutcome::suspend() }
                }
            })
        } else {
            builder.listener(move |messages: Messages, context: ConsumeContext| {
                let (stage, chance, clock) =
                    (Arc::clone(&shared), Arc::clone(&chance), Arc::clone(&clock));
                async move {
                    let call = stage.record.called(seat, context.queue(), &messages);
                    clock.sleep(work(&chance)).await;
                    let fails =
                        messages.iter().any(|it| it.reconsume_times < failures(group, &it.body));
                    call.answers(!fails);
                    if fails { ConsumeOutcome::later() } else { ConsumeOutcome::Success }
                }
            })
        };
        match builder.start().await {
            Ok(consumer) => break consumer,
            Err(error) => {
                stage.record.note(&format!("{seat:?} does not start: {error}"));
                world.clock.sleep(Duration::from_secs(1)).await;
            }
        }
    };
    let mut leave = std::pin::pin!(stage.left(number, life));
    loop {
        let queues: BTreeSet<_> = consumer.assignment().into_iter().collect();
        stage.record.owns(seat, Some(queues));
        tokio::select! {
            biased;
            () = &mut leave => break,
            () = world.clock.sleep(Duration::from_millis(500)) => {}
        }
    }
    consumer.shutdown(GRACE).await;
    stage.record.owns(seat, None);
}

/// How long a listener takes: mostly short, now and then long.
fn work(chance: &SimEntropy) -> Duration {
    let ms = if chance.one_in(50) { chance.place(3_000) } else { chance.place(40) };
    Duration::from_millis(ms as u64)
}

/// How often a message fails in a group.
pub(super) fn failures(group: &str, body: &Bytes) -> i32 {
    let mut hasher = DefaultHasher::new();
    (group, body).hash(&mut hasher);
    match hasher.finish() % 100 {
        0..3 if group == "audit" => i32::MAX,
        3..10 => 1,
        _ => 0,
    }
}

/// Asks brokers for the progress of all groups, again and again.
pub(super) async fn watcher(stage: Arc<Stage>, world: World) {
    let Some(reader) = stage.reader(world.clone()).await else { return };
    loop {
        world.clock.sleep(Duration::from_secs(5)).await;
        for (number, (group, _)) in GROUPS.iter().enumerate() {
            for topic in [ORDERS, BILLS] {
                if topic == BILLS && *group != "stock" {
                    continue;
                }
                let lives = stage.broker_lives();
                let Ok(progress) = reader.progress(group, topic).await else { continue };
                // Of brokers that were restarted meanwhile nothing is known.
                if lives == stage.broker_lives() {
                    for (queue, offset) in progress {
                        let life = lives.iter().map(|(_, life)| *life).sum();
                        stage.record.committed(number, &queue, life, offset);
                    }
                }
            }
        }
    }
}
