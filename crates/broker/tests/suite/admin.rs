//! Requests of operators.

use bytes::Bytes;
use rmq_broker::BrokerConfig;
use rmq_message::MessageQueue;
use rmq_remoting::protocol::assignment::{RequestMode, SetRequestMode};
use rmq_remoting::protocol::cluster::{GetBrokerConfig, UpdateBrokerConfig};
use rmq_remoting::protocol::group::{
    AllGroupConfigs, CreateGroups, DeleteGroup, GetGroupConfig, GroupForbidden,
    SubscriptionGroupConfig,
};
use rmq_remoting::protocol::lock::LockQueues;
use rmq_remoting::protocol::offset::{AllConsumerOffsets, EarliestStoreTime, QueryConsumerOffset};
use rmq_remoting::protocol::query::QueryMessage;
use rmq_remoting::protocol::queue::{QueryCorrection, QueryQueue, QueryTimeSpan};
use rmq_remoting::protocol::stats::{
    BrokerRuntime, GetAllConsumeStats, GetConsumeStats, GetReplicaStatus, GetTopicStats,
    QuerySubscription, ViewBrokerStats, WhoConsumes,
};
use rmq_remoting::protocol::topic::{
    BrokerSystemTopics, CreateTopics, DeleteTopic, GetTopicConfig, TopicConfig, TopicsByConsumer,
};
use rmq_remoting::{RemotingCommand, TypedRequest, request_code, response_code};

use crate::fixture::{Fixture, bodies, config, pull};

async fn with_a_group(fixture: &Fixture) {
    for number in 0..3 {
        fixture.send("Orders", &format!("{number}"), "KEYS\u{1}k\u{2}").await;
    }
    fixture.pull("Orders", 0, 0).await;
    let commit = rmq_remoting::protocol::offset::UpdateConsumerOffset {
        consumer_group: "GC".into(),
        topic: "Orders".into(),
        queue_id: 0,
        commit_offset: 2,
    };
    fixture.call(&commit).await;
}

#[tokio::test]
async fn tools_see_topics_groups_and_their_progress() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    with_a_group(&fixture).await;
    let queue = MessageQueue::new("Orders", "broker-a", 0);
    let topic = fixture.call(&GetTopicStats { topic: "Orders".into() }).await;
    let row = &topic.offset_table[&queue];
    assert_eq!((row.min_offset, row.max_offset), (0, 3));
    assert!(row.last_update_timestamp > 0);
    let group = GetConsumeStats { consumer_group: "GC".into(), topic: None, topic_list: None };
    let group = fixture.call(&group).await;
    let row = &group.offset_table[&queue];
    assert_eq!((row.broker_offset, row.consumer_offset, row.pull_offset), (3, 2, 3));
    let earliest = EarliestStoreTime { topic: "Orders".into(), queue_id: 0 };
    assert!(fixture.call(&earliest).await.timestamp > 0);
    let mut lite = pull("Orders", 0, 1).to_command();
    lite.code = request_code::LITE_PULL_MESSAGE;
    assert_eq!(bodies(&fixture.ask(lite).await), ["1", "2"]);
    assert_eq!(fixture.call(&WhoConsumes { topic: "Orders".into() }).await.group_list, ["GC"]);
    let topics = fixture.call(&TopicsByConsumer { group: "GC".into() }).await;
    assert_eq!(topics.topic_list, ["Orders"]);
    assert_eq!(topics.broker_addr.as_deref(), Some("127.0.0.2:21911"));
    let system = fixture.call(&BrokerSystemTopics).await.topic_list;
    assert!(system.iter().any(|topic| topic == "TBW102"));
    let offsets = fixture.call(&AllConsumerOffsets).await;
    assert_eq!(offsets.offset_table["Orders@GC"][&0], 2);
    let runtime = fixture.call(&BrokerRuntime).await.table;
    assert_eq!(runtime["brokerVersionDesc"], "V5_5_0");
    assert_eq!(runtime["msgPutTotalTodayNow"], "3");
    fixture.stop().await;
}

#[tokio::test]
async fn messages_are_found_by_key() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    with_a_group(&fixture).await;
    let end = fixture.store.indexed();
    let status = rmq_store::StoreAdmin::status(&*fixture.store);
    end.reached(status.max_physical.0).await.unwrap();
    let query = QueryMessage {
        topic: "Orders".into(),
        key: "k".into(),
        max_num: 2,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        index_type: None,
        last_key: None,
        unique_key: None,
    };
    let found = fixture.ask(query.to_command()).await;
    assert_eq!(bodies(&found), ["1", "2"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_deleted_group_is_forgotten_and_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    with_a_group(&fixture).await;
    let retry =
        rmq_remoting::protocol::send::SendMessage { ..crate::fixture::header("%RETRY%GC", "") };
    assert_eq!(fixture.ask(retry.to_command("again".into())).await.code, 0);
    let delete = DeleteGroup { group_name: "GC".into(), clean_offset: Some(false) };
    fixture.call(&delete).await;
    let gone = GetTopicConfig { topic: "%RETRY%GC".into(), lo: None }.to_command();
    assert_eq!(fixture.ask(gone).await.code, response_code::TOPIC_NOT_EXIST);
    let all = AllGroupConfigs { group_seq: None, data_version: None, max_group_num: None };
    let (_, groups) = fixture.call(&all).await;
    assert!(!groups.subscription_group_table.contains_key("GC"));
    let query = QueryConsumerOffset {
        consumer_group: "GC".into(),
        topic: "Orders".into(),
        queue_id: 0,
        set_zero_if_not_found: None,
    };
    assert_eq!(fixture.call(&query).await.offset, 0);
    fixture.stop().await;
}

#[tokio::test]
async fn settings_of_groups_take_effect_and_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    with_a_group(&fixture).await;
    let closed = SubscriptionGroupConfig {
        group_name: "GC".into(),
        consume_enable: false,
        ..SubscriptionGroupConfig::default()
    };
    fixture.call(&closed).await;
    let refused = fixture.pull("Orders", 0, 0).await;
    assert_eq!((refused.code, refused.remark()), (16, "subscription group no permission, GC"));
    assert_eq!(refused.field("forbiddenType"), Some("2"));
    let forbid =
        GroupForbidden { group: "GC".into(), topic: "Orders".into(), readable: Some(false) };
    assert!(!fixture.call(&forbid).await.readable);
    fixture.stop().await;

    let fixture = Fixture::start(config(dir.path()));
    let get = GetGroupConfig { group: "GC".into() };
    assert!(!fixture.call(&get).await.consume_enable);
    let ask = GroupForbidden { readable: None, ..forbid };
    assert!(!fixture.call(&ask).await.readable);
    fixture.stop().await;
}

#[tokio::test]
async fn topics_are_made_by_lists_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let topic = |name: &str| TopicConfig { topic_name: name.into(), ..TopicConfig::default() };
    let create = |names: &[&str]| CreateTopics {
        topic_config_list: names.iter().map(|name| topic(name)).collect(),
    };
    let refused = fixture.ask(create(&["One", "bad topic!"]).to_command()).await;
    assert_eq!(refused.code, response_code::INVALID_PARAMETER);
    let get = |name: &str| GetTopicConfig { topic: name.into(), lo: None }.to_command();
    assert_eq!(fixture.ask(get("One")).await.code, response_code::TOPIC_NOT_EXIST);
    fixture.call(&create(&["One"])).await;
    fixture.call(&create(&["One", "Two"])).await;
    assert_eq!(fixture.ask(get("Two")).await.code, 0);
    fixture.stop().await;
}

#[tokio::test]
async fn settings_change_all_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let update = |text: &'static str| UpdateBrokerConfig(Bytes::from_static(text.as_bytes()));
    let refused =
        fixture.ask(update("autoCreateTopicEnable=false\nlistenPort=1").to_command()).await;
    assert_eq!(refused.code, response_code::INVALID_PARAMETER);
    assert_eq!(fixture.send("One", "x", "").await.code, 0);
    fixture.call(&update("# no more\nautoCreateTopicEnable=false\n")).await;
    assert_eq!(fixture.send("Two", "x", "").await.code, response_code::TOPIC_NOT_EXIST);
    let (_, text) = fixture.call(&GetBrokerConfig).await;
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.contains("autoCreateTopicEnable=false\n") && text.contains("listenPort=21911\n"));
    fixture.call(&update("brokerPermission=2")).await;
    let refused = fixture.ask(pull("One", 0, 0).to_command()).await;
    assert_eq!(refused.remark(), "the broker[127.0.0.2] pulling message is forbidden");
    fixture.stop().await;
}

#[tokio::test]
async fn unused_and_expired_files_can_be_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "x", "").await;
    for code in [request_code::CLEAN_UNUSED_TOPIC, request_code::CLEAN_EXPIRED_CONSUMEQUEUE] {
        assert_eq!(fixture.ask(RemotingCommand::request(code)).await.code, 0);
    }
    assert_eq!(bodies(&fixture.pull("Orders", 0, 0).await), ["x"]);
    fixture.stop().await;
}

#[tokio::test]
async fn tools_look_into_queues() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for number in 0..40 {
        fixture.send("Orders", &format!("{number}"), "TAGS\u{1}a\u{2}").await;
    }
    fixture.pull("Orders", 0, 0).await;
    let ask = |index, group: Option<&str>| QueryQueue {
        topic: "Orders".into(),
        queue_id: 0,
        index,
        count: 39,
        consumer_group: group.map(Into::into),
    };
    // More than one read of the store, and a range that ends with the queue.
    let all = fixture.call(&ask(0, None)).await;
    assert_eq!((all.min_queue_index, all.max_queue_index, all.queue_data.len()), (0, 40, 39));
    assert!(all.queue_data.iter().all(|entry| entry.tags_code == 97 && !entry.eval));
    assert_eq!(all.queue_data[0].physic_offset, 0);
    assert_eq!(all.queue_data[1].physic_offset, i64::from(all.queue_data[0].physic_size));
    let last = fixture.call(&ask(38, Some("nobody"))).await;
    assert_eq!(last.queue_data.len(), 2);
    assert_eq!(last.filter_data.as_deref(), Some("nobody@Orders is not online!"));
    let beyond = fixture.ask(ask(99, None).to_command()).await;
    assert_eq!((beyond.code, beyond.remark()), (0, "Index 99 of 0@Orders is not exist!"));
    let nowhere = QueryQueue { queue_id: 77, ..ask(0, None) };
    assert_eq!(fixture.ask(nowhere.to_command()).await.remark(), "77@Orders is not exist!");

    let spans = QueryTimeSpan { topic: "Orders".into(), group: "GC".into() };
    let spans = fixture.call(&spans).await.consume_time_span_set;
    assert_eq!(spans.len(), 4);
    assert!(spans[0].min_time_stamp > 0 && spans[0].max_time_stamp >= spans[0].min_time_stamp);
    assert_eq!((spans[1].min_time_stamp, spans[1].max_time_stamp), (-1, -1));
    fixture.stop().await;
}

#[tokio::test]
async fn tools_see_all_groups_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    with_a_group(&fixture).await;
    let all = fixture.call(&GetAllConsumeStats { is_order: false }).await;
    assert_eq!((all.total_diff, all.total_inflight_diff), (1, 1));
    let tables = all.consume_stats_list.iter().find_map(|groups| groups.get("GC")).unwrap();
    assert_eq!(tables.len(), 1);
    let ordered = fixture.call(&GetAllConsumeStats { is_order: true }).await;
    assert_eq!(ordered.total_diff, 0);

    let compare = |group: &str| QueryCorrection {
        filter_groups: None,
        compare_group: group.into(),
        topic: "Orders".into(),
    };
    let lowest = fixture.call(&compare("nobody")).await.correction_offsets;
    assert_eq!(lowest, [(0, 2)].into());
    let left_out = QueryCorrection { filter_groups: Some("GC,x".into()), ..compare("nobody") };
    assert!(fixture.call(&left_out).await.correction_offsets.is_empty());
    assert_eq!(fixture.call(&compare("nobody")).await.correction_offsets, lowest);

    let replicas = fixture.call(&GetReplicaStatus).await;
    assert!(replicas.master && replicas.master_commit_log_max_offset > 0);
    assert!(replicas.ha_connection_info.is_empty());
    fixture.stop().await;
}

#[tokio::test]
async fn the_state_of_a_broker_has_every_key_that_readers_parse() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    with_a_group(&fixture).await;
    let rows = fixture.call(&BrokerRuntime).await.table;
    for key in include_str!("../golden/runtime-keys.txt").lines() {
        assert!(rows.contains_key(key), "{key}");
    }
    for key in ["putTps", "getMissTps", "getFoundTps", "getTotalTps", "getTransferredTps"] {
        let rates: Vec<f64> = rows[key].split(' ').map(|rate| rate.parse().unwrap()).collect();
        assert_eq!(rates.len(), 3, "{key}");
    }
    let words: Vec<_> = rows["commitLogDirCapacity"].split(' ').collect();
    assert_eq!((words[0], words[1], words[4], words[5]), ("Total", ":", "Free", ":"));
    assert!(rows["earliestMessageTimeStamp"].parse::<i64>().unwrap() > 0);
    assert_eq!(rows["msgPutTotalTodayNow"], "3");
    assert_eq!(rows["msgGetTotalTodayNow"], "3");
    fixture.stop().await;
}

#[tokio::test]
async fn groups_are_made_by_lists_and_what_was_set_for_them_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let group = |name: &str| SubscriptionGroupConfig {
        group_name: name.into(),
        ..SubscriptionGroupConfig::default()
    };
    fixture.call(&CreateGroups { group_config_list: vec![group("A"), group("B")] }).await;
    let all_groups = AllGroupConfigs { group_seq: None, data_version: None, max_group_num: None };
    let groups = fixture.call(&all_groups).await.1;
    assert!(["A", "B"].iter().all(|name| groups.subscription_group_table.contains_key(*name)));
    fixture.send("Orders", "x", "").await;
    let mode = SetRequestMode {
        consumer_group: "A".into(),
        mode: RequestMode::Pop,
        pop_share_queue_num: 0,
        topic: "Orders".into(),
    };
    fixture.call(&mode).await;
    let all = fixture.ask(RemotingCommand::request(request_code::GET_ALL_MESSAGE_REQUEST_MODE));
    let all: serde_json::Value = rmq_remoting::json::from_slice(&all.await.body).unwrap();
    assert_eq!(all["messageRequestModeMap"]["Orders"]["A"]["mode"], "POP");
    let subscription = QuerySubscription { group: "A".into(), topic: Some("Orders".into()) };
    assert_eq!(fixture.call(&subscription).await.subscription_data, None, "nobody is there");
    for code in [request_code::DELETE_EXPIRED_COMMITLOG, request_code::POP_ROLLBACK] {
        let answer = fixture.ask(RemotingCommand::request(code)).await;
        assert_eq!(answer.code, response_code::SUCCESS, "{code}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn requests_that_are_not_served_say_why() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for (code, why) in [
        (request_code::UPDATE_AND_CREATE_STATIC_TOPIC, "this version has no static topics"),
        (request_code::AUTH_LIST_USER, "this version has no users and no rules"),
        (request_code::GET_BROKER_LITE_INFO, "this version has no lite topics"),
    ] {
        let refused = fixture.ask(RemotingCommand::request(code)).await;
        assert_eq!(refused.code, response_code::REQUEST_CODE_NOT_SUPPORTED);
        assert_eq!(refused.remark(), format!(" request type {code} not supported: {why}"));
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_changed_setting_is_in_the_settings_file_before_it_is_in_effect() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("broker.conf");
    let disk = rmq_runtime::World::system().disk;
    disk.write(&path, b"# ours\nlongPollingEnable=true\n").unwrap();
    let settings = BrokerConfig {
        broker_config_path: Some(path.clone()),
        ..config(&dir.path().join("store"))
    };
    let fixture = Fixture::start(settings);
    let update = |text: &'static str| UpdateBrokerConfig(Bytes::from_static(text.as_bytes()));
    fixture.call(&update("longPollingEnable=false\ndefaultTopicQueueNums\\\n : 3")).await;
    let text = disk.read(&path).unwrap();
    assert_eq!(&text[..], b"# ours\nlongPollingEnable=false\ndefaultTopicQueueNums=3\n");
    let (_, shown) = fixture.call(&GetBrokerConfig).await;
    let shown = String::from_utf8(shown.to_vec()).unwrap();
    assert!(shown.contains("defaultTopicQueueNums=3\n"), "{shown}");

    for refused in
        ["storePathRootDir=/etc", "brokerConfigPath=/etc/passwd", "a=1\\nb", "brokerPermission=x"]
    {
        assert_ne!(fixture.ask(update(refused).to_command()).await.code, 0, "{refused}");
    }
    disk.remove(&path).unwrap();
    let unsaved = fixture.ask(update("longPollingEnable=true").to_command()).await;
    assert_eq!(unsaved.code, response_code::SYSTEM_ERROR, "{}", unsaved.remark());
    let (_, shown) = fixture.call(&GetBrokerConfig).await;
    assert!(String::from_utf8(shown.to_vec()).unwrap().contains("longPollingEnable=false\n"));
    fixture.stop().await;
}

#[tokio::test]
async fn a_deleted_topic_is_forgotten_and_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    with_a_group(&fixture).await;
    let queue = MessageQueue::new("Orders", "broker-a", 0);
    let lock = |client: &str| LockQueues {
        client_id: client.into(),
        consumer_group: "GC".into(),
        mq_set: vec![queue.clone()],
        ..LockQueues::default()
    };
    let locked = fixture.call(&lock("first")).await;
    assert_eq!(locked.lock_ok_mq_set.len(), 1);

    fixture.call(&DeleteTopic { topic: "Orders".into() }).await;
    let gone = GetTopicConfig { topic: "Orders".into(), lo: None }.to_command();
    assert_eq!(fixture.ask(gone).await.code, response_code::TOPIC_NOT_EXIST);
    assert!(fixture.call(&AllConsumerOffsets).await.offset_table.is_empty());
    let stats = ViewBrokerStats { stats_name: "TOPIC_PUT_NUMS".into(), stats_key: "Orders".into() };
    assert_eq!(fixture.ask(stats.to_command()).await.code, response_code::SYSTEM_ERROR);

    // What comes now under that name has nothing to do with what was.
    assert_eq!(fixture.send("Orders", "anew", "").await.field("queueOffset"), Some("0"));
    assert_eq!(bodies(&fixture.pull("Orders", 0, 0).await), ["anew"]);
    assert_eq!(fixture.call(&lock("second")).await.lock_ok_mq_set.len(), 1);
    fixture.stop().await;
}
