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
