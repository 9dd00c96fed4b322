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

/// `mqadmin`, command by command.
pub(super) fn command_line(stage: &mut Stage<'_>) -> Result<()> {
    let (cluster, consumer, sent) = busy(stage)?;
    let (broker, name) = (cluster.broker.address, cluster.broker.name.clone());
    let first = sent
        .iter()
        .find(|sent| sent.place == (0, 0))
        .context("nothing lies at the begin of queue 0")?;
    let mut admin = stage.admin(cluster.address())?;
    let (address, key, id) = (broker.to_string(), first.body.as_str(), first.id.as_str());
    let table: &[(String, &[&str])] = &[
        ("clusterList".into(), &["DefaultCluster", &name, &address]),
        ("topicList".into(), &[TOPIC]),
        (format!("topicRoute -t {TOPIC}"), &[&name, &address]),
        (format!("topicStatus -t {TOPIC}"), &[&name]),
        (format!("updateTopic -b {address} -t FromShell -r 6 -w 6"), &["success"]),
        ("updateTopic -c DefaultCluster -t FromShell -r 8 -w 8".into(), &["success"]),
        (format!("updateSubGroup -b {address} -g from_shell"), &["success"]),
        (format!("deleteSubGroup -b {address} -g from_shell"), &["success"]),
        (format!("consumerProgress -g {GROUP}"), &[TOPIC, "Consume TPS"]),
        (format!("consumerConnection -g {GROUP}"), &["JAVA", "CONSUME_PASSIVELY"]),
        (format!("queryMsgById -t {TOPIC} -i {id}"), &[key]),
        (format!("queryMsgByUniqueKey -t {TOPIC} -i {id}"), &[key]),
        (format!("queryMsgByKey -t {TOPIC} -k {key}"), &[id]),
        (format!("queryMsgByOffset -t {TOPIC} -b {name} -i 0 -o 0"), &[key]),
        (format!("printMsg -t {TOPIC}"), &["BODY: ops-0", "BODY: ops-39"]),
        (format!("brokerStatus -b {address}"), &["msgPutTotalTodayNow"]),
        (format!("getBrokerConfig -b {address}"), &["brokerClusterName", "DefaultCluster"]),
        ("deleteTopic -c DefaultCluster -t FromShell".into(), &["success"]),
    ];
    // The consumer reports its progress every five seconds.
    await_until("consumer's progress", WITHIN, || {
        admin.expect(&format!("mqadmin consumerProgress -g {GROUP}"), &[TOPIC]).is_ok()
    })?;
    let mut complaints = Vec::new();
    for (command, fragments) in table {
        if let Err(error) = admin.expect(&format!("mqadmin {command}"), fragments) {
            complaints.push(format!("{error:#}"));
        }
    }
    ensure!(
        complaints.is_empty(),
        "{} of {} commands failed\n{}",
        complaints.len(),
        table.len(),
        complaints.join("\n")
    );
    consumer.stop()
}
