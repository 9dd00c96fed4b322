//! Consumes a topic in order: the messages of one queue one call after the other, whichever member
//! of the group has the queue. A producer that sends all messages of one order to one queue, by a
//! key, has them consumed in the order in which it sent them.
//!
//! The listener keeps a ledger by order and finds every step that comes too early. It fails each
//! order's third step once: its queue stands still for a second, and nothing overtakes.
//!
//! ```text
//! cargo xtask cluster --run '
//!   cargo run -q -p rmq-client-producer --example hello -- --namesrv $NAMESRV_ADDR --topic Steps --count 40
//!   cargo run -q -p rmq-client-push --example orderly -- --namesrv $NAMESRV_ADDR --topic Steps --count 40'
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use parking_lot::Mutex;
use rmq_client_push::{ConsumeContext, ConsumeFrom, Messages, OrderlyOutcome, PushConsumer};
use tokio::sync::Semaphore;

/// Consumes a topic in order.
#[derive(Parser)]
struct Args {
    /// Name servers, `host:port` separated by `;`.
    #[arg(long, default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Topic.
    #[arg(long)]
    topic: String,
    /// Consumer group.
    #[arg(long, default_value = "orderly")]
    group: String,
    /// Ends after so many messages.
    #[arg(long, default_value_t = u32::MAX)]
    count: u32,
}

/// Last offset of each queue.
type Ledger = Mutex<BTreeMap<String, i64>>;

#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn step(ledger: &Ledger, messages: &Messages, context: &ConsumeContext) -> OrderlyOutcome {
    let mut ledger = ledger.lock();
    for message in messages {
        if message.queue_offset.0 % 3 == 2 && context.attempt() == 1 {
            println!("{} fails once, its queue waits", message.id());
            return OrderlyOutcome::Suspend { millis: Some(1000) };
        }
        let queue = context.queue().to_string();
        let last = ledger.insert(queue.clone(), message.queue_offset.0);
        let in_order = last.is_none_or(|last| last < message.queue_offset.0);
        let body = String::from_utf8_lossy(&message.body);
        println!("{queue} {} {body}{}", message.queue_offset, if in_order { "" } else { " AGAIN" });
    }
    OrderlyOutcome::Success
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let (ledger, done) = (Arc::new(Ledger::default()), Arc::new(Semaphore::new(0)));
    let counter = Arc::clone(&done);
    let consumer = PushConsumer::builder()
        .namesrv(&args.namesrv)
        .group(args.group)
        .subscribe(args.topic, "*")
        .consume_from(ConsumeFrom::FirstOffset)
        .orderly(move |messages: Messages, context: ConsumeContext| {
            let outcome = step(&ledger, &messages, &context);
            if outcome == OrderlyOutcome::Success {
                counter.add_permits(messages.len());
            }
            std::future::ready(outcome)
        })
        .start()
        .await?;
    tokio::select! {
        enough = done.acquire_many(args.count) => drop(enough?),
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    consumer.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
