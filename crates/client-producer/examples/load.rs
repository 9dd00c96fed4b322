//! Sends a number of messages, many at once or one at a time, for measurements. A body begins with the nanoseconds since
//! 1970 at which it was sent, and a space. Prints `DONE <count>`; the first failure ends it.

use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use rmq_client_producer::{Message, Producer};
use rmq_runtime::World;

/// Sends for measurements.
#[derive(Parser)]
struct Args {
    /// Name servers, `host:port` separated by `;`.
    #[arg(long)]
    namesrv: String,
    /// Topic.
    #[arg(long)]
    topic: String,
    /// How many messages.
    #[arg(long)]
    count: u32,
    /// Bytes of each body, at least.
    #[arg(long, default_value_t = 256)]
    body_size: usize,
    /// So many at once.
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// Pause before each message, µs.
    #[arg(long, default_value_t = 0)]
    pause_us: u64,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let world = World::system();
    let producer = Producer::builder().namesrv(&args.namesrv).group("interop_load").start().await?;
    stream::iter(0..args.count)
        .map(|_| async {
            if args.pause_us > 0 {
                let until = world.clock.monotonic() + Duration::from_micros(args.pause_us);
                world.clock.sleep_until(until).await;
            }
            let now = world.clock.wall().duration_since(UNIX_EPOCH)?.as_nanos();
            let body = format!("{:.<size$}", format!("{now} "), size = args.body_size);
            producer.send(Message::new(&args.topic, body)).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(args.window)
        .try_collect::<()>()
        .await?;
    producer.shutdown().await;
    println!("DONE {}", args.count);
    Ok(())
}
