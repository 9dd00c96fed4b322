//! The end of a transaction, and taking back a message that waits for its time.

use std::time::Duration;

use rmq_message::{CompactString, MessageQueue};
use rmq_remoting::invoker::Endpoint;
use rmq_remoting::protocol::send::RecallMessage;
use rmq_remoting::protocol::transaction::EndTransaction;
use rmq_remoting::typed::TypedRequest;

use super::BrokerClient;
use crate::ClientError;

/// Time limit of connecting for an end.
const END_TIMEOUT: Duration = Duration::from_secs(3);

impl BrokerClient {
    /// Tells the broker that holds the half message how its transaction has ended. Nobody says
    /// whether it has heard; if not, it asks.
    #[doc(alias = "endTransactionOneway")]
    pub async fn end_transaction(
        &self,
        queue: &MessageQueue,
        end: &EndTransaction,
    ) -> Result<(), ClientError> {
        let to = self.master(&queue.broker_name, &queue.topic).await?;
        self.wire.tell(&to, end.to_command(), END_TIMEOUT).await
    }

    /// The same, to a broker that has asked.
    pub async fn answer_check(
        &self,
        to: &Endpoint,
        end: &EndTransaction,
    ) -> Result<(), ClientError> {
        self.wire.tell(to, end.to_command(), END_TIMEOUT).await
    }

    /// Takes a timed message back before it is delivered; the handle is that of its receipt, which
    /// names the broker. Its unique id.
    #[doc(alias = "recallMessage")]
    pub async fn recall(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        timeout: Duration,
    ) -> Result<CompactString, ClientError> {
        let broker_name = broker_of(handle).ok_or_else(|| ClientError::Config {
            setting: "recallHandle",
            reason: "it is not the handle of a receipt".to_owned(),
        })?;
        let request = RecallMessage {
            producer_group: Some(group.into()),
            topic: topic.into(),
            recall_handle: handle.into(),
        };
        let to = self.master(&broker_name, topic).await?;
        Ok(self.wire.ask_broker(&to, &request, Some(&broker_name), timeout).await?.msg_id)
    }
}

/// The broker that a handle names: URL-safe Base64 of `v1 topic broker time id`.
fn broker_of(handle: &str) -> Option<String> {
    let text = String::from_utf8(from_base64(handle)?).ok()?;
    let mut words = text.split(' ');
    let (version, _topic, broker) = (words.next()?, words.next()?, words.next()?);
    (version == "v1" && words.count() >= 2).then(|| broker.to_owned())
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut held, mut bytes) = (0_u32, 0_u8, Vec::with_capacity(text.len()));
    for letter in text.trim_end_matches('=').bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xFF).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_names_its_broker() {
        // v1 T broker-a 1700000000001 AC11
        let handle = "djEgVCBicm9rZXItYSAxNzAwMDAwMDAwMDAxIEFDMTE=";
        assert_eq!(broker_of(handle).as_deref(), Some("broker-a"));
        for wrong in ["", "djEgVA==", "no handle", "djIgVCBiIDEgMg=="] {
            assert_eq!(broker_of(wrong), None, "{wrong}");
        }
    }
}
