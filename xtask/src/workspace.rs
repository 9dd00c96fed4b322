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

/// A call of cargo in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
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
