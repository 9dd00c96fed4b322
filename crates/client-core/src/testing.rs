//! What tests of this crate stand on: a cluster that answers from tables, a clock that is moved by
//! hand, a member that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rmq_message::{CompactString, MessageQueue, Subscription, Timestamp};
use rmq_remoting::command::RemotingCommand;
use rmq_remoting::invoker::{Endpoint, InvokeError, Invoker};
use rmq_remoting::protocol::client::ConsumerIds;
use rmq_remoting::protocol::lock::{LockQueues, LockedQueues};
use rmq_remoting::protocol::route::{BrokerAddresses, BrokerQueues, GetRoute, TopicRoute};
use rmq_remoting::typed::Payload;
use rmq_remoting::{request_code, response_code};
use rmq_runtime::{BoxFuture, Clock, Monotonic, World};
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::commands::Door;
use crate::protocol::{ConsumeFromWhere, ConsumeType, MessageModel};
use crate::{
    ClientConfig, ClientInstance, GroupMember, MemberCommand, MemberHeartbeat, MemberReply,
    RequestHook,
};

/// A request that was made.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) to: String,
    pub(crate) request: RemotingCommand,
    pub(crate) timeout: Duration,
}

/// Name servers and brokers in a table. Everything whose address is in `down` refuses connections.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) routes: Mutex<BTreeMap<String, TopicRoute>>,
    pub(crate) ids: Mutex<Vec<CompactString>>,
    pub(crate) offsets: Mutex<BTreeMap<MessageQueue, i64>>,
    pub(crate) down: Mutex<BTreeSet<String>>,
    /// Answers that take the place of the usual ones, by request code.
    pub(crate) scripted: Mutex<BTreeMap<i32, RemotingCommand>>,
    pub(crate) calls: Mutex<Vec<Call>>,
    pub(crate) disconnected: Mutex<Vec<String>>,
    pub(crate) door: Mutex<Option<Arc<Door>>>,
    /// Heartbeats travel until it is told.
    pub(crate) slow_heartbeats: Mutex<Option<Arc<Notify>>>,
}

fn ok(payload: &impl Payload) -> RemotingCommand {
    let mut answer = RemotingCommand::response(response_code::SUCCESS);
    payload.write(&mut answer.fields, &mut answer.body);
    answer
}

/// An answer with nothing but a code.
pub(crate) fn refusal(code: i32) -> RemotingCommand {
    RemotingCommand::response(code).with_remark("scripted")
}

impl Cluster {
    /// What was asked, as `code@address`, since the last time.
    pub(crate) fn take_calls(&self, code: i32) -> Vec<String> {
        let mut calls = self.calls.lock();
        let (taken, rest) = calls.drain(..).partition(|call: &Call| call.request.code == code);
        *calls = rest;
        taken.into_iter().map(|call| call.to).collect()
    }

    pub(crate) fn last(&self, code: i32) -> Option<RemotingCommand> {
        let calls = self.calls.lock();
        calls.iter().rev().find(|c| c.request.code == code).map(|c| c.request.clone())
    }

    /// The time limit of the last request with that code.
    pub(crate) fn last_timeout(&self, code: i32) -> Option<Duration> {
        let calls = self.calls.lock();
        calls.iter().rev().find(|c| c.request.code == code).map(|c| c.timeout)
    }

    pub(crate) fn script(&self, code: i32, answer: RemotingCommand) {
        self.scripted.lock().insert(code, answer);
    }

    fn queue(request: &RemotingCommand) -> MessageQueue {
        let id = request.fields.require("queueId").unwrap();
        let (topic, broker) = (request.field("topic").unwrap(), request.field("bname").unwrap());
        MessageQueue::new(topic, broker, id)
    }

    fn answer(&self, request: &RemotingCommand) -> RemotingCommand {
        if let Some(answer) = self.scripted.lock().get(&request.code) {
            return answer.clone();
        }
        match request.code {
            request_code::GET_ROUTEINFO_BY_TOPIC => {
                let asked: GetRoute = request.payload().unwrap();
                assert_eq!(asked.accept_standard_json_only, Some(true));
                match self.routes.lock().get(asked.topic.as_str()) {
                    Some(route) => ok(route),
                    None => refusal(response_code::TOPIC_NOT_EXIST),
                }
            }
            request_code::GET_CONSUMER_LIST_BY_GROUP => {
                ok(&ConsumerIds { consumer_id_list: self.ids.lock().clone() })
            }
            request_code::QUERY_CONSUMER_OFFSET => {
                match self.offsets.lock().get(&Self::queue(request)) {
                    Some(at) => refusal(0).with_field("offset", &at.to_string()),
                    None => refusal(response_code::QUERY_NOT_FOUND),
                }
            }
            request_code::UPDATE_CONSUMER_OFFSET => {
                let at = request.fields.require("commitOffset").unwrap();
                self.offsets.lock().insert(Self::queue(request), at);
                refusal(0)
            }
            request_code::LOCK_BATCH_MQ => {
                let asked: LockQueues = request.payload().unwrap();
                ok(&LockedQueues { lock_ok_mq_set: asked.mq_set })
            }
            _ => refusal(0),
        }
    }

    fn take(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        let call = Call { to: to.to_string(), request: request.clone(), timeout };
        self.calls.lock().push(call);
        if self.down.lock().contains(to.as_str()) {
            let source = std::io::ErrorKind::ConnectionRefused.into();
            return Err(InvokeError::Connect { to: to.clone(), source });
        }
        Ok(self.answer(&request))
    }
}

#[async_trait]
impl Invoker for Cluster {
    async fn invoke(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        let slow = self.slow_heartbeats.lock().clone();
        if let Some(slow) = slow.filter(|_| request.code == request_code::HEART_BEAT) {
            slow.notified().await;
        }
        self.take(to, request, timeout)
    }

    async fn oneway(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(), InvokeError> {
        assert!(request.is_oneway());
        self.take(to, request, timeout).map(drop)
    }

    fn disconnect(&self, to: &Endpoint) {
        self.disconnected.lock().push(to.to_string());
    }
}

/// A route with 4 queues for reading and `write` for writing at each broker; addresses by id.
pub(crate) fn route(write: i32, brokers: &[(&str, &[(i64, &str)])]) -> TopicRoute {
    let mut route = TopicRoute::default();
    for (name, addresses) in brokers {
        route.broker_datas.push(BrokerAddresses {
            broker_addrs: addresses.iter().map(|(id, at)| (*id, (*at).into())).collect(),
            broker_name: (*name).into(),
            ..BrokerAddresses::default()
        });
        route.queue_datas.push(BrokerQueues {
            broker_name: (*name).into(),
            perm: 6,
            read_queue_nums: 4,
            write_queue_nums: write,
            ..BrokerQueues::default()
        });
    }
    route
}

/// A clock that stands until it is moved.
#[derive(Default)]
pub(crate) struct HandClock {
    state: Mutex<(Duration, Vec<Sleeper>)>,
}

type Sleeper = (Duration, oneshot::Sender<()>);

impl HandClock {
    /// Moves it in steps of 100 ms, and lets everything run in between.
    pub(crate) async fn advance(&self, by: Duration) {
        let step = Duration::from_millis(100);
        let end = self.state.lock().0 + by;
        settle().await;
        while self.state.lock().0 < end {
            let due: Vec<_> = {
                let mut state = self.state.lock();
                state.0 = (state.0 + step).min(end);
                let now = state.0;
                let (due, later) = state.1.drain(..).partition(|(at, _)| *at <= now);
                state.1 = later;
                due
            };
            for (_, wake) in due {
                let _waiter_is_gone = wake.send(());
            }
            settle().await;
        }
    }
}

/// Lets all tasks of this thread run until they wait.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

impl Clock for HandClock {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.state.lock().0
    }

    fn monotonic(&self) -> Monotonic {
        Monotonic(self.state.lock().0)
    }

    fn sleep_until(&self, at: Monotonic) -> BoxFuture<'static, ()> {
        let mut state = self.state.lock();
        if at.0 <= state.0 {
            return Box::pin(async {});
        }
        let (wake, woken) = oneshot::channel();
        state.1.push((at.0, wake));
        Box::pin(async {
            let _clock_is_gone = woken.await;
        })
    }

    fn utc_offset_ms(&self) -> i64 {
        0
    }
}

/// A cluster, a clock and a client in it.
pub(crate) struct Stage {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) instance: Arc<ClientInstance>,
}

impl Stage {
    /// With topic `T` at `broker-a` (a master and a replica) and `broker-b` (a master).
    pub(crate) fn new(adjust: impl FnOnce(&mut ClientConfig)) -> Self {
        Self::hooked(adjust, Vec::new())
    }

    pub(crate) fn hooked(
        adjust: impl FnOnce(&mut ClientConfig),
        hooks: Vec<Arc<dyn RequestHook>>,
    ) -> Self {
        let (cluster, clock) = (Arc::<Cluster>::default(), Arc::<HandClock>::default());
        cluster.routes.lock().insert("T".into(), two_brokers());
        let world = World { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..World::system() };
        let mut config = ClientConfig::new("ns1:9876;ns2:9876");
        config.client_ip = Some("10.0.0.7".parse().unwrap());
        config.instance_name = Some("test".into());
        adjust(&mut config);
        let invoker = Arc::clone(&cluster);
        let instance = ClientInstance::start_over(world, config, false, |_, _, door| {
            *invoker.door.lock() = Some(door);
            crate::hook::hooked(invoker, hooks)
        });
        Self { cluster, clock, instance: instance.unwrap() }
    }

    pub(crate) fn door(&self) -> Arc<Door> {
        self.cluster.door.lock().clone().unwrap()
    }
}

pub(crate) const A0: &str = "10.0.1.1:10911";
pub(crate) const A1: &str = "10.0.1.2:10911";
pub(crate) const B0: &str = "10.0.2.1:10911";

pub(crate) fn two_brokers() -> TopicRoute {
    route(2, &[("broker-b", &[(0, B0)]), ("broker-a", &[(0, A0), (1, A1)])])
}

/// A member that counts its runs and holds back its verdict when told so.
pub(crate) struct Counter {
    group: String,
    pub(crate) runs: Mutex<u32>,
    pub(crate) persisted: Mutex<u32>,
    pub(crate) balanced: Mutex<bool>,
    pub(crate) commands: Mutex<Vec<MemberCommand>>,
    pub(crate) reply: Mutex<Option<MemberReply>>,
    pub(crate) commanded: Semaphore,
    pub(crate) version: Mutex<i64>,
}

impl Counter {
    pub(crate) fn new(group: &str) -> Arc<Self> {
        Arc::new(Self {
            group: group.to_owned(),
            runs: Mutex::default(),
            persisted: Mutex::default(),
            balanced: Mutex::new(true),
            commands: Mutex::default(),
            reply: Mutex::default(),
            commanded: Semaphore::new(0),
            version: Mutex::new(1),
        })
    }
}

#[async_trait]
impl GroupMember for Counter {
    fn group(&self) -> &str {
        &self.group
    }

    fn heartbeat(&self) -> MemberHeartbeat {
        MemberHeartbeat {
            consume_type: ConsumeType::Push,
            model: MessageModel::Clustering,
            from_where: ConsumeFromWhere::LastOffset,
            subscriptions: vec![
                Subscription::tags("T", "TagA", Timestamp(*self.version.lock())).unwrap(),
            ],
            unit_mode: false,
        }
    }

    fn topics(&self) -> Vec<CompactString> {
        vec!["T".into()]
    }

    async fn rebalance(&self) -> bool {
        *self.runs.lock() += 1;
        *self.balanced.lock()
    }

    async fn persist_offsets(&self) {
        *self.persisted.lock() += 1;
    }

    async fn command(&self, command: MemberCommand) -> MemberReply {
        self.commands.lock().push(command);
        self.commanded.add_permits(1);
        let reply = self.reply.lock().clone();
        reply.unwrap_or_else(|| panic!("the member fails"))
    }
}

/// A stored message as the broker sends it.
pub(crate) fn record(queue_offset: i64, tag: &str, body: &[u8], sys_flag: i32) -> Bytes {
    use rmq_message::record::{NewRecord, Placement, crc};
    use rmq_message::{PhysicalOffset, QueueOffset};
    let properties = format!("TAGS\u{1}{tag}\u{2}UNIQ_KEY\u{1}ID{queue_offset}\u{2}");
    let record = NewRecord {
        topic: "T",
        queue_id: 9,
        flag: 5,
        sys_flag,
        born_timestamp: Timestamp(1),
        born_host: "1.2.3.4:5".parse().unwrap(),
        store_host: "10.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: if tag.is_empty() { b"" } else { properties.as_bytes() },
        tags_code: 0,
    };
    let at = Placement {
        queue_offset: QueueOffset(queue_offset),
        physical_offset: PhysicalOffset(1000 + queue_offset.unsigned_abs()),
        store_timestamp: Timestamp(2),
    };
    let mut out = Vec::new();
    record.encode(&mut out, record.encoded_len().unwrap(), crc(body), at);
    out.into()
}
