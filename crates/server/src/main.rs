//! `rmq-server namesrv | broker | standalone | store`: reads the settings, starts the parts, waits for the
//! wish to stop.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use rmq_runtime::World;
use rmq_server::args::{Args, Role};
use rmq_server::plan::Plan;
use rmq_server::signals::Signals;
use rmq_server::{Running, start_broker, start_namesrv, store_tool};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;

/// Exit status when the settings or the command line are wrong.
const MISUSE: u8 = 2;
/// Exit status when a second signal ends the program at once.
const IMPATIENCE: i32 = 130;
/// What is logged unless `RMQ_LOG` says else.
const LOG: &str =
    "warn,rmq_server=info,rmq_namesrv=info,rmq_broker=info,rmq_store=info,rmq_remoting=info";
/// Threads that do what no connection waits for.
const WORKERS: usize = 2;
/// How long each step of stopping may take.
const GRACE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let args = Args::parse();
    log();
    let world = World::system();
    if let Role::Store(command) = &args.role {
        return store_tool::run(&world, command);
    }
    let plan = match Plan::new(&world, &args) {
        Ok(plan) => plan,
        Err(error) => return failed(MISUSE, error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("rmq")
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(run(&world, plan)),
        Err(error) => failed(1, error),
    }
}

/// To stderr, as much as `RMQ_LOG` wants: `warn`, or `info,rmq_store=debug`.
fn log() {
    let wanted = std::env::var("RMQ_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let usual = || LOG.parse().unwrap_or_default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines).with(wanted.unwrap_or_else(usual)).init();
}

/// One line, no more.
fn failed(status: u8, error: impl Display) -> ExitCode {
    say(&mut std::io::stderr(), format_args!("rmq-server: {error}"));
    ExitCode::from(status)
}

/// Nobody may be listening any more; that is no reason to stop.
fn say(to: &mut dyn std::io::Write, line: impl Display) {
    drop(writeln!(to, "{line}"));
}

async fn run(world: &World, plan: Plan) -> ExitCode {
    let began = world.clock.monotonic();
    let mut signals = match Signals::catch() {
        Ok(signals) => signals,
        Err(error) => return failed(1, error),
    };
    let mut out = std::io::stdout();
    if !plan.without_effect.is_empty() {
        let keys = plan.without_effect.join(", ");
        say(&mut out, format_args!("settings without effect here: {keys}"));
    }
    let mut parts: Vec<Running> = Vec::new();
    let started = tokio::select! {
        biased;
        () = signals.next() => None,
        started = start(world, plan, &mut parts) => Some(started),
    };
    let status = match started {
        None => ExitCode::SUCCESS,
        Some(Err(error)) => failed(1, error),
        Some(Ok(())) => {
            for line in parts.iter().flat_map(Running::lines) {
                say(&mut out, line);
            }
            let took = world.clock.monotonic().since(began).as_secs_f64();
            say(&mut out, format_args!("ready in {took:.2} s"));
            drop(out.flush());
            serve(&mut signals, &parts).await
        }
    };
    tokio::select! {
        biased;
        () = stop(parts) => status,
        () = signals.next() => std::process::exit(IMPATIENCE),
    }
}

async fn start(
    world: &World,
    plan: Plan,
    parts: &mut Vec<Running>,
) -> Result<(), rmq_server::StartError> {
    let mut own = None;
    if let Some(config) = plan.namesrv {
        let namesrv = start_namesrv(world, config, &plan.tls).await?;
        own = Some(namesrv.addr());
        parts.push(namesrv);
    }
    if let Some(mut settings) = plan.broker {
        if let Some(own) = own {
            settings.add_name_server(own);
        }
        parts.push(start_broker(world, settings).await?);
    }
    Ok(())
}

/// Until somebody wants it to stop, or it cannot go on.
async fn serve(signals: &mut Signals, parts: &[Running]) -> ExitCode {
    let failures =
        futures_util::future::select_all(parts.iter().map(|part| Box::pin(part.failed())));
    tokio::select! {
        biased;
        () = signals.next() => ExitCode::SUCCESS,
        (task, ..) = failures => failed(1, format_args!("{task} has failed; stopping")),
    }
}

/// The last that started ends first.
async fn stop(parts: Vec<Running>) {
    for part in parts.into_iter().rev() {
        for straggler in part.stop(GRACE).await {
            tracing::warn!("did not end in time: {straggler}");
        }
    }
}
