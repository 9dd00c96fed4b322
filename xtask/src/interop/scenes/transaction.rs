//! Transactions, and questions with replies.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Sends, Wants, await_all, await_until};
use crate::interop::stage::Stage;
use crate::interop::words::{self, Sent, expect_same};
use crate::process::Running;

const WITHIN: Duration = Duration::from_secs(90);
/// How long we watch whether something comes that should not.
const QUIET: Duration = Duration::from_secs(5);
const TOPIC: &str = "Deals";
const COUNT: usize = 40;

/// Half of the messages are committed or rolled back at once, half when the broker asks.
pub(super) fn verdicts(
    stage: &mut Stage<'_>,
    servers: Side,
    [producer, consumer]: [Side; 2],
) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let mut producing = transact(stage, producer, cluster.address(), &["--count", "40"])?;
    let sent = await_sent(&mut producing)?;
    let wants = Wants::new("deals", TOPIC);
    let consumer = stage.consume(consumer, cluster.address(), &wants)?;
    await_all(&[&consumer], &committed(&sent), WITHIN)?;
    thread::sleep(QUIET);
    expect_only_committed(&sent, consumer.got().iter().map(|got| got.body.as_str()))?;
    let asked = checked(&producing);
    for one in sent.iter().filter(|one| number(&one.body) % 4 >= 2) {
        ensure!(asked.contains(&one.body), "nobody asked about {}", one.body);
    }
    producing.stop(WITHIN);
    consumer.stop()
}

/// The same through Apache's proxy, which hands the broker's questions on.
pub(super) fn through_proxy(stage: &mut Stage<'_>) -> Result<()> {
    let cluster = stage.cluster(Side::Ours)?;
    let command =
        format!("mqadmin updateTopic -c DefaultCluster -t {TOPIC} -a +message.type=TRANSACTION");
    stage.admin(cluster.address())?.expect(&command, &["success"])?;
    let proxy = stage.proxy(cluster.address())?;
    let options = ["--topic", TOPIC, "--count", "40"];
    let mut producing = stage.play_grpc("GrpcTransact", proxy.address, &options)?;
    let sent = await_sent(&mut producing)?;
    let consumer = stage.consume_grpc(proxy.address, &Wants::new("deals", TOPIC))?;
    await_all(&[&consumer], &committed(&sent), WITHIN)?;
    // The proxy tells brokers of its producers every 20 s; only then can they ask.
    let open = || sent.iter().filter(|one| number(&one.body) % 4 >= 2);
    await_until("all questions", WITHIN, || {
        let asked = checked(&producing);
        open().all(|one| asked.contains(&one.body))
    })?;
    thread::sleep(QUIET);
    expect_only_committed(&sent, consumer.got().iter().map(|got| got.body.as_str()))
}

/// The broker is killed when half messages are stored and nothing else is known of them.
pub(super) fn killed_between(stage: &mut Stage<'_>, producer: Side) -> Result<()> {
    let name_server = stage.name_server(Side::Ours)?;
    let address = name_server.address;
    let broker = stage.broker(Side::Ours, &name_server, "broker-a")?;
    let options = ["--count", "40", "--leave-open"];
    let mut producing = transact(stage, producer, address, &options)?;
    let sent = await_sent(&mut producing)?;
    let broker = stage.restart(broker.kill(), &name_server)?;
    let consumer = stage.consume(Side::Apache, address, &Wants::new("deals", TOPIC))?;
    await_all(&[&consumer], &committed(&sent), WITHIN)?;
    // What is told when it dies may be known or not, but what was delivered stays.
    let broker = stage.restart(broker.kill(), &name_server)?;
    let odd = || sent.iter().filter(|one| number(&one.body) % 2 == 1);
    await_until("all questions", WITHIN, || {
        let asked = checked(&producing);
        odd().all(|one| asked.contains(&one.body))
    })?;
    expect_only_committed(&sent, consumer.got().iter().map(|got| got.body.as_str()))?;
    producing.stop(WITHIN);
    consumer.stop()?;
    drop(broker.stop()?);
    Ok(())
}

/// Half messages of one broker are ended at the other: ours writes them, Apache asks, and back.
pub(super) fn handed_over(stage: &mut Stage<'_>, first: Side, second: Side) -> Result<()> {
    let name_server = stage.name_server(Side::Ours)?;
    let address = name_server.address;
    let broker = stage.broker(first, &name_server, "broker-a")?;
    let store = broker.store().to_owned();
    let mut producing = transact(stage, Side::Apache, address, &["--count", "40", "--leave-open"])?;
    let open = await_sent(&mut producing)?;
    producing.kill();
    let more = ["--count", "40", "--key-prefix", "u", "--group", "others"];
    let mut producing = transact(stage, Side::Apache, address, &more)?;
    let sent = await_sent(&mut producing)?;
    producing.kill();
    // Apache notes ends some seconds late.
    thread::sleep(QUIET);
    drop(broker.stop()?);
    let broker = stage.broker_on(second, &name_server, "broker-a", &store)?;
    let consumer = stage.consume(Side::Apache, address, &Wants::new("deals", TOPIC))?;
    let mut answering = transact(stage, Side::Apache, address, &["--only-answer"])?;
    await_all(&[&consumer], &committed(&open), WITHIN)?;
    expect_only_committed(
        &open.iter().chain(&sent).cloned().collect::<Vec<_>>(),
        consumer.got().iter().map(|got| got.body.as_str()),
    )?;
    answering.stop(WITHIN);
    consumer.stop()?;
    drop(broker.stop()?);
    Ok(())
}

/// An application that polls gets everything, shared with a group or all for itself, and commits.
pub(super) fn polled(stage: &mut Stage<'_>, servers: Side) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let address = cluster.address();
    let sent = stage.produce(Side::Apache, address, &Sends::new("Polled", "one", 200))?;
    for (group, options) in [("sharing", &[][..]), ("alone", &["--assign"])] {
        let wants = Wants::new(group, "Polled").with(options);
        let consumer = stage.consume_with(Side::Ours, address, ["PushConsume", "poll"], &wants)?;
        await_all(&[&consumer], &sent, WITHIN)?;
        expect_same(&sent, &consumer.got())?;
        consumer.stop()?;
    }
    let more = stage.produce(Side::Apache, address, &Sends::new("Polled", "two", 50))?;
    let wants = Wants::new("sharing", "Polled");
    let consumer = stage.consume_with(Side::Ours, address, ["PushConsume", "poll"], &wants)?;
    await_all(&[&consumer], &more, WITHIN)?;
    expect_same(&more, &consumer.got())?;
    consumer.stop()
}

/// Every question gets its reply.
pub(super) fn replies(stage: &mut Stage<'_>, servers: Side, asker: Side) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let address = cluster.address();
    stage.admin(address)?.create_topic(cluster.broker.address, "Questions", 4)?;
    let options = ["--group", "answers", "--topic", "Questions"];
    let mut answering = stage.play(Side::Apache, ["Answer", "answer"], address, &options)?;
    answering.wait_for("READY", WITHIN, |lines| {
        lines.iter().any(|line| line.text == "READY").then_some(())
    })?;
    let options = ["--topic", "Questions", "--count", "30"];
    let mut asking = stage.play(asker, ["Request", "request"], address, &options)?;
    let status = asking.wait_end(WITHIN)?;
    let lines = asking.lines();
    let last = lines.last().map_or("nothing", |line| line.text.as_str());
    ensure!(status.success(), "{} said {last}; see {}", asking.name(), asking.log().display());
    let replies: BTreeSet<_> =
        lines.iter().filter_map(|line| line.text.strip_prefix("REPLY re:")).collect();
    ensure!(replies.len() == 30, "{} of 30 replies came", replies.len());
    answering.stop(WITHIN);
    Ok(())
}

fn transact(
    stage: &mut Stage<'_>,
    side: Side,
    name_server: SocketAddr,
    options: &[&str],
) -> Result<Running> {
    let options = [&["--topic", TOPIC][..], options].concat();
    stage.play(side, ["Transact", "transact"], name_server, &options)
}

fn await_sent(producing: &mut Running) -> Result<Vec<Sent>> {
    producing.wait_for("DONE", WITHIN, |lines| {
        lines.iter().any(|line| line.text.starts_with("DONE ")).then_some(())
    })?;
    let sent = words::sent(&producing.lines());
    ensure!(sent.len() == COUNT, "{} of {COUNT} half messages were stored", sent.len());
    Ok(sent)
}

/// Those with even numbers.
fn committed(sent: &[Sent]) -> Vec<Sent> {
    sent.iter().filter(|one| number(&one.body).is_multiple_of(2)).cloned().collect()
}

fn expect_only_committed<'a>(sent: &[Sent], got: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for body in got {
        ensure!(sent.iter().any(|one| one.body == body), "{body} was never sent");
        ensure!(number(body).is_multiple_of(2), "{body} was rolled back and delivered");
        ensure!(seen.insert(body.to_owned()), "{body} was delivered twice");
    }
    Ok(())
}

fn checked(producing: &Running) -> BTreeSet<String> {
    let lines = producing.lines();
    let asked = lines.iter().filter_map(|line| line.text.strip_prefix("CHECKED "));
    asked.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect()
}

fn number(body: &str) -> u32 {
    body.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
