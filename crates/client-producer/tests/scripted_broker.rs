//! A producer against brokers that answer what the test tells them to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client_core::{ClientConfig, ClientInstance};
use rmq_client_producer::{
    ByHash, ErrorKind, FailedSend, Message, MessageQueue, Producer, ProducerConfig, SendError,
    SendReceipt, SendStatus,
};
use rmq_message::compression::Codec;
use rmq_message::{batch, properties, property};
use rmq_remoting::command::{RemotingCommand, Response};
use rmq_remoting::peer::Peer;
use rmq_remoting::processor::{Processor, Reply};
use rmq_remoting::protocol::route::{BrokerAddresses, BrokerQueues, TopicRoute};
use rmq_remoting::protocol::send::{SendMessage, SendResponse};
use rmq_remoting::server::{Server, ServerHandle};
use rmq_remoting::{request_code, response_code};
use rmq_runtime::{Tasks, World};

const TOPIC: &str = "Orders";
/// A topic that is made by its first send.
const NEW_TOPIC: &str = "New";

#[derive(Clone, Copy)]
enum Answer {
    /// With this code, as if the message were stored.
    Stored(i32),
    Refused(i32),
    Silence,
    Hangup,
}

/// A send as the broker saw it.
#[derive(Clone, Debug)]
struct Seen {
    broker: &'static str,
    code: i32,
    oneway: bool,
    topic: String,
    queue_id: i32,
    sys_flag: i32,
    properties: String,
    body: Vec<u8>,
}

/// What all scripted servers know together.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
    addresses: Mutex<BTreeMap<&'static str, String>>,
    next_offset: AtomicI64,
}

struct Scripted {
    name: &'static str,
    script: Arc<Script>,
}

impl Processor for Scripted {
    fn process(&self, peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        match request.code {
            request_code::GET_ROUTEINFO_BY_TOPIC => self.route(request.field("topic")),
            request_code::SEND_MESSAGE_V2 | request_code::SEND_BATCH_MESSAGE => {
                self.store(peer, &request)
            }
            request_code::HEART_BEAT | request_code::UNREGISTER_CLIENT => Response::ok().into(),
            other => Response::not_supported(other).into(),
        }
    }
}

impl Scripted {
    fn route(&self, topic: Option<&str>) -> Reply {
        if !matches!(topic, Some(TOPIC | "TBW102")) {
            return Response::error(response_code::TOPIC_NOT_EXIST, "no such topic").into();
        }
        let addresses = self.script.addresses.lock();
        let brokers = addresses.iter().filter(|(name, _)| **name != "namesrv");
        let route = TopicRoute {
            broker_datas: brokers
                .clone()
                .map(|(name, address)| BrokerAddresses {
                    broker_addrs: [(0, address.as_str().into())].into(),
                    broker_name: (*name).into(),
                    cluster: "c".into(),
                    ..BrokerAddresses::default()
                })
                .collect(),
            queue_datas: brokers
                .map(|(name, _)| BrokerQueues {
                    broker_name: (*name).into(),
                    perm: 7,
                    read_queue_nums: 8,
                    write_queue_nums: 8,
                    topic_sys_flag: 0,
                })
                .collect(),
            ..TopicRoute::default()
        };
        Response::of(&route).into()
    }

    fn store(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Reply {
        let header = SendMessage::from_fields(&request.fields).unwrap();
        self.script.seen.lock().push(Seen {
            broker: self.name,
            code: request.code,
            oneway: request.is_oneway(),
            topic: header.topic.to_owned(),
            queue_id: header.queue_id,
            sys_flag: header.sys_flag,
            properties: header.properties.to_owned(),
            body: request.body.to_vec(),
        });
        let answer = self.script.answers.lock().pop_front();
        match answer.unwrap_or(Answer::Stored(response_code::SUCCESS)) {
            Answer::Stored(code) => {
                let stored = SendResponse {
                    msg_id: "7F00000100002A9F0000000000000000".into(),
                    queue_id: header.queue_id,
                    queue_offset: self.script.next_offset.fetch_add(1, Ordering::Relaxed),
                    transaction_id: None,
                    batch_uniq_id: None,
                    recall_handle: None,
                    region: Some("north".into()),
                    trace_on: None,
                };
                Response { code, ..Response::of(&stored) }.into()
            }
            Answer::Refused(code) => Response::error(code, "as the test says").into(),
            Answer::Silence => Reply::None,
            Answer::Hangup => {
                peer.close();
                Reply::None
            }
        }
    }
}

struct Stage {
    script: Arc<Script>,
    producer: Producer,
    tasks: Tasks,
    _servers: Vec<ServerHandle>,
}

impl Stage {
    /// A name server, these brokers with 8 queues each, and a producer.
    async fn new(brokers: &[&'static str], config: ProducerConfig) -> Self {
        let (world, tasks) = (World::system(), Tasks::new("test"));
        let script = Arc::new(Script::default());
        let mut servers = Vec::new();
        for name in ["namesrv"].iter().chain(brokers) {
            let processor = Scripted { name, script: Arc::clone(&script) };
            let server = Server::builder(world.clone(), &tasks)
                .processor(Arc::new(processor))
                .start()
                .await
                .unwrap();
            script.addresses.lock().insert(name, server.local_addr().to_string());
            servers.push(server);
        }
        let namesrv = script.addresses.lock()["namesrv"].clone();
        let config = ProducerConfig { group: "orders".to_owned(), ..config };
        let producer = Producer::builder().config(config).namesrv(&namesrv).start().await.unwrap();
        Self { script, producer, tasks, _servers: servers }
    }

    fn answer(&self, answers: &[Answer]) {
        self.script.answers.lock().extend(answers);
    }

    async fn send(&self) -> Result<SendReceipt, SendError> {
        self.producer.send(Message::new(TOPIC, "paid")).await
    }

    fn seen(&self) -> Vec<Seen> {
        self.script.seen.lock().clone()
    }

    fn brokers_seen(&self) -> Vec<&'static str> {
        self.seen().iter().map(|seen| seen.broker).collect()
    }

    async fn stop(self) {
        self.producer.shutdown().await;
        let world = World::system();
        let left = self.tasks.stop(world.clock.as_ref(), Duration::from_secs(10)).await;
        assert_eq!(left, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_stored_message_has_a_receipt() {
    let stage = Stage::new(&["a"], ProducerConfig::default()).await;
    let message = Message::new(TOPIC, "paid").with_tag("eu");
    let receipt = stage.producer.send(message).await.unwrap();
    let seen = stage.seen().remove(0);
    assert_eq!(receipt.status, SendStatus::Ok);
    assert_eq!(receipt.queue, MessageQueue::new(TOPIC, "a", seen.queue_id));
    assert_eq!((receipt.queue_offset.0, receipt.region.as_str()), (0, "north"));
    assert_eq!(receipt.offset_id, "7F00000100002A9F0000000000000000");
    let id = properties::find(seen.properties.as_bytes(), property::UNIQ_KEY);
    assert_eq!(id, Some(receipt.id.as_str()));
    assert_eq!(seen.code, request_code::SEND_MESSAGE_V2);
    stage.stop().await;
}

#[tokio::test]
async fn every_queue_of_every_broker_has_its_turn() {
    let stage = Stage::new(&["a", "b"], ProducerConfig::default()).await;
    for _ in 0..16 {
        stage.send().await.unwrap();
    }
    let mut places: Vec<_> = stage.seen().iter().map(|s| (s.broker, s.queue_id)).collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 16);
    stage.stop().await;
}

#[tokio::test]
async fn a_passing_refusal_is_tried_again_at_another_broker() {
    // GO_AWAY is answered below: the connection is made anew, and the same broker asked once more.
    let codes = ProducerConfig::default().retry_codes;
    for code in codes.into_iter().filter(|code| *code != response_code::GO_AWAY) {
        let stage = Stage::new(&["a", "b"], ProducerConfig::default()).await;
        stage.answer(&[Answer::Refused(code)]);
        let receipt = stage.send().await.unwrap();
        let seen = stage.seen();
        assert_eq!(seen.len(), 2, "code {code}");
        assert_ne!(seen[0].broker, seen[1].broker);
        assert_eq!(receipt.queue.broker_name, seen[1].broker);
        assert_eq!(seen[0].properties, seen[1].properties, "both copies have one id");
        stage.stop().await;
    }
}

#[tokio::test]
async fn a_refusal_for_good_is_not_tried_again() {
    let stage = Stage::new(&["a", "b"], ProducerConfig::default()).await;
    stage.answer(&[Answer::Refused(response_code::MESSAGE_ILLEGAL)]);
    let error = stage.send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected);
    assert!(error.to_string().contains("CODE: 13  DESC: as the test says"), "{error}");
    assert_eq!(stage.seen().len(), 1);
    stage.stop().await;
}

#[tokio::test]
async fn tries_end_and_the_error_names_the_brokers() {
    let stage = Stage::new(&["a", "b"], ProducerConfig::default()).await;
    stage.answer(&[Answer::Refused(response_code::SYSTEM_BUSY); 3]);
    let error = stage.send().await.unwrap_err();
    let SendError::Failed(failed) = &error else { panic!("{error:?}") };
    let FailedSend { tries, brokers, may_be_stored, .. } = &**failed;
    assert_eq!((*tries, *may_be_stored), (3, false));
    assert_eq!(*brokers, stage.brokers_seen());
    assert_eq!(brokers[0], brokers[2]);
    assert!(error.to_string().starts_with("Send [3] times, still failed, cost ["), "{error}");
    assert_eq!(error.kind(), ErrorKind::Retry);
    stage.stop().await;
}

#[tokio::test]
async fn no_answer_means_unknown_and_is_not_waited_for_longer_than_allowed() {
    let config = ProducerConfig { timeout: Duration::from_millis(100), ..Default::default() };
    let stage = Stage::new(&["a", "b"], config).await;
    stage.producer.queues(TOPIC).await.unwrap();
    stage.answer(&[Answer::Silence]);
    let error = stage.send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().starts_with("Send [1] times"), "{error}");
    stage.stop().await;
}

#[tokio::test]
async fn a_silent_broker_costs_one_try_when_tries_have_a_limit() {
    let try_timeout = Some(Duration::from_millis(100));
    let config = ProducerConfig {
        timeout: Duration::from_secs(20),
        try_timeout,
        ..ProducerConfig::default()
    };
    let stage = Stage::new(&["a", "b"], config).await;
    stage.answer(&[Answer::Silence]);
    stage.send().await.unwrap();
    let brokers = stage.brokers_seen();
    assert_eq!(brokers.len(), 2);
    assert_ne!(brokers[0], brokers[1]);

    // A refusal at last does not make the first try known.
    stage.answer(&[Answer::Silence, Answer::Refused(response_code::MESSAGE_ILLEGAL)]);
    let error = stage.send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    stage.stop().await;
}

#[tokio::test]
async fn a_broken_connection_is_tried_again() {
    let stage = Stage::new(&["a", "b"], ProducerConfig::default()).await;
    stage.answer(&[Answer::Hangup]);
    stage.send().await.unwrap();
    assert_eq!(stage.seen().len(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn stored_but_not_safe_is_told_and_tried_again_only_on_demand() {
    for (code, status) in [
        (response_code::FLUSH_DISK_TIMEOUT, SendStatus::FlushDiskTimeout),
        (response_code::FLUSH_SLAVE_TIMEOUT, SendStatus::FlushReplicaTimeout),
        (response_code::SLAVE_NOT_AVAILABLE, SendStatus::ReplicaNotAvailable),
    ] {
        let stage = Stage::new(&["a", "b"], ProducerConfig::default()).await;
        stage.answer(&[Answer::Stored(code)]);
        assert_eq!(stage.send().await.unwrap().status, status);
        assert_eq!(stage.seen().len(), 1);
        stage.stop().await;
    }
    let config = ProducerConfig { retry_when_not_safe: true, ..ProducerConfig::default() };
    let stage = Stage::new(&["a", "b"], config).await;
    stage.answer(&[Answer::Stored(response_code::FLUSH_DISK_TIMEOUT)]);
    assert_eq!(stage.send().await.unwrap().status, SendStatus::Ok);
    stage.answer(&[Answer::Stored(response_code::FLUSH_DISK_TIMEOUT); 3]);
    assert_eq!(stage.send().await.unwrap().status, SendStatus::FlushDiskTimeout);
    assert_eq!(stage.seen().len(), 5);
    stage.stop().await;
}

#[tokio::test]
async fn a_chosen_queue_is_tried_once() {
    let stage = Stage::new(&["a", "b"], ProducerConfig::default()).await;
    let queue = MessageQueue::new(TOPIC, "b", 5);
    let receipt = stage.producer.send_to(&queue, Message::new(TOPIC, "1")).await.unwrap();
    assert_eq!(receipt.queue, queue);
    let last = |queues: &[MessageQueue], _: &Message| queues.len() - 1;
    let receipt = stage.producer.send_with(&last, Message::new(TOPIC, "2")).await.unwrap();
    assert_eq!(receipt.queue, MessageQueue::new(TOPIC, "b", 7));
    let by_key = ByHash("order-paid"); // 710106603 % 16 = 11
    let receipt = stage.producer.send_with(&by_key, Message::new(TOPIC, "3")).await.unwrap();
    assert_eq!(receipt.queue, MessageQueue::new(TOPIC, "b", 3));
    let beyond = |queues: &[MessageQueue], _: &Message| queues.len();
    let error = stage.producer.send_with(&beyond, Message::new(TOPIC, "4")).await.unwrap_err();
    assert!(matches!(error, SendError::NoQueue));
    stage.answer(&[Answer::Refused(response_code::SYSTEM_BUSY)]);
    assert!(stage.producer.send_to(&queue, Message::new(TOPIC, "5")).await.is_err());
    assert_eq!(stage.seen().len(), 4);
    stage.stop().await;
}

#[tokio::test]
async fn large_bodies_are_compressed_and_marked() {
    let stage = Stage::new(&["a"], ProducerConfig::default()).await;
    for len in [4095, 4096, 200_000] {
        stage.producer.send(Message::new(TOPIC, vec![b'x'; len])).await.unwrap();
        let seen = stage.seen().pop().unwrap();
        if len < 4096 {
            assert_eq!((seen.sys_flag, seen.body.len()), (0, len));
        } else {
            assert_eq!(seen.sys_flag, Codec::Zlib.flags());
            assert_eq!(Codec::Zlib.decompress(&seen.body, len).unwrap(), vec![b'x'; len]);
        }
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_batch_goes_in_one_request() {
    let stage = Stage::new(&["a"], ProducerConfig::default()).await;
    let messages = (0..3).map(|i| Message::new(TOPIC, format!("{i}")).with_keys([format!("k{i}")]));
    let receipt = stage.producer.send_batch(messages.collect()).await.unwrap();
    let seen = stage.seen().remove(0);
    assert_eq!(seen.code, request_code::SEND_BATCH_MESSAGE);
    let items = batch::decode(&seen.body).unwrap();
    let ids: Vec<_> = items
        .iter()
        .map(|item| properties::find(item.properties, property::UNIQ_KEY).unwrap())
        .collect();
    assert_eq!(receipt.id, ids.join(","));
    assert_eq!(items.iter().map(|item| item.body).collect::<Vec<_>>(), [b"0", b"1", b"2"]);
    assert_eq!(properties::find(items[2].properties, property::KEYS), Some("k2"));
    stage.stop().await;
}

#[tokio::test]
async fn one_way_sends_want_no_answer() {
    let stage = Stage::new(&["a"], ProducerConfig::default()).await;
    stage.producer.send_oneway(Message::new(TOPIC, "1")).await.unwrap();
    // The same connection serves this one behind it.
    stage.send().await.unwrap();
    let seen = stage.seen();
    assert_eq!(seen.iter().map(|seen| seen.oneway).collect::<Vec<_>>(), [true, false]);
    stage.stop().await;
}

#[tokio::test]
async fn an_unknown_topic_is_made_by_its_first_send() {
    let stage = Stage::new(&["a"], ProducerConfig::default()).await;
    for _ in 0..8 {
        stage.producer.send(Message::new(NEW_TOPIC, "1")).await.unwrap();
    }
    let seen = stage.seen();
    assert!(seen.iter().all(|seen| seen.topic == NEW_TOPIC && seen.queue_id < 4), "{seen:?}");
    stage.stop().await;
}

#[tokio::test]
async fn sends_beyond_the_limit_wait_for_their_turn() {
    let config = ProducerConfig {
        in_flight_max: 2,
        timeout: Duration::from_millis(200),
        ..ProducerConfig::default()
    };
    let stage = Stage::new(&["a"], config).await;
    stage.producer.queues(TOPIC).await.unwrap();
    stage.answer(&[Answer::Silence, Answer::Silence]);
    let (one, two, three) = tokio::join!(stage.send(), stage.send(), stage.send());
    assert_eq!(one.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(two.unwrap_err().kind(), ErrorKind::Timeout);
    // It got its turn when the others gave up, or was told that it cannot have one.
    if let Err(error) = three {
        assert!(
            matches!(error, SendError::Busy { limit: 2, .. } | SendError::Late { .. }),
            "{error}"
        );
    }
    stage.send().await.unwrap();
    stage.stop().await;
}

#[tokio::test]
async fn many_sends_share_one_producer() {
    let stage = Stage::new(&["a", "b"], ProducerConfig::default()).await;
    let sends = (0..3000).map(|i| {
        let producer = stage.producer.clone();
        async move { producer.send(Message::new(TOPIC, format!("{i}"))).await }
    });
    let receipts = futures_util::future::join_all(sends).await;
    let mut ids: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap().id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3000);
    stage.stop().await;
}

#[tokio::test]
async fn a_slow_broker_is_avoided_when_the_settings_say_so() {
    let config = ProducerConfig { avoid_slow_brokers: true, ..ProducerConfig::default() };
    let stage = Stage::new(&["a", "b"], config).await;
    stage.answer(&[Answer::Refused(response_code::SYSTEM_BUSY)]);
    for _ in 0..20 {
        stage.send().await.unwrap();
    }
    let brokers = stage.brokers_seen();
    assert!(brokers[1..].iter().all(|broker| *broker != brokers[0]), "{brokers:?}");
    stage.stop().await;
}

#[tokio::test]
async fn a_producer_that_is_shut_down_refuses() {
    let stage = Stage::new(&["a"], ProducerConfig::default()).await;
    let (sent, ()) = tokio::join!(stage.send(), async {
        stage.producer.clone().shutdown().await;
    });
    sent.unwrap();
    let error = stage.send().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    stage.stop().await;
}

#[tokio::test]
async fn a_group_has_one_producer_at_a_client() {
    let stage = Stage::new(&["a"], ProducerConfig::default()).await;
    let error = Producer::builder().group("DEFAULT_PRODUCER").start().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    stage.stop().await;
}

#[tokio::test]
async fn a_traced_producer_tells_of_its_sends_and_leaves_nothing_behind() {
    let stage = Stage::new(&["a"], ProducerConfig::default()).await;
    let namesrv = stage.script.addresses.lock()["namesrv"].clone();
    let config =
        ClientConfig { namesrv: vec![namesrv], enable_trace: true, ..ClientConfig::default() };
    let instance = ClientInstance::start(World::system(), config, false).await.unwrap();
    for key in ["first", "second"] {
        let producer = Producer::builder().group("traced").instance(&instance);
        let producer = producer.start().await.unwrap();
        let receipt = producer.send(Message::new(TOPIC, "paid").with_keys([key])).await.unwrap();
        producer.shutdown().await;
        let told = stage.seen().pop().unwrap();
        assert_eq!(told.topic, "RMQ_SYS_TRACE_TOPIC");
        let properties = told.properties.as_bytes();
        let keys = properties::find(properties, property::KEYS).unwrap();
        assert_eq!(keys, format!("{} {key}", receipt.id));
        let text = String::from_utf8(told.body).unwrap();
        let fields: Vec<&str> = text.trim_end_matches('\u{2}').split('\u{1}').collect();
        assert_eq!((fields.len(), fields[0], fields[2], fields[3]), (14, "Pub", "north", "traced"));
        assert_eq!((fields[4], fields[5], fields[7]), (TOPIC, receipt.id.as_str(), key));
    }
    assert_eq!(instance.shutdown(Duration::from_secs(10)).await, Vec::<String>::new());
    assert_eq!(instance.tasks().running(), Vec::<String>::new());
    stage.stop().await;
}
