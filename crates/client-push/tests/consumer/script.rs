//! One broker and its name server, played by a test: enough of both for one group on topic `T`, in
//! virtual time, with a record of all that was asked and a place to answer otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use rmq_client_core::commands::Door;
use rmq_client_core::{ClientConfig, ClientInstance};
use rmq_client_push::{ConsumeContext, Messages, PushConsumer, PushConsumerBuilder};
use rmq_message::record::{NewRecord, Placement, crc};
use rmq_message::{
    MessageQueue, PhysicalOffset, Properties, QueueOffset, Timestamp, java, property, sys_flag,
};
use rmq_remoting::command::{RemotingCommand, Response};
use rmq_remoting::invoker::{Endpoint, InvokeError, Invoker};
use rmq_remoting::local::LocalInvoker;
use rmq_remoting::peer::Peer;
use rmq_remoting::processor::{Processor, Reply};
use rmq_remoting::protocol::assignment::{Assignment, Assignments, QueryAssignment, RequestMode};
use rmq_remoting::protocol::client::ConsumerIds;
use rmq_remoting::protocol::heartbeat::Heartbeat;
use rmq_remoting::protocol::lock::{LockQueues, LockedQueues, UnlockQueues};
use rmq_remoting::protocol::offset::OffsetResponse;
use rmq_remoting::protocol::pull::PullResponse;
use rmq_remoting::protocol::route::{BrokerAddresses, BrokerQueues, TopicRoute};
use rmq_remoting::protocol::send::SendMessage;
use rmq_remoting::{request_code, response_code};
use rmq_runtime::system::{SystemDisk, SystemEntropy, SystemNet};
use rmq_runtime::{BoxFuture, Clock, Monotonic, World};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

pub(crate) const BROKER: &str = "broker-a";
pub(crate) const GROUP: &str = "g";
pub(crate) const RETRY: &str = "%RETRY%g";

/// Time that runs when everybody waits.
pub(crate) struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000) + self.0.elapsed()
    }
    fn monotonic(&self) -> Monotonic {
        Monotonic(self.0.elapsed())
    }
    fn sleep_until(&self, at: Monotonic) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(self.0 + at.0))
    }
    fn utc_offset_ms(&self) -> i64 {
        0
    }
}

/// Tells a body, then waits for a permit.
pub(crate) fn gated(
    permits: usize,
) -> (
    impl Fn(Messages, ConsumeContext) -> BoxFuture<'static, ()>,
    Arc<Semaphore>,
    mpsc::Receiver<String>,
) {
    let gate = Arc::new(Semaphore::new(permits));
    let (tx, rx) = mpsc::channel(1000);
    let held = Arc::clone(&gate);
    let listener = move |messages: Messages, _: ConsumeContext| {
        let (gate, tx) = (Arc::clone(&held), tx.clone());
        Box::pin(async move {
            for message in &messages {
                tx.send(String::from_utf8_lossy(&message.body).into_owned()).await.unwrap();
            }
            gate.acquire().await.unwrap().forget();
        }) as BoxFuture<'static, ()>
    };
    (listener, gate, rx)
}

/// What comes next, within a time in which it must.
pub(crate) async fn next<T>(from: &mut mpsc::Receiver<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(7200);
    tokio::select! {
        value = from.recv() => value.unwrap(),
        () = tokio::time::sleep_until(deadline) => panic!("nothing came"),
    }
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Duration,
    /// The broker or name server that was meant.
    pub(crate) to: String,
    pub(crate) oneway: bool,
    pub(crate) code: i32,
    pub(crate) fields: BTreeMap<String, String>,
}

impl Seen {
    pub(crate) fn is(&self, code: i32, topic: &str) -> bool {
        self.code == code && self.fields.get("topic").is_some_and(|t| t == topic)
    }
    pub(crate) fn number(&self, name: &str) -> i64 {
        self.fields.get(name).and_then(|text| text.parse().ok()).unwrap_or(i64::MIN)
    }
}

#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) records: Vec<(Bytes, i64)>,
    /// Offset of the first record.
    pub(crate) base: i64,
}

impl Queue {
    pub(crate) fn end(&self) -> i64 {
        self.base + i64::try_from(self.records.len()).unwrap()
    }
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) queues: BTreeMap<(String, i32), Queue>,
    pub(crate) committed: BTreeMap<(String, i32), i64>,
    /// Client ids from heartbeats, with those a test adds.
    pub(crate) members: BTreeSet<String>,
    pub(crate) locks: BTreeMap<MessageQueue, String>,
    pub(crate) heartbeats: Vec<Heartbeat>,
    /// Copies that came as messages: topic, attempts, body.
    pub(crate) sent: Vec<(String, i32, Bytes)>,
    pub(crate) log: Vec<Seen>,
}

type Answer = Box<dyn FnMut(&RemotingCommand, &mut State) -> Option<Reply> + Send>;

pub(crate) struct Script {
    clock: Arc<VirtualClock>,
    state: Arc<Mutex<State>>,
    answer: Mutex<Option<Answer>>,
    changed: watch::Sender<u64>,
    /// Of all instances.
    doors: Mutex<Vec<Arc<Door>>>,
}

impl Script {
    /// A broker with that many queues of `T` and one of the retry topic.
    pub(crate) fn new(queues: i32) -> Arc<Self> {
        let mut state = State::default();
        for id in 0..queues {
            state.queues.insert(("T".into(), id), Queue::default());
        }
        state.queues.insert((RETRY.into(), 0), Queue::default());
        Arc::new(Self {
            clock: Arc::new(VirtualClock(Instant::now())),
            state: Arc::new(Mutex::new(state)),
            answer: Mutex::new(None),
            changed: watch::Sender::new(0),
            doors: Mutex::default(),
        })
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic().0
    }

    pub(crate) fn instance(self: &Arc<Self>) -> Arc<ClientInstance> {
        self.instance_with(ClientConfig::default(), false)
    }

    pub(crate) fn instance_with(
        self: &Arc<Self>,
        config: ClientConfig,
        keep: bool,
    ) -> Arc<ClientInstance> {
        let world = World {
            clock: Arc::clone(&self.clock) as _,
            disk: Arc::new(SystemDisk),
            net: Arc::new(SystemNet),
            entropy: Arc::new(SystemEntropy),
        };
        let config = ClientConfig { namesrv: vec!["names:1".into()], ..config };
        ClientInstance::start_over(world, config, keep, |world, _, door| {
            self.doors.lock().push(door);
            let clock = Arc::clone(&world.clock);
            Arc::new(Addressed(LocalInvoker::new(Arc::clone(self) as _, clock)))
        })
        .unwrap()
    }

    /// A consumer of everything on an instance of its own.
    pub(crate) fn consumer(self: &Arc<Self>) -> PushConsumerBuilder {
        PushConsumer::builder().instance(&self.instance()).group(GROUP).subscribe("T", "*")
    }

    /// Has some requests answered otherwise; `None` leaves them to the script.
    pub(crate) fn answer(
        &self,
        answer: impl FnMut(&RemotingCommand, &mut State) -> Option<Reply> + Send + 'static,
    ) {
        *self.answer.lock() = Some(Box::new(answer));
    }

    pub(crate) fn answer_as_usual(&self) {
        *self.answer.lock() = None;
    }

    /// The broker has queue 0 of `T` popped, and hands out all that is in it, once.
    pub(crate) fn pop_once(&self) {
        let mut popped = false;
        self.answer(move |request, state| match request.code {
            request_code::QUERY_ASSIGNMENT => {
                let asked: QueryAssignment = request.payload().unwrap();
                let is_popped = asked.topic == "T";
                let mode = if is_popped { RequestMode::Pop } else { RequestMode::Pull };
                let queue = MessageQueue::new(&asked.topic, BROKER, if is_popped { -1 } else { 0 });
                let assignment = Assignment { message_queue: Some(queue), mode, attachments: None };
                let message_queue_assignments = Some(vec![assignment]);
                Some(Response::of(&Assignments { message_queue_assignments }).into())
            }
            request_code::POP_MESSAGE if std::mem::replace(&mut popped, true) => {
                Some(Response::error(response_code::POLLING_TIMEOUT, "nothing").into())
            }
            request_code::POP_MESSAGE => {
                assert_eq!(request.field("initMode"), Some("0"));
                let mut answer = Response::ok()
                    .with_field("popTime", request.field("bornTime").unwrap())
                    .with_field("invisibleTime", request.field("invisibleTime").unwrap())
                    .with_field("reviveQid", "1")
                    .with_field("startOffsetInfo", "0 0 0");
                let records = &state.queues[&("T".to_owned(), 0)].records;
                records.iter().for_each(|(record, _)| answer.body.push(record.clone()));
                Some(answer.into())
            }
            request_code::ACK_MESSAGE => Some(Response::ok().into()),
            request_code::CHANGE_MESSAGE_INVISIBLETIME => {
                let answer = Response::ok().with_field("popTime", "1");
                Some(answer.with_field("invisibleTime", "2").with_field("reviveQid", "1").into())
            }
            _ => None,
        });
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.state.lock());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Stores a message without or with a tag.
    pub(crate) fn store(&self, topic: &str, queue_id: i32, tag: &str, body: &str) {
        let properties: Properties =
            (!tag.is_empty()).then_some((property::TAGS, tag)).into_iter().collect();
        self.store_as(topic, queue_id, &properties, body, 0);
    }

    pub(crate) fn store_as(
        &self,
        topic: &str,
        queue_id: i32,
        properties: &Properties,
        body: &str,
        reconsume_times: i32,
    ) {
        let tag = properties.get(property::TAGS).map_or(0, java::hash).into();
        let properties = properties.render();
        let record = NewRecord {
            topic,
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: Timestamp(1),
            born_host: "127.0.0.1:1".parse().unwrap(),
            store_host: "127.0.0.1:10911".parse().unwrap(),
            reconsume_times,
            prepared_transaction_offset: 0,
            body: body.as_bytes(),
            properties: properties.as_bytes(),
            tags_code: tag,
        };
        self.with(|state| {
            let queue = state.queues.get_mut(&(topic.to_owned(), queue_id)).unwrap();
            let at = Placement {
                queue_offset: QueueOffset(queue.end()),
                physical_offset: PhysicalOffset::from_i64(queue.end() * 1000).unwrap(),
                store_timestamp: Timestamp(2),
            };
            let mut out = Vec::new();
            let len = record.encoded_len().unwrap();
            record.encode(&mut out, len, crc(body.as_bytes()), at);
            queue.records.push((out.into(), tag));
        });
    }

    /// What the condition finds in the state, as soon as it does.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        mut found: impl FnMut(&mut State) -> Option<T>,
    ) -> T {
        let mut changed = self.changed.subscribe();
        // Hours of the paused clock pass at once; where time is real, a minute is long.
        let real = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        let deadline = Instant::now() + Duration::from_secs(if real { 60 } else { 7200 });
        loop {
            changed.borrow_and_update();
            if let Some(value) = found(&mut self.state.lock()) {
                return value;
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(deadline) => {
                    let log = &self.state.lock().log;
                    let last = &log[log.len().saturating_sub(20)..];
                    panic!("never happened: {what}; last of {} requests: {last:#?}", log.len());
                }
            }
        }
    }

    /// The committed position of a queue of `T`, once it is that.
    pub(crate) async fn committed(&self, queue_id: i32, offset: i64) {
        let key = ("T".to_owned(), queue_id);
        self.until(&format!("commit of {offset}"), |state| {
            (state.committed.get(&key) == Some(&offset)).then_some(())
        })
        .await;
    }

    /// Waits for that many requests of this code about `T`.
    pub(crate) async fn asked(&self, code: i32, count: usize) -> Vec<Seen> {
        self.until(&format!("{count} requests {code}"), |state| {
            let seen: Vec<_> = state.log.iter().filter(|s| s.is(code, "T")).cloned().collect();
            (seen.len() >= count).then_some(seen)
        })
        .await
    }

    /// Sends a request to the last client as a broker does.
    pub(crate) async fn ask_client(&self, request: RemotingCommand) -> RemotingCommand {
        let door = self.doors.lock().last().cloned().unwrap();
        let to = "127.0.0.1:10911".parse().unwrap();
        let invoker = LocalInvoker::new(door, Arc::clone(&self.clock) as _);
        invoker.invoke(&to, request, Duration::from_secs(60)).await.unwrap()
    }

    /// Sends a request without an answer to all clients.
    pub(crate) async fn tell_clients(&self, request: &RemotingCommand) {
        let (doors, to) = (self.doors.lock().clone(), "127.0.0.1:10911".parse().unwrap());
        for door in doors {
            let invoker = LocalInvoker::new(door, Arc::clone(&self.clock) as _);
            invoker.oneway(&to, request.clone(), Duration::from_secs(60)).await.unwrap();
        }
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        tokio::time::sleep_until(Instant::now() + time).await;
    }
}

/// Field of a request that says to whom it was sent: a processor sees itself only.
const TO: &str = "to";

struct Addressed(LocalInvoker);

#[async_trait::async_trait]
impl Invoker for Addressed {
    async fn invoke(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        self.0.invoke(to, request.with_field(TO, to.as_str()), timeout).await
    }
    async fn oneway(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(), InvokeError> {
        self.0.oneway(to, request.with_field(TO, to.as_str()), timeout).await
    }
    fn disconnect(&self, to: &Endpoint) {
        self.0.disconnect(to);
    }
}

/// The script as a processor of requests.
impl Processor for Script {
    fn process(&self, _peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        let reply = {
            let mut state = self.state.lock();
            let fields = request.fields.iter().map(|(n, v)| (n.to_owned(), v.to_owned()));
            let mut fields: BTreeMap<_, _> = fields.collect();
            let to = fields.remove(TO).unwrap_or_default();
            let (at, oneway, code) = (self.now(), request.is_oneway(), request.code);
            state.log.push(Seen { at, to, oneway, code, fields });
            let answered = self.answer.lock().as_mut().and_then(|a| a(&request, &mut state));
            answered.unwrap_or_else(|| self.serve(&request, &mut state))
        };
        self.changed.send_modify(|count| *count += 1);
        reply
    }
}

impl Script {
    fn serve(&self, request: &RemotingCommand, state: &mut State) -> Reply {
        let field = |name: &str| request.field(name).unwrap_or_default().to_owned();
        let number = |name: &str| field(name).parse::<i64>().unwrap_or(0);
        let key = || (field("topic"), i32::try_from(number("queueId")).unwrap());
        let position = |offset| Response::of(&OffsetResponse { offset });
        match request.code {
            request_code::GET_ROUTEINFO_BY_TOPIC => match route(&field("topic"), state) {
                Some(route) => Response::of(&route).into(),
                None => Response::error(response_code::TOPIC_NOT_EXIST, "no route").into(),
            },
            request_code::HEART_BEAT => {
                let heartbeat: Heartbeat = request.payload().unwrap();
                if !heartbeat.consumer_data_set.is_empty() {
                    state.members.insert(heartbeat.client_id.to_string());
                }
                state.heartbeats.push(heartbeat);
                Response::ok().into()
            }
            request_code::UNREGISTER_CLIENT => {
                state.members.remove(&field("clientID"));
                Response::ok().into()
            }
            request_code::GET_CONSUMER_LIST_BY_GROUP => {
                let consumer_id_list = state.members.iter().map(|id| id.as_str().into()).collect();
                Response::of(&ConsumerIds { consumer_id_list }).into()
            }
            request_code::QUERY_CONSUMER_OFFSET => match state.committed.get(&key()) {
                Some(offset) => position(*offset).into(),
                None => Response::error(response_code::QUERY_NOT_FOUND, "none").into(),
            },
            request_code::UPDATE_CONSUMER_OFFSET => {
                state.committed.insert(key(), number("commitOffset"));
                Response::ok().into()
            }
            request_code::GET_MAX_OFFSET => position(state.queues[&key()].end()).into(),
            request_code::GET_MIN_OFFSET => position(state.queues[&key()].base).into(),
            request_code::SEARCH_OFFSET_BY_TIMESTAMP => position(2).into(),
            request_code::CONSUMER_SEND_MSG_BACK | request_code::CHECK_CLIENT_CONFIG => {
                Response::ok().into()
            }
            request_code::SEND_MESSAGE_V2 => {
                let header = SendMessage::from_fields(&request.fields).unwrap();
                let copy = (header.topic.to_owned(), header.reconsume_times, request.body.clone());
                state.sent.push(copy);
                let stored = [("msgId", "0"), ("queueId", "0"), ("queueOffset", "0")];
                let add = |response: Response, (name, value)| response.with_field(name, value);
                stored.into_iter().fold(Response::ok(), add).into()
            }
            request_code::LOCK_BATCH_MQ => {
                let wanted: LockQueues = request.payload().unwrap();
                let me = wanted.client_id.to_string();
                let free = |mq: &MessageQueue| state.locks.get(mq).is_none_or(|owner| *owner == me);
                let granted: Vec<_> = wanted.mq_set.into_iter().filter(free).collect();
                state.locks.extend(granted.iter().map(|mq| (mq.clone(), me.clone())));
                Response::of(&LockedQueues { lock_ok_mq_set: granted }).into()
            }
            request_code::UNLOCK_BATCH_MQ => {
                let wanted: UnlockQueues = request.payload().unwrap();
                state.locks.retain(|mq, owner| {
                    *owner != wanted.client_id.as_str() || !wanted.mq_set.contains(mq)
                });
                Response::ok().into()
            }
            request_code::PULL_MESSAGE => self.pull(request, state),
            code => Response::not_supported(code).into(),
        }
    }

    fn pull(&self, request: &RemotingCommand, state: &mut State) -> Reply {
        let number = |name: &str| request.field(name).unwrap().parse::<i64>().unwrap();
        let key =
            (request.field("topic").unwrap().to_owned(), i32::try_from(number("queueId")).unwrap());
        if number("sysFlag") & i64::from(sys_flag::pull::COMMIT_OFFSET) != 0 {
            state.committed.insert(key.clone(), number("commitOffset"));
        }
        let groups = state.heartbeats.iter().flat_map(|heartbeat| &heartbeat.consumer_data_set);
        let all = groups.flat_map(|group| &group.subscription_data_set);
        let of_topic = all.filter(|subscription| subscription.topic == key.0.as_str());
        let subscription = of_topic.max_by_key(|subscription| subscription.sub_version).cloned();
        let Some(subscription) = subscription else {
            return Response::error(24, "subscription does not exist").into();
        };
        if subscription.sub_version < number("subVersion") {
            return Response::error(25, "subscription not latest").into();
        }
        let codes = subscription.code_set;
        let from = number("queueOffset");
        let max = number("maxMsgNums");
        if let Some(found) = found(&state.queues[&key], from, max, &codes) {
            return found.into();
        }
        // Held until something is stored or the time is up.
        let wait = Duration::from_millis(u64::try_from(number("suspendTimeoutMillis")).unwrap());
        let (mut changed, deadline) = (self.changed.subscribe(), Instant::now() + wait);
        let state = Arc::clone(&self.state);
        Reply::Later(Box::pin(async move {
            loop {
                changed.borrow_and_update();
                if let Some(found) = found(&state.lock().queues[&key], from, max, &codes) {
                    return found;
                }
                tokio::select! {
                    _ = changed.changed() => {}
                    () = tokio::time::sleep_until(deadline) => {
                        let state = state.lock();
                        return pulled(response_code::PULL_NOT_FOUND, &state.queues[&key], from, Vec::new());
                    }
                }
            }
        }))
    }
}

pub(crate) fn route(topic: &str, state: &State) -> Option<TopicRoute> {
    let count = state.queues.keys().filter(|(name, _)| name == topic).count();
    let count = i32::try_from(count).unwrap();
    (count > 0).then(|| TopicRoute {
        broker_datas: vec![BrokerAddresses {
            broker_addrs: BTreeMap::from([(0, "127.0.0.1:10911".into())]),
            broker_name: BROKER.into(),
            cluster: "c".into(),
            ..BrokerAddresses::default()
        }],
        queue_datas: vec![BrokerQueues {
            broker_name: BROKER.into(),
            perm: 6,
            read_queue_nums: count,
            write_queue_nums: count,
            topic_sys_flag: 0,
        }],
        ..TopicRoute::default()
    })
}

/// The answer to a pull that need not wait.
fn found(queue: &Queue, from: i64, max: i64, codes: &BTreeSet<i32>) -> Option<Response> {
    if from < queue.base {
        return Some(pulled(response_code::PULL_OFFSET_MOVED, queue, queue.base, Vec::new()));
    }
    if from > queue.end() {
        return Some(pulled(response_code::PULL_OFFSET_MOVED, queue, queue.end(), Vec::new()));
    }
    if from == queue.end() {
        return None;
    }
    let skip = usize::try_from(from - queue.base).unwrap();
    let rest = queue.records.iter().skip(skip).take(usize::try_from(max).unwrap());
    let next = (from + max).min(queue.end());
    let wanted = |code: i64| codes.is_empty() || codes.iter().any(|c| i64::from(*c) == code);
    let records: Vec<_> = rest.filter(|(_, code)| wanted(*code)).map(|(r, _)| r.clone()).collect();
    let code = if records.is_empty() {
        response_code::PULL_RETRY_IMMEDIATELY
    } else {
        response_code::SUCCESS
    };
    Some(pulled(code, queue, next, records))
}

pub(crate) fn pulled(code: i32, queue: &Queue, next: i64, records: Vec<Bytes>) -> Response {
    suggesting(0, code, queue, next, records)
}

/// The same from a broker that wants another replica to be asked.
pub(crate) fn suggesting(
    replica: i64,
    code: i32,
    queue: &Queue,
    next: i64,
    records: Vec<Bytes>,
) -> Response {
    let header = PullResponse {
        suggest_which_broker_id: replica,
        next_begin_offset: next,
        min_offset: queue.base,
        max_offset: queue.end(),
        offset_delta: None,
        topic_sys_flag: None,
        group_sys_flag: None,
        forbidden_type: None,
    };
    let mut response = Response::of(&header);
    response.code = code;
    for record in records {
        response.body.push(record);
    }
    response
}
