use std::sync::Arc;

use rmq_runtime::World;

use super::*;

const NOW: Timestamp = Timestamp(1_000);

fn files(dir: &tempfile::TempDir) -> document::Files {
    document::Files::new(Arc::clone(&World::system().disk), dir.path().into())
}

fn table() -> TopicTable {
    let dir = tempfile::tempdir().unwrap();
    TopicTable::open(&files(&dir), &BrokerConfig::default(), NOW).unwrap()
}

fn template(queues: i32) -> Template<'static> {
    Template { topic: name::AUTO_CREATE_TOPIC, queues, sys_flag: 0, auto_create: true }
}

#[test]
fn topics_of_the_system_are_there_from_the_start() {
    let table = table();
    for (topic, queues, perm) in [
        ("TBW102", 8, 7),
        ("DefaultCluster", 16, 7),
        ("DEFAULT_BROKER", 1, 7),
        ("SCHEDULE_TOPIC_XXXX", 18, 6),
        ("rmq_sys_SYNC_BROKER_MEMBER_DEFAULT_BROKER", 1, 1),
        ("rmq_sys_REVIVE_LOG_DefaultCluster", 8, 6),
        ("DefaultCluster_REPLY_TOPIC", 1, 6),
    ] {
        let found = table.find(topic).unwrap();
        assert_eq!((found.read_queues, found.perm), (queues, perm), "{topic}");
        assert!(table.is_system(topic), "{topic}");
    }
    assert!(!table.is_system("Orders"));
}

#[test]
fn a_send_inherits_from_the_template_without_its_inherit_bit() {
    let table = table();
    let made = table.inherit("Orders", template(4), NOW).unwrap();
    assert_eq!((made.topic.write_queues, made.topic.perm), (4, 6));
    assert!(made.change.is_some());
    let again = table.inherit("Orders", template(4), NOW).unwrap();
    assert_eq!(again, Ensured { change: None, ..made });
    assert_eq!(table.inherit("More", template(99), NOW).unwrap().topic.write_queues, 8);
    let from_orders = Template { topic: "Orders", ..template(4) };
    assert_eq!(table.inherit("Other", from_orders, NOW), None);
}

#[test]
fn no_topic_is_inherited_when_that_is_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let first = TopicTable::open(&files(&dir), &BrokerConfig::default(), NOW).unwrap();
    files(&dir).save(&first).unwrap();
    let config = BrokerConfig { auto_create_topic_enable: false, ..BrokerConfig::default() };
    let table = TopicTable::open(&files(&dir), &config, NOW).unwrap();
    assert_eq!(table.find("TBW102").unwrap().perm, 6);
    assert_eq!(table.inherit("Orders", template(4), NOW), None);
}

#[test]
fn an_update_replaces_fields_and_merges_attributes() {
    let table = table();
    let config = |text: &str, queues| TopicConfig {
        attributes: attributes::parse(text).unwrap(),
        ..plain("Orders", queues)
    };
    assert!(table.update(config("+message.type=FIFO", 4), NOW).unwrap().is_some());
    assert!(table.update(config("+reserve.time=5", 2), NOW).unwrap().is_some());
    let orders = table.get("Orders").unwrap();
    assert_eq!((orders.read_queue_nums, orders.attributes.len()), (2, 2));
    let version = table.version();
    assert_eq!(table.update(config("", 2), NOW), Ok(None));
    assert_eq!(table.version(), version);
    assert_eq!(table.update(config("", -1), NOW), Err(UpdateError::Queues { count: -1 }));
}

#[test]
fn the_file_brings_back_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let table = TopicTable::open(&files(&dir), &BrokerConfig::default(), NOW).unwrap();
    table.provide("%RETRY%g", 3, 2, NOW).unwrap();
    files(&dir).save(&table).unwrap();
    let again = TopicTable::open(&files(&dir), &BrokerConfig::default(), Timestamp(5)).unwrap();
    assert_eq!(again.snapshot(), table.snapshot());
    assert_eq!(again.find("%RETRY%g").unwrap().sys_flag, 2);
}

#[test]
fn a_file_of_apache_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let text = include_bytes!("../../tests/golden/config/topics.json");
    World::system().disk.write(&dir.path().join(FILE), text).unwrap();
    let table = TopicTable::open(&files(&dir), &BrokerConfig::default(), NOW).unwrap();
    let delay = table.get("StoreDELAY").unwrap();
    assert_eq!(delay.attributes["message.type"], "DELAY");
    assert_eq!(table.version().counter, 16);
}

#[test]
fn senseless_rows_of_the_file_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let text = br#"{"topicConfigTable":{"../x":{},"Big":{"readQueueNums":2000000000},"Good":{}}}"#;
    World::system().disk.write(&dir.path().join(FILE), text).unwrap();
    let table = TopicTable::open(&files(&dir), &BrokerConfig::default(), NOW).unwrap();
    assert!(table.find("../x").is_none() && table.find("Big").is_none());
    assert!(table.find("Good").is_some());
}
