//! How what is told of messages gets to those who look for them: records in messages to
//! `RMQ_SYS_TRACE_TOPIC`, as the tools of Apache RocketMQ read them (5.5.0, `TraceDataEncoder`). Those
//! for a cloud go to a topic of their region. What the records say is the affair of producers and
//! consumers.
//!
//! Fields end with U+0001, records with U+0002. A trace is worth less than the messages that it is
//! about: what does not fit into the queue, or cannot be sent, is dropped and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rmq_message::id::UniqueIds;
use rmq_message::{CompactString, Message, name, property};
use rmq_runtime::{Clock, OnFailure};
use tokio::sync::{mpsc, oneshot};

use crate::broker_client::SendCall;
use crate::client_id::unique_ids;
use crate::{AccessChannel, ClientConfig, ClientError, ClientInstance, ErrorKind, PublishRoute};

/// Records that wait to be sent.
const WAITING_MAX: usize = 2048;
/// So many records do not wait for others, and so many bytes of them go together.
const TOGETHER: usize = 10;
const TEXT_MAX: usize = 128_000;
/// Longest wait of a record for others to go with.
const WAIT: Duration = Duration::from_secs(5);
/// Queues of a topic of traces that is made by the first of them.
const NEW_TOPIC_QUEUES: u32 = 4;
/// Time limit of a try to send a message of traces, and brokers that are tried.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
const TRIES: usize = 3;

const FIELD_END: &str = "\u{1}";
const RECORD_END: &str = "\u{2}";

/// How the topics of a cloud's traces begin; the region follows.
const REGION_TOPIC: &str = "rmq_sys_TRACE_DATA_";

/// Fields as one record.
pub fn record(fields: &[&str]) -> String {
    fields.join(FIELD_END) + RECORD_END
}

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

/// What is told at once.
#[doc(alias = "TraceContext")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Region of the broker that has the messages.
    pub region: CompactString,
    /// What it can be found by: ids and keys of the messages.
    pub keys: BTreeSet<String>,
    /// Records, one behind the other.
    pub text: String,
}

impl Trace {
    /// Adds a record, to be found by id and keys of its message.
    pub fn add(&mut self, record: &str, id: &str, keys: Option<&str>) {
        self.text.push_str(record);
        self.keys.insert(id.to_owned());
        self.keys.extend(keys.into_iter().flat_map(str::split_whitespace).map(ToOwned::to_owned));
    }
}

/// Whose doings a [`Tracer`] tells of.
#[doc(alias = "TraceDispatcher.Type")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A producer's.
    Produce,
    /// A consumer's.
    Consume,
}

impl Side {
    /// In whose name traces of a group are sent.
    fn sender(self, group: &str) -> String {
        match self {
            Self::Produce => format!("_INNER_TRACE_PRODUCER-{group}-PRODUCE-1"),
            Self::Consume => format!("_INNER_TRACE_PRODUCER-{group}-CONSUME-0"),
        }
    }
}

enum Order {
    Send(Trace),
    Flush(oneshot::Sender<()>),
}

/// Sends traces of one group.
#[doc(alias = "AsyncTraceDispatcher")]
pub struct Tracer {
    destination: Destination,
    orders: mpsc::Sender<Order>,
    dropped: Arc<AtomicU64>,
}

impl Tracer {
    /// For a group of this instance; none when its settings want no traces. Sends until the instance
    /// ends or the tracer is dropped.
    pub fn start(instance: &Arc<ClientInstance>, group: &str, side: Side) -> Option<Self> {
        if !instance.config().enable_trace {
            return None;
        }
        let destination = Destination::of(instance.config());
        let (orders, waiting) = mpsc::channel(WAITING_MAX);
        let dropped = Arc::<AtomicU64>::default();
        let post = Post {
            instance: Arc::downgrade(instance),
            destination: destination.clone(),
            group: side.sender(group),
            ids: unique_ids(instance.world()),
            dropped: Arc::clone(&dropped),
        };
        let clock = Arc::clone(&instance.world().clock);
        let stop = instance.tasks().stop_token();
        let name = format!("AsyncTraceDispatcher {group}");
        instance.tasks().spawn(&name, OnFailure::Log, async move {
            tokio::select! {
                biased;
                () = stop.requested() => {}
                () = post.run(waiting, clock.as_ref()) => {}
            }
        });
        Some(Self { destination, orders, dropped })
    }

    /// Where traces go.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Takes a trace, or drops it when too many wait. One that says nothing is none.
    pub fn trace(&self, trace: Trace) {
        if !trace.text.is_empty() && self.orders.try_send(Order::Send(trace)).is_err() {
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
    instance: Weak<ClientInstance>,
    destination: Destination,
    group: String,
    ids: UniqueIds,
    dropped: Arc<AtomicU64>,
}

/// Traces that go together. Keys are named once: brokers of Apache's find a message once for each key
/// that is the one asked for.
#[derive(Default)]
struct Parcel {
    text: String,
    keys: BTreeSet<String>,
    count: u64,
}

/// What waits, in as few messages as it fits into, each with its topic.
fn parcels(waiting: &mut Vec<Trace>, destination: &Destination) -> Vec<(CompactString, Parcel)> {
    let (mut open, mut full) = (BTreeMap::<CompactString, Parcel>::new(), Vec::new());
    for trace in waiting.drain(..) {
        let topic = destination.topic(&trace.region);
        let parcel = open.entry(topic.clone()).or_default();
        if parcel.count > 0 && parcel.text.len() + trace.text.len() > TEXT_MAX {
            full.push((topic, std::mem::take(parcel)));
        }
        parcel.text.push_str(&trace.text);
        parcel.keys.extend(trace.keys);
        parcel.count += 1;
    }
    full.extend(open);
    full
}

impl Post {
    async fn run(self, mut orders: mpsc::Receiver<Order>, clock: &dyn Clock) {
        let (mut got, mut waiting, mut flushed) = (Vec::new(), Vec::new(), Vec::new());
        let mut due = clock.monotonic();
        loop {
            let is_time = tokio::select! {
                biased;
                count = orders.recv_many(&mut got, WAITING_MAX) => count == 0,
                () = clock.sleep_until(due), if !waiting.is_empty() => true,
            };
            if waiting.is_empty() {
                due = clock.monotonic() + WAIT;
            }
            for order in got.drain(..) {
                match order {
                    Order::Send(trace) => waiting.push(trace),
                    Order::Flush(done) => flushed.push(done),
                }
            }
            if is_time || waiting.len() >= TOGETHER || !flushed.is_empty() {
                for (topic, parcel) in parcels(&mut waiting, &self.destination) {
                    self.send(&topic, parcel).await;
                }
            }
            for done in flushed.drain(..) {
                let _nobody_waits = done.send(());
            }
            if orders.is_closed() && orders.is_empty() && waiting.is_empty() {
                return;
            }
        }
    }

    async fn send(&self, topic: &str, Parcel { text, keys, count }: Parcel) {
        let Some(instance) = self.instance.upgrade() else { return };
        let message = Message::new(topic, text).with_keys(keys);
        if let Err(error) = self.send_message(&instance, message).await {
            self.dropped.fetch_add(count, Ordering::Relaxed);
            tracing::debug!(topic, %error, count, "traces are dropped");
        }
    }

    /// Tries one broker after the other.
    async fn send_message(
        &self,
        instance: &ClientInstance,
        mut message: Message,
    ) -> Result<(), ClientError> {
        let world = instance.world();
        let now = world.clock.wall().into();
        message.properties.set(property::UNIQ_KEY, self.ids.next(now));
        let route = instance.publish_queues(&message.topic, Some(NEW_TOPIC_QUEUES)).await?;
        let mut route = PublishRoute::clone(&route);
        let mut tries = 0;
        loop {
            tries += 1;
            let queue = route.any(world.entropy.as_ref())?.clone();
            let call = SendCall::new(&self.group, &queue, &message, now);
            let Err(error) = instance.brokers().send(&call, SEND_TIMEOUT).await else {
                return Ok(());
            };
            route.queues.retain(|other| other.broker_name != queue.broker_name);
            let is_passing = matches!(error.kind(), ErrorKind::Retry | ErrorKind::Timeout);
            if !is_passing || tries == TRIES || route.queues.is_empty() {
                return Err(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rmq_remoting::command::RemotingCommand;
    use rmq_remoting::request_code;

    use super::*;
    use crate::testing::{A0, B0, Stage, refusal, settle, two_brokers};

    fn trace(id: &str) -> Trace {
        let mut trace = Trace { region: "DefaultRegion".into(), ..Trace::default() };
        trace.add(&record(&["Pub", id]), id, Some("k1 k2"));
        trace.add(&record(&["Pub", "B"]), "B", None);
        trace
    }

    /// Two brokers have the topic of traces.
    fn traced(change: impl FnOnce(&mut ClientConfig)) -> Stage {
        let stage = Stage::new(|config| {
            config.enable_trace = true;
            change(config);
        });
        stage.cluster.routes.lock().insert(name::TRACE_TOPIC.into(), two_brokers());
        stage
    }

    /// What a broker says that has stored a message.
    fn stored() -> RemotingCommand {
        let fields = [("msgId", "0"), ("queueId", "0"), ("queueOffset", "0")];
        fields.iter().fold(refusal(0), |answer, (n, v)| answer.with_field(n, v))
    }

    fn tracer(stage: &Stage) -> Tracer {
        Tracer::start(&stage.instance, "g", Side::Consume).unwrap()
    }

    #[test]
    fn a_record_is_laid_out_as_java_does() {
        assert_eq!(record(&["Pub", "1", "r"]), "Pub\u{1}1\u{1}r\u{2}");
    }

    #[test]
    fn what_is_told_twice_of_a_message_is_found_once() {
        let mut waiting = vec![trace("A"), trace("A")];
        let parcels = parcels(&mut waiting, &Destination::Region);
        let [(_, parcel)] = &parcels[..] else { panic!("one message") };
        let keys: Vec<_> = parcel.keys.iter().map(String::as_str).collect();
        assert_eq!((parcel.count, &keys[..]), (2, &["A", "B", "k1", "k2"][..]));
    }

    #[test]
    fn records_of_a_topic_go_together_until_a_message_is_full() {
        let of = |region: &str, id: &str, len: usize| {
            let mut trace = Trace { region: region.into(), ..Trace::default() };
            trace.add(&"x".repeat(len), id, None);
            trace
        };
        let mut waiting = vec![
            of("near", "a1", 10),
            of("far", "b", 5),
            of("near", "a2", 20),
            of("near", "a3", TEXT_MAX),
            of("near", "a4", 1),
        ];
        let shown = |(topic, parcel): (CompactString, Parcel)| {
            let keys = parcel.keys.into_iter().collect::<Vec<_>>().join(",");
            (topic.replace(REGION_TOPIC, ""), keys, parcel.text.len())
        };
        let seen: Vec<_> =
            parcels(&mut waiting, &Destination::Region).into_iter().map(shown).collect();
        let wanted =
            [("near", "a1,a2", 30), ("near", "a3", TEXT_MAX), ("far", "b", 5), ("near", "a4", 1)];
        assert_eq!(seen, wanted.map(|(topic, keys, len)| (topic.into(), keys.into(), len)));
    }

    #[tokio::test]
    async fn traces_for_a_cloud_go_to_the_topic_of_their_region() {
        let stage = traced(|config| config.access_channel = AccessChannel::Cloud);
        let send = request_code::SEND_MESSAGE_V2;
        let topics = ["rmq_sys_TRACE_DATA_DefaultRegion", "rmq_sys_TRACE_DATA_cn-east"];
        for topic in topics {
            stage.cluster.routes.lock().insert(topic.into(), two_brokers());
        }
        let tracer = tracer(&stage);
        let elsewhere = Trace { region: "cn-east".into(), ..trace("B") };
        for (told, topic) in [(trace("A"), topics[0]), (elsewhere.clone(), topics[1])] {
            tracer.trace(told);
            tracer.flush().await;
            assert_eq!(stage.cluster.last(send).unwrap().field("b"), Some(topic));
        }
        stage.cluster.take_calls(send);
        for told in [trace("A"), elsewhere, trace("C")] {
            tracer.trace(told);
        }
        tracer.flush().await;
        assert_eq!(stage.cluster.take_calls(send).len(), 2, "a message for each region");
        assert!(topics.iter().all(|topic| tracer.destination().holds(topic)));
        assert!(!tracer.destination().holds(name::TRACE_TOPIC));
    }

    #[tokio::test]
    async fn traces_go_together_when_there_are_enough_or_it_is_time() {
        let stage = traced(|_| {});
        let send = request_code::SEND_MESSAGE_V2;
        stage.cluster.script(send, stored());
        let tracer = tracer(&stage);
        let sent = || stage.cluster.take_calls(send).len();
        (0..TOGETHER - 1).for_each(|_| tracer.trace(trace("A")));
        settle().await;
        assert_eq!(sent(), 0);
        tracer.trace(trace("A"));
        settle().await;
        let request = stage.cluster.last(send).unwrap();
        assert_eq!(request.field("b"), Some(name::TRACE_TOPIC));
        assert!(request.field("i").unwrap().contains("KEYS\u{1}A B k1 k2\u{2}"), "{request:?}");
        assert_eq!(sent(), 1);
        tracer.trace(trace("A"));
        stage.clock.advance(WAIT).await;
        assert_eq!(sent(), 1);
        tracer.trace(trace("A"));
        tracer.flush().await;
        assert_eq!((sent(), tracer.dropped()), (1, 0));
        stage.cluster.script(send, refusal(1));
        tracer.trace(trace("A"));
        tracer.flush().await;
        assert_eq!(tracer.dropped(), 1);
    }

    #[tokio::test]
    async fn a_trace_waits_for_five_seconds_at_the_most_whatever_comes_after_it() {
        let stage = traced(|_| {});
        let send = request_code::SEND_MESSAGE_V2;
        let tracer = tracer(&stage);
        for second in 0..5 {
            tracer.trace(trace(&second.to_string()));
            assert_eq!(stage.cluster.take_calls(send).len(), 0);
            stage.clock.advance(Duration::from_secs(1)).await;
        }
        let request = stage.cluster.last(send).expect("five seconds are over");
        assert!(request.field("i").unwrap().contains("KEYS\u{1}0 1 2 3 4 B k1 k2\u{2}"));
    }

    #[tokio::test]
    async fn what_one_broker_does_not_take_goes_to_another() {
        let stage = traced(|_| {});
        let send = request_code::SEND_MESSAGE_V2;
        stage.cluster.script(send, stored());
        stage.cluster.down.lock().insert(A0.into());
        let tracer = tracer(&stage);
        for _ in 0..20 {
            tracer.trace(trace("A"));
            tracer.flush().await;
            assert_eq!(stage.cluster.take_calls(send).last().unwrap(), B0);
        }
        assert_eq!(tracer.dropped(), 0);
        stage.cluster.down.lock().insert(B0.into());
        tracer.trace(trace("A"));
        tracer.flush().await;
        assert_eq!((stage.cluster.take_calls(send).len(), tracer.dropped()), (2, 1));
    }
}
