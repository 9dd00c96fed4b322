//! Requests of clients: one module for each conversation.

pub(crate) mod ack;
pub(crate) mod assignment;
pub(crate) mod client;
pub(crate) mod lock;
pub(crate) mod notification;
pub(crate) mod offset;
pub(crate) mod pop;
pub(crate) mod pull;
pub(crate) mod query;
pub(crate) mod recall;
pub(crate) mod reply;
pub(crate) mod send;
pub(crate) mod send_back;
pub(crate) mod transaction;
