//! Appending: in memory with one write per 32 (`ASYNC_FLUSH`), and in groups that share a sync
//! (`SYNC_FLUSH`); beside each the raw cost of moving the same bytes.
#![expect(clippy::unwrap_used, reason = "a bench that fails may stop")]
#![expect(clippy::cast_possible_truncation, reason = "small constants")]
#![expect(clippy::disallowed_methods, reason = "measures time itself")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rmq_message::Timestamp;
use rmq_message::record::NewRecord;
use rmq_runtime::{OpenMode, Tasks, World};
use rmq_store::{Chore, Config, FlushDiskType, LocalStore, MessageStore, QueueKey};
use tokio::runtime::{Builder, Runtime};

/// Messages that are settled together, as those of one network read are.
const GROUP: u64 = 32;
const PROPERTIES: &[u8] =
    b"UNIQ_KEY\x01FD00000000000000000000000000000272455FFD2B2769CDD8710000\x02\
    CLUSTER\x01DefaultCluster\x02TAGS\x01tagA\x02WAIT\x01true\x02";
const SEGMENT: u64 = 1 << 30;

struct Opened {
    store: Arc<LocalStore>,
    runtime: Runtime,
    _dir: tempfile::TempDir,
}

fn open(mode: FlushDiskType) -> Opened {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let inside = runtime.enter();
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        store_path_root_dir: dir.path().to_owned(),
        flush_disk_type: mode,
        disk_space_warning_level_ratio: 1.0,
        // The oldest files go, so that long runs fit the disk.
        file_reserved_time: 0,
        disk_max_used_space_ratio: 0,
        clean_resource_interval: 500,
        ..Config::default()
    };
    let store = LocalStore::open(&World::system(), &Tasks::new("bench"), config).unwrap();
    drop(inside);
    Opened { store, runtime, _dir: dir }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.stop()).unwrap();
    }
}

fn message(body: &[u8]) -> NewRecord<'_> {
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

fn queues(count: u64) -> Vec<QueueKey> {
    (0..count).map(|n| QueueKey::new(format!("BenchTopic{}", n / 8), (n % 8) as i32)).collect()
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for len in [128, 1024] {
        let body = vec![7; len];
        group.throughput(Throughput::Elements(GROUP));
        for count in [1, 10_000] {
            let (opened, queues) = (open(FlushDiskType::Async), queues(count));
            // Files of queues are made once in a queue's life, and not measured.
            for queue in &queues {
                opened.store.append(queue, &[message(&body)]).unwrap();
            }
            opened.store.settle().unwrap();
            opened.store.work(Chore::Save).unwrap();
            let mut next = queues.iter().cycle();
            group.bench_function(BenchmarkId::new(format!("{len}B"), format!("{count}q")), |b| {
                b.iter(|| {
                    for _ in 0..GROUP {
                        let queue = next.next().unwrap();
                        black_box(opened.store.append(queue, &[message(&body)]).unwrap());
                    }
                    opened.store.settle().unwrap();
                });
            });
        }
        raw(&mut group, len);
    }
    group.finish();
}

/// The same bytes: checksum, a copy into a buffer, one positional write per group.
fn raw(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>, len: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    let mut file = create(&path);
    let record = vec![7; len + 91 + 10 + PROPERTIES.len()];
    let mut staged = Vec::with_capacity(record.len() * GROUP as usize);
    let mut at = 0;
    group.bench_function(BenchmarkId::new(format!("{len}B"), "raw"), |b| {
        b.iter(|| {
            staged.clear();
            for _ in 0..GROUP {
                black_box(rmq_message::record::crc(&record[..len]));
                staged.extend_from_slice(&record);
            }
            if at + staged.len() as u64 > SEGMENT {
                // Fresh pages, as a log has them.
                std::fs::remove_file(&path).unwrap();
                (file, at) = (create(&path), 0);
            }
            file.write_at(at, &staged).unwrap();
            at += staged.len() as u64;
        });
    });
}

fn create(path: &Path) -> Arc<dyn rmq_runtime::DiskFile> {
    World::system().disk.open(path, OpenMode::Create { len: SEGMENT }).unwrap()
}

/// Groups of so many waiting sends share one sync.
fn sync_commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("sync_commit");
    group.measurement_time(Duration::from_secs(4)).sample_size(20);
    let body = vec![7; 1024];
    for waiters in [1, 16, 256] {
        group.throughput(Throughput::Elements(waiters));
        let (opened, queue) = (open(FlushDiskType::Sync), QueueKey::new("Bench", 0));
        group.bench_function(BenchmarkId::new("store", waiters), |b| {
            b.iter(|| {
                let mut last = None;
                for _ in 0..waiters {
                    let receipt = opened.store.append(&queue, &[message(&body)]).unwrap();
                    last = Some(opened.store.durable(receipt.end));
                }
                opened.store.settle().unwrap();
                opened.runtime.block_on(last.unwrap()).unwrap();
            });
        });
        let dir = tempfile::tempdir().unwrap();
        let file = create(&dir.path().join("raw"));
        let bytes = vec![7; (1024 + 91 + 10 + PROPERTIES.len()) * waiters as usize];
        group.bench_function(BenchmarkId::new("raw", waiters), |b| {
            b.iter_custom(|rounds| {
                let (started, mut at) = (Instant::now(), 0);
                for _ in 0..rounds {
                    file.write_at(at, &bytes).unwrap();
                    file.sync().unwrap();
                    at = (at + bytes.len() as u64) % (SEGMENT / 2);
                }
                started.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, append, sync_commit);
criterion_main!(benches);
