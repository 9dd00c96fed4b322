//! Bugs that users of other stores have met, each by its number in the reliability design.

use std::path::Path;
use std::time::Duration;

use rmq_message::record::{self, RecordView};
use rmq_message::{PhysicalOffset, QueueOffset};
use rmq_runtime::{Clock as _, Tasks, Usage, World};
use rmq_sim::{Fault, SimClock, SimDisk, world};
use rmq_store::{
    AdmitAll, AppendError, Chore, FlushDiskType, LocalStore, MessageStore, QueueKey, ReadError,
    ReadRequest, ReadStatus, StoreAdmin,
};

use crate::history::Step;
use crate::life::{Kind, Life, NOW, config, log_file, queue, record};
use crate::model::{End, FILE};
use crate::set_clock::SetClock;

const SYNC: Kind = Kind { flush: FlushDiskType::Sync, sealed: false };
const ASYNC: Kind = Kind { flush: FlushDiskType::Async, sealed: false };

fn life(kind: Kind) -> Life {
    Life::begin(kind, u64::MAX / 2)
}

fn one(queue: usize) -> Step {
    Step::Append { queue, count: 1, body: 300, pad: 0 }
}

#[test]
fn rs_01_what_was_consumed_before_a_crash_is_not_another_message_after_it() {
    let mut life = life(SYNC);
    life.run(&[one(0), Step::Flush, one(0)]);
    let store = life.store.clone().unwrap();
    // Staged, but nobody reads it before it is synced (INV-02).
    assert_eq!(store.offsets(&queue(0)).end, QueueOffset(1));
    let sent = life.model.log[1].end;
    drop(store);
    let left = life.crash(End::PowerLoss, 3);
    life.go_on(left);
    life.reopen(End::PowerLoss);
    assert_eq!(life.store.clone().unwrap().offsets(&queue(0)).end, QueueOffset(1));
    life.run(&[one(0), Step::Flush]);
    let again = life.model.log[1].clone();
    assert_eq!((again.offset, again.end), (Some(1), sent));
    life.settle_down_after(End::PowerLoss, 4);
}

#[test]
fn rs_01_what_a_kill_has_left_is_durable_before_it_is_read() {
    let mut life = life(SYNC);
    life.run(&[one(0), Step::Flush]);
    // The second group is written, and the process dies before its sync is done.
    life.disk.freeze_at(2);
    life.run(&[one(0), Step::Flush]);
    assert!(life.disk.is_frozen());
    life.thaw();
    let left = life.crash(End::Kill, 0);
    life.go_on(left);
    life.reopen(End::Kill);
    let read = life.store.clone().unwrap().offsets(&queue(0)).end;
    assert_eq!(read, QueueOffset(2));
    for seed in 0..20 {
        let left = life.disk.after_power_loss(seed);
        let store = crate::life::open(&left, &life.clock, SYNC).unwrap();
        assert_eq!(store.offsets(&queue(0)).end, read, "seed {seed}");
    }
}

#[test]
fn rs_02_a_stop_while_indexes_lag_leaves_nothing_out() {
    for kind in [SYNC, ASYNC] {
        let mut life = life(kind);
        life.run(&[one(0), one(1), Step::Settle, Step::Flush, one(2)]);
        let store = life.store.clone().unwrap();
        assert!(store.status().indexed_end < store.status().max_physical);
        drop(store);
        life.run(&[Step::Restart]);
        let store = life.store.clone().unwrap();
        assert_eq!(store.status().indexed_end, store.status().max_physical);
        assert_eq!(store.offsets(&queue(2)).end, QueueOffset(1));
        life.model.check_index(&store);
    }
}

#[test]
fn rs_03_dispatch_resumes_where_the_slowest_index_is() {
    let mut life = life(ASYNC);
    life.run(&[one(0), Step::Settle, Step::Index, one(0), Step::Settle, Step::Save, Step::Kill]);
    let store = life.store.clone().unwrap();
    // Queues know both, the key index none yet.
    assert_eq!(store.offsets(&queue(0)).end, QueueOffset(2));
    life.model.check_index(&store);
}

#[test]
fn inv_13_what_progress_says_of_queues_is_synced() {
    // One by one, and with all their file system.
    for sync_volume_from in [usize::MAX, 1] {
        let clock = SimClock::new(NOW);
        let disk = SimDisk::new(&clock);
        let settings = rmq_store::Config { sync_volume_from, ..config(ASYNC) };
        let world = world(&clock, &disk, 0);
        let store = LocalStore::open_still(&world, &Tasks::new("test"), settings).unwrap();
        for number in 0..60 {
            store.append(&queue(number % 4), &[record(b"b", "A\u{1}b\u{2}", 0)]).unwrap();
        }
        store.settle().unwrap();
        store.work(Chore::Save).unwrap();
        let files = || {
            let paths = disk.paths().into_iter();
            paths.filter(|path| path.starts_with("/var/store/consumequeue"))
        };
        assert_eq!(files().count(), 8);
        for seed in 0..20 {
            let left = disk.after_power_loss(seed);
            for path in files() {
                assert!(left.bytes(&path) == disk.bytes(&path), "{} {seed}", path.display());
            }
        }
    }
}

/// Four files of the log, each with some messages, all written and synced.
fn four_files(kind: Kind) -> Life {
    let mut life = life(kind);
    let big = Step::Append { queue: 0, count: 1, body: 2_500, pad: 0 };
    life.run(&[big; 11]);
    life.run(&[Step::Settle, Step::Flush, Step::Save]);
    assert_eq!(life.store.clone().unwrap().status().max_physical.0 / FILE, 3);
    life
}

#[test]
fn rs_05_a_removed_file_answers_with_the_right_bytes_or_nothing() {
    let mut life = four_files(ASYNC);
    let store = life.store.clone().unwrap();
    let read = |offset| {
        let (queue, offset) = (&queue(0), QueueOffset(offset));
        let request = ReadRequest { queue, offset, count_max: 1, bytes_max: 1 << 20 };
        store.read(&request, &AdmitAll).unwrap()
    };
    let before = read(0);
    life.run(&[Step::Expire]);
    assert!(store.status().min_physical.0 > 0);
    // Bytes that were read stay what they were.
    let held = RecordView::parse(&before.records[0]).unwrap();
    assert_eq!(held.body, life.model.log[0].body);
    assert_eq!(read(0).status, ReadStatus::OffsetTooSmall);
    for sent in &life.model.log {
        let found = store.message_at(PhysicalOffset(sent.at));
        if sent.at < store.status().min_physical.0 {
            assert!(matches!(found, Err(ReadError::NotFound { .. })), "{found:?}");
        } else {
            assert_eq!(RecordView::parse(&found.unwrap()).unwrap().body, sent.body);
        }
    }
}

#[test]
fn rs_06_a_young_file_between_old_ones_stays_and_leaves_no_gap() {
    let mut life = four_files(ASYNC);
    let old = life.clock.wall();
    let store = life.store.clone().unwrap();
    // At the hour at which files are removed, a day later.
    life.clock.advance(Duration::from_millis(
        u64::try_from(2 * 86_400_000 - life.clock.wall_ms() % 86_400_000).unwrap(),
    ));
    for (file, time) in [(0, old), (1, life.clock.wall()), (2, old), (3, old)] {
        assert!(life.disk.set_modified(&log_file(file * FILE), time));
    }
    store.work(Chore::Expire).unwrap();
    assert_eq!(store.status().min_physical.0, FILE);
    drop(store);
    life.model.begin_expiry(FILE);
    life.model.expired_to(FILE);
    life.run(&[Step::Kill]);
    assert_eq!(life.store.clone().unwrap().status().min_physical.0, FILE);
}

#[test]
fn rs_07_a_log_that_begins_above_zero_becomes_durable() {
    let mut life = four_files(SYNC);
    life.run(&[Step::Expire, Step::Restart, one(0), Step::Flush]);
    let status = life.store.clone().unwrap().status();
    assert!(status.min_physical.0 > 0);
    assert_eq!(status.durable_end, status.staged_end);
}

#[test]
fn rs_08_the_same_stretch_of_the_log_twice_makes_no_second_entry() {
    let mut life = life(ASYNC);
    life.run(&[one(0), one(1), Step::Settle, Step::Index, Step::WriteQueues, Step::Flush]);
    // Nothing was saved: the start goes over all of it again.
    life.run(&[Step::Kill]);
    let store = life.store.clone().unwrap();
    assert_eq!(store.offsets(&queue(0)).end, QueueOffset(1));
    life.model.check_index(&store);
}

#[test]
fn rs_09_and_18_a_refused_append_takes_nothing_and_blocks_nothing() {
    let mut life = life(SYNC);
    let store = life.store.clone().unwrap();
    let huge = vec![1; usize::try_from(FILE).unwrap()];
    let long = format!("A\u{1}{}\u{2}", "x".repeat(40_000));
    let (fits, good) = (&b"fits"[..], "A\u{1}b\u{2}");
    let refused = |queue: &QueueKey, body: &[u8], properties: &str| {
        store.append(queue, &[record(body, properties, 0)]).unwrap_err()
    };
    type Refusal<'a> = Box<dyn Fn() -> AppendError + 'a>;
    let refusals: [Refusal<'_>; 6] = [
        Box::new(|| refused(&queue(0), &huge, good)),
        Box::new(|| refused(&queue(0), fits, &long)),
        Box::new(|| refused(&queue(0), fits, "A\u{1}b\0\u{2}")),
        Box::new(|| refused(&QueueKey::new("a/b", 0), fits, good)),
        Box::new(|| store.append(&queue(0), &[]).unwrap_err()),
        Box::new(|| {
            life.disk.set_usage(Usage::new(100, 0));
            // The share that is too much is all of it.
            store.work(Chore::Expire).unwrap();
            let error = refused(&queue(0), fits, good);
            life.disk.set_usage(Usage::new(100, 90));
            store.work(Chore::Expire).unwrap();
            error
        }),
    ];
    for (number, refusal) in refusals.iter().enumerate() {
        let error = refusal();
        let receipt = store.append(&queue(0), &[record(fits, good, 0)]);
        let receipt = receipt.unwrap_or_else(|e| panic!("after {error}: {e}"));
        assert_eq!(receipt.queue_offset.0, i64::try_from(number).unwrap(), "after {error}");
    }
    drop(refusals);
    // No space for the next file of the log.
    let big = Step::Append { queue: 1, count: 1, body: 3_000, pad: 0 };
    life.run(&[big, big]);
    life.disk.fail_call(2, Fault::StorageFull);
    let full = life.append(&queue(1), 1, 3_000, 0, 0);
    assert!(matches!(full, Err(AppendError::Full { .. })), "{full:?}");
    life.append(&queue(1), 1, 3_000, 0, 0).unwrap();
    assert_eq!(life.model.log.last().unwrap().offset, Some(2));
}

#[test]
fn rs_10_many_senders_get_dense_and_unique_offsets() {
    let life = life(SYNC);
    let store = life.store.clone().unwrap();
    let mut all: Vec<Vec<i64>> = vec![Vec::new(); 4];
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|_| {
                let store = &store;
                scope.spawn(move || {
                    let send = |n: usize| {
                        let receipt = store.append(&queue(n % 4), &[record(b"x", "", 0)]);
                        (n % 4, receipt.unwrap().queue_offset.0)
                    };
                    (0..100).map(send).collect::<Vec<_>>()
                })
            })
            .collect();
        for (queue, offset) in senders.into_iter().flat_map(|sender| sender.join().unwrap()) {
            all[queue].push(offset);
        }
    });
    for offsets in &mut all {
        offsets.sort_unstable();
        assert_eq!(*offsets, (0..100).collect::<Vec<_>>());
    }
}

#[test]
fn rs_19_a_panic_in_an_append_or_a_write_harms_nothing_that_is_acknowledged() {
    for kind in [SYNC, ASYNC] {
        for n in 1..30 {
            let mut life = life(kind);
            life.run(&[one(0), Step::Settle, Step::Flush]);
            life.disk.fail_call(n, Fault::Panic);
            let steps = [one(0), Step::Append { queue: 1, count: 4, body: 1_700, pad: 0 }, one(2)];
            for step in steps.into_iter().flat_map(|step| [step, Step::Settle, Step::Flush]) {
                let stepped =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| life.step(step)));
                assert!(stepped.is_ok() || life.disk.has_struck());
            }
            life.observe();
            // Either it goes on, or it says that it does not (INV-17).
            let store = life.store.clone().unwrap();
            let accepts = store.append(&queue(3), &[record(b"next", "", 0)]).is_ok();
            assert_eq!(accepts, store.health().writable);
            drop(store);
            let left = life.crash(End::Kill, n);
            life.go_on(left);
            life.model.log.retain(|sent| sent.end <= life.model.settled.max(life.model.durable));
            let store = crate::life::open(&life.disk, &life.clock, kind).unwrap();
            for sent in &life.model.log {
                let bytes = store.message_at(PhysicalOffset(sent.at)).unwrap();
                assert_eq!(RecordView::parse(&bytes).unwrap().body, sent.body);
            }
        }
    }
}

/// Sends until it is refused.
async fn send_on(store: &LocalStore) -> AppendError {
    loop {
        match store.append(&queue(0), &[record(b"x", "KEYS\u{1}k\u{2}", 0)]) {
            Err(error) => return error,
            Ok(receipt) => {
                store.settle().ok();
                // Acknowledged or refused, but never left waiting.
                drop(store.durable(receipt.end).await);
            }
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn rs_20_when_a_task_dies_sends_are_refused_and_waiting_ones_answered() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.unwrap();
    // The flusher, the index, what writes queues, what saves progress.
    for part in ["/commitlog/", "/index/", "/consumequeue/", "/progress"] {
        runtime.block_on(async {
            let clock = SimClock::new(NOW);
            let disk = SimDisk::new(&clock);
            let system = SetClock::new(NOW);
            let world = World { clock: system.clone(), ..world(&clock, &disk, 0) };
            let tasks = Tasks::new("test");
            let config = rmq_store::Config { flush_interval_consume_queue: 10, ..config(SYNC) };
            let store = LocalStore::open(&world, &tasks, config).unwrap();
            disk.fail_path(part, Fault::Panic);
            let refused = send_on(&store);
            let refused = rmq_runtime::ClockExt::timeout(&*system, Duration::from_secs(5), refused);
            let refused = refused.await;
            assert!(matches!(refused, Ok(AppendError::ReadOnly { .. })), "{part}: {refused:?}");
            assert!(!store.health().writable);
            tasks.stop(&*system, Duration::from_secs(10)).await;
        });
    }
}

#[test]
fn rs_21_a_checksum_of_zero_is_a_checksum() {
    let body = [0x9D, 0x0A, 0xD9, 0x6D];
    assert_eq!((record::crc(&body), record::crc(b"")), (0, 0));
    let life = life(SYNC);
    let store = life.store.clone().unwrap();
    for body in [&body[..], b""] {
        store.append(&queue(0), &[record(body, "A\u{1}b\u{2}", 0)]).unwrap();
    }
    store.work(Chore::Flush).unwrap();
    let store = crate::life::open(&life.disk.after_power_loss(1), &life.clock, SYNC).unwrap();
    assert_eq!(store.offsets(&queue(0)).end, QueueOffset(2));
}

#[test]
fn inv_14_a_stop_that_is_interrupted_anywhere_is_no_clean_stop() {
    let before = [one(0), one(1), one(2), Step::Settle, Step::Flush, Step::Index];
    let mut whole = life(SYNC);
    whole.run(&before);
    let begin = whole.operations();
    whole.run(&[Step::Restart]);
    for operation in begin..=whole.operations() {
        for seed in 0..12 {
            let mut life = Life::begin(SYNC, operation);
            life.run(&before);
            life.run(&[Step::Restart]);
            life.settle_down_after(End::PowerLoss, seed);
        }
    }
}

#[test]
fn inv_15_a_store_that_was_never_used_opens_again_after_any_crash() {
    for operation in 1..40 {
        for seed in 0..5 {
            let mut life = Life::begin(SYNC, operation);
            let left = life.crash(End::PowerLoss, seed);
            life.thaw();
            life.go_on(left);
            life.settle_down(End::PowerLoss, seed);
            assert!(life.disk.paths().iter().any(|path| path.ends_with("progress")));
            assert!(life.disk.bytes(Path::new("/var/store/abort")).is_some());
        }
    }
}
