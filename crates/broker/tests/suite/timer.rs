//! Messages that wait until a moment of their own, and how they are taken back.

use std::time::Duration;

use rmq_broker::BrokerConfig;
use rmq_message::{property, sys_flag};
use rmq_remoting::protocol::pull::PullMessage;
use rmq_remoting::protocol::send::{RecallMessage, SendResponse};
use rmq_remoting::protocol::stats::{BrokerRuntime, GetTimerMetrics};
use rmq_remoting::{RemotingCommand, request_code, response_code};

use crate::fixture::{Fixture, bodies, config, payload, pull, seen};

fn held(topic: &str, offset: i64) -> PullMessage<'_> {
    let base = pull(topic, 0, offset);
    PullMessage { sys_flag: base.sys_flag | sys_flag::pull::SUSPEND, ..base }
}

fn now_ms(fixture: &Fixture) -> i64 {
    rmq_message::Timestamp::from(fixture.world.clock.wall()).0
}

fn recalling(dir: &tempfile::TempDir) -> BrokerConfig {
    BrokerConfig { recall_message_enable: true, ..config(dir.path()) }
}

#[tokio::test]
async fn a_timed_message_comes_after_its_moment_and_within_two_ticks() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "now", "").await;
    let asked = now_ms(&fixture) + 1300;
    let timed = format!("TAGS\u{1}t\u{2}TIMER_DELIVER_MS\u{1}{asked}\u{2}");
    let response: SendResponse = payload(&fixture.send("Orders", "later", &timed).await);
    assert_eq!((response.queue_id, response.queue_offset), (0, 0));
    assert!(response.recall_handle.is_some());
    let found = fixture.ask(held("Orders", 1).to_command()).await;
    let late = now_ms(&fixture) - asked;
    assert!((0..2500).contains(&late), "{late} ms late");
    let [message] = &seen(&found.body)[..] else { panic!("{:?}", found.remark) };
    assert_eq!((&*message.body, &*message.topic, message.offset), ("later", "Orders", 1));
    let of = |name| message.properties.get(name).and_then(|text| text.parse::<i64>().ok());
    let tick = of(property::TIMER_OUT_MS).unwrap();
    assert!(tick % 1000 == 0 && tick < asked && asked <= tick + 1000, "{tick} for {asked}");
    assert!(of(property::TIMER_ENQUEUE_MS).unwrap() <= tick);
    assert!(of(property::TIMER_DEQUEUE_MS).unwrap() >= asked);
    assert_eq!(message.properties.get(property::REAL_TOPIC), Some("Orders"));
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_due_already_is_an_ordinary_message_and_what_is_too_far_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let answer = fixture.send("Orders", "past", "TIMER_DELIVER_MS\u{1}1000\u{2}").await;
    assert_eq!(answer.field("recallHandle"), None);
    assert_eq!(bodies(&fixture.pull("Orders", 0, 0).await), ["past"]);
    for wrong in ["TIMER_DELAY_SEC\u{1}259201\u{2}", "TIMER_DELAY_MS\u{1}soon\u{2}"] {
        let refused = fixture.send("Orders", "x", wrong).await;
        assert_eq!(refused.code, response_code::MESSAGE_ILLEGAL, "{wrong}");
    }
    fixture.stop().await;

    let off = BrokerConfig { timer_wheel_enable: false, ..config(dir.path()) };
    let fixture = Fixture::start(off);
    let refused = fixture.send("Orders", "x", "TIMER_DELAY_SEC\u{1}1\u{2}").await;
    assert_eq!(
        (refused.code, refused.remark()),
        (1, "accurate timer message is not enabled, timerWheelEnable is false")
    );
    fixture.stop().await;
}

#[tokio::test]
async fn what_waits_comes_once_after_a_restart_and_also_when_the_notes_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "first", "TIMER_DELAY_MS\u{1}500\u{2}").await;
    assert_eq!(bodies(&fixture.ask(held("Orders", 0).to_command()).await), ["first"]);
    fixture.send("Orders", "second", "TIMER_DELAY_MS\u{1}2500\u{2}").await;
    fixture.send("Orders", "third", "TIMER_DELAY_SEC\u{1}5\u{2}").await;
    fixture.stop().await;

    let fixture = Fixture::start(config(dir.path()));
    assert_eq!(bodies(&fixture.ask(held("Orders", 1).to_command()).await), ["second"]);
    let check = RemotingCommand::request(request_code::GET_TIMER_CHECK_POINT);
    assert_eq!(fixture.ask(check).await.body.len(), 56);
    fixture.stop().await;

    // Without wheel and log the queue tells what waits.
    let disk = &*rmq_runtime::World::system().disk;
    disk.remove(&dir.path().join("timerwheel")).unwrap();
    disk.remove(&dir.path().join("config/timercheck")).unwrap();
    disk.remove_dir(&dir.path().join("timerlog")).unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let mut from = 2;
    let mut came: Vec<String> = Vec::new();
    while !came.iter().any(|body| body == "third") {
        let found = bodies(&fixture.ask(held("Orders", from).to_command()).await);
        from += i64::try_from(found.len()).unwrap();
        came.extend(found);
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_message_that_waits_longer_than_the_window_goes_round() {
    let dir = tempfile::tempdir().unwrap();
    let rolling = BrokerConfig { timer_roll_window_slot: 2, ..config(dir.path()) };
    let fixture = Fixture::start(rolling);
    let asked = now_ms(&fixture) + 4500;
    let timed = format!("TIMER_DELIVER_MS\u{1}{asked}\u{2}");
    fixture.send("Orders", "later", &timed).await;
    let found = fixture.ask(held("Orders", 0).to_command()).await;
    assert!(now_ms(&fixture) >= asked);
    let [message] = &seen(&found.body)[..] else { panic!("{:?}", found.remark) };
    let rolls = message.properties.get("TIMER_ROLL_TIMES").and_then(|text| text.parse().ok());
    assert!(rolls.is_some_and(|rolls: u32| rolls >= 1), "{:?}", message.properties);
    fixture.stop().await;
}

#[tokio::test]
async fn a_message_that_is_taken_back_never_comes_and_its_neighbours_do() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(recalling(&dir));
    fixture.send("Orders", "now", "").await;
    let asked = now_ms(&fixture) + 1500;
    let timed = |id: &str| format!("UNIQ_KEY\u{1}{id}\u{2}TIMER_DELIVER_MS\u{1}{asked}\u{2}");
    fixture.send("Orders", "stays", &timed("id-1")).await;
    let gone: SendResponse = payload(&fixture.send("Orders", "goes", &timed("id-2")).await);
    fixture.send("Orders", "stays too", &timed("id-3")).await;
    let recall = |topic: &str, handle: &str| RecallMessage {
        producer_group: Some("GP".into()),
        topic: topic.into(),
        recall_handle: handle.into(),
    };
    let handle = gone.recall_handle.unwrap();
    assert_eq!(fixture.call(&recall("Orders", &handle)).await.msg_id, "id-2");
    let mut came = Vec::new();
    while came.len() < 2 {
        let from = 1 + i64::try_from(came.len()).unwrap();
        came.extend(bodies(&fixture.ask(held("Orders", from).to_command()).await));
    }
    assert_eq!(came, ["stays", "stays too"]);
    assert_eq!(fixture.pull("Orders", 0, 0).await.field("maxOffset"), Some("3"));

    use rmq_remoting::TypedRequest as _;
    for (wrong, code) in [
        (recall("Missing", &handle), 17),
        (recall("TBW102", &handle), 604),
        (recall("Orders", "no ticket"), 604),
        // Its moment is over.
        (recall("Orders", &handle), 604),
    ] {
        assert_eq!(fixture.ask(wrong.to_command()).await.code, code, "{wrong:?}");
    }
    fixture.stop().await;
    let fixture = Fixture::start(config(dir.path()));
    let refused = fixture.ask(recall("Orders", &handle).to_command()).await;
    assert_eq!((refused.code, refused.remark()), (16, "recall failed, operation is forbidden"));
    fixture.stop().await;
}

#[tokio::test]
async fn many_messages_of_one_tick_come_in_the_order_in_which_they_were_sent() {
    let dir = tempfile::tempdir().unwrap();
    let small = BrokerConfig { mapped_file_size_timer_log: 4096, ..config(dir.path()) };
    let fixture = Fixture::start(small);
    let asked = now_ms(&fixture) + 2500;
    let timed = format!("TIMER_DELIVER_MS\u{1}{asked}\u{2}");
    let sent: Vec<String> = (0..700).map(|number| number.to_string()).collect();
    for body in &sent {
        fixture.send("Orders", body, &timed).await;
    }
    let mut came: Vec<String> = Vec::new();
    let begun = fixture.world.clock.monotonic();
    while came.len() < sent.len() {
        let from = i64::try_from(came.len()).unwrap();
        came.extend(bodies(&fixture.ask(held("Orders", from).to_command()).await));
        assert!(fixture.world.clock.monotonic().since(begun) < Duration::from_secs(20));
    }
    assert_eq!(came, sent);
    fixture.stop().await;
}

/// How many wait for each topic.
async fn waiting(fixture: &Fixture) -> Vec<(String, i64)> {
    let metrics = fixture.call(&GetTimerMetrics).await;
    metrics.timing_count.into_iter().map(|(topic, row)| (topic.into(), row.count)).collect()
}

/// Until the timers have taken in what was sent.
async fn until(fixture: &Fixture, topic: &str, count: i64) {
    while !waiting(fixture).await.contains(&(topic.to_owned(), count)) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_is_counted_by_topic_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(recalling(&dir));
    let mut handle = None;
    for (topic, delay) in [("Orders", 3600), ("Orders", 3600), ("Bills", 1)] {
        let timed = format!("TIMER_DELAY_SEC\u{1}{delay}\u{2}");
        let sent: SendResponse = payload(&fixture.send(topic, "x", &timed).await);
        handle = handle.or(sent.recall_handle);
    }
    until(&fixture, "Orders", 2).await;
    fixture.ask(held("Bills", 0).to_command()).await;
    until(&fixture, "Bills", 0).await;
    assert_eq!(fixture.call(&BrokerRuntime).await.table["timerCongestNum"], "2");
    let recall = RecallMessage {
        producer_group: Some("GP".into()),
        topic: "Orders".into(),
        recall_handle: handle.unwrap(),
    };
    fixture.call(&recall).await;
    until(&fixture, "Orders", 1).await;
    fixture.stop().await;

    // The counts are made of the log; the file only names the topics.
    let disk = &*rmq_runtime::World::system().disk;
    let file = dir.path().join("config/timermetrics");
    let text = String::from_utf8(disk.read(&file).unwrap().to_vec()).unwrap();
    assert!(text.contains(r#""timingCount":{"Bills":{"count":0,"#), "{text}");
    for damage in [text.replace(r#""count":1"#, r#""count":9"#), "{".to_owned()] {
        disk.write(&file, damage.as_bytes()).unwrap();
        if damage == "{" {
            disk.remove(&dir.path().join("config/timermetrics.bak")).unwrap();
        }
        let fixture = Fixture::start(recalling(&dir));
        assert!(waiting(&fixture).await.contains(&("Orders".to_owned(), 1)), "{damage}");
        fixture.stop().await;
    }
}
