//! Members of a group come, leave and die; every message reaches the group, whoever has its queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use rmq_client_producer::{Message, MessageQueue};
use rmq_client_push::{ConsumeContext, Messages, PushConsumer};
use rmq_runtime::BoxFuture;
use rmq_tests::history::{all_delivered, judge};
use rmq_tests::inbox::{balanced, consumer, queues_of};
use rmq_tests::load::Load;
use rmq_tests::{Client, Cluster, Inbox, eventually, holds};

const TOPIC: &str = "Orders";
const GRACE: Duration = Duration::from_secs(5);

async fn join(cluster: &Cluster, inbox: &Arc<Inbox>, member: &str) -> Result<PushConsumer> {
    let builder = consumer(&cluster.namesrv(), "stock", TOPIC).listener(inbox.listener(member));
    Ok(builder.start().await?)
}

/// Until a few more messages went out and came in, so that something happens in between.
async fn go_on(load: &Load, inbox: &Inbox) -> Result<()> {
    let got = inbox.count();
    load.acknowledged_more(50).await?;
    holds("deliveries", || inbox.count() > got + 50).await
}

/// A1 and A7.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_lost_while_members_come_and_go() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 4).await?;
    let (client, inbox, load) =
        (Client::connect(&cluster.namesrv()).await?, Inbox::new(), Load::default());
    let members = async {
        let one = join(&cluster, &inbox, "one").await?;
        balanced(&[&one], TOPIC, &[4]).await?;
        go_on(&load, &inbox).await?;
        let two = join(&cluster, &inbox, "two").await?;
        balanced(&[&one, &two], TOPIC, &[2, 2]).await?;
        go_on(&load, &inbox).await?;
        let three = join(&cluster, &inbox, "three").await?;
        balanced(&[&one, &two, &three], TOPIC, &[2, 1, 1]).await?;
        go_on(&load, &inbox).await?;
        for leaving in [two, three] {
            let report = leaving.shutdown(GRACE).await;
            ensure!(report.abandoned == 0 && report.farewell, "{report:?}");
        }
        balanced(&[&one], TOPIC, &[4]).await?;
        go_on(&load, &inbox).await?;
        anyhow::Ok(one)
    };
    let one = load.during(client.producer(), 1, TOPIC, Box::pin(members)).await?;
    let contents = client.contents(TOPIC).await?;
    let verdict = load.history.check(&contents)?;
    let repeated = all_delivered(&contents, &inbox).await?;
    println!("{verdict}; {repeated} deliveries were repetitions");
    one.shutdown(GRACE).await;
    judge(&client, TOPIC, "stock", &inbox).await?;
    client.shutdown().await;
    cluster.stop().await
}

/// Sends a message to each queue; whether members, of whom none has had messages yet, get them from
/// so many queues each.
async fn served(cluster: &Cluster, inbox: &Inbox, counts: &[usize]) -> Result<()> {
    let client = Client::connect(&cluster.namesrv()).await?;
    let queues = client.producer().queues(TOPIC).await?;
    for queue in &queues {
        client.producer().send_to(queue, Message::new(TOPIC, format!("{queue}"))).await?;
    }
    inbox.wait_for(queues.len()).await?;
    let mut served = BTreeMap::<String, BTreeSet<MessageQueue>>::new();
    for delivery in inbox.all() {
        served.entry(delivery.member).or_default().insert(delivery.message.queue());
    }
    let mut sizes: Vec<usize> = served.values().map(BTreeSet::len).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    ensure!(sizes == counts, "{counts:?} wanted, messages came from {served:?}");
    client.shutdown().await;
    Ok(())
}

/// A4 and A5.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_are_spread_evenly() -> Result<()> {
    let cluster = Cluster::builder().brokers(2).start().await?;
    cluster.create_topic(TOPIC, 2).await?;
    let inbox = Inbox::new();
    let one = join(&cluster, &inbox, "one").await?;
    let two = join(&cluster, &inbox, "two").await?;
    balanced(&[&one, &two], TOPIC, &[2, 2]).await?;
    served(&cluster, &inbox, &[2, 2]).await?;
    for queues in [queues_of(&one, TOPIC), queues_of(&two, TOPIC)] {
        let brokers: Vec<_> = queues.iter().map(|queue| &queue.broker_name).collect();
        ensure!(brokers.windows(2).all(|pair| pair[0] == pair[1]), "{queues:?} of two brokers");
    }
    for member in [one, two] {
        member.shutdown(GRACE).await;
    }
    cluster.stop().await?;

    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 3).await?;
    let inbox = Inbox::new();
    let one = join(&cluster, &inbox, "one").await?;
    let two = join(&cluster, &inbox, "two").await?;
    balanced(&[&one, &two], TOPIC, &[2, 1]).await?;
    served(&cluster, &inbox, &[2, 1]).await?;
    one.shutdown(GRACE).await;
    two.shutdown(GRACE).await;
    cluster.stop().await
}

/// Passes messages on until it is stuck: then it takes them and never comes back.
fn sticking(
    passes: impl Fn(Messages, ConsumeContext) -> std::future::Ready<()> + Send + Sync + 'static,
    is_stuck: Arc<AtomicBool>,
    taken: Arc<AtomicUsize>,
) -> impl Fn(Messages, ConsumeContext) -> BoxFuture<'static, ()> + Send + Sync + 'static {
    move |messages, context| {
        if is_stuck.load(Ordering::Acquire) {
            taken.fetch_add(messages.len(), Ordering::AcqRel);
            return Box::pin(std::future::pending());
        }
        Box::pin(passes(messages, context))
    }
}

/// A6. The member lives on a runtime of its own, which is torn down with everything in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_of_a_dead_member_go_on_where_its_progress_was_stored() -> Result<()> {
    const FIRST: usize = 400;
    const STUCK: usize = 20;
    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 4).await?;
    let (client, inbox) = (Client::connect(&cluster.namesrv()).await?, Inbox::new());
    let doomed =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (is_stuck, taken) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let listener = sticking(inbox.listener("doomed"), Arc::clone(&is_stuck), Arc::clone(&taken));
    let builder = consumer(&cluster.namesrv(), "stock", TOPIC).listener(listener);
    let doomed_member = doomed.spawn(builder.start()).await??;
    let heir = join(&cluster, &inbox, "heir").await?;
    balanced(&[&doomed_member, &heir], TOPIC, &[2, 2]).await?;
    for number in 0..FIRST {
        client.send(TOPIC, format!("order {number}")).await?;
    }
    inbox.wait_for(FIRST).await?;
    // What is stored of its progress when it dies is where the heir must go on.
    eventually("stored progress", async || {
        let progress = client.progress("stock", TOPIC).await.ok()?;
        (progress.iter().map(|(_, offset)| *offset).sum::<i64>() >= FIRST as i64 / 2).then_some(())
    })
    .await?;
    is_stuck.store(true, Ordering::Release);
    let lost = queues_of(&doomed_member, TOPIC);
    for number in FIRST..FIRST + STUCK {
        client.send(TOPIC, format!("order {number}")).await?;
    }
    holds("messages in its hands", || taken.load(Ordering::Acquire) >= STUCK / 4).await?;
    doomed.shutdown_background();
    let stored: i64 = client
        .progress("stock", TOPIC)
        .await?
        .into_iter()
        .filter(|(queue, _)| lost.contains(queue))
        .map(|(_, offset)| offset)
        .sum();
    balanced(&[&heir], TOPIC, &[4]).await?;
    inbox.wait_for(FIRST + STUCK).await?;
    for number in FIRST + STUCK..2 * FIRST {
        client.send(TOPIC, format!("order {number}")).await?;
    }
    inbox.wait_for(2 * FIRST).await?;
    let deliveries = inbox.all();
    let repeated = deliveries.len() - 2 * FIRST;
    let done_by_doomed = deliveries.iter().filter(|delivery| delivery.member == "doomed").count();
    let open = done_by_doomed.saturating_sub(usize::try_from(stored)?);
    println!("{repeated} of the {open} messages after the stored progress came again");
    ensure!(repeated <= open, "{repeated} messages came again, {open} could");
    drop(doomed_member);
    heir.shutdown(GRACE).await;
    judge(&client, TOPIC, "stock", &inbox).await?;
    client.shutdown().await;
    cluster.stop().await
}
