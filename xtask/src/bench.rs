//! `cargo xtask bench`: the criterion benchmarks, by the name of the crate's folder.

pub(crate) mod consumer;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Whose benchmarks; all when left out
    crate_name: Option<Measured>,
    /// Passed on to criterion: a filter, or options such as --quick
    #[arg(last = true)]
    criterion: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Measured {
    Store,
    Remoting,
    Consumer,
    Broker,
    Filter,
    Server,
}

impl Measured {
    fn package(self) -> &'static str {
        match self {
            Self::Store => "rmq-store",
            Self::Remoting => "rmq-remoting",
            Self::Consumer => "rmq-client-push",
            Self::Broker => "rmq-broker",
            Self::Filter => "rmq-filter",
            Self::Server => "rmq-server",
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let chosen =
        arguments.crate_name.map_or_else(|| Measured::value_variants().to_vec(), |one| vec![one]);
    for measured in chosen {
        // `--benches` alone would also run the unit tests; criterion's programs are named "bench" targets.
        let status = workspace::cargo()
            .args(["bench", "-p", measured.package(), "--bench", "*", "--"])
            .args(&arguments.criterion)
            .status()
            .context("cargo could not be started")?;
        if !status.success() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
