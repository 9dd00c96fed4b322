//! What progress follows, and what it does not.

use std::sync::Arc;
use std::time::Duration;

use rmq_client_push::{ConsumeContext, ConsumeFrom, Messages};
use rmq_remoting::command::Response;
use rmq_remoting::processor::Reply;
use rmq_remoting::{request_code as code, response_code};
use tokio::sync::{Semaphore, mpsc};

use crate::script::{Queue, RETRY, Script, Seen, next, pulled};

/// A listener whose first message waits for a permit; it tells the bodies that it has finished.
fn gated() -> (
    impl Fn(Messages, ConsumeContext) -> rmq_runtime::BoxFuture<'static, ()>,
    Arc<Semaphore>,
    mpsc::Receiver<String>,
) {
    let gate = Arc::new(Semaphore::new(0));
    let (tx, rx) = mpsc::channel(5000);
    let held = Arc::clone(&gate);
    let listener = move |messages: Messages, _: ConsumeContext| {
        let (gate, tx) = (Arc::clone(&held), tx.clone());
        Box::pin(async move {
            let body = String::from_utf8_lossy(&messages[0].body).into_owned();
            if body == "0" {
                gate.acquire().await.unwrap().forget();
            }
            tx.send(body).await.unwrap();
        }) as rmq_runtime::BoxFuture<'static, ()>
    };
    (listener, gate, rx)
}

#[tokio::test(start_paused = true)]
async fn a_farewell_that_brokers_did_not_hear_is_reported_as_such() {
    for unheard in [code::UPDATE_CONSUMER_OFFSET, code::UNREGISTER_CLIENT] {
        let script = Script::new(1);
        script.store("T", 0, "", "m");
        let (tx, mut seen) = mpsc::channel(1);
        let listener = move |_: Messages, _: ConsumeContext| {
            tx.try_send(()).unwrap();
            std::future::ready(())
        };
        let builder = script.consumer().consume_from(ConsumeFrom::FirstOffset);
        let consumer = builder.listener(listener).start().await.unwrap();
        next(&mut seen).await;
        script.answer(move |request, _| {
            let away = request.code == unheard;
            away.then(|| Response::error(response_code::SYSTEM_ERROR, "away").into())
        });
        let report = consumer.shutdown(Duration::from_secs(1)).await;
        assert!(!report.farewell, "{unheard}: {report:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn progress_never_passes_an_unfinished_message() {
    let script = Script::new(1);
    (0..40).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (listener, gate, mut seen) = gated();
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    for _ in 1..40 {
        next(&mut seen).await;
    }
    script.sleep(Duration::from_secs(20)).await;
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 0)]), 0);
    gate.add_permits(1);
    assert_eq!(next(&mut seen).await, "0");
    script.committed(0, 40).await;
    let totals = consumer.stats()["T"];
    assert_eq!((totals.ok, totals.failed, totals.pulled), (40, 0, 40));
    let report = consumer.shutdown(Duration::from_secs(1)).await;
    assert_eq!((report.unconsumed, report.abandoned, report.farewell), (0, 0, true));
}

#[tokio::test(start_paused = true)]
async fn filtered_messages_advance_progress() {
    let script = Script::new(1);
    (0..100).for_each(|_| script.store("T", 0, "other", "x"));
    let consumer = script
        .consumer()
        .subscribe("T", "mine")
        .consume_from(ConsumeFrom::FirstOffset)
        .listener(|_: Messages, _| async { Err("nothing is for us") as Result<(), _> })
        .start()
        .await
        .unwrap();
    script.committed(0, 100).await;
    assert_eq!(consumer.stats()["T"].calls, 0);
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn filtered_messages_do_not_carry_progress_past_one_that_is_held() {
    let script = Script::new(1);
    script.with(|state| state.committed.insert(("T".into(), 0), 2));
    (0..2).for_each(|_| script.store("T", 0, "other", "x"));
    script.store("T", 0, "mine", "0");
    (0..100).for_each(|_| script.store("T", 0, "other", "x"));
    let (listener, gate, _seen) = gated();
    let builder = script.consumer().subscribe("T", "mine").listener(listener);
    let consumer = builder.start().await.unwrap();
    script.sleep(Duration::from_secs(40)).await;
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 0)]), 2);
    gate.add_permits(1);
    script.committed(0, 103).await;
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn progress_rides_on_pulls_but_not_that_of_what_is_unfinished() {
    let script = Script::new(1);
    ["a", "b", "c", "0", "d", "e"].iter().for_each(|body| script.store("T", 0, "", body));
    script.with(|state| state.committed.insert(("T".into(), 0), 3));
    let (listener, gate, mut seen) = gated();
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    assert_eq!([next(&mut seen).await, next(&mut seen).await], ["d", "e"]);
    // The third goes out after the wait of the second.
    let pulls = script.asked(code::PULL_MESSAGE, 3).await;
    let said =
        |pull: &Seen| ["queueOffset", "sysFlag", "commitOffset"].map(|name| pull.number(name));
    assert_eq!(pulls.iter().map(said).collect::<Vec<_>>(), [[3, 3, 3], [6, 3, 3], [6, 3, 3]]);
    gate.add_permits(1);
    assert_eq!(next(&mut seen).await, "0");
    let pulls = script.asked(code::PULL_MESSAGE, 4).await;
    assert_eq!(said(&pulls[3]), [6, 3, 6]);
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn progress_is_written_every_five_seconds_also_when_nothing_is_pulled() {
    let script = Script::new(1);
    (1..4).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (listener, _gate, mut seen) = gated();
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    for _ in 1..4 {
        next(&mut seen).await;
    }
    consumer.pause();
    let commits = script.asked(code::UPDATE_CONSUMER_OFFSET, 3).await;
    for commit in &commits {
        assert_eq!((commit.number("commitOffset"), commit.oneway), (3, true));
    }
    let at = [0, 1, 2].map(|n| commits[n].at.as_secs());
    assert_eq!(at, [10, 15, 20]);
    consumer.shutdown(Duration::from_secs(1)).await;
    let last = script
        .with(|state| state.log.iter().rfind(|s| s.is(code::UPDATE_CONSUMER_OFFSET, "T")).cloned())
        .unwrap();
    assert!(!last.oneway, "the last one is waited for");
}

#[tokio::test(start_paused = true)]
async fn tags_that_only_hash_alike_are_dropped_and_pass_for_consumed() {
    let script = Script::new(1);
    // "Aa" and "BB" have the same hash.
    script.store("T", 0, "BB", "no");
    script.store("T", 0, "Aa", "yes");
    script.store("T", 0, "BB", "no");
    let (tx, mut rx) = mpsc::channel(10);
    let listener = move |messages: Messages, _: ConsumeContext| {
        tx.try_send(messages[0].body.clone()).unwrap();
        std::future::ready(())
    };
    let from = ConsumeFrom::FirstOffset;
    let builder = script.consumer().subscribe("T", "Aa").consume_from(from);
    let consumer = builder.listener(listener).start().await.unwrap();
    assert_eq!(next(&mut rx).await, "yes");
    script.committed(0, 3).await;
    assert!(rx.try_recv().is_err());
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_position_beyond_the_end_is_corrected_to_the_end() {
    let script = Script::new(1);
    (0..5).for_each(|n| script.store("T", 0, "", &n.to_string()));
    script.with(|state| state.committed.insert(("T".into(), 0), 500));
    let (listener, _gate, mut seen) = gated();
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    script.committed(0, 5).await;
    let refused = &script.asked(code::PULL_MESSAGE, 1).await[0];
    let written = &script.asked(code::UPDATE_CONSUMER_OFFSET, 1).await[0];
    assert_eq!((written.number("commitOffset"), written.at), (5, refused.at), "at once");
    script.store("T", 0, "", "new");
    assert_eq!(next(&mut seen).await, "new");
    let pulls = script.asked(code::PULL_MESSAGE, 2).await;
    assert!(pulls.iter().all(|pull| pull.number("queueOffset") != 0));
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_correction_outside_the_queue_is_no_correction() {
    let script = Script::new(1);
    script.with(|state| {
        state.queues.insert(("T".into(), 0), Queue { base: 100, ..Queue::default() });
        state.committed.insert(("T".into(), 0), 100);
    });
    (0..5).for_each(|n| script.store("T", 0, "", &format!("m{n}")));
    let mut lies = 3;
    script.answer(move |request, state| {
        if request.code != code::PULL_MESSAGE || request.field("topic") == Some(RETRY) || lies == 0
        {
            return None;
        }
        lies -= 1;
        let queue = &state.queues[&("T".to_owned(), 0)];
        let moved = pulled(response_code::PULL_OFFSET_MOVED, queue, 0, Vec::new());
        Some(Reply::Now(moved))
    });
    let (listener, _gate, mut seen) = gated();
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    assert_eq!(next(&mut seen).await, "m0");
    script.committed(0, 105).await;
    let log = script.with(|state| state.log.clone());
    let pulls = log.iter().filter(|s| s.is(code::PULL_MESSAGE, "T"));
    assert!(pulls.map(|pull| pull.number("queueOffset")).all(|offset| offset >= 100));
    let commits = log.iter().filter(|s| s.is(code::UPDATE_CONSUMER_OFFSET, "T"));
    assert!(commits.map(|commit| commit.number("commitOffset")).all(|offset| offset >= 100));
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_former_listener_finishes_after_a_correction_does_not_count() {
    let script = Script::new(1);
    (0..40).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (listener, gate, mut seen) = gated();
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    for _ in 1..40 {
        next(&mut seen).await;
    }
    // The queue loses its beginning while message 0 is still with the listener.
    script.with(|state| {
        let queue = state.queues.get_mut(&("T".to_owned(), 0)).unwrap();
        *queue = Queue { base: 60, ..Queue::default() };
    });
    script.committed(0, 60).await;
    gate.add_permits(1);
    assert_eq!(next(&mut seen).await, "0");
    script.sleep(Duration::from_secs(30)).await;
    assert_eq!(script.with(|state| state.committed[&("T".to_owned(), 0)]), 60);
    script.store("T", 0, "", "next");
    assert_eq!(next(&mut seen).await, "next");
    script.committed(0, 61).await;
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn pulling_waits_while_enough_is_held_and_goes_on_when_it_is_done() {
    let script = Script::new(1);
    (0..3000).for_each(|n| script.store("T", 0, "", &n.to_string()));
    let (listener, gate, _seen) = gated();
    let from = ConsumeFrom::FirstOffset;
    let builder = script.consumer().consume_from(from).consume_threads(1);
    let consumer = builder.listener(listener).start().await.unwrap();
    // Message 0 is stuck and nobody else serves the queue.
    script.asked(code::PULL_MESSAGE, 32).await;
    script.sleep(Duration::from_secs(30)).await;
    let pulls = script.asked(code::PULL_MESSAGE, 32).await;
    // A bound may be reached, so the last pull is the one with 1000 held.
    assert_eq!(pulls.last().unwrap().number("queueOffset"), 992);
    gate.add_permits(1);
    script.committed(0, 3000).await;
    consumer.shutdown(Duration::from_secs(1)).await;
}

/// M204, A8.
#[tokio::test(start_paused = true)]
async fn a_queue_without_messages_is_asked_for_every_fifteen_seconds() {
    let script = Script::new(1);
    let (listener, _gate, _seen) = gated();
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    script.asked(code::PULL_MESSAGE, 1).await;
    script.sleep(Duration::from_secs(59)).await;
    let pulls = script.asked(code::PULL_MESSAGE, 1).await;
    let waits: Vec<_> = pulls.iter().map(|pull| pull.number("suspendTimeoutMillis")).collect();
    assert_eq!(waits, [15_000; 4]);
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_or_failing_broker_is_asked_again() {
    let script = Script::new(1);
    script.store("T", 0, "", "m");
    // Each code with the wait after it; without a code there is no answer at all.
    let failures =
        [(Some(16), 1000), (Some(24), 1000), (Some(25), 1000), (Some(215), 20), (None, 31_000)];
    let mut codes = failures.into_iter().map(|(code, _)| code);
    script.answer(move |request, _| {
        if request.code != code::PULL_MESSAGE || request.field("topic") == Some(RETRY) {
            return None;
        }
        let refused = |code| Response::error(code, "no").into();
        codes.next().map(|code| code.map_or(Reply::None, refused))
    });
    let (listener, _gate, mut seen) = gated();
    let from = ConsumeFrom::FirstOffset;
    let consumer = script.consumer().consume_from(from).listener(listener).start().await.unwrap();
    assert_eq!(next(&mut seen).await, "m");
    let pulls = script.asked(code::PULL_MESSAGE, failures.len() + 1).await;
    for (pair, (code, wait)) in pulls.windows(2).zip(failures) {
        assert_eq!((pair[1].at - pair[0].at).as_millis(), wait, "after {code:?}");
    }
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_consumer_pulls_nothing_until_it_is_resumed() {
    let script = Script::new(1);
    let (listener, _gate, mut seen) = gated();
    let consumer = script.consumer().listener(listener).start().await.unwrap();
    script.asked(code::PULL_MESSAGE, 1).await;
    consumer.pause();
    script.store("T", 0, "", "m");
    script.sleep(Duration::from_secs(60)).await;
    assert!(seen.try_recv().is_err());
    consumer.resume();
    assert_eq!(next(&mut seen).await, "m");
    consumer.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_wider_expression_misses_nothing_that_comes_after_it() {
    let script = Script::new(1);
    let (listener, _gate, mut seen) = gated();
    let consumer = script.consumer().subscribe("T", "A").listener(listener).start().await.unwrap();
    script.asked(code::PULL_MESSAGE, 1).await;
    consumer.subscribe("T", "A || B").await.unwrap();
    script.store("T", 0, "B", "b");
    assert_eq!(next(&mut seen).await, "b");
    consumer.unsubscribe("T").await;
    script
        .until("the topic is given up", |_| {
            consumer.assignment().iter().all(|queue| queue.topic != "T").then_some(())
        })
        .await;
    script.committed(0, 1).await;
    consumer.shutdown(Duration::from_secs(1)).await;
}
