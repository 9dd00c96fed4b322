//! After a crash: every complete record is kept, none is invented.

use std::path::{Path, PathBuf};

use rmq_store::{Config, FlushDiskType, MessageStore, OpenError, QueueKey, StoreAdmin};

use crate::memory_disk::MemoryDisk;
use crate::support::{StatusEnd, config, open};

const COUNT: usize = 40;

fn root() -> &'static Path {
    Path::new("/store")
}

fn settings() -> Config {
    Config {
        message_index_enable: false,
        // So that each byte counts.
        enabled_append_prop_crc: true,
        force_verify_prop_crc: true,
        ..config(root())
    }
}

fn segment(start: u64) -> PathBuf {
    root().join(format!("commitlog/{start:020}"))
}

fn queue(n: usize) -> QueueKey {
    QueueKey::new("Orders", i32::try_from(n % 3).unwrap())
}

/// A killed store of [`COUNT`] messages, whose progress is that of its beginning; and where its
/// records begin, with the end.
async fn killed() -> (MemoryDisk, Vec<u64>) {
    let disk = MemoryDisk::default();
    // Nothing is saved while it runs.
    let settings = Config { flush_interval_consume_queue: 1_000_000, ..settings() };
    let opened = open(disk.clone(), settings).unwrap();
    let mut starts = Vec::new();
    for n in 0..COUNT {
        starts.push(opened.append(&queue(n), &vec![0xA5; n % 7 * 5]).unwrap().physical_offset.0);
    }
    opened.store.settle().unwrap();
    starts.push(opened.store.status_end());
    let killed = disk.killed();
    opened.abandon().await;
    (killed, starts)
}

/// Opens, checks that the first `kept` messages are there, and that it can be written on.
async fn assert_kept(disk: &MemoryDisk, starts: &[u64], kept: usize, what: &str) {
    for round in 0..2 {
        // The second round recovers what the first has left, killed at once.
        let opened = open(disk.clone(), settings()).unwrap();
        assert_eq!(opened.store.status_end(), starts[kept], "{what}, round {round}");
        for id in 0..3 {
            let expected: Vec<_> = (id..kept).step_by(3).map(|n| vec![0xA5; n % 7 * 5]).collect();
            assert_eq!(opened.bodies(&queue(id)), expected, "{what}, round {round}");
        }
        if round == 1 {
            let before = opened.store.offsets(&queue(0)).end;
            assert_eq!(opened.send(&queue(0), b"after").await.queue_offset, before);
            assert_eq!(opened.bodies(&queue(0)).last().unwrap(), b"after");
        }
        opened.abandon().await;
    }
}

#[tokio::test]
async fn a_log_torn_at_any_byte_keeps_its_complete_records() {
    // INV-04, INV-05, INV-07; CT-02 in small
    let (whole, starts) = killed().await;
    let end = *starts.last().unwrap();
    let old = whole.bytes(&segment(0));
    for at in 0..end {
        let kept = starts.iter().filter(|start| **start <= at).count() - 1;
        let place = usize::try_from(at).unwrap();
        for (kind, fill) in ["zeros", "old bytes"].into_iter().enumerate() {
            let disk = whole.killed();
            disk.edit(&segment(0), |bytes| {
                bytes[place..].fill(0);
                if kind == 1 {
                    // What lay there before the file was used again.
                    let len = (old.len() - place).min(place);
                    bytes[place..place + len].copy_from_slice(&old[..len]);
                }
            });
            assert_kept(&disk, &starts, kept, &format!("{fill} from {at}")).await;
        }
    }
}

#[tokio::test]
async fn damage_before_valid_messages_is_never_cut_away() {
    // INV-06
    let (whole, starts) = killed().await;
    let last = starts[COUNT - 1];
    for at in 0..starts[COUNT] {
        let hit = starts.iter().filter(|start| **start <= at).count() - 1;
        let disk = whole.killed();
        disk.edit(&segment(0), |bytes| bytes[usize::try_from(at).unwrap()] ^= 0xFF);
        match open(disk.clone(), settings()) {
            Err(OpenError::Damaged { path, at: damaged, next }) => {
                assert!(at < last);
                assert_eq!((path, damaged.0, next.0), (segment(0), starts[hit], starts[hit + 1]));
                assert!(
                    disk.bytes(&segment(0))[usize::try_from(next.0).unwrap()..]
                        == whole.bytes(&segment(0))[usize::try_from(next.0).unwrap()..]
                );
                // An operator may decide to lose what follows.
                let decided = Config { cut_damaged_log: true, ..settings() };
                open(disk.clone(), decided).unwrap().abandon().await;
                assert_kept(&disk, &starts, hit, &format!("flip at {at}")).await;
            }
            Err(other) => panic!("{other}"),
            // Only the last record can be cut off.
            Ok(opened) => {
                let end = opened.store.status_end();
                assert!(at >= last && end == last, "{at}");
                opened.abandon().await;
            }
        }
    }
}

#[tokio::test]
async fn damage_in_an_older_file_is_told_with_file_and_place() {
    let disk = MemoryDisk::default();
    let quiet = Config { flush_interval_consume_queue: 1_000_000, ..settings() };
    let opened = open(disk.clone(), quiet).unwrap();
    let mut starts = Vec::new();
    for n in 0..400 {
        starts.push(opened.append(&queue(n), &[1; 50]).unwrap().physical_offset.0);
    }
    opened.store.settle().unwrap();
    let killed = disk.killed();
    opened.abandon().await;
    // The last record of the first file, so that the next valid one is in another file.
    let hit = starts.iter().filter(|start| **start < 16 << 10).count() - 1;
    killed.edit(&segment(0), |bytes| bytes[usize::try_from(starts[hit]).unwrap() + 4] = 0);
    let error = open(killed, settings()).err().unwrap();
    assert!(
        matches!(&error, OpenError::Damaged { path, at, next }
            if *path == segment(0) && at.0 == starts[hit] && next.0 == starts[hit + 1]),
        "{error}"
    );
}

#[tokio::test]
async fn any_deleted_file_of_what_is_derived_is_rebuilt() {
    // INV-11, RS-03, RS-04, RS-08
    for clean in [true, false] {
        let disk = MemoryDisk::default();
        let opened = open(disk.clone(), config(root())).unwrap();
        for n in 0..200 {
            opened.send(&queue(n), &[3; 20]).await;
        }
        opened.indexed().await;
        let expected: Vec<_> = (0..3).map(|id| opened.bodies(&queue(id))).collect();
        let left = if clean {
            opened.stop().await;
            disk
        } else {
            let killed = disk.killed();
            opened.abandon().await;
            killed
        };
        let derived = left
            .paths()
            .into_iter()
            .filter(|path| !path.starts_with(root().join("commitlog")) && !path.ends_with("abort"));
        for path in derived.chain([root().join("consumequeue"), root().join("index")]) {
            let disk = left.killed();
            rmq_runtime::Disk::remove(&disk, &path).unwrap();
            if path.parent() == Some(root()) && disk.paths().iter().any(|it| it.starts_with(&path))
            {
                rmq_runtime::Disk::remove_dir(&disk, &path).unwrap();
            }
            let opened = open(disk, config(root())).unwrap();
            for (id, expected) in expected.iter().enumerate() {
                assert_eq!(&opened.bodies(&queue(id)), expected, "{} {clean}", path.display());
            }
            opened.indexed().await;
            let tag = rmq_store::KeyQuery {
                topic: "Orders",
                key: "tagA",
                kind: rmq_store::KeyKind::Tag,
                begin: rmq_message::Timestamp(0),
                end: rmq_message::Timestamp(i64::MAX - 10_000),
                count_max: 64,
            };
            let found = opened.store.query(&tag).unwrap();
            assert_eq!(found.records.len(), 64, "{} {clean}", path.display());
            opened.stop().await;
        }
    }
}

#[tokio::test]
async fn a_log_that_begins_above_zero_goes_on() {
    // RS-07
    let (disk, _) = killed().await;
    let opened = open(disk.clone(), settings()).unwrap();
    for n in 0..400 {
        opened.append(&queue(n), &[1; 50]).unwrap();
    }
    opened.store.settle().unwrap();
    let bodies: Vec<_> = (0..3).map(|id| opened.bodies(&queue(id))).collect();
    opened.stop().await;
    rmq_runtime::Disk::remove(&disk, &segment(0)).unwrap();
    for lose_queues in [false, true] {
        let disk = disk.killed();
        if lose_queues {
            rmq_runtime::Disk::remove_dir(&disk, &root().join("consumequeue")).unwrap();
        }
        let opened = open(disk, settings()).unwrap();
        assert_eq!(opened.store.status().min_physical.0, 16 << 10);
        for (id, before) in bodies.iter().enumerate() {
            let range = opened.store.offsets(&queue(id));
            assert_eq!(range.end.0, before.len() as i64);
            assert!(range.start.0 > 0);
            let kept = opened.bodies(&queue(id));
            assert_eq!(kept, before[before.len() - kept.len()..]);
            let receipt = opened.send(&queue(id), b"on").await;
            assert_eq!(receipt.queue_offset.0, before.len() as i64);
        }
        opened.stop().await;
    }
}

#[tokio::test]
async fn files_of_another_size_are_refused_by_name() {
    let (disk, _) = killed().await;
    let other = Config { mapped_file_size_commit_log: 32 << 10, ..settings() };
    let error = open(disk.clone(), other).err().unwrap();
    assert!(error.to_string().contains("mappedFileSizeCommitLog is 32768"), "{error}");
    disk.edit(&segment(0), Vec::clear);
    // A crash while the file was made.
    let opened = open(disk, settings()).unwrap();
    assert_eq!(opened.store.status_end(), 0);
    opened.stop().await;
}

#[tokio::test]
async fn what_a_start_finds_is_durable_at_once_only_with_sync_flush() {
    let (disk, starts) = killed().await;
    for flush_disk_type in [FlushDiskType::Async, FlushDiskType::Sync] {
        let settings = Config {
            flush_disk_type,
            flush_interval_commit_log: 1_000_000,
            flush_interval_consume_queue: 1_000_000,
            ..settings()
        };
        let opened = open(disk.clone(), settings).unwrap();
        let status = opened.store.status();
        assert_eq!(status.max_physical.0, starts[COUNT], "all of it can be read");
        let durable = status.durable_end == status.max_physical;
        assert_eq!(durable, flush_disk_type == FlushDiskType::Sync);
        opened.abandon().await;
    }
}
