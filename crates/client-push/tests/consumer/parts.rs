//! What is handed to the builder reaches the place where it counts.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client_core::RequestHook;
use rmq_client_core::rebalance::Circle;
use rmq_client_push::{
    ClientConfig, ClientError, ConsumeContext, ConsumeFrom, ConsumeOutcome, MessageModel,
    MessageQueue, MessageView, Messages, OffsetStore, OrderlyOutcome, Positions, PushConsumer,
    PushSettings,
};
use rmq_message::QueueOffset;
use rmq_remoting::command::{RemotingCommand, Response};
use rmq_remoting::invoker::Endpoint;
use rmq_remoting::processor::Processor;
use rmq_remoting::{Server, ServerConfig, request_code as code, response_code};
use rmq_runtime::{Tasks, World};
use tokio::sync::mpsc;

use crate::script::{GROUP, RETRY, Script, next};

const GRACE: Duration = Duration::from_secs(1);

async fn nothing(_messages: Messages, _context: ConsumeContext) {}

/// Writes its name into each request.
struct Stamp(&'static str);

impl RequestHook for Stamp {
    fn before(&self, _to: &Endpoint, request: &mut RemotingCommand) {
        request.fields.push(self.0, "yes");
    }
}

/// Over a socket: only then the consumer makes its own client.
#[tokio::test]
async fn name_servers_instance_name_and_hooks_reach_the_consumers_own_client() {
    let script = Script::new(1);
    script.answer(|_, _| Some(Response::error(response_code::TOPIC_NOT_EXIST, "none").into()));
    let (world, tasks) = (World::system(), Tasks::new("test"));
    let server = Server::builder(world.clone(), &tasks)
        .listen(([127, 0, 0, 1], 0).into())
        .processor(Arc::clone(&script) as Arc<dyn Processor>)
        .config(ServerConfig { shards: 0, ..ServerConfig::default() })
        .start()
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let process = format!("@{}#", std::process::id());
    for (model, name, expected) in [
        (MessageModel::Clustering, None, &*process),
        (MessageModel::Clustering, Some("Consumer"), "@Consumer"),
        (MessageModel::Broadcasting, None, "@DEFAULT"),
    ] {
        let config = ClientConfig {
            local_offset_store_dir: Some(directory.path().to_owned()),
            ..ClientConfig::default()
        };
        let builder = PushConsumer::builder().client_config(config).group(GROUP);
        let builder = builder.namesrv(&server.local_addr().to_string()).message_model(model);
        let builder = builder.request_hook(Stamp("stamped")).subscribe("T", "*").listener(nothing);
        let builder = match name {
            Some(name) => builder.instance_name(name),
            None => builder,
        };
        let consumer = builder.start().await.unwrap();
        assert!(consumer.client_id().contains(expected), "{}", consumer.client_id());
        consumer.shutdown(GRACE).await;
    }
    let log = script.with(|state| state.log.clone());
    assert!(!log.is_empty() && log.iter().all(|seen| seen.fields.contains_key("stamped")));
    server.stop_accepting();
    assert!(tasks.stop(world.clock.as_ref(), GRACE).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_second_consumer_that_is_refused_leaves_the_first_in_its_group() {
    let script = Script::new(1);
    let instance = script.instance();
    let (tx, mut seen) = mpsc::channel(10);
    let builder = || PushConsumer::builder().instance(&instance).group(GROUP).subscribe("T", "*");
    let listener = move |_: Messages, _: ConsumeContext| {
        tx.try_send(()).unwrap();
        std::future::ready(())
    };
    let first = builder().listener(listener).start().await.unwrap();
    script.asked(code::PULL_MESSAGE, 1).await;
    let error = builder().listener(nothing).start().await.unwrap_err();
    assert!(error.to_string().ends_with("06FAQ for further details."), "{error}");
    // The first is announced on and on, after whatever the refused one has said.
    let heartbeats = script.with(|state| state.heartbeats.len());
    let announced = |state: &mut crate::script::State| {
        let later = state.heartbeats[heartbeats..].iter();
        let mut of_group = later
            .filter(|it| it.consumer_data_set.iter().any(|consumer| consumer.group_name == GROUP));
        of_group.nth(1).map(drop)
    };
    script.until("two more heartbeats of the group", announced).await;
    let log = script.with(|state| state.log.clone());
    assert!(!log.iter().any(|seen| seen.code == code::UNREGISTER_CLIENT), "nobody has left");
    builder().listener(nothing).start().await.unwrap_err();
    script.store("T", 0, "", "m");
    next(&mut seen).await;
    assert!(first.shutdown(GRACE).await.farewell);
}

#[tokio::test(start_paused = true)]
async fn all_topics_are_subscribed_and_the_smaller_number_of_tasks_works() {
    let script = Script::new(1);
    let settings = PushSettings {
        consumer_group: GROUP.into(),
        consume_thread_min: 2,
        consume_thread_max: 5,
        ..PushSettings::default()
    };
    let builder = script.consumer().settings(settings).subscribe("U", "");
    let consumer = builder.listener(nothing).start().await.unwrap();
    let announced = script.with(|state| state.heartbeats[0].consumer_data_set[0].clone());
    let subscribed = announced.subscription_data_set.iter();
    let subscribed: Vec<_> = subscribed.map(|s| (&*s.topic, &*s.sub_string)).collect();
    assert_eq!(subscribed, [(RETRY, "*"), ("T", "*"), ("U", "*")]);
    let tasks = consumer.running_info().await.jstack.unwrap();
    let workers = tasks.lines().filter(|name| name.starts_with("ConsumeMessageThread_g_"));
    assert_eq!(workers.count(), 2);
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn the_strategy_that_is_handed_in_shares_the_queues() {
    let script = Script::new(4);
    // Client ids begin with an address; "~" sorts behind.
    script.with(|state| state.members.insert("~other".into()));
    let (tx, mut changes) = mpsc::channel(10);
    let builder = script.consumer().strategy(Circle).on_assignment(move |topic, queues| {
        if topic == "T" {
            tx.try_send(queues.iter().map(|queue| queue.queue_id).collect::<Vec<_>>()).unwrap();
        }
    });
    let consumer = builder.listener(nothing).start().await.unwrap();
    assert_eq!(next(&mut changes).await, [0, 2]);
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn the_unit_mode_is_announced_and_goes_with_what_is_sent_back() {
    let script = Script::new(1);
    script.store("T", 0, "", "m");
    script.answer(|request, _| {
        let refuse = request.code == code::CONSUMER_SEND_MSG_BACK;
        refuse.then(|| Response::error(response_code::SYSTEM_ERROR, "no").into())
    });
    let settings = PushSettings {
        consumer_group: GROUP.into(),
        consume_from_where: ConsumeFrom::FirstOffset,
        unit_mode: true,
        ..PushSettings::default()
    };
    let listener = |_: MessageView, _: ConsumeContext| async { ConsumeOutcome::later() };
    let consumer = script.consumer().settings(settings).each(listener).start().await.unwrap();
    script.committed(0, 1).await;
    assert!(script.with(|state| state.heartbeats[0].consumer_data_set[0].unit_mode));
    let log = script.with(|state| state.log.clone());
    for (code, field) in [(code::CONSUMER_SEND_MSG_BACK, "unitMode"), (code::SEND_MESSAGE_V2, "k")]
    {
        let sent = log.iter().find(|seen| seen.code == code).unwrap();
        assert_eq!(sent.fields[field], "true");
    }
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn filter_hooks_are_asked_in_their_order_and_may_leave_nothing() {
    let script = Script::new(1);
    script.store("T", 0, "", "m");
    let (tx, mut asked) = mpsc::channel(10);
    let last = tx.clone();
    let builder = script.consumer().consume_from(ConsumeFrom::FirstOffset);
    let builder = builder
        .filter_hook(move |_: &MessageQueue, _: &mut Vec<MessageView>| {
            tx.try_send("first").unwrap();
        })
        .filter_hook(move |_: &MessageQueue, messages: &mut Vec<MessageView>| {
            last.try_send("last").unwrap();
            messages.clear();
        });
    let consumer = builder.listener(nothing).start().await.unwrap();
    assert_eq!((next(&mut asked).await, next(&mut asked).await), ("first", "last"));
    script.committed(0, 1).await;
    assert_eq!(consumer.stats()["T"].calls, 0);
    consumer.shutdown(GRACE).await;
}

/// Keeps everything in memory, and can be loaded or not.
struct Elsewhere {
    loads: bool,
    written: Mutex<Positions>,
}

#[async_trait::async_trait]
impl OffsetStore for Elsewhere {
    async fn load(&self) -> Result<Positions, ClientError> {
        if self.loads { Ok(Positions::new()) } else { Err(ClientError::NoNameServer) }
    }
    async fn read(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        Ok((queue.topic == "T").then_some(QueueOffset(2)))
    }
    async fn write(&self, positions: Positions) -> Result<(), ClientError> {
        self.written.lock().extend(positions);
        Ok(())
    }
    async fn keep(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), ClientError> {
        self.written.lock().insert(queue.clone(), offset);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn progress_is_loaded_from_and_kept_in_the_store_that_is_handed_in() {
    let script = Script::new(1);
    (0..4).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let instance = script.instance();
    let store = |loads| Arc::new(Elsewhere { loads, written: Mutex::default() });
    let builder = || PushConsumer::builder().instance(&instance).group(GROUP).subscribe("T", "*");
    let broken = builder().offset_store(store(false)).listener(nothing).start();
    assert!(broken.await.is_err(), "what cannot be loaded ends the start");
    let store = store(true);
    let builder = builder().offset_store(Arc::clone(&store) as _);
    let consumer = builder.listener(nothing).start().await.unwrap();
    let pull = &script.asked(code::PULL_MESSAGE, 1).await[0];
    assert_eq!(pull.number("queueOffset"), 2);
    let consumed =
        |_: &mut crate::script::State| (consumer.stats().get("T")?.ok == 2).then_some(());
    script.until("both are consumed", consumed).await;
    script.sleep(Duration::from_secs(20)).await;
    let queue = MessageQueue::new("T", crate::script::BROKER, 0);
    assert_eq!(store.written.lock()[&queue], QueueOffset(4));
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_to_be_consumed_again_is_among_the_tasks() {
    for ordered in [false, true] {
        let script = Script::new(1);
        script.store("T", 0, "", "m");
        script.answer(|request, _| {
            let codes = [code::CONSUMER_SEND_MSG_BACK, code::SEND_MESSAGE_V2];
            let refuse = codes.contains(&request.code);
            refuse.then(|| Response::error(response_code::SYSTEM_ERROR, "no").into())
        });
        let (tx, mut seen) = mpsc::channel(1000);
        let told = tx.clone();
        let builder = script.consumer().consume_from(ConsumeFrom::FirstOffset);
        let builder = if ordered {
            builder.orderly(move |_: Messages, _: ConsumeContext| {
                tx.try_send(()).unwrap();
                std::future::ready(OrderlyOutcome::suspend())
            })
        } else {
            builder.listener(move |_: Messages, _: ConsumeContext| {
                told.try_send(()).unwrap();
                std::future::ready(ConsumeOutcome::later())
            })
        };
        let consumer = builder.start().await.unwrap();
        next(&mut seen).await;
        script.sleep(Duration::from_millis(500)).await;
        let tasks = consumer.running_info().await.jstack.unwrap();
        assert!(tasks.lines().any(|name| name == "ConsumeMessageScheduledThread"), "{tasks}");
        consumer.shutdown(GRACE).await;
    }
}
