//! What a message costs in the push consumer, from the bytes of a pull's answer to its acknowledgement, and how soon a
//! consumer that waits has it. The broker is played: its answers are ready made, so what is measured is the client.

#![expect(clippy::unwrap_used, reason = "a bench that panics has failed")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use parking_lot::Mutex;
use rmq_client_core::protocol::Endpoint;
use rmq_client_core::{ClientConfig, ClientInstance};
use rmq_client_push::{ConsumeContext, ConsumeFrom, Messages, PushConsumer, PushSettings};
use rmq_message::record::{NewRecord, Placement, crc};
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp};
use rmq_remoting::command::{RemotingCommand, Response};
use rmq_remoting::local::LocalInvoker;
use rmq_remoting::peer::Peer;
use rmq_remoting::processor::{Processor, Reply};
use rmq_remoting::protocol::client::ConsumerIds;
use rmq_remoting::protocol::offset::OffsetResponse;
use rmq_remoting::protocol::pull::PullResponse;
use rmq_remoting::protocol::route::{BrokerAddresses, BrokerQueues, TopicRoute};
use rmq_remoting::{Server, ServerConfig, request_code, response_code};
use rmq_runtime::{Tasks, World};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, oneshot};

const TOPIC: &str = "T";
const BATCH: i64 = 32;
const BODY: usize = 256;
/// Where a record keeps its queue offset.
const QUEUE_OFFSET_AT: usize = 20;

/// What the broker does with pulls.
enum Stock {
    /// Answers each at once with a full batch.
    Endless,
    /// Holds the last one until the bench lets it go.
    Held(Mutex<Option<oneshot::Sender<()>>>, Notify),
}

/// Name server and broker in one.
struct Played {
    address: OnceLock<Endpoint>,
    client_id: OnceLock<String>,
    queues: i32,
    record: Vec<u8>,
    stock: Stock,
}

impl Played {
    fn new(queues: i32, stock: Stock) -> Arc<Self> {
        let (address, client_id) = (OnceLock::new(), OnceLock::new());
        Arc::new(Self { address, client_id, queues, record: record(), stock })
    }

    fn route(&self) -> TopicRoute {
        let address = self.address.get().unwrap().as_str();
        TopicRoute {
            broker_datas: vec![BrokerAddresses {
                broker_addrs: [(0, address.into())].into(),
                broker_name: "a".into(),
                ..BrokerAddresses::default()
            }],
            queue_datas: vec![BrokerQueues {
                broker_name: "a".into(),
                perm: 6,
                read_queue_nums: self.queues,
                write_queue_nums: self.queues,
                topic_sys_flag: 0,
            }],
            ..TopicRoute::default()
        }
    }

    fn pull(&self, request: &RemotingCommand) -> Reply {
        if request.field("topic") != Some(TOPIC) {
            return Reply::Later(Box::pin(std::future::pending()));
        }
        let from: i64 = request.field("queueOffset").unwrap().parse().unwrap();
        match &self.stock {
            Stock::Endless => self.batch(from, BATCH).into(),
            Stock::Held(held, pulled) => {
                let (go, going) = oneshot::channel();
                *held.lock() = Some(go);
                pulled.notify_one();
                let answer = self.batch(from, 1);
                Reply::Later(Box::pin(async move {
                    drop(going.await);
                    answer
                }))
            }
        }
    }

    fn batch(&self, from: i64, count: i64) -> Response {
        let mut response = Response::of(&PullResponse {
            suggest_which_broker_id: 0,
            next_begin_offset: from + count,
            min_offset: 0,
            max_offset: i64::MAX,
            offset_delta: None,
            topic_sys_flag: None,
            group_sys_flag: None,
            forbidden_type: None,
        });
        response.code = response_code::SUCCESS;
        let mut body = self.record.repeat(usize::try_from(count).unwrap());
        for (record, offset) in body.chunks_exact_mut(self.record.len()).zip(from..) {
            let place = record.get_mut(QUEUE_OFFSET_AT..QUEUE_OFFSET_AT + 8).unwrap();
            place.copy_from_slice(&offset.to_be_bytes());
        }
        response.body.push(Bytes::from(body));
        response
    }
}

impl Processor for Played {
    fn process(&self, _peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        match request.code {
            request_code::GET_ROUTEINFO_BY_TOPIC if request.field("topic") == Some(TOPIC) => {
                Response::of(&self.route()).into()
            }
            request_code::GET_ROUTEINFO_BY_TOPIC => {
                Response::error(response_code::TOPIC_NOT_EXIST, "no route").into()
            }
            request_code::GET_CONSUMER_LIST_BY_GROUP => {
                let me = self.client_id.get().map(|id| id.as_str().into());
                Response::of(&ConsumerIds { consumer_id_list: me.into_iter().collect() }).into()
            }
            request_code::QUERY_CONSUMER_OFFSET => {
                Response::of(&OffsetResponse { offset: 0 }).into()
            }
            request_code::PULL_MESSAGE => self.pull(&request),
            _ => Response::ok().into(),
        }
    }
}

fn record() -> Vec<u8> {
    let body = vec![b'x'; BODY];
    let properties = "KEYS\u{1}order-1234567\u{2}UNIQ_KEY\u{1}FD0000000000000000000000000000024\
                      6E25FFD2B2769C116FD0000\u{2}WAIT\u{1}true\u{2}";
    let record = NewRecord {
        topic: TOPIC,
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: Timestamp(1),
        born_host: "127.0.0.1:1".parse().unwrap(),
        store_host: "127.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &body,
        properties: properties.as_bytes(),
        tags_code: 0,
    };
    let at = Placement {
        queue_offset: QueueOffset(0),
        physical_offset: PhysicalOffset::from_i64(0).unwrap(),
        store_timestamp: Timestamp(2),
    };
    let mut out = Vec::new();
    record.encode(&mut out, record.encoded_len().unwrap(), crc(&body), at);
    out
}

/// Counts what the listener gets and tells when a mark is reached.
#[derive(Default)]
struct Count {
    come: AtomicU64,
    mark: AtomicU64,
    reached: Notify,
}

impl Count {
    fn add(&self, messages: &Messages) {
        let count = u64::try_from(messages.len()).unwrap();
        let before = self.come.fetch_add(count, Ordering::AcqRel);
        let mark = self.mark.load(Ordering::Acquire);
        if before < mark && mark <= before + count {
            self.reached.notify_one();
        }
    }

    /// Begins to wait for so many more messages.
    fn expect(&self, messages: u64) -> Instant {
        self.mark.store(self.come.load(Ordering::Acquire) + messages, Ordering::Release);
        Instant::now()
    }

    /// How long they took.
    async fn since(&self, begun: Instant) -> Duration {
        while self.come.load(Ordering::Acquire) < self.mark.load(Ordering::Acquire) {
            self.reached.notified().await;
        }
        begun.elapsed()
    }

    async fn time(&self, messages: u64) -> Duration {
        self.since(self.expect(messages)).await
    }
}

async fn consume(
    played: &Played,
    instance: &Arc<ClientInstance>,
    count: &Arc<Count>,
) -> PushConsumer {
    played.client_id.set(instance.client_id().to_owned()).unwrap();
    let count = Arc::clone(count);
    let settings = PushSettings { first_pull_delay_millis: 0, ..PushSettings::default() };
    PushConsumer::builder()
        .settings(settings)
        .instance(instance)
        .group("bench")
        .subscribe(TOPIC, "*")
        .consume_from(ConsumeFrom::FirstOffset)
        .listener(move |messages: Messages, _: ConsumeContext| {
            count.add(&messages);
            std::future::ready(())
        })
        .start()
        .await
        .unwrap()
}

/// Without sockets, on one thread: the time is what the processor has to do.
async fn alone(queues: i32, count: &Arc<Count>) -> (Tasks, PushConsumer) {
    let played = Played::new(queues, Stock::Endless);
    played.address.set("127.0.0.1:10911".parse().unwrap()).unwrap();
    let config = ClientConfig { namesrv: vec!["names:1".into()], ..ClientConfig::default() };
    let broker = Arc::clone(&played);
    let instance = ClientInstance::start_over(World::system(), config, false, |world, _, _| {
        Arc::new(LocalInvoker::new(broker, Arc::clone(&world.clock)))
    });
    let consumer = consume(&played, &instance.unwrap(), count).await;
    (Tasks::new("none"), consumer)
}

/// Over loopback; the broker has a thread of its own.
async fn over_loopback(played: &Arc<Played>, count: &Arc<Count>) -> (Tasks, PushConsumer) {
    let tasks = Tasks::new("bench");
    let config = ServerConfig { shards: 1, ..ServerConfig::default() };
    let server = Server::builder(World::system(), &tasks).config(config);
    let server = server.processor(Arc::clone(played) as _).start().await.unwrap();
    let address = server.local_addr().to_string();
    played.address.set(address.parse().unwrap()).unwrap();
    let config = ClientConfig { namesrv: vec![address], ..ClientConfig::default() };
    let instance = ClientInstance::start(World::system(), config, false).await.unwrap();
    let consumer = consume(played, &instance, count).await;
    (tasks, consumer)
}

async fn end(tasks: Tasks, consumer: PushConsumer) {
    consumer.shutdown(Duration::from_secs(1)).await;
    tasks.stop(&*World::system().clock, Duration::from_secs(1)).await;
}

fn threads(count: usize) -> Runtime {
    match count {
        1 => Builder::new_current_thread().enable_all().build().unwrap(),
        _ => Builder::new_multi_thread().worker_threads(count).enable_all().build().unwrap(),
    }
}

fn flow(criterion: &mut Criterion) {
    for (name, workers) in [("alone", 1), ("loopback", 2)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1)).sample_size(20);
        for queues in [1, 4, 64] {
            let (runtime, count) = (threads(workers), Arc::new(Count::default()));
            let (tasks, consumer) = runtime.block_on(async {
                let running = match workers {
                    1 => alone(queues, &count).await,
                    _ => over_loopback(&Played::new(queues, Stock::Endless), &count).await,
                };
                count.time(10_000).await;
                running
            });
            group.bench_function(format!("{queues} queues"), |bencher| {
                bencher.iter_custom(|messages| runtime.block_on(count.time(messages)));
            });
            runtime.block_on(end(tasks, consumer));
        }
    }
}

/// From the moment the broker has a message for a pull that it holds to the listener.
fn waiting(criterion: &mut Criterion) {
    let (runtime, count) = (threads(2), Arc::new(Count::default()));
    let played = Played::new(1, Stock::Held(Mutex::default(), Notify::new()));
    let (tasks, consumer) = runtime.block_on(over_loopback(&played, &count));
    let Stock::Held(held, pulled) = &played.stock else { unreachable!("it was made so") };
    let one = async || {
        pulled.notified().await;
        let go = held.lock().take().unwrap();
        let begun = count.expect(1);
        go.send(()).unwrap();
        count.since(begun).await
    };
    criterion.bench_function("waiting", |bencher| {
        bencher.iter_custom(|messages| {
            runtime.block_on(async {
                let mut sum = Duration::ZERO;
                for _ in 0..messages {
                    sum += one().await;
                }
                sum
            })
        });
    });
    runtime.block_on(end(tasks, consumer));
}

criterion_group!(benches, flow, waiting);
criterion_main!(benches);
