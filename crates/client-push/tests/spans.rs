//! What is said about a message, read back. A program of its own: who listens to what is said is a
//! matter of the whole process.
#![expect(clippy::unwrap_used, reason = "a test, with helpers outside of its functions")]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client_push::{
    ConsumeContext, ConsumeFrom, MessageView, Messages, PushConsumer, PushSettings,
};
use rmq_message::{Properties, property};
use rmq_remoting::command::Response;
use rmq_remoting::{request_code, response_code};
use tokio::sync::mpsc;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::script::Script;

#[path = "consumer/script.rs"]
#[expect(dead_code, reason = "the script can do more than this test needs")]
mod script;

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Said {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(text);
        Ok(text.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Said {
    /// Listens until the guard is dropped.
    fn listen(level: Level) -> (Self, DefaultGuard) {
        let said = Self::default();
        let writer = said.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(level);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        (said, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

fn named(id: &str) -> Properties {
    [(property::UNIQ_KEY, id)].into_iter().collect()
}

/// M135.
#[tokio::test(start_paused = true)]
async fn a_pull_that_fails_is_told_but_for_the_retry_topic() {
    let (said, _guard) = Said::listen(Level::INFO);
    let script = Script::new(1);
    script.answer(|request, _| {
        let refuse = request.code == request_code::PULL_MESSAGE;
        refuse.then(|| Response::error(response_code::NO_PERMISSION, "on purpose").into())
    });
    let listener = |_: MessageView, _: ConsumeContext| std::future::ready(());
    let consumer = script.consumer().each(listener).start().await.unwrap();
    script.asked(request_code::PULL_MESSAGE, 2).await;
    consumer.shutdown(Duration::from_secs(1)).await;
    let said = said.text();
    let lines: Vec<_> = said.lines().filter(|line| line.contains("pull failed")).collect();
    let is_told = |line: &&str| {
        line.contains("WARN") && line.contains("queue=T/broker-a/0") && line.contains("on purpose")
    };
    assert!(!lines.is_empty() && lines.iter().all(is_told), "{said}");
}

/// M202: what is said while a message is consumed names the message.
#[tokio::test(start_paused = true)]
async fn everything_that_is_said_about_a_message_can_be_found_by_its_id() {
    let (said, _guard) = Said::listen(Level::INFO);
    let script = Script::new(1);
    script.store_as("T", 0, &named("0A1B2C"), "m", 0);
    let (tx, mut seen) = mpsc::channel(1);
    let builder = script.consumer().consume_from(ConsumeFrom::FirstOffset);
    let listener = move |_: MessageView, _: ConsumeContext| {
        tracing::info!("the order is paid");
        tx.try_send(()).unwrap();
        std::future::ready(())
    };
    let consumer = builder.each(listener).start().await.unwrap();
    script::next(&mut seen).await;
    consumer.shutdown(Duration::from_secs(1)).await;
    let said = said.text();
    let line = said.lines().find(|line| line.contains("the order is paid")).unwrap();
    assert!(line.contains("id=0A1B2C") && line.contains("attempt=1"), "{line}");
    assert!(said.contains("consumer started") && said.contains("queue taken"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_listener_names_the_message_on_every_road() {
    // So that spans are not there to name it.
    let (said, _guard) = Said::listen(Level::WARN);
    let roads =
        [("pulled", "T/broker-a/0"), ("in order", "T/broker-a/0"), ("popped", "T/broker-a/-1")];
    for (road, queue) in roads {
        let script = Script::new(1);
        script.store_as("T", 0, &named("0A1B2C"), "m", 0);
        let settings = PushSettings {
            consumer_group: script::GROUP.into(),
            client_rebalance: road != "popped",
            consume_from_where: ConsumeFrom::FirstOffset,
            ..PushSettings::default()
        };
        let (tx, mut seen) = mpsc::channel(100);
        let listener = move |_: Messages, _: ConsumeContext| {
            tx.try_send(()).unwrap();
            async move { assert!(road.is_empty(), "no such order") }
        };
        if road == "popped" {
            script.pop_once();
        }
        let builder = script.consumer().settings(settings);
        let builder = match road {
            "in order" => builder.orderly(listener),
            _ => builder.listener(listener),
        };
        let consumer = builder.start().await.unwrap();
        script::next(&mut seen).await;
        consumer.shutdown(Duration::from_secs(1)).await;
        let said = String::from_utf8(std::mem::take(&mut *said.0.lock())).unwrap();
        let line = said.lines().find(|line| line.contains("listener panicked"));
        let line = line.unwrap_or_else(|| panic!("{road}: {said}"));
        for told in ["ERROR", "topic=T", &format!("queue={queue}"), "id=0A1B2C", "no such order"] {
            assert!(line.contains(told), "{road}, {told}: {line}");
        }
    }
}

/// M192.
#[tokio::test(start_paused = true)]
async fn a_broker_that_goes_back_is_told_of() {
    let (said, _guard) = Said::listen(Level::WARN);
    let script = Script::new(1);
    (0..6).for_each(|n| script.store("T", 0, "", &n.to_string()));
    script.with(|state| state.committed.insert(("T".into(), 0), 5));
    let mut lies = 1;
    script.answer(move |request, state| {
        if request.code != request_code::PULL_MESSAGE || request.field("topic") != Some("T") {
            return None;
        }
        lies -= 1;
        let queue = &state.queues[&("T".to_owned(), 0)];
        (lies == 0).then(|| script::pulled(0, queue, 3, vec![queue.records[5].0.clone()]).into())
    });
    let (tx, mut seen) = mpsc::channel(10);
    let listener = move |messages: Messages, _: ConsumeContext| {
        tx.try_send(messages[0].queue_offset.0).unwrap();
        std::future::ready(())
    };
    let consumer = script.consumer().consume_threads(1).listener(listener).start().await.unwrap();
    while script::next(&mut seen).await != 3 {}
    consumer.shutdown(Duration::from_secs(1)).await;
    let said = said.text();
    let line = said.lines().find(|line| line.contains("the broker goes back"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("queue=T/broker-a/0 from=5 to=3"), "{line}");
}

/// M200, A1.
#[tokio::test(start_paused = true)]
async fn start_routes_owned_queues_and_end_are_told() {
    let (said, _guard) = Said::listen(Level::INFO);
    let script = Script::new(2);
    let instance = script.instance();
    let (tx, mut changes) = mpsc::channel(10);
    let builder = PushConsumer::builder().instance(&instance).group(script::GROUP);
    let builder = builder.subscribe("T", "*").on_assignment(move |topic, _| {
        tx.try_send(topic.to_owned()).unwrap();
    });
    let consumer = builder.listener(|_, _| async {}).start().await.unwrap();
    while script::next(&mut changes).await != "T" {}
    consumer.shutdown(Duration::from_secs(1)).await;
    instance.shutdown(Duration::from_secs(1)).await;
    let said = said.text();
    for told in [
        ["client started", "names:1"],
        ["route changed", "topic=\"T\""],
        ["consumer starts", "group=g model=Clustering unit_mode=false"],
        ["consumer started", "group=g"],
        ["assignment changed", "topic=\"T\" group=g count=2"],
        ["queue taken", "queue=T/broker-a/1"],
        ["consumer ended", "group=g"],
        ["client ended", instance.client_id()],
    ] {
        let is_told = said.lines().any(|line| told.iter().all(|part| line.contains(part)));
        assert!(is_told, "{told:?}: {said}");
    }
}
