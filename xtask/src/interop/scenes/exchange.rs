//! Messages go in at one end and come out at the other.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Consumer, Sends, Wants, await_all, await_until};
use crate::interop::stage::{Cluster, Stage};
use crate::interop::words::{Sent, expect_same};

const WITHIN: Duration = Duration::from_secs(40);
/// How long we watch whether something comes that should not.
const QUIET: Duration = Duration::from_secs(1);

/// Plain, asynchronous, big (so compressed) and one-way messages arrive once and from where they were put.
pub(super) fn through(
    stage: &mut Stage<'_>,
    servers: Side,
    [producer, consumer]: [Side; 2],
    binary: bool,
) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    send_and_receive(stage, cluster.address(), [producer, consumer], binary)
}

fn send_and_receive(
    stage: &mut Stage<'_>,
    name_server: SocketAddr,
    [producer, consumer]: [Side; 2],
    binary: bool,
) -> Result<()> {
    let mut sent = Vec::new();
    for (prefix, count, options) in [
        ("plain", 300, ["--body-size", "1000"].as_slice()),
        ("big", 20, &["--body-size", "20000"]),
        ("async", 300, &["--async"]),
    ] {
        sent.extend(stage.produce(
            producer,
            name_server,
            &Sends::new("Exchange", prefix, count).with(options).binary(binary),
        )?);
    }
    ensure!(sent.len() == 620, "620 messages were to be sent, {} were", sent.len());
    let consumer =
        stage.consume(consumer, name_server, &Wants::new("exchange", "Exchange").binary(binary))?;
    await_all(&[&consumer], &sent, WITHIN)?;
    // While it holds a pull: what is sent now must wake it.
    let late =
        stage.produce(producer, name_server, &Sends::new("Exchange", "late", 20).binary(binary))?;
    await_all(&[&consumer], &late, WITHIN)?;
    sent.extend(late);
    thread::sleep(QUIET);
    expect_same(&sent, &consumer.got())?;
    let oneway = stage.produce(
        producer,
        name_server,
        &Sends::new("Exchange", "oneway", 10).with(&["--oneway"]).binary(binary),
    )?;
    await_all(&[&consumer], &oneway, WITHIN)?;
    consumer.stop()
}

/// A broker of one side registers with the name server of the other; both kinds of clients find it.
pub(super) fn name_server_of_the_other(
    stage: &mut Stage<'_>,
    name_server: Side,
    broker: Side,
) -> Result<()> {
    let name_server = stage.name_server(name_server)?;
    let broker = stage.broker(broker, &name_server, "broker-a")?;
    let cluster = Cluster { broker, name_server };
    let sent = stage.produce(Side::Ours, cluster.address(), &Sends::new("Mix", "ours", 100))?;
    let java = stage.consume(Side::Apache, cluster.address(), &Wants::new("mix_java", "Mix"))?;
    let ours = stage.consume(Side::Ours, cluster.address(), &Wants::new("mix_ours", "Mix"))?;
    let more = stage.produce(Side::Apache, cluster.address(), &Sends::new("Mix", "java", 100))?;
    let all: Vec<Sent> = sent.into_iter().chain(more).collect();
    for consumer in [&java, &ours] {
        await_all(&[consumer], &all, WITHIN)?;
        expect_same(&all, &consumer.got())?;
    }
    java.stop()?;
    ours.stop()
}

/// `Aa` and `BB` have the same hash, so the broker alone cannot tell them apart.
pub(super) fn tags(stage: &mut Stage<'_>, servers: Side, consumer: Side) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let name_server = cluster.address();
    let one = stage.produce(
        Side::Apache,
        name_server,
        &Sends::new("Tags", "aa", 40).with(&["--tag", "Aa"]),
    )?;
    let other = stage.produce(
        Side::Apache,
        name_server,
        &Sends::new("Tags", "bb", 40).with(&["--tag", "BB"]),
    )?;
    let third = stage.produce(
        Side::Apache,
        name_server,
        &Sends::new("Tags", "cc", 40).with(&["--tag", "CC"]),
    )?;
    let narrow = stage.consume(
        consumer,
        name_server,
        &Wants::new("tags_one", "Tags").with(&["--expr", "Aa"]),
    )?;
    let wide = stage.consume(
        consumer,
        name_server,
        &Wants::new("tags_two", "Tags").with(&["--expr", "BB || CC"]),
    )?;
    let both: Vec<Sent> = other.into_iter().chain(third).collect();
    await_all(&[&narrow], &one, WITHIN)?;
    await_all(&[&wide], &both, WITHIN)?;
    thread::sleep(QUIET);
    expect_same(&one, &narrow.got())?;
    expect_same(&both, &wide.got())?;
    narrow.stop()?;
    wide.stop()
}

/// A consumer with a condition gets what satisfies it, and nothing else.
pub(super) fn conditions(stage: &mut Stage<'_>, servers: Side, consumer: Side) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let name_server = cluster.address();
    let mut send = |size: &str| {
        let sends = Sends::new("Sized", &format!("size{size}"), 20);
        let property = format!("size={size}");
        stage.produce(Side::Apache, name_server, &sends.with(&["--property", &property]))
    };
    let (small, medium, large) = (send("2")?, send("10")?, send("300")?);
    let condition =
        |sql: &str| Wants::new(&format!("sized_{}", sql.len()), "Sized").with(&["--sql", sql]);
    let between = stage.consume(
        consumer,
        name_server,
        &condition("size BETWEEN 3 AND 300 AND color IS NULL"),
    )?;
    let listed = stage.consume(consumer, name_server, &condition("size IN ('2', '10')"))?;
    let upper: Vec<Sent> = medium.iter().cloned().chain(large).collect();
    let lower: Vec<Sent> = small.into_iter().chain(medium).collect();
    await_all(&[&between], &upper, WITHIN)?;
    await_all(&[&listed], &lower, WITHIN)?;
    thread::sleep(QUIET);
    expect_same(&upper, &between.got())?;
    expect_same(&lower, &listed.got())?;
    between.stop()?;
    listed.stop()
}

/// Batches keep their offsets; a delayed message comes after its time and not much later.
pub(super) fn batch_and_delay(stage: &mut Stage<'_>, servers: Side) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let name_server = cluster.address();
    let batch = stage.produce(
        Side::Apache,
        name_server,
        &Sends::new("Batch", "batch", 100).with(&["--batch", "10", "--body-size", "200"]),
    )?;
    ensure!(batch.len() == 100, "100 messages were to be sent in batches, {} were", batch.len());
    let consumer = stage.consume(Side::Apache, name_server, &Wants::new("batch", "Batch"))?;
    await_all(&[&consumer], &batch, WITHIN)?;
    expect_same(&batch, &consumer.got())?;

    let delayed = stage.produce(
        Side::Apache,
        name_server,
        &Sends::new("Batch", "delay", 10).with(&["--delay-level", "3"]),
    )?;
    await_all(&[&consumer], &delayed, WITHIN)?;
    for got in consumer.got() {
        let Some(sent) = delayed.iter().find(|sent| sent.body == got.body) else { continue };
        let waited = got.at.duration_since(sent.at);
        ensure!(
            waited > Duration::from_millis(2500) && waited < Duration::from_secs(8),
            "{} came after {waited:?}, 3 s were asked for",
            got.body
        );
        ensure!(got.topic == "Batch", "a delayed message came in {}", got.topic);
    }
    consumer.stop()
}

/// Both consumers of a broadcast group get everything.
pub(super) fn broadcast(stage: &mut Stage<'_>) -> Result<()> {
    let cluster = stage.cluster(Side::Ours)?;
    let name_server = cluster.address();
    stage.admin(name_server)?.create_topic(cluster.broker.address, "Cast", 4)?;
    let wants =
        |instance| Wants::new("cast", "Cast").with(&["--broadcast", "--instance", instance]);
    let consumers: Vec<Consumer> = ["one", "two"]
        .into_iter()
        .map(|name| stage.consume(Side::Apache, name_server, &wants(name)))
        .collect::<Result<_>>()?;
    // A broadcast consumer without progress of its own begins where it finds the queues: all must be assigned first.
    await_until("assignment of all queues to both", WITHIN, || {
        consumers.iter().all(|consumer| consumer.assigned("Cast").len() == 4)
    })?;
    let sent = stage.produce(Side::Apache, name_server, &Sends::new("Cast", "cast", 100))?;
    for consumer in consumers {
        await_all(&[&consumer], &sent, WITHIN)?;
        expect_same(&sent, &consumer.got())?;
        consumer.stop()?;
    }
    Ok(())
}
