//! Giving queues up and taking them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rmq_client_core::RemoteOffsets;
use rmq_client_push::{
    ClientConfig, ClientError, ConsumeContext, ConsumeFrom, Messages, OffsetStore, OrderlyOutcome,
    Positions, PushConsumer, PushSettings,
};
use rmq_message::record::{NewRecord, Placement};
use rmq_message::{MessageQueue, MessageView, PhysicalOffset, QueueOffset, Timestamp};
use rmq_remoting::command::{RemotingCommand, Response};
use rmq_remoting::processor::Reply;
use rmq_remoting::protocol::client::{
    ClientStatus, ConsumeDirectly, ConsumerSnapshot, ConsumerStatus, ConsumersChanged,
    DescribeConsumer, DirectOutcome, DirectResult, ResetClientOffset,
};
use rmq_remoting::protocol::offset::ResetOffsets;
use rmq_remoting::request_code as code;
use rmq_remoting::typed::TypedRequest;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::script::{BROKER, GROUP, Queue, Script, State, gated, next};

/// Another member joins or leaves, and the broker tells.
async fn member(script: &Script, id: &str, joins: bool) {
    script.with(
        |state| {
            if joins { state.members.insert(id.into()) } else { state.members.remove(id) }
        },
    );
    let changed = ConsumersChanged { consumer_group: GROUP.into() };
    script.tell_clients(&changed.to_command()).await;
}

fn own(consumer: &PushConsumer) -> Vec<i32> {
    let queues = consumer.assignment().into_iter();
    queues.filter(|queue| queue.topic == "T").map(|queue| queue.queue_id).collect()
}

#[tokio::test(start_paused = true)]
async fn queues_are_shared_and_every_change_is_told() {
    let script = Script::new(4);
    let (tx, mut rx) = mpsc::channel(10);
    let settings = PushSettings {
        consumer_group: GROUP.into(),
        pull_threshold_for_topic: 30,
        ..PushSettings::default()
    };
    let builder = script.consumer().settings(settings).on_assignment(move |topic, queues| {
        if topic == "T" {
            let ids: Vec<_> = queues.iter().map(|queue| queue.queue_id).collect();
            tx.try_send(ids).unwrap();
        }
    });
    let (listener, _gate, mut seen) = gated(0);
    let consumer = builder.listener(listener).start().await.unwrap();
    assert_eq!(next(&mut rx).await, [0, 1, 2, 3]);
    let version = |state: &State| {
        let subscriptions = &state.heartbeats.last()?.consumer_data_set[0].subscription_data_set;
        subscriptions.iter().find(|one| one.topic == "T").map(|one| one.sub_version)
    };
    let first = script.with(|state| version(state));
    // Client ids begin with an address; "~" sorts behind, "!" before.
    member(&script, "~other", true).await;
    assert_eq!(next(&mut rx).await, [0, 1]);
    assert_eq!(own(&consumer), [0, 1]);
    assert_eq!(consumer.assignment().len(), 3, "the retry topic is shared too");
    let renewed = |state: &mut State| (version(state) > first).then_some(());
    script.until("brokers hear of the new version", renewed).await;
    member(&script, "!other", true).await;
    member(&script, "~other", false).await;
    assert_eq!(next(&mut rx).await, [2, 3]);
    for (queue, body) in [(2, "a"), (3, "b"), (2, "c")] {
        script.store("T", queue, "", body);
        assert_eq!(next(&mut seen).await, body, "pulling goes on");
    }
    // Its part of what the topic may hold is less than one pull brings.
    (0..100).for_each(|n| script.store("T", 3, "", &n.to_string()));
    script.sleep(Duration::from_secs(60)).await;
    let held = consumer.running_info().await.mq_table;
    assert_eq!(held[&MessageQueue::new("T", BROKER, 3)].cached_msg_count, 1 + 32);
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn queues_that_come_and_go_with_the_route_are_taken_and_given_up() {
    let script = Script::new(2);
    let config = ClientConfig { route_interval: Duration::from_secs(2), ..ClientConfig::default() };
    let (tx, mut rx) = mpsc::channel(10);
    let builder = PushConsumer::builder().instance(&script.instance_with(config, false));
    let builder = builder.group(GROUP).subscribe("T", "*").on_assignment(move |topic, queues| {
        if topic == "T" {
            tx.try_send(queues.len()).unwrap();
        }
    });
    let (listener, _gate, mut seen) = gated(1000);
    let consumer = builder.listener(listener).start().await.unwrap();
    assert_eq!(next(&mut rx).await, 2);
    script.with(|state| state.queues.insert(("T".into(), 2), Queue::default()));
    assert_eq!((next(&mut rx).await, own(&consumer)), (3, vec![0, 1, 2]));
    script.store("T", 2, "", "new");
    assert_eq!(next(&mut seen).await, "new");
    script.answer(|request, state| {
        let is_route = request.code == code::GET_ROUTEINFO_BY_TOPIC;
        let topic = request.field("topic").filter(|topic| is_route && *topic == "T")?;
        let mut route = crate::script::route(topic, state)?;
        route.queue_datas[0].read_queue_nums = 2;
        Some(Response::of(&route).into())
    });
    assert_eq!((next(&mut rx).await, own(&consumer)), (2, vec![0, 1]));
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_list_of_members_changes_nothing() {
    let script = Script::new(2);
    let (listener, _gate, _seen) = gated(1000);
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    script.asked(code::PULL_MESSAGE, 2).await;
    let mut failures = 5;
    script.answer(move |request, _| {
        if request.code != code::GET_CONSUMER_LIST_BY_GROUP || failures == 0 {
            return None;
        }
        failures -= 1;
        Some(Response::error(1, "starting").into())
    });
    member(&script, "~other", true).await;
    script.asked(code::PULL_MESSAGE, 4).await;
    // Known again after a few seconds, not only after twenty.
    script.until("the queue is shared", |_| (own(&consumer) == [0]).then_some(())).await;
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_queue_commits_before_it_is_released() {
    let script = Script::new(2);
    let (tx, mut seen) = mpsc::channel(10);
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let listener = move |_: Messages, context: ConsumeContext| {
        let (gate, tx) = (Arc::clone(&held), tx.clone());
        async move {
            tx.send("taken").await.unwrap();
            context.revoked().await;
            tx.send("revoked").await.unwrap();
            gate.acquire().await.unwrap().forget();
        }
    };
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    script.asked(code::PULL_MESSAGE, 2).await;
    (0..3).for_each(|n| script.store("T", 1, "", &n.to_string()));
    for _ in 0..3 {
        assert_eq!(next(&mut seen).await, "taken");
    }
    member(&script, "~other", true).await;
    for _ in 0..3 {
        assert_eq!(next(&mut seen).await, "revoked");
    }
    // Nothing more is taken, but what ends now still counts, and is written once.
    assert_eq!(own(&consumer), [0]);
    gate.add_permits(3);
    let commit = script.asked(code::UPDATE_CONSUMER_OFFSET, 1).await;
    assert_eq!((commit[0].number("queueId"), commit[0].number("commitOffset")), (1, 3));
    assert!(!commit[0].oneway, "the broker has it before the queue is let go");
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn who_stood_still_for_long_sets_nobody_back() {
    let script = Script::new(1);
    (0..5).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let listener = |messages: Messages, _: ConsumeContext| async move {
        if messages[0].queue_offset.0 > 0 {
            std::future::pending::<()>().await;
        }
    };
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    script.committed(0, 1).await;
    // The process stands still; meanwhile another member has the queue and goes on with it.
    script.with(|state| state.committed.insert(("T".into(), 0), 5));
    tokio::time::advance(Duration::from_secs(100)).await;
    script.sleep(Duration::from_secs(30)).await;
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 0)]), 5);
    script.store("T", 0, "", "5");
    script.store("T", 0, "", "6");
    script.asked(code::PULL_MESSAGE, 1).await;
    consumer.shutdown(Duration::from_secs(1)).await;
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 0)]), 5);
}

#[tokio::test(start_paused = true)]
async fn what_ends_after_the_release_does_not_count() {
    let script = Script::new(2);
    let (listener, gate, mut seen) = gated(0);
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    script.asked(code::PULL_MESSAGE, 2).await;
    script.store("T", 1, "", "m");
    next(&mut seen).await;
    member(&script, "~other", true).await;
    script.committed(1, 0).await;
    // Another member has gone on; a late answer here must not touch that.
    script.with(|state| state.committed.insert(("T".into(), 1), 7));
    script.sleep(Duration::from_secs(1)).await;
    gate.add_permits(1);
    script.sleep(Duration::from_secs(30)).await;
    let report = consumer.shutdown(Duration::from_secs(1)).await;
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 1)]), 7);
    assert_eq!(report.abandoned, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pull_reply_after_revoke_and_reassign_is_ignored() {
    let script = Script::new(2);
    let (listener, _gate, mut seen) = gated(1000);
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    script.asked(code::PULL_MESSAGE, 2).await;
    // From now on pulls of queue 1 are answered when the test says so.
    let (tx, mut held) = mpsc::channel::<oneshot::Sender<Response>>(10);
    script.answer(move |request, _| {
        if request.code != code::PULL_MESSAGE || request.field("queueId") != Some("1") {
            return None;
        }
        let (answer, later) = oneshot::channel();
        tx.try_send(answer).unwrap();
        Some(Reply::Later(Box::pin(async move {
            later.await.unwrap_or_else(|_| Response::error(1, "given up"))
        })))
    });
    script.store("T", 1, "", "first");
    assert_eq!(next(&mut seen).await, "first");
    let stale = next(&mut held).await;
    member(&script, "~other", true).await;
    script.until("revoked", |_| (own(&consumer) == [0]).then_some(())).await;
    script.with(|state| state.committed.insert(("T".into(), 1), 1));
    member(&script, "~other", false).await;
    let fresh = next(&mut held).await;
    // Nobody waits for the old answer any more.
    assert!(stale.is_closed());
    script.store("T", 1, "", "second");
    let answer = script.with(|state| {
        let queue = &state.queues[&("T".to_owned(), 1)];
        crate::script::pulled(0, queue, 2, vec![queue.records[1].0.clone()])
    });
    assert!(fresh.send(answer).is_ok());
    assert_eq!(next(&mut seen).await, "second");
    assert!(seen.try_recv().is_err());
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_listeners_commits_and_then_leaves() {
    let script = Script::new(1);
    let (listener, gate, mut seen) = gated(0);
    let from = ConsumeFrom::FirstOffset;
    let builder = script.consumer().consume_from(from).consume_threads(2);
    let consumer = builder.listener(listener).start().await.unwrap();
    (0..5).for_each(|n| script.store("T", 0, "", &n.to_string()));
    next(&mut seen).await;
    next(&mut seen).await;
    let (script_later, gate) = (Arc::clone(&script), Arc::clone(&gate));
    let release = async move {
        script_later.sleep(Duration::from_secs(2)).await;
        gate.add_permits(1);
    };
    let (report, ()) = tokio::join!(consumer.shutdown(Duration::from_secs(10)), release);
    assert_eq!((report.finished, report.abandoned, report.unconsumed), (1, 1, 4));
    assert!(report.farewell && report.stragglers.is_empty(), "{report:?}");
    let log = script.with(|state| state.log.clone());
    let last = |code: i32| log.iter().rposition(|seen| seen.code == code).unwrap();
    assert!(last(code::UPDATE_CONSUMER_OFFSET) < last(code::UNREGISTER_CLIENT));
    assert!(last(code::PULL_MESSAGE) < last(code::UPDATE_CONSUMER_OFFSET));
    assert!(script.with(|state| state.members.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_reset_moves_queues_even_back() {
    let script = Script::new(1);
    (0..5).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (listener, _gate, mut seen) = gated(1000);
    let from = ConsumeFrom::FirstOffset;
    let builder = script.consumer().consume_from(from).consume_threads(1);
    let consumer = builder.listener(listener).start().await.unwrap();
    script.committed(0, 5).await;
    while seen.try_recv().is_ok() {}
    let header = ResetClientOffset {
        topic: "T".into(),
        group: GROUP.into(),
        timestamp: 0,
        is_force: true,
        queue_id: -1,
    };
    let offset_table = [(MessageQueue::new("T", BROKER, 0), 2)].into_iter().collect();
    script.tell_clients(&(header, ResetOffsets { offset_table }).to_command()).await;
    script.committed(0, 2).await;
    for expected in ["2", "3", "4"] {
        assert_eq!(next(&mut seen).await, expected);
    }
    script.committed(0, 5).await;
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn operators_see_positions_queues_rates_and_tasks() {
    let script = Script::new(1);
    (0..3).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (listener, _gate, _seen) = gated(2);
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    script.until("two are done", |_| (consumer.stats().get("T")?.ok == 2).then_some(())).await;
    script.sleep(Duration::from_secs(11)).await;
    let status = ClientStatus { topic: "T".into(), group: GROUP.into(), client_addr: None };
    let status: ConsumerStatus = script.ask_client(status.to_command()).await.payload().unwrap();
    let queue = MessageQueue::new("T", BROKER, 0);
    assert_eq!(status.message_queue_table[&queue], 2);
    let describe = DescribeConsumer {
        consumer_group: GROUP.into(),
        client_id: consumer.client_id().into(),
        jstack_enable: Some(true),
    };
    let snapshot: ConsumerSnapshot =
        script.ask_client(describe.to_command()).await.payload().unwrap();
    let held = &snapshot.mq_table[&queue];
    assert_eq!((held.commit_offset, held.cached_msg_count, held.cached_msg_min_offset), (2, 1, 2));
    let pulled = script.asked(code::PULL_MESSAGE, 1).await;
    assert!(held.last_pull_timestamp >= 1_700_000_000_000 + millis(pulled[0].at));
    assert_eq!(snapshot.properties["pullBatchSize"], "32");
    assert_eq!(snapshot.properties["PROP_CONSUMEORDERLY"], "false");
    let rates = &snapshot.status_table["T"];
    assert!(rates.pull_tps > 0.0 && rates.consume_ok_tps > 0.0, "of the first seconds: {rates:?}");
    assert_eq!(snapshot.subscription_set.len(), 2);
    let tasks = snapshot.jstack.unwrap();
    for name in [
        "ConsumeMessageThread_g_1\n",
        "ConsumeMessageThread_g_20\n",
        "ConsumerStatsScheduledThread",
        "CleanExpireMsgScheduledThread_g",
        "PullMessageService T/broker-a/0",
        "RebalanceService",
        "MQClientFactoryScheduledThread routes",
        "MQClientFactoryScheduledThread heartbeat",
        "MQClientFactoryScheduledThread progress",
    ] {
        assert!(tasks.contains(name), "{tasks}");
    }
    consumer.shutdown(Duration::from_millis(1)).await;
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap()
}

/// Progress at the broker whose first reading panics.
struct Fragile {
    inner: RemoteOffsets,
    panics_left: AtomicU32,
}

#[async_trait::async_trait]
impl OffsetStore for Fragile {
    async fn read(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        let order = Ordering::Relaxed;
        let left = self.panics_left.fetch_update(order, order, |left| left.checked_sub(1));
        assert!(left.is_err(), "on purpose");
        self.inner.read(queue).await
    }
    async fn write(&self, positions: Positions) -> Result<(), ClientError> {
        self.inner.write(positions).await
    }
    async fn keep(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), ClientError> {
        self.inner.keep(queue, offset).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_pull_loop_that_is_lost_is_replaced() {
    let script = Script::new(2);
    let instance = script.instance();
    let inner = RemoteOffsets::new(&instance, GROUP);
    let offsets = Arc::new(Fragile { inner, panics_left: AtomicU32::new(4) });
    let (listener, _gate, mut seen) = gated(1000);
    let builder = PushConsumer::builder().instance(&instance).group(GROUP).subscribe("T", "*");
    let consumer = builder.offset_store(offsets).listener(listener).start().await.unwrap();
    script.asked(code::PULL_MESSAGE, 2).await;
    assert!(script.now() < Duration::from_secs(5));
    for queue in 0..2 {
        script.store("T", queue, "", &queue.to_string());
        assert_eq!(next(&mut seen).await, queue.to_string());
    }
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_forgot_this_member_hears_of_it_and_nothing_is_given_up() {
    let script = Script::new(2);
    let (tx, mut changes) = mpsc::channel(10);
    let (listener, _gate, _seen) = gated(1000);
    let builder = script.consumer().on_assignment(move |topic, queues| {
        tx.try_send((topic.to_owned(), queues.len())).unwrap();
    });
    let consumer = builder.listener(listener).start().await.unwrap();
    for expected in [("%RETRY%g", 1), ("T", 2)] {
        let (topic, count) = next(&mut changes).await;
        assert_eq!((topic.as_str(), count), expected);
    }
    member(&script, "~other", true).await;
    assert_eq!(next(&mut changes).await.1, 1);
    script.with(|state| state.members.clear());
    member(&script, "~other", false).await;
    assert_eq!(next(&mut changes).await.1, 2);
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_consumer_commits_and_leaves_its_group() {
    let script = Script::new(1);
    let (listener, _gate, mut seen) = gated(1);
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    (0..2).for_each(|n| script.store("T", 0, "", &n.to_string()));
    next(&mut seen).await;
    next(&mut seen).await;
    drop(consumer);
    script.until("farewell", |state| state.members.is_empty().then_some(())).await;
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 0)]), 1);
}

/// Two members, one of which comes and goes, on as many threads as there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_and_progress_arrives_while_members_come_and_go() {
    const QUEUES: i32 = 4;
    const EACH: usize = 1500;
    let script = Script::new(QUEUES);
    let seen = Arc::new(Mutex::new(BTreeMap::<(i32, i64), u32>::new()));
    let listener = {
        let seen = Arc::clone(&seen);
        move |messages: Messages, _: ConsumeContext| {
            let seen = Arc::clone(&seen);
            async move {
                tokio::task::yield_now().await;
                for message in &messages {
                    let key = (message.queue_id, message.queue_offset.0);
                    *seen.lock().entry(key).or_default() += 1;
                }
            }
        }
    };
    let start = |name: &'static str| {
        let config = ClientConfig {
            instance_name: Some(name.into()),
            rebalance_min_interval: Duration::from_millis(50),
            persist_interval: Duration::from_millis(100),
            ..ClientConfig::default()
        };
        let instance = script.instance_with(config, false);
        let settings = PushSettings {
            consumer_group: GROUP.into(),
            consume_from_where: ConsumeFrom::FirstOffset,
            first_pull_delay_millis: 20,
            consume_message_batch_max_size: 3,
            ..PushSettings::default()
        };
        PushConsumer::builder()
            .instance(&instance)
            .settings(settings)
            .subscribe("T", "*")
            .listener(listener.clone())
            .start()
    };
    let changed = ConsumersChanged { consumer_group: GROUP.into() }.to_command();
    let first = start("one").await.unwrap();
    for round in 0..3 {
        for n in 0..EACH / 3 {
            for queue in 0..QUEUES {
                script.store("T", queue, "", &format!("{round} {n}"));
            }
        }
        let second = start("two").await.unwrap();
        script.tell_clients(&changed).await;
        script.until("shared", |_| (own(&first).len() == 2).then_some(())).await;
        let report = second.shutdown(Duration::from_secs(5)).await;
        assert_eq!((report.abandoned, report.farewell), (0, true));
        script.tell_clients(&changed).await;
        script.until("taken over", |_| (own(&first).len() == 4).then_some(())).await;
    }
    for queue in 0..QUEUES {
        script.committed(queue, i64::try_from(EACH).unwrap()).await;
    }
    let report = first.shutdown(Duration::from_secs(5)).await;
    assert_eq!((report.abandoned, report.unconsumed), (0, 0));
    assert_eq!(seen.lock().len(), EACH * usize::try_from(QUEUES).unwrap());
}

fn stored(body: &[u8]) -> Bytes {
    let record = NewRecord {
        topic: "T",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: Timestamp(1),
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"",
        tags_code: 0,
    };
    let at = Placement {
        queue_offset: QueueOffset(9),
        physical_offset: PhysicalOffset(9),
        store_timestamp: Timestamp(2),
    };
    let mut out = Vec::new();
    record.encode(&mut out, record.encoded_len().unwrap(), 0, at);
    out.into()
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_have_one_message_consumed() {
    let script = Script::new(1);
    let listener = |messages: Messages, _: ConsumeContext| async move {
        match &messages[0].body[..] {
            b"good" => Ok(()),
            b"bad" => Err("no"),
            _ => panic!("on purpose"),
        }
    };
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    for (body, expected) in [
        ("good", DirectResult::Success),
        ("bad", DirectResult::Later),
        ("ugly", DirectResult::ThrowException),
    ] {
        let header = ConsumeDirectly {
            consumer_group: GROUP.into(),
            client_id: None,
            msg_id: None,
            broker_name: Some(BROKER.into()),
            topic: None,
            topic_sys_flag: None,
            group_sys_flag: None,
        };
        let request: RemotingCommand = (header, stored(body.as_bytes())).to_command();
        let outcome: DirectOutcome = script.ask_client(request).await.payload().unwrap();
        assert_eq!((outcome.consume_result, outcome.order), (expected, false));
    }
    consumer.shutdown(Duration::from_secs(1)).await;
}

type Deliveries = mpsc::Receiver<(i32, String, i32)>;

/// An ordered listener that tells queue, body and attempts, and answers what it is told to.
fn ordered(
    outcome: impl Fn(&MessageView) -> OrderlyOutcome + Send + Sync + 'static,
) -> (impl Fn(Messages, ConsumeContext) -> std::future::Ready<OrderlyOutcome>, Deliveries) {
    let (tx, rx) = mpsc::channel(1000);
    let listener = move |messages: Messages, _: ConsumeContext| {
        for message in &messages {
            let body = String::from_utf8_lossy(&message.body).into_owned();
            tx.try_send((message.queue_id, body, message.reconsume_times)).unwrap();
        }
        std::future::ready(outcome(&messages[0]))
    };
    (listener, rx)
}

#[tokio::test(start_paused = true)]
async fn an_ordered_queue_stands_still_at_a_failure_and_goes_on_in_order() {
    let script = Script::new(1);
    (0..4).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (listener, mut seen) =
        ordered(|message| match (&message.body[..], message.reconsume_times) {
            (b"1", 0..2) => OrderlyOutcome::suspend(),
            _ => OrderlyOutcome::Success,
        });
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).orderly(listener).start().await.unwrap();
    // After a failure the queue pauses for a second.
    let mut before = None;
    for expected in [("0", 0), ("1", 0), ("1", 1), ("1", 2), ("2", 0), ("3", 0)] {
        let (_, body, times) = next(&mut seen).await;
        assert_eq!((body.as_str(), times), expected);
        let paused = before.replace(script.now()).map(|before| (script.now() - before).as_secs());
        assert!(paused.is_none_or(|seconds| seconds == u64::from(times > 0)), "{paused:?}");
    }
    let tasks = consumer.running_info().await.jstack.unwrap();
    assert!(tasks.contains("ConsumeMessageScheduledThread_g"), "{tasks}");
    script.committed(0, 4).await;
    assert!(script.with(|state| state.locks.len() == 2));
    consumer.shutdown(Duration::from_secs(1)).await;
    assert!(script.with(|state| state.locks.is_empty()), "locks are returned");
}

#[tokio::test(start_paused = true)]
async fn an_ordered_queue_has_one_call_at_a_time() {
    let script = Script::new(1);
    (0..4).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (tx, mut seen) = mpsc::channel(10);
    let clock = Arc::clone(&script);
    let listener = move |messages: Messages, _: ConsumeContext| {
        let (tx, clock) = (tx.clone(), Arc::clone(&clock));
        async move {
            let body = String::from_utf8_lossy(&messages[0].body).into_owned();
            tx.try_send(format!("{body} begins")).unwrap();
            clock.sleep(Duration::from_secs(1)).await;
            tx.try_send(format!("{body} ends")).unwrap();
        }
    };
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).orderly(listener).start().await.unwrap();
    for n in 0..4 {
        assert_eq!(next(&mut seen).await, format!("{n} begins"));
        assert_eq!(next(&mut seen).await, format!("{n} ends"));
    }
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_pausing_queue_whose_lock_is_lost_is_not_consumed_again() {
    let script = Script::new(1);
    script.store("T", 0, "", "m");
    let queue = MessageQueue::new("T", BROKER, 0);
    let (listener, mut seen) = ordered(|_| OrderlyOutcome::suspend());
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).orderly(listener).start().await.unwrap();
    next(&mut seen).await;
    next(&mut seen).await;
    script.with(|state| state.locks.insert(queue.clone(), "new owner".into()));
    let renewals =
        |state: &State| state.log.iter().filter(|it| it.code == code::LOCK_BATCH_MQ).count();
    let before = script.with(|state| renewals(state));
    script.until("a renewal", |state| (renewals(state) > before).then_some(())).await;
    // What was handed over before its answer. Then a minute of the paused clock, in which a queue
    // that still had its lock would be consumed again each second, as it was before.
    script.sleep(Duration::from_millis(100)).await;
    while seen.try_recv().is_ok() {}
    script.sleep(Duration::from_secs(60)).await;
    assert!(seen.try_recv().is_err());
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_ordered_queue_is_consumed_only_under_its_lock() {
    let script = Script::new(1);
    script.store("T", 0, "", "m");
    let queue = MessageQueue::new("T", BROKER, 0);
    script.with(|state| state.locks.insert(queue.clone(), "former owner".into()));
    let (listener, mut seen) = ordered(|_| OrderlyOutcome::Success);
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).orderly(listener).start().await.unwrap();
    script.sleep(Duration::from_secs(60)).await;
    assert!(seen.try_recv().is_err());
    let asked = script.with(|s| s.log.iter().any(|seen| seen.is(code::QUERY_CONSUMER_OFFSET, "T")));
    assert!(!asked, "progress is read under the lock only");
    script.with(|state| state.locks.remove(&queue));
    assert_eq!(next(&mut seen).await.1, "m");
    // The lock goes to somebody else, who goes on.
    script.with(|state| {
        state.locks.insert(queue.clone(), "new owner".into());
    });
    script.sleep(Duration::from_secs(25)).await;
    script.with(|state| state.committed.insert(("T".into(), 0), 5));
    (1..6).for_each(|n| script.store("T", 0, "", &n.to_string()));
    script.sleep(Duration::from_secs(60)).await;
    assert!(seen.try_recv().is_err());
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 0)]), 5);
    script.with(|state| state.locks.remove(&queue));
    assert_eq!(next(&mut seen).await.1, "5");
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_ordered_queue_that_begins_anew_waits_for_the_listener_that_still_runs() {
    let script = Script::new(1);
    script.store("T", 0, "", "m");
    let queue = MessageQueue::new("T", BROKER, 0);
    let (running, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (at_work, called, clock) = (Arc::clone(&running), Arc::clone(&calls), Arc::clone(&script));
    let listener = move |_: Messages, _: ConsumeContext| {
        let (at_work, called, clock) =
            (Arc::clone(&at_work), Arc::clone(&called), Arc::clone(&clock));
        async move {
            assert_eq!(
                at_work.fetch_add(1, Ordering::SeqCst),
                0,
                "two calls for one ordered queue"
            );
            called.fetch_add(1, Ordering::SeqCst);
            clock.sleep(Duration::from_secs(100)).await;
            at_work.fetch_sub(1, Ordering::SeqCst);
            OrderlyOutcome::Success
        }
    };
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).orderly(listener).start().await.unwrap();
    script.sleep(Duration::from_secs(5)).await;
    assert_eq!(running.load(Ordering::SeqCst), 1);
    // The lock is lost in the middle of the call, and had again before it ends.
    script.with(|state| state.locks.insert(queue.clone(), "somebody".into()));
    script.sleep(Duration::from_secs(30)).await;
    script.with(|state| state.locks.remove(&queue));
    script.sleep(Duration::from_secs(30)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    script.sleep(Duration::from_secs(60)).await;
    assert_eq!((calls.load(Ordering::SeqCst), running.load(Ordering::SeqCst)), (2, 1));
    script.committed(0, 1).await;
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn an_ordered_message_that_fails_too_often_leaves_the_queue() {
    let script = Script::new(1);
    (0..2).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (listener, mut seen) = ordered(|message| match &message.body[..] {
        b"0" => OrderlyOutcome::suspend(),
        _ => OrderlyOutcome::Success,
    });
    let settings = PushSettings {
        consumer_group: GROUP.into(),
        consume_from_where: ConsumeFrom::FirstOffset,
        max_reconsume_times: 2,
        ..Default::default()
    };
    let consumer = script.consumer().settings(settings).orderly(listener).start().await.unwrap();
    for expected in [("0", 0), ("0", 1), ("0", 2), ("1", 0)] {
        let (_, body, times) = next(&mut seen).await;
        assert_eq!((body.as_str(), times), expected);
    }
    script.committed(0, 2).await;
    assert_eq!(script.with(|s| s.sent.clone()), [("%RETRY%g".to_owned(), 3, "0".into())]);
    consumer.shutdown(Duration::from_secs(1)).await;
}
