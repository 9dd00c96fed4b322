//! An instance and a server over real sockets: what a broker asks of a client, and what happens when
//! connections end.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use rmq_client_core::protocol::{
    ConsumeFromWhere, ConsumeType, ConsumerSnapshot, Endpoint, MessageModel,
};
use rmq_client_core::{
    ClientConfig, ClientInstance, GroupMember, MemberCommand, MemberHeartbeat, MemberReply,
};
use rmq_message::{CompactString, Subscription, Timestamp};
use rmq_remoting::command::{RemotingCommand, Response};
use rmq_remoting::peer::Peer;
use rmq_remoting::processor::{Processor, Reply};
use rmq_remoting::protocol::client::{ConsumersChanged, DescribeConsumer};
use rmq_remoting::protocol::route::{BrokerAddresses, BrokerQueues, TopicRoute};
use rmq_remoting::typed::TypedRequest;
use rmq_remoting::{
    HeaderEncoding, Server, ServerConfig, ServerHandle, request_code, response_code,
};
use rmq_runtime::{ClockExt, Monotonic, Tasks, World};
use tokio::sync::mpsc::{Receiver, Sender, channel};

const PATIENCE: Duration = Duration::from_secs(20);

/// Name server and broker in one.
struct Both {
    address: OnceLock<Endpoint>,
    seen: Sender<(RemotingCommand, Arc<Peer>)>,
}

impl Processor for Both {
    fn process(&self, peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        let response = match request.code {
            request_code::GET_ROUTEINFO_BY_TOPIC => Response::of(&self.route()),
            _ => Response::ok(),
        };
        self.seen.try_send((request, Arc::clone(peer))).unwrap();
        response.into()
    }
}

impl Both {
    fn route(&self) -> TopicRoute {
        let address = self.address.get().unwrap().as_str();
        TopicRoute {
            broker_datas: vec![BrokerAddresses {
                broker_addrs: [(0, address.into())].into(),
                broker_name: "broker-a".into(),
                ..BrokerAddresses::default()
            }],
            queue_datas: vec![BrokerQueues {
                broker_name: "broker-a".into(),
                perm: 6,
                read_queue_nums: 1,
                write_queue_nums: 1,
                topic_sys_flag: 0,
            }],
            ..TopicRoute::default()
        }
    }
}

/// Tells when it is balanced.
struct Member(Sender<()>);

#[async_trait]
impl GroupMember for Member {
    fn group(&self) -> &str {
        "g"
    }
    fn heartbeat(&self) -> MemberHeartbeat {
        MemberHeartbeat {
            consume_type: ConsumeType::Push,
            model: MessageModel::Clustering,
            from_where: ConsumeFromWhere::LastOffset,
            subscriptions: vec![Subscription::all("T", Timestamp(1))],
            unit_mode: false,
        }
    }
    fn topics(&self) -> Vec<CompactString> {
        vec!["T".into()]
    }
    async fn rebalance(&self) -> bool {
        self.0.send(()).await.is_ok()
    }
    async fn persist_offsets(&self) {}
    async fn command(&self, command: MemberCommand) -> MemberReply {
        match command {
            MemberCommand::Describe => {
                let properties = [("PROP_CONSUME_TYPE".into(), "CONSUME_PASSIVELY".into())];
                let snapshot =
                    ConsumerSnapshot { properties: properties.into(), ..Default::default() };
                MemberReply::Snapshot(Box::new(snapshot))
            }
            _ => MemberReply::Unsupported,
        }
    }
}

struct Stage {
    world: World,
    begun: Monotonic,
    tasks: Tasks,
    server: ServerHandle,
    seen: Receiver<(RemotingCommand, Arc<Peer>)>,
    runs: Receiver<()>,
    instance: Arc<ClientInstance>,
}

impl Stage {
    async fn new(binary_headers: bool) -> Self {
        let (world, tasks) = (World::system(), Tasks::new("test"));
        let begun = world.clock.monotonic();
        let (seen, seen_by) = channel(256);
        let both = Arc::new(Both { address: OnceLock::new(), seen });
        let server = Server::builder(world.clone(), &tasks)
            .listen(([127, 0, 0, 1], 0).into())
            .processor(Arc::clone(&both) as Arc<dyn Processor>)
            .config(ServerConfig { shards: 0, ..ServerConfig::default() })
            .start()
            .await
            .unwrap();
        let address = both.address.get_or_init(|| server.local_addr().into());
        let config = ClientConfig {
            rebalance_min_interval: Duration::from_millis(1),
            // What comes within the patience of a test comes of what happened.
            rebalance_interval: PATIENCE * 3,
            binary_headers,
            ..ClientConfig::new(address.as_str())
        };
        let instance = ClientInstance::start(world.clone(), config, false).await.unwrap();
        let (ran, runs) = channel(256);
        instance.join(Arc::new(Member(ran))).unwrap();
        Self { world, begun, tasks, server, seen: seen_by, runs, instance }
    }

    /// The next request with that code, and who made it.
    async fn request(&mut self, code: i32) -> (RemotingCommand, Arc<Peer>) {
        let wanted = async {
            loop {
                let next = self.seen.recv().await.unwrap();
                if next.0.code == code {
                    return next;
                }
            }
        };
        self.world.clock.timeout(PATIENCE, wanted).await.expect("the request comes")
    }

    async fn run(&mut self) {
        let run = self.world.clock.timeout(PATIENCE, self.runs.recv()).await;
        run.expect("the balance runs").unwrap();
    }

    async fn end(self) {
        self.server.stop_accepting();
        let clock = self.world.clock.as_ref();
        assert_eq!(self.instance.shutdown(PATIENCE).await, Vec::<String>::new());
        assert_eq!(self.tasks.stop(clock, PATIENCE).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_broker_can_ask_and_its_return_is_noticed_at_once() {
    let mut stage = Stage::new(false).await;
    stage.instance.refresh_route("T").await.unwrap();
    assert!(stage.instance.heartbeat().await);
    // The loop's first comes after a second, and its next half a minute later.
    let peer = loop {
        let (_, peer) = stage.request(request_code::HEART_BEAT).await;
        if stage.world.clock.monotonic().since(stage.begun) >= Duration::from_secs(1) {
            break peer;
        }
    };
    let selector = format!("NettyClientSelector {}", peer.local());
    let tasks = stage.instance.tasks().all_running();
    assert!(tasks.contains(&selector), "{tasks:?}");

    let changed = ConsumersChanged { consumer_group: "g".into() };
    peer.oneway(changed.to_command().oneway()).unwrap();
    stage.run().await;

    let describe =
        DescribeConsumer { consumer_group: "g".into(), client_id: "c".into(), jstack_enable: None };
    let answer = peer.invoke(describe.to_command(), PATIENCE).await.unwrap();
    assert_eq!(answer.code, response_code::SUCCESS);
    let snapshot: ConsumerSnapshot = answer.payload().unwrap();
    assert_eq!(snapshot.properties["PROP_CONSUME_TYPE"], "CONSUME_PASSIVELY");
    let other = DescribeConsumer { consumer_group: "other".into(), ..describe };
    let answer = peer.invoke(other.to_command(), PATIENCE).await.unwrap();
    assert_eq!(answer.remark(), "The Consumer Group <other> not exist in this consumer");

    // The broker's side ends; whatever dials next, the broker hears who is there at once.
    let before = peer.id();
    peer.close();
    while stage.runs.try_recv().is_ok() {}
    loop {
        // The client may not have seen the end yet; then this asks over the old connection.
        if stage.instance.refresh_route("T").await.is_ok() {
            let (_, peer) = stage.request(request_code::GET_ROUTEINFO_BY_TOPIC).await;
            if peer.id() != before {
                break;
            }
        }
    }
    let (_, peer) = stage.request(request_code::HEART_BEAT).await;
    assert_ne!(peer.id(), before);
    stage.run().await;

    stage.instance.leave("g").await;
    let (farewell, _) = stage.request(request_code::UNREGISTER_CLIENT).await;
    assert_eq!(farewell.field("consumerGroup"), Some("g"));
    assert_eq!(farewell.field("clientID"), Some(stage.instance.client_id()));
    stage.end().await;
}

#[tokio::test]
async fn headers_can_be_binary() {
    let mut stage = Stage::new(true).await;
    stage.instance.refresh_route("T").await.unwrap();
    let (request, _) = stage.request(request_code::GET_ROUTEINFO_BY_TOPIC).await;
    assert_eq!(request.encoding, HeaderEncoding::Binary);
    assert_eq!((request.language.name(), request.version), ("RUST", 513));
    stage.instance.leave("g").await;
    stage.end().await;
}
