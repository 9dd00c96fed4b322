//! What users implement: listeners, what they are told, and what they answer.

use std::fmt::Display;
use std::sync::Arc;

use async_trait::async_trait;
use rmq_message::{MessageQueue, MessageView, Timestamp};
use tokio_util::sync::CancellationToken;

pub use crate::process_queue::Messages;

/// What a listener is told beside the messages. Cheap to clone.
#[doc(alias = "ConsumeConcurrentlyContext")]
#[doc(alias = "ConsumeOrderlyContext")]
#[derive(Clone, Debug)]
pub struct ConsumeContext {
    pub(crate) group: Arc<str>,
    pub(crate) queue: Arc<MessageQueue>,
    pub(crate) revoked: Arc<CancellationToken>,
    attempt: u32,
    born: Timestamp,
}

impl ConsumeContext {
    pub(crate) fn new(
        group: Arc<str>,
        queue: Arc<MessageQueue>,
        revoked: Arc<CancellationToken>,
        messages: &Messages,
    ) -> Self {
        let first = messages.first();
        let failed = first.map_or(0, |message| message.reconsume_times);
        let attempt = u32::try_from(failed).unwrap_or(0).saturating_add(1);
        let born = first.map_or(Timestamp(0), |message| message.born_timestamp);
        Self { group, queue, revoked, attempt, born }
    }

    /// Which delivery of the first message this is, from 1. After the last one, by default the
    /// seventeenth, it lies in the dead-letter topic.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the first message was made, by its producer's clock.
    pub fn born(&self) -> Timestamp {
        self.born
    }

    /// The consumer's group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The queue that holds the messages; for retried ones a queue of the retry topic, although the
    /// messages name the topic they were sent to.
    pub fn queue(&self) -> &MessageQueue {
        &self.queue
    }

    /// Ready when the queue goes to another member: what the listener answers later than a moment
    /// after that does not count, and the messages are delivered to that member. Cancel-safe.
    pub async fn revoked(&self) {
        self.revoked.cancelled().await;
    }

    /// Whether the queue goes to another member.
    pub fn is_revoked(&self) -> bool {
        self.revoked.is_cancelled()
    }
}

/// What becomes of the messages of one call.
///
/// Listeners may return anything that turns into it: `()` is success; `Result` is success, or
/// [`ConsumeOutcome::later`] with the error logged.
#[doc(alias = "ConsumeConcurrentlyStatus")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumeOutcome {
    /// All are done.
    Success,
    /// Those up to and including this index are done, the others come again later.
    #[doc(alias = "ackIndex")]
    SuccessUpTo(usize),
    /// All come again later.
    #[doc(alias = "RECONSUME_LATER")]
    RetryLater {
        /// Delay level of the broker; 0 lets the broker choose a longer one with each attempt, −1
        /// sends the messages to the dead-letter topic.
        delay_level: i32,
    },
}

impl ConsumeOutcome {
    /// All come again after a delay that the broker chooses.
    pub fn later() -> Self {
        Self::RetryLater { delay_level: 0 }
    }

    /// All go to the dead-letter topic.
    pub fn dead_letter() -> Self {
        Self::RetryLater { delay_level: -1 }
    }

    /// How many of `count` messages, from the first, are done.
    pub(crate) fn done_of(self, count: usize) -> usize {
        match self {
            Self::Success => count,
            Self::SuccessUpTo(index) => index.saturating_add(1).min(count),
            Self::RetryLater { .. } => 0,
        }
    }

    /// Delay level of those that are not done.
    pub(crate) fn delay_level(self) -> i32 {
        match self {
            Self::RetryLater { delay_level } => delay_level,
            Self::Success | Self::SuccessUpTo(_) => 0,
        }
    }
}

impl From<()> for ConsumeOutcome {
    fn from((): ()) -> Self {
        Self::Success
    }
}

impl<T: Into<ConsumeOutcome>, E: Display> From<Result<T, E>> for ConsumeOutcome {
    fn from(result: Result<T, E>) -> Self {
        result.map_or_else(
            |error| {
                tracing::warn!(%error, "listener failed; its messages come again later, or are dead letters after the last attempt");
                Self::later()
            },
            Into::into,
        )
    }
}

/// Takes messages as they come, many calls at once. A panic counts as [`ConsumeOutcome::later`].
///
/// Calls run on the consumer's tasks: work that blocks a thread belongs on threads of its own.
/// Closures that take [`Messages`] and [`ConsumeContext`] and return a future are listeners too.
#[doc(alias = "MessageListenerConcurrently")]
#[async_trait]
pub trait MessageListener: Send + Sync + 'static {
    /// Handles the messages of one call, between one and `consume_message_batch_max_size`.
    async fn consume(&self, messages: &Messages, context: &ConsumeContext) -> ConsumeOutcome;
}

#[async_trait]
impl<F, R> MessageListener for F
where
    F: Fn(Messages, ConsumeContext) -> R + Send + Sync + 'static,
    R: Future<Output: Into<ConsumeOutcome>> + Send,
{
    async fn consume(&self, messages: &Messages, context: &ConsumeContext) -> ConsumeOutcome {
        self(messages.clone(), context.clone()).await.into()
    }
}

/// A listener that is asked about each message for itself, see
/// [`PushConsumerBuilder::each`](crate::PushConsumerBuilder::each).
pub(crate) struct Each<F>(pub(crate) F);

#[async_trait]
impl<F, R> MessageListener for Each<F>
where
    F: Fn(MessageView, ConsumeContext) -> R + Send + Sync + 'static,
    R: Future<Output: Into<ConsumeOutcome>> + Send,
{
    async fn consume(&self, messages: &Messages, context: &ConsumeContext) -> ConsumeOutcome {
        for (index, message) in messages.iter().enumerate() {
            let outcome = (self.0)(message.clone(), context.clone()).await.into();
            match (outcome, index.checked_sub(1)) {
                (ConsumeOutcome::Success | ConsumeOutcome::SuccessUpTo(_), _) => {}
                (failed, None) => return failed,
                (_, Some(last)) => return ConsumeOutcome::SuccessUpTo(last),
            }
        }
        ConsumeOutcome::Success
    }
}

/// What becomes of the messages of one call of an ordered listener.
///
/// Most listeners know success and suspension only. One that gathers several calls into a
/// transaction of its own answers [`OrderlyOutcome::Defer`] until it commits with
/// [`OrderlyOutcome::Success`] or gives up with [`OrderlyOutcome::Rollback`]. Deferred messages count
/// as held: it must commit before `pullThresholdForQueue` of them.
///
/// `()` is success; `Result` is success, or [`OrderlyOutcome::suspend`] with the error logged.
#[doc(alias = "ConsumeOrderlyStatus")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderlyOutcome {
    /// All are done, and with them all that was deferred.
    #[doc(alias = "COMMIT")]
    Success,
    /// All are handled, but done only with a later call that says so. Until then they come again
    /// when the queue goes to another member.
    #[doc(alias = "setAutoCommit")]
    Defer,
    /// These and all that was deferred come again after a pause in which the queue stands still;
    /// it does not count as a failed attempt.
    #[doc(alias = "ROLLBACK")]
    Rollback {
        /// Milliseconds, brought into 10..=30000; `None` takes the setting.
        millis: Option<u64>,
    },
    /// All come again after a pause in which the queue stands still.
    #[doc(alias = "SUSPEND_CURRENT_QUEUE_A_MOMENT")]
    Suspend {
        /// Milliseconds, brought into 10..=30000; `None` takes the setting.
        millis: Option<u64>,
    },
}

impl OrderlyOutcome {
    /// All come again after the pause of the settings.
    pub fn suspend() -> Self {
        Self::Suspend { millis: None }
    }

    /// Everything since the last success comes again after the pause of the settings.
    pub fn rollback() -> Self {
        Self::Rollback { millis: None }
    }

    pub(crate) fn is_success(self) -> bool {
        matches!(self, Self::Success | Self::Defer)
    }
}

impl From<()> for OrderlyOutcome {
    fn from((): ()) -> Self {
        Self::Success
    }
}

impl<T: Into<OrderlyOutcome>, E: Display> From<Result<T, E>> for OrderlyOutcome {
    fn from(result: Result<T, E>) -> Self {
        result.map_or_else(
            |error| {
                tracing::warn!(%error, "ordered listener failed, its queue pauses");
                Self::suspend()
            },
            Into::into,
        )
    }
}

/// Takes the messages of a queue one call after the other, in order. A panic counts as
/// [`OrderlyOutcome::suspend`]. Closures are listeners too, see [`MessageListener`].
#[doc(alias = "MessageListenerOrderly")]
#[async_trait]
pub trait OrderlyListener: Send + Sync + 'static {
    /// Handles the next messages of a queue.
    async fn consume(&self, messages: &Messages, context: &ConsumeContext) -> OrderlyOutcome;
}

#[async_trait]
impl<F, R> OrderlyListener for F
where
    F: Fn(Messages, ConsumeContext) -> R + Send + Sync + 'static,
    R: Future<Output: Into<OrderlyOutcome>> + Send,
{
    async fn consume(&self, messages: &Messages, context: &ConsumeContext) -> OrderlyOutcome {
        self(messages.clone(), context.clone()).await.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_turn_into_outcomes() {
        assert_eq!(ConsumeOutcome::from(()), ConsumeOutcome::Success);
        assert_eq!(ConsumeOutcome::from(Ok::<_, String>(())), ConsumeOutcome::Success);
        let failed: Result<(), _> = Err("no");
        assert_eq!(ConsumeOutcome::from(failed), ConsumeOutcome::RetryLater { delay_level: 0 });
        assert_eq!(OrderlyOutcome::from(failed), OrderlyOutcome::Suspend { millis: None });
    }

    #[test]
    fn the_ack_index_is_the_last_done() {
        for (outcome, count, done) in [
            (ConsumeOutcome::Success, 3, 3),
            (ConsumeOutcome::SuccessUpTo(0), 3, 1),
            (ConsumeOutcome::SuccessUpTo(2), 3, 3),
            (ConsumeOutcome::SuccessUpTo(usize::MAX), 3, 3),
            (ConsumeOutcome::later(), 3, 0),
        ] {
            assert_eq!(outcome.done_of(count), done);
        }
    }
}
