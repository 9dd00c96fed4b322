//! Where things lie in this workspace, and how cargo is called.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// The folder of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo's target folder.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(target) => root().join(target),
        None => root().join("target"),
    }
}

/// A call of cargo in the workspace. What the outer cargo has said of this package is not handed on: build scripts
/// look at these variables, and all that depends on them would be built anew at every change between verbs and cargo.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_package) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Whether cargo sets a variable for the package that it runs.
fn is_of_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}

/// Which of cargo's two usual profiles a program is built with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    Debug,
    Release,
}

impl Profile {
    pub(crate) fn chosen(release: bool) -> Self {
        if release { Self::Release } else { Self::Debug }
    }

    /// The folder that programs of this profile end up in.
    pub(crate) fn folder(self) -> PathBuf {
        target().join(match self {
            Self::Debug => "debug",
            Self::Release => "release",
        })
    }
}

/// Builds programs of the workspace, with cargo's own progress on the terminal. `--workspace` keeps the features of the
/// dependencies the same as in `cargo test --workspace`, so nothing is built twice.
pub(crate) fn build(profile: Profile, what: &[&str]) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "--workspace"]).args(what);
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    let status = cargo.status().context("cargo could not be started")?;
    if !status.success() {
        bail!("cargo build {} failed", what.join(" "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_not_told_which_package_calls_it() {
        let removed: Vec<_> = cargo()
            .get_envs()
            .filter(|(_, value)| value.is_none())
            .map(|(name, _)| name.to_owned())
            .collect();
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
            assert!(env::var_os(name).is_some() && removed.contains(&name.into()), "{name}");
        }
        assert!(!is_of_package("CARGO_TARGET_DIR") && !is_of_package("CARGO_TERM_COLOR"));
    }
}
