//! What can go wrong for a producer, and what its user can do about it.

use std::time::Duration;

use rmq_client_core::{ClientError, ErrorKind};
use rmq_message::CompactString;
use rmq_message::name::NameError;
use thiserror::Error;

/// Why a producer does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The group's name is not allowed.
    #[error(transparent)]
    Group(#[from] NameError),
    /// The group was not set.
    #[error("producerGroup can not equal DEFAULT_PRODUCER, please specify another one.")]
    DefaultGroup,
    /// A setting makes no sense.
    #[error("{setting} cannot be used: {reason}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// The shared client did not start, or has a producer of that group already.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl StartError {
    /// What to do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Client(error) => error.kind(),
            Self::Group(_) | Self::DefaultGroup | Self::Setting { .. } => ErrorKind::Config,
        }
    }
}

/// Why a message cannot be sent as it is. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The topic's name is not allowed.
    #[error(transparent)]
    Topic(#[from] NameError),
    /// A topic of the system.
    #[error("Sending message to topic[{topic}] is forbidden.")]
    Forbidden {
        /// The topic.
        topic: CompactString,
    },
    /// No body.
    #[error("the message body length is zero")]
    EmptyBody,
    /// The body, or the batch as a whole, is too long.
    #[error("the message body size over max value, MAX: {max}")]
    TooLong {
        /// The bound, in bytes.
        max: usize,
    },
    /// A property contains one of the two characters that separate properties.
    #[error("property {name} contains a separator (U+0001 or U+0002)")]
    Separator {
        /// The property.
        name: CompactString,
    },
    /// A queue of `INNER_MULTI_DISPATCH` looks like a path.
    #[error("INNER_MULTI_DISPATCH {queues} can not contains / character")]
    DispatchPath {
        /// The property.
        queues: String,
    },
    /// A delayed message in a transaction.
    #[error("a message of a transaction cannot be delayed")]
    DelayInTransaction,
    /// A batch of nothing.
    #[error("the batch is empty")]
    EmptyBatch,
    /// A delayed message in a batch.
    #[error("a batch cannot hold delayed messages")]
    DelayInBatch,
    /// A message to a retry topic in a batch.
    #[error("a batch cannot go to a retry topic")]
    RetryInBatch,
    /// Several topics in a batch.
    #[error("all messages of a batch must have one topic")]
    TopicsInBatch,
    /// A batch whose messages differ in whether the sender waits for flush and replicas.
    #[error("all messages of a batch must have the same WAIT property")]
    WaitInBatch,
    /// A message of a batch whose lengths do not fit their fields.
    #[error("a message of the batch is too long, or has properties of more than 32767 bytes")]
    PartTooLong,
}

/// Why a send has no receipt.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message cannot be sent as it is; nothing was sent.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// No queue of the topic is known; nothing was sent.
    #[error(transparent)]
    Route(ClientError),
    /// The selector chose no queue; nothing was sent.
    #[error("select message queue return null.")]
    NoQueue,
    /// Too many sends are under way, and none ended in time; nothing was sent.
    #[error("{limit} sends are under way and none ended within {waited:?}")]
    Busy {
        /// How many may be under way at once.
        limit: u32,
        /// How long this one waited.
        waited: Duration,
    },
    /// The time was up before the first try; nothing was sent.
    #[error("sendDefaultImpl call timeout; nothing was sent in {waited:?}")]
    Late {
        /// How long it took until then.
        waited: Duration,
    },
    /// No broker took the message, as far as is known.
    #[error(transparent)]
    Failed(Box<FailedSend>),
    /// The producer is shut down; nothing was sent.
    #[error("The producer service state not OK, SHUTDOWN_ALREADY")]
    Closed,
}

/// A send whose tries have all failed.
#[derive(Debug, Error)]
#[error("Send [{tries}] times, still failed, cost [{}]ms, Topic: {topic}, BrokersSent: [{}]; {source}", cost.as_millis(), brokers.join(", "))]
pub struct FailedSend {
    /// How often it was tried.
    pub tries: usize,
    /// How long it took.
    pub cost: Duration,
    /// Topic.
    pub topic: CompactString,
    /// Brokers in the order in which they were tried.
    pub brokers: Vec<CompactString>,
    /// Whether the message may be stored by one of the tries.
    pub may_be_stored: bool,
    /// What the last try ended with.
    pub source: ClientError,
}

impl SendError {
    /// What to do about it. A timeout means that the outcome is unknown: the message may be stored,
    /// by the last try or by one before it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Message(_) | Self::NoQueue => ErrorKind::Rejected,
            Self::Route(source) => source.kind(),
            Self::Busy { .. } | Self::Late { .. } => ErrorKind::Retry,
            Self::Failed(failed) if failed.may_be_stored => ErrorKind::Timeout,
            Self::Failed(failed) => failed.source.kind(),
            Self::Closed => ErrorKind::Closed,
        }
    }
}
