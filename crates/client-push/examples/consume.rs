//! A consumer for runs together with other clients: says what it gets and what it owns.
//!
//! ```text
//! READY
//! ASSIGNED <topic> [<broker>:<queue id>,...]          all its queues of the topic, at each change
//! GOT <queue id> <queue offset> <attempts> <topic> <body>
//! STOPPED
//! ```
//!
//! Dots at the end of a body are shown as `~` and the length of the whole body. A group without
//! progress begins at the beginning. Ends gracefully at SIGTERM and Ctrl-C.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use rmq_client_push::{
    AccessChannel, ClientConfig, ClientTls, ConsumeContext, ConsumeFrom, MessageModel, Messages,
    PushConsumer, PushSettings,
};
use tokio::signal::unix::{SignalKind, signal};

/// Consumes a topic and says so.
#[derive(Parser)]
struct Args {
    /// Name servers, `host:port` separated by `;`.
    #[arg(long)]
    namesrv: String,
    /// Consumer group.
    #[arg(long)]
    group: String,
    /// Topic.
    #[arg(long)]
    topic: String,
    /// Tags separated by `||`.
    #[arg(long, default_value = "*")]
    expr: String,
    /// A condition over properties (SQL92) in place of tags.
    #[arg(long)]
    sql: Option<String>,
    /// Consume each queue in order.
    #[arg(long)]
    orderly: bool,
    /// Every member gets every message.
    #[arg(long)]
    broadcast: bool,
    /// Fail that many messages at their first delivery.
    #[arg(long, default_value_t = 0)]
    fail_first: u64,
    /// Have brokers say who consumes what, and whether it is popped.
    #[arg(long)]
    broker_rebalance: bool,
    /// How long popped messages are hidden, ms.
    #[arg(long, default_value_t = 60_000)]
    invisible_ms: u64,
    /// Fail every delivery.
    #[arg(long)]
    fail_all: bool,
    /// Repetitions before the dead-letter topic.
    #[arg(long, default_value_t = -1)]
    max_reconsume: i32,
    /// Name of the client instance.
    #[arg(long)]
    instance: Option<String>,
    /// Calls of the listener at once.
    #[arg(long, default_value_t = 20)]
    threads: u32,
    /// Speak TLS, and believe any server.
    #[arg(long)]
    tls: bool,
    /// Speak TLS, and believe servers of these authorities (PEM).
    #[arg(long)]
    tls_trust: Option<PathBuf>,
    /// Tell of every message.
    #[arg(long)]
    trace: bool,
    /// As a cloud wants it.
    #[arg(long)]
    cloud: bool,
}

#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn say(line: &str) {
    println!("{line}");
    if std::io::stdout().flush().is_err() {
        std::process::exit(1);
    }
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let start = text.trim_end_matches('.');
    if start.len() == text.len() { start.to_owned() } else { format!("{start}~{}", body.len()) }
}

/// Fails the first so many messages that were never delivered before.
fn consume(messages: &Messages, failures_left: &AtomicU64) -> Result<(), &'static str> {
    let mut result = Ok(());
    for message in messages {
        let (queue, offset, times) =
            (message.queue_id, message.queue_offset, message.reconsume_times);
        let body = shown(&message.body);
        say(&format!("GOT {queue} {offset} {times} {} {body}", message.topic));
        let take = |left: u64| left.checked_sub(1);
        let order = Ordering::Relaxed;
        if times == 0 && failures_left.fetch_update(order, order, take).is_ok() {
            result = Err("told to fail");
        }
    }
    result
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args = Args::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let failures_left = Arc::new(AtomicU64::new(args.fail_first));
    let settings = PushSettings {
        max_reconsume_times: args.max_reconsume,
        consumer_group: args.group,
        client_rebalance: !args.broker_rebalance,
        pop_invisible_time: args.invisible_ms,
        ..PushSettings::default()
    };
    let tls = ClientTls {
        enable: args.tls || args.tls_trust.is_some(),
        auth_server: args.tls_trust.is_some(),
        trust_cert_path: args.tls_trust,
        ..ClientTls::default()
    };
    let config = ClientConfig {
        tls,
        access_channel: if args.cloud { AccessChannel::Cloud } else { AccessChannel::Local },
        ..ClientConfig::new(&args.namesrv)
    };
    let mut builder = PushConsumer::builder()
        .client_config(config)
        .trace(args.trace)
        .settings(settings)
        .consume_from(ConsumeFrom::FirstOffset)
        .consume_threads(args.threads)
        .on_assignment(|topic, queues| {
            let queues =
                queues.iter().map(|queue| format!("{}:{}", queue.broker_name, queue.queue_id));
            say(&format!("ASSIGNED {topic} [{}]", queues.collect::<Vec<_>>().join(",")));
        });
    builder = match args.sql {
        Some(condition) => builder.subscribe_sql(args.topic, condition),
        None => builder.subscribe(args.topic, args.expr),
    };
    if args.broadcast {
        builder = builder.message_model(MessageModel::Broadcasting);
    }
    if let Some(name) = args.instance {
        builder = builder.instance_name(name);
    }
    let listener = move |messages: Messages, _: ConsumeContext| {
        let failures_left = Arc::clone(&failures_left);
        async move {
            let consumed = consume(&messages, &failures_left);
            if args.fail_all { Err("told to fail") } else { consumed }
        }
    };
    builder = if args.orderly { builder.orderly(listener) } else { builder.listener(listener) };
    let consumer = builder.start().await?;
    say("READY");
    tokio::select! {
        _ = terminate.recv() => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    let report = consumer.shutdown(Duration::from_secs(10)).await;
    tracing::info!(?report, "ended");
    say("STOPPED");
    Ok(())
}
