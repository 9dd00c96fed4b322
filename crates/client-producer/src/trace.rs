//! What the producer has sent, for those who look for messages: records in Java's text form, sent to
//! the trace topic a few at a time. Losing one loses no message, so a full queue drops them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rmq_client_core::trace::Destination;
use rmq_client_core::{ClientError, ClientInstance, Namespace, SendReceipt, SendStatus};
use rmq_message::{CompactString, Message, Timestamp, id, properties, property};
use rmq_runtime::{OnFailure, Tasks};
use tokio::sync::mpsc;

use crate::builder::wall;
use crate::config::ProducerConfig;
use crate::producer::{Producer, Shared};
use crate::transaction::Verdict;

/// Records that wait.
const QUEUE: usize = 2048;
/// Records that go together at most.
const BATCH_MAX: usize = 20;
/// Longest wait of a record.
const FLUSH: Duration = Duration::from_secs(5);
/// Bytes of one trace message.
const BODY_MAX: usize = 128_000;
/// Time that the last ones get at the end.
const GRACE: Duration = Duration::from_secs(5);
const FIELD: char = '\u{1}';
const END: char = '\u{2}';

/// Takes records and ships them.
#[doc(alias = "AsyncTraceDispatcher")]
#[derive(Debug)]
pub(crate) struct Traces {
    destination: Destination,
    namespace: Namespace,
    records: mpsc::Sender<Record>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Record {
    topic: CompactString,
    /// The topic of traces.
    to: CompactString,
    keys: String,
    text: String,
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
    /// Starts to ship for a group, if the client's settings want it.
    pub(crate) fn start(
        group: &str,
        instance: &Arc<ClientInstance>,
    ) -> Result<Option<Self>, ClientError> {
        if !instance.config().enable_trace {
            return Ok(None);
        }
        let group = format!("_INNER_TRACE_PRODUCER-{group}-PRODUCE-1");
        instance.join_producer(&group)?;
        let inner = ProducerConfig {
            group,
            timeout: Duration::from_secs(5),
            body_len_max: BODY_MAX * 2,
            ..ProducerConfig::default()
        };
        let (records, waiting) = mpsc::channel(QUEUE);
        let tasks = instance.tasks().child("trace");
        let producer = Producer::new(Shared::new(inner, Arc::clone(instance), false, None));
        let destination = Destination::of(instance.config());
        let namespace = instance.namespace().clone();
        tasks.spawn("ship", OnFailure::Log, ship(producer, waiting, tasks.clone()));
        Ok(Some(Self { destination, namespace, records, tasks }))
    }

    /// Notes a send.
    pub(crate) fn sent(&self, group: &str, topic: &str, sent: &Sent<'_>) {
        let wanted = sent.receipt.trace_on && sent.property(property::TRACE_ON) != Some("false");
        if wanted && !self.destination.holds(topic) {
            let text = sent.record(&self.namespace.strip(group), &self.namespace.strip(topic));
            self.note(topic, sent.receipt, sent.property(property::KEYS), text);
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
        let text = record(&[
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
        traces.note(&message.topic, receipt, message.properties.get(property::KEYS), text);
    }

    fn note(&self, topic: &str, receipt: &SendReceipt, keys: Option<&str>, text: String) {
        let keys = keys.map_or_else(|| receipt.id.clone(), |keys| format!("{} {keys}", receipt.id));
        let to = self.destination.topic(&receipt.region);
        let record = Record { topic: topic.into(), to, keys, text };
        if self.records.try_send(record).is_err() {
            tracing::debug!("a trace record is dropped: too many wait");
        }
    }

    /// Ships what waits, and ends.
    pub(crate) async fn close(&self, shared: &Shared) {
        self.tasks.stop(shared.world().clock.as_ref(), GRACE).await;
    }
}

impl Sent<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        properties::find(self.properties.as_bytes(), name)
    }

    /// What is told of it; names of group and topic are those that users know.
    fn record(&self, group: &str, topic: &str) -> String {
        let is_delayed = [property::DELAY, property::TIMER_DELAY_MS, property::TIMER_DELIVER_MS]
            .iter()
            .any(|name| self.property(name).is_some());
        let kind = match self.property(property::TRANSACTION_PREPARED) {
            Some("true") => 1,
            _ if is_delayed => 3,
            _ => 0,
        };
        let receipt = self.receipt;
        record(&[
            "Pub",
            &self.began.to_string(),
            &receipt.region,
            group,
            topic,
            &receipt.id,
            self.property(property::TAGS).unwrap_or("null"),
            self.property(property::KEYS).unwrap_or("null"),
            &store_host(receipt),
            &self.body_len.to_string(),
            &self.cost.as_millis().to_string(),
            &kind.to_string(),
            &receipt.offset_id,
            if receipt.status == SendStatus::Ok { "true" } else { "false" },
        ])
    }
}

/// Fields one behind the other.
fn record(fields: &[&str]) -> String {
    let mut text = fields.join(FIELD.encode_utf8(&mut [0; 4]));
    text.push(END);
    text
}

fn store_host(receipt: &SendReceipt) -> String {
    let first = receipt.offset_id.split(',').next().unwrap_or_default();
    id::parse_offset_id(first).map_or_else(|| "null".to_owned(), |(host, _)| host.to_string())
}

async fn ship(producer: Producer, mut waiting: mpsc::Receiver<Record>, tasks: Tasks) {
    let stop = tasks.stop_token();
    let clock = Arc::clone(&producer.shared.world().clock);
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut is_last = false;
    while !is_last {
        let begun = clock.monotonic();
        while batch.len() < BATCH_MAX {
            let record = tokio::select! {
                biased;
                record = waiting.recv() => record,
                () = stop.requested() => { is_last = true; None }
                () = clock.sleep_until(begun + FLUSH) => None,
            };
            match record {
                Some(record) => batch.push(record),
                None => break,
            }
        }
        for message in messages(&mut batch) {
            if let Err(error) = producer.send(message).await {
                tracing::debug!(%error, "trace records are lost");
            }
        }
        if waiting.is_closed() && waiting.is_empty() {
            return;
        }
    }
}

/// Trace messages of records: one for each topic and topic of traces, or more when they get too long.
fn messages(batch: &mut Vec<Record>) -> Vec<Message> {
    let mut by_topic = BTreeMap::<[CompactString; 2], Vec<Record>>::new();
    for record in batch.drain(..) {
        by_topic.entry([record.topic.clone(), record.to.clone()]).or_default().push(record);
    }
    let mut messages = Vec::new();
    for ([_, to], records) in by_topic {
        let (mut text, mut keys) = (String::new(), Vec::new());
        for record in records {
            if !text.is_empty() && text.len() + record.text.len() >= BODY_MAX {
                let full = Message::new(&to, std::mem::take(&mut text));
                messages.push(full.with_keys(keys.drain(..)));
            }
            text.push_str(&record.text);
            keys.push(record.keys);
        }
        messages.push(Message::new(&to, text).with_keys(keys));
    }
    messages
}

#[cfg(test)]
mod tests {
    use rmq_client_core::ClientConfig;
    use rmq_message::{MessageQueue, QueueOffset};

    use super::*;

    fn record_of(topic: &str, keys: &str, len: usize) -> Record {
        let to = CompactString::from(if keys == "far" { "TRACE_far" } else { "TRACE" });
        Record { topic: topic.into(), to, keys: keys.into(), text: "x".repeat(len) }
    }

    #[test]
    fn a_record_is_laid_out_as_java_does() {
        assert_eq!(record(&["Pub", "1", "r"]), "Pub\u{1}1\u{1}r\u{2}");
    }

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
        let (destination, tasks) = (Destination::Region, Tasks::new("test"));
        for (namespace, named) in [(namespace, "g|Orders"), (kept, "ns%g|ns%Orders")] {
            let (records, mut waiting) = mpsc::channel(1);
            let (destination, tasks) = (destination.clone(), tasks.clone());
            let traces = Traces { destination, namespace, records, tasks };
            traces.sent("ns%g", "ns%Orders", &sent);
            let record = waiting.try_recv().unwrap();
            assert_eq!(
                record.text.replace(FIELD, "|").replace(END, ""),
                format!(
                    "Pub|7|DefaultRegion|{named}|ID|null|k|127.0.0.1:10911|3|2|0|{}|true",
                    receipt.offset_id
                )
            );
            assert_eq!(record.to, "rmq_sys_TRACE_DATA_DefaultRegion");
        }
    }

    fn config(namespace: &str) -> ClientConfig {
        ClientConfig { namespace: Some(namespace.to_owned()), ..ClientConfig::default() }
    }

    #[test]
    fn records_of_a_topic_go_together_until_a_message_is_full() {
        let mut batch = vec![
            record_of("A", "a1 k", 10),
            record_of("B", "b", 10),
            record_of("A", "a2", 20),
            record_of("A", "a3", BODY_MAX),
            record_of("A", "far", 5),
        ];
        let messages = messages(&mut batch);
        let seen: Vec<_> = messages
            .iter()
            .map(|m| (m.keys().collect::<Vec<_>>().join(","), m.body.len()))
            .collect();
        assert_eq!(messages[2].topic, "TRACE_far");
        let wanted = [("a1,k,a2", 30), ("a3", BODY_MAX), ("far", 5), ("b", 10)];
        assert_eq!(seen, wanted.map(|(keys, len)| (keys.to_owned(), len)));
    }
}
