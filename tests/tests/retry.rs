//! A message whose listener fails comes again, and in the end lies among the dead letters (A14).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rmq_client_push::{ConsumeOutcome, PushSettings};
use rmq_message::{name, property};
use rmq_tests::inbox::{consumer, settings};
use rmq_tests::{Client, Cluster, Inbox, eventually, holds};

const TOPIC: &str = "Orders";
const GROUP: &str = "stock";
const GRACE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_message_comes_again_and_then_lies_among_the_dead_letters() -> Result<()> {
    const MAX: i32 = 2;
    // The first retry waits as long as level 3 says, the second as level 4.
    let cluster = Cluster::builder().set("messageDelayLevel", "1h 1h 1s 1s 1h 1h").start().await?;
    cluster.create_topic(TOPIC, 2).await?;
    let (client, inbox) = (Client::connect(&cluster.namesrv()).await?, Inbox::new());
    let listener = inbox.answering("one", |delivery| {
        let hopeless = delivery.message.body.starts_with(b"hopeless");
        let first = delivery.message.reconsume_times == 0;
        let fails = hopeless || (first && delivery.message.body.starts_with(b"unlucky"));
        if fails { ConsumeOutcome::later() } else { ConsumeOutcome::Success }
    });
    let settings = PushSettings { max_reconsume_times: MAX, ..settings(GROUP) };
    let consumer = consumer(&cluster.namesrv(), GROUP, TOPIC).settings(settings);
    let consumer = consumer.listener(listener).start().await?;
    for body in ["hopeless", "unlucky", "lucky"] {
        client.send(TOPIC, body).await?;
    }
    let attempts = |body: &'static str| {
        let all = inbox.all().into_iter();
        all.filter(move |delivery| delivery.message.body == body).collect::<Vec<_>>()
    };
    holds("second attempt", || attempts("unlucky").len() == 2).await?;
    holds("last attempt", || attempts("hopeless").len() == 3).await?;
    for body in ["hopeless", "unlucky", "lucky"] {
        let attempts = attempts(body);
        for (count, attempt) in (0..).zip(&attempts) {
            let message = &attempt.message;
            ensure!(message.topic == TOPIC, "{body} came in {}", message.topic);
            ensure!(message.reconsume_times == count, "{body}: {message:?}");
            ensure!(message.id() == attempts[0].message.id(), "{body} has another id");
        }
        for pair in attempts.windows(2) {
            let pause = pair[1].at.since(pair[0].at);
            ensure!(pause >= Duration::from_millis(900), "{body} came again after {pause:?}");
        }
    }

    let dead_letters = name::dlq_topic(GROUP);
    let dead = eventually("dead letter", async || {
        let queues = client.messages(&dead_letters).await.ok()?;
        queues.into_iter().flat_map(|(_, messages)| messages).next()
    })
    .await?;
    ensure!(dead.body == "hopeless", "{dead:?}");
    ensure!(dead.properties.get(property::RETRY_TOPIC) == Some(TOPIC), "{dead:?}");
    // Everything is done: progress is where the queues end, also in the retry topic.
    for topic in [TOPIC.to_owned(), name::retry_topic(GROUP)] {
        eventually("progress", async || {
            let stored = client.contents(&topic).await.ok()?;
            let progress = client.progress(GROUP, &topic).await.ok()?;
            let done: i64 = progress.iter().map(|(_, offset)| offset).sum();
            let count: usize = stored.values().map(Vec::len).sum();
            (usize::try_from(done).ok()? == count).then_some(())
        })
        .await
        .with_context(|| topic.clone())?;
    }
    ensure!(inbox.all().len() == 3 + 2 + 1, "{:?}", inbox.counts());
    consumer.shutdown(GRACE).await;
    client.shutdown().await;
    cluster.stop().await
}
