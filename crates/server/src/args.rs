//! The command line.

use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand};

/// RocketMQ's servers.
#[derive(Debug, Parser)]
#[command(name = "rmq-server", version, about = "RocketMQ's name server and broker")]
pub struct Args {
    /// What to run.
    #[command(subcommand)]
    pub role: Role,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// The name server: tells clients where topics are
    Namesrv(NamesrvArgs),
    /// A broker: keeps messages
    Broker(BrokerArgs),
    /// A name server and a broker in one process
    Standalone(StandaloneArgs),
}

/// Flags that every role takes.
#[derive(Debug, Group)]
pub struct SharedArgs {
    /// Settings as in Apache RocketMQ's broker.conf or namesrv.conf
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting; goes before the file's (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Listen beyond this machine, although nobody is asked for a password
    #[arg(long)]
    pub insecure_open: bool,
}

/// Flags of a name server.
#[derive(Debug, Group)]
pub struct NamesrvArgs {
    /// Flags that every role takes.
    #[command(flatten)]
    pub shared: SharedArgs,
    /// Where to listen [default: 127.0.0.1:9876]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
}

/// Flags of a broker.
#[derive(Debug, Group)]
pub struct BrokerArgs {
    /// Flags that every role takes.
    #[command(flatten)]
    pub shared: SharedArgs,
    /// Name servers to register at, `host:port;host:port`
    #[arg(short, long, value_name = "ADDRESSES")]
    pub namesrv: Option<String>,
    /// Directory of the messages [default: ~/store]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

/// Flags of both in one process.
#[derive(Debug, Group)]
pub struct StandaloneArgs {
    /// Flags that every role takes.
    #[command(flatten)]
    pub shared: SharedArgs,
    /// Where the name server listens [default: 127.0.0.1:9876]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Further name servers to register at, `host:port;host:port`
    #[arg(short, long, value_name = "ADDRESSES")]
    pub namesrv: Option<String>,
    /// Directory of the messages [default: ./rmq-data]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
