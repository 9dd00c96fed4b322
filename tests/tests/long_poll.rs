//! A consumer that finds nothing waits at the broker, and gets what comes at once (A8).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rmq_client_core::{PullCall, PullStatus};
use rmq_message::{MessageQueue, QueueOffset, Subscription, Timestamp};
use rmq_remoting::request_code;
use rmq_runtime::ClockExt;
use rmq_tests::inbox::{balanced, consumer};
use rmq_tests::requests::Requests;
use rmq_tests::wait::now;
use rmq_tests::{Client, Cluster, Inbox, WORLD};

const TOPIC: &str = "Orders";
const GRACE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_consumer_asks_seldom_and_gets_messages_at_once() -> Result<()> {
    const QUEUES: usize = 2;
    const WATCHED: Duration = Duration::from_secs(6);
    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, u32::try_from(QUEUES)?).await?;
    let (client, inbox, requests) =
        (Client::connect(&cluster.namesrv()).await?, Inbox::new(), Requests::default());
    let builder = consumer(&cluster.namesrv(), "idle", TOPIC).world(requests.watch(&WORLD));
    let consumer = builder.listener(inbox.listener("one")).start().await?;
    balanced(&[&consumer], TOPIC, &[QUEUES]).await?;
    client.send(TOPIC, "first").await?;
    inbox.wait_for(1).await?;

    let before = requests.count(request_code::PULL_MESSAGE);
    WORLD.clock.sleep(WATCHED).await;
    let idle = requests.count(request_code::PULL_MESSAGE) - before;
    // Four a minute for each queue, that of the retry topic included, would be one at most by now;
    // the pull after the first message and the first of the retry topic may fall into this time.
    println!("{idle} pulls of {} queues in {} idle seconds", QUEUES + 1, WATCHED.as_secs());
    ensure!(idle <= 2 * (QUEUES + 1), "{idle} pulls in {WATCHED:?} of nothing");

    let mut latencies = Vec::new();
    for number in 0..30 {
        let sent = now();
        client.send(TOPIC, format!("{number}")).await?;
        inbox.wait_for(number + 2).await?;
        let last = inbox.all().pop().context("nothing came")?;
        let latency = last.at.since(sent);
        ensure!(latency < Duration::from_secs(2), "message {number} took {latency:?}");
        latencies.push(latency);
    }
    latencies.sort_unstable();
    // Two queues take turns: if one of them were late, half of the messages would be.
    let [median, most, worst] = [2, 3, 4].map(|part| latencies[(latencies.len() - 1) * part / 4]);
    println!("from send to listener: median {median:?}, three of four {most:?}, worst {worst:?}");
    ensure!(most < Duration::from_millis(100), "three of four {most:?}");
    consumer.shutdown(GRACE).await;
    client.shutdown().await;
    cluster.stop().await
}

fn waiting<'a>(
    queue: &'a MessageQueue,
    subscription: &'a Subscription,
    offset: QueueOffset,
    suspend: Duration,
) -> PullCall<'a> {
    PullCall {
        group: "waiting",
        queue,
        offset,
        subscription,
        send_expression: true,
        max_messages: 32,
        max_bytes: 1 << 20,
        commit: None,
        suspend: Some(suspend),
        timeout: Duration::from_secs(30),
        broker_id: 0,
        lite: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_waits_ends_with_a_message_with_its_time_or_with_the_broker() -> Result<()> {
    let mut cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 1).await?;
    let client = Client::connect(&cluster.namesrv()).await?;
    let queue = MessageQueue::new(TOPIC, "broker-a", 0);
    let (all, paid) =
        (Subscription::all(TOPIC, Timestamp(1)), Subscription::tags(TOPIC, "paid", Timestamp(1))?);
    let brokers = client.instance().brokers();
    client.send(TOPIC, "zero").await?;
    let offset = QueueOffset(1);

    let call = waiting(&queue, &all, offset, Duration::from_secs(15));
    let (pulled, sent) = tokio::join!(brokers.pull(&call), client.send(TOPIC, "one"));
    sent?;
    let pulled = pulled?;
    ensure!(pulled.status == PullStatus::Found, "{pulled:?}");
    ensure!(pulled.messages[0].body == "one", "{pulled:?}");

    // What does not pass its filter does not wake it.
    let offset = QueueOffset(2);
    let began = now();
    let call = waiting(&queue, &paid, offset, Duration::from_secs(2));
    let (pulled, sent) = tokio::join!(brokers.pull(&call), client.send(TOPIC, "untagged"));
    sent?;
    let (pulled, took) = (pulled?, now().since(began));
    ensure!(pulled.messages.is_empty(), "{pulled:?}");
    ensure!(took >= Duration::from_secs(1), "{:?} after {took:?}", pulled.status);

    // The broker stops at once, however long the pull would wait.
    let call = waiting(&queue, &all, QueueOffset(3), Duration::from_secs(15));
    let began = now();
    let (pulled, stopped) = tokio::join!(brokers.pull(&call), cluster.stop_broker(0));
    stopped?;
    let took = now().since(began);
    ensure!(took < Duration::from_secs(10), "{:?} after {took:?}", pulled.map(|p| p.status));
    client.shutdown().await;
    cluster.stop().await
}
