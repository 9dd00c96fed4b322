//! What a consumer fails to consume: it comes back, later or at once.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Sends, Wants, await_all, await_until};
use crate::interop::stage::Stage;
use crate::interop::words::expect_in_order;

const WITHIN: Duration = Duration::from_secs(40);
const FAILURES: usize = 3;

/// Three of twenty messages fail at first and come back, counted, under their own topic.
pub(super) fn comes_back(stage: &mut Stage<'_>, servers: Side, consumer: Side) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    // A consumer that comes before its retry topic looks for it only every half minute.
    stage.admin(cluster.address())?.create_topic(cluster.broker.address, "%RETRY%retry", 1)?;
    let sent = stage.produce(Side::Apache, cluster.address(), &Sends::new("Retry", "retry", 20))?;
    let consumer = stage.consume(
        consumer,
        cluster.address(),
        &Wants::new("retry", "Retry").with(&["--fail-first", &FAILURES.to_string()]),
    )?;
    await_all(&[&consumer], &sent, WITHIN)?;
    let again = || consumer.got().into_iter().filter(|got| got.reconsumed > 0).collect::<Vec<_>>();
    await_until("second deliveries", WITHIN, || again().len() >= FAILURES)?;
    let again = again();
    ensure!(again.len() == FAILURES, "{FAILURES} messages failed, {} came back", again.len());
    for got in again {
        ensure!(got.reconsumed == 1 && got.topic == "Retry", "it came back as {got:?}");
        ensure!(
            consumer.got().iter().any(|first| first.reconsumed == 0 && first.body == got.body),
            "{} had not failed",
            got.body
        );
    }
    consumer.stop()
}

/// A broker is told to have a group pop: what fails comes back, and what was acknowledged does not, also when
/// it is visible again.
pub(super) fn popped(stage: &mut Stage<'_>, servers: Side, consumer: Side) -> Result<()> {
    const HIDDEN: Duration = Duration::from_secs(5);
    const TOPIC: &str = "Popped";
    let cluster = stage.cluster(servers)?;
    let (broker, name_server) = (cluster.broker.address, cluster.address());
    let mut admin = stage.admin(name_server)?;
    admin.create_topic(broker, TOPIC, 4)?;
    let mode = format!("mqadmin setConsumeMode -b {broker} -t {TOPIC} -g pop -m POP -q 0");
    admin.expect(&format!("mqadmin updateSubGroup -b {broker} -g pop"), &["success"])?;
    admin.expect(&mode, &["success"])?;
    let sent = stage.produce(Side::Apache, name_server, &Sends::new(TOPIC, "pop", 20))?;
    let (failures, hidden) = (FAILURES.to_string(), HIDDEN.as_millis().to_string());
    let options = ["--broker-rebalance", "--fail-first", &failures, "--invisible-ms", &hidden];
    let consumer =
        stage.consume(consumer, name_server, &Wants::new("pop", TOPIC).with(&options))?;
    await_all(&[&consumer], &sent, WITHIN)?;
    let again = || consumer.got().into_iter().filter(|got| got.reconsumed > 0).count();
    await_until("second deliveries", WITHIN, || again() >= FAILURES)?;
    // Everything that was not acknowledged would be visible again by now.
    std::thread::sleep(HIDDEN * 3);
    let (all, again) = (consumer.got().len(), again());
    ensure!(
        again == FAILURES && all == sent.len() + FAILURES,
        "{FAILURES} of {} messages failed; {all} were delivered, {again} of them not for the first time",
        sent.len()
    );
    consumer.stop()
}

/// Every queue arrives in order; a failure blocks its queue and is repeated at once.
pub(super) fn orderly(stage: &mut Stage<'_>, servers: Side, consumer: Side) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let sent =
        stage.produce(Side::Apache, cluster.address(), &Sends::new("Orderly", "order", 400))?;
    let wants = Wants::new("orderly", "Orderly").with(&[
        "--orderly",
        "--fail-first",
        &FAILURES.to_string(),
    ]);
    let consumer = stage.consume(consumer, cluster.address(), &wants)?;
    await_all(&[&consumer], &sent, WITHIN)?;
    let more =
        stage.produce(Side::Apache, cluster.address(), &Sends::new("Orderly", "later", 100))?;
    await_all(&[&consumer], &more, WITHIN)?;
    let got = consumer.got();
    expect_in_order(&got)?;
    let again = got.iter().filter(|got| got.reconsumed > 0).count();
    ensure!(again == FAILURES, "{FAILURES} deliveries failed, {again} were repeated");
    consumer.stop()
}
