//! An application that polls: shared and assigned queues, positions, commits.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use rmq_client_core::ClientConfig;
use rmq_client_pull::{ConsumeFrom, PullConsumer, PullConsumerBuilder, PullError, PullSettings};
use rmq_message::{MessageQueue, QueueOffset};
use rmq_runtime::{ClockExt as _, World};
use rmq_tests::{Client, Cluster, holds};

const TOPIC: &str = "Orders";
const WAIT: Duration = Duration::from_secs(20);
const MOMENT: Duration = Duration::from_millis(200);

fn consumer(cluster: &Cluster, group: &str) -> PullConsumerBuilder {
    PullConsumer::builder()
        .namesrv(&cluster.namesrv())
        .group(group)
        .auto_commit(false)
        .consume_from(ConsumeFrom::FirstOffset)
}

/// Polls until so many bodies have come.
async fn bodies(consumer: &PullConsumer, count: usize) -> Result<BTreeSet<String>> {
    let mut bodies = BTreeSet::new();
    while bodies.len() < count {
        let polled = consumer.poll(WAIT).await?;
        ensure!(!polled.is_empty(), "{} of {count} came", bodies.len());
        for message in polled {
            bodies.insert(String::from_utf8_lossy(&message.body).into_owned());
        }
    }
    Ok(bodies)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_does_not_come_again_and_the_rest_does() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 4).await?;
    let client = Client::connect(&cluster.namesrv()).await?;
    for i in 0..20 {
        client.send(TOPIC, format!("first-{i}")).await?;
    }
    let one = consumer(&cluster, "reports").subscribe(TOPIC, "*").start().await?;
    ensure!(bodies(&one, 20).await?.len() == 20);
    one.commit().await?;
    for i in 0..10 {
        client.send(TOPIC, format!("second-{i}")).await?;
    }
    bodies(&one, 10).await?;
    one.shutdown().await;
    ensure!(matches!(one.poll(WAIT).await, Err(PullError::Closed)));

    let two = consumer(&cluster, "reports").subscribe(TOPIC, "*").start().await?;
    let again = bodies(&two, 10).await?;
    ensure!(again.iter().all(|body| body.starts_with("second")), "{again:?}");
    two.shutdown().await;
    client.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assigned_queue_goes_where_it_is_told() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 1).await?;
    let client = Client::connect(&cluster.namesrv()).await?;
    for i in 0..5 {
        client.send(TOPIC, format!("{i}")).await?;
    }
    let consumer = consumer(&cluster, "seekers").start().await?;
    let queues = consumer.queues(TOPIC).await?;
    let [queue] = &queues[..] else { panic!("one queue") };
    consumer.assign(queues.clone()).await?;
    ensure!(consumer.subscribe(TOPIC, "*").await.is_err(), "queues are assigned");
    ensure!(bodies(&consumer, 5).await?.len() == 5);
    consumer.seek(queue, QueueOffset(3)).await?;
    ensure!(bodies(&consumer, 2).await? == BTreeSet::from(["3".to_owned(), "4".to_owned()]));
    consumer.seek_to_begin(queue).await?;
    ensure!(bodies(&consumer, 5).await?.len() == 5);
    let refused = consumer.seek(queue, QueueOffset(6)).await;
    ensure!(matches!(refused, Err(PullError::OutOfRange { .. })));
    let other = MessageQueue::new("Other", "broker-a", 0);
    let refused = consumer.seek(&other, QueueOffset(0)).await;
    ensure!(matches!(refused, Err(PullError::NotAssigned { .. })));

    consumer.pause(&queues)?;
    // A pull that is held already may still bring one message.
    client.send(TOPIC, "5").await?;
    bodies(&consumer, 1).await?;
    client.send(TOPIC, "6").await?;
    ensure!(consumer.poll(MOMENT).await?.is_empty(), "the queue is paused");
    consumer.resume(&queues)?;
    ensure!(bodies(&consumer, 1).await? == BTreeSet::from(["6".to_owned()]));
    consumer.seek_to_end(queue).await?;
    ensure!(consumer.poll(MOMENT).await?.is_empty());
    let at = [(queue.clone(), QueueOffset(2))].into();
    consumer.commit_offsets(&at).await?;
    ensure!(client.progress("seekers", TOPIC).await?[0].1 == 2);
    consumer.shutdown().await;
    client.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_group_share_the_queues() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 4).await?;
    let one = consumer(&cluster, "pair").subscribe(TOPIC, "*").start().await?;
    holds("all queues at one", || one.assignment().len() == 4).await?;
    let two = consumer(&cluster, "pair").subscribe(TOPIC, "*").start().await?;
    holds("half of the queues each", || one.assignment().len() == 2 && two.assignment().len() == 2)
        .await?;
    two.shutdown().await;
    holds("all queues at one again", || one.assignment().len() == 4).await?;
    one.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_handed_out_is_committed_by_itself_while_the_application_polls() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 1).await?;
    let client = Client::connect(&cluster.namesrv()).await?;
    let often = Duration::from_secs(1);
    let config = ClientConfig { persist_interval: often, ..ClientConfig::new(&cluster.namesrv()) };
    let settings = PullSettings {
        group: "readers".to_owned(),
        auto_commit_interval: 1_000,
        ..PullSettings::default()
    };
    let consumer = PullConsumer::builder()
        .settings(settings)
        .client_config(config)
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::FirstOffset)
        .start()
        .await?;
    for i in 0..3 {
        client.send(TOPIC, format!("{i}")).await?;
    }
    bodies(&consumer, 3).await?;
    // Nobody commits, nobody stops; the next polls say that the application has had what came.
    let committed = async {
        while client.progress("readers", TOPIC).await?[0].1 < 3 {
            ensure!(consumer.poll(MOMENT).await?.is_empty());
        }
        Ok(())
    };
    World::system().clock.timeout(WAIT, committed).await??;
    consumer.shutdown().await;
    client.shutdown().await;
    Ok(())
}
