//! RocketMQ's remoting protocol: frames, commands, and both ends of a connection.
//!
//! | module | owns |
//! |---|---|
//! | [`command`], [`fields`] | a frame as the program sees it |
//! | [`frame`], `header`, [`json`] | how it looks on the wire |
//! | [`request_code`], [`response_code`], [`protocol`], [`typed`] | what peers say to each other |
//! | [`processor`], [`invoker`] | the two seams: who serves requests, and who makes them |
//! | `connection`, [`peer`] | one connection, and how the rest of the program holds it |
//! | [`server`], [`client`], [`local`] | connections that are accepted, dialled, imagined |
//! | [`tls`] | connections that others cannot read, and who may be at their ends |
//! | [`limits`] | what a peer may take of us |
//!
//! A connection is one task and has no other: it reads, decodes, has each request processed,
//! settles the turn and writes all answers at once. A request never costs a task, a channel or a
//! lock. Both ends are alike; servers send requests to their clients over the same connection.

pub mod client;
pub mod command;
mod connection;
pub mod fields;
pub mod frame;
mod header;
mod in_flight;
pub mod invoker;
pub mod json;
pub mod language;
pub mod limits;
mod live;
pub mod local;
mod output;
mod pace;
pub mod peer;
pub mod processor;
pub mod protocol;
pub mod request_code;
pub mod response_code;
pub mod server;
pub mod tls;
pub mod typed;

pub use client::{Client, ClientConfig};
pub use command::{Body, HeaderEncoding, RemotingCommand, Response, VERSION};
pub use fields::{FieldError, FieldValue, Fields};
pub use invoker::{Endpoint, EndpointError, InvokeError, Invoker};
pub use language::Language;
pub use limits::Limits;
pub use local::LocalInvoker;
pub use peer::Peer;
pub use processor::{Processor, Reply, Unsettled, Unsupported};
pub use server::{Server, ServerConfig, ServerHandle};
pub use typed::{CallError, Payload, PayloadError, TypedRequest, call};
