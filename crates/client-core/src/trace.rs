//! Traces of messages, as the tools of Apache RocketMQ read them: lines of fields in messages to
//! `RMQ_SYS_TRACE_TOPIC` (5.5.0, `TraceDataEncoder`). Those for a cloud go to a topic of their region,
//! and `SubAfter` ends there with an empty field instead of time and group.
//!
//! ```text
//! SubBefore  time region group request-id message-id retries keys
//! SubAfter   request-id message-id ms success keys code time group
//! ```
//!
//! Fields end with U+0001, lines with U+0002. A trace is worth less than the messages that it is
//! about: what does not fit into the queue, or cannot be sent, is dropped and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rmq_message::{CompactString, Message, MessageView, Timestamp, name, property};
use rmq_runtime::{ClockExt, OnFailure};
use tokio::sync::{mpsc, oneshot};

use crate::broker_client::SendCall;
use crate::{AccessChannel, ClientConfig, ClientError, ClientInstance};

/// Traces that wait to be sent.
const WAITING_MAX: usize = 2048;
/// Most traces of one message, and its most characters.
const TOGETHER_MAX: usize = 10;
const TEXT_MAX: usize = 128_000;
/// Longest wait of a trace for others to go with.
const WAIT: Duration = Duration::from_secs(5);
/// Queues of a topic of traces that is made by the first of them.
const NEW_TOPIC_QUEUES: u32 = 4;
/// Time limit of one message of traces.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

const FIELD_END: char = '\u{1}';
const LINE_END: char = '\u{2}';

/// How the topics of a cloud's traces begin; the region follows.
const REGION_TOPIC: &str = "rmq_sys_TRACE_DATA_";

/// Where traces go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// All to one topic.
    Topic(CompactString),
    /// Each to the topic of its region.
    Region,
}

impl Destination {
    /// That of a client with these settings.
    pub fn of(config: &ClientConfig) -> Self {
        match config.access_channel {
            AccessChannel::Local => {
                Self::Topic(config.trace_topic.as_deref().unwrap_or(name::TRACE_TOPIC).into())
            }
            AccessChannel::Cloud => Self::Region,
        }
    }

    /// The topic of traces from a region.
    pub fn topic(&self, region: &str) -> CompactString {
        match self {
            Self::Topic(topic) => topic.clone(),
            Self::Region => format!("{REGION_TOPIC}{region}").into(),
        }
    }

    /// Whether a topic holds traces, which are not traced themselves.
    pub fn holds(&self, topic: &str) -> bool {
        match self {
            Self::Topic(own) => own == topic,
            Self::Region => topic.starts_with(REGION_TOPIC),
        }
    }
}

/// What a trace says of one message.
#[doc(alias = "TraceBean")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Message id.
    pub id: String,
    /// Its keys; none are written as Java writes them, `null`.
    pub keys: Option<String>,
    /// Earlier deliveries.
    pub retries: i32,
}

impl Traced {
    /// That of a consumed message; none when its broker wants no trace of it.
    pub fn of(message: &MessageView) -> Option<Self> {
        if message.properties.get(property::TRACE_ON) == Some("false") {
            return None;
        }
        Some(Self {
            id: message.id(),
            keys: message.properties.get(property::KEYS).map(ToOwned::to_owned),
            retries: message.reconsume_times,
        })
    }
}

/// One step in the life of some messages.
#[doc(alias = "TraceContext")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// A listener is about to get them.
    SubBefore {
        /// When.
        at: Timestamp,
        /// Region of their broker.
        region: CompactString,
        /// Group of the consumer.
        group: CompactString,
        /// Names the call of the listener.
        request_id: String,
        /// The messages.
        messages: Vec<Traced>,
    },
    /// A listener has answered.
    SubAfter {
        /// When.
        at: Timestamp,
        /// Region of their broker.
        region: CompactString,
        /// Group of the consumer.
        group: CompactString,
        /// As before.
        request_id: String,
        /// How long it took, for each of the messages.
        each: Duration,
        /// Whether all are done.
        success: bool,
        /// How the call ended: 0 done, 1 too late, 2 exception, 4 failed.
        code: i32,
        /// The messages.
        messages: Vec<Traced>,
    },
}

impl Trace {
    fn messages(&self) -> &[Traced] {
        match self {
            Self::SubBefore { messages, .. } | Self::SubAfter { messages, .. } => messages,
        }
    }

    fn region(&self) -> &str {
        match self {
            Self::SubBefore { region, .. } | Self::SubAfter { region, .. } => region,
        }
    }

    /// A line for each message.
    fn text(&self, to: &Destination) -> String {
        let mut text = String::new();
        for message in self.messages() {
            let keys = message.keys.as_deref().unwrap_or("null");
            let fields: Vec<String> = match self {
                Self::SubBefore { at, region, group, request_id, .. } => vec![
                    "SubBefore".into(),
                    at.to_string(),
                    region.to_string(),
                    group.to_string(),
                    request_id.clone(),
                    message.id.clone(),
                    message.retries.to_string(),
                    keys.into(),
                ],
                Self::SubAfter { at, group, request_id, each, success, code, .. } => {
                    let end = match to {
                        Destination::Topic(_) => vec![at.to_string(), group.to_string()],
                        Destination::Region => vec![String::new()],
                    };
                    let fields = [
                        "SubAfter".into(),
                        request_id.clone(),
                        message.id.clone(),
                        each.as_millis().to_string(),
                        success.to_string(),
                        keys.into(),
                        code.to_string(),
                    ];
                    fields.into_iter().chain(end).collect()
                }
            };
            let _cannot_fail = write!(text, "{}{LINE_END}", fields.join(&FIELD_END.to_string()));
        }
        text
    }

    /// What the message of traces can be found by.
    fn keys(&self) -> impl Iterator<Item = &str> {
        self.messages().iter().flat_map(|message| {
            let keys = message.keys.iter().flat_map(|keys| keys.split_whitespace());
            std::iter::once(message.id.as_str()).chain(keys)
        })
    }
}

enum Order {
    Send(Trace),
    Flush(oneshot::Sender<()>),
}

/// Sends traces in the name of one group.
#[doc(alias = "AsyncTraceDispatcher")]
pub struct Tracer {
    destination: Destination,
    orders: mpsc::Sender<Order>,
    dropped: Arc<AtomicU64>,
}

impl Tracer {
    /// For a group of this instance. Sends until the instance ends or the tracer is dropped.
    pub fn start(instance: &Arc<ClientInstance>, group: &str) -> Self {
        let destination = Destination::of(instance.config());
        let (orders, waiting) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::<AtomicU64>::default();
        let post = Post {
            instance: Arc::downgrade(instance),
            destination: destination.clone(),
            group: format!("_INNER_TRACE_PRODUCER-{group}-CONSUME-0"),
            dropped: Arc::clone(&dropped),
        };
        let clock = Arc::clone(&instance.world().clock);
        let stop = instance.tasks().stop_token();
        instance.tasks().spawn(
            &format!("AsyncTraceDispatcher {group}"),
            OnFailure::Log,
            async move {
                tokio::select! {
                    biased;
                    () = stop.requested() => {}
                    () = post.run(waiting, clock.as_ref()) => {}
                }
            },
        );
        Self { destination, orders, dropped }
    }

    /// Where traces go.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Takes a trace, or drops it when too many wait.
    pub fn trace(&self, trace: Trace) {
        if !trace.messages().is_empty() && self.orders.try_send(Order::Send(trace)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Traces that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Ready when all that was taken is sent or dropped. Cancel-safe.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(Order::Flush(done)).await.is_ok() {
            let _tracer_ended = is_done.await;
        }
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("destination", &self.destination).finish_non_exhaustive()
    }
}

/// The sending side.
struct Post {
    instance: std::sync::Weak<ClientInstance>,
    destination: Destination,
    group: String,
    dropped: Arc<AtomicU64>,
}

/// Traces that go together.
#[derive(Default)]
struct Parcel {
    text: String,
    /// Each once: brokers of Apache's find a message once for each key that is the one asked for.
    keys: BTreeSet<String>,
    count: u64,
}

impl Parcel {
    fn add(&mut self, trace: &Trace, destination: &Destination) {
        self.text.push_str(&trace.text(destination));
        self.keys.extend(trace.keys().map(ToOwned::to_owned));
        self.count += 1;
    }
}

impl Post {
    async fn run(self, mut orders: mpsc::Receiver<Order>, clock: &dyn rmq_runtime::Clock) {
        let mut waiting: Vec<Trace> = Vec::new();
        loop {
            let due = clock.sleep(WAIT);
            let order = match waiting.is_empty() {
                true => orders.recv().await,
                false => tokio::select! {
                    biased;
                    order = orders.recv() => order,
                    () = due => {
                        self.send(&mut waiting).await;
                        continue;
                    }
                },
            };
            match order {
                Some(Order::Send(trace)) => {
                    waiting.push(trace);
                    if waiting.len() >= TOGETHER_MAX {
                        self.send(&mut waiting).await;
                    }
                }
                Some(Order::Flush(done)) => {
                    self.send(&mut waiting).await;
                    let _nobody_waits = done.send(());
                }
                None => return self.send(&mut waiting).await,
            }
        }
    }

    /// Sends what waits, in as few messages as it fits into.
    async fn send(&self, waiting: &mut Vec<Trace>) {
        let mut parcels = BTreeMap::<CompactString, Parcel>::new();
        for trace in waiting.drain(..) {
            let topic = self.destination.topic(trace.region());
            let parcel = parcels.entry(topic.clone()).or_default();
            parcel.add(&trace, &self.destination);
            if parcel.text.len() >= TEXT_MAX {
                let full = std::mem::take(parcel);
                self.send_parcel(&topic, full).await;
            }
        }
        for (topic, parcel) in parcels.into_iter().filter(|(_, parcel)| parcel.count > 0) {
            self.send_parcel(&topic, parcel).await;
        }
    }

    async fn send_parcel(&self, topic: &str, Parcel { text, keys, count }: Parcel) {
        let Some(instance) = self.instance.upgrade() else { return };
        let message = Message::new(topic, text).with_keys(keys);
        if let Err(error) = self.send_message(&instance, &message).await {
            self.dropped.fetch_add(count, Ordering::Relaxed);
            tracing::debug!(topic, %error, count, "traces are dropped");
        }
    }

    async fn send_message(
        &self,
        instance: &ClientInstance,
        message: &Message,
    ) -> Result<(), ClientError> {
        let topic = &message.topic;
        let route = instance.publish_queues(topic, Some(NEW_TOPIC_QUEUES)).await?;
        let index = instance.world().entropy.below(u64::try_from(route.queues.len()).unwrap_or(0));
        let queue = usize::try_from(index).ok().and_then(|index| route.queues.get(index));
        let queue = queue.ok_or_else(|| ClientError::NoRoute { topic: topic.clone() })?;
        let now = instance.world().clock.wall().into();
        let call = SendCall::new(&self.group, queue, message, now);
        instance.brokers().send(&call, SEND_TIMEOUT).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use rmq_remoting::request_code;

    use super::*;
    use crate::testing::{Stage, refusal, settle, two_brokers};

    fn message(id: &str, keys: Option<&str>) -> Traced {
        Traced { id: id.into(), keys: keys.map(Into::into), retries: 2 }
    }

    fn before(id: &str) -> Trace {
        Trace::SubBefore {
            at: Timestamp(7),
            region: "DefaultRegion".into(),
            group: "g".into(),
            request_id: "R".into(),
            messages: vec![message(id, Some("k1 k2")), message("B", None)],
        }
    }

    #[test]
    fn what_is_told_twice_of_a_message_is_found_once() {
        let mut parcel = Parcel::default();
        for _ in 0..2 {
            parcel.add(&before("A"), &Destination::Region);
        }
        let keys: Vec<_> = parcel.keys.iter().map(String::as_str).collect();
        assert_eq!((parcel.count, &keys[..]), (2, &["A", "B", "k1", "k2"][..]));
    }

    #[test]
    fn lines_are_those_of_java() {
        let topic = Some("Traces".to_owned());
        let own = Destination::of(&ClientConfig { trace_topic: topic, ..ClientConfig::default() });
        let text = before("A").text(&own).replace('\u{1}', "|").replace('\u{2}', "\n");
        assert_eq!(
            text,
            "SubBefore|7|DefaultRegion|g|R|A|2|k1 k2\nSubBefore|7|DefaultRegion|g|R|B|2|null\n"
        );
        let after = Trace::SubAfter {
            at: Timestamp(9),
            region: "DefaultRegion".into(),
            group: "g".into(),
            request_id: "R".into(),
            each: Duration::from_millis(12),
            success: true,
            code: 0,
            messages: vec![message("A", None)],
        };
        let shown = |to: &Destination| after.text(to).replace('\u{1}', "|").replace('\u{2}', "\n");
        assert_eq!(shown(&own), "SubAfter|R|A|12|true|null|0|9|g\n");
        assert_eq!(shown(&Destination::Region), "SubAfter|R|A|12|true|null|0|\n");
    }

    #[tokio::test]
    async fn traces_for_a_cloud_go_to_the_topic_of_their_region() {
        let stage = Stage::new(|config| config.access_channel = AccessChannel::Cloud);
        let send = request_code::SEND_MESSAGE_V2;
        let topics = ["rmq_sys_TRACE_DATA_DefaultRegion", "rmq_sys_TRACE_DATA_cn-east"];
        for topic in topics {
            stage.cluster.routes.lock().insert(topic.into(), two_brokers());
        }
        let tracer = Tracer::start(&stage.instance, "g");
        let mut elsewhere = before("B");
        if let Trace::SubBefore { region, .. } = &mut elsewhere {
            *region = "cn-east".into();
        }
        for (trace, topic) in [(before("A"), topics[0]), (elsewhere.clone(), topics[1])] {
            tracer.trace(trace);
            tracer.flush().await;
            assert_eq!(stage.cluster.last(send).unwrap().field("b"), Some(topic));
        }
        stage.cluster.take_calls(send);
        for trace in [before("A"), elsewhere, before("C")] {
            tracer.trace(trace);
        }
        tracer.flush().await;
        assert_eq!(stage.cluster.take_calls(send).len(), 2, "a message for each region");
        assert!(topics.iter().all(|topic| tracer.destination().holds(topic)));
        assert!(!tracer.destination().holds(name::TRACE_TOPIC));
    }

    #[tokio::test]
    async fn traces_go_together_when_there_are_enough_or_it_is_time() {
        let stage = Stage::new(|_| {});
        let send = request_code::SEND_MESSAGE_V2;
        stage.cluster.routes.lock().insert(name::TRACE_TOPIC.into(), two_brokers());
        let stored = [("msgId", "0"), ("queueId", "0"), ("queueOffset", "0")];
        let stored = stored.iter().fold(refusal(0), |answer, (n, v)| answer.with_field(n, v));
        stage.cluster.script(send, stored);
        let tracer = Tracer::start(&stage.instance, "g");
        let sent = || stage.cluster.take_calls(send).len();
        (0..TOGETHER_MAX - 1).for_each(|_| tracer.trace(before("A")));
        settle().await;
        assert_eq!(sent(), 0);
        tracer.trace(before("A"));
        settle().await;
        let request = stage.cluster.last(send).unwrap();
        assert_eq!(request.field("b"), Some(name::TRACE_TOPIC));
        assert!(request.field("i").unwrap().contains("KEYS\u{1}A B k1 k2\u{2}"), "{request:?}");
        assert_eq!(sent(), 1);
        tracer.trace(before("A"));
        stage.clock.advance(WAIT).await;
        assert_eq!(sent(), 1);
        tracer.trace(before("A"));
        tracer.flush().await;
        assert_eq!((sent(), tracer.dropped()), (1, 0));
        stage.cluster.script(send, refusal(1));
        tracer.trace(before("A"));
        tracer.flush().await;
        assert_eq!(tracer.dropped(), 1);
    }
}
