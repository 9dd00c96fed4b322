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
    /// Looks at a store directory, ours or Apache's; reads only
    #[command(subcommand)]
    Store(StoreCommand),
}

/// What to do with a store directory.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Says what is wrong where; ends with 0 when the store is sound, 1 when it is damaged, 2 when
    /// it cannot be told
    Check(CheckArgs),
    /// Prints what is in it, a JSON document a line
    Dump(DumpArgs),
}

/// Which store directory, and what its files do not say.
#[derive(Debug, Group)]
pub struct DirectoryArgs {
    /// The directory (storePathRootDir)
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// The broker's broker.conf, for the size of index files when it is not the usual
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting; goes before the file's (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Look although a broker has the directory open: what it changes meanwhile may look damaged
    #[arg(long)]
    pub force: bool,
}

/// Flags of `store check`.
#[derive(Debug, Group)]
pub struct CheckArgs {
    /// Which directory.
    #[command(flatten)]
    pub directory: DirectoryArgs,
    /// One JSON document instead of lines
    #[arg(long)]
    pub json: bool,
}

/// Flags of `store dump`.
#[derive(Debug, Group)]
pub struct DumpArgs {
    /// Which directory.
    #[command(flatten)]
    pub directory: DirectoryArgs,
    /// Only records of this topic
    #[arg(long)]
    pub topic: Option<String>,
    /// Only records from this position of the log on
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub from: u64,
    /// At most so many lines
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// With bodies, as text or, where they are none, in hexadecimal
    #[arg(long)]
    pub body: bool,
    /// The consume queues instead of records
    #[arg(long, conflicts_with_all = ["index", "from", "body"])]
    pub queues: bool,
    /// The items of the key index instead of records
    #[arg(long, conflicts_with_all = ["topic", "from", "body"])]
    pub index: bool,
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
