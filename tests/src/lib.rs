//! Clusters for tests, the clients that use them, and what must be true in the end.
//!
//! | module | owns |
//! |---|---|
//! | [`cluster`] | a name server and brokers, in this process or as processes that can be killed |
//! | [`client`] | sends, and reads what is stored |
//! | [`inbox`] | consumers, and what they got |
//! | [`history`] | what clients were told, held against what is stored and was delivered |
//! | [`promises`] | what must become of messages that wait, held against what came |
//! | [`load`] | senders that go on and on |
//! | [`sim`] | a cluster in one thread, in a simulated world, from a seed |
//! | [`papers`] | authorities and their certificates |
//! | [`soak`] | a group whose members are processes, for a long time |
//! | [`requests`] | counts requests on their way out |
//! | [`target`] | a broker that is given what no honest client sends |
//! | [`wire`] | writes whatever bytes a test wants |
//! | [`wait`] | waits for events, with an end |
//!
//! The scenarios are in `tests/`, a file each.

pub mod client;
pub mod cluster;
pub mod history;
pub mod inbox;
pub mod load;
pub mod papers;
mod program;
pub mod promises;
pub mod requests;
mod settings;
pub mod sim;
pub mod soak;
pub mod target;
pub mod wait;
pub mod wire;

pub use client::Client;
pub use cluster::Cluster;
pub use history::{History, Outcome};
pub use inbox::Inbox;
pub use settings::ClusterBuilder;
pub use wait::{PATIENCE, WORLD, eventually, holds};
