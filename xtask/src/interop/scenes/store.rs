//! A store on disk changes hands, or loses its broker in the middle of the work.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Sends, Wants, await_all};
use crate::interop::stage::{Broker, Stage};
use crate::interop::words::{self, Sent, expect_same};

const WITHIN: Duration = Duration::from_secs(60);
const TOPIC: &str = "Store";

/// How the first broker leaves the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Stopped,
    Killed,
}

impl End {
    pub(super) fn of(self, broker: Broker) -> Result<Broker> {
        match self {
            Self::Stopped => broker.stop(),
            Self::Killed => Ok(broker.kill()),
        }
    }
}

/// We write, Apache reads and writes, we read all.
pub(super) fn handed_over(stage: &mut Stage<'_>, end: End) -> Result<()> {
    let name_server = stage.name_server(Side::Ours)?;
    let address = name_server.address;

    let broker = stage.broker(Side::Ours, &name_server, "broker-a")?;
    let store = broker.store().to_owned();
    let mut all = write(stage, address, "first")?;
    read(stage, address, "reader", &all, &[])?;
    drop(end.of(broker)?);

    let broker = stage.broker_on(Side::Apache, &name_server, "broker-a", &store)?;
    read(stage, address, "new_at_apache", &all, &[])?;
    // After an unclean start Apache drops the youngest index files and does not rebuild all of them.
    let old_keys: &[&str] = if end == End::Stopped { &["first-3", "second-3"] } else { &[] };
    find_by_key(stage, &broker, address, &old_keys[..old_keys.len().min(1)])?;
    let second = write(stage, address, "second")?;
    all.extend(second.iter().cloned());
    // Progress is part of the store, but a killed broker may have forgotten its last seconds.
    let known: &[Sent] = if end == End::Stopped { &all[..all.len() - second.len()] } else { &[] };
    read(stage, address, "reader", &second, known)?;
    drop(end.of(broker)?);

    let broker = stage.broker_on(Side::Ours, &name_server, "broker-a", &store)?;
    all.extend(write(stage, address, "third")?);
    read(stage, address, "new_at_ours", &all, &[])?;
    find_by_key(stage, &broker, address, &[old_keys, &["third-3"]].concat())?;
    drop(broker.stop()?);
    Ok(())
}

fn write(stage: &mut Stage<'_>, address: SocketAddr, prefix: &str) -> Result<Vec<Sent>> {
    let mut sent = stage.produce(
        Side::Apache,
        address,
        &Sends::new(TOPIC, prefix, 1500).with(&["--async", "--body-size", "1500", "--tag", "T"]),
    )?;
    sent.extend(stage.produce(
        Side::Apache,
        address,
        &Sends::new(TOPIC, &format!("{prefix}-batch"), 60).with(&["--batch", "20"]),
    )?);
    Ok(sent)
}

/// A Java consumer gets `wanted`, each once and from its place, and nothing of `unwanted`.
fn read(
    stage: &mut Stage<'_>,
    address: SocketAddr,
    group: &str,
    wanted: &[Sent],
    unwanted: &[Sent],
) -> Result<()> {
    let consumer = stage.consume(Side::Apache, address, &Wants::new(group, TOPIC))?;
    await_all(&[&consumer], wanted, WITHIN)?;
    let mut got = consumer.got();
    let unwanted: BTreeSet<&str> = unwanted.iter().map(|one| one.body.as_str()).collect();
    let again = got.iter().filter(|one| unwanted.contains(one.body.as_str())).count();
    ensure!(again == 0, "{again} messages came again, although the group had consumed them");
    let fresh: BTreeSet<&str> = wanted.iter().map(|one| one.body.as_str()).collect();
    got.retain(|one| fresh.contains(one.body.as_str()));
    expect_same(wanted, &got)?;
    consumer.stop()
}

fn find_by_key(
    stage: &mut Stage<'_>,
    broker: &Broker,
    address: SocketAddr,
    keys: &[&str],
) -> Result<()> {
    let mut admin = stage.admin(address)?;
    for key in keys {
        admin.expect(&format!("queryKey {TOPIC} {key}"), &[&format!(" {key} {key}~1500")])?;
    }
    admin.expect(&format!("topicStats {TOPIC}"), &[&format!("QUEUE {}:0 0 ", broker.name)])?;
    Ok(())
}

/// Everything that was confirmed before a kill -9, and everything after it, is delivered.
pub(super) fn killed_under_load(stage: &mut Stage<'_>) -> Result<()> {
    let name_server = stage.name_server(Side::Ours)?;
    let address = name_server.address;
    let broker = stage.broker(Side::Ours, &name_server, "broker-a")?;
    let consumer = stage.consume(Side::Apache, address, &Wants::new("load", "Load"))?;
    let mut producer = stage.start_producing(
        Side::Apache,
        address,
        &Sends::new("Load", "load", 8000).with(&["--body-size", "300"]),
    )?;
    producer.wait_for("2000 messages", WITHIN, |lines| {
        (words::sent(lines).len() >= 2000).then_some(())
    })?;
    let broker = broker.kill();
    let before = words::sent(&producer.lines()).len();
    let broker = stage.restart(broker, &name_server)?;
    producer.wait_end(Duration::from_secs(180))?;
    let sent = words::sent(&producer.lines());
    ensure!(sent.len() > before, "nothing was confirmed after the restart");
    ensure!(sent.len() > 6500, "only {} of 8000 messages were confirmed", sent.len());
    await_all(&[&consumer], &sent, WITHIN)?;
    consumer.stop()?;
    drop(broker.stop()?);
    Ok(())
}
