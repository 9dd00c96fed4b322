//! What can go wrong, and what the application can do about it.

use rmq_client_core::{ClientError, ErrorKind};
use rmq_message::name::NameError;
use rmq_message::subscription::SubscriptionError;
use rmq_message::{MessageQueue, QueueOffset};
use thiserror::Error;

/// Why a consumer does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A name is not allowed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An expression makes no sense.
    #[error(transparent)]
    Subscription(#[from] SubscriptionError),
    /// A setting makes no sense.
    #[error("{setting} cannot be used: {reason}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The client did not start, or has a consumer of that group already.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Why something was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PullError {
    /// The consumer is shut down.
    #[error("The consumer not running, please start it first.")]
    Closed,
    /// Queues were both subscribed and assigned.
    #[error("Subscribe and assign are mutually exclusive.")]
    Exclusive,
    /// The queue is not held, maybe because it went to another member of the group.
    #[error(
        "The message queue is not in assigned list, may be rebalancing, message queue: {queue}"
    )]
    NotAssigned {
        /// The queue.
        queue: MessageQueue,
    },
    /// The queue has no such position.
    #[error("Seek offset illegal, seek offset = {offset}, min offset = {min}, max offset = {max}")]
    OutOfRange {
        /// The position.
        offset: QueueOffset,
        /// The queue's first.
        min: QueueOffset,
        /// The queue's end.
        max: QueueOffset,
    },
    /// The brokers or name servers could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl PullError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Closed => ErrorKind::Closed,
            Self::Exclusive => ErrorKind::Config,
            Self::NotAssigned { .. } | Self::OutOfRange { .. } => ErrorKind::Rejected,
            Self::Client(error) => error.kind(),
        }
    }
}
