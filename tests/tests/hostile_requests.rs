//! Whatever a request says, a broker answers or closes that connection, and serves others (HI-07, HI-08,
//! HI-17, HI-19, HI-20, HI-22).

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rmq_message::batch::{self, BatchItem};
use rmq_remoting::request_code::{self, ServedBy};
use rmq_tests::WORLD;
use rmq_tests::target::{TOPIC, Target, noise};

const NOT_SUPPORTED: i64 = 3;

/// Names of fields of all requests, so that what a handler looks for is there with a wrong value.
const FIELDS: &[&str] = &[
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "n",
    "topic",
    "queueId",
    "queueOffset",
    "offset",
    "consumerGroup",
    "producerGroup",
    "group",
    "groupName",
    "clientID",
    "clientId",
    "maxMsgNums",
    "sysFlag",
    "commitOffset",
    "suspendTimeoutMillis",
    "subscription",
    "subVersion",
    "expressionType",
    "maxMsgBytes",
    "timestamp",
    "boundaryType",
    "delayLevel",
    "originMsgId",
    "originTopic",
    "maxReconsumeTimes",
    "unitMode",
    "key",
    "maxNum",
    "beginTimestamp",
    "endTimestamp",
    "msgId",
    "brokerName",
    "brokerAddr",
    "clusterName",
    "brokerId",
    "defaultTopic",
    "defaultTopicQueueNums",
    "readQueueNums",
    "writeQueueNums",
    "perm",
    "topicFilterType",
    "topicSysFlag",
    "order",
    "attributes",
    "bornTimestamp",
    "flag",
    "properties",
    "reconsumeTimes",
    "batch",
    "isForce",
    "tranStateTableOffset",
    "commitLogOffset",
    "commitOrRollback",
    "fromTransactionCheck",
    "transactionId",
    "invisibleTime",
    "pollTime",
    "bornTime",
    "initMode",
    "expType",
    "exp",
    "extraInfo",
    "statsName",
    "statsKey",
    "count",
    "index",
    "cleanOffset",
    "jstackEnable",
    "srcGroup",
    "destGroup",
    "offline",
    "compareTopic",
    "requestSource",
    "setZeroIfNotFound",
    "committed",
    "lang",
    "version",
    "timeBegin",
    "namespace",
    "epoch",
    "masterAddress",
];

/// Field values that no honest client sends.
fn values() -> Vec<(&'static str, String)> {
    vec![
        ("empty", String::new()),
        ("words", "x".to_owned()),
        ("largest", i64::MAX.to_string()),
        ("smallest", i64::MIN.to_string()),
        ("largest of 32 bits", i32::MAX.to_string()),
        ("minus one", "-1".to_owned()),
        ("path", "../../../../tmp/rmq-escaped".to_owned()),
        ("odd", "a\u{0}b\u{1}c\u{2}\u{FFFF}%".to_owned()),
        ("long", "long".repeat(5_000)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_survives_wrong_fields_and_bodies() -> Result<()> {
    let mut target = Target::start().await?;
    let root = target.cluster.broker_dir(0).to_owned();
    let mut wire = None;
    let (mut asked, mut closed, mut unsupported) = (0, 0, BTreeSet::new());
    let bodies: Vec<Vec<u8>> = vec![
        vec![],
        b"{".to_vec(),
        b"null".to_vec(),
        b"[[[]]]".to_vec(),
        br#"{"clientID":1,"consumerDataSet":{},"mqSet":7,"offsetTable":[],"table":"x"}"#.to_vec(),
        br#"{"mqSet":[{"topic":null,"queueId":-9e99,"brokerName":[]}],"clientId":""}"#.to_vec(),
        format!("{}{}", "[".repeat(50_000), "]".repeat(50_000)).into(),
        b"brokerName=evil\nstorePathRootDir=/tmp/rmq-escaped\nnonsense".to_vec(),
        noise(300),
    ];
    for row in request_code::ALL.iter().filter(|row| row.served_by != ServedBy::Nobody) {
        for (what, value) in values() {
            let fields: Vec<_> = FIELDS.iter().map(|name| (*name, value.clone())).collect();
            let answer = target.provoke(&mut wire, row.code, &fields, b"").await;
            let answer = answer.with_context(|| format!("{} with {what} fields", row.name))?;
            asked += 1;
            closed += usize::from(answer.is_none());
            if answer.is_some_and(|answer| answer.code() == NOT_SUPPORTED) {
                unsupported.insert(row.name);
                break;
            }
        }
        if unsupported.contains(row.name) {
            continue;
        }
        for (at, body) in bodies.iter().enumerate() {
            for fields in [vec![], fields_that_fit()] {
                let answer = target.provoke(&mut wire, row.code, &fields, body).await;
                let answer = answer.with_context(|| format!("{} with body {at}", row.name))?;
                asked += 1;
                closed += usize::from(answer.is_none());
            }
        }
        target.cluster.expect_alive().with_context(|| format!("after {}", row.name))?;
    }
    let built = request_code::ALL.len() - unsupported.len();
    println!(
        "{asked} malformed requests of {built} built codes, {closed} of them closed the connection"
    );
    ensure!(built > 20, "hardly any code is built: {unsupported:?}");
    for code in [-1, 0, 9_999, i32::MAX, i32::MIN] {
        let answer = target.provoke(&mut wire, code, &[], b"").await?;
        ensure!(answer.is_none_or(|answer| answer.code() == NOT_SUPPORTED), "unknown code {code}");
    }
    ensure!(!Path::new("/tmp/rmq-escaped").exists(), "a request chose a file");
    let names = names_below(&root)?;
    ensure!(!names.iter().any(|name| name.contains("rmq-escaped")), "{names:?}");
    target.stop().await
}

/// Fields with which a handler gets as far as its body.
fn fields_that_fit() -> Vec<(&'static str, String)> {
    let number = |name| (name, "0".to_owned());
    let mut fields: Vec<_> =
        ["queueId", "queueOffset", "offset", "maxMsgNums", "sysFlag", "commitOffset"]
            .into_iter()
            .map(number)
            .collect();
    for name in ["consumerGroup", "producerGroup", "group", "clientID", "clientId"] {
        fields.push((name, "hostile".to_owned()));
    }
    fields.push(("topic", "Hostile".to_owned()));
    fields
}

fn names_below(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in WORLD.disk.list(dir)? {
        if entry.is_dir {
            names.extend(names_below(&dir.join(&entry.name))?);
        }
        names.push(entry.name);
    }
    Ok(names)
}

fn send_fields(topic: &str, properties: &str, batch: bool) -> Vec<(&'static str, String)> {
    [
        ("a", "hostile"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", if batch { "true" } else { "false" }),
    ]
    .into_iter()
    .map(|(name, value)| (name, value.to_owned()))
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_messages_are_refused_whole() -> Result<()> {
    let mut target = Target::start().await?;
    let mut wire = None;
    let send = request_code::SEND_MESSAGE_V2;
    // HI-08: names that are no names.
    for topic in ["../../x", "a/b", "a\0b", "", " ", "bestеllung", "%RETRY%../x", &"t".repeat(300)]
    {
        let answer = target.provoke(&mut wire, send, &send_fields(topic, "", false), b"x").await?;
        ensure!(answer.as_ref().is_none_or(|a| a.code() != 0), "topic {topic:?}: {answer:?}");
    }
    // HI-20: properties that do not fit.
    let long = format!("A\u{1}{}\u{2}", "v".repeat(33_000));
    let answer = target.provoke(&mut wire, send, &send_fields(TOPIC, &long, false), b"x").await?;
    ensure!(answer.as_ref().is_none_or(|a| a.code() != 0), "long properties: {answer:?}");
    // Larger than a message may be.
    let large = vec![b'x'; (4 << 20) + 1];
    let answer = target.provoke(&mut wire, send, &send_fields(TOPIC, "", false), &large).await?;
    ensure!(answer.as_ref().is_none_or(|a| a.code() != 0), "large body: {answer:?}");
    target.still_serves().await?;

    // HI-19: batches that lie, cut or changed anywhere; whole, the batch is taken.
    let mut whole = Vec::new();
    for body in [b"one".as_slice(), b"two", b"three"] {
        batch::encode(&mut whole, BatchItem { flag: 0, body, properties: b"A\x011\x02" })?;
    }
    let code = request_code::SEND_BATCH_MESSAGE;
    let item = whole.len() / 3;
    for cut in (0..whole.len()).filter(|cut| !is_item_end(&whole, *cut)) {
        let fields = send_fields(TOPIC, "", true);
        let answer = target.provoke(&mut wire, code, &fields, &whole[..cut]).await?;
        ensure!(answer.as_ref().is_none_or(|a| a.code() != 0), "batch cut at {cut}: {answer:?}");
    }
    for (at, value) in [(0, 0xFF), (0, 0x7F), (3, 1), (16, 0xFF), (19, 200), (item, 0x80)] {
        let mut lying = whole.clone();
        lying[at] = value;
        let answer = target.provoke(&mut wire, code, &send_fields(TOPIC, "", true), &lying).await?;
        ensure!(answer.as_ref().is_none_or(|a| a.code() != 0), "byte {at} = {value}: {answer:?}");
    }
    target.still_serves().await?;
    let answer = target.provoke(&mut wire, code, &send_fields(TOPIC, "", true), &whole).await?;
    ensure!(answer.as_ref().is_some_and(|a| a.code() == 0), "the whole batch: {answer:?}");
    target.sent += 3;
    target.still_serves().await?;

    // HI-17 and HI-22: positions that are none.
    for offset in [i64::MIN, -1, 1, 77, 1 << 40, i64::MAX] {
        let fields = [("offset", offset.to_string())];
        let answer =
            target.provoke(&mut wire, request_code::VIEW_MESSAGE_BY_ID, &fields, b"").await?;
        ensure!(answer.as_ref().is_none_or(|a| a.code() != 0), "record at {offset}: {answer:?}");
        for (queue, count) in [("0", "32"), ("-1", "0"), ("2147483647", "2147483647"), ("0", "-5")]
        {
            let pull: Vec<_> = [
                ("consumerGroup", "hostile"),
                ("topic", TOPIC),
                ("queueId", queue),
                ("maxMsgNums", count),
                ("sysFlag", "4"),
                ("commitOffset", "-9"),
                ("suspendTimeoutMillis", "9223372036854775807"),
                ("subscription", "*"),
                ("subVersion", "0"),
                ("expressionType", "TAG"),
            ]
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .chain([("queueOffset", offset.to_string())])
            .collect();
            target
                .provoke(&mut wire, request_code::PULL_MESSAGE, &pull, b"")
                .await
                .with_context(|| format!("pull of {count} at {offset} of queue {queue}"))?;
        }
    }
    target.stop().await
}

fn is_item_end(batch_body: &[u8], cut: usize) -> bool {
    cut > 0 && batch::decode(&batch_body[..cut]).is_ok()
}
