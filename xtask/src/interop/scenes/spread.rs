//! Brokers of both kinds in one cluster, and name servers of both kinds above it: topics lie on both brokers, a group
//! has members of both kinds, and whoever is killed, the others go on.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::interop::house::Side::{self, Apache, Ours};
use crate::interop::players::{Admin, Consumer, Sends, Wants, await_all, await_until};
use crate::interop::stage::{Broker, NameServer, Stage, addresses};
use crate::interop::words::{self, Sent};
use crate::process::Running;

const TOPIC: &str = "Spread";
const GROUP: &str = "spread";
/// Queues of the topic on each broker.
const QUEUES: usize = 4;
const WITHIN: Duration = Duration::from_secs(90);
/// Messages of a producer, and the pause after each in ms.
type Amount = (u32, &'static str);
const SHORT: Amount = (500, "5");
/// Longer than the 30 s after which clients ask again for routes.
const LONG: Amount = (200, "200");

/// One broker of each kind under a name server of one kind; one broker is killed under load and comes back.
pub(super) fn over_both(stage: &mut Stage<'_>, above: Side, victim: Side) -> Result<()> {
    let name_server = stage.name_server(above)?;
    let [ours, apache] = both(stage, &[&name_server])?;
    let at = addresses(&[&name_server]);
    let mut admin = stage.admin(&at)?;
    let members = gather(stage, &mut admin, &at)?;
    let mut sent = Vec::new();
    for side in [Apache, Ours] {
        sent.extend(stage.produce(side, &at, &Sends::new(TOPIC, &prefix("steady", side), 100))?);
    }
    arrive(&members, &sent)?;
    let steady = stored(&mut admin)?;
    ensure!(steady.len() == 2 && steady.values().all(|count| *count > 0), "{steady:?}");

    let mut loads = load(stage, &at, "load", SHORT)?;
    let (dead, alive) = match victim {
        Ours => (ours.kill(), apache),
        Apache => (apache.kill(), ours),
    };
    sent.extend(finish(&mut loads)?);
    await_until("growth of the broker that lives", WITHIN, || {
        let now = stored(&mut admin).unwrap_or_default();
        now.get(&alive.name) > steady.get(&alive.name)
    })?;

    let back = stage.restart(dead, &name_server)?;
    let before = stored(&mut admin)?;
    for side in [Apache, Ours] {
        sent.extend(stage.produce(side, &at, &Sends::new(TOPIC, &prefix("again", side), 100))?);
    }
    arrive(&members, &sent)?;
    let after = stored(&mut admin)?;
    for (broker, count) in &after {
        ensure!(before.get(broker) < Some(count), "{broker} took nothing after the restart");
    }
    drop((alive, back));
    Ok(())
}

/// Two name servers, one of each kind; each in turn is killed under load and comes back, and clients do not notice.
pub(super) fn under_both(stage: &mut Stage<'_>) -> Result<()> {
    let mut servers = [stage.name_server(Ours)?, stage.name_server(Apache)?];
    let at = addresses(&servers.each_ref());
    let brokers = both(stage, &servers.each_ref())?;
    let mut admin = stage.admin(&at)?;
    let members = gather(stage, &mut admin, &at)?;
    let mut sent = Vec::new();
    for (turn, server) in servers.iter_mut().enumerate() {
        let mut loads = load(stage, &at, &format!("load{turn}"), LONG)?;
        server.kill();
        // Who comes now must find the one that lives; Java's producers do so with their second message.
        let newcomer = Sends::new(TOPIC, &format!("outage{turn}"), 50);
        sent.extend(stage.produce(Ours, &at, &newcomer)?);
        sent.extend(finish(&mut loads)?);
        arrive(&members, &sent)?;
        stage.restart_name_server(server)?;
        await_until("registration at the name server that is back", WITHIN, || {
            brokers.iter().all(|one| server.knows(one))
        })?;
    }
    sent.extend(finish(&mut load(stage, &at, "after", SHORT)?)?);
    arrive(&members, &sent)
}

/// Our broker and Apache's, in this order.
fn both(stage: &mut Stage<'_>, name_servers: &[&NameServer]) -> Result<[Broker; 2]> {
    let mut broker = |side, name: &str| {
        let store = stage.folder.join(format!("store-{name}"));
        stage.broker_at(side, name_servers, name, &store, "")
    };
    Ok([broker(Ours, "broker-a")?, broker(Apache, "broker-b")?])
}

/// A topic on both brokers, made by Apache's tool, and a group of both kinds that shares its queues.
fn gather(stage: &mut Stage<'_>, admin: &mut Admin, at: &str) -> Result<[Consumer; 2]> {
    let command =
        format!("mqadmin updateTopic -c DefaultCluster -t {TOPIC} -r {QUEUES} -w {QUEUES}");
    admin.expect(&command, &["success"])?;
    await_until("route over both brokers", WITHIN, || {
        let route = admin.ask(&format!("topicRoute {TOPIC}")).unwrap_or_default();
        route.iter().filter(|line| line.starts_with("QUEUES ")).count() == 2
    })?;
    let wants = |instance| Wants::new(GROUP, TOPIC).with(&["--instance", instance]);
    let java = stage.consume(Apache, at, &wants("java"))?;
    let ours = stage.consume(Ours, at, &wants("ours"))?;
    await_until("division into halves", WITHIN, || {
        let (java, ours) = (java.assigned(TOPIC), ours.assigned(TOPIC));
        java.len() == QUEUES && ours.len() == QUEUES && java.is_disjoint(&ours)
    })
    .with_context(|| {
        format!("Java owns {:?}, we own {:?}", java.assigned(TOPIC), ours.assigned(TOPIC))
    })?;
    Ok([java, ours])
}

/// Producers of both kinds in the middle of their work.
fn load(
    stage: &mut Stage<'_>,
    at: &str,
    what: &str,
    (count, pause): Amount,
) -> Result<[Running; 2]> {
    let mut start = |side| {
        let sends = Sends::new(TOPIC, &prefix(what, side), count);
        let sends = sends.with(&["--pause-ms", pause, "--timeout-ms", "15000"]);
        stage.start_producing(side, at, &sends)
    };
    let mut loads = [start(Apache)?, start(Ours)?];
    for producer in &mut loads {
        producer.wait_for("20 messages", WITHIN, |lines| {
            (words::sent(lines).len() >= 20).then_some(())
        })?;
    }
    Ok(loads)
}

/// What they have sent in the end; an error unless all of it was confirmed.
fn finish(loads: &mut [Running; 2]) -> Result<Vec<Sent>> {
    let mut sent = Vec::new();
    for producer in loads {
        let status = producer.wait_end(WITHIN)?;
        let log = producer.log().display();
        ensure!(status.success(), "{} ended with {status}; see {log}", producer.name());
        sent.extend(words::sent(&producer.lines()));
    }
    Ok(sent)
}

fn arrive(members: &[Consumer; 2], sent: &[Sent]) -> Result<()> {
    let [java, ours] = members;
    await_all(&[java, ours], sent, WITHIN)?;
    ensure!(members.iter().all(|one| !one.got().is_empty()), "one of the members got nothing");
    Ok(())
}

/// Messages of the topic on each broker.
fn stored(admin: &mut Admin) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for line in admin.ask(&format!("topicStats {TOPIC}"))? {
        let (queue, end) = line
            .strip_prefix("QUEUE ")
            .and_then(|rest| Some((rest.split(':').next()?, rest.rsplit(' ').next()?)))
            .with_context(|| format!("`{line}` tells no queue"))?;
        let (broker, end) = (queue, end.parse::<u64>()?);
        *counts.entry(broker.to_owned()).or_default() += end;
    }
    Ok(counts)
}

fn prefix(what: &str, side: Side) -> String {
    format!("{what}-{}", if side == Ours { "ours" } else { "java" })
}
