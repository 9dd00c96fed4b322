//! What becomes of a message that cannot be consumed: it comes again, later each time, and after
//! the last attempt it lies in the group's dead-letter topic, `%DLQ%group`. A second consumer reads
//! that topic, as an operator would who looks after the poison.
//!
//! Here everything with the word `bad` fails; two retries, each after a second, instead of
//! sixteen in nearly five hours.
//!
//! ```text
//! cargo xtask cluster --run '
//!   cargo run -q -p rmq-client-producer --example hello -- --namesrv $NAMESRV_ADDR --topic Poison --count 2
//!   cargo run -q -p rmq-client-push --example retry_dlq -- --namesrv $NAMESRV_ADDR --topic Poison --bad "hello 1"'
//! ```

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rmq_client_push::{
    ConsumeContext, ConsumeFrom, ConsumeOutcome, MessageView, PushConsumer, PushSettings,
};
use tokio::sync::Notify;

/// Fails what is bad until it is a dead letter.
#[derive(Parser)]
struct Args {
    /// Name servers, `host:port` separated by `;`.
    #[arg(long, default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Topic.
    #[arg(long)]
    topic: String,
    /// Consumer group.
    #[arg(long, default_value = "retry_dlq")]
    group: String,
    /// Bodies that hold this cannot be consumed.
    #[arg(long, default_value = "bad")]
    bad: String,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let settings = PushSettings {
        consumer_group: args.group.clone(),
        consume_from_where: ConsumeFrom::FirstOffset,
        max_reconsume_times: 2,
        ..PushSettings::default()
    };
    let bad = args.bad;
    let consumer = PushConsumer::builder()
        .namesrv(&args.namesrv)
        .settings(settings)
        .subscribe(&args.topic, "*")
        .each(move |message: MessageView, context: ConsumeContext| {
            let body = String::from_utf8_lossy(&message.body).into_owned();
            let outcome = if body.contains(&bad) {
                println!("attempt {} at `{body}` fails", context.attempt());
                // Level 1 is a second; 0 would let the broker choose a longer wait each time.
                ConsumeOutcome::RetryLater { delay_level: 1 }
            } else {
                println!("`{body}` is done");
                ConsumeOutcome::Success
            };
            std::future::ready(outcome)
        })
        .start()
        .await?;

    let buried = Arc::new(Notify::new());
    let told = Arc::clone(&buried);
    let undertaker = PushConsumer::builder()
        .namesrv(&args.namesrv)
        .group(format!("{}_undertaker", args.group))
        .subscribe(format!("%DLQ%{}", args.group), "*")
        .consume_from(ConsumeFrom::FirstOffset)
        .each(move |message: MessageView, _: ConsumeContext| {
            let origin = message.properties.get("RETRY_TOPIC").unwrap_or("?").to_owned();
            println!("dead letter from {origin}: {}", String::from_utf8_lossy(&message.body));
            told.notify_one();
            std::future::ready(())
        })
        .start()
        .await?;
    tokio::select! {
        () = buried.notified() => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    consumer.shutdown(Duration::from_secs(10)).await;
    undertaker.shutdown(Duration::from_secs(10)).await;
    Ok(())
}
