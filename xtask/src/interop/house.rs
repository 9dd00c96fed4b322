//! What all scenes share: the jars, the compiled drivers, our programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::Casting;
use crate::apache::Jars;
use crate::workspace::{self, Profile};

/// Our client programs.
const EXAMPLES: [&str; 5] = ["produce", "consume", "transact", "request", "poll"];

/// Who plays a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Ours,
    /// Apache's server, or the Java client.
    Apache,
}

pub(super) struct House {
    pub(super) jars: Jars,
    classes: PathBuf,
    profile: Profile,
    control: bool,
}

impl House {
    /// Fetches, compiles and builds whatever is missing.
    pub(super) fn open(casting: &Casting) -> Result<Self> {
        let jars = Jars::fetch(&casting.apache_version)?;
        let classes = workspace::target().join("interop/classes").join(&casting.apache_version);
        jars.compile_drivers(
            &classes,
            &["Admin", "Produce", "PushConsume", "Transact", "Request", "Answer"],
        )?;
        let profile = Profile::chosen(casting.release);
        if !casting.control {
            workspace::build(
                profile,
                &["--bin", "rmq-server"]
                    .into_iter()
                    .chain(EXAMPLES.iter().flat_map(|name| ["--example", name]))
                    .collect::<Vec<_>>(),
            )?;
        }
        Ok(Self { jars, classes, profile, control: casting.control })
    }

    /// Where scenes leave their logs and stores.
    pub(super) fn runs(&self) -> PathBuf {
        workspace::target().join(if self.control { "interop/control" } else { "interop/run" })
    }

    /// Who really plays the part of `side`.
    pub(super) fn cast(&self, side: Side) -> Side {
        if self.control { Side::Apache } else { side }
    }

    pub(super) fn server(&self) -> Command {
        Command::new(self.profile.folder().join("rmq-server"))
    }

    /// One of our client programs.
    pub(super) fn example(&self, name: &str) -> Command {
        Command::new(self.profile.folder().join("examples").join(name))
    }

    /// A Java driver.
    pub(super) fn driver(&self, class: &str, home: &Path, binary: bool) -> Command {
        let mut java = self.jars.java(home, 256, &self.classes);
        if binary {
            java.arg("-Drocketmq.serialize.type=ROCKETMQ");
        }
        java.arg(class);
        java
    }
}
