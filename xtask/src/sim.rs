//! `cargo xtask sim`: simulated clusters in large amounts, each from its seed; the explorer of
//! balancings at full depth; and canaries: bugs brought back one at a time, which must be noticed.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::{canaries, workspace};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many runs
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Virtual minutes of each
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Where to begin; the same seed does the same again
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Explore every interleaving of a balancing instead, and long random walks
    #[arg(long)]
    explore: bool,
    /// Bring back one bug after the other instead, and see that the tests fail
    #[arg(long)]
    canaries: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.canaries {
        return sing();
    }
    let status = if arguments.explore {
        explorer(true, false).env("RMQ_EXPLORE", "deep").status()
    } else {
        let mut clusters = clusters(true, false);
        clusters.args(["promises", "--nocapture"]);
        clusters
            .env("RMQ_SIM_SEEDS", arguments.seeds.to_string())
            .env("RMQ_SIM_MINUTES", arguments.minutes.to_string())
            .env("RMQ_SIM_SEED", arguments.seed.to_string())
            .status()
    };
    let passed = status.context("cargo could not be started")?.success();
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The simulated clusters; arguments for the test program may follow.
fn clusters(release: bool, canary: bool) -> Command {
    let mut cargo = tests(&["-p", "rmq-tests", "--test", "sim"], release, canary);
    cargo.arg("--");
    cargo
}

/// The explorer of balancings.
fn explorer(release: bool, canary: bool) -> Command {
    let mut cargo = tests(&["-p", "rmq-client-push", "--lib"], release, canary);
    cargo.args(["explorer", "--", "--nocapture"]);
    cargo
}

fn tests(what: &[&str], release: bool, canary: bool) -> Command {
    let mut cargo = workspace::cargo();
    cargo.arg("test").args(what).env("RUST_BACKTRACE", "0");
    if release {
        cargo.arg("--release");
    }
    if canary {
        cargo.args(["--features", "canary"]);
    }
    cargo
}

/// The crates whose canaries the simulation must notice.
const SINGING: [&str; 1] = ["crates/client-push/src"];

/// Not optimised: what is built anew for the canaries costs more than what runs.
fn sing() -> Result<ExitCode> {
    let mut names = Vec::new();
    for folder in SINGING {
        names.extend(canaries::names(&workspace::root().join(PathBuf::from(folder)))?);
    }
    if names.is_empty() {
        bail!("there are no canaries in {SINGING:?}");
    }
    let noticed_by = |name: &str| -> Result<Vec<&str>> {
        let mut by = Vec::new();
        let mut runs = clusters(false, true);
        runs.args(["promises", "--nocapture"]);
        runs.env("RMQ_SIM_SEEDS", "12").env("RMQ_SIM_MINUTES", "5");
        let scripts = tests(&["-p", "rmq-client-push", "--test", "consumer"], false, true);
        let all = [("explorer", explorer(false, true)), ("scripts", scripts), ("clusters", runs)];
        for (what, mut tests) in all {
            let tests = tests.env("RMQ_CANARY", name).stderr(Stdio::inherit());
            let output = tests.output().context("cargo could not be started")?;
            let text = String::from_utf8_lossy(&output.stdout);
            if !text.contains("test result:") {
                bail!("the tests did not run:\n{text}");
            }
            if !output.status.success() {
                by.push(what);
            }
        }
        Ok(by)
    };
    let by_mistake = noticed_by("none")?;
    if !by_mistake.is_empty() {
        bail!("{by_mistake:?} are red without any canary");
    }
    let mut unnoticed = 0;
    for name in &names {
        let by = noticed_by(name)?;
        unnoticed += usize::from(by.is_empty());
        let by = if by.is_empty() { "NOT NOTICED".to_owned() } else { by.join(", ") };
        println!("{name:<60} {by}");
    }
    println!("{} of {} canaries were noticed", names.len() - unnoticed, names.len());
    Ok(if unnoticed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
