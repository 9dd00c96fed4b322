//! A RocketMQ producer.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use rmq_client_producer::{Message, Producer};
//!
//! let producer = Producer::builder().namesrv("127.0.0.1:9876").group("orders").start().await?;
//! let receipt = producer.send(Message::new("Orders", "paid").with_tag("eu")).await?;
//! println!("{} is at {} {}", receipt.id, receipt.queue, receipt.queue_offset);
//! producer.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! A [`Producer`] is cheap to clone, and all its methods take `&self`: to have many sends under way,
//! call [`Producer::send`] from many tasks, or join its futures. At most
//! [`in_flight_max`](ProducerConfig::in_flight_max) are under way at once; further ones wait.
//!
//! # At least once
//!
//! A send that fails or is not answered in time is tried again at another broker, with the same
//! unique id. When the first broker stored the message all the same, it is there twice: consumers
//! see both, and can tell by the id. A send that ends in an error of kind
//! [`Timeout`](ErrorKind::Timeout) may be stored, too. With
//! [`retries`](ProducerConfig::retries) = 0 every message is stored at most once.

mod builder;
mod config;
mod error;
mod fault;
mod hook;
mod outgoing;
mod producer;
mod request;
mod selector;
mod send;
mod trace;
mod transaction;

pub use builder::ProducerBuilder;
pub use config::ProducerConfig;
pub use error::{FailedSend, MessageError, SendError, StartError};
pub use hook::{SendAttempt, SendHook};
pub use producer::Producer;
pub use request::{NoCluster, RequestError, reply_to};
pub use rmq_client_core::{
    AccessChannel, ClientConfig, ClientError, ClientInstance, ClientTls, ErrorKind, SendReceipt,
    SendStatus,
};
pub use rmq_message::{CompactString, Message, MessageQueue, MessageView, QueueOffset};
pub use selector::{ByHash, QueueSelector};
pub use transaction::{
    OpenTransaction, TransactionListener, TransactionProducer, TransactionReceipt, Verdict,
};
