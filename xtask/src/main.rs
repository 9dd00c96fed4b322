//! `cargo xtask`: the chores of this workspace, as one program. Each verb has its own file.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool of the workshop: it starts programs, watches files and sockets, and talks to a terminal"
)]

mod allocation;
mod apache;
mod bench;
mod canaries;
mod cluster;
mod interop;
mod ports;
mod process;
mod remoting;
mod signals;
mod sim;
mod soak;
mod test;
mod tidy;
mod torture;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The chores of the rmq workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run a name server and some brokers on this machine until Ctrl-C
    Cluster(cluster::Arguments),
    /// Run every test that needs no Java, and sum up
    Test(test::Arguments),
    /// Play scenes between rmq and the published Apache servers and Java clients
    Interop(interop::Arguments),
    /// Start or stop a real Apache name server and broker, for tests by hand
    Apache(apache::Arguments),
    /// Have Java's classes say once more who of a group gets which queues
    Allocation(allocation::Arguments),
    /// Check the crate graph, the names and the borders; show the widest things
    Tidy(tidy::Arguments),
    /// Crash the store, in simulation and for real, more often than the tests do
    Torture(torture::Arguments),
    /// Run whole clusters in a simulated world, under trouble that seeds choose
    Sim(sim::Arguments),
    /// Stream millions of messages to a group whose members join, leave and are killed
    Soak(soak::Arguments),
    /// Run the benchmarks of one crate, or of all that have some
    Bench(bench::Arguments),
    /// Race our push consumer against Java's on one broker of ours
    BenchConsumer(bench::consumer::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().verb {
        Verb::Cluster(arguments) => cluster::run(arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Interop(arguments) => interop::run(&arguments),
        Verb::Apache(arguments) => apache::run(arguments),
        Verb::Allocation(arguments) => allocation::run(&arguments),
        Verb::Tidy(arguments) => tidy::run(&arguments),
        Verb::Torture(arguments) => torture::run(&arguments),
        Verb::Sim(arguments) => sim::run(&arguments),
        Verb::Soak(arguments) => soak::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::BenchConsumer(arguments) => bench::consumer::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
