//! Messages that wait until a moment of their own.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Consumer, Sends, Wants, await_all};
use crate::interop::stage::Stage;
use crate::interop::words::Sent;

const WITHIN: Duration = Duration::from_secs(60);
/// Time in which something that must not come would come.
const QUIET: Duration = Duration::from_secs(3);
const TOPIC: &str = "Timed";

/// Java's timed messages come after their moment; those that it took back never do.
pub(super) fn comes_and_goes(stage: &mut Stage<'_>) -> Result<()> {
    let cluster = stage.cluster(Side::Ours)?;
    let address = cluster.address();
    // A consumer that comes before its topic looks for it only every half minute.
    stage.admin(address)?.create_topic(cluster.broker.address, TOPIC, 4)?;
    let consumer = stage.consume(Side::Apache, address, &Wants::new("timed", TOPIC))?;
    let sent = send(stage, Side::Apache, address, "mixed", 4000, 4)?;
    await_all(&[&consumer], &sent, WITHIN)?;
    thread::sleep(QUIET);
    expect_later(&sent, &consumer, Duration::from_millis(4000))?;
    consumer.stop()
}

/// What waits in a store comes also when the broker of the other side has taken the store over.
pub(super) fn changes_hands(stage: &mut Stage<'_>) -> Result<()> {
    let name_server = stage.name_server(Side::Ours)?;
    let address = name_server.address;
    let broker = stage.broker(Side::Ours, &name_server, "broker-a")?;
    let store = broker.store().to_owned();
    let wants = Wants::new("timed", TOPIC);
    send(stage, Side::Apache, address, "early", 500, u32::MAX)?;
    let ours = send(stage, Side::Apache, address, "ours", 30_000, 4)?;
    // The notes are written every second.
    thread::sleep(QUIET);
    drop(broker.stop()?);

    let broker = stage.broker_on(Side::Apache, &name_server, "broker-a", &store)?;
    let consumer = stage.consume(Side::Apache, address, &wants)?;
    await_all(&[&consumer], &ours, WITHIN)?;
    let theirs = send(stage, Side::Apache, address, "theirs", 30_000, 4)?;
    thread::sleep(QUIET);
    expect_later(&ours, &consumer, Duration::from_millis(30_000))?;
    consumer.stop()?;
    drop(broker.kill());

    let broker = stage.broker_on(Side::Ours, &name_server, "broker-a", &store)?;
    let consumer = stage.consume(Side::Apache, address, &wants)?;
    await_all(&[&consumer], &theirs, WITHIN)?;
    thread::sleep(QUIET);
    expect_later(&theirs, &consumer, Duration::from_millis(30_000))?;
    consumer.stop()?;
    drop(broker.stop()?);
    Ok(())
}

fn send(
    stage: &mut Stage<'_>,
    side: Side,
    address: std::net::SocketAddr,
    prefix: &str,
    delay_ms: u32,
    recall_every: u32,
) -> Result<Vec<Sent>> {
    let (delay, every) = (delay_ms.to_string(), recall_every.min(i32::MAX as u32).to_string());
    let options = ["--delay-ms", &delay, "--recall-every", &every];
    stage.produce(side, address, &Sends::new(TOPIC, prefix, 40).driver("Timed").with(&options))
}

/// All of `sent` came once, none before its moment and none three seconds after it; nothing came of
/// the same prefix that was not sent.
fn expect_later(sent: &[Sent], consumer: &Consumer, delay: Duration) -> Result<()> {
    let prefix = sent.first().and_then(|one| one.body.split('-').next()).unwrap_or_default();
    let got = consumer.got();
    let of_prefix = got.iter().filter(|got| got.body.split('-').next() == Some(prefix));
    ensure!(
        of_prefix.clone().count() == sent.len(),
        "{} deliveries of {} messages: one came twice, or one that was taken back",
        of_prefix.count(),
        sent.len()
    );
    for got in of_prefix {
        let Some(sent) = sent.iter().find(|sent| sent.body == got.body) else {
            anyhow::bail!("{} came, although it was taken back", got.body);
        };
        let waited = got.at.duration_since(sent.at);
        // What a producer prints comes a little after the broker has taken the message.
        ensure!(
            waited + Duration::from_millis(500) > delay,
            "{} came after {waited:?} of {delay:?}",
            got.body
        );
    }
    Ok(())
}
