//! What a pull asks for, when the next one goes out, and how much is held.

use std::time::Duration;

use rmq_client_push::{ConsumeContext, ConsumeFrom, Messages, PushSettings};
use rmq_remoting::processor::Reply;
use rmq_remoting::protocol::client::ConsumersChanged;
use rmq_remoting::typed::TypedRequest;
use rmq_remoting::{request_code as code, response_code};
use tokio::time::Instant;

use crate::script::{GROUP, Script, gated, next, pulled};

const GRACE: Duration = Duration::from_secs(1);

async fn nothing(_messages: Messages, _context: ConsumeContext) {}

fn settings() -> PushSettings {
    PushSettings {
        consumer_group: GROUP.into(),
        consume_from_where: ConsumeFrom::FirstOffset,
        ..PushSettings::default()
    }
}

#[tokio::test(start_paused = true)]
async fn every_queue_has_one_pull_on_its_way_that_says_what_is_wanted() {
    let chosen = PushSettings {
        pull_batch_size: 7,
        pull_batch_size_in_bytes: 1000,
        post_subscription_when_pull: true,
        ..settings()
    };
    for (settings, count, bytes, flags, expression) in
        [(settings(), "32", "262144", "2", None), (chosen, "7", "1000", "6", Some("*"))]
    {
        let script = Script::new(4);
        let builder = script.consumer().settings(settings);
        let consumer = builder.listener(nothing).start().await.unwrap();
        // They all wait at the broker by now, for nearly as long as they may.
        script.sleep(Duration::from_secs(14)).await;
        let pulls = script.asked(code::PULL_MESSAGE, 4).await;
        let mut queues: Vec<_> = pulls.iter().map(|pull| pull.number("queueId")).collect();
        queues.sort_unstable();
        assert_eq!(queues, [0, 1, 2, 3]);
        for pull in &pulls {
            assert!(pull.at < Duration::from_secs(1), "{:?}", pull.at);
            let said = [
                "consumerGroup",
                "maxMsgNums",
                "maxMsgBytes",
                "sysFlag",
                "suspendTimeoutMillis",
                "expressionType",
                "subscription",
            ]
            .map(|name| pull.fields.get(name).map(String::as_str));
            let (group, kind, wait) = (Some(GROUP), Some("TAG"), Some("15000"));
            let expected = [group, Some(count), Some(bytes), Some(flags), wait, kind, expression];
            assert_eq!(said, expected);
        }
        consumer.shutdown(GRACE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_pull_goes_out_at_once_whatever_the_last_one_brought() {
    const ANSWERED: Duration = Duration::from_secs(1);
    // The code of the first answer, the tag of what it brings, and the pause that was asked for.
    // "Aa" and "BB" have the same hash.
    for (status, tag, pause) in [
        (response_code::SUCCESS, "Aa", 0),
        (response_code::SUCCESS, "Aa", 700),
        (response_code::SUCCESS, "BB", 700),
        (response_code::PULL_RETRY_IMMEDIATELY, "C", 700),
        (response_code::PULL_NOT_FOUND, "C", 700),
    ] {
        let script = Script::new(1);
        (0..5).for_each(|_| script.store("T", 0, tag, "m"));
        let mut first = true;
        script.answer(move |request, state| {
            let is_first = request.code == code::PULL_MESSAGE
                && request.field("topic") == Some("T")
                && std::mem::replace(&mut first, false);
            let queue = &state.queues[&("T".to_owned(), 0)];
            let records = match status {
                response_code::SUCCESS => queue.records.iter().map(|(r, _)| r.clone()).collect(),
                _ => Vec::new(),
            };
            let answer = pulled(status, queue, 5, records);
            let later = Instant::now() + ANSWERED;
            is_first.then(|| {
                Reply::Later(Box::pin(async move {
                    tokio::time::sleep_until(later).await;
                    answer
                }))
            })
        });
        let settings = PushSettings { pull_interval: pause, ..settings() };
        let builder = script.consumer().settings(settings).subscribe("T", "Aa");
        let consumer = builder.listener(nothing).start().await.unwrap();
        let pulls = script.asked(code::PULL_MESSAGE, 2).await;
        let positions = [0, 1].map(|n: usize| pulls[n].number("queueOffset"));
        assert_eq!(positions, [0, 5], "{status} {tag}");
        // Only who got messages rests, if it is told to.
        let is_found = tag == "Aa";
        let rest = Duration::from_millis(if is_found { pause.into() } else { 0 });
        assert_eq!(pulls[1].at - pulls[0].at, ANSWERED + rest, "{status} {tag}");
        let totals = consumer.stats()["T"];
        if is_found {
            assert_eq!((totals.pulls, totals.pulled, totals.pull_rt()), (1, 5, ANSWERED));
            script.committed(0, 5).await;
        } else {
            // Nothing is held, so progress has come as far as was read, and rides on this pull.
            assert_eq!(totals.pulls, 0);
            let progress = ["sysFlag", "commitOffset"].map(|name| pulls[1].number(name));
            assert_eq!(progress, [3, 5], "{status} {tag}");
        }
        consumer.shutdown(GRACE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_bound_of_the_topic_is_divided_among_the_queues_that_are_held() {
    let script = Script::new(2);
    for queue in 0..2 {
        (0..50).for_each(|_| script.store("T", queue, "", "m"));
    }
    let (listener, gate, _seen) = gated(0);
    let settings = PushSettings { pull_batch_size: 1, pull_threshold_for_topic: 12, ..settings() };
    let consumer = script.consumer().settings(settings).listener(listener).start().await.unwrap();
    // What the queues hold when pulling stands still: a bound may be reached, so one more.
    let held = async || {
        script.sleep(Duration::from_secs(30)).await;
        let snapshot = consumer.running_info().await.mq_table;
        let of_topic = snapshot.iter().filter(|(queue, _)| queue.topic == "T");
        of_topic.map(|(_, queue)| queue.cached_msg_count).collect::<Vec<_>>()
    };
    assert_eq!(held().await, [5, 5], "12 for three queues, that of the retries included");
    script.with(|state| state.members.insert("~other".into()));
    let changed = ConsumersChanged { consumer_group: GROUP.into() };
    script.tell_clients(&changed.to_command()).await;
    assert_eq!(held().await, [7], "12 for two queues");
    gate.add_permits(1000);
    script.committed(0, 50).await;
    consumer.shutdown(GRACE).await;
}

#[tokio::test(start_paused = true)]
async fn queues_take_turns_and_none_is_forgotten() {
    let script = Script::new(4);
    for queue in 0..4 {
        (0..5).for_each(|_| script.store("T", queue, "", &queue.to_string()));
    }
    let (listener, gate, mut seen) = gated(0);
    let builder = script.consumer().settings(settings()).consume_threads(1);
    let consumer = builder.listener(listener).start().await.unwrap();
    // The first call waits until all queues stand in line.
    next(&mut seen).await;
    script.sleep(Duration::from_secs(10)).await;
    gate.add_permits(1000);
    for round in 0..4 {
        let mut served = [const { String::new() }; 4];
        for place in &mut served {
            *place = next(&mut seen).await;
        }
        served.sort_unstable();
        assert_eq!(served, ["0", "1", "2", "3"], "round {round}");
    }
    consumer.shutdown(GRACE).await;
}
