//! A member of the group of a soak: tells on its standard output what it gets, and leaves when its
//! standard input ends.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use parking_lot::Mutex;
use rmq_client_push::{ConsumeContext, ConsumeFrom, Messages, PushConsumer};
use rmq_tests::soak::report;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    namesrv: String,
    #[arg(long)]
    group: String,
    #[arg(long)]
    topic: String,
    /// Consume each queue in order.
    #[arg(long)]
    ordered: bool,
}

/// The ownerships of queues, numbered.
#[derive(Default)]
struct Tenures(Mutex<HashMap<i32, Tenure>>);

struct Tenure {
    context: ConsumeContext,
    number: u32,
}

impl Tenures {
    /// Which one of its queue a call belongs to; 0 when the queue is being given up. Before a queue is
    /// owned anew, the earlier ownership was revoked.
    fn of(&self, context: &ConsumeContext) -> u32 {
        let mut current = self.0.lock();
        if context.is_revoked() {
            return 0;
        }
        let tenure = current
            .entry(context.queue().queue_id)
            .or_insert_with(|| Tenure { context: context.clone(), number: 1 });
        if tenure.context.is_revoked() {
            *tenure = Tenure { context: context.clone(), number: tenure.number + 1 };
        }
        tenure.number
    }
}

/// Says what came; a member that nobody listens to ends.
fn tell(tenures: &Tenures, messages: &Messages, context: &ConsumeContext) {
    let number = |body: &[u8]| body.first_chunk().map_or(u64::MAX, |it| u64::from_be_bytes(*it));
    let told = messages.iter().map(|message| (message.queue_offset.0, number(&message.body)));
    let line = report::line(context.queue().queue_id, tenures.of(context), told);
    if std::io::stdout().write_all(line.as_bytes()).is_err() {
        std::process::exit(1);
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args = Args::parse();
    let tenures = Arc::new(Tenures::default());
    let listener = move |messages: Messages, context: ConsumeContext| {
        tell(&tenures, &messages, &context);
        std::future::ready(())
    };
    let builder = PushConsumer::builder()
        .namesrv(&args.namesrv)
        .group(&args.group)
        .subscribe(&args.topic, "*")
        .consume_from(ConsumeFrom::FirstOffset)
        .batch_size(32);
    let builder = if args.ordered { builder.orderly(listener) } else { builder.listener(listener) };
    let consumer = builder.start().await?;
    // Blocks a thread of the runtime's for good, which has others.
    let told_to_leave = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
    drop(told_to_leave.await);
    consumer.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
