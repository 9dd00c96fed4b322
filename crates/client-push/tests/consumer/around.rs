//! What users put around consumption: hooks, namespaces, more or fewer calls at once, other places
//! to go on from; and what survives a broker that is away.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client_push::{
    Call, CallEnd, ClientConfig, ConsumeContext, ConsumeFrom, ConsumeHook, ConsumeOutcome,
    MessageQueue, MessageView, Messages, OrderlyOutcome, PushConsumer, PushError, PushSettings,
    SeekTo, Timestamp,
};
use rmq_message::{Properties, property};
use rmq_remoting::command::Response;
use rmq_remoting::protocol::assignment::{Assignment, Assignments, QueryAssignment};
use rmq_remoting::protocol::route::{GetRoute, TopicRoute};
use rmq_remoting::{request_code as code, response_code};
use tokio::sync::{Semaphore, mpsc};

use crate::script::{GROUP, Script, State, next};

const FIRST: ConsumeFrom = ConsumeFrom::FirstOffset;
const GRACE: Duration = Duration::from_secs(1);

/// Tells each body.
fn telling()
-> (impl Fn(MessageView, ConsumeContext) -> std::future::Ready<()>, mpsc::Receiver<String>) {
    let (tx, rx) = mpsc::channel(1000);
    let each = move |message: MessageView, _: ConsumeContext| {
        tx.try_send(String::from_utf8_lossy(&message.body).into_owned()).unwrap();
        std::future::ready(())
    };
    (each, rx)
}

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl ConsumeHook for Notes {
    fn before(&self, call: &Call) {
        assert_eq!(&*call.group, GROUP);
        let body = String::from_utf8_lossy(&call.messages[0].body).into_owned();
        self.0.lock().push(format!("before {body}"));
    }

    fn after(&self, call: &Call, end: CallEnd, took: Duration) {
        let body = String::from_utf8_lossy(&call.messages[0].body).into_owned();
        self.0.lock().push(format!("{} {body} {}", end.as_str(), took.as_secs()));
    }
}

struct Broken;

impl ConsumeHook for Broken {
    fn before(&self, _: &Call) {
        panic!("on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn hooks_see_every_call_and_harm_none() {
    let script = Script::new(1);
    ["good", "bad", "panic", "slow"].iter().for_each(|body| script.store("T", 0, "", body));
    let (notes, (tx, mut seen)) = (Notes::default(), mpsc::channel(10));
    let clock = Arc::clone(&script);
    let listener = move |message: MessageView, _: ConsumeContext| {
        let (tx, clock) = (tx.clone(), Arc::clone(&clock));
        async move {
            let body = String::from_utf8_lossy(&message.body).into_owned();
            tx.send(body.clone()).await.unwrap();
            match body.as_str() {
                "bad" => return Err("no"),
                "panic" => panic!("on purpose"),
                "slow" => clock.sleep(Duration::from_secs(16 * 60)).await,
                _ => {}
            }
            Ok(())
        }
    };
    let builder = script.consumer().consume_from(FIRST).consume_threads(1).consume_hook(Broken);
    let consumer = builder.consume_hook(notes.clone()).each(listener).start().await.unwrap();
    for _ in 0..4 {
        next(&mut seen).await;
    }
    script.committed(0, 4).await;
    script.sleep(Duration::from_secs(20 * 60)).await;
    let expected = [
        "before good",
        "SUCCESS good 0",
        "before bad",
        "FAILED bad 0",
        "before panic",
        "EXCEPTION panic 0",
        "before slow",
        "TIME_OUT slow 960",
    ];
    assert_eq!(*notes.0.lock(), expected);
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_filter_hook_takes_out_is_never_delivered_and_passes_for_consumed() {
    let script = Script::new(1);
    ["a", "drop", "b", "drop"].iter().for_each(|body| script.store("T", 0, "", body));
    let (listener, mut seen) = telling();
    let builder = script.consumer().consume_from(FIRST).consume_threads(1);
    let builder = builder
        .filter_hook(|_: &MessageQueue, messages: &mut Vec<MessageView>| {
            messages.retain(|message| &message.body[..] != b"drop");
        })
        .filter_hook(|_: &MessageQueue, messages: &mut Vec<MessageView>| {
            messages.clear();
            panic!("on purpose");
        });
    let consumer = builder.each(listener).start().await.unwrap();
    assert_eq!((next(&mut seen).await, next(&mut seen).await), ("a".into(), "b".into()));
    script.committed(0, 4).await;
    assert!(seen.try_recv().is_err());
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn brokers_see_the_namespace_and_listeners_do_not() {
    let script = Script::new(1);
    let (topic, retry) = ("ns%Orders", "%RETRY%ns%g");
    script.with(|state| {
        state.queues.insert((topic.into(), 0), Default::default());
        state.queues.insert((retry.into(), 0), Default::default());
    });
    script.store(topic, 0, "", "fails");
    let config = ClientConfig { namespace: Some("ns".into()), ..ClientConfig::default() };
    let instance = script.instance_with(config, false);
    let (tx, mut seen) = mpsc::channel(10);
    let listener = move |message: MessageView, context: ConsumeContext| {
        let queue = context.queue().topic.to_string();
        tx.try_send((message.topic.to_string(), queue, context.attempt())).unwrap();
        let outcome = if context.attempt() == 1 { Err("no") } else { Ok(()) };
        std::future::ready(outcome)
    };
    let builder = PushConsumer::builder().instance(&instance).group(GROUP).subscribe("Orders", "*");
    let consumer = builder.consume_from(FIRST).each(listener).start().await.unwrap();
    assert_eq!(next(&mut seen).await, ("Orders".to_owned(), topic.to_owned(), 1));
    let back = script.until("a message that goes back", |state| {
        state.log.iter().find(|seen| seen.code == code::CONSUMER_SEND_MSG_BACK).cloned()
    });
    let back = back.await;
    assert_eq!((&*back.fields["group"], &*back.fields["originTopic"]), ("ns%g", topic));
    let properties: Properties = [(property::RETRY_TOPIC, topic)].into_iter().collect();
    script.store_as(retry, 0, &properties, "again", 1);
    assert_eq!(next(&mut seen).await, ("Orders".to_owned(), retry.to_owned(), 2));
    let announced =
        script.with(|state| state.heartbeats.last().unwrap().consumer_data_set[0].clone());
    assert_eq!(announced.group_name, "ns%g");
    assert_eq!(consumer.group(), GROUP);
    consumer.unsubscribe("Orders").await;
    script
        .until("an unsubscribed topic", |state| {
            let last = &state.heartbeats.last()?.consumer_data_set;
            (!last[0].subscription_data_set.iter().any(|s| s.topic == topic)).then_some(())
        })
        .await;
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn more_or_fewer_calls_run_at_once_when_told_so() {
    let script = Script::new(1);
    (0..20).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (gate, (tx, mut seen)) = (Arc::new(Semaphore::new(0)), mpsc::channel(100));
    let held = Arc::clone(&gate);
    let listener = move |message: MessageView, _: ConsumeContext| {
        let (gate, tx) = (Arc::clone(&held), tx.clone());
        async move {
            tx.send(message.queue_offset).await.unwrap();
            gate.acquire().await.unwrap().forget();
        }
    };
    let builder = script.consumer().consume_from(FIRST).consume_threads(2);
    let consumer = builder.each(listener).start().await.unwrap();
    let mut running = async |expected: usize| {
        script.sleep(Duration::from_secs(1)).await;
        let mut count = 0;
        while seen.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, expected);
    };
    running(2).await;
    consumer.set_concurrency(5).unwrap();
    running(3).await;
    consumer.set_concurrency(1).unwrap();
    gate.add_permits(5);
    running(1).await;
    gate.add_permits(2);
    running(2).await;
    for wrong in [0, 1001] {
        let error = consumer.set_concurrency(wrong).unwrap_err();
        assert!(matches!(error, PushError::Settings(_)), "{error}");
    }
    let size = &consumer.running_info().await.properties["PROP_THREADPOOL_CORE_SIZE"];
    assert_eq!(size, "1");
    gate.add_permits(100);
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_goes_on_where_it_is_told_to() {
    let script = Script::new(1);
    (0..5).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (listener, mut seen) = telling();
    let builder = script.consumer().consume_from(FIRST).consume_threads(1);
    let consumer = builder.each(listener).start().await.unwrap();
    script.committed(0, 5).await;
    while seen.try_recv().is_ok() {}
    for (to, expected) in [(SeekTo::Begin, "0"), (SeekTo::Time(Timestamp(7)), "2")] {
        consumer.seek("T", to).await.unwrap();
        assert_eq!(next(&mut seen).await, expected);
        script.committed(0, 5).await;
        while seen.try_recv().is_ok() {}
    }
    script.answer(|request, _| {
        (request.code == code::GET_MAX_OFFSET)
            .then(|| Response::error(response_code::SYSTEM_ERROR, "on purpose").into())
    });
    consumer.seek("T", SeekTo::End).await.unwrap_err();
    script.sleep(Duration::from_secs(30)).await;
    assert!(seen.try_recv().is_err());
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn an_ordered_listener_commits_and_rolls_back_several_calls_at_once() {
    let script = Script::new(1);
    (0..6).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (tx, mut seen) = mpsc::channel(100);
    let rolled_back = Mutex::new(false);
    let listener = move |messages: Messages, _: ConsumeContext| {
        let body = String::from_utf8_lossy(&messages[0].body).into_owned();
        tx.try_send((body.clone(), messages[0].reconsume_times)).unwrap();
        std::future::ready(match body.as_str() {
            "2" => OrderlyOutcome::Success,
            "5" if !std::mem::replace(&mut rolled_back.lock(), true) => OrderlyOutcome::rollback(),
            _ => OrderlyOutcome::Defer,
        })
    };
    let builder = script.consumer().consume_from(FIRST);
    let consumer = builder.orderly(listener).start().await.unwrap();
    for expected in ["0", "1", "2", "3", "4", "5", "3", "4", "5"] {
        assert_eq!(next(&mut seen).await, (expected.to_owned(), 0));
    }
    script.committed(0, 3).await;
    script.sleep(Duration::from_secs(20)).await;
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 0)]), 3, "not committed yet");
    let report = consumer.shutdown(GRACE).await;
    assert_eq!(report.unconsumed, 3, "what was deferred is delivered again");
}

/// The route of `T` with one queue less.
fn short_route(
    request: &rmq_remoting::command::RemotingCommand,
    state: &State,
) -> Option<Response> {
    let asked: GetRoute = request.payload().ok()?;
    if asked.topic != "T" {
        return None;
    }
    let mut route: TopicRoute = crate::script::route("T", state)?;
    route.queue_datas[0].read_queue_nums = 1;
    Some(Response::of(&route))
}

/// An orderly restart of a broker: its queues vanish from the route, and it takes no commits.
#[tokio::test(start_paused = true)]
async fn progress_that_a_broker_could_not_take_counts_when_its_queue_comes_back() {
    let script = Script::new(2);
    (0..3).for_each(|n| script.store("T", 1, "", &n.to_string()));
    let (listener, mut seen) = telling();
    let config = ClientConfig { route_interval: Duration::from_secs(2), ..ClientConfig::default() };
    let instance = script.instance_with(config, false);
    let builder = PushConsumer::builder().instance(&instance).group(GROUP).subscribe("T", "*");
    script.answer(|request, state| match request.code {
        code::UPDATE_CONSUMER_OFFSET => {
            Some(Response::error(response_code::SYSTEM_ERROR, "going down").into())
        }
        code::PULL_MESSAGE if request.field("sysFlag") == Some("3") => {
            state.committed.remove(&("T".to_owned(), 1));
            None
        }
        _ => None,
    });
    let builder = builder.consume_from(FIRST).consume_threads(1);
    let consumer = builder.each(listener).start().await.unwrap();
    for expected in ["0", "1", "2"] {
        assert_eq!(next(&mut seen).await, expected);
    }
    script.answer(|request, state| match request.code {
        code::GET_ROUTEINFO_BY_TOPIC => short_route(request, state).map(Into::into),
        code::UPDATE_CONSUMER_OFFSET => {
            Some(Response::error(response_code::SYSTEM_ERROR, "away").into())
        }
        _ => None,
    });
    script.sleep(Duration::from_secs(60)).await;
    assert_eq!(consumer.assignment().iter().filter(|queue| queue.topic == "T").count(), 1);
    script.with(|state| state.committed.remove(&("T".to_owned(), 1)));
    script.answer_as_usual();
    script.committed(1, 3).await;
    script.store("T", 1, "", "3");
    assert_eq!(next(&mut seen).await, "3", "nothing is delivered twice");
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_for_single_messages_fails_only_from_the_first_failure_on() {
    let script = Script::new(1);
    ["a", "bad", "c"].iter().for_each(|body| script.store("T", 0, "", body));
    let (tx, mut seen) = mpsc::channel(10);
    let listener = move |message: MessageView, _: ConsumeContext| {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        tx.try_send(body.clone()).unwrap();
        std::future::ready(match body.as_str() {
            "bad" => ConsumeOutcome::later(),
            _ => ConsumeOutcome::Success,
        })
    };
    let builder = script.consumer().consume_from(FIRST).batch_size(3).consume_threads(1);
    let consumer = builder.each(listener).start().await.unwrap();
    assert_eq!((next(&mut seen).await, next(&mut seen).await), ("a".into(), "bad".into()));
    script.committed(0, 3).await;
    let back = script.with(|state| {
        state.log.iter().filter(|seen| seen.code == code::CONSUMER_SEND_MSG_BACK).count()
    });
    assert_eq!((back, seen.try_recv().ok()), (2, None));
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn the_replica_that_a_broker_names_is_asked_next_and_takes_no_commit() {
    const MASTER: &str = "127.0.0.1:10911";
    const REPLICA: &str = "127.0.0.1:10921";
    let script = Script::new(1);
    (0..3).for_each(|n| script.store("T", 0, "", &n.to_string()));
    script.with(|state| state.committed.insert(("T".into(), 0), 1));
    let mut refused = false;
    script.answer(move |request, state| match request.code {
        code::GET_ROUTEINFO_BY_TOPIC => {
            let asked: GetRoute = request.payload().unwrap();
            let mut route = crate::script::route(&asked.topic, state)?;
            route.broker_datas[0].broker_addrs.insert(1, REPLICA.into());
            Some(Response::of(&route).into())
        }
        // Each message comes with the word that the replica should be asked; it fails at the end.
        code::PULL_MESSAGE if request.field("topic") == Some("T") => {
            let from = request.field("queueOffset").unwrap().parse::<i64>().unwrap();
            let queue = &state.queues[&("T".to_owned(), 0)];
            let rest = queue.records.get(usize::try_from(from).unwrap()..)?;
            let Some((record, _)) = rest.first() else {
                let again = std::mem::replace(&mut refused, true);
                return (!again).then(|| Response::error(response_code::SYSTEM_ERROR, "no").into());
            };
            let record = vec![record.clone()];
            Some(crate::script::suggesting(1, 0, queue, from + 1, record).into())
        }
        _ => None,
    });
    let (listener, mut seen) = telling();
    let consumer = script.consumer().consume_threads(1).each(listener).start().await.unwrap();
    for expected in ["1", "2"] {
        assert_eq!(next(&mut seen).await, expected);
    }
    let pulls = script.asked(code::PULL_MESSAGE, 4).await;
    let asked: Vec<_> = pulls.iter().map(|pull| (&*pull.to, pull.number("sysFlag") & 1)).collect();
    // A replica keeps no progress; who does not know what happened there asks the master again.
    assert_eq!(asked, [(MASTER, 1), (REPLICA, 0), (REPLICA, 0), (MASTER, 1)]);
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn a_traced_consumer_tells_of_every_call() {
    let script = Script::new(1);
    let topic = "RMQ_SYS_TRACE_TOPIC";
    script.with(|state| state.queues.insert((topic.into(), 0), Default::default()));
    let traced: Properties =
        [(property::UNIQ_KEY, "ID1"), (property::KEYS, "k")].into_iter().collect();
    script.store_as("T", 0, &traced, "told", 0);
    let quiet: Properties =
        [(property::UNIQ_KEY, "ID2"), (property::TRACE_ON, "false")].into_iter().collect();
    script.store_as("T", 0, &quiet, "not told", 0);
    let config = ClientConfig { enable_trace: true, ..ClientConfig::default() };
    let instance = script.instance_with(config, false);
    let (listener, mut seen) = telling();
    let builder = PushConsumer::builder().instance(&instance).group(GROUP).subscribe("T", "*");
    let builder = builder.consume_from(FIRST).consume_threads(1);
    let consumer = builder.each(listener).start().await.unwrap();
    assert_eq!((next(&mut seen).await, next(&mut seen).await), ("told".into(), "not told".into()));
    script.committed(0, 2).await;
    consumer.shutdown(GRACE).await;
    let sent = script.with(|state| state.sent.clone());
    let [(to, _, text)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(to, topic);
    let text = String::from_utf8(text.to_vec()).unwrap();
    let lines: Vec<Vec<&str>> =
        text.split_terminator('\u{2}').map(|line| line.split('\u{1}').collect()).collect();
    let [before, after] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(
        (before[0], before[2], before[3], before[5]),
        ("SubBefore", "DefaultRegion", "g", "ID1")
    );
    assert_eq!((before[6], before[7]), ("0", "k"));
    assert_eq!(before[4], after[1], "one call");
    assert_eq!((after[0], after[2], after[4], after[5]), ("SubAfter", "ID1", "true", "k"));
    assert_eq!((after[6], after[8]), ("0", "g"));
}

#[tokio::test(start_paused = true)]
async fn what_a_broker_has_popped_is_acknowledged_hidden_or_buried() {
    let script = Script::new(1);
    let bodies = ["done", "fails", "poison"];
    for (times, body) in [0, 1, 16].into_iter().zip(bodies) {
        script.store_as("T", 0, &Properties::new(), body, times);
    }
    script.pop_once();
    let settings = PushSettings {
        consumer_group: GROUP.into(),
        client_rebalance: false,
        consume_from_where: FIRST,
        ..PushSettings::default()
    };
    let listener = |message: MessageView, _: ConsumeContext| {
        std::future::ready(if &message.body[..] == b"done" { Ok(()) } else { Err("no") })
    };
    let consumer = script.consumer().settings(settings).each(listener).start().await.unwrap();
    let acks = script.asked(code::ACK_MESSAGE, 2).await;
    let hidden = script.asked(code::CHANGE_MESSAGE_INVISIBLETIME, 1).await;
    let mut offsets: Vec<_> = acks.iter().map(|ack| ack.number("offset")).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [0, 2]);
    assert!(acks[0].fields["extraInfo"].ends_with(" 60000 1 0 broker-a 0 0"), "{acks:?}");
    assert_eq!((hidden[0].number("offset"), hidden[0].number("invisibleTime")), (1, 30_000));
    let log = script.with(|state| state.log.clone());
    let buried = log.iter().find(|seen| seen.code == code::CONSUMER_SEND_MSG_BACK).unwrap();
    assert_eq!(buried.number("delayLevel"), -1);
    assert!(!log.iter().any(|seen| seen.is(code::PULL_MESSAGE, "T")), "popped and not pulled");
    assert!(consumer.assignment().contains(&MessageQueue::new("T", crate::script::BROKER, -1)));
    let popping = consumer.running_info().await.mq_pop_table;
    assert!(popping.values().all(|queue| queue.wait_ack_count == 0) && popping.len() == 1);
    // The broker changes its mind.
    script.answer(|request, _| {
        (request.code == code::QUERY_ASSIGNMENT).then(|| {
            let asked: QueryAssignment = request.payload().unwrap();
            let queue = MessageQueue::new(&asked.topic, crate::script::BROKER, 0);
            let assignment = Assignment { message_queue: Some(queue), ..Assignment::default() };
            let message_queue_assignments = Some(vec![assignment]);
            Response::of(&Assignments { message_queue_assignments }).into()
        })
    });
    script.asked(code::PULL_MESSAGE, 1).await;
    let retries = "%RETRY%g_T";
    script
        .until("the retries of pops", |state| {
            let last = &state.heartbeats.last()?.consumer_data_set[0];
            last.subscription_data_set.iter().any(|s| s.topic == retries).then_some(())
        })
        .await;
    assert!(consumer.running_info().await.mq_pop_table.is_empty());
    consumer.shutdown(GRACE).await;
}
