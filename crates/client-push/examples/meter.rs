//! Consumes a number of messages as fast as they come and says when; a stopwatch for comparisons with other clients.
//!
//! ```text
//! READY
//! FIRST                       the first message that counts has come
//! DELAY <p50> <p99> <max>     µs from the time in a body to its listener; with --delay
//! LAST                        the last one has come
//! ```
//!
//! It ends with its standard input. With `--delay` a body begins with the nanoseconds since 1970 at which it was sent, and a space.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use parking_lot::Mutex;
use rmq_client_push::{ConsumeContext, ConsumeFrom, Messages, PushConsumer};
use rmq_runtime::World;
use tokio::sync::Notify;

/// Consumes and takes the time.
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
    /// The end comes with this message.
    #[arg(long)]
    count: usize,
    /// So many at the beginning do not count.
    #[arg(long, default_value_t = 0)]
    skip: usize,
    /// Bodies tell when they were sent.
    #[arg(long)]
    delay: bool,
}

struct Meter {
    args: Args,
    world: World,
    come: AtomicUsize,
    delays: Mutex<Vec<u64>>,
    last: Notify,
}

#[expect(clippy::print_stdout, reason = "that is what it is for")]
fn say(line: &str) {
    println!("{line}");
    if std::io::stdout().flush().is_err() {
        std::process::exit(1);
    }
}

impl Meter {
    fn take(&self, messages: &Messages) {
        for message in messages {
            let before = self.come.fetch_add(1, Ordering::Relaxed);
            if before == self.args.skip {
                say("FIRST");
            }
            if self.args.delay && before >= self.args.skip {
                self.delays.lock().extend(self.age_us(&message.body));
            }
            if before + 1 == self.args.count {
                self.last.notify_one();
            }
        }
    }

    fn age_us(&self, body: &[u8]) -> Option<u64> {
        let text = body.split(|byte| *byte == b' ').next()?;
        let sent: u128 = std::str::from_utf8(text).ok()?.parse().ok()?;
        let now = self.world.clock.wall().duration_since(UNIX_EPOCH).ok()?.as_nanos();
        u64::try_from(now.saturating_sub(sent) / 1000).ok()
    }

    fn tell_delays(&self) {
        let mut delays = self.delays.lock();
        delays.sort_unstable();
        let at = |per_mille: usize| {
            delays.get(delays.len().saturating_sub(1) * per_mille / 1000).copied().unwrap_or(0)
        };
        say(&format!("DELAY {} {} {}", at(500), at(990), at(1000)));
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let builder = PushConsumer::builder()
        .namesrv(&args.namesrv)
        .group(&args.group)
        .subscribe(&args.topic, "*")
        .consume_from(ConsumeFrom::FirstOffset);
    let meter = Arc::new(Meter {
        args,
        world: World::system(),
        come: AtomicUsize::new(0),
        delays: Mutex::default(),
        last: Notify::new(),
    });
    let taker = Arc::clone(&meter);
    let consumer = builder
        .listener(move |messages: Messages, _: ConsumeContext| {
            taker.take(&messages);
            std::future::ready(())
        })
        .start()
        .await?;
    say("READY");
    meter.last.notified().await;
    if meter.args.delay {
        meter.tell_delays();
    }
    say("LAST");
    // Whoever measures reads our processor time now.
    let end = std::io::stdin().lines().next();
    drop(end);
    consumer.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
