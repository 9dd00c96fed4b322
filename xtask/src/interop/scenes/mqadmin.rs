//! Apache's command line, command by command: what it does with a cluster, and what it says of it.
//!
//! A row is a command and what must be in its answer. All rows hold for Apache's servers too (that
//! is what `--control` shows), except those of [`Ends::Refused`], which this version does not serve.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::interop::house::Side;
use crate::interop::players::{Admin, Sends, Wants, await_all, await_until};
use crate::interop::stage::Stage;

const WITHIN: Duration = Duration::from_secs(60);
const TOPIC: &str = "Ops";
const GROUP: &str = "ops_group";
const MESSAGES: u32 = 40;

/// How a command ends.
enum Ends {
    /// Well, with these words.
    Well(&'static [&'static str]),
    /// Well, with these words and no `null`: a table of which every column is filled.
    Filled(&'static [&'static str]),
    /// Never by itself; it is interrupted after some seconds and has said these words.
    Never(&'static [&'static str]),
    /// With a complaint that has these words.
    Badly(&'static [&'static str]),
    /// With "not supported" where our broker answers.
    Refused,
}

use Ends::{Badly, Filled, Never, Refused, Well};

type Row = (&'static str, Ends);

/// What stands in a command for what is only known when it is given.
struct Known<'a> {
    broker: String,
    unique_id: &'a str,
    key: &'a str,
    folder: &'a Path,
}

impl Known<'_> {
    fn fill(&self, command: &str) -> String {
        command
            .replace("{b}", &self.broker)
            .replace("{id}", self.unique_id)
            .replace("{key}", self.key)
            .replace("{dir}", &self.folder.display().to_string())
    }
}

/// Plays all rows and complains of all that are wrong at once.
pub(super) fn command_line(stage: &mut Stage<'_>) -> Result<()> {
    let cluster = stage.cluster(Side::Ours)?;
    let broker = cluster.broker.address;
    stage.admin(cluster.address())?.create_topic(broker, TOPIC, 4)?;
    let sends = Sends::new(TOPIC, "ops", MESSAGES).with(&["--tag", "A"]);
    let sent = stage.produce(Side::Apache, cluster.address(), &sends)?;
    let consumer = stage.consume(Side::Apache, cluster.address(), &Wants::new(GROUP, TOPIC))?;
    await_all(&[&consumer], &sent, WITHIN)?;
    // Keeps a producer's connection and the rates alive.
    let trickle = Sends::new(TOPIC, "more", 100_000).with(&["--pause-ms", "500"]);
    let _producer = stage.start_producing(Side::Apache, cluster.address(), &trickle)?;

    let folder = stage.dressing_room("lists")?;
    fs::write(
        folder.join("topics.json"),
        r#"[{"topicName":"Listed1","readQueueNums":2,"writeQueueNums":2,"perm":6},
            {"topicName":"Listed2","readQueueNums":2,"writeQueueNums":2,"perm":6}]"#,
    )?;
    fs::write(
        folder.join("groups.json"),
        r#"[{"groupName":"listed_group1"},{"groupName":"listed_group2"}]"#,
    )?;
    let first = sent.iter().find(|sent| sent.place == (0, 0)).context("queue 0 is empty")?;
    let known = Known {
        broker: broker.to_string(),
        unique_id: &first.id,
        key: &first.body,
        folder: &folder,
    };
    let mut admin = stage.admin(cluster.address())?;
    // Progress is reported every five seconds; rates are known after two samples.
    await_until("progress and rates", WITHIN, || {
        let told = admin.ask(&known.fill("mqadmin statsAll -t Ops")).unwrap_or_default();
        told.iter().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.first() == Some(&"|")
                && words.get(1) == Some(&TOPIC)
                && words.get(4).is_some_and(|rate| *rate != "0.00")
                && words.get(5).is_some_and(|rate| *rate != "0.00")
        })
    })?;
    let ours = stage.house.cast(Side::Ours) == Side::Ours;
    let mut wrong = Vec::new();
    let mut played = 0;
    for (command, ends) in TABLES.iter().copied().flatten() {
        if matches!(ends, Refused) && !ours {
            continue;
        }
        played += 1;
        if let Err(error) = play(&mut admin, &known, command, ends) {
            wrong.push(format!("{error:#}"));
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} of {played} commands went wrong\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    consumer.stop()
}

fn play(admin: &mut Admin, known: &Known<'_>, command: &str, ends: &Ends) -> Result<()> {
    let command = known.fill(command);
    let verb = if matches!(ends, Never(_)) { "mqadminFor 5" } else { "mqadmin" };
    let outcome = admin.ask(&format!("{verb} {command}"));
    let (well, words): (bool, &[&str]) = match ends {
        Well(words) | Filled(words) | Never(words) => (true, words),
        Badly(words) => (false, words),
        Refused => (false, &["not supported: "]),
    };
    let told = match outcome {
        Ok(lines) => {
            let text = lines.join("\n");
            ensure!(well, "`{command}` should have been refused:\n{text}");
            text
        }
        Err(error) if well => return Err(error),
        Err(error) => format!("{error:#}"),
    };
    for word in words.iter().map(|word| known.fill(word)) {
        ensure!(told.contains(&word), "`{command}` does not tell `{word}`:\n{told}");
    }
    if matches!(ends, Filled(_)) {
        ensure!(!told.contains("null"), "`{command}` has an empty column:\n{told}");
    }
    Ok(())
}

const TABLES: &[&[Row]] = &[TOPICS, GROUPS, MESSAGES_OF_IT, BROKER, NAME_SERVER, PROGRESS, LAST];

const TOPICS: &[Row] = &[
    ("clusterList", Filled(&["DefaultCluster", "broker-a", "{b}", "V5_5_0", "true"])),
    ("clusterList -m", Filled(&["broker-a"])),
    ("topicList", Well(&["Ops", "TBW102", "%RETRY%ops_group"])),
    ("topicList -c", Filled(&["DefaultCluster", "Ops", "ops_group"])),
    ("topicRoute -t Ops", Well(&["\"brokerName\":\"broker-a\"", "\"writeQueueNums\":4"])),
    ("topicRoute -t Ops -l", Filled(&["DefaultCluster", "broker-a"])),
    ("topicStatus -t Ops", Filled(&["broker-a", "#Max Offset"])),
    ("topicClusterList -t Ops", Well(&["DefaultCluster"])),
    ("allocateMQ -t Ops -i 10.0.0.1,10.0.0.2", Well(&["10.0.0.2", "broker-a"])),
    ("updateTopic -b {b} -t Made -r 3 -w 3", Well(&["success", "writeQueueNums=3"])),
    ("updateTopic -c DefaultCluster -t Ordered -r 3 -w 3 -o true", Well(&["success"])),
    ("updateTopic -b {b} -t Typed -r 3 -w 3 -a +message.type=FIFO", Well(&["success"])),
    ("updateTopic -b {b} -t TBW102 -r 3 -w 3", Badly(&["conflict with system topic"])),
    ("updateTopicPerm -b {b} -t Made -p 4", Well(&["success"])),
    ("updateTopicPerm -c DefaultCluster -t Made -p 6", Well(&["success"])),
    ("topicRoute -t Made", Well(&["\"perm\":6", "\"readQueueNums\":3"])),
    ("updateOrderConf -t Made -m put -v broker-a:3", Well(&["success"])),
    ("updateOrderConf -t Made -m get", Well(&["broker-a:3"])),
    ("updateOrderConf -t Made -m delete", Well(&["success"])),
    ("updateTopicList -b {b} -f {dir}/topics.json", Well(&["success"])),
    ("topicRoute -t Listed2", Well(&["\"writeQueueNums\":2"])),
    ("updateStaticTopic -t Static -qn 4 -c DefaultCluster", Refused),
];

const GROUPS: &[Row] = &[
    ("updateSubGroup -b {b} -g made_group", Well(&["success", "made_group"])),
    ("updateSubGroup -c DefaultCluster -g made_group -r 5 -q 2", Well(&["retryMaxTimes=5"])),
    ("getConsumerConfig -g made_group", Well(&["retryMaxTimes", "=  5"])),
    ("updateSubGroupList -b {b} -f {dir}/groups.json", Well(&["success"])),
    ("getConsumerConfig -g listed_group2", Well(&["consumeEnable", "=  true"])),
    ("setConsumeMode -b {b} -t Ops -g made_group -m POP", Well(&["success", "mode[POP]"])),
    ("consumerProgress -g ops_group", Filled(&["Ops", "Consume TPS", "Consume Diff Total"])),
    ("consumerProgress", Filled(&["ops_group", "CLUSTERING"])),
    ("consumerProgress -g nobody", Badly(&["%RETRY%nobody"])),
    ("consumerStatus -g ops_group", Well(&["V5_5_0"])),
    ("consumerConnection -g ops_group", Filled(&["JAVA", "CONSUME_PASSIVELY", "Ops"])),
    ("consumerConnection -g nobody", Badly(&["CODE: 17"])),
    ("producerConnection -g interop_producer -t Ops", Well(&["JAVA"])),
    ("producer -b {b}", Well(&["interop_producer"])),
];

const MESSAGES_OF_IT: &[Row] = &[
    ("queryMsgById -t Ops -i {id}", Well(&["Keys:                [{key}]", "CONSUMED"])),
    ("queryMsgByUniqueKey -t Ops -i {id}", Well(&["Keys:                [{key}]"])),
    ("queryMsgByKey -t Ops -k {key}", Well(&["{id}"])),
    ("queryMsgByKey -t Ops -k none", Badly(&["no message"])),
    ("queryMsgByOffset -t Ops -b broker-a -i 0 -o 0", Well(&["[{key}]"])),
    ("queryMsgByOffset -t Ops -b broker-a -i 0 -o 500000", Well(&[])),
    ("queryMsgTraceById -i {id}", Badly(&["RMQ_SYS_TRACE_TOPIC"])),
    ("printMsg -t Ops", Well(&["BODY: ops-0", "BODY: ops-39"])),
    ("printMsgByQueue -t Ops -a broker-a -i 0 -p true -d true", Well(&["BODY: ops-"])),
    ("consumeMessage -t Ops -b broker-a -i 0 -o 0 -c 2", Well(&["Consume ok"])),
    ("sendMessage -t Ops -p hello -k hello -c tagH", Well(&["SEND_OK"])),
    ("checkMsgSendRT -t Ops -a 3 -s 10", Well(&["true", "Avg RT"])),
    ("sendMsgStatus -b broker-a -s 100 -c 2", Well(&["SEND_OK"])),
    ("queryCq -t Ops -q 0 -i 0 -c 3 -b {b}", Well(&["physicOffset=", "tagsCode=65"])),
    ("queryCq -t Ops -q 0 -i 0 -c 3 -b {b} -g ops_group", Well(&["\"subString\":\"*\""])),
    ("queryCq -t Nowhere -q 0 -i 0 -c 3 -b {b}", Badly(&["is not exist!"])),
];

const BROKER: &[Row] = &[
    (
        "brokerStatus -b {b}",
        Well(&[
            "putTps",
            "msgPutTotalTodayNow",
            "sendThreadPoolQueueCapacity",
            "commitLogDirCapacity",
            "Total : ",
        ]),
    ),
    ("brokerStatus -c DefaultCluster", Well(&["runtime", "[ 0 days"])),
    ("brokerConsumeStats -b {b}", Filled(&["ops_group", "Diff Total"])),
    ("clusterRT -a 1 -s 10 -c DefaultCluster -p false", Never(&["DefaultCluster", "broker-a"])),
    ("statsAll", Filled(&["Ops", "ops_group", "NO_CONSUMER"])),
    ("statsAll -a", Filled(&["Ops", "ops_group"])),
    (
        "getBrokerConfig -b {b}",
        Well(&["brokerClusterName", "fileReservedTime", "mappedFileSizeCommitLog", "brokerRole"]),
    ),
    ("updateBrokerConfig -b {b} -k autoCreateTopicEnable -v false", Well(&["success"])),
    ("updateBrokerConfig -c DefaultCluster -k autoCreateTopicEnable -v true", Well(&["success"])),
    ("updateBrokerConfig -b {b} -k brokerConfigPath -v /x", Badly(&["black list"])),
    // With `-d false` Apache's tool asks the broker for nothing.
    ("exportPopRecord -b {b}", Well(&["brokerName=broker-a", "dryRun=false"])),
    ("cleanExpiredCQ -b {b}", Well(&["success"])),
    ("cleanExpiredCQ -c DefaultCluster", Well(&["success"])),
    ("deleteExpiredCommitLog -b {b}", Well(&["success"])),
    ("cleanUnusedTopic -b {b}", Well(&["success"])),
    ("resetMasterFlushOffset -b {b} -o 0", Well(&["success"])),
    ("haStatus -b {b}", Filled(&["#MasterAddr", "{b}", "#SlaveNum\t0"])),
    ("haStatus -c DefaultCluster", Filled(&["#MasterCommitLogMaxOffset"])),
    ("switchTimerEngine -b {b} -e R", Badly(&["CODE: 29"])),
    ("switchTimerEngine -b {b} -e F", Well(&["FILE_TIME_WHEEL success"])),
    ("addBroker -c {b} -b /x.conf", Badly(&["902 not supported"])),
    ("removeBroker -c {b} -b DefaultCluster:broker-a:0", Badly(&["903 not supported"])),
    ("exportMetadata -c DefaultCluster -f {dir}/metadata", Well(&["success"])),
    ("exportConfigs -c DefaultCluster -f {dir}/configs", Well(&["success"])),
    ("exportMetrics -c DefaultCluster -f {dir}/metrics", Well(&["success"])),
    ("updateColdDataFlowCtrGroupConfig -b {b} -g ops_group -v 10000", Well(&["success"])),
    ("getColdDataFlowCtrInfo -b {b}", Well(&["cgColdReadThreshold", "\"ops_group\":10000"])),
    ("removeColdDataFlowCtrGroupConfig -b {b} -g ops_group", Well(&["success"])),
    ("getColdDataFlowCtrInfo -c DefaultCluster", Well(&["globalColdReadThreshold"])),
    ("setCommitLogReadAheadMode -b {b} -m 0", Well(&["mode: 0"])),
    ("getBrokerEpoch -c DefaultCluster", Badly(&["this request only for controllerMode"])),
    ("checkRocksdbCqWriteProgress -c DefaultCluster", Refused),
    ("listUser -b {b}", Refused),
    ("listAcl -b {b}", Refused),
    ("getBrokerLiteInfo -b {b}", Refused),
];

const NAME_SERVER: &[Row] = &[
    ("updateKvConfig -s ns1 -k k1 -v v1", Well(&["success"])),
    ("deleteKvConfig -s ns1 -k k1", Well(&["success"])),
    ("wipeWritePerm -b broker-a", Well(&["wipe write perm of broker[broker-a]", "OK"])),
    ("topicRoute -t Ops", Well(&["\"perm\":4"])),
    ("addWritePerm -b broker-a", Well(&["add write perm of broker[broker-a]", "OK"])),
    ("topicRoute -t Ops", Well(&["\"perm\":6"])),
    ("getNamesrvConfig", Well(&["orderMessageEnable", "supportActingMaster"])),
    ("updateNamesrvConfig -k orderMessageEnable -v true", Well(&["success"])),
    ("getNamesrvConfig", Well(&["orderMessageEnable                                =  true"])),
    ("updateNamesrvConfig -k kvConfigPath -v /x", Badly(&["black list"])),
    ("updateOrderConf -t Made -m put -v broker-a:3", Well(&["success"])),
    ("topicRoute -t Made", Well(&["\"orderTopicConf\":\"broker-a:3\""])),
    ("getControllerMetaData -a 127.0.0.1:1", Badly(&["127.0.0.1:1"])),
];

const PROGRESS: &[Row] = &[
    ("resetOffsetByTime -g ops_group -t Ops -s now -f true", Filled(&["broker-a"])),
    ("resetOffsetByTime -g ops_group -t Ops -s -1", Filled(&["broker-a"])),
    ("resetOffsetByTime -g nobody -t Ops -s now", Badly(&["CODE: 26"])),
    (
        "resetOffsetByTime -g ops_group -t Ops -s 0 -b {b} -q 0 -o 1",
        Well(&["reset consumer offset to 1"]),
    ),
    ("skipAccumulatedMessage -g ops_group -t Ops", Filled(&["broker-a"])),
    (
        "cloneGroupOffset -s ops_group -d listed_group1 -t Ops -o true",
        Well(&["clone group offset success"]),
    ),
];

const LAST: &[Row] = &[
    ("deleteSubGroup -b {b} -g made_group", Well(&["success"])),
    ("deleteSubGroup -c DefaultCluster -g listed_group1 -r true", Well(&["success"])),
    ("deleteTopic -c DefaultCluster -t Made", Well(&["success"])),
    ("topicRoute -t Made", Badly(&["CODE: 17"])),
    ("deleteTopic -c DefaultCluster -t Nope", Well(&["success"])),
    ("deleteTopic -c DefaultCluster -t TBW102", Badly(&["CODE: 29"])),
    // Goes on watching beside the others, so it comes last.
    ("startMonitoring", Well(&[])),
];
