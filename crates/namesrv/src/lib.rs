//! The name server: which brokers serve which topic, kept in memory only. Brokers tell it, again and
//! again; whoever falls silent or loses the connection is forgotten.
//!
//! | module | owns |
//! |---|---|
//! | [`route_table`] | brokers, topics and queues: what clients ask for |
//! | [`registration`] | how a broker enters and leaves the table |
//! | `register_body` | the bytes that a broker registers, plain or compressed |
//! | [`expiry`] | who has fallen silent |
//! | [`kv_config`] | the small key-value store, the only thing that is written to disk |
//! | [`namesrv`] | the name server as a whole |
//! | `processor` | the requests |
//! | [`config`] | settings, by their names in `namesrv.conf` |
//!
//! Several name servers know nothing of each other: brokers register at all of them.

pub mod config;
pub mod expiry;
pub mod kv_config;
pub mod namesrv;
mod processor;
mod register_body;
pub mod registration;
pub mod route_table;

pub use config::{ConfigError, NamesrvConfig};
pub use namesrv::{Namesrv, OpenError};
pub use route_table::RouteTable;
