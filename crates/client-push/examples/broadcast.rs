//! Every member gets every message: a cache that is to be the same everywhere. Progress lies in a
//! file of this machine, one for each instance name, so a member that is started again goes on where
//! it was. Failed messages are not delivered again.
//!
//! ```text
//! cargo xtask cluster --run '
//!   cargo run -q -p rmq-client-producer --example hello -- --namesrv $NAMESRV_ADDR --topic News --count 5
//!   cargo run -q -p rmq-client-push --example broadcast -- --namesrv $NAMESRV_ADDR --topic News --count 5'
//! ```

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rmq_client_push::{ConsumeContext, ConsumeFrom, MessageModel, MessageView, PushConsumer};
use tokio::sync::Semaphore;

/// Two members of one group that both get everything.
#[derive(Parser)]
struct Args {
    /// Name servers, `host:port` separated by `;`.
    #[arg(long, default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Topic.
    #[arg(long)]
    topic: String,
    /// Ends when each member has so many messages.
    #[arg(long, default_value_t = u32::MAX)]
    count: u32,
}

#[expect(clippy::print_stdout, reason = "that is what it is for")]
async fn member(
    args: &Args,
    name: &'static str,
    got: &Arc<Semaphore>,
) -> anyhow::Result<PushConsumer> {
    let got = Arc::clone(got);
    let consumer = PushConsumer::builder()
        .namesrv(&args.namesrv)
        .instance_name(name)
        .group("caches")
        .message_model(MessageModel::Broadcasting)
        .consume_from(ConsumeFrom::FirstOffset)
        .subscribe(&args.topic, "*")
        .each(move |message: MessageView, _: ConsumeContext| {
            println!("{name}: {}", String::from_utf8_lossy(&message.body));
            got.add_permits(1);
            std::future::ready(())
        });
    Ok(consumer.start().await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let got = [Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0))];
    let members = [member(&args, "left", &got[0]).await?, member(&args, "right", &got[1]).await?];
    tokio::select! {
        both = async { tokio::try_join!(got[0].acquire_many(args.count), got[1].acquire_many(args.count)) } => drop(both?),
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    for member in members {
        member.shutdown(Duration::from_secs(10)).await;
    }
    Ok(())
}
