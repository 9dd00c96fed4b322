//! A group goes on where it was (A9).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use rmq_tests::history::{Commits, judge};
use rmq_tests::inbox::consumer;
use rmq_tests::{Client, Cluster, Inbox};

const TOPIC: &str = "Orders";
const GROUP: &str = "stock";
const GRACE: Duration = Duration::from_secs(5);

/// Until so many different messages have come, in this life of the group or an earlier one.
async fn consume(cluster: &Cluster, inbox: &Arc<Inbox>, count: usize) -> Result<()> {
    let builder = consumer(&cluster.namesrv(), GROUP, TOPIC).listener(inbox.listener("one"));
    let consumer = builder.start().await?;
    inbox.wait_for(count).await?;
    let report = consumer.shutdown(GRACE).await;
    ensure!(report.farewell && report.unconsumed == 0, "{report:?}");
    Ok(())
}

async fn send(client: &Client, numbers: std::ops::Range<usize>) -> Result<()> {
    for number in numbers {
        client.send(TOPIC, format!("{number}")).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_goes_on_where_it_stopped_also_after_a_restart_of_the_broker() -> Result<()> {
    const EACH: usize = 100;
    let mut cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 4).await?;
    let client = Client::connect(&cluster.namesrv()).await?;
    let (mut commits, inbox) = (Commits::default(), Inbox::new());
    for round in 0..3 {
        send(&client, round * EACH..(round + 1) * EACH).await?;
        consume(&cluster, &inbox, (round + 1) * EACH).await?;
        let repeated = judge(&client, TOPIC, GROUP, &inbox).await?;
        ensure!(repeated == 0, "{repeated} messages came again in round {round}");
        let progress = client.progress(GROUP, TOPIC).await?;
        commits.seen(&progress)?;
        ensure!(progress == client.ends(TOPIC).await?, "{progress:?} after round {round}");
        cluster.stop_broker(0).await?;
        cluster.start_broker(0).await?;
        cluster.await_route(TOPIC).await?;
        let restored = client.progress(GROUP, TOPIC).await?;
        commits.seen(&restored)?;
        ensure!(restored == progress, "{restored:?} after the restart, {progress:?} before");
    }
    client.shutdown().await;
    cluster.stop().await
}
