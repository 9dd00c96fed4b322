//! What a store stands on, and how it is driven there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rmq_message::record::{NewRecord, RecordView, walk};
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp, java, properties};
use rmq_runtime::{Tasks, World};
use rmq_sim::{SimClock, SimDisk};
use rmq_store::{
    AdmitAll, AppendReceipt, Chore, Config, FlushDiskType, LocalStore, MessageFilter, MessageStore,
    QueueKey, ReadOutcome, ReadRequest, StoreAdmin,
};
use tempfile::TempDir;

use crate::set_clock::SetClock;

/// When every test begins, ms since 1970: a whole second.
pub(crate) const NOW: i64 = 1_795_270_000_000;
/// Bytes of a file of the log.
pub(crate) const FILE: u64 = 16 << 10;
/// The longest body that is taken.
pub(crate) const BODY_MAX: usize = 6_000;

/// How a store ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stop,
    /// What was not acknowledged may be gone.
    Crash,
}

/// A store that can be driven, ended and opened again where it lies.
pub(crate) trait Ground {
    type Store: MessageStore + StoreAdmin;

    fn store(&self) -> &Arc<Self::Store>;

    /// Sets the wall clock.
    fn set_time(&self, wall_ms: i64);

    /// Does what the store would do by itself, if it does not.
    fn work(&self);

    /// Brings the store to a clean end and keeps it.
    async fn stop(&self);

    /// Ends the store and opens it again.
    async fn reopen(&mut self, end: End);

    /// Makes everything before `end` visible and durable, as before an acknowledgement.
    async fn acknowledge(&self, end: PhysicalOffset) {
        self.store().settle().unwrap();
        self.work();
        self.store().durable(end).await.unwrap();
    }

    /// Stores messages and acknowledges them.
    async fn send(&self, queue: &QueueKey, records: &[NewRecord<'_>]) -> AppendReceipt {
        let receipt = self.store().append(queue, records).unwrap();
        self.acknowledge(receipt.end).await;
        receipt
    }

    fn read(&self, queue: &QueueKey, offset: i64, count_max: usize) -> ReadOutcome {
        self.read_filtered(queue, offset, count_max, &AdmitAll)
    }

    fn read_filtered(
        &self,
        queue: &QueueKey,
        offset: i64,
        count_max: usize,
        filter: &dyn MessageFilter,
    ) -> ReadOutcome {
        let offset = QueueOffset(offset);
        let request = ReadRequest { queue, offset, count_max, bytes_max: 1 << 20 };
        self.store().read(&request, filter).unwrap()
    }

    /// Offset and body of all that can be read of a queue.
    fn contents(&self, queue: &QueueKey) -> Vec<(i64, Vec<u8>)> {
        let range = self.store().offsets(queue);
        let (mut next, mut contents) = (range.start, Vec::new());
        while next < range.end {
            let outcome = self.read(queue, next.0, 32);
            for record in records(&outcome) {
                record.verify().unwrap();
                assert_eq!((record.topic, record.queue_id), (queue.topic.as_str(), queue.queue_id));
                contents.push((record.queue_offset.0, record.body.to_vec()));
            }
            assert!(outcome.next_offset > next, "{:?}", outcome.status);
            next = outcome.next_offset;
        }
        contents
    }
}

fn config(root: &Path, flush: FlushDiskType) -> Config {
    Config {
        store_path_root_dir: root.to_owned(),
        mapped_file_size_commit_log: FILE,
        mapped_file_size_consume_queue: 400,
        max_hash_slot_num: 200,
        max_index_num: 400,
        max_message_size: BODY_MAX,
        flush_disk_type: flush,
        // Files are removed when a test asks for it, whatever else is on the disk.
        delete_when: "00".to_owned(),
        clean_resource_interval: 86_400_000,
        disk_space_warning_level_ratio: 100,
        disk_max_used_space_ratio: 100,
        ..Config::default()
    }
}

/// A store that works by itself, on the system's disk.
pub(crate) struct RealDisk {
    store: Option<Arc<LocalStore>>,
    tasks: Tasks,
    clock: Arc<SetClock>,
    config: Config,
    _dir: TempDir,
}

impl RealDisk {
    pub(crate) fn new(flush: FlushDiskType) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = SetClock::new(NOW);
        let config = config(&dir.path().join("store"), flush);
        let (store, tasks) = (None, Tasks::new("test"));
        let mut ground = Self { store, tasks, clock, config, _dir: dir };
        ground.open();
        ground
    }

    fn open(&mut self) {
        let world = World { clock: self.clock.clone(), ..World::system() };
        self.tasks = Tasks::new("test");
        self.store = Some(LocalStore::open(&world, &self.tasks, self.config.clone()).unwrap());
    }
}

impl Ground for RealDisk {
    type Store = LocalStore;

    fn store(&self) -> &Arc<LocalStore> {
        self.store.as_ref().unwrap()
    }

    fn set_time(&self, wall_ms: i64) {
        self.clock.now.store(wall_ms, Ordering::SeqCst);
    }

    fn work(&self) {}

    async fn stop(&self) {
        self.store().stop().await.unwrap();
    }

    async fn reopen(&mut self, end: End) {
        if end == End::Stop {
            self.stop().await;
        }
        let late = self.tasks.stop(&*self.clock, Duration::from_secs(30)).await;
        assert_eq!(late, Vec::<String>::new());
        self.store = None;
        self.open();
    }
}

/// A store that does nothing by itself, on a disk that loses what was not made durable.
pub(crate) struct SimulatedDisk {
    store: Option<Arc<LocalStore>>,
    disk: SimDisk,
    clock: Arc<SimClock>,
    config: Config,
}

impl SimulatedDisk {
    pub(crate) fn new(flush: FlushDiskType) -> Self {
        let clock = SimClock::new(NOW);
        let (disk, config) = (SimDisk::new(&clock), config(Path::new("/var/store"), flush));
        let mut ground = Self { store: None, disk, clock, config };
        ground.open();
        ground
    }

    fn open(&mut self) {
        let world = rmq_sim::world(&self.clock, &self.disk, 0);
        let store = LocalStore::open_still(&world, &Tasks::new("test"), self.config.clone());
        self.store = Some(store.unwrap());
    }
}

impl Ground for SimulatedDisk {
    type Store = LocalStore;

    fn store(&self) -> &Arc<LocalStore> {
        self.store.as_ref().unwrap()
    }

    fn set_time(&self, wall_ms: i64) {
        self.clock.step(wall_ms - self.clock.wall_ms());
    }

    fn work(&self) {
        for chore in [Chore::Flush, Chore::Prepare, Chore::WriteQueues, Chore::Index] {
            self.store().work(chore).unwrap();
        }
    }

    async fn stop(&self) {
        self.store().stop().await.unwrap();
    }

    async fn reopen(&mut self, end: End) {
        if end == End::Stop {
            self.stop().await;
        }
        self.store = None;
        self.disk = match (end, self.config.flush_disk_type) {
            (End::Crash, FlushDiskType::Sync) => self.disk.after_power_loss(7),
            (End::Crash | End::Stop, _) => self.disk.after_kill(),
        };
        self.open();
    }
}

pub(crate) fn queue(id: i32) -> QueueKey {
    QueueKey::new("Orders", id)
}

/// A message without properties.
pub(crate) fn message(body: &[u8]) -> NewRecord<'_> {
    with_properties(body, "")
}

pub(crate) fn with_properties<'a>(body: &'a [u8], text: &'a str) -> NewRecord<'a> {
    let (host, tag) =
        ("127.0.0.1:10911".parse().unwrap(), properties::find(text.as_bytes(), "TAGS"));
    NewRecord {
        topic: "",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: Timestamp(NOW - 1),
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: text.as_bytes(),
        tags_code: tag.map_or(0, |tag| i64::from(java::hash(tag))),
    }
}

/// The records of a read, each whole.
pub(crate) fn records(outcome: &ReadOutcome) -> Vec<RecordView<'_>> {
    let records: Vec<_> =
        outcome.records.iter().flat_map(|bytes| walk(bytes)).map(Result::unwrap).collect();
    assert_eq!(records.len(), outcome.count);
    assert_eq!(outcome.records.iter().map(bytes::Bytes::len).sum::<usize>(), outcome.bytes);
    records
}
