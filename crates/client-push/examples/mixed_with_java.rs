//! One group of Java members and this one. Nothing special is needed, since members of both kinds
//! compute the same shares; but all of them must agree on
//!
//! - the group's name, and the topics and expressions: a member with others is a bug of the group;
//! - the strategy: `Average` here is `AllocateMessageQueueAveragely`, the default there;
//! - the model and the kind of listener: ordered members and others do not mix.
//!
//! Start the Java member beside it, for example with `DefaultMQPushConsumer("mixed")`, and watch the
//! queues move when either ends.
//!
//! ```text
//! cargo xtask cluster                     # prints the address of the name server
//! cargo run -p rmq-client-push --example mixed_with_java -- --namesrv 127.0.0.1:9876 --topic Orders
//! ```
//!
//! `cargo xtask interop --only mixed-kill-ours` does that by machine: Java and we share a group, one
//! of us is killed, and nothing is lost.

use std::time::Duration;

use clap::Parser;
use rmq_client_push::rebalance::Average;
use rmq_client_push::{ConsumeContext, ConsumeFrom, MessageQueue, MessageView, PushConsumer};
use rmq_runtime::ClockExt;

/// A member of a group of Java and Rust.
#[derive(Parser)]
struct Args {
    /// Name servers, `host:port` separated by `;`.
    #[arg(long, default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Topic.
    #[arg(long)]
    topic: String,
    /// Consumer group, that of the Java members.
    #[arg(long, default_value = "mixed")]
    group: String,
    /// Ends by itself after so many seconds.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let consumer = PushConsumer::builder()
        .namesrv(&args.namesrv)
        .group(args.group)
        .subscribe(args.topic, "*")
        .strategy(Average)
        .consume_from(ConsumeFrom::FirstOffset)
        .on_assignment(|topic: &str, queues: &[MessageQueue]| {
            println!("{} queues of {topic} are mine", queues.len());
        })
        .each(|message: MessageView, _: ConsumeContext| async move {
            println!("{}", String::from_utf8_lossy(&message.body));
        })
        .start()
        .await?;
    println!("member {}", consumer.client_id());
    let clock = std::sync::Arc::clone(&consumer.instance().world().clock);
    tokio::select! {
        () = clock.sleep(Duration::from_secs(args.seconds)) => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    consumer.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
