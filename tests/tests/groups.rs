//! Who of which group gets a message.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures_util::future;
use rmq_client_producer::Message;
use rmq_client_push::{ClientConfig, MessageModel, PushSettings};
use rmq_tests::history::{all_delivered, judge};
use rmq_tests::inbox::{self, balanced, consumer, settings};
use rmq_tests::{Client, Cluster, Inbox};

const TOPIC: &str = "Orders";
const GRACE: Duration = Duration::from_secs(5);

/// Sends numbered messages, many at once.
async fn send_all(client: &Client, numbers: std::ops::Range<usize>) -> Result<()> {
    let sends = numbers.map(|number| async move {
        client.producer().send(Message::new(TOPIC, format!("order {number}"))).await
    });
    future::try_join_all(sends).await?;
    Ok(())
}

/// A2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_group_gets_every_message_once() -> Result<()> {
    const COUNT: usize = 10_000;
    let cluster = Cluster::builder().brokers(2).start().await?;
    cluster.create_topic(TOPIC, 4).await?;
    let client = Client::connect(&cluster.namesrv()).await?;
    let mut groups = Vec::new();
    for group in ["stock", "marketing"] {
        let inbox = Inbox::new();
        let mut members = Vec::new();
        for member in ["one", "two"] {
            let builder = consumer(&cluster.namesrv(), group, TOPIC);
            members.push(builder.listener(inbox.listener(member)).start().await?);
        }
        groups.push((group, inbox, members));
    }
    for (_, _, members) in &groups {
        balanced(&members.iter().collect::<Vec<_>>(), TOPIC, &[4, 4]).await?;
    }
    send_all(&client, 0..COUNT).await?;
    for (group, inbox, members) in groups {
        inbox.wait_for(COUNT).await?;
        let deliveries = inbox.all();
        for member in ["one", "two"] {
            let share = deliveries.iter().filter(|delivery| delivery.member == member).count();
            ensure!(share > COUNT / 4, "{member} of {group} got {share} messages");
        }
        future::join_all(members.into_iter().map(|member| member.shutdown(GRACE))).await;
        let repeated = judge(&client, TOPIC, group, &inbox).await?;
        ensure!(repeated == 0, "{group} got {repeated} messages twice");
    }
    // What others have done is none of the progress of a group that comes later.
    let inbox = Inbox::new();
    let late = consumer(&cluster.namesrv(), "audit", TOPIC).listener(inbox.listener("one"));
    let late = late.start().await?;
    inbox.wait_for(COUNT).await?;
    late.shutdown(GRACE).await;
    client.shutdown().await;
    cluster.stop().await
}

/// A3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_of_a_broadcast_group_gets_everything_and_goes_on_from_its_file() -> Result<()>
{
    const COUNT: usize = 1000;
    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 4).await?;
    let client = Client::connect(&cluster.namesrv()).await?;
    let folder = tempfile::tempdir()?;
    let join = async |inbox: &Arc<Inbox>, member: &str| {
        let config = ClientConfig {
            instance_name: Some(member.to_owned()),
            local_offset_store_dir: Some(folder.path().to_owned()),
            ..inbox::client(&cluster.namesrv())
        };
        let settings =
            PushSettings { message_model: MessageModel::Broadcasting, ..settings("news") };
        let builder = consumer(&cluster.namesrv(), "news", TOPIC);
        let builder = builder.client_config(config).settings(settings);
        builder.listener(inbox.listener(member)).start().await
    };
    let mut inboxes = Vec::new();
    for member in ["one", "two"] {
        let inbox = Inbox::new();
        let consumer = join(&inbox, member).await?;
        inboxes.push((inbox, consumer));
    }
    for (_, consumer) in &inboxes {
        balanced(&[consumer], TOPIC, &[4]).await?;
    }
    send_all(&client, 0..COUNT).await?;
    let contents = client.contents(TOPIC).await?;
    for (inbox, _) in &inboxes {
        let repeated = all_delivered(&contents, inbox).await?;
        ensure!(repeated == 0, "{repeated} messages came twice");
    }
    for (_, consumer) in inboxes {
        consumer.shutdown(GRACE).await;
    }
    send_all(&client, COUNT..COUNT + 10).await?;
    // Each from its own file: what one has got meanwhile, the other has not.
    for member in ["one", "two"] {
        let inbox = Inbox::new();
        let consumer = join(&inbox, member).await?;
        inbox.wait_for(10).await?;
        consumer.shutdown(GRACE).await;
        ensure!(inbox.all().len() == 10, "{} came again to {member}", inbox.all().len() - 10);
    }
    client.shutdown().await;
    cluster.stop().await
}

/// Tags whose hashes are equal are told apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_gets_just_the_tags_that_it_wants() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    cluster.create_topic(TOPIC, 1).await?;
    let client = Client::connect(&cluster.namesrv()).await?;
    for number in 0..90 {
        let tag = ["Aa", "BB", "C"][number % 3];
        let message = Message::new(TOPIC, format!("{tag} {number}")).with_tag(tag);
        client.producer().send(message).await?;
    }
    let inbox = Inbox::new();
    let builder = consumer(&cluster.namesrv(), "tags", "Unused").subscribe(TOPIC, "BB || C");
    let consumer = builder.listener(inbox.listener("one")).start().await?;
    inbox.wait_for(60).await?;
    let wrong: Vec<Bytes> =
        inbox.bodies().into_iter().filter(|body| body.starts_with(b"Aa")).collect();
    ensure!(wrong.is_empty(), "{wrong:?}");
    consumer.shutdown(GRACE).await;
    client.shutdown().await;
    cluster.stop().await
}
