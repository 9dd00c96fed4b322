//! A name server of ours and one of Apache's are told and asked the same; their answers must be the same.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::interop::house::Side;
use crate::interop::stage::{NameServer, Stage};
use crate::remoting::{Answer, Connection};

/// Some changes of Apache's take effect a moment after their answer.
const WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

const PUT_KV: i32 = 100;
const GET_KV: i32 = 101;
const DELETE_KV: i32 = 102;
const REGISTER: i32 = 103;
const UNREGISTER: i32 = 104;
const ROUTE: i32 = 105;
const CLUSTERS: i32 = 106;
const WIPE_WRITE: i32 = 205;
const ALL_TOPICS: i32 = 206;
const DELETE_TOPIC: i32 = 216;
const REGISTER_TOPIC: i32 = 217;
const LIST_KV: i32 = 219;
const TOPICS_OF_CLUSTER: i32 = 224;
const SYSTEM_TOPICS: i32 = 304;
const UNIT_TOPICS: i32 = 311;
const UNIT_SUB_TOPICS: i32 = 312;
const UNIT_SUB_UNUNIT_TOPICS: i32 = 313;
const UPDATE_CONFIG: i32 = 318;
const DATA_VERSION: i32 = 322;
const ADD_WRITE: i32 = 327;
const REPLICAS: i32 = 901;
const HEARTBEAT: i32 = 904;

/// Topics with and without the flags of units, some on all brokers and some on one.
const TOPICS: [(&str, i32); 5] =
    [("plain", 0), ("unit", 1), ("unit_sub", 2), ("unit_both", 3), ("ordered", 0)];

pub(super) fn alike(stage: &mut Stage<'_>) -> Result<()> {
    let servers = [stage.name_server(Side::Ours)?, stage.name_server(Side::Apache)?];
    let mut twins = Twins::open(&servers)?;
    twins.look()?;
    for index in 0..BROKERS.len() {
        twins.register(index, 1)?;
        twins.look()?;
    }
    twins.permissions()?;
    twins.topics()?;
    twins.settings()?;
    twins.nonsense()?;
    // One after the other leaves: a replica, a master, and who is not there.
    for (name, address) in [("a", "10.0.0.2:10911"), ("b", "10.0.0.3:10911"), ("b", "10.0.0.9:1")] {
        let fields = [
            ("brokerName", name),
            ("brokerAddr", address),
            ("clusterName", "DefaultCluster"),
            ("brokerId", "0"),
        ];
        twins.agree("a broker leaves", UNREGISTER, &fields, b"")?;
        twins.look()?;
    }
    // The rest goes with its connection.
    twins.brokers.clear();
    twins.look()
}

/// A broker that only says that it is one.
struct Pretender {
    name: &'static str,
    address: &'static str,
    cluster: &'static str,
    id: &'static str,
    zone: Option<&'static str>,
}

const BROKERS: [Pretender; 4] = [
    Pretender {
        name: "a",
        address: "10.0.0.1:10911",
        cluster: "DefaultCluster",
        id: "0",
        zone: Some("East"),
    },
    Pretender {
        name: "a",
        address: "10.0.0.2:10911",
        cluster: "DefaultCluster",
        id: "1",
        zone: Some("East"),
    },
    Pretender {
        name: "b",
        address: "10.0.0.3:10911",
        cluster: "DefaultCluster",
        id: "0",
        zone: Some("west"),
    },
    Pretender { name: "c", address: "10.0.0.4:10911", cluster: "Other", id: "0", zone: None },
];

/// Connections to both: as a tool, and as each broker, which is known while its connection lives.
struct Twins {
    tools: [Connection; 2],
    brokers: Vec<[Connection; 2]>,
}

fn connect(server: &NameServer) -> Result<Connection> {
    Connection::open(server.address)
}

impl Twins {
    fn open([one, other]: &[NameServer; 2]) -> Result<Self> {
        let pair = || Ok([connect(one)?, connect(other)?]);
        let brokers = BROKERS.iter().map(|_| pair()).collect::<Result<_>>()?;
        Ok(Self { tools: pair()?, brokers })
    }

    /// Both must answer alike at once.
    fn agree(&mut self, what: &str, code: i32, fields: &[(&str, &str)], body: &[u8]) -> Result<()> {
        let [ours, apache] = both(&mut self.tools, code, fields, body)?;
        ensure!(ours == apache, "{what} ({code} {fields:?}): ours {ours:?}, Apache's {apache:?}");
        Ok(())
    }

    /// Both must answer alike soon; asks that change nothing only.
    fn agree_soon(&mut self, code: i32, fields: &[(&str, &str)]) -> Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let [ours, apache] = both(&mut self.tools, code, fields, b"")?;
            if ours == apache {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{code} {fields:?}: ours {ours:?}, Apache's {apache:?}"
            );
            thread::sleep(PAUSE);
        }
    }

    /// Everything that can be asked.
    fn look(&mut self) -> Result<()> {
        for code in [
            CLUSTERS,
            ALL_TOPICS,
            SYSTEM_TOPICS,
            UNIT_TOPICS,
            UNIT_SUB_TOPICS,
            UNIT_SUB_UNUNIT_TOPICS,
        ] {
            self.agree_soon(code, &[])?;
        }
        for cluster in ["DefaultCluster", "Other", "none"] {
            self.agree_soon(TOPICS_OF_CLUSTER, &[("cluster", cluster)])?;
            for name in ["a", "b", "c", "none"] {
                let fields = [("clusterName", cluster), ("brokerName", name)];
                self.agree_soon(REPLICAS, &fields)?;
            }
        }
        for (topic, _) in TOPICS.iter().chain(&[("made", 0), ("none", 0)]) {
            self.agree_soon(ROUTE, &[("topic", *topic)])?;
            for (mode, zone) in [
                ("true", "east"),
                ("true", "WEST"),
                ("true", "none"),
                ("true", ""),
                ("false", "east"),
            ] {
                let fields = [("topic", *topic), ("__ZONE_MODE", mode), ("__ZONE_NAME", zone)];
                self.agree_soon(ROUTE, &fields)?;
            }
        }
        Ok(())
    }

    fn register(&mut self, index: usize, version: i64) -> Result<()> {
        let broker = BROKERS.get(index).context("no such broker")?;
        let connections = self.brokers.get_mut(index).context("it has left")?;
        let ha = broker.address.replace(":10911", ":10912");
        let mut fields = vec![
            ("brokerName", broker.name),
            ("brokerAddr", broker.address),
            ("clusterName", broker.cluster),
            ("haServerAddr", ha.as_str()),
            ("brokerId", broker.id),
            ("compressed", "false"),
            ("bodyCrc32", "0"),
            ("enableActingMaster", "false"),
        ];
        fields.extend(broker.zone.map(|zone| ("__ZONE_NAME", zone)));
        let table: serde_json::Map<String, Value> = TOPICS
            .iter()
            .filter(|(name, _)| broker.name == "a" || *name != "unit")
            .map(|(name, flag)| {
                let config = json!({"topicName": name, "readQueueNums": 4, "writeQueueNums": 8, "perm": 6,
                    "topicFilterType": "SINGLE_TAG", "topicSysFlag": flag, "order": false, "attributes": {}});
                ((*name).to_owned(), config)
            })
            .collect();
        let version = json!({"counter": version, "stateVersion": 0, "timestamp": 7});
        let body = json!({"filterServerList": [], "topicConfigSerializeWrapper": {
            "dataVersion": version, "topicConfigTable": table}});
        let body = body.to_string();
        let [ours, apache] = both(connections, REGISTER, &fields, body.as_bytes())?;
        ensure!(ours == apache, "{}: ours {ours:?}, Apache's {apache:?}", broker.address);
        Ok(())
    }

    /// What tools take from a broker lasts until it registers a change.
    fn permissions(&mut self) -> Result<()> {
        for code in [WIPE_WRITE, ADD_WRITE, WIPE_WRITE] {
            for name in ["a", "none"] {
                self.agree("permission", code, &[("brokerName", name)], b"")?;
            }
            self.look()?;
        }
        for version in [1, 2] {
            self.register(0, version)?;
            self.look()?;
        }
        for (address, counter) in
            [(BROKERS[0].address, 2), (BROKERS[0].address, 3), ("10.9.9.9:1", 1)]
        {
            let fields = [
                ("brokerName", "a"),
                ("brokerAddr", address),
                ("clusterName", "DefaultCluster"),
                ("brokerId", "0"),
            ];
            let version =
                json!({"counter": counter, "stateVersion": 0, "timestamp": 7}).to_string();
            self.agree("version", DATA_VERSION, &fields, version.as_bytes())?;
            self.agree("heartbeat", HEARTBEAT, &fields, b"")?;
        }
        Ok(())
    }

    fn topics(&mut self) -> Result<()> {
        for names in [&["a", "none"][..], &["a"], &["b"], &[]] {
            let row = |name| json!({"brokerName": name, "readQueueNums": 2, "writeQueueNums": 2, "perm": 6, "topicSysFlag": 0});
            let rows: Vec<_> = names.iter().map(row).collect();
            let route = json!({"queueDatas": rows, "brokerDatas": []}).to_string();
            self.agree("a new topic", REGISTER_TOPIC, &[("topic", "made")], route.as_bytes())?;
            self.look()?;
        }
        for fields in [
            &[("topic", "plain"), ("clusterName", "Other")][..],
            &[("topic", "made")],
            &[("topic", "none")],
        ] {
            self.agree("a topic goes", DELETE_TOPIC, fields, b"")?;
            self.look()?;
        }
        Ok(())
    }

    /// Ordered topics are told in routes and to brokers, once that is wanted.
    fn settings(&mut self) -> Result<()> {
        let space = ("namespace", "ORDER_TOPIC_CONFIG");
        let (key, none) = (("key", "ordered"), ("key", "none"));
        let value = ("value", "a:4;b:4");
        self.agree("ordered", PUT_KV, &[space, key, value], b"")?;
        self.register(0, 2)?;
        self.agree("ordered", UPDATE_CONFIG, &[], b"orderMessageEnable=true")?;
        self.look()?;
        for fields in [&[space, key][..], &[space, none], &[("namespace", "none"), key]] {
            self.agree("a value", GET_KV, fields, b"")?;
        }
        for namespace in ["ORDER_TOPIC_CONFIG", "none"] {
            self.agree("a namespace", LIST_KV, &[("namespace", namespace)], b"")?;
        }
        for fields in [[space, key], [space, none], [("namespace", "none"), key]] {
            self.agree("a value goes", DELETE_KV, &fields, b"")?;
        }
        self.look()?;
        self.agree("a path", UPDATE_CONFIG, &[], b"kvConfigPath=/x")
    }

    /// What lacks everything gets the same code; what Apache's would take for a name is refused by
    /// ours.
    fn nonsense(&mut self) -> Result<()> {
        self.agree("an unknown code", 99_999, &[], b"")?;
        let harmless = [GET_KV, DELETE_KV, LIST_KV, UNREGISTER, ROUTE];
        for code in harmless.into_iter().chain([WIPE_WRITE, ADD_WRITE, DELETE_TOPIC]) {
            let [ours, apache] = both(&mut self.tools, code, &[], b"")?;
            ensure!(
                ours.0 == apache.0,
                "{code} without fields: ours {ours:?}, Apache's {apache:?}"
            );
        }
        for code in [PUT_KV, REGISTER, REGISTER_TOPIC] {
            let answer = self.tools[0].ask(code, &[], b"")?;
            ensure!(answer.code != 0, "{code} without fields is well for ours");
        }
        self.look()
    }
}

/// Code, remark, fields and body, without what is left to each.
type Plain = (i64, String, Vec<(String, String)>, Value);

fn both(
    connections: &mut [Connection; 2],
    code: i32,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Result<[Plain; 2]> {
    let [one, other] = connections;
    let ask = |connection: &mut Connection| plain(connection.ask(code, fields, body)?);
    Ok([ask(one).context("ours")?, ask(other).context("Apache's")?])
}

fn plain(answer: Answer) -> Result<Plain> {
    let document = sorted(answer.document()?);
    // Apache's sometimes says of a success that no code was set.
    let remark = if answer.code == 0 { String::new() } else { answer.remark };
    Ok((answer.code, remark, answer.fields.into_iter().collect(), document))
}

/// Without the order of lists, and without what is null.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(rows) => {
            let mut rows: Vec<_> = rows.into_iter().map(sorted).collect();
            rows.sort_by_key(Value::to_string);
            Value::Array(rows)
        }
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, sorted(value)))
            .collect(),
        other => other,
    }
}
