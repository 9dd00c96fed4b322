//! Registration at name servers.

use std::sync::Arc;

use rmq_broker::{Broker, BrokerConfig};
use rmq_remoting::protocol::kv::KvTable;
use rmq_remoting::protocol::register::{RegisterBody, RegisterBroker};
use rmq_remoting::protocol::topic::{CreateTopic, GetTopicConfig};
use rmq_remoting::{LocalInvoker, Peer, Processor, RemotingCommand, Reply, Response, request_code};
use rmq_runtime::{Tasks, World};
use rmq_store::{Config, LocalStore};
use tokio::sync::mpsc;

use crate::fixture::{WAIT, call, config, soon};

/// A name server that notes what it is told, and knows an ordered topic.
struct NameServer(mpsc::Sender<RemotingCommand>);

impl Processor for NameServer {
    fn process(&self, _peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        let code = request.code;
        self.0.try_send(request.detached()).unwrap();
        let mut ordered = KvTable::default();
        ordered.table.insert("Ordered".into(), "broker-a:4".into());
        match code {
            request_code::REGISTER_BROKER => Reply::Now(Response::of(&ordered)),
            _ => Reply::Now(Response::ok()),
        }
    }
}

fn create(topic: &str) -> CreateTopic {
    CreateTopic {
        topic: topic.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        topic_sys_flag: None,
        order: false,
        attributes: None,
        force: None,
    }
}

#[tokio::test]
async fn a_broker_is_registered_with_all_topics_until_it_says_good_bye() {
    let dir = tempfile::tempdir().unwrap();
    let (world, tasks) = (World::system(), Tasks::new("test"));
    let zone_name = Some("east".into());
    let config = BrokerConfig { namesrv_addr: "ns:9876".into(), zone_name, ..config(dir.path()) };
    let store_config = Config {
        store_path_root_dir: dir.path().into(),
        mapped_file_size_commit_log: 1 << 20,
        max_hash_slot_num: 100,
        max_index_num: 400,
        ..Config::default()
    };
    let store = LocalStore::open(&world, &tasks, store_config).unwrap();
    let broker = Broker::open(&world, &tasks, config, Arc::clone(&store)).unwrap();
    broker.advertise("127.0.0.2:12345".parse().unwrap());
    let (tx, mut told) = mpsc::channel(100);
    let name_server = Arc::new(NameServer(tx));
    broker.start(Arc::new(LocalInvoker::new(name_server, Arc::clone(&world.clock))));

    let first = soon(told.recv()).await.unwrap();
    let (header, body): (RegisterBroker, RegisterBody) = first.payload().unwrap();
    assert_eq!(header.broker_addr, "127.0.0.2:12345");
    assert_eq!((&*header.broker_name, header.broker_id), ("broker-a", 0));
    assert_eq!(header.zone_name.as_deref(), Some("east"));
    let crc = i32::try_from(crc32fast::hash(&first.body) & 0x7FFF_FFFF).unwrap();
    assert_eq!(header.body_crc32, crc);
    // A single topic would be refused by a name server that does not know the broker.
    assert!(body.topic_config_serialize_wrapper.topic_config_table.len() >= 2);

    // A new topic is registered before its maker is answered.
    let connection = LocalInvoker::new(Arc::clone(&broker) as _, Arc::clone(&world.clock));
    call(&connection, &create("Ordered")).await;
    let mut known = false;
    while let Ok(again) = told.try_recv() {
        let (_, body): (RegisterBroker, RegisterBody) = again.payload().unwrap();
        let topics = body.topic_config_serialize_wrapper.topic_config_table;
        known |= topics.contains_key("Ordered");
    }
    assert!(known);
    // The name server's word about order is taken.
    let get = GetTopicConfig { topic: "Ordered".into(), lo: None };
    while !call(&connection, &get).await.order {
        tokio::task::yield_now().await;
    }

    assert_eq!(broker.stop().await, Vec::<String>::new());
    let mut last = None;
    while let Ok(word) = told.try_recv() {
        last = Some(word.code);
    }
    assert_eq!(last, Some(request_code::UNREGISTER_BROKER));
    store.stop().await.unwrap();
    tasks.stop(&*world.clock, WAIT).await;
}
