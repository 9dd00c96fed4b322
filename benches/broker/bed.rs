//! A broker in this process, over a store of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmq_broker::{Broker, BrokerConfig};
use rmq_remoting::protocol::send::SendMessage;
use rmq_remoting::{Endpoint, Invoker, LocalInvoker, RemotingCommand, Unsupported};
use rmq_runtime::{Tasks, World};
use rmq_store::{Config, FlushDiskType, LocalStore};
use tempfile::TempDir;

const WAIT: Duration = Duration::from_secs(60);

pub(crate) struct Bed {
    pub(crate) world: World,
    pub(crate) store: Arc<LocalStore>,
    broker: Arc<Broker>,
    tasks: Tasks,
    invoker: LocalInvoker,
    nowhere: Endpoint,
    _dir: TempDir,
}

impl Bed {
    pub(crate) fn make(flush_disk_type: FlushDiskType) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (world, tasks) = (World::system(), Tasks::new("bench"));
        let config = BrokerConfig {
            store_path_root_dir: dir.path().to_owned(),
            flush_disk_type,
            ..BrokerConfig::default()
        };
        let of_store = Config {
            store_path_root_dir: dir.path().to_owned(),
            flush_disk_type,
            mapped_file_size_commit_log: 256 << 20,
            ..Config::default()
        };
        let store = LocalStore::open(&world, &tasks, of_store).unwrap();
        let broker = Broker::open(&world, &tasks, config, Arc::clone(&store)).unwrap();
        let nobody = LocalInvoker::new(Arc::new(Unsupported), Arc::clone(&world.clock));
        broker.start(Arc::new(nobody));
        let invoker = LocalInvoker::new(Arc::clone(&broker) as _, Arc::clone(&world.clock));
        let nowhere = "127.0.0.1:1".parse().unwrap();
        Self { world, store, broker, tasks, invoker, nowhere, _dir: dir }
    }

    pub(crate) async fn ask(&self, request: RemotingCommand) -> RemotingCommand {
        self.invoker.invoke(&self.nowhere, request, WAIT).await.unwrap()
    }

    pub(crate) async fn send(&self, topic: &str, queue_id: i32, body: Bytes, properties: &str) {
        let header = SendMessage {
            producer_group: "bench",
            topic,
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id,
            born_timestamp: 1,
            properties,
            ..SendMessage::default()
        };
        let answer = self.ask(header.to_command(body)).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
    }

    pub(crate) async fn clear(self) {
        self.broker.stop().await;
        self.store.stop().await.unwrap();
        self.tasks.stop(&*self.world.clock, WAIT).await;
    }
}
