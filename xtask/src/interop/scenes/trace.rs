//! Traces: what a producer and a consumer tell of their messages, Java's and ours, is the same but for
//! times and ids; Apache's tool finds both.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::interop::house::Side::{self, Apache, Ours};
use crate::interop::players::{Admin, Sends, Wants, await_all, await_until};
use crate::interop::stage::Stage;
use crate::interop::words::Sent;

const WITHIN: Duration = Duration::from_secs(60);
const MESSAGES: u32 = 5;
/// One of them fails at first; so there is one call of the listener more.
const CALLS: usize = 6;

/// Whose servers the clients are told to have: it decides where traces go, and how they look.
pub(super) struct Channel {
    topic: &'static str,
    options: &'static [&'static str],
    /// The fields of what is told after a call.
    after: usize,
}

/// One's own servers.
pub(super) const LOCAL: Channel =
    Channel { topic: "RMQ_SYS_TRACE_TOPIC", options: &["--trace"], after: 9 };
/// Those of a cloud, which keeps traces by region.
pub(super) const CLOUD: Channel = Channel {
    topic: "rmq_sys_TRACE_DATA_DefaultRegion",
    options: &["--trace", "--cloud"],
    after: 8,
};

/// Java and we send and consume, each their own topic, and tell of it.
pub(super) fn alike(stage: &mut Stage<'_>, servers: Side, channel: &Channel) -> Result<()> {
    let cluster = stage.cluster(servers)?;
    let (broker, name_server) = (cluster.broker.address, cluster.address());
    let mut admin = stage.admin(name_server)?;
    // The first message makes the topic: Java drops traces as long as there is no route.
    stage.produce(Apache, name_server, &Sends::new(channel.topic, "first", 1))?;
    await_until("route of traces", WITHIN, || {
        admin.ask(&format!("topicRoute {}", channel.topic)).is_ok()
    })?;
    let mut told = Vec::new();
    for (side, name) in [(Apache, "java"), (Ours, "ours")] {
        // A consumer that comes before its retry topic looks for it only every half minute.
        admin.create_topic(broker, &format!("%RETRY%{name}"), 1)?;
        admin.create_topic(broker, name, 1)?;
        let sends = Sends::new(name, name, MESSAGES).with(&["--tag", "T", "--group"]);
        // Java does not wait for traces at its end.
        let sends =
            sends.with(&[&format!("{name}_sends"), "--pause-ms", "1000"]).with(channel.options);
        let sent = stage.produce(side, name_server, &sends)?;
        let wants = Wants::new(name, name)
            .with(&["--fail-first", "1", "--threads", "1"])
            .with(channel.options);
        let consumer = stage.consume(side, name_server, &wants)?;
        await_all(&[&consumer], &sent, WITHIN)?;
        await_until("second delivery", WITHIN, || consumer.got().len() == CALLS)?;
        consumer.stop()?;
        told.push((name, sent));
    }
    let reader = stage.consume(Apache, name_server, &Wants::new("reader", channel.topic))?;
    let lines = || reader.got().iter().flat_map(|got| lines(&got.body)).collect::<Vec<_>>();
    let all = 2 * (usize::try_from(MESSAGES)? + 2 * CALLS);
    await_until("traces", WITHIN, || lines().len() >= all)?;
    let lines = lines();
    ensure!(lines.len() == all, "{} traces of {all}: {lines:#?}", lines.len());
    let alike = told.iter().map(|(name, sent)| masked(&lines, name, sent, channel));
    let alike = alike.collect::<Result<Vec<_>>>()?;
    ensure!(alike[0] == alike[1], "Java tells {:#?}\nwe tell {:#?}", alike[0], alike[1]);
    let shown = told.iter().map(|(name, sent)| shown(&mut admin, name, sent, channel));
    let shown = shown.collect::<Result<Vec<_>>>()?;
    ensure!(shown[0] == shown[1], "of Java's {:#?}\nof ours {:#?}", shown[0], shown[1]);
    reader.stop()
}

/// The lines of a message of traces, each with its fields.
fn lines(body: &str) -> Vec<Vec<String>> {
    let lines = body.split_terminator('\u{2}').filter(|line| line.contains('\u{1}'));
    lines.map(|line| line.split('\u{1}').map(str::to_owned).collect()).collect()
}

/// What was told of one side's messages, without what differs from one run to the next, and how often.
fn masked(
    lines: &[Vec<String>],
    name: &str,
    sent: &[Sent],
    channel: &Channel,
) -> Result<BTreeMap<String, usize>> {
    let id = |line: &Vec<String>| {
        let at = [("Pub", 5), ("SubBefore", 5), ("SubAfter", 2)];
        let (_, at) = at.iter().find(|(kind, _)| line[0] == *kind)?;
        sent.iter().find(|one| line.get(*at) == Some(&one.id))
    };
    let mut found = BTreeMap::new();
    for line in lines.iter().filter(|line| id(line).is_some()) {
        let (fields, differ): (usize, &[usize]) = match line[0].as_str() {
            // Time, id, milliseconds, id of the place.
            "Pub" => (14, &[1, 5, 10, 12]),
            // Time, id of the call, id.
            "SubBefore" => (8, &[1, 4, 5]),
            // Id of the call, id, milliseconds, time.
            _ => (channel.after, &[1, 2, 3, 7]),
        };
        ensure!(line.len() == fields, "{} fields of {fields}: {line:?}", line.len());
        let mut line = line.clone();
        for at in differ {
            let field = line.get_mut(*at).context("no such field")?;
            *field = field.chars().map(|_| '-').take(usize::from(!field.is_empty())).collect();
        }
        *found.entry(line.join("|").replace(name, "NAME")).or_default() += 1;
    }
    Ok(found)
}

/// What Apache's tool shows of one side's first message, which failed and came again: the words that are no numbers.
fn shown(admin: &mut Admin, name: &str, sent: &[Sent], channel: &Channel) -> Result<Vec<String>> {
    let first = sent.first().context("nothing was sent")?;
    let question = format!("mqadmin queryMsgTraceById -t {} -i {}", channel.topic, first.id);
    let answer =
        admin.expect(&question, &["Pub", &format!("{name}_sends"), "success", "failed"])?;
    let is_word = |word: &&str| !word.starts_with(|first: char| first.is_ascii_digit());
    let line = |line: &String| {
        line.split_whitespace().filter(is_word).collect::<Vec<_>>().join(" ").replace(name, "NAME")
    };
    Ok(answer.iter().map(line).collect())
}
