//! Sends a few messages and prints where each went:
//!
//! `cargo run -p rmq-client-producer --example hello -- --namesrv 127.0.0.1:9876 --topic Hello --count 3`

use clap::Parser;
use rmq_client_producer::{Message, Producer};

#[derive(Parser)]
struct Arguments {
    /// Name servers, `host:port;host:port`
    #[arg(long, default_value = "127.0.0.1:9876")]
    namesrv: String,
    #[arg(long, default_value = "Hello")]
    topic: String,
    #[arg(long)]
    tag: Option<String>,
    #[arg(long, default_value_t = 1)]
    count: u32,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let producer =
        Producer::builder().namesrv(&arguments.namesrv).group("hello_producer").start().await?;
    for i in 0..arguments.count {
        let mut message = Message::new(&arguments.topic, format!("hello {i}"));
        if let Some(tag) = &arguments.tag {
            message = message.with_tag(tag);
        }
        let receipt = producer.send(message).await?;
        println!(
            "{:?} {} at {} {}",
            receipt.status, receipt.id, receipt.queue, receipt.queue_offset
        );
    }
    producer.shutdown().await;
    Ok(())
}
