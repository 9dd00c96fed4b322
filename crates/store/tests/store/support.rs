//! What the tests share: a store on a disk of choice, messages, a clock that can be set.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmq_message::record::{self, NewRecord, RecordView};
use rmq_message::{QueueOffset, Timestamp, java};
use rmq_runtime::system::SystemDisk;
use rmq_runtime::{Disk, Tasks, World};
use rmq_store::{
    AdmitAll, AppendError, AppendReceipt, Config, FlushDiskType, LocalStore, MessageStore,
    OpenError, QueueKey, ReadOutcome, ReadRequest,
};

use crate::set_clock::SetClock;

pub(crate) const NOW: i64 = 1_795_270_000_000;

pub(crate) fn config(root: &Path) -> Config {
    Config {
        store_path_root_dir: root.to_owned(),
        mapped_file_size_commit_log: 16 << 10,
        mapped_file_size_consume_queue: 400,
        max_hash_slot_num: 200,
        max_index_num: 400,
        flush_interval_consume_queue: 20,
        flush_interval_commit_log: 20,
        flush_disk_type: FlushDiskType::Async,
        // No file is removed unless a test says so.
        disk_space_warning_level_ratio: 100,
        disk_max_used_space_ratio: 100,
        file_reserved_time: 1_000_000,
        ..Config::default()
    }
}

pub(crate) struct Opened {
    pub(crate) store: Arc<LocalStore>,
    pub(crate) clock: Arc<SetClock>,
    tasks: Tasks,
}

pub(crate) fn open(disk: impl Disk, config: Config) -> Result<Opened, OpenError> {
    let clock = SetClock::new(NOW);
    let world = World { clock: clock.clone(), disk: Arc::new(disk), ..World::system() };
    let tasks = Tasks::new("test");
    let store = LocalStore::open(&world, &tasks, config)?;
    Ok(Opened { store, clock, tasks })
}

/// A store on the real disk.
pub(crate) fn open_at(root: &Path) -> Opened {
    open(SystemDisk, config(root)).unwrap()
}

impl Opened {
    pub(crate) async fn stop(self) {
        self.store.stop().await.unwrap();
    }

    /// Ends the tasks without a clean stop.
    pub(crate) async fn abandon(self) {
        self.tasks.stop(&*self.clock, Duration::from_secs(10)).await;
    }

    pub(crate) fn append(
        &self,
        queue: &QueueKey,
        body: &[u8],
    ) -> Result<AppendReceipt, AppendError> {
        self.store.append(queue, &[message(body)])
    }

    /// Stored, visible and durable.
    pub(crate) async fn send(&self, queue: &QueueKey, body: &[u8]) -> AppendReceipt {
        let receipt = self.append(queue, body).unwrap();
        self.store.settle().unwrap();
        self.store.durable(receipt.end).await.unwrap();
        receipt
    }

    pub(crate) fn read(&self, queue: &QueueKey, offset: i64, count_max: usize) -> ReadOutcome {
        let offset = QueueOffset(offset);
        let request = ReadRequest { queue, offset, count_max, bytes_max: usize::MAX };
        self.store.read(&request, &AdmitAll).unwrap()
    }

    /// Bodies of everything in a queue; checks that offsets are dense.
    pub(crate) fn bodies(&self, queue: &QueueKey) -> Vec<Vec<u8>> {
        let range = self.store.offsets(queue);
        let (mut next, mut bodies) = (range.start.0, Vec::new());
        while next < range.end.0 {
            let outcome = self.read(queue, next, 32);
            assert_eq!(outcome.records.iter().map(Bytes::len).sum::<usize>(), outcome.bytes);
            for record in views(&outcome.records) {
                assert_eq!(record.queue_offset.0, next, "{queue}");
                assert_eq!((record.topic, record.queue_id), (queue.topic.as_str(), queue.queue_id));
                record.verify().unwrap();
                bodies.push(record.body.to_vec());
                next += 1;
            }
            assert_eq!(outcome.next_offset.0, next, "{:?}", outcome.status);
        }
        bodies
    }

    pub(crate) async fn indexed(&self) {
        let end = self.store.status_end();
        self.store.indexed().reached(end).await.unwrap();
    }
}

pub(crate) trait StatusEnd {
    fn status_end(&self) -> u64;
}

impl StatusEnd for LocalStore {
    fn status_end(&self) -> u64 {
        rmq_store::StoreAdmin::status(self).max_physical.0
    }
}

pub(crate) fn views(records: &[Bytes]) -> Vec<RecordView<'_>> {
    records.iter().flat_map(|bytes| record::walk(bytes)).map(Result::unwrap).collect()
}

pub(crate) fn host() -> SocketAddr {
    "127.0.0.1:10911".parse().unwrap()
}

pub(crate) fn message(body: &[u8]) -> NewRecord<'_> {
    with_properties(body, "TAGS\u{1}tagA\u{2}")
}

pub(crate) fn with_properties<'a>(body: &'a [u8], properties: &'a str) -> NewRecord<'a> {
    let tag = rmq_message::properties::find(properties.as_bytes(), "TAGS");
    NewRecord {
        topic: "",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: Timestamp(NOW - 1),
        born_host: host(),
        store_host: host(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: properties.as_bytes(),
        tags_code: tag.map_or(0, |tag| i64::from(java::hash(tag))),
    }
}

/// All files below a directory with their contents.
pub(crate) fn tree(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(tree(&path));
        } else {
            files.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    files.sort();
    files
}
