//! `cargo xtask test`: every test of the workspace, doc-tests included, with the sum at the end.

use std::io::{BufRead as _, BufReader};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only tests whose name contains this
    filter: Option<String>,
    /// Optimised, as users run it
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast"]);
    if arguments.release {
        cargo.arg("--release");
    }
    cargo.args(&arguments.filter);
    // The progress of the build goes to standard error and stays visible; results are read on their way to the terminal.
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("cargo could not be started")?;
    let output = child.stdout.take().context("cargo has no standard output")?;
    let mut sum = Sum::default();
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        sum.read(&line);
    }
    let status = child.wait()?;
    for test in &sum.failing {
        println!("failed: {test}");
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    if !status.success() && sum.failed == 0 {
        bail!("cargo test failed ({status}) without naming a test: does everything compile?");
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Sum {
    passed: u64,
    failed: u64,
    failing: Vec<String>,
}

impl Sum {
    /// Takes notice of `test result: ok. 3 passed; 0 failed; ...` and of `test name ... FAILED`.
    fn read(&mut self, line: &str) {
        if let Some(counts) = line.strip_prefix("test result: ") {
            let count = |what: &str| {
                counts
                    .split([';', '.'])
                    .find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<u64>().ok())
            };
            self.passed += count("passed").unwrap_or(0);
            self.failed += count("failed").unwrap_or(0);
        } else if let Some(name) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failing.push(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_programs_are_summed() {
        let mut sum = Sum::default();
        sum.read("test a::b ... ok");
        sum.read("test a::c ... FAILED");
        sum.read("test result: FAILED. 12 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s");
        sum.read("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        assert_eq!((sum.passed, sum.failed), (15, 1));
        assert_eq!(sum.failing, ["a::c"]);
    }
}
