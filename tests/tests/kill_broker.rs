//! A broker is killed again and again in the middle of its work; what it acknowledged is there (P1).
//! Every third time it is killed once more while it recovers (INV-05). `RMQ_TORTURE_KILLS` says how
//! often, for each way to flush.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rmq_client_producer::Producer;
use rmq_tests::history::all_delivered;
use rmq_tests::inbox::{balanced, consumer};
use rmq_tests::load::Load;
use rmq_tests::wait::now;
use rmq_tests::{Client, Cluster, ClusterBuilder, Inbox};

const TOPIC: &str = "Orders";
/// Kills of an ordinary test run.
const KILLS: usize = 12;
/// Kills between two lines that tell how far it is.
const TOLD: usize = 10;
const SENDERS: usize = 6;
const GRACE: Duration = Duration::from_secs(5);

/// How many kills there are to be.
fn kills_wanted() -> Result<usize> {
    let Some(text) = std::env::var_os("RMQ_TORTURE_KILLS") else { return Ok(KILLS) };
    let number = text.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
    number.with_context(|| format!("RMQ_TORTURE_KILLS is {text:?}; give a number above 0"))
}

/// With small files, so that the log rolls and full index files are sealed on the way.
fn cluster(flush: &str) -> ClusterBuilder {
    Cluster::builder()
        .set("flushDiskType", flush)
        .set("mappedFileSizeCommitLog", 1 << 20)
        .set("mappedFileSizeConsumeQueue", 20_000)
        .set("maxHashSlotNum", 500)
        .set("maxIndexNum", 2000)
}

/// How long a broker may recover until it is killed again.
fn while_it_recovers(round: usize) -> Option<Duration> {
    (round % 3 == 2).then(|| Duration::from_millis(round as u64 * 7 % 60))
}

#[expect(clippy::print_stdout, reason = "a long run tells how far it is")]
fn say(line: &str) {
    println!("{line}");
}

async fn kill_again_and_again(flush: &str) -> Result<String> {
    let rounds = kills_wanted()?;
    let told = |text: &str| say(&format!("{flush}: {text}"));
    let mut cluster = cluster(flush).start_processes().await?;
    cluster.create_topic(TOPIC, 4).await?;
    let (client, inbox, load) =
        (Client::connect(&cluster.namesrv()).await?, Inbox::new(), Load::default());
    let builder = consumer(&cluster.namesrv(), "stock", TOPIC).listener(inbox.listener("one"));
    let member = builder.start().await?;
    balanced(&[&member], TOPIC, &[4]).await?;
    // One try only: so a message is stored once, or the sender does not know.
    let producer = Producer::builder().namesrv(&cluster.namesrv()).group("load").retries(0);
    let producer = producer.timeout(Duration::from_secs(10)).start().await?;
    let (mut down, mut nested) = (Vec::new(), 0);
    let kills = async {
        for round in 0..rounds {
            // Not always at the same point of the work.
            load.acknowledged_more(40 + 37 * round % 100).await?;
            cluster.kill_broker(0)?;
            let killed = now();
            if let Some(after) = while_it_recovers(round) {
                cluster.start_and_kill_broker(0, after).await?;
                nested += 1;
            }
            cluster.start_broker(0).await.with_context(|| format!("after kill {round}"))?;
            load.acknowledged_more(1).await?;
            down.push(now().since(killed));
            if (round + 1) % TOLD == 0 {
                let sent = load.history.acknowledged();
                told(&format!("{} of {rounds} kills, {sent} messages acknowledged", round + 1));
            }
        }
        load.acknowledged_more(100).await
    };
    load.during(&producer, SENDERS, TOPIC, Box::pin(kills)).await?;
    cluster.expect_alive()?;
    let contents = client.contents(TOPIC).await?;
    let verdict = load.history.check(&contents).context("after the kills")?;
    ensure!(verdict.duplicates == 0, "{verdict}");
    let repeated = all_delivered(&contents, &inbox).await?;
    down.sort_unstable();
    let summary = format!(
        "{flush}: {rounds} kills and {nested} during recovery; nothing lost, nothing invented: \
         {verdict}; {repeated} deliveries were repetitions; from kill to next acknowledged send: \
         median {:?}, worst {:?}",
        down[rounds / 2],
        down[rounds - 1]
    );

    // The last kills are seen by nobody but the store: all is there once more.
    cluster.kill_broker(0)?;
    for after in [0, 20, 50] {
        cluster.start_and_kill_broker(0, Duration::from_millis(after)).await?;
    }
    cluster.start_broker(0).await?;
    cluster.await_route(TOPIC).await?;
    let again = client.contents(TOPIC).await?;
    ensure!(again == contents, "a kill of an idle broker changed its queues");
    member.shutdown(GRACE).await;
    producer.shutdown().await;
    client.shutdown().await;
    cluster.stop().await?;
    Ok(summary)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_with_synchronous_flush() -> Result<()> {
    say(&kill_again_and_again("SYNC_FLUSH").await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_with_asynchronous_flush() -> Result<()> {
    say(&kill_again_and_again("ASYNC_FLUSH").await?);
    Ok(())
}
