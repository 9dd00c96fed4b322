//! Transactions and request-reply with our producer: what is committed is delivered, whoever dies.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use parking_lot::Mutex;
use rmq_client_producer::{
    Message, MessageView, Producer, RequestError, SendReceipt, TransactionListener,
    TransactionProducer, Verdict, reply_to,
};
use rmq_client_push::ConsumeOutcome;
use rmq_runtime::{OnFailure, Tasks};
use rmq_tests::inbox::consumer;
use rmq_tests::{Client, Cluster, Inbox, eventually, holds};

const TOPIC: &str = "Orders";

/// Leaves everything open, and commits what it is asked about.
#[derive(Default)]
struct Hesitant {
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl TransactionListener for Hesitant {
    async fn execute(&self, message: &Message, _receipt: &SendReceipt) -> Verdict {
        match &message.body[..] {
            b"commit" => Verdict::Commit,
            b"rollback" => Verdict::Rollback,
            b"panic" => panic!("the local branch fails"),
            _ => Verdict::Unknown,
        }
    }

    async fn check(&self, message: &MessageView) -> Verdict {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        let verdict = if body.starts_with("drop") { Verdict::Rollback } else { Verdict::Commit };
        self.asked.lock().push(body);
        verdict
    }
}

async fn producer(cluster: &Cluster, listener: &Arc<Hesitant>) -> Result<TransactionProducer> {
    let builder = Producer::builder().namesrv(&cluster.namesrv()).group("deals");
    let listener = Arc::clone(listener);
    Ok(builder.timeout(Duration::from_secs(20)).start_transactions(listener).await?)
}

async fn delivered(client: &Client) -> Vec<String> {
    let all = client.messages(TOPIC).await.unwrap_or_default();
    let all = all.into_iter().flat_map(|(_, messages)| messages);
    let mut all: Vec<_> =
        all.map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect();
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_delivered_also_when_the_broker_must_ask() -> Result<()> {
    let cluster = Cluster::builder()
        .set("transactionTimeOut", "500")
        .set("transactionCheckInterval", "200")
        .start()
        .await?;
    cluster.create_topic(TOPIC, 2).await?;
    let listener = Arc::<Hesitant>::default();
    let producer = producer(&cluster, &listener).await?;
    for body in ["commit", "rollback", "panic", "later", "drop"] {
        let done = producer.send(Message::new(TOPIC, body)).await?;
        ensure!(!done.receipt.offset_id.is_empty());
    }
    let delayed = Message::new(TOPIC, "x").with_delay_level(1);
    ensure!(producer.send(delayed).await.is_err(), "a transaction cannot be delayed");
    producer.begin(Message::new(TOPIC, "by hand")).await?.commit().await;
    let client = Client::connect(&cluster.namesrv()).await?;
    eventually("four messages", async || {
        let wanted = ["by hand", "commit", "later", "panic"];
        (delivered(&client).await == wanted).then_some(())
    })
    .await?;
    holds("a question about the last", || listener.asked.lock().iter().any(|one| one == "drop"))
        .await?;
    ensure!(delivered(&client).await.len() == 4);
    producer.shutdown().await;
    client.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_gets_its_reply_or_an_error_in_time() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 2).await?;
    let client = Client::connect(&cluster.namesrv()).await?;
    let (replier, inbox) = (client.producer().clone(), Inbox::new());
    let answers = Tasks::new("answers");
    let listener = inbox.answering("one", move |delivery| {
        let Ok(reply) = reply_to(&delivery.message, "pong") else {
            return ConsumeOutcome::Success;
        };
        let replier = replier.clone();
        answers.spawn("answer", OnFailure::Log, async move { drop(replier.send(reply).await) });
        ConsumeOutcome::Success
    });
    let consumer = consumer(&cluster.namesrv(), "answers", TOPIC).listener(listener);
    let consumer = consumer.start().await?;
    let asker = Producer::builder().namesrv(&cluster.namesrv()).group("asker").start().await?;
    let asked = Message::new(TOPIC, "ping");
    let reply = asker.request(asked, Duration::from_secs(20)).await?;
    ensure!(&reply.body[..] == b"pong" && reply.properties.get("ARRIVE_TIME").is_some());
    consumer.shutdown(Duration::from_secs(1)).await;
    let unheard = Message::new(TOPIC, "anybody?");
    let silence = asker.request(unheard, Duration::from_millis(300)).await;
    ensure!(matches!(silence, Err(RequestError::NoReply { .. })), "{silence:?}");
    asker.shutdown().await;
    client.shutdown().await;
    Ok(())
}
