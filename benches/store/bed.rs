//! A store in a directory of its own, and the message that all benches store.
#![expect(clippy::unwrap_used, reason = "a bench that fails may stop")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rmq_message::Timestamp;
use rmq_message::record::NewRecord;
use rmq_runtime::{Tasks, World};
use rmq_store::{Config, FlushDiskType, LocalStore, QueueKey};
use tokio::runtime::{Builder, Runtime};

const PROPERTIES: &[u8] =
    b"UNIQ_KEY\x01FD00000000000000000000000000000272455FFD2B2769CDD8710000\x02\
    CLUSTER\x01DefaultCluster\x02TAGS\x01tagA\x02WAIT\x01true\x02";

/// An open store, stopped when it is dropped.
pub(crate) struct Bed {
    pub(crate) store: Arc<LocalStore>,
    pub(crate) runtime: Runtime,
}

impl Bed {
    /// Opens the store of a directory.
    pub(crate) fn open(dir: &Path, mode: FlushDiskType) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let inside = runtime.enter();
        let config = Config {
            store_path_root_dir: dir.to_owned(),
            flush_disk_type: mode,
            disk_space_warning_level_ratio: 100,
            ..Config::default()
        };
        let store = LocalStore::open(&World::system(), &Tasks::new("bench"), config).unwrap();
        drop(inside);
        Self { store, runtime }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.stop()).unwrap();
    }
}

/// A message of that body, with the properties that a Java producer sends.
pub(crate) fn message(body: &[u8]) -> NewRecord<'_> {
    let host = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10911);
    NewRecord {
        topic: "",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: Timestamp(1_700_000_000_000),
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: PROPERTIES,
        tags_code: 3_552_231,
    }
}

/// So many queues, eight a topic.
pub(crate) fn queues(count: i32) -> Vec<QueueKey> {
    (0..count).map(|n| QueueKey::new(format!("BenchTopic{}", n / 8), n % 8)).collect()
}
