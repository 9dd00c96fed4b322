//! `cargo xtask allocation`: Java's classes say once more who gets which queues, for the test of the client that compares.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::apache::{self, Jars};
use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Whose classes are asked
    #[arg(long, default_value = apache::DEFAULT_VERSION)]
    apache_version: String,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let jars = Jars::fetch(&arguments.apache_version)?;
    let classes = workspace::target().join("interop/classes").join(&arguments.apache_version);
    jars.compile_drivers(&classes, &["Allocate"])?;
    let table = workspace::root().join("crates/client-core/tests/golden/allocation.json");
    let status = jars.java(&classes, 128, &classes).arg("Allocate").arg(&table).status()?;
    if !status.success() {
        bail!("the table could not be computed");
    }
    println!("written: {}", table.display());
    Ok(ExitCode::SUCCESS)
}
