//! A RocketMQ push consumer: subscribe, hand in a listener, and it is called with messages as they
//! arrive.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use rmq_client_push::{ConsumeContext, Messages, PushConsumer};
//!
//! # async fn example() -> Result<(), rmq_client_push::PushError> {
//! let consumer = PushConsumer::builder()
//!     .namesrv("127.0.0.1:9876")
//!     .group("orders")
//!     .subscribe("Orders", "paid || refunded")
//!     .listener(|messages: Messages, _context: ConsumeContext| async move {
//!         for message in &messages {
//!             println!("{} {:?}", message.id(), message.body);
//!         }
//!     })
//!     .start()
//!     .await?;
//! // …
//! let report = consumer.shutdown(Duration::from_secs(10)).await;
//! assert_eq!(report.abandoned, 0);
//! # Ok(())
//! # }
//! ```
//!
//! Delivery is at least once. A listener that answers with an error gets the messages again later,
//! in growing delays, and after sixteen retries they lie in the group's dead-letter topic.
//!
//! ```text
//! pull_loop ─▶ process_queue ─▶ ready ─▶ concurrent / orderly ─▶ listener
//!     ▲             │ progress                     │ failures
//!  assignment   offset store                   send_back
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`builder`], [`settings`], [`consumer`] | making, starting and ending a consumer |
//! | `engine` | what its tasks share |
//! | `assignment`, `owned_queue`, `queue_lease` | which queues it has, and until when results count |
//! | `pull_loop`, `start_offset`, `flow_control` | fetching messages of one queue |
//! | `pop` | popping instead, where brokers assign the queues so |
//! | `process_queue` | messages of one queue that are not finished, and its progress |
//! | `ready`, `concurrent`, `orderly` | calling the listener |
//! | [`call`], `trace` | what surrounds a call: span, hooks, time; what is told of it |
//! | `send_back` | returning what failed |
//! | `member`, `subscriptions`, [`stats`] | what brokers and operators are told |

mod assignment;
pub mod builder;
pub mod call;
mod concurrent;
pub mod consumer;
mod engine;
pub mod error;
#[cfg(test)]
#[path = "explorer_test.rs"]
mod explorer;
mod flow_control;
pub mod listener;
mod member;
mod orderly;
mod owned_queue;
mod pop;
mod process_queue;
mod pull_loop;
mod queue_lease;
mod ready;
mod send_back;
pub mod settings;
mod start_offset;
pub mod stats;
mod subscriptions;
#[cfg(test)]
mod testing;
mod trace;

pub use builder::PushConsumerBuilder;
pub use call::{Call, CallEnd, ConsumeHook, FilterHook};
pub use consumer::{PushConsumer, Report, SeekTo};
pub use error::PushError;
pub use listener::{
    ConsumeContext, ConsumeOutcome, MessageListener, Messages, OrderlyListener, OrderlyOutcome,
};
pub use rmq_client_core::protocol::{
    ConsumerSnapshot, Endpoint, InvokeError, MessageModel, RemotingCommand,
};
pub use rmq_client_core::rebalance;
pub use rmq_client_core::{
    AccessChannel, ClientConfig, ClientError, ClientInstance, ClientTls, ErrorKind, OffsetStore,
    Positions, RequestHook,
};
pub use rmq_message::{
    CompactString, Message, MessageQueue, MessageView, Properties, QueueOffset, Subscription,
    Timestamp,
};
pub use settings::{ConsumeFrom, PushSettings, SettingsError};
pub use stats::Totals;
