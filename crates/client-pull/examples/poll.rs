//! Polls, for comparison with push consumers: prints `READY`, `ASSIGNED topic [broker:queue,...]`,
//! `GOT queue offset reconsumeTimes topic body` for each message, and `STOPPED` when its input ends.

use std::io::Write;
use std::time::Duration;

use clap::Parser;
use rmq_client_pull::{ConsumeFrom, MessageQueue, PullConsumer};

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    namesrv: String,
    #[arg(long)]
    topic: String,
    #[arg(long)]
    group: String,
    #[arg(long, default_value = "*")]
    expr: String,
    /// Hold all queues, whatever the group does, and begin at the beginning
    #[arg(long)]
    assign: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let mut builder = PullConsumer::builder()
        .namesrv(&arguments.namesrv)
        .group(&arguments.group)
        .consume_from(ConsumeFrom::FirstOffset)
        .assignment_listener(|topic, queues| say(&format!("ASSIGNED {topic} {}", shown(queues))));
    if !arguments.assign {
        builder = builder.subscribe(&arguments.topic, &arguments.expr);
    }
    let consumer = builder.start().await?;
    if arguments.assign {
        let queues = consumer.queues(&arguments.topic).await?;
        consumer.assign(queues.clone()).await?;
        for queue in &queues {
            consumer.seek_to_begin(queue).await?;
        }
    }
    say("READY");
    let mut end = tokio::task::spawn_blocking(|| std::io::stdin().lines().for_each(drop));
    loop {
        let polled = tokio::select! {
            _ = &mut end => break,
            polled = consumer.poll(Duration::from_secs(5)) => polled?,
        };
        for message in &polled {
            let body = String::from_utf8_lossy(&message.body);
            let (queue, offset) = (message.queue_id, message.queue_offset);
            let (times, topic) = (message.reconsume_times, &message.topic);
            say(&format!("GOT {queue} {offset} {times} {topic} {}", word(&body)));
        }
        if !polled.is_empty() {
            consumer.commit().await?;
        }
    }
    consumer.shutdown().await;
    say("STOPPED");
    Ok(())
}

fn shown(queues: &[MessageQueue]) -> String {
    let names: Vec<_> =
        queues.iter().map(|queue| format!("{}:{}", queue.broker_name, queue.queue_id)).collect();
    format!("[{}]", names.join(","))
}

/// A body as one word: trailing dots become `~` and the length.
fn word(body: &str) -> String {
    let start = body.trim_end_matches('.');
    if start.len() == body.len() { start.to_owned() } else { format!("{start}~{}", body.len()) }
}

/// One line to standard output, at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away wants no more lines.
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
}
