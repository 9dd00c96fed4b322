//! One store directory goes back and forth between the two, ended in good order or by kill -9, while its oldest files are
//! removed. Whoever has it can read all that is in it, and it stays sound.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};

use super::store::End;
use crate::interop::house::Side;
use crate::interop::players::{Admin, Sends, Wants, await_all, await_until};
use crate::interop::stage::Stage;
use crate::interop::words::{Sent, expect_same};

const WITHIN: Duration = Duration::from_secs(90);
/// Apache looks for expired files a minute after its start.
const EXPIRED_WITHIN: Duration = Duration::from_secs(120);
const TOPIC: &str = "Relay";
const NAME: &str = "broker-a";
/// Files expire at every hour, and five days ago is long enough.
const LINES: &str =
    "deleteWhen=00;01;02;03;04;05;06;07;08;09;10;11;12;13;14;15;16;17;18;19;20;21;22;23\n";
const OLD: Duration = Duration::from_secs(5 * 24 * 3600);

/// Who has the store, and how it loses it.
const STINTS: [(Side, End); 7] = [
    (Side::Apache, End::Stopped),
    (Side::Ours, End::Killed),
    (Side::Apache, End::Killed),
    (Side::Ours, End::Stopped),
    (Side::Apache, End::Stopped),
    (Side::Ours, End::Killed),
    (Side::Apache, End::Stopped),
];

/// What must be in the store.
#[derive(Default)]
struct Contents {
    messages: Vec<Sent>,
    /// Came through a delay level: they lie where the broker has put them, perhaps more than once after a kill.
    delayed: BTreeSet<String>,
    /// Whether somebody also wants one tag only.
    tagged: bool,
    /// First offset of each queue.
    begins: BTreeMap<i32, i64>,
}

impl Contents {
    fn live(&self) -> impl DoubleEndedIterator<Item = &Sent> {
        let begin = |queue| self.begins.get(&queue).copied().unwrap_or(0);
        self.messages.iter().filter(move |one| one.place.1 >= begin(one.place.0))
    }
}

/// The same with extensions of consume queues.
pub(super) fn with_extensions(stage: &mut Stage<'_>) -> Result<()> {
    let lines = format!("{LINES}enableConsumeQueueExt=true\nmappedFileSizeConsumeQueueExt=4096\n");
    pass_on(stage, &STINTS[..4], &lines, true)
}

pub(super) fn back_and_forth(stage: &mut Stage<'_>) -> Result<()> {
    pass_on(stage, &STINTS, LINES, false)
}

fn pass_on(stage: &mut Stage<'_>, stints: &[(Side, End)], lines: &str, tagged: bool) -> Result<()> {
    let name_server = stage.name_server(Side::Ours)?;
    let store = stage.folder.join("store");
    let mut contents = Contents { tagged, ..Contents::default() };
    // Apache's recovery drops the youngest index files and fills them only in part.
    let (mut index_is_whole, mut last_end) = (true, End::Stopped);
    for (number, (side, end)) in stints.iter().copied().enumerate() {
        index_is_whole &= side == Side::Ours || last_end == End::Stopped;
        if number > 0 {
            grow_old(&store)?;
        }
        let what = || format!("stint {number}: {side:?}, after {last_end:?}");
        let broker = stage.broker_with(side, &name_server, NAME, &store, lines)?;
        let place = (name_server.address, broker.address);
        stint(stage, place, number, index_is_whole, &mut contents).with_context(what)?;
        drop(end.of(broker)?);
        expect_sound(stage, &store, index_is_whole).with_context(what)?;
        last_end = end;
    }
    Ok(())
}

/// Reads all, writes, and reads all again by every tool that operators have.
fn stint(
    stage: &mut Stage<'_>,
    (address, broker): (SocketAddr, SocketAddr),
    number: usize,
    index_is_whole: bool,
    contents: &mut Contents,
) -> Result<()> {
    let mut admin = stage.admin(address)?;
    if number > 0 {
        await_expiry(&mut admin, contents)?;
    }
    if number > 0 {
        read(stage, address, &format!("before_{number}"), contents)?;
    }
    let fresh = write(stage, address, &format!("m{number}"), contents)?;
    read(stage, address, &format!("after_{number}"), contents)?;
    if contents.tagged {
        read_tagged(stage, address, &format!("tagged_{number}"), contents)?;
    }
    let mut looked_up: Vec<&Sent> = [fresh.first(), fresh.last()].into_iter().flatten().collect();
    let (first, middle) = (contents.live().next(), contents.live().count() / 2);
    let older: Vec<&Sent> = first.into_iter().chain(contents.live().nth(middle)).collect();
    for one in &older {
        by_place(&mut admin, broker, one)?;
    }
    if index_is_whole {
        looked_up.extend(older);
    }
    for one in &looked_up {
        by_place(&mut admin, broker, one)?;
        by_key(&mut admin, one)?;
    }
    by_unique_key(&mut admin, looked_up.last().context("nothing was sent")?)
}

/// Makes the oldest file of the log as old as if nobody had written to it for days.
fn grow_old(store: &Path) -> Result<()> {
    let mut files: Vec<_> = fs::read_dir(store.join("commitlog"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let (oldest, rest) = files.split_first().context("the log has no files")?;
    ensure!(rest.len() > 1, "the log has not rolled: {files:?}");
    let file = fs::File::options().write(true).open(oldest)?;
    Ok(file.set_modified(SystemTime::now() - OLD)?)
}

/// Waits until the oldest file is gone, and notes where queues begin now.
fn await_expiry(admin: &mut Admin, contents: &mut Contents) -> Result<()> {
    let before = contents.begins.clone();
    await_until("removal of the oldest file", EXPIRED_WITHIN, || {
        let Ok(lines) = admin.ask(&format!("topicStats {TOPIC}")) else { return false };
        // QUEUE broker:queue min max
        let begins = lines.iter().filter_map(|line| {
            let mut words = line.strip_prefix("QUEUE ")?.split(' ');
            let queue = words.next()?.rsplit(':').next()?.parse().ok()?;
            Some((queue, words.next()?.parse().ok()?))
        });
        contents.begins = begins.collect();
        let moved = |(queue, begin): (&i32, &i64)| *begin > before.get(queue).copied().unwrap_or(0);
        !contents.begins.is_empty() && contents.begins.iter().all(moved)
    })
}

/// Single messages with key and tag, batches, and delayed ones; more than a file of the log.
fn write(
    stage: &mut Stage<'_>,
    address: SocketAddr,
    prefix: &str,
    contents: &mut Contents,
) -> Result<Vec<Sent>> {
    let mut send = |sends: Sends| stage.produce(Side::Apache, address, &sends);
    let single = ["--async", "--body-size", "1500", "--tag", "T"];
    let mut sent = send(Sends::new(TOPIC, prefix, 1500).with(&single))?;
    let batch = format!("{prefix}-batch");
    sent.extend(send(Sends::new(TOPIC, &batch, 60).with(&["--batch", "20", "--tag", "B"]))?);
    let later = format!("{prefix}-later");
    let delayed = send(Sends::new(TOPIC, &later, 20).with(&["--delay-level", "1"]))?;
    contents.delayed.extend(delayed.into_iter().map(|one| one.body));
    contents.messages.extend(sent.iter().cloned());
    Ok(sent)
}

/// A new group gets everything that is in the store, from its place; delayed messages too.
fn read(
    stage: &mut Stage<'_>,
    address: SocketAddr,
    group: &str,
    contents: &Contents,
) -> Result<()> {
    let consumer = stage.consume(Side::Apache, address, &Wants::new(group, TOPIC))?;
    let wanted: Vec<Sent> = contents.live().cloned().collect();
    let bodies: BTreeSet<&str> = wanted.iter().map(|one| one.body.as_str()).collect();
    let mut missing = Vec::new();
    let came = await_until("all messages", WITHIN, || {
        let got: BTreeSet<String> = consumer.got().into_iter().map(|one| one.body).collect();
        missing = bodies.iter().filter(|body| !got.contains(**body)).copied().collect();
        missing.is_empty()
    });
    came.with_context(|| format!("{} are missing, such as {:?}", missing.len(), missing.first()))?;
    // Delayed messages of this stint; older ones may have expired.
    let young: Vec<&String> =
        contents.delayed.iter().filter(|body| is_young(body, &wanted)).collect();
    await_until("delayed messages", WITHIN, || {
        let got: BTreeSet<String> = consumer.got().into_iter().map(|one| one.body).collect();
        young.iter().all(|body| got.contains(*body))
    })?;
    let mut got = consumer.got();
    consumer.stop()?;
    let known: BTreeSet<&str> = contents.messages.iter().map(|one| one.body.as_str()).collect();
    let alien = got
        .iter()
        .find(|one| !known.contains(one.body.as_str()) && !contents.delayed.contains(&one.body));
    ensure!(alien.is_none(), "{alien:?} was never sent");
    got.retain(|one| bodies.contains(one.body.as_str()));
    expect_same(&wanted, &got)
}

/// A group that wants the tag of batches gets these, and nothing else.
fn read_tagged(
    stage: &mut Stage<'_>,
    address: SocketAddr,
    group: &str,
    contents: &Contents,
) -> Result<()> {
    let wants = Wants::new(group, TOPIC).with(&["--expr", "B"]);
    let consumer = stage.consume(Side::Apache, address, &wants)?;
    let wanted: Vec<Sent> =
        contents.live().filter(|one| one.body.contains("-batch-")).cloned().collect();
    await_all(&[&consumer], &wanted, WITHIN)?;
    let got = consumer.got();
    consumer.stop()?;
    expect_same(&wanted, &got)
}

/// Whether a delayed message was sent in a stint whose first message is still there.
fn is_young(body: &str, wanted: &[Sent]) -> bool {
    body.split_once('-').is_some_and(|(stint, _)| {
        let first = format!("{stint}-0~");
        wanted.iter().any(|one| one.body.starts_with(&first))
    })
}

/// By queue and offset, and by the position in the log that this tells. The id that holds it also names the broker that
/// stored the message, which clients dial; it is replaced by the one that has the store now.
fn by_place(admin: &mut Admin, broker: SocketAddr, one: &Sent) -> Result<()> {
    let (queue, offset) = one.place;
    let question = format!("mqadmin queryMsgByOffset -t {TOPIC} -b {NAME} -i {queue} -o {offset}");
    let answer = admin.expect(&question, &[key_of(one), &one.id])?;
    let place = answer.iter().find_map(|line| line.split_once("OffsetID:").map(|(_, id)| id));
    let place = place.and_then(|id| id.trim().get(16..));
    let place = place.with_context(|| format!("no OffsetID in {answer:?}"))?;
    let id = format!("7F000001{:08X}{place}", broker.port());
    admin.expect(&format!("mqadmin queryMsgById -t {TOPIC} -i {id}"), &[key_of(one), &one.id])?;
    Ok(())
}

/// By key, as the index finds it.
fn by_key(admin: &mut Admin, one: &Sent) -> Result<()> {
    admin.expect(&format!("mqadmin queryMsgByKey -t {TOPIC} -k {}", key_of(one)), &[&one.id])?;
    Ok(())
}

/// By unique id; once in the life of a JVM, for the tool keeps the client that it has shut down.
fn by_unique_key(admin: &mut Admin, one: &Sent) -> Result<()> {
    let question = format!("mqadmin queryMsgByUniqueKey -t {TOPIC} -i {}", one.id);
    // The times that the tool takes from the id leave no room for the whole seconds of Apache's index.
    admin.expect(&format!("{question} -s 0 -e 9999999999999"), &[key_of(one)])?;
    Ok(())
}

fn key_of(one: &Sent) -> &str {
    one.body.split('~').next().unwrap_or_default()
}

/// `rmq-server store check` finds no damage, but for an index that Apache has left with gaps.
fn expect_sound(stage: &Stage<'_>, store: &Path, index_is_whole: bool) -> Result<()> {
    if stage.house.cast(Side::Ours) == Side::Apache {
        return Ok(());
    }
    let mut check = stage.house.server();
    check.args(["store", "check", "--json", "--set", "maxHashSlotNum=5000", "--set"]);
    let output = check.arg("maxIndexNum=20000").arg(store).output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let findings = report["findings"].as_array().context("no findings")?;
    let damage: Vec<_> = findings
        .iter()
        .filter(|finding| finding["severity"] != "note")
        .filter(|finding| {
            let gap =
                finding["problem"].as_str().is_some_and(|text| text.contains("keys of records"));
            index_is_whole || !gap
        })
        .collect();
    ensure!(damage.is_empty(), "the store is not sound: {damage:#?}");
    ensure!(report["counts"]["records"].as_u64() > Some(0), "the check has seen nothing");
    let units = report["counts"]["extensionUnits"].as_u64();
    ensure!(!store.join("consumequeue_ext").exists() || units > Some(0), "no unit of an extension");
    Ok(())
}
