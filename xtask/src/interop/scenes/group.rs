//! One group of Java and us: it must agree on who owns which queue, with Java's own arithmetic.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Consumer, Sends, Wants, await_all, await_until};
use crate::interop::stage::Stage;
use crate::interop::words;

const TOPIC: &str = "Mixed";
/// Both sides rebalance every 20 s if no message from the broker wakes them before.
const REBALANCE_WITHIN: Duration = Duration::from_secs(60);
const WITHIN: Duration = Duration::from_secs(60);

/// Who is killed in the middle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    Us,
    Java,
}

/// Two members share four queues, two and two; one is killed under load, the other takes over and nothing is lost.
pub(super) fn mixed(stage: &mut Stage<'_>, servers: Side, victim: Victim) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let name_server = cluster.address();
    stage.admin(name_server)?.create_topic(cluster.broker.address, TOPIC, 4)?;
    let wants = |instance| Wants::new("mixed", TOPIC).with(&["--instance", instance]);
    let mut ours = stage.consume(Side::Ours, name_server, &wants("ours"))?;
    let mut java = stage.consume(Side::Apache, name_server, &wants("java"))?;
    await_until("division into two and two", REBALANCE_WITHIN, || divided(&ours, &java))
        .with_context(|| owners(&ours, &java))?;
    let mut sent = stage.produce(Side::Apache, name_server, &Sends::new(TOPIC, "steady", 200))?;
    await_all(&[&ours, &java], &sent, WITHIN)?;
    ensure!(
        [&ours, &java].iter().all(|consumer| !consumer.got().is_empty()),
        "one of them got nothing"
    );

    let load = Sends::new(TOPIC, "load", 400).with(&["--pause-ms", "5"]);
    let mut producer = stage.start_producing(Side::Apache, name_server, &load)?;
    producer.wait_for("100 messages", WITHIN, |lines| {
        (words::sent(lines).len() >= 100).then_some(())
    })?;
    let (dead, alive) = match victim {
        Victim::Us => (&mut ours, &java),
        Victim::Java => (&mut java, &ours),
    };
    dead.kill();
    let status = producer.wait_end(WITHIN)?;
    ensure!(status.success(), "the producer ended with {status}; see {}", producer.log().display());
    sent.extend(words::sent(&producer.lines()));
    await_until("takeover of all four queues", REBALANCE_WITHIN, || {
        alive.assigned(TOPIC).len() == 4
    })?;
    await_all(&[&ours, &java], &sent, WITHIN)
}

fn divided(ours: &Consumer, java: &Consumer) -> bool {
    let (a, b) = (ours.assigned(TOPIC), java.assigned(TOPIC));
    a.len() == 2 && b.len() == 2 && a.is_disjoint(&b)
}

fn owners(ours: &Consumer, java: &Consumer) -> String {
    format!("we own {:?}, Java owns {:?}", ours.assigned(TOPIC), java.assigned(TOPIC))
}
