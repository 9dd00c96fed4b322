//! Pop: Java's classic client when the broker tells it to pop, and Apache's proxy with clients that speak gRPC.
//! Those are not asked to stop: they wait for their last receive first, up to half a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Consumer, Sends, Wants, await_all, await_until};
use crate::interop::stage::{Cluster, Stage};

const WITHIN: Duration = Duration::from_secs(90);
const TOPIC: &str = "Pop";
const FAILURES: usize = 3;

/// A classic consumer that leaves balancing to the broker pops; what it fails to consume comes back.
pub(super) fn classic(stage: &mut Stage<'_>) -> Result<()> {
    let cluster = stage.cluster(Side::Ours)?;
    let mut admin = stage.admin(cluster.address())?;
    admin.create_topic(cluster.broker.address, TOPIC, 4)?;
    let command =
        format!("mqadmin setConsumeMode -c DefaultCluster -t {TOPIC} -g classic -m POP -q 0");
    admin.expect(&command, &["success"])?;
    let sent = stage.produce(Side::Apache, cluster.address(), &Sends::new(TOPIC, "pop", 40))?;
    let failures = FAILURES.to_string();
    let wants =
        Wants::new("classic", TOPIC).with(&["--broker-rebalance", "--fail-first", &failures]);
    let consumer = stage.consume(Side::Apache, cluster.address(), &wants)?;
    await_until("assignment of all queues of the broker", WITHIN, || {
        consumer.assigned(TOPIC) == BTreeSet::from(["broker-a:-1".to_owned()])
    })?;
    await_all(&[&consumer], &sent, WITHIN)?;
    come_back(&consumer, FAILURES)?;
    consumer.stop()
}

/// Through the proxy: by hand with acks, refusals and other invisible times, and by push.
pub(super) fn through_proxy(stage: &mut Stage<'_>) -> Result<()> {
    let cluster = stage.cluster(Side::Ours)?;
    stage.admin(cluster.address())?.create_topic(cluster.broker.address, TOPIC, 4)?;
    let proxy = stage.proxy(cluster.address())?;
    let sent = stage.produce_grpc(proxy.address, &Sends::new(TOPIC, "grpc", 30))?;
    let failures = FAILURES.to_string();
    let by_hand = Wants::new("by_hand", TOPIC).with(&["--simple", "--invisible", "10"]);
    let by_hand = by_hand.with(&["--fail-first", &failures, "--hide-first", "2"]);
    let by_hand = stage.consume_grpc(proxy.address, &by_hand)?;
    let pushed = Wants::new("pushed", TOPIC).with(&["--fail-first", &failures]);
    let pushed = stage.consume_grpc(proxy.address, &pushed)?;
    for consumer in [&by_hand, &pushed] {
        await_all(&[consumer], &sent, WITHIN)?;
        come_back(consumer, FAILURES)?;
    }
    // A receive that waits is answered by what comes.
    let more = stage.produce_grpc(proxy.address, &Sends::new(TOPIC, "later", 5))?;
    for consumer in [&by_hand, &pushed] {
        await_all(&[consumer], &more, WITHIN)?;
    }
    Ok(())
}

/// Messages that are to come later come in time, by hand and by push.
pub(super) fn delayed(stage: &mut Stage<'_>) -> Result<()> {
    const DELAY: Duration = Duration::from_secs(4);
    let cluster = stage.cluster(Side::Ours)?;
    let command =
        format!("mqadmin updateTopic -c DefaultCluster -t {TOPIC} -a +message.type=DELAY");
    stage.admin(cluster.address())?.expect(&command, &["success"])?;
    let proxy = stage.proxy(cluster.address())?;
    let by_hand = Wants::new("by_hand", TOPIC).with(&["--simple", "--invisible", "30"]);
    let by_hand = stage.consume_grpc(proxy.address, &by_hand)?;
    let pushed = stage.consume_grpc(proxy.address, &Wants::new("pushed", TOPIC))?;
    let delay = DELAY.as_millis().to_string();
    let sends = Sends::new(TOPIC, "later", 10).with(&["--delay-ms", &delay]);
    let sent = stage.produce_grpc(proxy.address, &sends)?;
    for consumer in [&by_hand, &pushed] {
        await_all(&[consumer], &sent, WITHIN)?;
        for got in consumer.got() {
            let Some(sent) = sent.iter().find(|sent| sent.body == got.body) else { continue };
            let waited = got.at.duration_since(sent.at);
            let early = DELAY.saturating_sub(waited);
            ensure!(early < Duration::from_secs(1), "{} came after {waited:?}", got.body);
        }
    }
    Ok(())
}

/// Message groups arrive in order, also after a failure.
pub(super) fn in_order(stage: &mut Stage<'_>) -> Result<()> {
    const GROUPS: u32 = 3;
    let cluster = stage.cluster(Side::Ours)?;
    let mut admin = stage.admin(cluster.address())?;
    for command in [
        format!("updateTopic -c DefaultCluster -t {TOPIC} -r 4 -w 4 -a +message.type=FIFO"),
        "updateSubGroup -c DefaultCluster -g fifo -o true".to_owned(),
    ] {
        admin.expect(&format!("mqadmin {command}"), &["success"])?;
    }
    let proxy = stage.proxy(cluster.address())?;
    let groups = GROUPS.to_string();
    let sends = Sends::new(TOPIC, "fifo", 60).with(&["--message-groups", &groups]);
    let sent = stage.produce_grpc(proxy.address, &sends)?;
    let wants = Wants::new("fifo", TOPIC).with(&["--fail-first", "1"]);
    let consumer = stage.consume_grpc(proxy.address, &wants)?;
    await_all(&[&consumer], &sent, WITHIN)?;
    let mut last = BTreeMap::<u32, u32>::new();
    for got in consumer.got() {
        let number = got.body.rsplit('-').next().and_then(|text| text.parse().ok());
        let number: u32 = number.unwrap_or_default();
        let before = last.insert(number % GROUPS, number);
        ensure!(
            before.is_none_or(|before| number == before + GROUPS || number == before),
            "{} came after {before:?}",
            got.body
        );
    }
    Ok(())
}

/// A priority is a queue, and higher ones are popped first.
pub(super) fn by_priority(stage: &mut Stage<'_>) -> Result<()> {
    const PRIORITIES: i32 = 4;
    let cluster = stage.cluster(Side::Ours)?;
    let mut admin = stage.admin(cluster.address())?;
    for command in [
        format!("updateTopic -c DefaultCluster -t {TOPIC} -r 4 -w 4 -a +message.type=PRIORITY"),
        format!("setConsumeMode -c DefaultCluster -t {TOPIC} -g ranked -m POP -q 0"),
    ] {
        admin.expect(&format!("mqadmin {command}"), &["success"])?;
    }
    let sends = Sends::new(TOPIC, "priority", 40).with(&["--priorities", "4"]);
    let sent = stage.produce(Side::Apache, cluster.address(), &sends)?;
    let number = |body: &str| body.rsplit('-').next().and_then(|text| text.parse::<i32>().ok());
    for one in &sent {
        let wanted = number(&one.body).map(|number| number % PRIORITIES);
        ensure!(wanted == Some(one.place.0), "{} lies at {:?}", one.body, one.place);
    }
    let wants = Wants::new("ranked", TOPIC).with(&["--broker-rebalance", "--threads", "1"]);
    let consumer = stage.consume(Side::Apache, cluster.address(), &wants)?;
    await_all(&[&consumer], &sent, WITHIN)?;
    let priorities = consumer.got().into_iter().filter_map(|got| number(&got.body));
    let order: Vec<_> = priorities.map(|number| number % PRIORITIES).collect();
    ensure!(order.is_sorted_by(|a, b| a >= b), "priorities came as {order:?}");
    consumer.stop()
}

/// Our broker is killed while messages are popped and acknowledged; all that was confirmed arrives.
pub(super) fn killed(stage: &mut Stage<'_>) -> Result<()> {
    let Cluster { mut broker, name_server } = stage.cluster(Side::Ours)?;
    stage.admin(name_server.address)?.create_topic(broker.address, TOPIC, 4)?;
    let proxy = stage.proxy(name_server.address)?;
    let mut sent = stage.produce_grpc(proxy.address, &Sends::new(TOPIC, "before", 300))?;
    // Some are in flight whenever the broker dies: they were popped and nobody acknowledges them.
    let wants = Wants::new("survivors", TOPIC).with(&["--simple", "--invisible", "10"]);
    let consumer = stage.consume_grpc(proxy.address, &wants.with(&["--fail-first", "20"]))?;
    for round in 0..3 {
        let so_far = consumer.got().len();
        await_until("progress", WITHIN, || consumer.got().len() > so_far)?;
        broker = stage.restart(broker.kill(), &name_server)?;
        let more = Sends::new(TOPIC, &format!("round{round}"), 100);
        sent.extend(stage.produce_grpc(proxy.address, &more)?);
    }
    await_all(&[&consumer], &sent, WITHIN)?;
    let again = || consumer.got().iter().filter(|got| got.reconsumed > 0).count();
    await_until("second deliveries", WITHIN, || again() >= 20)?;
    Ok(())
}

/// So many second deliveries come, and no more.
fn come_back(consumer: &Consumer, count: usize) -> Result<()> {
    let again = || {
        let again = consumer.got().into_iter().filter(|got| got.reconsumed == 1);
        again.map(|got| got.body).collect::<BTreeSet<_>>().len()
    };
    await_until("second deliveries", WITHIN, || again() >= count)?;
    ensure!(again() == count, "{count} messages failed, {} came back", again());
    Ok(())
}
