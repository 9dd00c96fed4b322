//! Brokers are restarted one after the other under load; clients notice little.

use std::time::Duration;

use anyhow::{Result, ensure};
use rmq_client_producer::Producer;
use rmq_tests::history::{all_delivered, judge};
use rmq_tests::inbox::{balanced, consumer};
use rmq_tests::load::Load;
use rmq_tests::wire::Wire;
use rmq_tests::{Client, Cluster, Inbox};

const TOPIC: &str = "Orders";
const GRACE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_and_producers_go_on_while_brokers_are_restarted() -> Result<()> {
    let mut cluster = Cluster::builder().brokers(2).start().await?;
    cluster.create_topic(TOPIC, 2).await?;
    let (client, inbox, load) =
        (Client::connect(&cluster.namesrv()).await?, Inbox::new(), Load::default());
    let mut members = Vec::new();
    for member in ["one", "two"] {
        let builder = consumer(&cluster.namesrv(), "stock", TOPIC);
        members.push(builder.listener(inbox.listener(member)).start().await?);
    }
    balanced(&members.iter().collect::<Vec<_>>(), TOPIC, &[2, 2]).await?;
    let producer = Producer::builder().namesrv(&cluster.namesrv()).group("load").start().await?;
    let restarts = async {
        for round in 0..4 {
            load.acknowledged_more(100).await?;
            cluster.stop_broker(round % 2).await?;
            load.acknowledged_more(50).await?;
            cluster.start_broker(round % 2).await?;
            cluster.await_route(TOPIC).await?;
        }
        load.acknowledged_more(100).await
    };
    load.during(&producer, 3, TOPIC, Box::pin(restarts)).await?;
    let contents = client.contents(TOPIC).await?;
    let verdict = load.history.check(&contents)?;
    println!("{verdict}");
    ensure!(verdict.refused == 0, "another broker was there: {verdict}");
    let repeated = all_delivered(&contents, &inbox).await?;
    println!("{repeated} deliveries were repetitions");
    for member in members {
        member.shutdown(GRACE).await;
    }
    judge(&client, TOPIC, "stock", &inbox).await?;
    producer.shutdown().await;
    client.shutdown().await;
    cluster.stop().await
}

/// Apache's dashboard asks two ports below the broker's, unless told otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_vip_port_answers_as_the_brokers_own_also_after_a_restart() -> Result<()> {
    const GET_BROKER_RUNTIME_INFO: i32 = 28;
    let mut cluster = Cluster::builder().brokers(1).start().await?;
    let mut vip = cluster.broker(0);
    vip.set_port(vip.port() - 2);
    for _ in 0..2 {
        let mut tool = Wire::connect(vip).await?;
        let answer = tool.ask(GET_BROKER_RUNTIME_INFO, &[], b"").await?;
        let answer = answer.ok_or_else(|| anyhow::anyhow!("the connection was closed"))?;
        ensure!(answer.code() == 0 && !answer.body.is_empty(), "{answer:?}");
        cluster.stop_broker(0).await?;
        ensure!(Wire::connect(vip).await.is_err(), "it still listens");
        cluster.start_broker(0).await?;
    }
    Ok(())
}
