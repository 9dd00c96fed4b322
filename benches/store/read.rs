//! Reading 32 messages, finding an offset by time; beside them the raw cost of the same bytes.
#![expect(clippy::unwrap_used, reason = "a bench that fails may stop")]
#![expect(clippy::cast_possible_truncation, reason = "small constants")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rmq_message::record::NewRecord;
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp};
use rmq_runtime::{Tasks, World};
use rmq_store::{
    AdmitAll, Boundary, Config, FlushDiskType, LocalStore, MessageStore, QueueKey, ReadRequest,
};
use tokio::runtime::{Builder, Runtime};

const COUNT: i64 = 400_000;
const BATCH: usize = 32;

struct Opened {
    store: Arc<LocalStore>,
    runtime: Runtime,
    _dir: tempfile::TempDir,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.stop()).unwrap();
    }
}

/// A store of [`COUNT`] messages of 1 KiB, spread over so many queues.
fn filled(queues: i32) -> Opened {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let inside = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        store_path_root_dir: dir.path().to_owned(),
        disk_space_warning_level_ratio: 1.0,
        flush_disk_type: FlushDiskType::Async,
        ..Config::default()
    };
    let store = LocalStore::open(&World::system(), &Tasks::new("bench"), config).unwrap();
    drop(inside);
    let (body, host) = (vec![7; 1024], "127.0.0.1:10911".parse().unwrap());
    for n in 0..COUNT {
        let record = NewRecord {
            topic: "",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: Timestamp(1_700_000_000_000),
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: b"TAGS\x01tagA\x02",
            tags_code: 3_552_231,
        };
        let queue = QueueKey::new("Bench", (n % i64::from(queues)) as i32);
        store.append(&queue, &[record]).unwrap();
        if n % 64 == 63 {
            store.settle().unwrap();
        }
    }
    store.settle().unwrap();
    Opened { store, runtime, _dir: dir }
}

fn read(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    group.throughput(Throughput::Elements(BATCH as u64));
    for queues in [1, 8] {
        let opened = filled(queues);
        let queue = QueueKey::new("Bench", 0);
        let end = opened.store.offsets(&queue).end.0;
        let places = [("old", 1000, end / 2), ("young", end - 40, end - 39)];
        for (name, from, to) in places {
            let mut offset = from;
            group.bench_function(BenchmarkId::new(format!("32x1KiB_{name}"), queues), |b| {
                b.iter(|| {
                    let request = ReadRequest {
                        queue: &queue,
                        offset: QueueOffset(offset),
                        count_max: BATCH,
                        bytes_max: usize::MAX,
                    };
                    let outcome = opened.store.read(&request, &AdmitAll).unwrap();
                    assert_eq!(outcome.count, BATCH);
                    offset += BATCH as i64;
                    if offset >= to {
                        offset = from;
                    }
                    black_box(outcome)
                });
            });
        }
        group.bench_function(BenchmarkId::new("offsets", queues), |b| {
            b.iter(|| black_box(opened.store.offsets(&queue)));
        });
        let mut at = 0;
        let record = opened.store.message_at(PhysicalOffset(0)).unwrap().len() as u64;
        group.bench_function(BenchmarkId::new("message_at", queues), |b| {
            b.iter(|| {
                at = (at + record * 4) % (record * 300_000);
                black_box(opened.store.message_at(PhysicalOffset(at)).unwrap())
            });
        });
        group.bench_function(BenchmarkId::new("offset_at", queues), |b| {
            b.iter(|| {
                let time = Timestamp(1_700_000_000_000);
                black_box(opened.store.offset_at(&queue, time, Boundary::Lower).unwrap())
            });
        });
        if queues == 1 {
            raw(&mut group, &opened);
        }
    }
    group.finish();
}

/// Copying what a read of 32 adjoining messages hands out without a copy.
fn raw(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    opened: &Opened,
) {
    let first = opened.store.message_at(PhysicalOffset(0)).unwrap();
    let source = first.repeat(BATCH);
    let mut copy = Vec::with_capacity(source.len());
    group.bench_function(BenchmarkId::new("32x1KiB", "raw copy"), |b| {
        b.iter(|| {
            copy.clear();
            copy.extend_from_slice(black_box(&source));
            black_box(copy.len())
        });
    });
}

criterion_group!(benches, read);
criterion_main!(benches);
