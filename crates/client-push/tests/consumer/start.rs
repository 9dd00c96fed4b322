//! Start checks, the start sequence, and where a queue begins.

use std::time::Duration;

use rmq_client_push::{
    ClientConfig, ClientError, ConsumeContext, ConsumeFrom, ErrorKind, MessageModel, Messages,
    PushConsumer, PushError, PushSettings,
};
use rmq_message::Properties;
use rmq_remoting::command::Response;
use rmq_remoting::{request_code as code, response_code};
use serde_json::json;
use tokio::sync::mpsc;

use crate::script::{GROUP, RETRY, Script, next};

async fn nothing(_messages: Messages, _context: ConsumeContext) {}

/// Bodies in the order in which the listener gets them.
fn bodies() -> (impl Fn(Messages, ConsumeContext) -> std::future::Ready<()>, mpsc::Receiver<String>)
{
    let (tx, rx) = mpsc::channel(1000);
    let listener = move |messages: Messages, _: ConsumeContext| {
        for message in &messages {
            tx.try_send(String::from_utf8_lossy(&message.body).into_owned()).unwrap();
        }
        std::future::ready(())
    };
    (listener, rx)
}

#[tokio::test(start_paused = true)]
async fn wrong_settings_do_not_start_and_say_why() {
    let refused = |builder: rmq_client_push::PushConsumerBuilder| async {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string().lines().next().unwrap().to_owned()
    };
    let named = || PushConsumer::builder().namesrv("a:1").listener(nothing);
    assert_eq!(
        refused(named()).await,
        "consumerGroup can not equal DEFAULT_CONSUMER, please specify another one."
    );
    let group = || named().group("g");
    let without = PushConsumer::builder().namesrv("a:1").group("g");
    assert_eq!(refused(without).await, "messageListener is null");
    let both_wrong = PushConsumer::builder().namesrv("a:1").group("g").consume_threads(0);
    assert_eq!(refused(both_wrong).await, "messageListener is null", "it is looked for first");
    assert_eq!(
        refused(group().batch_size(0)).await,
        "consumeMessageBatchMaxSize Out of range [1, 1024]"
    );
    assert_eq!(
        refused(group().subscribe("T", "||")).await,
        "subscription exception: topic T: subString split error"
    );
    let blank = refused(group().subscribe(" ", "*")).await;
    assert_eq!(blank, "the specified topic is blank");
    let nowhere = PushConsumer::builder().group("g").listener(nothing);
    assert_eq!(refused(nowhere).await, "No name server address, please set it.");
}

#[test]
fn what_nobody_has_set_is_as_in_the_original() {
    let settings = serde_json::to_value(PushSettings::default()).unwrap();
    for (name, expected) in [
        ("messageModel", json!("CLUSTERING")),
        ("consumeFromWhere", json!("CONSUME_FROM_LAST_OFFSET")),
        ("consumeThreadMin", json!(20)),
        ("consumeThreadMax", json!(20)),
        ("consumeConcurrentlyMaxSpan", json!(2000)),
        ("pullThresholdForQueue", json!(1000)),
        ("pullThresholdForTopic", json!(-1)),
        ("pullThresholdSizeForQueue", json!(100)),
        ("pullThresholdSizeForTopic", json!(-1)),
        ("pullInterval", json!(0)),
        ("consumeMessageBatchMaxSize", json!(1)),
        ("pullBatchSize", json!(32)),
        ("pullBatchSizeInBytes", json!(262_144)),
        ("postSubscriptionWhenPull", json!(false)),
        ("unitMode", json!(false)),
        ("maxReconsumeTimes", json!(-1)),
        ("suspendCurrentQueueTimeMillis", json!(1000)),
        ("consumeTimeout", json!(15)),
        ("pullTimeDelayMillsWhenException", json!(1000)),
        ("clientRebalance", json!(true)),
        ("popInvisibleTime", json!(60_000)),
        ("popBatchNums", json!(32)),
        ("popThresholdForQueue", json!(96)),
    ] {
        assert_eq!(settings[name], expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_asks_for_routes_then_announces_itself_then_balances() {
    let script = Script::new(2);
    let consumer = script.consumer().listener(nothing).start().await.unwrap();
    script.asked(code::PULL_MESSAGE, 2).await;
    let log = script.with(|state| state.log.clone());
    let first = |code: i32| log.iter().position(|seen| seen.code == code).unwrap();
    let order = [
        code::GET_ROUTEINFO_BY_TOPIC,
        code::HEART_BEAT,
        code::GET_CONSUMER_LIST_BY_GROUP,
        code::QUERY_CONSUMER_OFFSET,
        code::PULL_MESSAGE,
    ];
    assert!(order.map(first).is_sorted(), "{log:#?}");
    let pulls = log.iter().filter(|seen| seen.code == code::PULL_MESSAGE);
    assert!(pulls.clone().all(|pull| pull.fields["consumerGroup"] == GROUP));
    let heartbeat = script.with(|state| state.heartbeats[0].clone());
    let topics: Vec<_> = heartbeat.consumer_data_set[0]
        .subscription_data_set
        .iter()
        .map(|s| s.topic.as_str())
        .collect();
    assert_eq!(topics, [RETRY, "T"]);
    assert_eq!(consumer.assignment().len(), 3);
    // The balance comes at once; the first pull waits for the last commit of a former owner.
    let began = Duration::from_millis(500)..Duration::from_secs(1);
    assert!(began.contains(&script.now()), "{:?}", script.now());
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_can_join_an_instance_only_once() {
    let script = Script::new(1);
    let instance = script.instance();
    let builder = || PushConsumer::builder().instance(&instance).group(GROUP).listener(nothing);
    let first = builder().start().await.unwrap();
    let error = builder().start().await.unwrap_err();
    assert!(error.to_string().starts_with(
        "The consumer group[g] has been created before, specify another name please."
    ));
    first.shutdown(Duration::ZERO).await;
    builder().start().await.unwrap().shutdown(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_without_name_servers_fails_and_leaves_nothing_behind() {
    let script = Script::new(1);
    let instance = script.instance();
    script.answer(|request, _| {
        let refuse = request.code == code::GET_ROUTEINFO_BY_TOPIC;
        refuse.then(|| Response::error(response_code::SYSTEM_ERROR, "down").into())
    });
    let builder = || {
        PushConsumer::builder()
            .instance(&instance)
            .group(GROUP)
            .subscribe("T", "*")
            .listener(nothing)
    };
    let error = builder().start().await.unwrap_err();
    assert!(matches!(error, PushError::Client(ClientError::Refused { .. })), "{error}");
    script.answer_as_usual();
    builder().start().await.unwrap().shutdown(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_a_broker_refuses_fails_the_start() {
    let script = Script::new(1);
    script.answer(|request, _| {
        let refuse = request.code == code::CHECK_CLIENT_CONFIG;
        refuse.then(|| Response::error(23, "no such property").into())
    });
    let builder = script.consumer().subscribe_sql("T", "a >").listener(nothing);
    let error = builder.start().await.unwrap_err();
    assert!(error.to_string().contains("no such property"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_a_route_is_found_later() {
    let script = Script::new(0);
    let (listener, mut seen) = bodies();
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    script.with(|state| state.queues.insert(("T".into(), 0), crate::script::Queue::default()));
    script.store("T", 0, "", "hello");
    script.with(|state| state.committed.insert(("T".into(), 0), 0));
    assert_eq!(next(&mut seen).await, "hello");
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_begins_where_the_group_stopped_else_by_the_rule() {
    for (from, stored, begin) in [
        (ConsumeFrom::LastOffset, None, 5),
        (ConsumeFrom::FirstOffset, None, 0),
        (ConsumeFrom::Timestamp, None, 2),
        (ConsumeFrom::LastOffset, Some(3), 3),
        (ConsumeFrom::FirstOffset, Some(0), 0),
        (ConsumeFrom::Timestamp, Some(4), 4),
    ] {
        let script = Script::new(1);
        (0..5).for_each(|n| script.store("T", 0, "", &n.to_string()));
        if let Some(offset) = stored {
            script.with(|state| state.committed.insert(("T".into(), 0), offset));
        }
        let consumer =
            script.consumer().consume_from(from).listener(nothing).start().await.unwrap();
        let pull = &script.asked(code::PULL_MESSAGE, 1).await[0];
        assert_eq!(pull.number("queueOffset"), begin, "{from:?} {stored:?}");
        let retry = script
            .until("a pull of retries", |state| {
                state.log.iter().find(|s| s.is(code::PULL_MESSAGE, RETRY)).cloned()
            })
            .await;
        assert_eq!(retry.number("queueOffset"), 0);
        consumer.shutdown(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_query_of_progress_is_repeated_and_commits_nothing() {
    let script = Script::new(1);
    (0..5).for_each(|n| script.store("T", 0, "", &n.to_string()));
    script.with(|state| state.committed.insert(("T".into(), 0), 3));
    let mut failures = 10;
    script.answer(move |request, _| {
        if request.code != code::QUERY_CONSUMER_OFFSET || failures == 0 {
            return None;
        }
        failures -= 1;
        Some(Response::error(response_code::SYSTEM_ERROR, "not now").into())
    });
    let (listener, mut seen) = bodies();
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    let pull = &script.asked(code::PULL_MESSAGE, 1).await[0];
    assert_eq!(pull.number("queueOffset"), 3);
    let log = script.with(|state| state.log.clone());
    assert!(!log.iter().any(|seen| seen.is(code::UPDATE_CONSUMER_OFFSET, "T")));
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 0)]), 3);
    assert_eq!(next(&mut seen).await, "3");
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_position_given_up_before_it_was_known_commits_nothing() {
    let script = Script::new(1);
    script.answer(|request, _| {
        let refuse = request.code == code::QUERY_CONSUMER_OFFSET;
        refuse.then(|| Response::error(response_code::SYSTEM_ERROR, "not now").into())
    });
    let consumer = script.consumer().listener(nothing).start().await.unwrap();
    script.asked(code::QUERY_CONSUMER_OFFSET, 3).await;
    consumer.shutdown(Duration::from_secs(1)).await;
    assert!(script.with(|state| state.committed.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_queue_given_up_before_its_first_pull_leaves_the_former_owners_last_commit_alone() {
    let script = Script::new(1);
    script.with(|state| state.committed.insert(("T".into(), 0), 3));
    let consumer = script.consumer().listener(nothing).start().await.unwrap();
    script.asked(code::QUERY_CONSUMER_OFFSET, 1).await;
    script.with(|state| state.committed.insert(("T".into(), 0), 7));
    consumer.shutdown(Duration::ZERO).await;
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 0)]), 7);
}

#[tokio::test(start_paused = true)]
async fn a_former_owners_last_commit_moves_the_first_pull() {
    let script = Script::new(1);
    (0..9).for_each(|n| script.store("T", 0, "", &n.to_string()));
    script.with(|state| state.committed.insert(("T".into(), 0), 3));
    let (listener, mut seen) = bodies();
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    script.asked(code::QUERY_CONSUMER_OFFSET, 1).await;
    script.with(|state| state.committed.insert(("T".into(), 0), 7));
    assert_eq!(next(&mut seen).await, "7");
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn retried_messages_come_under_their_own_topic() {
    let script = Script::new(1);
    let (tx, mut rx) = mpsc::channel(10);
    let listener = move |messages: Messages, context: ConsumeContext| {
        let (topic, times) = (messages[0].topic.to_string(), messages[0].reconsume_times);
        tx.try_send((topic, times, context.queue().topic.to_string())).unwrap();
        std::future::ready(())
    };
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    let properties: Properties = [("RETRY_TOPIC", "T")].into_iter().collect();
    script.store_as(RETRY, 0, &properties, "again", 2);
    assert_eq!(next(&mut rx).await, ("T".to_owned(), 2, RETRY.to_owned()));
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn broadcasting_reads_all_queues_and_keeps_progress_in_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let script = Script::new(2);
    let config = || ClientConfig {
        local_offset_store_dir: Some(directory.path().to_owned()),
        instance_name: Some("one".to_owned()),
        ..ClientConfig::default()
    };
    script.with(|state| state.members.insert("somebody-else".into()));
    for (round, expected) in [("a", "a"), ("b", "b")] {
        let instance = script.instance_with(config(), true);
        let (listener, mut seen) = bodies();
        let consumer = PushConsumer::builder()
            .instance(&instance)
            .group(GROUP)
            .subscribe("T", "*")
            .message_model(MessageModel::Broadcasting)
            .consume_from(ConsumeFrom::FirstOffset)
            .listener(listener)
            .start()
            .await
            .unwrap();
        script.store("T", 0, "", round);
        assert_eq!(next(&mut seen).await, expected);
        script.until("both queues", |_| (consumer.assignment().len() == 2).then_some(())).await;
        assert_eq!(consumer.shutdown(Duration::from_secs(1)).await.unconsumed, 0);
        instance.shutdown(Duration::from_secs(1)).await;
    }
    assert!(script.with(|state| state.committed.is_empty()));
    let announced = script.with(|state| state.heartbeats[0].consumer_data_set[0].clone());
    assert_eq!(announced.message_model, MessageModel::Broadcasting);
    assert_eq!(announced.subscription_data_set.len(), 1, "no retry topic");
}
