//! Prints what arrives on a topic, until Ctrl-C.
//!
//! ```text
//! cargo run -p rmq-client-push --example hello -- --namesrv 127.0.0.1:9876 --topic Orders
//! ```

use std::time::Duration;

use clap::Parser;
use rmq_client_push::{ConsumeContext, ConsumeFrom, Messages, PushConsumer};

/// Prints what arrives on a topic.
#[derive(Parser)]
struct Args {
    /// Name servers, `host:port` separated by `;`.
    #[arg(long, default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Topic.
    #[arg(long)]
    topic: String,
    /// Tags separated by `||`.
    #[arg(long, default_value = "*")]
    tag: String,
    /// Consumer group; those of one group share the messages.
    #[arg(long, default_value = "hello")]
    group: String,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let consumer = PushConsumer::builder()
        .namesrv(&args.namesrv)
        .group(args.group)
        .subscribe(args.topic, args.tag)
        .consume_from(ConsumeFrom::FirstOffset)
        .listener(|messages: Messages, _: ConsumeContext| async move {
            for message in &messages {
                println!("{} {}", message.id(), String::from_utf8_lossy(&message.body));
            }
        })
        .start()
        .await?;
    tokio::signal::ctrl_c().await?;
    let report = consumer.shutdown(Duration::from_secs(10)).await;
    println!("{} calls given up", report.abandoned);
    Ok(())
}
