//! Appending and reading in ordinary life.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use rmq_message::record::{NewRecord, RecordView};
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp, java, sys_flag};
use rmq_runtime::system::SystemDisk;
use rmq_store::{
    AdmitAll, AppendError, ArrivalListener, Boundary, Config, FlushDiskType, KeyKind, KeyQuery,
    MessageFilter, MessageStore, OpenError, QueueKey, ReadError, ReadRequest, ReadStatus,
    StoreAdmin,
};

use crate::memory_disk::MemoryDisk;
use crate::support::{NOW, config, message, open, open_at, views, with_properties};

fn root() -> &'static Path {
    Path::new("/store")
}

fn queue(id: i32) -> QueueKey {
    QueueKey::new("Orders", id)
}

#[tokio::test]
async fn what_is_settled_is_read_back_and_survives_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_at(dir.path());
    let first = opened.append(&queue(0), b"one").unwrap();
    let second = opened.append(&queue(0), b"two").unwrap();
    assert_eq!((first.queue_offset.0, second.queue_offset.0), (0, 1));
    assert_eq!(first.end, second.physical_offset);
    assert_eq!(opened.store.offsets(&queue(0)), QueueOffset(0)..QueueOffset(0));
    assert!(matches!(
        opened.store.message_at(first.physical_offset),
        Err(ReadError::NotFound { .. })
    ));
    opened.store.settle().unwrap();
    opened.store.durable(second.end).await.unwrap();
    assert_eq!(opened.bodies(&queue(0)), [b"one", b"two"]);
    opened.stop().await;
    let opened = open_at(dir.path());
    assert_eq!(opened.bodies(&queue(0)), [b"one", b"two"]);
    assert_eq!(opened.send(&queue(0), b"three").await.queue_offset.0, 2);
    opened.stop().await;
}

#[tokio::test]
async fn a_batch_lies_in_one_file_at_consecutive_offsets() {
    let opened = open(MemoryDisk::default(), config(root())).unwrap();
    opened.append(&queue(1), &[0; 13_000]).unwrap();
    let bodies: Vec<_> = (0..10_u8).map(|n| vec![n; 300]).collect();
    let records: Vec<_> = bodies.iter().map(|body| message(body)).collect();
    let receipt = opened.store.append(&queue(1), &records).unwrap();
    opened.store.settle().unwrap();
    assert_eq!(receipt.queue_offset.0, 1);
    assert_eq!(receipt.physical_offset.0, 16 << 10);
    let places: Vec<_> = receipt.physical_offsets().collect();
    assert_eq!(places.len(), 10);
    for (n, at) in places.into_iter().enumerate() {
        let bytes = opened.store.message_at(at).unwrap();
        let record = RecordView::parse(&bytes).unwrap();
        assert_eq!(record.queue_offset.0, 1 + n as i64);
        assert_eq!(record.body, bodies[n]);
    }
    assert_eq!(opened.bodies(&queue(1)).len(), 11);
    opened.stop().await;
}

#[tokio::test]
async fn refused_appends_leave_offsets_dense() {
    // RS-09, RS-18
    let settings = Config { max_message_size: 1000, ..config(root()) };
    let opened = open(MemoryDisk::default(), settings).unwrap();
    opened.send(&queue(0), b"a").await;
    let refused = |records: &[NewRecord<'_>]| opened.store.append(&queue(0), records).unwrap_err();
    assert!(matches!(refused(&[message(&[0; 1001])]), AppendError::TooLarge { max: 1000, .. }));
    assert!(matches!(refused(&[]), AppendError::Empty));
    assert!(matches!(refused(&[message(&[0; 999]); 17]), AppendError::TooLarge { .. }));
    let long = "x".repeat(40_000);
    assert!(matches!(refused(&[with_properties(b"", &long)]), AppendError::Unfit(_)));
    for name in ["", "../../x", "a/b", "a\0b", &"x".repeat(256)] {
        let bad = opened.append(&QueueKey::new(name, 0), b"x");
        assert!(matches!(bad, Err(AppendError::Queue { .. } | AppendError::Unfit(_))), "{name}");
    }
    assert!(matches!(opened.append(&queue(-1), b"x"), Err(AppendError::Queue { .. })));
    let receipt = opened.send(&queue(0), b"b").await;
    assert_eq!(receipt.queue_offset.0, 1);
    assert_eq!(opened.bodies(&queue(0)), [b"a", b"b"]);
    opened.stop().await;
}

#[tokio::test]
async fn half_and_rolled_back_messages_have_no_place_in_their_queue() {
    let opened = open(MemoryDisk::default(), config(root())).unwrap();
    let flags = [sys_flag::TRANSACTION_PREPARED, sys_flag::TRANSACTION_ROLLBACK];
    for sys_flag in flags.into_iter().chain([sys_flag::TRANSACTION_COMMIT]) {
        let record = NewRecord { sys_flag, ..message(b"x") };
        assert_eq!(opened.store.append(&queue(0), &[record]).unwrap().queue_offset.0, 0);
    }
    opened.store.settle().unwrap();
    assert_eq!(opened.store.offsets(&queue(0)).end.0, 1);
    opened.stop().await;
}

#[test]
fn offsets_are_dense_whatever_the_threads() {
    // INV-12
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let settings = Config { mapped_file_size_commit_log: 1 << 20, ..config(Path::new("/store")) };
    let opened = open(MemoryDisk::default(), settings).unwrap();
    let store = &opened.store;
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            scope.spawn(move || {
                for n in 0..500_i32 {
                    let receipt = store.append(&queue(n % 3), &[message(&[thread; 50])]).unwrap();
                    store.settle().unwrap();
                    // Whoever settled it, it is visible now.
                    let bytes = store.message_at(receipt.physical_offset).unwrap();
                    assert_eq!(RecordView::parse(&bytes).unwrap().body, [thread; 50]);
                    assert!(store.offsets(&queue(n % 3)).end > receipt.queue_offset);
                }
            });
        }
    });
    let total: usize = (0..3).map(|id| opened.bodies(&queue(id)).len()).sum();
    assert_eq!(total, 2000);
    runtime.block_on(opened.stop());
}

#[derive(Default)]
struct Arrivals(Mutex<Vec<(QueueKey, QueueOffset)>>);

impl ArrivalListener for Arrivals {
    fn arrived(&self, queue: &QueueKey, end: QueueOffset) {
        self.0.lock().push((queue.clone(), end));
    }
}

#[tokio::test]
async fn arrivals_are_told_once_per_queue_after_they_are_visible() {
    let opened = open(MemoryDisk::default(), config(root())).unwrap();
    let arrivals = Arc::new(Arrivals::default());
    opened.store.on_arrival(arrivals.clone());
    for id in [0, 1, 0] {
        opened.append(&queue(id), b"x").unwrap();
    }
    assert!(arrivals.0.lock().is_empty());
    opened.store.settle().unwrap();
    let seen = std::mem::take(&mut *arrivals.0.lock());
    assert_eq!(seen, [(queue(0), QueueOffset(2)), (queue(1), QueueOffset(1))]);
    assert_eq!(opened.store.offsets(&queue(0)).end.0, 2);
    opened.store.settle().unwrap();
    assert!(arrivals.0.lock().is_empty());
    opened.stop().await;
}

fn sync_config() -> Config {
    Config { flush_disk_type: FlushDiskType::Sync, ..config(root()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_sync_flush_only_what_is_durable_is_visible_and_groups_share_a_sync() {
    // INV-01, INV-02
    let disk = MemoryDisk::default();
    let opened = open(disk.clone(), sync_config()).unwrap();
    disk.hold_syncs();
    let first = opened.append(&queue(0), b"first").unwrap();
    opened.store.settle().unwrap();
    let mut waits = vec![opened.store.durable(first.end)];
    let before = disk.syncs();
    for n in 0..100_u8 {
        let receipt = opened.append(&queue(0), &[n]).unwrap();
        opened.store.settle().unwrap();
        waits.push(opened.store.durable(receipt.end));
    }
    assert_eq!(opened.store.offsets(&queue(0)).end.0, 0);
    assert_eq!(opened.read(&queue(0), 0, 32).status, ReadStatus::NoMessageInQueue);
    assert!(opened.store.message_at(first.physical_offset).is_err());
    disk.release_syncs();
    for wait in waits {
        wait.await.unwrap();
    }
    assert_eq!(opened.store.offsets(&queue(0)).end.0, 101);
    assert!(disk.syncs() - before < 20, "{} syncs", disk.syncs() - before);
    let left = disk.power_lost();
    opened.abandon().await;
    let opened = open(left, sync_config()).unwrap();
    assert_eq!(opened.bodies(&queue(0)).len(), 101);
    opened.stop().await;
}

#[tokio::test]
async fn two_stores_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open_at(dir.path());
    assert!(matches!(
        open(SystemDisk, config(dir.path())).err().unwrap(),
        OpenError::Locked { .. }
    ));
    opened.stop().await;
    open_at(dir.path()).stop().await;
}

#[tokio::test]
async fn reads_end_as_apache_says() {
    let opened = open(MemoryDisk::default(), config(root())).unwrap();
    let status = |offset: i64| {
        let outcome = opened.read(&queue(0), offset, 32);
        (outcome.status, outcome.next_offset.0)
    };
    assert_eq!(status(0), (ReadStatus::NoMessageInQueue, 0));
    assert_eq!(status(7), (ReadStatus::NoMessageInQueue, 0));
    for _ in 0..40 {
        opened.append(&queue(0), b"x").unwrap();
    }
    opened.store.settle().unwrap();
    assert_eq!(status(0), (ReadStatus::Found, 32));
    assert_eq!(status(39), (ReadStatus::Found, 40));
    assert_eq!(status(40), (ReadStatus::OffsetOverflowOne, 40));
    assert_eq!(status(41), (ReadStatus::OffsetOverflowBadly, 40));
    assert_eq!(status(i64::MAX), (ReadStatus::OffsetOverflowBadly, 40));
    assert_eq!(status(-1), (ReadStatus::OffsetTooSmall, 0));
    assert_eq!(opened.read(&queue(0), 0, 1000).count, 32);
    assert_eq!(opened.read(&queue(0), 0, 0).count, 1);
    // Records that lie back to back come in one piece.
    assert_eq!(opened.read(&queue(0), 0, 32).records.len(), 1);
    opened.stop().await;
}

#[tokio::test]
async fn one_oversized_message_is_always_returned() {
    let opened = open(MemoryDisk::default(), config(root())).unwrap();
    for _ in 0..3 {
        opened.append(&queue(0), &[1; 500]).unwrap();
    }
    opened.store.settle().unwrap();
    let request =
        ReadRequest { queue: &queue(0), offset: QueueOffset(0), count_max: 32, bytes_max: 10 };
    assert_eq!(opened.store.read(&request, &AdmitAll).unwrap().count, 1);
    let request = ReadRequest { bytes_max: 1400, ..request };
    assert_eq!(opened.store.read(&request, &AdmitAll).unwrap().count, 2);
    opened.stop().await;
    let cold = Config { memory_size: 0, ..config(root()) };
    let opened = open(MemoryDisk::default(), cold).unwrap();
    for _ in 0..20 {
        opened.append(&queue(0), b"x").unwrap();
    }
    opened.store.settle().unwrap();
    assert_eq!(opened.read(&queue(0), 0, 32).count, 8);
    assert!(opened.read(&queue(0), 0, 32).suggest_replica);
    opened.stop().await;
}

struct OnlyTag(i64, &'static [u8]);

impl MessageFilter for OnlyTag {
    fn admits_entry(&self, tags_code: i64) -> bool {
        tags_code == self.0
    }
    fn reads_records(&self) -> bool {
        !self.1.is_empty()
    }
    fn admits_record(&self, record: &RecordView<'_>) -> bool {
        record.body == self.1
    }
}

#[tokio::test]
async fn filtered_messages_advance_the_offset() {
    // INV-29, RS-36
    let opened = open(MemoryDisk::default(), config(root())).unwrap();
    for n in 0..2000_u32 {
        let tag = if n == 1500 { "TAGS\u{1}rare\u{2}" } else { "TAGS\u{1}usual\u{2}" };
        opened.store.append(&queue(0), &[with_properties(b"x", tag)]).unwrap();
    }
    opened.store.settle().unwrap();
    let rare = OnlyTag(i64::from(java::hash("rare")), b"");
    let read = |offset: i64, filter: &dyn MessageFilter| {
        let request = ReadRequest {
            queue: &queue(0),
            offset: QueueOffset(offset),
            count_max: 32,
            bytes_max: 1 << 20,
        };
        let outcome = opened.store.read(&request, filter).unwrap();
        (outcome.status, outcome.next_offset.0, outcome.count)
    };
    assert_eq!(read(0, &rare), (ReadStatus::NoMatchedMessage, 800, 0));
    assert_eq!(read(800, &rare), (ReadStatus::Found, 1600, 1));
    assert_eq!(read(1600, &rare), (ReadStatus::NoMatchedMessage, 2000, 0));
    let other = OnlyTag(i64::from(java::hash("rare")), b"y");
    assert_eq!(read(1400, &other), (ReadStatus::NoMatchedMessage, 2000, 0));
    opened.stop().await;
}

#[tokio::test]
async fn offsets_are_found_by_time() {
    let opened = open(MemoryDisk::default(), config(root())).unwrap();
    for n in 0..300_i64 {
        // Runs of three at 0, 10, 20, …
        opened.clock.now.store(NOW + n / 3 * 10, Ordering::SeqCst);
        opened.append(&queue(0), b"x").unwrap();
    }
    opened.store.settle().unwrap();
    let at = |time: i64, boundary| {
        opened.store.offset_at(&queue(0), Timestamp(NOW + time), boundary).unwrap().0
    };
    for (time, lower, upper) in
        [(-5, 0, 0), (0, 0, 2), (5, 3, 2), (10, 3, 5), (990, 297, 299), (991, 300, 299)]
    {
        assert_eq!(at(time, Boundary::Lower), lower, "{time}");
        assert_eq!(at(time, Boundary::Upper), upper, "{time}");
    }
    let none = opened.store.offset_at(&queue(9), Timestamp(NOW), Boundary::Lower).unwrap();
    assert_eq!(none.0, 0);
    opened.stop().await;
}

#[tokio::test]
async fn only_record_starts_are_messages() {
    // HI-22
    let opened = open(MemoryDisk::default(), config(root())).unwrap();
    // A body that looks like a record, at another place than it says.
    let inner = opened.send(&queue(0), b"inner").await;
    let bytes = opened.store.message_at(inner.physical_offset).unwrap();
    let outer = opened.send(&queue(0), &bytes).await;
    for at in 0..outer.end.0 + 100 {
        let found = opened.store.message_at(PhysicalOffset(at)).is_ok();
        assert_eq!(found, at == 0 || at == outer.physical_offset.0, "{at}");
    }
    assert!(opened.store.message_at(PhysicalOffset(u64::MAX)).is_err());
    opened.stop().await;
}

#[tokio::test]
async fn messages_are_found_by_key_over_many_index_files() {
    let opened = open(MemoryDisk::default(), config(root())).unwrap();
    for n in 0..500_i64 {
        opened.clock.now.store(NOW + n * 1000, Ordering::SeqCst);
        let keys = format!("UNIQ_KEY\u{1}u{n}\u{2}KEYS\u{1}k{} all\u{2}", n % 50);
        opened.store.append(&queue(0), &[with_properties(b"x", &keys)]).unwrap();
        opened.store.settle().unwrap();
    }
    opened.indexed().await;
    let find = |key: &str, begin: i64, end: i64, count_max: usize| {
        let (begin, end) = (Timestamp(NOW + begin * 1000), Timestamp(NOW + end * 1000));
        let query = KeyQuery { topic: "Orders", key, kind: KeyKind::Key, begin, end, count_max };
        let found = opened.store.query(&query).unwrap();
        views(&found.records).iter().map(|it| it.queue_offset.0).collect::<Vec<_>>()
    };
    assert_eq!(find("u123", 0, 1000, 32), [123]);
    assert_eq!(find("k7", 0, 1000, 32), [7, 57, 107, 157, 207, 257, 307, 357, 407, 457]);
    assert_eq!(find("k7", 100, 257, 32), [107, 157, 207, 257]);
    assert_eq!(find("all", 0, 1000, 1000).len(), 64);
    assert_eq!(find("all", 0, 1000, 2), [498, 499]);
    assert_eq!(find("all", 0, 1000, 0), [0; 0]);
    assert_eq!(find("none", 0, 1000, 32), [0; 0]);
    opened.stop().await;
}

#[tokio::test]
async fn a_deleted_topic_begins_anew() {
    // INV-35, RS-37
    let disk = MemoryDisk::default();
    let opened = open(disk.clone(), config(root())).unwrap();
    for n in 0..50_u8 {
        opened.send(&queue(0), &[n]).await;
        opened.send(&queue(1), &[n]).await;
        opened.send(&QueueKey::new("Other", 0), &[n]).await;
    }
    assert_eq!(opened.store.delete_topic("Orders").unwrap(), 2);
    assert_eq!(opened.store.delete_topic("Orders").unwrap(), 0);
    assert_eq!(opened.store.offsets(&queue(0)), QueueOffset(0)..QueueOffset(0));
    let killed = disk.killed();
    assert_eq!(opened.send(&queue(0), b"new").await.queue_offset.0, 0);
    let killed_later = disk.killed();
    opened.stop().await;
    for (disk, expected) in [(killed, 0), (killed_later, 1), (disk, 1)] {
        let opened = open(disk, config(root())).unwrap();
        assert_eq!(opened.bodies(&queue(0)), vec![b"new".to_vec(); expected]);
        assert_eq!(opened.bodies(&QueueKey::new("Other", 0)).len(), 50);
        opened.stop().await;
    }
}

#[tokio::test]
async fn expired_files_go_from_the_oldest_and_queues_follow() {
    // INV-09, INV-18
    let disk = MemoryDisk::default();
    let settings = Config { file_reserved_time: 1, ..config(root()) };
    let opened = open(disk.clone(), settings.clone()).unwrap();
    for n in 0..300_u32 {
        opened.append(&queue(0), &n.to_be_bytes()).unwrap();
        if n == 0 {
            opened.append(&queue(1), b"old").unwrap();
        }
    }
    opened.store.settle().unwrap();
    opened.indexed().await;
    let hour = |hour: i64| Timestamp((NOW / 86_400_000 * 24 + hour) * 3_600_000);
    disk.modified.store(u64::try_from(hour(4).0 / 1000).unwrap() - 3000, Ordering::SeqCst);
    assert_eq!(opened.store.expire(hour(4)).unwrap().log_files, 0);
    disk.modified.store(u64::try_from(hour(4).0 / 1000).unwrap() - 3600, Ordering::SeqCst);
    assert_eq!(opened.store.expire(hour(3)).unwrap().log_files, 0);
    let expired = opened.store.expire(hour(4)).unwrap();
    assert!(expired.log_files > 1 && expired.derived_files > 1, "{expired:?}");
    let range = opened.store.offsets(&queue(0));
    assert!(range.start.0 > 0 && range.end.0 == 300, "{range:?}");
    let min = opened.store.status().min_physical.0;
    let first = opened.read(&queue(0), range.start.0, 1);
    let first = views(&first.records)[0].physical_offset.0;
    assert!(first == min, "{first} {min}");
    assert_eq!(opened.read(&queue(0), 0, 1).status, ReadStatus::OffsetTooSmall);
    assert_eq!(opened.bodies(&queue(0)).len() as i64, range.end.0 - range.start.0);
    // All messages of a queue gone: it is empty, and its offsets go on.
    assert_eq!(opened.store.offsets(&queue(1)), QueueOffset(1)..QueueOffset(1));
    let killed = disk.killed();
    opened.stop().await;
    for disk in [disk, killed] {
        let opened = open(disk, settings.clone()).unwrap();
        assert_eq!(opened.store.offsets(&queue(0)), range);
        assert_eq!(opened.store.offsets(&queue(1)), QueueOffset(1)..QueueOffset(1));
        assert_eq!(opened.send(&queue(1), b"x").await.queue_offset.0, 1);
        opened.stop().await;
    }
}
