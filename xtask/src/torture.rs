//! `cargo xtask torture`: the crash tests at large. Power loss and failing disks on a simulated disk, from seeds; kills of
//! the real server; and canaries: bugs brought back one at a time, which the tests must notice.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{canaries as bugs, workspace};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Power losses, spread over four kinds of store; the other tests grow with them
    #[arg(long, default_value_t = 20_000)]
    points: u64,
    /// Where the histories begin; the same seed does the same again
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Go on with the next seeds until so many minutes are over
    #[arg(long)]
    minutes: Option<u64>,
    /// Do one point again, as a failure has printed it: `sync:plain:1:2:3`
    #[arg(long)]
    replay: Option<String>,
    /// Kills of the real server for each way to flush; 0 for none
    #[arg(long, default_value_t = 50)]
    kills: u64,
    /// Only the kills
    #[arg(long)]
    only_kills: bool,
    /// Bring back one bug after the other instead, and see that the tests fail
    #[arg(long)]
    canaries: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.canaries {
        return canaries(arguments);
    }
    if let Some(point) = &arguments.replay {
        let mut replay = crash_tests(false);
        replay.args(["power_loss", "--nocapture", "--test-threads=1"]);
        return Ok(code(replay.env("RMQ_TORTURE_REPLAY", point).status()?.success()));
    }
    if arguments.only_kills {
        return kills(arguments);
    }
    let begin = Instant::now();
    let until = arguments.minutes.map(|minutes| begin + Duration::from_secs(60 * minutes));
    let mut points = 0;
    for seed in arguments.seed.. {
        println!("seed {seed}: {} power losses and what else is in the suite", arguments.points);
        let mut tests = crash_tests(false);
        tests.arg("--nocapture");
        let tests = tests
            .env("RMQ_TORTURE_POINTS", arguments.points.to_string())
            .env("RMQ_TORTURE_SEED", seed.to_string());
        let passed = tests.status().context("cargo could not be started")?.success();
        points += arguments.points;
        println!("{points} power losses in {} s", begin.elapsed().as_secs());
        if !passed {
            println!(
                "red; again: cargo xtask torture --points {} --seed {seed}, or the one point above with --replay",
                arguments.points
            );
            return Ok(ExitCode::FAILURE);
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            break;
        }
    }
    kills(arguments)
}

fn code(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The crash tests of the store, optimised; arguments for the test program may follow.
fn crash_tests(canary: bool) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--release", "-p", "rmq-store", "--test", "crash"]);
    if canary {
        cargo.args(["--features", "canary"]);
    }
    cargo.arg("--").env("RUST_BACKTRACE", "0");
    cargo
}

/// The tests that kill real servers, `tests/tests/kill*.rs`, with so many kills.
fn kills(arguments: &Arguments) -> Result<ExitCode> {
    let count = arguments.kills;
    let folder = workspace::root().join("tests/tests");
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(
            name.strip_suffix(".rs").filter(|name| name.starts_with("kill")).map(str::to_owned),
        );
    }
    if count == 0 || names.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--release", "-p", "rmq-tests", "--no-fail-fast"]);
    for name in &names {
        cargo.args(["--test", name]);
    }
    cargo.args(["--", "--nocapture"]);
    println!("{count} kills of the server for each way to flush");
    cargo.env("RMQ_TORTURE_KILLS", count.to_string());
    let status = cargo.env("RMQ_TORTURE_SEED", arguments.seed.to_string()).status()?;
    Ok(code(status.success()))
}

fn canaries(arguments: &Arguments) -> Result<ExitCode> {
    let names = bugs::names(&workspace::root().join("crates/store/src"))?;
    if names.is_empty() {
        bail!("there are no canaries in crates/store/src");
    }
    let sing = |name: &str| -> Result<bool> {
        let mut tests = crash_tests(true);
        tests
            .env("RMQ_CANARY", name)
            .env("RMQ_TORTURE_POINTS", arguments.points.min(2_000).to_string())
            .env("RMQ_TORTURE_SEED", arguments.seed.to_string());
        let output =
            tests.stderr(Stdio::inherit()).output().context("cargo could not be started")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !text.contains("test result:") {
            bail!("the tests did not run:\n{text}");
        }
        let red: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"))
            .collect();
        let noticed = if red.is_empty() { "NOT NOTICED".to_owned() } else { red.join(", ") };
        println!("{name:<50} {noticed}");
        Ok(red.is_empty())
    };
    if !sing("none")? {
        bail!("the tests are red without any canary");
    }
    let mut unnoticed = 0;
    for name in &names {
        unnoticed += usize::from(sing(name)?);
    }
    println!("{} of {} canaries were noticed", names.len() - unnoticed, names.len());
    Ok(code(unnoticed == 0))
}
