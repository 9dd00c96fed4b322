//! What all scenes share: the jars, the compiled drivers, our programs.

use std::cell::OnceCell;
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
    version: String,
    classes: PathBuf,
    /// Proxy and gRPC client; only some scenes need them.
    grpc: OnceCell<Grpc>,
    profile: Profile,
    control: bool,
}

/// Apache's proxy, and the client and drivers that speak gRPC.
pub(super) struct Grpc {
    pub(super) proxy: Jars,
    client: Jars,
    classes: PathBuf,
}

impl House {
    /// Fetches, compiles and builds whatever is missing.
    pub(super) fn open(casting: &Casting) -> Result<Self> {
        let jars = Jars::fetch(&casting.apache_version)?;
        let classes = workspace::target().join("interop/classes").join(&casting.apache_version);
        jars.compile_drivers(
            &classes,
            &["Admin", "Produce", "PushConsume", "Timed", "Transact", "Request", "Answer"],
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
        let version = casting.apache_version.clone();
        let (grpc, control) = (OnceCell::new(), casting.control);
        Ok(Self { jars, version, classes, grpc, profile, control })
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

    /// What only scenes with a proxy need; fetched and compiled when it is missing.
    pub(super) fn grpc(&self) -> Result<&Grpc> {
        if let Some(grpc) = self.grpc.get() {
            return Ok(grpc);
        }
        let grpc = Grpc::open(&self.version)?;
        Ok(self.grpc.get_or_init(|| grpc))
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

impl Grpc {
    fn open(version: &str) -> Result<Self> {
        let proxy = Jars::fetch_proxy(version)?;
        let client = Jars::fetch_grpc_client()?;
        let classes = workspace::target().join("interop/classes/grpc");
        client.compile_drivers(&classes, &["GrpcProduce", "GrpcConsume", "GrpcTransact"])?;
        Ok(Self { proxy, client, classes })
    }

    /// A Java driver that speaks gRPC.
    pub(super) fn driver(&self, class: &str, home: &Path) -> Command {
        let mut java = self.client.java(home, 256, &self.classes);
        java.arg(class);
        java
    }
}
