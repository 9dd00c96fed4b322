//! Appending: 32 messages a write, as those of one network read (`ASYNC_FLUSH`), and groups of
//! waiting sends that share a sync (`SYNC_FLUSH`). Beside each the same minimal work by hand:
//! checksum, record, queue entry, one positional write of the same bytes, and its sync.
#![expect(clippy::unwrap_used, reason = "a bench that fails may stop")]
#![expect(clippy::disallowed_methods, reason = "measures time itself")]

mod bed;
mod turns;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bed::{Bed, message, queues};
use rmq_message::record::{self, NewRecord};
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp, record::Placement};
use rmq_runtime::{DiskFile, OpenMode, World};
use rmq_store::{Chore, FlushDiskType, MessageStore, QueueKey};
use turns::{Work, compare, is_asked};

/// Messages that are settled together.
const GROUP: usize = 32;
const SEGMENT: u64 = 1 << 30;
const TOPIC: &str = "BenchTopic0";

fn main() {
    append();
    sync_commit();
}

/// One queue and thousands take turns: what a message costs should not depend on it.
fn append() {
    if !is_asked("append, ") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut one = Appender::new(&dir.path().join("one"), 1);
    let mut many = Appender::new(&dir.path().join("many"), 10_000);
    for (len, groups) in [(128, 2000), (1024, 1000), (64 << 10, 16)] {
        let body = vec![7; len];
        let mut raw = Raw::new(&dir.path().join("raw"), &body);
        let items = groups * GROUP as u64;
        let work =
            Work { name: &format!("append, {len} B"), items, bytes: items * raw.record_len() };
        let mut by_hand = || {
            let started = Instant::now();
            for _ in 0..groups {
                raw.group(GROUP);
            }
            started.elapsed()
        };
        compare(
            &work,
            &mut [
                ("to 1 queue", &mut || one.groups(groups, &body)),
                ("to 10000 queues", &mut || many.groups(groups, &body)),
                ("by hand", &mut by_hand),
            ],
        );
    }
}

/// A store, and queues of it that get messages by turns.
struct Appender {
    bed: Bed,
    queues: Vec<QueueKey>,
    next: usize,
}

impl Appender {
    fn new(dir: &Path, count: i32) -> Self {
        let (bed, queues) = (Bed::open(dir, FlushDiskType::Async), queues(count));
        // Files of queues are made once in a queue's life, and not measured.
        for queue in &queues {
            bed.store.append(queue, &[message(b"first")]).unwrap();
        }
        bed.store.settle().unwrap();
        bed.store.work(Chore::Save).unwrap();
        Self { bed, queues, next: 0 }
    }

    fn groups(&mut self, groups: u64, body: &[u8]) -> Duration {
        let Self { bed, queues, next } = self;
        let started = Instant::now();
        for _ in 0..groups {
            for _ in 0..GROUP {
                black_box(bed.store.append(&queues[*next], &[message(body)]).unwrap());
                *next = (*next + 1) % queues.len();
            }
            bed.store.settle().unwrap();
        }
        let took = started.elapsed();
        // The key index follows beside; it is not to disturb the others' turns.
        let end = bed.store.append(&queues[0], &[message(b"last")]).unwrap().end;
        bed.store.settle().unwrap();
        bed.runtime.block_on(bed.store.indexed().reached(end.0)).unwrap();
        took
    }
}

/// Appending without a store: one queue, no key index, no locks, nothing checked.
struct Raw<'a> {
    file: Arc<dyn DiskFile>,
    body: &'a [u8],
    /// All of the record before its body and after it.
    ends: (Vec<u8>, Vec<u8>),
    staged: Vec<u8>,
    units: Vec<u8>,
    at: u64,
    count: u64,
}

impl<'a> Raw<'a> {
    fn new(path: &Path, body: &'a [u8]) -> Self {
        let disk = World::system().disk;
        disk.remove(path).unwrap();
        let file = disk.open(path, OpenMode::Create { len: SEGMENT }).unwrap();
        let record = NewRecord { topic: TOPIC, ..message(body) };
        let place = Placement {
            queue_offset: QueueOffset(0),
            physical_offset: PhysicalOffset(0),
            store_timestamp: Timestamp(0),
        };
        let mut bytes = Vec::new();
        record.encode(&mut bytes, record.encoded_len().unwrap(), 0, place);
        let ends = (bytes[..88].to_vec(), bytes[88 + body.len()..].to_vec());
        Self { file, body, ends, staged: Vec::new(), units: Vec::new(), at: 0, count: 0 }
    }

    fn record_len(&self) -> u64 {
        (self.ends.0.len() + self.body.len() + self.ends.1.len()) as u64
    }

    /// Messages that share a write.
    fn group(&mut self, count: usize) {
        if self.at + self.record_len() * count as u64 > SEGMENT {
            // From the beginning, on pages that are there: the limit is only higher.
            self.at = 0;
        }
        if self.units.len() > 1 << 20 {
            self.units.clear();
        }
        self.staged.clear();
        let len = self.record_len();
        for _ in 0..count {
            let at = self.at + self.staged.len() as u64;
            let mut head = [0; 88];
            head.copy_from_slice(&self.ends.0);
            head[8..12].copy_from_slice(&record::crc(black_box(self.body)).to_be_bytes());
            head[20..28].copy_from_slice(&self.count.to_be_bytes());
            head[28..36].copy_from_slice(&at.to_be_bytes());
            head[56..64].copy_from_slice(&self.count.to_be_bytes());
            self.staged.extend_from_slice(&head);
            self.staged.extend_from_slice(self.body);
            self.staged.extend_from_slice(&self.ends.1);
            let mut unit = [0; 20];
            unit[..8].copy_from_slice(&at.to_be_bytes());
            unit[8..16].copy_from_slice(&len.to_be_bytes());
            self.units.extend_from_slice(&unit);
            self.count += 1;
        }
        self.file.write_at(self.at, &self.staged).unwrap();
        self.at += self.staged.len() as u64;
    }
}

/// Groups of so many waiting sends share one sync.
fn sync_commit() {
    if !is_asked("sync of ") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::open(&dir.path().join("store"), FlushDiskType::Sync);
    let (body, queue) = (vec![7; 1024], &queues(1)[0]);
    for waiters in [1, 16, 256] {
        let mut raw = Raw::new(&dir.path().join("raw"), &body);
        let groups = 200;
        let items = groups * waiters as u64;
        let work = Work {
            name: &format!("sync of {waiters} waiting sends, 1024 B"),
            items,
            bytes: items * raw.record_len(),
        };
        let mut store = || {
            let started = Instant::now();
            for _ in 0..groups {
                let waiting: Vec<_> = (0..waiters)
                    .map(|_| {
                        let receipt = bed.store.append(queue, &[message(&body)]).unwrap();
                        bed.store.durable(receipt.end)
                    })
                    .collect();
                bed.store.settle().unwrap();
                bed.runtime.block_on(async {
                    for durable in waiting {
                        durable.await.unwrap();
                    }
                });
            }
            started.elapsed()
        };
        let mut by_hand = || {
            let mut took = Duration::ZERO;
            for _ in 0..groups {
                let started = Instant::now();
                raw.group(waiters);
                raw.file.sync().unwrap();
                took += started.elapsed();
            }
            took
        };
        compare(&work, &mut [("store", &mut store), ("by hand", &mut by_hand)]);
    }
}
