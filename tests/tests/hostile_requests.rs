//! Whatever a request says, a broker answers or closes that connection, and serves others (HI-07, HI-08,
//! HI-17, HI-19, HI-20, HI-22).

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rmq_message::batch::{self, BatchItem};
use rmq_remoting::request_code;
use rmq_tests::WORLD;
use rmq_tests::target::{TOPIC, Target, noise};
use rmq_tests::wire::Frame;

const NOT_SUPPORTED: i64 = 3;

/// Fields of all requests with a value that fits, so that a handler gets as far as the one that does
/// not. An undecided end of a transaction would get no answer, as at Apache.
const FIELDS: &str = "a=hostile b=Hostile c=TBW102 d=4 e=0 f=0 g=1 h=0 i= j=0 k=false l=1 m=false \
    n=broker-a topic=Hostile queueId=0 queueOffset=0 offset=0 consumerGroup=hostile \
    producerGroup=hostile group=hostile groupName=hostile clientID=hostile clientId=hostile \
    maxMsgNums=1 sysFlag=0 commitOffset=0 suspendTimeoutMillis=1 subscription=* subVersion=1 \
    expressionType=TAG maxMsgBytes=100 timestamp=1 boundaryType=LOWER delayLevel=0 \
    originMsgId=0 originTopic=Hostile maxReconsumeTimes=1 unitMode=false key=k maxNum=1 \
    beginTimestamp=0 endTimestamp=1 msgId=0 brokerName=hostile brokerAddr=127.0.0.1:1 \
    clusterName=hostile brokerId=0 haServerAddr=127.0.0.1:2 bodyCrc32=0 compressed=false \
    enableActingMaster=false heartbeatTimeoutMillis=1000 defaultTopic=TBW102 \
    defaultTopicQueueNums=4 readQueueNums=1 writeQueueNums=1 perm=6 \
    topicFilterType=SINGLE_TAG topicSysFlag=0 order=false attributes= bornTimestamp=1 flag=0 \
    properties= reconsumeTimes=0 batch=false isForce=false tranStateTableOffset=0 \
    commitLogOffset=0 commitOrRollback=8 fromTransactionCheck=false transactionId=0 \
    invisibleTime=1 pollTime=1 bornTime=1 initMode=0 expType=TAG exp=* extraInfo=0 \
    statsName=TOPIC_PUT_NUMS statsKey=Hostile count=1 index=0 cleanOffset=false \
    jstackEnable=false srcGroup=hostile destGroup=hostile2 offline=false compareTopic=Hostile \
    requestSource=0 setZeroIfNotFound=false committed=true lang=RUST version=513 timeBegin=0 \
    namespace=hostile value=v topicSeq=0 maxTopicNum=1 groupSeq=0 maxGroupNum=1";

/// Those of [`values`] that are also tried in one field alone.
const ALONE: [&str; 3] = ["words", "largest", "smallest"];

/// Field values that no honest client sends.
fn values() -> Vec<(&'static str, String)> {
    vec![
        ("empty", String::new()),
        ("words", "x y".to_owned()),
        ("largest", i64::MAX.to_string()),
        ("smallest", i64::MIN.to_string()),
        ("largest of 32 bits", i32::MAX.to_string()),
        ("minus one", "-1".to_owned()),
        ("path", "../../../../tmp/rmq-escaped".to_owned()),
        ("odd", "a\u{0}b\u{1}c\u{2}\u{FFFF}%".to_owned()),
        ("long", "long".repeat(5_000)),
    ]
}

fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str, close: &str| [open.repeat(50_000), close.repeat(50_000)].concat();
    vec![
        ("none", vec![]),
        ("cut", b"{".to_vec()),
        ("null", b"null".to_vec()),
        ("list", b"[[[]]]".to_vec()),
        (
            "wrong types",
            br#"{"clientID":1,"consumerDataSet":{},"mqSet":7,"offsetTable":[],"table":"x"}"#
                .to_vec(),
        ),
        (
            "wrong parts",
            br#"{"mqSet":[{"topic":null,"queueId":-9e99,"brokerName":[]}],"clientId":""}"#.to_vec(),
        ),
        ("deep lists", deep("[", "]").into()),
        ("deep objects", deep(r#"{"a":"#, "}").into()),
        ("settings", b"storePathRootDir=/tmp/rmq-escaped\nbrokerName=evil\nnonsense".to_vec()),
        ("noise", noise(300)),
    ]
}

/// What came of an attack.
#[derive(Debug, Default)]
struct Counts {
    built: usize,
    asked: usize,
    refused: usize,
    closed: usize,
}

impl Counts {
    fn add(&mut self, answer: Option<&Frame>) {
        self.asked += 1;
        self.refused += usize::from(answer.is_some_and(|answer| answer.code() != 0));
        self.closed += usize::from(answer.is_none());
    }
}

fn fitting() -> Vec<(&'static str, String)> {
    let fields = FIELDS.split_whitespace().filter_map(|field| field.split_once('='));
    fields.map(|(name, value)| (name, value.to_owned())).collect()
}

/// Every code that the victim has built, with wrong fields and bodies.
async fn attack(target: &mut Target) -> Result<Counts> {
    let fit = fitting();
    let (mut counts, mut wire) = (Counts::default(), None);
    for row in request_code::ALL {
        let first = target.provoke(&mut wire, row.code, &[], b"").await;
        let first = first.with_context(|| format!("{} without fields", row.name))?;
        if first.is_some_and(|answer| answer.code() == NOT_SUPPORTED) {
            continue;
        }
        counts.built += 1;
        for (what, value) in values() {
            let all = fit.iter().map(|(name, _)| (*name, value.clone())).collect::<Vec<_>>();
            let answer = target.provoke(&mut wire, row.code, &all, b"").await;
            let answer = answer.with_context(|| format!("{}: all fields {what}", row.name))?;
            counts.add(answer.as_ref());
            if !ALONE.contains(&what) {
                continue;
            }
            for at in 0..fit.len() {
                let mut one = fit.clone();
                one[at].1.clone_from(&value);
                let answer = target.provoke(&mut wire, row.code, &one, b"").await;
                let answer =
                    answer.with_context(|| format!("{}: {} {what}", row.name, one[at].0))?;
                counts.add(answer.as_ref());
            }
        }
        for (what, body) in bodies() {
            for fields in [vec![], fit.clone()] {
                let answer = target.provoke(&mut wire, row.code, &fields, &body).await;
                let answer = answer.with_context(|| format!("{}: body {what}", row.name))?;
                counts.add(answer.as_ref());
            }
        }
        target.cluster.expect_alive().with_context(|| format!("after {}", row.name))?;
    }
    for code in [-1, 0, 9_999, i32::MAX, i32::MIN] {
        let answer = target.provoke(&mut wire, code, &[], b"").await?;
        ensure!(answer.is_none_or(|answer| answer.code() == NOT_SUPPORTED), "unknown code {code}");
    }
    ensure!(!Path::new("/tmp/rmq-escaped").exists(), "a request chose a file");
    Ok(counts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_survives_every_request_with_wrong_fields_and_bodies() -> Result<()> {
    let mut target = Target::start().await?;
    target.cluster.create_topic("Hostile", 1).await?;
    let counts = attack(&mut target).await?;
    println!("{counts:?}");
    ensure!(counts.built > 20, "hardly anything is built: {counts:?}");
    let names = names_below(target.cluster.broker_dir(0))?;
    ensure!(!names.iter().any(|name| name.contains("rmq-escaped")), "{names:?}");
    target.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_server_survives_every_request_with_wrong_fields_and_bodies() -> Result<()> {
    let mut target = Target::start().await?;
    target.victim = target.cluster.namesrv_address();
    let counts = attack(&mut target).await?;
    println!("{counts:?}");
    ensure!(counts.built > 10, "hardly anything is built: {counts:?}");
    target.stop().await
}

/// Requests that say what they want in their body.
const WITH_BODY: [i32; 15] = [
    request_code::UPDATE_AND_CREATE_TOPIC_LIST,
    request_code::UPDATE_BROKER_CONFIG,
    request_code::HEART_BEAT,
    request_code::LOCK_BATCH_MQ,
    request_code::UNLOCK_BATCH_MQ,
    request_code::CHECK_CLIENT_CONFIG,
    request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
    request_code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST,
    request_code::QUERY_ASSIGNMENT,
    request_code::SET_MESSAGE_REQUEST_MODE,
    request_code::BATCH_ACK_MESSAGE,
    request_code::REGISTER_BROKER,
    request_code::REGISTER_TOPIC_IN_NAMESRV,
    request_code::UPDATE_NAMESRV_CONFIG,
    request_code::QUERY_DATA_VERSION,
];

/// Every code that the victim serves, with fields that fit and a body that cannot be read: those that need it are
/// refused, all are answered on the connection they came on. Returns how many were refused for it.
async fn send_unreadable_bodies(target: &mut Target) -> Result<usize> {
    let (fit, mut wire, mut refused) = (fitting(), None, 0);
    for row in request_code::ALL {
        let answer = target.provoke(&mut wire, row.code, &fit, br#"{"cut":["#).await;
        let answer = answer.with_context(|| format!("{} with a cut body", row.name))?;
        let answer = answer.with_context(|| format!("{} got no answer", row.name))?;
        if answer.code() != NOT_SUPPORTED && WITH_BODY.contains(&row.code) {
            ensure!(answer.code() != 0, "{} was content with a cut body", row.name);
            refused += 1;
        }
        target.cluster.expect_alive().with_context(|| format!("after {}", row.name))?;
    }
    target.still_serves().await?;
    Ok(refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_cannot_be_read_is_refused_and_everything_goes_on() -> Result<()> {
    let mut target = Target::start().await?;
    target.cluster.create_topic("Hostile", 1).await?;
    let by_broker = send_unreadable_bodies(&mut target).await?;
    target.victim = target.cluster.namesrv_address();
    let by_name_server = send_unreadable_bodies(&mut target).await?;
    ensure!(
        by_broker + by_name_server == WITH_BODY.len(),
        "{by_broker} codes of the broker and {by_name_server} of the name server, {} are known",
        WITH_BODY.len()
    );
    target.stop().await
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
