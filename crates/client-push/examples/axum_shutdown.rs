//! A consumer inside a web service, and an end that loses nothing: at SIGTERM the server stops
//! taking requests, then the consumer waits for its running listeners, writes its progress, and
//! leaves the group, so that other members go on at once. `/stats` and `/assignment` show what it
//! does.
//!
//! ```text
//! cargo xtask cluster --run '
//!   cargo run -q -p rmq-client-producer --example hello -- --namesrv $NAMESRV_ADDR --topic Orders --count 5
//!   cargo run -q -p rmq-client-push --example axum_shutdown -- --namesrv $NAMESRV_ADDR --topic Orders --listen 127.0.0.1:0'
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use clap::Parser;
use rmq_client_push::{ConsumeContext, ConsumeFrom, MessageView, PushConsumer};
use tokio::signal::unix::{SignalKind, signal};

/// How long running listeners may take at the end; orchestrators kill after thirty seconds.
const GRACE: Duration = Duration::from_secs(20);

/// A web service that consumes.
#[derive(Parser)]
struct Args {
    /// Name servers, `host:port` separated by `;`.
    #[arg(long, default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Topic.
    #[arg(long)]
    topic: String,
    /// Consumer group.
    #[arg(long, default_value = "service")]
    group: String,
    /// Where the service listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

async fn stats(State(consumer): State<Arc<PushConsumer>>) -> String {
    consumer.stats().iter().map(|(topic, totals)| format!("{topic} {totals:?}\n")).collect()
}

async fn assignment(State(consumer): State<Arc<PushConsumer>>) -> String {
    consumer.assignment().iter().map(|queue| format!("{queue}\n")).collect()
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "that is what it is for")]
#[expect(clippy::disallowed_types, reason = "the web service's own socket")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let consumer = PushConsumer::builder()
        .namesrv(&args.namesrv)
        .group(args.group)
        .subscribe(args.topic, "*")
        .consume_from(ConsumeFrom::FirstOffset)
        .each(|message: MessageView, _: ConsumeContext| async move {
            println!("{}", String::from_utf8_lossy(&message.body));
        })
        .start()
        .await?;
    let consumer = Arc::new(consumer);
    let routes = Router::new()
        .route("/stats", get(stats))
        .route("/assignment", get(assignment))
        .with_state(Arc::clone(&consumer));
    let listener = tokio::net::TcpListener::bind(args.listen).await?;
    println!("listening at http://{}", listener.local_addr()?);
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    axum::serve(listener, routes).with_graceful_shutdown(stop).await?;

    // The server has ended and with it all that shared the consumer.
    let consumer = Arc::into_inner(consumer);
    let Some(consumer) = consumer else { anyhow::bail!("a request still holds the consumer") };
    let report = consumer.shutdown(GRACE).await;
    println!("{report:?}");
    anyhow::ensure!(report.abandoned == 0 && report.farewell, "messages will come again");
    Ok(())
}
