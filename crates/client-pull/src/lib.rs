//! A RocketMQ consumer that is asked for messages ("lite pull" in Java): the application says when it
//! wants some, where it goes on, and what is done.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! use rmq_client_pull::PullConsumer;
//!
//! let consumer = PullConsumer::builder()
//!     .namesrv("127.0.0.1:9876")
//!     .group("reports")
//!     .subscribe("Orders", "*")
//!     .start()
//!     .await?;
//! for message in consumer.poll(Duration::from_secs(5)).await? {
//!     println!("{} {:?}", message.id(), message.body);
//! }
//! consumer.commit().await?;
//! consumer.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Queues come from the group's sharing ([`subscribe`](PullConsumerBuilder::subscribe)) or are
//! chosen by the application ([`PullConsumer::assign`]), never both. Each has a task that pulls ahead
//! into a bounded buffer; [`PullConsumer::poll`] takes from the buffers.
//!
//! # At least once
//!
//! What poll has handed out counts as consumed at the next commit: by [`PullConsumer::commit`], or
//! by itself on a later poll, every five seconds, unless
//! [`auto_commit`](PullSettings::auto_commit) is off. What was not committed comes again, here or at
//! another member of the group.
//!
//! | module | owns |
//! |---|---|
//! | `consumer`, `builder`, `settings` | what users hold |
//! | `engine` | which queues are held, and how that changes |
//! | `held_queue` | one queue: its buffer and its positions; a seek makes all older results void |
//! | `pull_loop` | one task for each queue |
//! | `member` | the consumer as its client instance sees it |

mod builder;
mod consumer;
mod engine;
mod error;
mod held_queue;
mod member;
mod pull_loop;
mod settings;

pub use builder::PullConsumerBuilder;
pub use consumer::PullConsumer;
pub use error::{PullError, StartError};
pub use rmq_client_core::protocol::MessageModel;
pub use rmq_client_core::{
    AccessChannel, ClientConfig, ClientError, ClientInstance, ClientTls, ErrorKind,
};
pub use rmq_message::{CompactString, MessageQueue, MessageView, QueueOffset, Timestamp};
pub use settings::{ConsumeFrom, PullSettings};
