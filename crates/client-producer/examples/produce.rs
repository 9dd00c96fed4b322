//! Sends messages for comparison with other producers and consumers, and prints what became of each:
//!
//! | line | means |
//! |---|---|
//! | `SENT id queue offset body` | confirmed; one-way sends print `-`, -1, -1 |
//! | `FAILED body reason` | not confirmed |
//! | `DONE sent failed` | the end; exit status 0 if nothing failed |
//!
//! A body is `<key-prefix>-<i>` padded with dots; trailing dots are printed as `~` and the length
//! of the whole body.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::Parser;
use futures_util::StreamExt;
use rmq_client_producer::{
    AccessChannel, ClientConfig, ClientTls, Message, Producer, SendError, SendReceipt, SendStatus,
};
use rmq_runtime::{ClockExt, World};

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    namesrv: String,
    #[arg(long)]
    topic: String,
    #[arg(long, default_value_t = 1)]
    count: u32,
    /// Bytes of each body
    #[arg(long, default_value_t = 0)]
    body_size: usize,
    #[arg(long)]
    tag: Option<String>,
    #[arg(long, default_value = "m")]
    key_prefix: String,
    /// Messages that go in one request
    #[arg(long, default_value_t = 1)]
    batch: u32,
    #[arg(long)]
    delay_level: Option<u32>,
    /// Many sends at once
    #[arg(long = "async")]
    concurrent: bool,
    #[arg(long)]
    oneway: bool,
    /// Wait after each send
    #[arg(long)]
    pause_ms: Option<u64>,
    #[arg(long, default_value = "interop_producer")]
    group: String,
    #[arg(long, default_value_t = 5000)]
    timeout_ms: u64,
    /// Speak TLS, and believe any server
    #[arg(long)]
    tls: bool,
    /// Speak TLS, and believe servers of these authorities (PEM)
    #[arg(long)]
    tls_trust: Option<PathBuf>,
    /// Tell of every message
    #[arg(long)]
    trace: bool,
    /// As a cloud wants it
    #[arg(long)]
    cloud: bool,
}

const IN_FLIGHT: usize = 64;

struct Run {
    arguments: Arguments,
    producer: Producer,
    sent: AtomicU32,
    failed: AtomicU32,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let tls = ClientTls {
        enable: arguments.tls || arguments.tls_trust.is_some(),
        auth_server: arguments.tls_trust.is_some(),
        trust_cert_path: arguments.tls_trust.clone(),
        ..ClientTls::default()
    };
    let access_channel = if arguments.cloud { AccessChannel::Cloud } else { AccessChannel::Local };
    let config = ClientConfig { tls, access_channel, ..ClientConfig::new(&arguments.namesrv) };
    let producer = Producer::builder()
        .client_config(config)
        .trace(arguments.trace)
        .group(&arguments.group)
        .timeout(Duration::from_millis(arguments.timeout_ms))
        .start()
        .await?;
    let run = Run { arguments, producer, sent: AtomicU32::new(0), failed: AtomicU32::new(0) };
    run.send_all().await;
    run.producer.shutdown().await;
    let (sent, failed) = (run.sent.into_inner(), run.failed.into_inner());
    say(&format!("DONE {sent} {failed}"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Run {
    async fn send_all(&self) {
        let clock = World::system().clock;
        let (count, step) = (self.arguments.count, self.arguments.batch.max(1));
        let at_once = if self.arguments.concurrent { IN_FLIGHT } else { 1 };
        let starts = (0..count).step_by(usize::try_from(step).unwrap_or(1));
        let sends = futures_util::stream::iter(starts).map(|first| async move {
            let messages = (first..count.min(first + step)).map(|i| self.message(i)).collect();
            self.send(messages).await;
        });
        let mut sends = sends.buffer_unordered(at_once);
        while let Some(()) = sends.next().await {
            if let Some(pause) = self.arguments.pause_ms {
                clock.sleep(Duration::from_millis(pause)).await;
            }
        }
    }

    fn message(&self, i: u32) -> Message {
        let key = format!("{}-{i}", self.arguments.key_prefix);
        let mut body = key.clone();
        body.extend(std::iter::repeat_n('.', self.arguments.body_size.saturating_sub(key.len())));
        let mut message = Message::new(&self.arguments.topic, body).with_keys([key]);
        if let Some(tag) = &self.arguments.tag {
            message = message.with_tag(tag);
        }
        match self.arguments.delay_level {
            Some(level) => message.with_delay_level(level),
            None => message,
        }
    }

    async fn send(&self, messages: Vec<Message>) {
        let bodies: Vec<String> = messages.iter().map(|message| shown(&message.body)).collect();
        let outcome = match <[Message; 1]>::try_from(messages) {
            Ok([message]) if self.arguments.oneway => {
                let handed_over = self.producer.send_oneway(message).await;
                if handed_over.is_ok() {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                    say(&format!("SENT - -1 -1 {}", bodies.concat()));
                    return;
                }
                Err(handed_over.err())
            }
            Ok([message]) => self.producer.send(message).await.map_err(Some),
            Err(messages) => self.producer.send_batch(messages).await.map_err(Some),
        };
        self.report(&bodies, outcome);
    }

    fn report(&self, bodies: &[String], outcome: Result<SendReceipt, Option<SendError>>) {
        let reason = match outcome {
            Ok(receipt) if receipt.status == SendStatus::Ok => {
                let places = receipt.id.split(',').zip(receipt.queue_offset.0..).zip(bodies);
                for ((id, offset), body) in places {
                    say(&format!("SENT {id} {} {offset} {body}", receipt.queue.queue_id));
                }
                self.count(&self.sent, bodies);
                return;
            }
            Ok(receipt) => format!("{:?}", receipt.status),
            Err(error) => error.map_or_else(String::new, |error| error.to_string()),
        };
        for body in bodies {
            say(&format!(
                "FAILED {body} {}",
                reason.split_whitespace().collect::<Vec<_>>().join(" ")
            ));
        }
        self.count(&self.failed, bodies);
    }

    fn count(&self, counter: &AtomicU32, bodies: &[String]) {
        counter.fetch_add(u32::try_from(bodies.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

/// A body as one word.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let start = text.trim_end_matches('.');
    if start.len() == text.len() { start.to_owned() } else { format!("{start}~{}", body.len()) }
}

/// One line to standard output, at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away wants no more lines.
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}
