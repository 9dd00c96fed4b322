//! What is on the disk only, and how much of it is mapped.

use std::path::Path;

use rmq_message::{PhysicalOffset, QueueOffset};
use rmq_store::{AdmitAll, Config, MessageStore, QueueKey, ReadError, ReadOutcome, ReadRequest};

use crate::memory_disk::MemoryDisk;
use crate::support::{Opened, config, open, views};

fn queue() -> QueueKey {
    QueueKey::new("Orders", 0)
}

fn quiet() -> Config {
    // Nothing in the background uses the disk while it is watched.
    let day = 86_400_000;
    Config {
        flush_interval_commit_log: day,
        flush_interval_consume_queue: day,
        clean_resource_interval: day,
        message_index_enable: false,
        ..config(Path::new("/store"))
    }
}

fn read_cached(opened: &Opened, offset: i64) -> Result<ReadOutcome, ReadError> {
    let (queue, offset) = (queue(), QueueOffset(offset));
    let request = ReadRequest { queue: &queue, offset, count_max: 32, bytes_max: usize::MAX };
    opened.store.read_cached(&request, &AdmitAll)
}

#[tokio::test]
async fn a_read_that_would_wait_for_the_disk_is_refused_before_it_does() {
    let disk = MemoryDisk::default();
    let opened = open(disk.clone(), quiet()).unwrap();
    for n in 0..40_u8 {
        opened.send(&queue(), &[n; 100]).await;
    }
    opened.stop().await;
    let opened = open(disk.clone(), quiet()).unwrap();
    assert_eq!(read_cached(&opened, 0).unwrap().count, 32, "it is in memory");
    let first_len = opened.store.message_at_cached(PhysicalOffset(0)).unwrap().len();
    disk.cool();
    let before = disk.reads();
    assert!(matches!(read_cached(&opened, 0), Err(ReadError::Cold)));
    let first = opened.store.message_at_cached(PhysicalOffset(0));
    assert!(matches!(first, Err(ReadError::Cold)));
    assert_eq!(disk.reads(), before, "nothing was read");
    assert_eq!(opened.store.message_at(PhysicalOffset(0)).unwrap().len(), first_len);
    let outcome = opened.read(&queue(), 0, 32);
    assert_eq!(views(&outcome.records).len(), 32);
    opened.stop().await;
}

#[tokio::test]
async fn what_was_stored_since_the_start_is_never_refused() {
    let disk = MemoryDisk::default();
    let opened = open(disk.clone(), quiet()).unwrap();
    opened.send(&queue(), b"old").await;
    opened.stop().await;
    let opened = open(disk.clone(), quiet()).unwrap();
    disk.cool();
    opened.send(&queue(), b"young").await;
    let outcome = read_cached(&opened, 1).unwrap();
    assert_eq!(views(&outcome.records)[0].body, b"young");
    assert!(matches!(read_cached(&opened, 0), Err(ReadError::Cold)));
    // At the end of the queue there is nothing to be waited for.
    assert_eq!(read_cached(&opened, 2).unwrap().count, 0);
    opened.stop().await;
}

#[tokio::test]
async fn at_most_eight_files_are_mapped_when_memory_is_small() {
    let disk = MemoryDisk::default();
    let small = Config { memory_size: 0, ..quiet() };
    let opened = open(disk.clone(), small).unwrap();
    // Two to a file.
    for n in 0..20_u8 {
        opened.send(&queue(), &vec![n; 7_000]).await;
    }
    assert_eq!(opened.bodies(&queue()).len(), 20);
    assert_eq!(disk.unmapped(), 2, "ten files were read");
    opened.stop().await;
}
