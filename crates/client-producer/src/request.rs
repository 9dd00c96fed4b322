//! Request and reply: a message whose sender waits for what a consumer answers.
//!
//! The reply travels through the broker as a message to `<cluster>_REPLY_TOPIC` and is brought to
//! the asking client over its own connection. It is lost when that is gone.

use std::time::Duration;

use rmq_client_core::AwaitedReply;
use rmq_message::{CompactString, Message, MessageView, Timestamp, name, property};
use rmq_runtime::ClockExt;
use thiserror::Error;

use crate::error::SendError;
use crate::producer::{Producer, Shared};
use crate::selector::QueueSelector;

/// What replies say they are.
const REPLY: &str = "reply";

/// Why there is no reply.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was not sent, or perhaps not.
    #[error("send request message to <{topic}> fail: {source}")]
    Send {
        /// Its topic.
        topic: CompactString,
        /// Why.
        source: SendError,
    },
    /// The request was sent, and nobody answered in time.
    #[error("send request message to <{topic}> OK, but wait reply message timeout, {} ms.", waited.as_millis())]
    NoReply {
        /// Its topic.
        topic: CompactString,
        /// How long was waited.
        waited: Duration,
    },
}

/// The message cannot be answered: it names no cluster, so it did not come from a broker.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("create reply message fail, requestMessage error, property[CLUSTER] is null.")]
pub struct NoCluster;

/// The reply to a message that was sent by [`Producer::request`], to be sent by any producer.
///
/// # Errors
/// [`NoCluster`].
#[doc(alias = "MessageUtil.createReplyMessage")]
pub fn reply_to(
    request: &MessageView,
    body: impl Into<bytes::Bytes>,
) -> Result<Message, NoCluster> {
    let cluster = request.properties.get(property::CLUSTER).ok_or(NoCluster)?;
    let mut reply = Message::new(format!("{cluster}_{}", name::REPLY_SUFFIX), body);
    reply.properties.set(property::MSG_TYPE, REPLY);
    for copied in [property::CORRELATION_ID, property::REPLY_TO_CLIENT, property::TTL] {
        if let Some(value) = request.properties.get(copied) {
            reply.properties.set(copied, value);
        }
    }
    Ok(reply)
}

/// Whether a message is a reply, which brokers take by another request.
pub(crate) fn is_reply(message: &Message) -> bool {
    message.properties.get(property::MSG_TYPE) == Some(REPLY)
}

impl Producer {
    /// Sends a message and waits for the reply of whoever consumes it, both within `timeout`.
    ///
    /// # Errors
    /// [`RequestError`]. A request without a reply may have been consumed all the same.
    pub async fn request(
        &self,
        message: Message,
        timeout: Duration,
    ) -> Result<MessageView, RequestError> {
        self.exchange(message, timeout, None).await
    }

    /// As [`Producer::request`], to the queue that a selector chooses.
    ///
    /// # Errors
    /// As [`Producer::request`].
    pub async fn request_with(
        &self,
        selector: &dyn QueueSelector,
        message: Message,
        timeout: Duration,
    ) -> Result<MessageView, RequestError> {
        self.exchange(message, timeout, Some(selector)).await
    }

    async fn exchange(
        &self,
        mut message: Message,
        timeout: Duration,
        selector: Option<&dyn QueueSelector>,
    ) -> Result<MessageView, RequestError> {
        let shared = &*self.shared;
        let topic = message.topic.clone();
        let mut awaited = shared.ask(&mut message, timeout);
        let clock = &shared.world().clock;
        let exchange = async {
            let failed = |source| RequestError::Send { topic: topic.clone(), source };
            shared.greet_brokers_of(&topic).await.map_err(failed)?;
            let sent = match selector {
                Some(selector) => self.send_with(selector, message).await,
                None => self.send(message).await,
            };
            sent.map_err(failed)?;
            Ok(awaited.arrives().await)
        };
        match clock.timeout(timeout, exchange).await {
            Ok(Ok(Some(mut reply))) => {
                let now: Timestamp = clock.wall().into();
                reply.properties.set(property::ARRIVE_TIME, now.to_string());
                Ok(reply)
            }
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) | Err(_) => Err(RequestError::NoReply { topic, waited: timeout }),
        }
    }
}

impl Shared {
    /// Makes a request of the message.
    fn ask(&self, message: &mut Message, timeout: Duration) -> AwaitedReply {
        let id = correlation_id(&*self.world().entropy);
        message.properties.set(property::CORRELATION_ID, &id);
        message.properties.set(property::REPLY_TO_CLIENT, self.instance.client_id());
        message.properties.set(property::TTL, timeout.as_millis().to_string());
        self.instance.await_reply(&id)
    }

    /// Brokers find the way back only to clients that they have heard of.
    async fn greet_brokers_of(&self, topic: &str) -> Result<(), SendError> {
        let wrapped = self.instance.namespace().wrap(topic);
        if self.asked.lock().contains(&wrapped) {
            return Ok(());
        }
        self.route(&wrapped).await?;
        if self.instance.heartbeat().await {
            self.asked.lock().insert(wrapped);
        }
        Ok(())
    }
}

/// A random UUID.
fn correlation_id(entropy: &dyn rmq_runtime::Entropy) -> String {
    let (high, low) = (entropy.next_u64(), entropy.next_u64());
    let (a, b, c) = (high >> 32, (high >> 16) & 0xFFFF, (high & 0x0FFF) | 0x4000);
    let (d, e) = (((low >> 48) & 0x3FFF) | 0x8000, low & 0xFFFF_FFFF_FFFF);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_ids_are_uuids() {
        let world = rmq_runtime::World::system();
        let (one, two) = (correlation_id(&*world.entropy), correlation_id(&*world.entropy));
        assert_ne!(one, two);
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'4');
    }
}
