//! What users may add to every try of a send.

use rmq_client_core::{ClientError, SendReceipt};
use rmq_message::MessageQueue;

/// Told of every try: before it is made, and how it ended. A hook must not block; its panics end
/// the send.
#[doc(alias = "SendMessageHook")]
pub trait SendHook: Send + Sync + 'static {
    /// A try is about to be made.
    fn before(&self, _attempt: &SendAttempt<'_>) {}

    /// A try has ended.
    fn after(&self, _attempt: &SendAttempt<'_>, _outcome: Result<&SendReceipt, &ClientError>) {}
}

/// One try of a send.
#[doc(alias = "SendMessageContext")]
#[derive(Clone, Copy, Debug)]
pub struct SendAttempt<'a> {
    /// Group of the producer.
    pub group: &'a str,
    /// Where it goes.
    pub queue: &'a MessageQueue,
    /// Unique id of the message; of a batch, all joined by commas.
    pub id: &'a str,
    /// Properties as text.
    pub properties: &'a str,
    /// Bytes of the body as it is sent.
    pub body_len: usize,
}
