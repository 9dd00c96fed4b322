//! What the producer has sent, for those who look for messages, in Java's text form.
//!
//! ```text
//! Pub             time region group topic id tags keys host length ms kind offset-id success
//! EndTransaction  time region group topic id tags keys host kind transaction verdict asked
//! ```

use std::sync::Arc;
use std::time::Duration;

use rmq_client_core::trace::{Side, Trace, Tracer, record};
use rmq_client_core::{ClientInstance, Namespace, SendReceipt, SendStatus};
use rmq_message::{Message, Timestamp, id, properties, property};
use rmq_runtime::{ClockExt, World};

use crate::builder::wall;
use crate::producer::Shared;
use crate::transaction::Verdict;

/// Time that the last ones get at the end.
const GRACE: Duration = Duration::from_secs(5);

/// See the module.
#[doc(alias = "SendMessageTraceHookImpl")]
#[derive(Debug)]
pub(crate) struct Traces {
    tracer: Tracer,
    namespace: Namespace,
}

/// A try that succeeded.
pub(crate) struct Sent<'a> {
    pub(crate) properties: &'a str,
    pub(crate) body_len: usize,
    pub(crate) began: Timestamp,
    pub(crate) cost: Duration,
    pub(crate) receipt: &'a SendReceipt,
}

impl Traces {
    /// For a group, if the client's settings want it.
    pub(crate) fn start(group: &str, instance: &Arc<ClientInstance>) -> Option<Self> {
        let tracer = Tracer::start(instance, group, Side::Produce)?;
        Some(Self { tracer, namespace: instance.namespace().clone() })
    }

    /// Notes a send.
    pub(crate) fn sent(&self, group: &str, topic: &str, sent: &Sent<'_>) {
        let wanted = sent.receipt.trace_on && sent.property(property::TRACE_ON) != Some("false");
        if wanted && !self.tracer.destination().holds(topic) {
            self.tracer.trace(sent.trace(&self.namespace, group, topic));
        }
    }

    /// Notes the end of a transaction.
    pub(crate) fn ended(
        shared: &Shared,
        message: &Message,
        receipt: &SendReceipt,
        verdict: Verdict,
    ) {
        let Some(traces) = shared.traces.as_ref().filter(|_| receipt.trace_on) else { return };
        let of = |name| message.properties.get(name).unwrap_or("null");
        let record = record(&[
            "EndTransaction",
            &wall(shared.world()).to_string(),
            &receipt.region,
            &traces.namespace.strip(&shared.config.group),
            &traces.namespace.strip(&message.topic),
            &receipt.id,
            of(property::TAGS),
            of(property::KEYS),
            &store_host(receipt),
            "2",
            receipt.transaction_id.as_deref().unwrap_or("null"),
            verdict.name(),
            "false",
        ]);
        traces.tracer.trace(trace(receipt, &record, message.properties.get(property::KEYS)));
    }

    /// Sends what waits.
    pub(crate) async fn close(&self, world: &World) {
        if world.clock.timeout(GRACE, self.tracer.flush()).await.is_err() {
            tracing::debug!("traces are dropped");
        }
    }
}

/// One record about the message of a receipt.
fn trace(receipt: &SendReceipt, record: &str, keys: Option<&str>) -> Trace {
    let mut trace = Trace { region: receipt.region.clone(), ..Trace::default() };
    trace.add(record, &receipt.id, keys);
    trace
}

impl Sent<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        properties::find(self.properties.as_bytes(), name)
    }

    /// What is told of it; names of group and topic are those that users know.
    fn trace(&self, namespace: &Namespace, group: &str, topic: &str) -> Trace {
        let is_delayed = [property::DELAY, property::TIMER_DELAY_MS, property::TIMER_DELIVER_MS]
            .iter()
            .any(|name| self.property(name).is_some());
        let kind = match self.property(property::TRANSACTION_PREPARED) {
            Some("true") => 1,
            _ if is_delayed => 3,
            _ => 0,
        };
        let receipt = self.receipt;
        let record = record(&[
            "Pub",
            &self.began.to_string(),
            &receipt.region,
            &namespace.strip(group),
            &namespace.strip(topic),
            &receipt.id,
            self.property(property::TAGS).unwrap_or("null"),
            self.property(property::KEYS).unwrap_or("null"),
            &store_host(receipt),
            &self.body_len.to_string(),
            &self.cost.as_millis().to_string(),
            &kind.to_string(),
            &receipt.offset_id,
            if receipt.status == SendStatus::Ok { "true" } else { "false" },
        ]);
        trace(receipt, &record, self.property(property::KEYS))
    }
}

fn store_host(receipt: &SendReceipt) -> String {
    let first = receipt.offset_id.split(',').next().unwrap_or_default();
    id::parse_offset_id(first).map_or_else(|| "null".to_owned(), |(host, _)| host.to_string())
}

#[cfg(test)]
mod tests {
    use rmq_client_core::ClientConfig;
    use rmq_message::{MessageQueue, QueueOffset};

    use super::*;

    #[test]
    fn names_are_told_as_users_know_them() {
        let (namespace, kept) = (Namespace::of(&config("ns")), Namespace::default());
        let receipt = SendReceipt {
            status: SendStatus::Ok,
            id: "ID".into(),
            offset_id: "7F00000100002A9F0000000000000000".into(),
            queue: MessageQueue::new("ns%Orders", "a", 0),
            queue_offset: QueueOffset(0),
            transaction_id: None,
            recall_handle: None,
            region: "DefaultRegion".into(),
            trace_on: true,
        };
        let sent = Sent {
            properties: "KEYS\u{1}k\u{2}",
            body_len: 3,
            began: Timestamp(7),
            cost: Duration::from_millis(2),
            receipt: &receipt,
        };
        for (namespace, named) in [(namespace, "g|Orders"), (kept, "ns%g|ns%Orders")] {
            let trace = sent.trace(&namespace, "ns%g", "ns%Orders");
            assert_eq!(
                trace.text.replace('\u{1}', "|").replace('\u{2}', ""),
                format!(
                    "Pub|7|DefaultRegion|{named}|ID|null|k|127.0.0.1:10911|3|2|0|{}|true",
                    receipt.offset_id
                )
            );
            assert_eq!(trace.region, "DefaultRegion");
            assert!(trace.keys.iter().eq(["ID", "k"]));
        }
    }

    fn config(namespace: &str) -> ClientConfig {
        ClientConfig { namespace: Some(namespace.to_owned()), ..ClientConfig::default() }
    }
}
