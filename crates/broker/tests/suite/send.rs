//! Sends and messages that come back.

use bytes::Bytes;
use rmq_broker::BrokerConfig;
use rmq_message::batch::{self, BatchItem};
use rmq_message::{MessageQueue, property};
use rmq_remoting::protocol::lock::LockQueues;
use rmq_remoting::protocol::query::ViewMessage;
use rmq_remoting::protocol::send::{SendMessage, SendResponse};
use rmq_remoting::protocol::send_back::SendBack;
use rmq_remoting::protocol::topic::AllTopicConfigs;
use rmq_remoting::{RemotingCommand, TypedRequest, response_code};
use rmq_store::FlushDiskType;

use crate::fixture::{Fixture, bodies, config, header, payload, seen};

#[tokio::test]
async fn a_sent_message_is_stored_with_the_brokers_marks() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let answer = fixture.send("Orders", "hello", "KEYS\u{1}k\u{2}POP_CK\u{1}x\u{2}").await;
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    let response: SendResponse = payload(&answer);
    assert_eq!((response.queue_id, response.queue_offset), (0, 0));
    assert!(response.msg_id.starts_with("7F00000200005597"), "{}", response.msg_id);
    let found = fixture.pull("Orders", 0, 0).await;
    let [message] = &seen(&found.body)[..] else { panic!("one message") };
    assert_eq!((&*message.body, &*message.topic), ("hello", "Orders"));
    let of = |name| message.properties.get(name);
    assert_eq!(of("CLUSTER"), Some("DefaultCluster"));
    assert_eq!(of("MSG_REGION"), Some("DefaultRegion"));
    assert_eq!(of("TRACE_ON"), Some("true"));
    assert_eq!(of("KEYS"), Some("k"));
    assert_eq!(of("POP_CK"), None);
    assert_eq!(of("UNIQ_KEY"), response.transaction_id.as_deref());
    fixture.stop().await;
}

#[tokio::test]
async fn a_body_of_4_mib_passes_and_one_byte_more_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let send = |len| header("Orders", "").to_command(Bytes::from(vec![7; len]));
    assert_eq!(fixture.ask(send(4 << 20)).await.code, 0);
    let refused = fixture.ask(send((4 << 20) + 1)).await;
    assert_eq!(refused.code, response_code::MESSAGE_ILLEGAL);
    assert_eq!(fixture.pull("Orders", 0, 1).await.field("maxOffset"), Some("1"));
    fixture.stop().await;
}

#[tokio::test]
async fn a_negative_queue_means_any() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let mut queues = std::collections::BTreeSet::new();
    for _ in 0..64 {
        let header = SendMessage { queue_id: -1, ..header("Orders", "") };
        let answer = fixture.ask(header.to_command("x".into())).await;
        queues.insert(payload::<SendResponse>(&answer).queue_id);
    }
    assert!(queues.len() > 1 && queues.iter().all(|id| (0..4).contains(id)), "{queues:?}");
    fixture.stop().await;
}

#[tokio::test]
async fn a_batch_gets_consecutive_offsets_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let mut body = Vec::new();
    for text in [&b"one"[..], b"two", b"three"] {
        let item = BatchItem { flag: 0, body: text, properties: b"TAGS\x01t\x02" };
        batch::encode(&mut body, item).unwrap();
    }
    let header = SendMessage { batch: true, ..header("Orders", "") };
    let answer = fixture.ask(header.to_command(body.clone().into())).await;
    let response: SendResponse = payload(&answer);
    assert_eq!(response.msg_id.split(',').count(), 3);
    body.truncate(body.len() - 1);
    let refused = fixture.ask(header.to_command(body.into())).await;
    assert_eq!(refused.code, response_code::MESSAGE_ILLEGAL);
    let found = fixture.pull("Orders", 0, 0).await;
    assert_eq!(bodies(&found), ["one", "two", "three"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_one_way_send_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.oneway(header("Orders", "").to_command("x".into())).await;
    assert_eq!(bodies(&fixture.pull("Orders", 0, 0).await), ["x"]);
    fixture.stop().await;
}

#[tokio::test]
async fn what_this_version_does_not_serve_is_refused_and_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for (properties, code) in [
        ("A\u{1}zero\u{0}byte\u{2}", response_code::MESSAGE_ILLEGAL),
        ("TIMER_DELAY_MS\u{1}soon\u{2}", response_code::MESSAGE_ILLEGAL),
        ("TIMER_DELAY_SEC\u{1}9999999\u{2}", response_code::MESSAGE_ILLEGAL),
        ("DELAY\u{1}soon\u{2}", response_code::MESSAGE_ILLEGAL),
    ] {
        let answer = fixture.send("Orders", "x", properties).await;
        assert_eq!(answer.code, code, "{properties}");
        assert_eq!(answer.field("MSG_REGION"), Some("DefaultRegion"));
    }
    // Kinds of records that only the broker writes are not taken from a sender.
    let header = SendMessage { sys_flag: 4 | 64 | 128, ..header("Orders", "") };
    assert_eq!(fixture.ask(header.to_command("x".into())).await.code, 0);
    assert_eq!(bodies(&fixture.pull("Orders", 0, 0).await), ["x"]);
    fixture.stop().await;
}

#[tokio::test]
async fn with_sync_flush_an_answer_means_durable_and_readable() {
    let dir = tempfile::tempdir().unwrap();
    let sync = BrokerConfig { flush_disk_type: FlushDiskType::Sync, ..config(dir.path()) };
    let fixture = Fixture::start(sync);
    for number in 0..3 {
        let answer = fixture.send("Orders", &format!("{number}"), "").await;
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        let found = fixture.pull("Orders", 0, number).await;
        assert_eq!(bodies(&found), [format!("{number}")]);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_topic_made_by_a_send_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "x", "").await;
    // Nothing is stopped politely: only what an answer has promised counts.
    let file = dir.path().join("config/topics.json");
    let text = fixture.world.disk.read(&file).unwrap();
    assert!(String::from_utf8_lossy(&text).contains("\"Orders\""));
    fixture.stop().await;
}

async fn sent(fixture: &Fixture) -> i64 {
    fixture.send("Orders", "x", "TAGS\u{1}t\u{2}").await;
    seen(&fixture.pull("Orders", 0, 0).await.body)[0].physical
}

fn back(offset: i64, delay_level: i32, max: Option<i32>) -> RemotingCommand {
    let request = SendBack {
        offset,
        group: "GC".into(),
        delay_level,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: None,
        max_reconsume_times: max,
    };
    request.to_command()
}

#[tokio::test]
async fn a_message_sent_back_comes_again_with_one_more_attempt() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let offset = sent(&fixture).await;
    assert_eq!(fixture.ask(back(offset, 1, None)).await.code, 0);
    let mut pull = crate::fixture::pull("%RETRY%GC", 0, 0);
    pull.sys_flag |= rmq_message::sys_flag::pull::SUSPEND;
    let found = fixture.ask(pull.to_command()).await;
    let [message] = &seen(&found.body)[..] else { panic!("{:?}", found.remark) };
    assert_eq!((&*message.body, message.reconsume_times), ("x", 1));
    assert_eq!(message.properties.get(property::RETRY_TOPIC), Some("Orders"));
    assert!(message.properties.get(property::ORIGIN_MESSAGE_ID).is_some());
    assert_eq!(message.properties.get(property::TAGS), Some("t"));
    fixture.stop().await;
}

/// Level 3 is ten seconds.
#[tokio::test]
async fn a_first_failure_waits_for_ten_seconds_and_each_further_one_a_level_longer() {
    let dir = tempfile::tempdir().unwrap();
    let message_delay_level = BrokerConfig::default().message_delay_level;
    assert!(message_delay_level.starts_with("1s 5s 10s 30s 1m 2m "));
    let fixture = Fixture::start(BrokerConfig { message_delay_level, ..config(dir.path()) });
    let mut failed = sent(&fixture).await;
    for (attempt, level) in [(1, 3), (2, 4), (3, 5)] {
        assert_eq!(fixture.ask(back(failed, 0, None)).await.code, 0);
        let waiting = fixture.pull("SCHEDULE_TOPIC_XXXX", level - 1, 0).await;
        let [copy] = &seen(&waiting.body)[..] else { panic!("{:?}", waiting.remark) };
        let told = copy.properties.get(property::DELAY);
        assert_eq!((copy.reconsume_times, told), (attempt, Some(level.to_string().as_str())));
        failed = copy.physical;
    }
    fixture.stop().await;
}

#[tokio::test]
async fn the_last_attempt_goes_to_the_dead_letters_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let offset = sent(&fixture).await;
    for (level, max) in [(-1, None), (1, Some(0))] {
        assert_eq!(fixture.ask(back(offset, level, max)).await.code, 0);
    }
    let dead = fixture.pull("%DLQ%GC", 0, 0).await;
    assert_eq!(bodies(&dead), ["x", "x"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_send_to_a_retry_topic_ends_in_the_dead_letters_after_too_many_or_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let retry = |times| SendMessage {
        reconsume_times: times,
        max_reconsume_times: Some(2),
        ..header("%RETRY%GC", "DELAY\u{1}3\u{2}")
    };
    assert_eq!(fixture.ask(retry(2).to_command("waits".into())).await.code, 0);
    assert_eq!(fixture.ask(retry(3).to_command("dead".into())).await.code, 0);
    let lock = LockQueues {
        client_id: "c".into(),
        consumer_group: "GC".into(),
        mq_set: vec![MessageQueue::new("%RETRY%GC", "broker-a", 0)],
        only_this_broker: false,
    };
    assert_eq!(fixture.call(&lock).await.lock_ok_mq_set.len(), 1);
    assert_eq!(fixture.ask(retry(0).to_command("ordered".into())).await.code, 0);
    let dead = fixture.pull("%DLQ%GC", 0, 0).await;
    assert_eq!(bodies(&dead), ["dead", "ordered"]);
    assert_eq!(seen(&dead.body)[0].properties.get(property::DELAY), Some("-1"));
    fixture.stop().await;
}

#[tokio::test]
async fn only_the_beginning_of_a_record_is_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let offset = sent(&fixture).await;
    let view = |offset| ViewMessage { topic: None, offset }.to_command();
    assert_eq!(bodies(&fixture.ask(view(offset)).await), ["x"]);
    for wrong in [offset + 1, offset + 4, -1, i64::MAX, i64::MIN] {
        assert_eq!(fixture.ask(view(wrong)).await.code, response_code::SYSTEM_ERROR);
        assert_eq!(fixture.ask(back(wrong, 0, None)).await.code, response_code::SYSTEM_ERROR);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn topics_are_listed_by_pages() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let page = AllTopicConfigs { topic_seq: Some(0), data_version: None, max_topic_num: Some(2) };
    let (header, table) = fixture.call(&page).await;
    assert_eq!(table.topic_config_table.len(), 2);
    assert!(header.total_topic_num.unwrap() > 10);
    fixture.stop().await;
}
