//! `cargo xtask tidy`: the walls of the house as a program. Fails on a new edge between crates, a banned name, a
//! border that was crossed, a row of `docs/mission.md` without its test, or one of `docs/compatibility.md` that is not true; shows where the house bulges without failing on it.

mod borders;
mod compatibility;
mod graph;
mod mission;
mod names;
mod source;
mod width;

use std::process::ExitCode;

use anyhow::Result;

use source::SourceFile;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many of the widest things to show
    #[arg(long, default_value_t = 10)]
    top: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let files = source::all()?;
    let mut findings = graph::check(&graph::read()?);
    for file in &files {
        findings.extend(names::check(file));
        findings.extend(borders::check(file));
    }
    findings.extend(compatibility::check()?);
    findings.extend(mission::check()?);
    width::show(&files, arguments.top);
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} files, {} findings", files.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Only text that is code: what `find` says about a file, with its place.
fn finding(file: &SourceFile, line: usize, what: &str) -> String {
    format!("{}:{}: {what}", file.path, line + 1)
}
