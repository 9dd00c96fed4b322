//! Sends messages in transactions and tells what became of them, for comparison with Java's:
//!
//! | line | means |
//! |---|---|
//! | `SENT id queue offset body` | the half message is stored; `offset` is that of the half |
//! | `ENDED body verdict` | how the local branch ended |
//! | `CHECKED body verdict` | the broker has asked |
//! | `DONE sent failed` | all are sent; it then answers questions until its input ends |
//!
//! Verdicts go by the number of the message: 0 commits, 1 rolls back, 2 is unknown and commits when
//! asked, 3 is unknown and rolls back when asked, 4 commits, ...

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser;
use rmq_client_producer::{
    Message, MessageView, Producer, SendReceipt, TransactionListener, Verdict,
};

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    namesrv: String,
    #[arg(long)]
    topic: String,
    #[arg(long, default_value_t = 1)]
    count: u32,
    #[arg(long, default_value = "t")]
    key_prefix: String,
    #[arg(long, default_value = "interop_transactions")]
    group: String,
    /// Send the half messages and tell no verdict
    #[arg(long)]
    leave_open: bool,
    /// Only answer questions
    #[arg(long)]
    only_answer: bool,
}

struct ByNumber {
    leave_open: bool,
}

#[async_trait]
impl TransactionListener for ByNumber {
    async fn execute(&self, message: &Message, _receipt: &SendReceipt) -> Verdict {
        let verdict = match number(&message.body) % 4 {
            _ if self.leave_open => Verdict::Unknown,
            0 => Verdict::Commit,
            1 => Verdict::Rollback,
            _ => Verdict::Unknown,
        };
        say(&format!("ENDED {} {verdict:?}", text(&message.body)));
        verdict
    }

    async fn check(&self, message: &MessageView) -> Verdict {
        let even = number(&message.body).is_multiple_of(2);
        let verdict = if even { Verdict::Commit } else { Verdict::Rollback };
        say(&format!("CHECKED {} {verdict:?}", text(&message.body)));
        verdict
    }
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
        .start_transactions(Arc::new(ByNumber { leave_open: arguments.leave_open }))
        .await?;
    let (mut sent, mut failed) = (0, 0);
    if arguments.only_answer {
        // Brokers ask only producers that they have heard of.
        producer.producer().queues(&arguments.topic).await?;
    }
    for i in (0..arguments.count).filter(|_| !arguments.only_answer) {
        let body = format!("{}-{i}", arguments.key_prefix);
        let message = Message::new(&arguments.topic, body.clone()).with_keys([&body]);
        match producer.send(message).await {
            Ok(done) => {
                let (receipt, queue) = (&done.receipt, done.receipt.queue.queue_id);
                say(&format!("SENT {} {queue} {} {body}", receipt.id, receipt.queue_offset));
                sent += 1;
            }
            Err(error) => {
                say(&format!("FAILED {body} {error}"));
                failed += 1;
            }
        }
    }
    say(&format!("DONE {sent} {failed}"));
    tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop)).await?;
    producer.shutdown().await;
    say("STOPPED");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn number(body: &[u8]) -> u32 {
    text(body).rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// One line to standard output, at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away wants no more lines.
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}
