//! A group goes on where it was (A9).

use std::time::Duration;

use anyhow::{Result, ensure};
use rmq_tests::history::Commits;
use rmq_tests::inbox::consumer;
use rmq_tests::{Client, Cluster, Inbox};

const TOPIC: &str = "Orders";
const GROUP: &str = "stock";
const GRACE: Duration = Duration::from_secs(5);

async fn consume(cluster: &Cluster, count: usize) -> Result<Vec<String>> {
    let inbox = Inbox::new();
    let builder = consumer(&cluster.namesrv(), GROUP, TOPIC).listener(inbox.listener("one"));
    let consumer = builder.start().await?;
    inbox.wait_for(count).await?;
    let report = consumer.shutdown(GRACE).await;
    ensure!(report.farewell && report.unconsumed == 0, "{report:?}");
    let text = |body: &bytes::Bytes| String::from_utf8_lossy(body).into_owned();
    Ok(inbox.all().iter().map(|delivery| text(&delivery.message.body)).collect())
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
    let mut commits = Commits::default();
    for round in 0..3 {
        send(&client, round * EACH..(round + 1) * EACH).await?;
        let mut got: Vec<usize> = consume(&cluster, EACH)
            .await?
            .iter()
            .map(|body| body.parse())
            .collect::<Result<_, _>>()?;
        got.sort_unstable();
        ensure!(got.iter().copied().eq(round * EACH..(round + 1) * EACH), "round {round}: {got:?}");
        let progress = client.progress(GROUP, TOPIC).await?;
        commits.seen(&progress)?;
        let done: i64 = progress.iter().map(|(_, offset)| offset).sum();
        ensure!(usize::try_from(done)? == (round + 1) * EACH, "{progress:?} after round {round}");
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
