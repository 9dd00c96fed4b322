//! `rmq-server`: name server and broker as programs. The only crate that knows all parts, reads
//! files and flags, and decides in which order things start and stop.
//!
//! | module | owns |
//! |---|---|
//! | [`args`] | the command line |
//! | [`settings`] | texts, and how they become the parts' settings |
//! | `foreign_keys` | settings that mean something to Apache's servers only |
//! | [`plan`] | what shall run, from all of these |
//! | [`namesrv`], [`broker`] | a server each: start, and the order of its end |
//! | `registration` | sees the broker register |
//! | [`running`] | what both have in common |
//! | [`signals`] | the wish to stop |
//! | [`store_tool`] | `rmq-server store`: a look at a store directory from outside |

pub mod args;
pub mod broker;
mod foreign_keys;
pub mod namesrv;
pub mod plan;
mod registration;
pub mod running;
pub mod settings;
pub mod signals;
pub mod store_tool;

pub use broker::{BrokerSettings, start_broker};
pub use namesrv::start_namesrv;
pub use running::{Running, StartError};
