//! The vocabulary of RocketMQ: messages, queues, offsets, names, properties, subscriptions, and the
//! **record bytes** that lie in the commit log and travel to consumers unchanged.
//!
//! No I/O, no async, no clock: everything here is a value or a function over values, so that the
//! server and the clients mean the same thing by the same bytes.
//!
//! | module | owns |
//! |---|---|
//! | [`record`] | the stored record (versions 1 and 2), encode, check, read |
//! | [`batch`] | the body of a batch send |
//! | [`properties`], [`property`] | `name 0x01 value 0x02` text, and the names with a meaning |
//! | [`name`] | what a topic or group may be called; retry, dead-letter and system topics |
//! | [`subscription`] | topic plus tag or SQL92 expression |
//! | [`id`] | offset message id, unique message id |
//! | [`sys_flag`] | flag bits of messages and of pulls |
//! | [`compression`] | body codecs |
//! | [`java`] | string hash and order as Java computes them |

pub mod batch;
pub mod compression;
pub mod id;
pub mod java;
mod message;
pub mod name;
mod offset;
pub mod properties;
pub mod property;
mod queue;
pub mod record;
pub mod subscription;
pub mod sys_flag;

pub use compact_str::CompactString;
pub use message::{DecodeError, Message, MessageView};
pub use offset::{PhysicalOffset, QueueOffset, Timestamp};
pub use properties::Properties;
pub use queue::MessageQueue;
pub use subscription::{ExpressionType, Subscription};
