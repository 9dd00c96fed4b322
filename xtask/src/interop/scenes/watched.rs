//! What operators see of a group of Java and us, and do to it, with Apache's command line.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Admin, Consumer, Sends, Wants, await_all, await_until};
use crate::interop::stage::Stage;
use crate::interop::words::Sent;

const TOPIC: &str = "Watched";
const GROUP: &str = "watched";
const WITHIN: Duration = Duration::from_secs(60);

/// One group of both kinds, looked at and reset while it runs.
pub(super) fn group(stage: &mut Stage<'_>, servers: Side) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let (at, name) = (cluster.address(), cluster.broker.name.clone());
    let mut admin = stage.admin(at)?;
    admin.create_topic(cluster.broker.address, TOPIC, 4)?;
    let wants = |instance| Wants::new(GROUP, TOPIC).with(&["--instance", instance]);
    let java = stage.consume(Side::Apache, at, &wants("java"))?;
    let ours = stage.consume(Side::Ours, at, &wants("ours"))?;
    await_until("division into two and two", WITHIN, || {
        [&java, &ours].iter().all(|one| one.assigned(TOPIC).len() == 2)
    })?;
    let sent = stage.produce(Side::Ours, at, &Sends::new(TOPIC, "seen", 80))?;
    await_all(&[&java, &ours], &sent, WITHIN)?;
    // Members report their progress every five seconds.
    let is_done = |line: &String| line.split_whitespace().nth(6) == Some("0");
    await_until("full progress", WITHIN, || {
        let told = admin.ask(&format!("mqadmin consumerProgress -g {GROUP}")).unwrap_or_default();
        told.iter().filter(|line| line.contains(TOPIC) && is_done(line)).count() == 4
    })?;
    look(&mut admin, &name, &sent)?;

    admin.ask(&format!("createGroup {} watched_copy", cluster.broker.address))?;
    admin.expect(
        &format!("mqadmin cloneGroupOffset -s {GROUP} -d watched_copy -t {TOPIC} -o true"),
        &["clone group offset success"],
    )?;
    let copy = stage.consume(Side::Ours, at, &Wants::new("watched_copy", TOPIC))?;

    admin.expect(&format!("mqadmin resetOffsetByTime -g {GROUP} -t {TOPIC} -s 0"), &[&name])?;
    await_until("second delivery of all", WITHIN, || {
        sent.iter().all(|one| deliveries(&[&java, &ours], one) >= 2)
    })
    .with_context(|| format!("Java got {}, we got {}", java.got().len(), ours.got().len()))?;
    ensure!(!java.got().is_empty() && !ours.got().is_empty(), "one of them got nothing");

    // What comes after the reset arrives as before.
    let more = stage.produce(Side::Apache, at, &Sends::new(TOPIC, "more", 40))?;
    await_all(&[&java, &ours], &more, WITHIN)?;
    await_all(&[&copy], &more, WITHIN)?;
    let old = sent.iter().map(|one| deliveries(&[&copy], one)).sum::<usize>();
    ensure!(old == 0, "the copied group got {old} messages that lay before its progress");
    copy.stop()?;
    java.stop()?;
    ours.stop()
}

fn deliveries(consumers: &[&Consumer], sent: &Sent) -> usize {
    consumers.iter().flat_map(|one| one.got()).filter(|got| got.body == sent.body).count()
}

/// Everything that only looks.
fn look(admin: &mut Admin, broker: &str, sent: &[Sent]) -> Result<()> {
    let members = admin.expect(&format!("consumerConnection {GROUP}"), &[" RUST ", " JAVA "])?;
    let client = |language: &str| -> Result<String> {
        let line = members.iter().find(|line| line.contains(language));
        let id = line.and_then(|line| line.split(' ').nth(1));
        Ok(id.with_context(|| format!("no member speaks {language}"))?.to_owned())
    };
    let (ours, java) = (client(" RUST ")?, client(" JAVA ")?);
    let first = sent.first().context("nothing was sent")?;
    let (id, body) = (first.id.as_str(), first.body.as_str());
    let sections = [
        "#Consumer Properties#",
        "#Consumer Subscription#",
        "#Consumer Offset#",
        "#Consumer MQ Detail#",
        "#Consumer RT&TPS#",
        "#Consumer jstack#",
        "PROP_NAMESERVER_ADDR",
        "PROP_CONSUME_TYPE",
        "CONSUME_PASSIVELY",
        "PullMessageService",
        "RebalanceService",
        "MQClientFactoryScheduledThread",
        "ConsumeMessageThread",
    ];
    let table: &[(String, &[&str])] = &[
        (
            format!("consumerConnection -g {GROUP}"),
            &["RUST", "JAVA", "CONSUME_PASSIVELY", &ours, &java],
        ),
        (format!("consumerProgress -g {GROUP}"), &[TOPIC, broker]),
        ("consumerProgress".into(), &[GROUP, "CLUSTERING"]),
        (
            format!("consumerStatus -g {GROUP}"),
            &[&ours, &java, "Same subscription in the same group of consumer", "Rebalance OK"],
        ),
        (format!("consumerStatus -g {GROUP} -i {java} -s"), &sections),
        (format!("consumerStatus -g {GROUP} -i {ours} -s"), &sections),
        (format!("queryMsgByUniqueKey -t {TOPIC} -i {id}"), &[body]),
        (format!("consumeMessage -t {TOPIC} -b {broker} -i 0 -o 0 -c 2"), &["Consume ok", "BODY:"]),
        (format!("sendMessage -t {TOPIC} -p by_hand -k by_hand -c A"), &["SEND_OK", broker]),
    ];
    let mut complaints = Vec::new();
    for (command, fragments) in table {
        if let Err(error) = admin.expect(&format!("mqadmin {command}"), fragments) {
            complaints.push(format!("{error:#}"));
        }
    }
    // The command for this has never worked: it asks before it has connected.
    for member in [&ours, &java] {
        let question = format!("consumeDirectly {GROUP} {member} {TOPIC} {id}");
        if let Err(error) = admin.expect(&question, &["CR_SUCCESS"]) {
            complaints.push(format!("{error:#}"));
        }
    }
    ensure!(
        complaints.is_empty(),
        "{} of {} failed\n{}",
        complaints.len(),
        table.len(),
        complaints.join("\n")
    );
    Ok(())
}
