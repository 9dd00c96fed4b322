//! What operators do, with the original's own tools.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Consumer, Sends, Wants, await_all, await_until};
use crate::interop::stage::{Cluster, Stage};
use crate::interop::words::Sent;

const WITHIN: Duration = Duration::from_secs(40);
const TOPIC: &str = "Ops";
const GROUP: &str = "ops_group";

/// A cluster with a topic of four queues, forty messages in it, and a Java consumer that got them.
fn busy(stage: &mut Stage<'_>) -> Result<(Cluster, Consumer, Vec<Sent>)> {
    let cluster = stage.cluster(Side::Ours)?;
    stage.admin(cluster.address())?.create_topic(cluster.broker.address, TOPIC, 4)?;
    let sent = stage.produce(
        Side::Apache,
        cluster.address(),
        &Sends::new(TOPIC, "ops", 40).with(&["--tag", "A"]),
    )?;
    let consumer = stage.consume(Side::Apache, cluster.address(), &Wants::new(GROUP, TOPIC))?;
    await_all(&[&consumer], &sent, WITHIN)?;
    Ok((cluster, consumer, sent))
}

/// The admin client's calls.
pub(super) fn verbs(stage: &mut Stage<'_>) -> Result<()> {
    let (cluster, consumer, sent) = busy(stage)?;
    let (broker, name) = (cluster.broker.address, cluster.broker.name.clone());
    let mut admin = stage.admin(cluster.address())?;
    let first = sent.first().context("nothing was sent")?;

    admin.expect("clusterInfo", &[&format!("BROKER DefaultCluster {name} 0 {broker}")])?;
    admin.expect(
        &format!("topicRoute {TOPIC}"),
        &[
            &format!("BROKER DefaultCluster {name} 0 {broker}"),
            &format!("QUEUES {name} read=4 write=4 perm=6"),
        ],
    )?;
    let stats = admin.expect(&format!("topicStats {TOPIC}"), &[&format!("QUEUE {name}:3 0 ")])?;
    let stored: i64 =
        stats.iter().filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok()).sum();
    ensure!(stored == 40, "topicStats counts {stored} of 40 messages");
    admin.expect(
        &format!("consumerConnection {GROUP}"),
        &[
            "CLIENT ",
            " JAVA ",
            &format!("SUBSCRIBES {TOPIC} *"),
            "MODEL CONSUME_PASSIVELY CLUSTERING",
        ],
    )?;
    // The consumer reports its progress every five seconds.
    await_until("consumer's progress", WITHIN, || {
        let told = admin.ask(&format!("consumeStats {GROUP}")).unwrap_or_default();
        let ours: Vec<&String> =
            told.iter().filter(|line| line.starts_with(&format!("OFFSET {TOPIC} "))).collect();
        ours.len() == 4 && ours.iter().all(|line| matches!(line.split(' ').collect::<Vec<_>>()[..], [.., end, done] if end == done))
    })?;
    admin.expect(&format!("viewMessage {TOPIC} {}", first.id), &[&format!(" {}", first.body)])?;
    admin.expect(
        &format!("queryKey {TOPIC} {}", first.body),
        &[&format!(" A {} {}", first.body, first.body)],
    )?;
    admin.expect(&format!("searchOffset {TOPIC} {name} 0 0"), &["AT 0"])?;
    admin.expect(
        &format!("brokerConfig {broker}"),
        &[&format!("CONFIG brokerName={name}"), &format!("CONFIG listenPort={}", broker.port())],
    )?;
    admin.expect(&format!("brokerStatus {broker}"), &["STATUS msgPutTotalTodayNow="])?;
    admin.ask("putKv interop colour green")?;
    admin.expect("getKv interop colour", &["VALUE green"])?;
    admin.ask(&format!("createGroup {broker} made_by_hand"))?;

    // Back to the beginning: the live consumer gets all forty once more.
    admin.expect(&format!("resetOffset {GROUP} {TOPIC} 0"), &[&format!("RESET {name}:3 0")])?;
    await_until("second delivery of all messages", WITHIN, || consumer.got().len() >= 80)?;
    consumer.stop()?;

    admin.create_topic(broker, "Doomed", 2)?;
    admin.ask("deleteTopic DefaultCluster Doomed")?;
    ensure!(admin.ask("topicRoute Doomed").is_err(), "a deleted topic still has a route");
    Ok(())
}

/// Every call that Apache's dashboard and exporter make, made as they make it: through the VIP
/// channel.
pub(super) fn console(stage: &mut Stage<'_>) -> Result<()> {
    let (cluster, consumer, sent) = busy(stage)?;
    let trickle = Sends::new(TOPIC, "more", 100_000).with(&["--pause-ms", "500"]);
    let _producer = stage.start_producing(Side::Apache, cluster.address(), &trickle)?;
    let (mut admin, broker) = (stage.admin(cluster.address())?, cluster.broker.address);
    let key = &sent.first().context("nothing was sent")?.body;
    // Progress and numbers of consumption come some seconds after the messages.
    await_until("progress and numbers", WITHIN, || {
        let told = admin.ask(&format!("consumeStats {GROUP}")).unwrap_or_default();
        let seen = admin.ask("mqadmin statsAll -t Ops").unwrap_or_default();
        told.iter().filter(|line| line.starts_with(&format!("OFFSET {TOPIC} "))).count() == 4
            && seen.iter().any(|line| line.contains(GROUP))
    })?;
    let told = admin.ask(&format!("console {broker} {TOPIC} {GROUP} {key}"))?;
    let right = told.iter().filter(|line| line.starts_with("RIGHT ")).count();
    ensure!(right >= 70, "only {right} calls were made");
    consumer.stop()
}
