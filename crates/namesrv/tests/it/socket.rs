//! Brokers come and go over real connections.

use crate::stage::Stage;
use rmq_namesrv::NamesrvConfig;
use rmq_remoting::protocol::register::{
    DataVersion, QueryDataVersion, RegisterBody, RegisterBroker,
};
use rmq_remoting::protocol::topic::{TopicConfig, TopicConfigs};
use rmq_remoting::{RemotingCommand, TypedRequest as _, request_code, response_code};

fn registration(id: i64, timeout_ms: Option<i64>) -> RemotingCommand {
    let header = RegisterBroker {
        broker_name: "a".into(),
        broker_addr: format!("127.0.0.1:{}", 1000 + id).into(),
        cluster_name: "c".into(),
        ha_server_addr: format!("127.0.0.1:{}", 2000 + id).into(),
        broker_id: id,
        heartbeat_timeout_millis: timeout_ms,
        enable_acting_master: Some(true),
        compressed: false,
        body_crc32: 0,
        zone_name: None,
    };
    let topics = ["A", "B"].map(|name| {
        (name.into(), TopicConfig { topic_name: name.into(), ..TopicConfig::default() })
    });
    let topics = TopicConfigs { topic_config_table: topics.into(), ..TopicConfigs::default() };
    let body = RegisterBody { topic_config_serialize_wrapper: topics, ..RegisterBody::default() };
    (header, body).to_command()
}

fn route(topic: &str) -> RemotingCommand {
    RemotingCommand::request(request_code::GET_ROUTEINFO_BY_TOPIC).with_field("topic", topic)
}

#[tokio::test]
async fn broker_is_routed_while_its_connection_lives() {
    let stage = Stage::start(NamesrvConfig::default()).await;
    let broker = stage.connect();
    assert!(broker.ask(registration(0, None)).await.is_success());
    assert!(stage.ask(route("A")).await.is_success());
    let asked = QueryDataVersion {
        broker_name: "a".into(),
        broker_addr: "127.0.0.1:1000".into(),
        cluster_name: "c".into(),
        broker_id: 0,
    };
    let answer = broker.ask((asked, DataVersion::default()).to_command()).await;
    assert_eq!(answer.field("changed"), Some("false"));
    drop(broker);
    stage.eventually(route("A"), response_code::TOPIC_NOT_EXIST).await;
    let clusters = stage.ask(RemotingCommand::request(request_code::GET_BROKER_CLUSTER_INFO)).await;
    assert_eq!(clusters.body, br#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#.as_slice());
}

#[tokio::test]
async fn silent_broker_goes_and_its_connection_is_closed() {
    let config = NamesrvConfig { scan_not_active_broker_interval: 100, ..NamesrvConfig::default() };
    let stage = Stage::start(config).await;
    let mut broker = stage.connect();
    assert!(broker.ask(registration(0, Some(1))).await.is_success());
    stage.eventually(route("A"), response_code::TOPIC_NOT_EXIST).await;
    broker.ended().await;
}

#[tokio::test]
async fn replicas_are_told_of_a_new_lowest_one() {
    let config = NamesrvConfig { notify_min_broker_id_changed: true, ..NamesrvConfig::default() };
    let stage = Stage::start(config).await;
    let (master, mut replica) = (stage.connect(), stage.connect());
    assert!(master.ask(registration(0, None)).await.is_success());
    let answer = replica.ask(registration(1, None)).await;
    assert_eq!(answer.field("masterAddr"), Some("127.0.0.1:1000"));
    assert_eq!(answer.field("haServerAddr"), Some("127.0.0.1:2000"));
    drop(master);
    let notice = replica.told().await;
    assert_eq!(notice.code, request_code::NOTIFY_MIN_BROKER_ID_CHANGE);
    assert!(notice.is_oneway());
    assert_eq!(notice.field("minBrokerId"), Some("1"));
    assert_eq!(notice.field("minBrokerAddr"), Some("127.0.0.1:1001"));
    assert_eq!(notice.field("offlineBrokerAddr"), Some("127.0.0.1:1000"));
}

#[tokio::test]
async fn settings_are_shown_and_changed_by_request() {
    let stage = Stage::start(NamesrvConfig::default()).await;
    let update = |lines: &'static str| {
        RemotingCommand::request(request_code::UPDATE_NAMESRV_CONFIG).with_body(lines)
    };
    for (lines, code) in [
        ("needWaitForService=true\n", response_code::SUCCESS),
        ("listenPort=1\n", response_code::NO_PERMISSION),
        ("nonsense=1\n", response_code::INVALID_PARAMETER),
    ] {
        assert_eq!(stage.ask(update(lines)).await.code, code, "{lines}");
    }
    let shown = stage.ask(RemotingCommand::request(request_code::GET_NAMESRV_CONFIG)).await;
    assert!(String::from_utf8_lossy(&shown.body).contains("needWaitForService=true\n"));
    let refused = stage.ask(route("A")).await;
    assert_eq!((refused.code, refused.remark()), (1, "name server not ready"));
}

#[tokio::test]
async fn a_changed_setting_is_written_to_the_settings_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("namesrv.conf");
    let disk = rmq_runtime::World::system().disk;
    disk.write(&path, b"# ours\nenableTopicList=true\n").unwrap();
    let config = NamesrvConfig { config_store_path: Some(path.clone()), ..<_>::default() };
    let stage = Stage::start(config).await;
    let update = |lines: &'static str| {
        RemotingCommand::request(request_code::UPDATE_NAMESRV_CONFIG).with_body(lines)
    };
    assert!(stage.ask(update("enableTopicList=false\norderMessageEnable=true")).await.is_success());
    let text = disk.read(&path).unwrap();
    assert_eq!(&text[..], b"# ours\nenableTopicList=false\norderMessageEnable=true\n");
    let refused = stage.ask(update("orderMessageEnable=false\nconfigStorePath=/x")).await;
    assert_eq!(refused.code, response_code::NO_PERMISSION);
    let shown = stage.ask(RemotingCommand::request(request_code::GET_NAMESRV_CONFIG)).await;
    assert!(String::from_utf8_lossy(&shown.body).contains("orderMessageEnable=true\n"));
}
