//! A broker over a store in a temporary directory, and what asks it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rmq_broker::{Broker, BrokerConfig};
use rmq_message::record::RecordView;
use rmq_message::sys_flag;
use rmq_remoting::frame::{self, FrameLimits};
use rmq_remoting::protocol::pull::PullMessage;
use rmq_remoting::protocol::send::SendMessage;
use rmq_remoting::{
    Endpoint, Invoker, LocalInvoker, Payload, RemotingCommand, TypedRequest, Unsupported,
};
use rmq_runtime::system::SystemClock;
use rmq_runtime::{ClockExt as _, Tasks, World};
use rmq_store::{Config, FlushDiskType, LocalStore};

pub(crate) const WAIT: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) world: World,
    pub(crate) tasks: Tasks,
    pub(crate) store: Arc<LocalStore>,
    pub(crate) broker: Arc<Broker>,
    invoker: LocalInvoker,
}

pub(crate) fn config(dir: &Path) -> BrokerConfig {
    BrokerConfig {
        broker_name: "broker-a".into(),
        broker_ip1: "127.0.0.2".parse().unwrap(),
        listen_port: 21911,
        store_path_root_dir: dir.to_owned(),
        message_delay_level: "1s 2s 1h".into(),
        flush_disk_type: FlushDiskType::Async,
        ..BrokerConfig::default()
    }
}

fn store_config(config: &BrokerConfig) -> Config {
    Config {
        store_path_root_dir: config.store_path_root_dir.clone(),
        mapped_file_size_commit_log: 8 << 20,
        max_hash_slot_num: 100,
        max_index_num: 400,
        flush_disk_type: config.flush_disk_type,
        message_delay_level: config.message_delay_level.clone(),
        ..Config::default()
    }
}

impl Fixture {
    /// Opens and starts.
    pub(crate) fn start(config: BrokerConfig) -> Self {
        Self::start_in(World::system(), config)
    }

    /// Opens and starts in a world of choice.
    pub(crate) fn start_in(world: World, config: BrokerConfig) -> Self {
        let tasks = Tasks::new("test");
        let store = LocalStore::open(&world, &tasks, store_config(&config)).unwrap();
        let broker = Broker::open(&world, &tasks, config, Arc::clone(&store)).unwrap();
        let nobody = LocalInvoker::new(Arc::new(Unsupported), Arc::clone(&world.clock));
        broker.start(Arc::new(nobody));
        let invoker = LocalInvoker::new(Arc::clone(&broker) as _, Arc::clone(&world.clock));
        Self { world, tasks, store, broker, invoker }
    }

    /// Why it does not open.
    pub(crate) fn refused(config: BrokerConfig) -> String {
        let (world, tasks) = (World::system(), Tasks::new("test"));
        let store = LocalStore::open(&world, &tasks, store_config(&config)).unwrap();
        Broker::open(&world, &tasks, config, store).err().unwrap().to_string()
    }

    /// Stops as a server does.
    pub(crate) async fn stop(self) {
        assert_eq!(self.broker.stop().await, Vec::<String>::new());
        self.store.stop().await.unwrap();
        drop(self.invoker);
        self.tasks.stop(&*self.world.clock, WAIT).await;
    }

    /// Another connection.
    pub(crate) fn connect(&self) -> LocalInvoker {
        LocalInvoker::new(Arc::clone(&self.broker) as _, Arc::clone(&self.world.clock))
    }

    pub(crate) async fn ask(&self, request: RemotingCommand) -> RemotingCommand {
        ask(&self.invoker, request).await
    }

    pub(crate) async fn call<R: TypedRequest>(&self, request: &R) -> R::Response {
        call(&self.invoker, request).await
    }

    pub(crate) async fn oneway(&self, request: RemotingCommand) {
        self.invoker.oneway(&nowhere(), request, WAIT).await.unwrap();
    }

    pub(crate) async fn send(&self, topic: &str, body: &str, properties: &str) -> RemotingCommand {
        let header = header(topic, properties);
        self.ask(header.to_command(Bytes::copy_from_slice(body.as_bytes()))).await
    }

    /// Pulls with a subscription of its own, without waiting.
    pub(crate) async fn pull(&self, topic: &str, queue_id: i32, offset: i64) -> RemotingCommand {
        self.ask(pull(topic, queue_id, offset).to_command()).await
    }
}

/// What is waited for; a test that waits in vain fails.
pub(crate) async fn soon<T>(what: impl Future<Output = T> + Send) -> T {
    SystemClock::new().timeout(WAIT, what).await.expect("it comes soon")
}

pub(crate) fn nowhere() -> Endpoint {
    "127.0.0.1:1".parse().unwrap()
}

pub(crate) async fn ask(invoker: &dyn Invoker, request: RemotingCommand) -> RemotingCommand {
    invoker.invoke(&nowhere(), request, WAIT).await.unwrap()
}

pub(crate) async fn call<R: TypedRequest>(invoker: &dyn Invoker, request: &R) -> R::Response {
    let answer = ask(invoker, request.to_command()).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    answer.payload().unwrap()
}

pub(crate) fn header<'a>(topic: &'a str, properties: &'a str) -> SendMessage<'a> {
    SendMessage {
        producer_group: "GP",
        topic,
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 0,
        born_timestamp: 1,
        properties,
        ..SendMessage::default()
    }
}

pub(crate) fn pull(topic: &str, queue_id: i32, offset: i64) -> PullMessage<'_> {
    PullMessage {
        consumer_group: "GC",
        topic,
        queue_id,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: sys_flag::pull::SUBSCRIPTION,
        suspend_timeout_millis: 15_000,
        subscription: Some("*"),
        expression_type: Some("TAG"),
        ..PullMessage::default()
    }
}

/// One stored message, as far as tests look at it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) body: String,
    pub(crate) topic: String,
    pub(crate) queue_id: i32,
    pub(crate) offset: i64,
    pub(crate) physical: i64,
    pub(crate) reconsume_times: i32,
    pub(crate) properties: rmq_message::Properties,
}

/// The messages of an answer.
pub(crate) fn seen(mut body: &[u8]) -> Vec<Seen> {
    let mut all = Vec::new();
    while !body.is_empty() {
        let record = RecordView::parse(body).unwrap();
        all.push(Seen {
            body: String::from_utf8_lossy(record.body).into_owned(),
            topic: record.topic.to_owned(),
            queue_id: record.queue_id,
            offset: record.queue_offset.0,
            physical: record.physical_offset.to_i64(),
            reconsume_times: record.reconsume_times,
            properties: rmq_message::Properties::parse(
                std::str::from_utf8(record.properties).unwrap(),
            ),
        });
        body = &body[record.total_len..];
    }
    all
}

pub(crate) fn bodies(answer: &RemotingCommand) -> Vec<String> {
    seen(&answer.body).into_iter().map(|message| message.body).collect()
}

pub(crate) fn payload<P: Payload>(answer: &RemotingCommand) -> P {
    answer.payload().unwrap()
}

/// A recorded frame.
pub(crate) fn recorded(path: &str) -> RemotingCommand {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path);
    let bytes = World::system().disk.read(&path).unwrap();
    frame::decode(&mut BytesMut::from(&bytes[..]), &FrameLimits::SERVER).unwrap().unwrap()
}
