//! Requests recorded from Apache's clients and brokers, replayed over a socket; the answers are
//! compared with the recorded ones wherever they do not depend on a clock or on hash order.

use std::path::Path;

use crate::stage::Stage;
use bytes::BytesMut;
use rmq_message::sys_flag;
use rmq_namesrv::NamesrvConfig;
use rmq_remoting::frame::{self, FrameLimits};
use rmq_remoting::protocol::register::{
    BrokerGroupResponse, DataVersion, GetBrokerGroup, RegisterBody, RegisterBroker,
};
use rmq_remoting::protocol::route::{BrokerQueues, TopicRoute};
use rmq_remoting::protocol::topic::{
    RegisterTopic, SystemTopics, TopicConfig, TopicConfigs, TopicList, TopicsByCluster,
    UnitSubTopics, UnitSubUnunitTopics, UnitTopics,
};
use rmq_remoting::{RemotingCommand, TypedRequest as _, json};
use rmq_runtime::Disk as _;
use rmq_runtime::system::SystemDisk;

fn recorded(name: &str, half: &str) -> RemotingCommand {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.{half}.bin"));
    let mut bytes = BytesMut::from(SystemDisk.read(&path).unwrap());
    frame::decode(&mut bytes, &FrameLimits::CLIENT).unwrap().unwrap()
}

fn value(body: &[u8]) -> serde_json::Value {
    if body.is_empty() { serde_json::Value::Null } else { json::from_slice(body).unwrap() }
}

fn fields(command: &RemotingCommand) -> Vec<(String, String)> {
    let mut fields: Vec<_> =
        command.fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    fields.sort();
    fields
}

/// Asks what was asked and expects what was answered.
async fn replay(stage: &Stage, name: &str) {
    let (answer, expected) = (stage.ask(recorded(name, "req")).await, recorded(name, "res"));
    assert_eq!((answer.code, answer.remark()), (expected.code, expected.remark()), "{name}");
    assert_eq!(fields(&answer), fields(&expected), "{name}");
    assert_eq!(value(&answer.body), value(&expected.body), "{name}");
}

/// What broker `broker-a` had told when the routes were recorded.
async fn register_topics(stage: &Stage, names: &[&str]) {
    let flagged: Vec<_> = names.iter().map(|name| (*name, 0)).collect();
    register_flagged(stage, &flagged).await;
}

/// The same with system flags of topics.
async fn register_flagged(stage: &Stage, topics: &[(&str, i32)]) {
    let header = RegisterBroker {
        broker_name: "broker-a".into(),
        broker_addr: "127.0.0.2:21911".into(),
        cluster_name: "DefaultCluster".into(),
        ha_server_addr: "127.0.0.1:21912".into(),
        broker_id: 0,
        heartbeat_timeout_millis: None,
        enable_acting_master: None,
        compressed: false,
        body_crc32: 0,
        zone_name: None,
    };
    let topic = |(name, topic_sys_flag): &(&str, i32)| {
        let config = TopicConfig {
            topic_name: (*name).into(),
            read_queue_nums: 2,
            write_queue_nums: 2,
            topic_sys_flag: *topic_sys_flag,
            ..TopicConfig::default()
        };
        ((*name).into(), config)
    };
    let topics = TopicConfigs {
        data_version: DataVersion { counter: 1, ..DataVersion::default() },
        topic_config_table: topics.iter().map(topic).collect(),
        ..TopicConfigs::default()
    };
    let body = RegisterBody { topic_config_serialize_wrapper: topics, ..RegisterBody::default() };
    assert!(stage.ask((header, body).to_command()).await.is_success());
}

#[tokio::test]
async fn recorded_answers_come_again() {
    let stage = Stage::start(NamesrvConfig::default()).await;
    for name in ["register-one-topic", "register-crc", "route-none", "kv-none", "kvlist-none"] {
        replay(&stage, &format!("errors/{name}")).await;
    }
    replay(&stage, "errors/unknown-code-namesrv").await;
    replay(&stage, "errors/ns-config-black-list").await;

    replay(&stage, "json/000103-register-broker").await;
    replay(&stage, "json/000106-get-broker-cluster-info").await;
    replay(&stage, "json/000105-get-routeinfo-by-topic.code17").await;
    register_topics(&stage, &["JPlain", "JPlainB", "BPlain"]).await;
    replay(&stage, "json/000105-get-routeinfo-by-topic").await;
    for folder in ["json", "binary"] {
        for name in
            ["000100-put-kv-config", "000101-get-kv-config", "000219-get-kvlist-by-namespace"]
        {
            replay(&stage, &format!("{folder}/{name}")).await;
        }
        replay(&stage, &format!("{folder}/000102-delete-kv-config")).await;
    }
    replay(&stage, "json/000216-delete-topic-in-namesrv").await;
    replay(&stage, "json/000104-unregister-broker").await;
    replay(&stage, "errors/route-none").await;
}

#[tokio::test]
async fn counts_and_lists_follow_the_table() {
    let stage = Stage::start(NamesrvConfig::default()).await;
    replay(&stage, "json/000103-register-broker").await;
    let topics = stage.ask(recorded("json/000206-get-all-topic-list-from-nameserver", "req")).await;
    let listed = value(&topics.body)["topicList"].as_array().unwrap().len().to_string();
    for (name, field) in [
        ("json/000205-wipe-write-perm-of-broker", "wipeTopicCount"),
        ("json/000327-add-write-perm-of-broker", "addTopicCount"),
    ] {
        let answer = stage.ask(recorded(name, "req")).await;
        assert_eq!(answer.field(field), Some(listed.as_str()), "{name}");
    }
}

#[tokio::test]
async fn lists_tell_topics_by_kind() {
    const UNIT: i32 = sys_flag::topic::UNIT;
    const SUB: i32 = sys_flag::topic::UNIT_SUB;
    let stage = Stage::start(NamesrvConfig::default()).await;
    let topics = [("Plain", 0), ("Unit", UNIT), ("Both", UNIT | SUB), ("Sub", SUB)];
    register_flagged(&stage, &topics).await;
    let of_cluster = TopicsByCluster { cluster: "DefaultCluster".into() };
    for (request, expected) in [
        (of_cluster.to_command(), &["Both", "Plain", "Sub", "Unit"][..]),
        (SystemTopics.to_command(), &["DefaultCluster", "broker-a"]),
        (UnitTopics.to_command(), &["Both", "Unit"]),
        (UnitSubTopics.to_command(), &["Both", "Sub"]),
        (UnitSubUnunitTopics.to_command(), &["Sub"]),
    ] {
        let code = request.code;
        let mut list = stage.ask(request).await.payload::<TopicList>().unwrap();
        list.topic_list.sort_unstable();
        assert_eq!(list.topic_list, expected, "{code}");
    }
    let group =
        GetBrokerGroup { cluster_name: "DefaultCluster".into(), broker_name: "broker-a".into() };
    let group = stage.ask(group.to_command()).await.payload::<BrokerGroupResponse>().unwrap();
    assert_eq!(group.broker_member_group.unwrap().broker_addrs[&0], "127.0.0.2:21911");

    let queues = BrokerQueues {
        broker_name: "broker-a".into(),
        read_queue_nums: 3,
        write_queue_nums: 3,
        perm: 6,
        ..BrokerQueues::default()
    };
    let route = TopicRoute { queue_datas: vec![queues], ..TopicRoute::default() };
    let register = (RegisterTopic { topic: "ByHand".into() }, route);
    assert!(stage.ask(register.to_command()).await.is_success());
    let ask = RemotingCommand::request(105).with_field("topic", "ByHand");
    let route = stage.ask(ask).await.payload::<TopicRoute>().unwrap();
    assert_eq!(route.queue_datas[0].read_queue_nums, 3);
}

#[tokio::test]
async fn route_is_standard_json_only_for_those_who_read_it() {
    let stage = Stage::start(NamesrvConfig::default()).await;
    register_topics(&stage, &["JPlain", "Other"]).await;
    let ask = async |version: i32, standard: Option<&str>| {
        let mut request = RemotingCommand::request(105).with_field("topic", "JPlain");
        request.version = version;
        if let Some(standard) = standard {
            request.fields.push("acceptStandardJsonOnly", standard);
        }
        let body = stage.ask(request).await.body;
        String::from_utf8(body.to_vec()).unwrap().contains(r#"{"0":"127.0.0.2:21911"}"#)
    };
    assert!(ask(401, None).await);
    assert!(!ask(317, None).await, "released Go clients read a quoted 0 as an error");
    assert!(ask(317, Some("true")).await);
    assert!(!ask(400, Some("false")).await);
}
