//! Listeners that send on what they got: two pipelines over the same brokers, with two producers and
//! two consumers at each end.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures_util::future;
use rmq_client_producer::{Message, Producer};
use rmq_client_push::{ConsumeContext, Messages, PushConsumer};
use rmq_tests::history::judge;
use rmq_tests::inbox::consumer;
use rmq_tests::{Client, Cluster, Inbox};

const COUNT: usize = 400;
const GRACE: Duration = Duration::from_secs(5);

/// A consumer of one topic that sends everything on to another.
async fn relay(
    cluster: &Cluster,
    from: &str,
    to: &'static str,
) -> Result<(PushConsumer, Producer)> {
    let builder = Producer::builder().namesrv(&cluster.namesrv());
    let producer = builder.group(&format!("relay_to_{to}")).start().await?;
    let sender = producer.clone();
    let listener = move |messages: Messages, _context: ConsumeContext| {
        let sender = sender.clone();
        async move {
            for message in &messages {
                let message = Message::new(to, message.body.clone());
                sender.send(message).await?;
            }
            anyhow::Ok(())
        }
    };
    let group = format!("relay_of_{from}");
    let consumer = consumer(&cluster.namesrv(), &group, from).listener(listener).start().await?;
    Ok((consumer, producer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pipelines_pass_on_everything_that_comes_in() -> Result<()> {
    let cluster = Cluster::builder().brokers(2).start().await?;
    let mut running = Vec::new();
    for (from, between, to) in [("InA", "MidA", "OutA"), ("InB", "MidB", "OutB")] {
        for topic in [from, between, to] {
            cluster.create_topic(topic, 2).await?;
        }
        let relays = [
            relay(&cluster, from, between).await?,
            relay(&cluster, from, between).await?,
            relay(&cluster, between, to).await?,
        ];
        let inbox = Inbox::new();
        let mut ends = Vec::new();
        for member in ["one", "two"] {
            let builder = consumer(&cluster.namesrv(), &format!("end_of_{to}"), to);
            ends.push(builder.listener(inbox.listener(member)).start().await?);
        }
        running.push((from, relays, to, inbox, ends));
    }
    let clients =
        [Client::connect(&cluster.namesrv()).await?, Client::connect(&cluster.namesrv()).await?];
    let sends = (0..2 * COUNT).map(|number| {
        let client = &clients[number % 2];
        let topic = running[number / COUNT].0;
        client.send(topic, format!("{topic} {}", number % COUNT))
    });
    future::try_join_all(sends).await?;
    for (from, relays, to, inbox, ends) in running {
        inbox.wait_for(COUNT).await?;
        let wanted: BTreeSet<Bytes> =
            (0..COUNT).map(|number| Bytes::from(format!("{from} {number}"))).collect();
        ensure!(inbox.bodies() == wanted, "the pipelines were mixed");
        for (consumer, producer) in relays {
            consumer.shutdown(GRACE).await;
            producer.shutdown().await;
        }
        for end in ends {
            end.shutdown(GRACE).await;
        }
        judge(&clients[0], to, &format!("end_of_{to}"), &inbox).await?;
    }
    for client in clients {
        client.shutdown().await;
    }
    cluster.stop().await
}
