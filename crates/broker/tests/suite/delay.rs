//! Messages with a delay level.

use std::time::Duration;

use rmq_message::{property, sys_flag};
use rmq_remoting::protocol::pull::PullMessage;
use rmq_remoting::protocol::send::SendResponse;
use rmq_remoting::protocol::topic::DeleteTopic;

use crate::fixture::{Fixture, bodies, config, payload, pull, seen};

fn held(topic: &str, offset: i64) -> PullMessage<'_> {
    let base = pull(topic, 0, offset);
    PullMessage { sys_flag: base.sys_flag | sys_flag::pull::SUSPEND, ..base }
}

#[tokio::test]
async fn a_delayed_message_comes_when_its_time_has_come_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "now", "").await;
    let begun = fixture.world.clock.monotonic();
    let answer = fixture.send("Orders", "later", "TAGS\u{1}t\u{2}DELAY\u{1}1\u{2}").await;
    let response: SendResponse = payload(&answer);
    assert_eq!((response.queue_id, response.queue_offset), (0, 0));
    assert_eq!(fixture.pull("Orders", 0, 1).await.code, 19);
    let found = fixture.ask(held("Orders", 1).to_command()).await;
    let took = fixture.world.clock.monotonic().since(begun);
    assert!(took >= Duration::from_millis(990) && took < Duration::from_secs(5), "{took:?}");
    let [message] = &seen(&found.body)[..] else { panic!("{:?}", found.remark) };
    assert_eq!((&*message.body, &*message.topic, message.offset), ("later", "Orders", 1));
    assert_eq!(message.properties.get(property::REAL_TOPIC), Some("Orders"));
    fixture.stop().await;
}

#[tokio::test]
async fn what_waits_is_delivered_after_a_restart_once() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "now", "").await;
    fixture.send("Orders", "first", "DELAY\u{1}1\u{2}").await;
    assert_eq!(bodies(&fixture.ask(held("Orders", 1).to_command()).await), ["first"]);
    fixture.send("Orders", "second", "DELAY\u{1}2\u{2}").await;
    fixture.send("Orders", "third", "DELAY\u{1}99\u{2}").await;
    fixture.stop().await;

    let fixture = Fixture::start(config(dir.path()));
    assert_eq!(bodies(&fixture.ask(held("Orders", 2).to_command()).await), ["second"]);
    assert_eq!(fixture.pull("Orders", 0, 0).await.field("maxOffset"), Some("3"));
    // The level beyond the last is the last, of an hour.
    assert_eq!(bodies(&fixture.pull("SCHEDULE_TOPIC_XXXX", 2, 0).await), ["third"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_delayed_message_of_a_deleted_topic_does_not_bring_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Gone", "later", "DELAY\u{1}1\u{2}").await;
    fixture.send("Orders", "later", "DELAY\u{1}1\u{2}").await;
    fixture.call(&DeleteTopic { topic: "Gone".into() }).await;
    assert_eq!(bodies(&fixture.ask(held("Orders", 0).to_command()).await), ["later"]);
    assert_eq!(fixture.pull("Gone", 0, 0).await.code, 17);
    fixture.stop().await;
}
