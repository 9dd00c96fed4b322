//! Why a consumer does not start or cannot change what it subscribes.

use rmq_client_core::{ClientError, ErrorKind};
use rmq_message::CompactString;
use rmq_message::name::NameError;
use rmq_message::subscription::SubscriptionError;

use crate::settings::SettingsError;

/// See the module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// A setting cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The name of a topic is not allowed.
    #[error(transparent)]
    Topic(#[from] NameError),
    /// An expression cannot be used.
    #[error("subscription exception: topic {topic}: {source}")]
    Subscription {
        /// Topic.
        topic: CompactString,
        /// What is wrong.
        source: SubscriptionError,
    },
    /// Name servers or brokers could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl PushError {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Settings(_) | Self::Topic(_) | Self::Subscription { .. } => ErrorKind::Config,
            Self::Client(error) => error.kind(),
        }
    }
}
