//! `cargo xtask soak`: millions of messages through a real broker to a group whose members, processes
//! all, join, leave and are killed without end. What must hold is in `tests/src/soak/ledger.rs`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many messages
    #[arg(long, default_value_t = 10_000_000)]
    messages: u64,
    /// How many members; one of them stays from beginning to end
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    members: u32,
    /// Decides who does what when; a machine is never twice the same, so the messages in flight then are not
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Spread the messages over so many minutes, in place of as fast as it goes
    #[arg(long)]
    minutes: Option<u64>,
    /// Kill the broker now and then, too
    #[arg(long)]
    kill_broker: bool,
    /// Members consume in order
    #[arg(long)]
    ordered: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--release", "-p", "rmq-tests", "--test", "soak", "--", "--nocapture"]);
    let mut again = format!(
        "cargo xtask soak --messages {} --members {} --seed {}",
        arguments.messages, arguments.members, arguments.seed
    );
    cargo
        .env("RMQ_SOAK_MESSAGES", arguments.messages.to_string())
        .env("RMQ_SOAK_MEMBERS", arguments.members.to_string())
        .env("RMQ_SOAK_SEED", arguments.seed.to_string());
    if let Some(minutes) = arguments.minutes {
        cargo.env("RMQ_SOAK_SECONDS", (60 * minutes).to_string());
        again += &format!(" --minutes {minutes}");
    }
    let switches = [
        (arguments.kill_broker, "RMQ_SOAK_KILL_BROKER", " --kill-broker"),
        (arguments.ordered, "RMQ_SOAK_ORDERED", " --ordered"),
    ];
    for (_, variable, option) in switches.into_iter().filter(|(on, ..)| *on) {
        cargo.env(variable, "1");
        again += option;
    }
    if cargo.status().context("cargo could not be started")?.success() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("red; again: {again}");
    Ok(ExitCode::FAILURE)
}
