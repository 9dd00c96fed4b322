//! What becomes of messages that the listener fails or keeps.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client_push::{ConsumeContext, ConsumeFrom, ConsumeOutcome, Messages, PushSettings};
use rmq_remoting::command::Response;
use rmq_remoting::{request_code as code, response_code};
use tokio::sync::mpsc;

use crate::script::{GROUP, Script, Seen, next};

type Attempts = mpsc::Receiver<(String, i32)>;

/// Tells body and attempts of each message, and answers what `outcome` says to its first one.
fn answering(
    outcome: impl Fn(&str, i32) -> ConsumeOutcome + Send + Sync + 'static,
) -> (impl Fn(Messages, ConsumeContext) -> std::future::Ready<ConsumeOutcome>, Attempts) {
    let (tx, rx) = mpsc::channel(1000);
    let listener = move |messages: Messages, _: ConsumeContext| {
        let mut first = None;
        for message in &messages {
            let body = String::from_utf8_lossy(&message.body).into_owned();
            first.get_or_insert_with(|| outcome(&body, message.reconsume_times));
            tx.try_send((body, message.reconsume_times)).unwrap();
        }
        std::future::ready(first.unwrap())
    };
    (listener, rx)
}

fn position(log: &[Seen], code: i32) -> Option<usize> {
    log.iter().position(|seen| seen.code == code)
}

#[tokio::test(start_paused = true)]
async fn a_failed_message_is_sent_back_before_progress_passes_it() {
    let script = Script::new(1);
    script.store("T", 0, "", "m");
    let (listener, mut seen) = answering(|_, _| ConsumeOutcome::RetryLater { delay_level: 4 });
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    next(&mut seen).await;
    script.committed(0, 1).await;
    let log = script.with(|state| state.log.clone());
    let back = &log[position(&log, code::CONSUMER_SEND_MSG_BACK).unwrap()];
    assert_eq!((back.number("delayLevel"), back.number("maxReconsumeTimes")), (4, 16));
    assert_eq!((back.fields["group"].as_str(), back.fields["originTopic"].as_str()), (GROUP, "T"));
    let committed = log.iter().position(|s| {
        let is_pull = s.is(code::PULL_MESSAGE, "T") && s.number("commitOffset") == 1;
        is_pull || s.is(code::UPDATE_CONSUMER_OFFSET, "T") && s.number("commitOffset") == 1
    });
    assert!(committed.unwrap() > position(&log, code::CONSUMER_SEND_MSG_BACK).unwrap());
    assert_eq!(consumer.stats()["T"].failed, 1);
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_listener_is_told_which_attempt_it_is_and_of_which_queue() {
    let script = Script::new(1);
    script.store("T", 0, "", "m");
    let (tx, mut seen) = mpsc::channel(10);
    let listener = move |messages: Messages, context: ConsumeContext| {
        let queue = (context.queue().topic.to_string(), context.queue().queue_id);
        let born = context.born() == messages[0].born_timestamp;
        tx.try_send((context.attempt(), queue, context.group().to_owned(), born)).unwrap();
        std::future::ready(if context.attempt() < 3 { Err("no") } else { Ok(()) })
    };
    // Without a copy the message is consumed again here.
    script.answer(|request, _| {
        let refuse = [code::CONSUMER_SEND_MSG_BACK, code::SEND_MESSAGE_V2].contains(&request.code);
        refuse.then(|| Response::error(response_code::SYSTEM_ERROR, "no").into())
    });
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    for attempt in 1..=3 {
        let queue = ("T".to_owned(), 0);
        assert_eq!(next(&mut seen).await, (attempt, queue, GROUP.to_owned(), true));
    }
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_has_lost_the_message_gets_a_copy() {
    let script = Script::new(1);
    script.store("T", 0, "", "m");
    script.answer(|request, _| {
        let refuse = request.code == code::CONSUMER_SEND_MSG_BACK;
        refuse.then(|| Response::error(response_code::SYSTEM_ERROR, "look up failed").into())
    });
    let (listener, _seen) = answering(|_, _| ConsumeOutcome::later());
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    script.committed(0, 1).await;
    let sent = script.with(|state| state.sent.clone());
    assert_eq!(sent, [("%RETRY%g".to_owned(), 1, "m".into())]);
    let log = script.with(|state| state.log.clone());
    let copy = &log[position(&log, code::SEND_MESSAGE_V2).unwrap()];
    assert_eq!(copy.fields["a"], "CLIENT_INNER_PRODUCER", "the sender of retries");
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_sent_back_stays_and_is_consumed_again_here() {
    let script = Script::new(1);
    (0..3).for_each(|n| script.store("T", 0, "", &n.to_string()));
    script.answer(|request, _| {
        let refuse = matches!(request.code, code::CONSUMER_SEND_MSG_BACK | code::SEND_MESSAGE_V2);
        refuse.then(|| Response::error(response_code::SYSTEM_ERROR, "disk full").into())
    });
    let (listener, mut seen) = answering(|body, times| match (body, times) {
        ("0", 0..3) => ConsumeOutcome::later(),
        _ => ConsumeOutcome::Success,
    });
    let from = ConsumeFrom::FirstOffset;
    let builder = script.consumer().consume_from(from).consume_threads(1);
    let consumer = builder.listener(listener).start().await.unwrap();
    let mut before = None;
    for expected in [("0", 0), ("1", 0), ("2", 0), ("0", 1), ("0", 2), ("0", 3)] {
        assert!(script.with(|s| s.committed.get(&("T".into(), 0)).is_none_or(|at| *at == 0)));
        let (body, times) = next(&mut seen).await;
        assert_eq!((body.as_str(), times), expected);
        let waited = before.replace(script.now()).map_or(0, |b| (script.now() - b).as_secs());
        assert_eq!(waited, if times > 0 { 5 } else { 0 });
    }
    script.committed(0, 3).await;
    assert_eq!(consumer.shutdown(Duration::from_secs(1)).await.unconsumed, 0);
}

#[tokio::test(start_paused = true)]
async fn only_what_lies_behind_the_last_done_message_goes_back() {
    let script = Script::new(1);
    (0..8).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (listener, _seen) = answering(|_, _| ConsumeOutcome::SuccessUpTo(5));
    let from = ConsumeFrom::FirstOffset;
    let builder = script.consumer().consume_from(from).batch_size(8);
    let consumer = builder.listener(listener).start().await.unwrap();
    script.committed(0, 8).await;
    let log = script.with(|state| state.log.clone());
    let backs = log.iter().filter(|seen| seen.code == code::CONSUMER_SEND_MSG_BACK);
    assert_eq!(backs.map(|seen| seen.number("offset")).collect::<Vec<_>>(), [6000, 7000]);
    let totals = consumer.stats()["T"];
    assert_eq!((totals.ok, totals.failed, totals.calls), (6, 2, 1));
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_listener_is_a_failure_and_nothing_more() {
    let script = Script::new(1);
    (0..3).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let listener = |messages: Messages, _: ConsumeContext| async move {
        assert_ne!(&messages[0].body[..], b"1", "on purpose");
        Ok::<_, String>(())
    };
    let from = ConsumeFrom::FirstOffset;
    let builder = script.consumer().consume_from(from).consume_threads(1);
    let consumer = builder.listener(listener).start().await.unwrap();
    script.committed(0, 3).await;
    let totals = consumer.stats()["T"];
    assert_eq!((totals.ok, totals.failed), (2, 1));
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_its_listener_keeps_too_long_is_given_back_once() {
    let script = Script::new(1);
    (0..40).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let hours = Duration::from_secs(3600);
    let waiting = Arc::new(Mutex::new(None));
    let (script_of_listener, holder) = (Arc::clone(&script), Arc::clone(&waiting));
    let listener = move |messages: Messages, _: ConsumeContext| {
        let (script, holder) = (Arc::clone(&script_of_listener), Arc::clone(&holder));
        async move {
            if &messages[0].body[..] == b"0" {
                script.sleep(hours).await;
                *holder.lock() = Some(script.now());
                return ConsumeOutcome::later();
            }
            ConsumeOutcome::Success
        }
    };
    let settings = PushSettings {
        consumer_group: GROUP.into(),
        consume_from_where: ConsumeFrom::FirstOffset,
        ..PushSettings::default()
    };
    let consumer = script.consumer().settings(settings).listener(listener).start().await.unwrap();
    script.committed(0, 40).await;
    // The first look after a quarter of an hour finds a message that is a moment younger.
    assert_eq!(script.now().as_secs(), 30 * 60, "progress did not wait for the listener");
    script.sleep(hours).await;
    assert!(waiting.lock().is_some(), "the listener has ended");
    let log = script.with(|state| state.log.clone());
    let backs: Vec<_> = log.iter().filter(|s| s.code == code::CONSUMER_SEND_MSG_BACK).collect();
    assert_eq!(backs.len(), 1, "its late failure is not sent back again");
    assert_eq!(backs[0].number("delayLevel"), 3);
    assert_eq!(consumer.shutdown(Duration::from_secs(1)).await.unconsumed, 0);
}

#[tokio::test(start_paused = true)]
async fn one_look_gives_sixteen_overdue_messages_of_a_queue_back() {
    let script = Script::new(1);
    (0..20).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let listener = |_: Messages, _: ConsumeContext| std::future::pending::<ConsumeOutcome>();
    let from = ConsumeFrom::FirstOffset;
    let builder = script.consumer().consume_from(from).consume_threads(30);
    let consumer = builder.listener(listener).start().await.unwrap();
    script.committed(0, 20).await;
    let log = script.with(|state| state.log.clone());
    let backs = log.iter().filter(|seen| seen.code == code::CONSUMER_SEND_MSG_BACK);
    let quarters: Vec<_> = backs.map(|back| back.at.as_secs() / (15 * 60)).collect();
    assert_eq!(quarters, [[2; 16].as_slice(), &[3; 4]].concat());
    consumer.shutdown(Duration::from_secs(1)).await;
}
