//! What peers say to each other: one module for each conversation, with its header fields and
//! bodies.
//!
//! Header structs are declared with the names of the wire beside them; bodies are serde types whose
//! fields are declared in the order of the wire, which is alphabetical. All of them are
//! [`Payload`](crate::Payload)s, and those that ask are [`TypedRequest`](crate::TypedRequest)s. Two
//! headers borrow from the command instead, because brokers read them for every message:
//! [`send::SendMessage`] and [`pull::PullMessage`].

pub mod assignment;
pub mod client;
pub mod cluster;
mod declare;
pub mod group;
pub mod heartbeat;
pub mod kv;
pub mod lock;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod query;
pub mod queue;
pub mod register;
pub mod replica;
pub mod route;
pub mod send;
pub mod send_back;
pub mod stats;
pub mod topic;
pub mod transaction;
