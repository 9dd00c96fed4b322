//! The broker: serves producers, consumers and operators over a message store.
//!
//! [`Broker`] is a [`Processor`](rmq_remoting::Processor): a server hands it the requests of its
//! connections. It never touches the network itself but through the peers that have connected and
//! the [`Invoker`](rmq_remoting::Invoker) that it registers with.
//!
//! | module | owns |
//! |---|---|
//! | `broker` | assembly, the router, start and stop |
//! | `processor` | requests of clients: send, pull, pop, progress, heartbeats, locks, queries, send-back |
//! | `admin` | requests of operators |
//! | `reply` | every response code and text of a refusal |
//! | `topic_table`, `group_table`, `offset_table`, `filter_table`, `queue_lock` | tables that are kept in files |
//! | `consumer_registry`, `producer_registry` | who is connected |
//! | `hold` | pulls and pops that wait |
//! | `delay` | messages that wait for the time of a delay level |
//! | `timer` | messages that wait until a moment of their own |
//! | `pop` | what is popped and not yet done |
//! | `transaction` | half messages and their ends |
//! | `assignment` | which queues a member consumes, when the broker says it |
//! | `registrar` | the name servers' knowledge of this broker |
//! | `limits` | bounds of what peers can make it hold |
//!
//! Absent by intention: replicas are not served by this version; such requests are refused, never
//! half served.

#![expect(
    clippy::result_large_err,
    reason = "the error is the refusal itself, which moves straight into the reply"
)]

mod admin;
mod append;
mod assignment;
mod attributes;
mod broker;
mod cold;
mod config;
mod consumer_registry;
mod delay;
mod document;
mod filter;
mod filter_table;
mod group_table;
mod hold;
mod identity;
mod limits;
mod offset_table;
mod pop;
mod processor;
mod producer_registry;
mod queue_lock;
mod registrar;
mod reply;
mod stats;
mod timer;
mod topic_table;
mod transaction;

pub use broker::{Broker, OpenError};
pub use config::{BrokerConfig, ConfigError};
