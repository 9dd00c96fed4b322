//! Reading 32 and 256 adjoining messages from memory and from the disk, and looking up by time and
//! by key; beside each what the same bytes cost by hand: a copy, reads of the file in order, and
//! as many single reads as the look-up needs.
#![expect(clippy::unwrap_used, reason = "a bench that fails may stop")]
#![expect(clippy::disallowed_methods, reason = "measures time itself")]
#![expect(clippy::cast_possible_truncation, reason = "small constants")]
#![expect(clippy::cast_possible_wrap, reason = "small constants")]

mod bed;
mod fill;
mod turns;

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bed::{Bed, queues};
use fill::fill;
use rmq_message::{QueueOffset, Timestamp};
use rmq_store::{
    AdmitAll, Boundary, FlushDiskType, KeyKind, KeyQuery, MessageStore, QueueKey, ReadRequest,
    StoreAdmin,
};
use turns::{Work, compare};

const COUNT: usize = 200_000;
const LOOKUPS: u64 = 2000;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let queue = &queues(1)[0];
    let bed = Bed::open(dir.path(), FlushDiskType::Async);
    let record_len = fill(&bed, std::slice::from_ref(queue), COUNT) / COUNT as u64;
    bed.runtime.block_on(bed.store.indexed().reached(bed.store.status().max_physical.0)).unwrap();
    for batch in [32, 256] {
        hot(&bed, queue, batch, record_len);
    }
    by_time(&bed, queue, dir.path());
    by_key(&bed, queue, dir.path());
    drop(bed);
    for batch in [32, 256] {
        cold(dir.path(), queue, batch, record_len);
    }
}

/// Reads the queue from one offset to another; returns how long that took.
fn read_all(bed: &Bed, queue: &QueueKey, batch: usize, to: usize) -> Duration {
    let (started, mut offset) = (Instant::now(), 0);
    while offset < to as i64 {
        let request = ReadRequest {
            queue,
            offset: QueueOffset(offset),
            count_max: batch,
            bytes_max: usize::MAX,
        };
        let outcome = bed.store.read_cached(&request, &AdmitAll);
        let outcome = outcome.or_else(|_| bed.store.read(&request, &AdmitAll)).unwrap();
        offset = outcome.next_offset.0;
        black_box(outcome);
    }
    started.elapsed()
}

fn hot(bed: &Bed, queue: &QueueKey, batch: usize, record_len: u64) {
    let items = (COUNT / batch * batch) as u64;
    let source = vec![7_u8; batch * record_len as usize];
    let mut copy = Vec::with_capacity(source.len());
    let work = Work {
        name: &format!("read {batch} of 1024 B, from memory"),
        items,
        bytes: items * record_len,
    };
    let mut store = || read_all(bed, queue, batch, items as usize);
    let mut by_hand = || {
        let started = Instant::now();
        for _ in 0..COUNT / batch {
            copy.clear();
            copy.extend_from_slice(black_box(&source));
            black_box(copy.len());
        }
        started.elapsed()
    };
    compare(&work, &mut [("store", &mut store), ("copy", &mut by_hand)]);
}

fn log(dir: &Path) -> File {
    File::open(dir.join("commitlog/00000000000000000000")).unwrap()
}

/// Takes the log out of memory, as far as nobody has it mapped.
fn cool(dir: &Path) {
    let file = log(dir);
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

fn cold(dir: &Path, queue: &QueueKey, batch: usize, record_len: u64) {
    let items = COUNT / 4 / batch * batch;
    let bytes = items as u64 * record_len;
    let name = format!("read {batch} of 1024 B, from the disk");
    let work = Work { name: &name, items: items as u64, bytes };
    let mut store = || {
        let bed = Bed::open(dir, FlushDiskType::Async);
        cool(dir);
        read_all(&bed, queue, batch, items)
    };
    let mut by_hand = || {
        cool(dir);
        let (file, mut chunk) = (log(dir), vec![0; 1 << 20]);
        let (started, mut at) = (Instant::now(), 0);
        while at < bytes {
            file.read_exact_at(&mut chunk, at).unwrap();
            at += chunk.len() as u64;
        }
        started.elapsed()
    };
    compare(&work, &mut [("store", &mut store), ("1 MiB at a time", &mut by_hand)]);
}

/// So many single reads at places all over the log.
fn single_reads(dir: &Path, reads: u64, len: usize) -> Duration {
    let (file, mut bytes) = (log(dir), vec![0; len]);
    let (started, mut at) = (Instant::now(), 0_u64);
    for _ in 0..LOOKUPS * reads {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        file.read_exact_at(&mut bytes, (at >> 16) % (200 << 20)).unwrap();
    }
    started.elapsed()
}

fn by_time(bed: &Bed, queue: &QueueKey, dir: &Path) {
    let work = Work { name: "look up by time", items: LOOKUPS, bytes: 0 };
    let last = bed.store.status().last_timestamp;
    let mut store = || {
        let started = Instant::now();
        for n in 0..LOOKUPS {
            let time = last + -(n as i64 % 200);
            black_box(bed.store.offset_at(queue, time, Boundary::Lower).unwrap());
        }
        started.elapsed()
    };
    // Halving 200,000 takes 18 looks, at an entry and at a record each.
    let mut by_hand = || single_reads(dir, 36, 20);
    compare(&work, &mut [("store", &mut store), ("36 reads of 20 B", &mut by_hand)]);
}

fn by_key(bed: &Bed, queue: &QueueKey, dir: &Path) {
    let work = Work { name: "look up by key", items: LOOKUPS, bytes: 0 };
    let mut store = || {
        let started = Instant::now();
        for n in 0..LOOKUPS {
            let key = fill::key(n as usize * 97 % COUNT);
            let query = KeyQuery {
                topic: &queue.topic,
                key: &key,
                kind: KeyKind::Key,
                begin: Timestamp(0),
                end: Timestamp(i64::MAX / 2),
                count_max: 1,
            };
            assert_eq!(bed.store.query(&query).unwrap().records.len(), 1);
        }
        started.elapsed()
    };
    // Slot, item, record.
    let mut by_hand = || single_reads(dir, 3, 1200);
    compare(&work, &mut [("store", &mut store), ("3 reads of 1200 B", &mut by_hand)]);
}
