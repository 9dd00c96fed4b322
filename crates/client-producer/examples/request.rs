//! Asks and waits for replies, for comparison with Java's: `REPLY body` for each reply, `FAILED
//! reason`, and `DONE replies failed`.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rmq_client_producer::{Message, Producer};

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    namesrv: String,
    #[arg(long)]
    topic: String,
    #[arg(long, default_value_t = 1)]
    count: u32,
    #[arg(long, default_value = "q")]
    key_prefix: String,
    #[arg(long, default_value = "interop_asker")]
    group: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let producer = Producer::builder()
        .namesrv(&arguments.namesrv)
        .group(&arguments.group)
        .timeout(Duration::from_secs(15))
        .start()
        .await?;
    let (mut replies, mut failed) = (0, 0);
    for i in 0..arguments.count {
        let question = Message::new(&arguments.topic, format!("{}-{i}", arguments.key_prefix));
        match producer.request(question, Duration::from_secs(20)).await {
            Ok(reply) => {
                say(&format!("REPLY {}", String::from_utf8_lossy(&reply.body)));
                replies += 1;
            }
            Err(error) => {
                say(&format!("FAILED {error}"));
                failed += 1;
            }
        }
    }
    producer.shutdown().await;
    say(&format!("DONE {replies} {failed}"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line to standard output, at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away wants no more lines.
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}
