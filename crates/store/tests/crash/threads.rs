//! The store as it runs: its own threads and tasks, several senders, and the power goes off.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_message::record::RecordView;
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp};
use rmq_runtime::{Tasks, World};
use rmq_sim::{SimClock, SimDisk, world};
use rmq_store::{Config, FlushDiskType, LocalStore, MessageStore};

use crate::amounts::{self, Told};
use crate::life::{Kind, NOW, config, queue, record};
use crate::set_clock::SetClock;

/// Queue, offset, place and body of what was acknowledged.
type Acknowledged = Arc<Mutex<Vec<(usize, i64, PhysicalOffset, Vec<u8>)>>>;

fn threaded(clock: &Arc<SimClock>, disk: &SimDisk) -> (World, Config) {
    // Files are as old as the disk's clock says, whatever the time of day.
    let world = World { clock: SetClock::new(NOW), ..world(clock, disk, 0) };
    let config = Config {
        flush_interval_consume_queue: 1,
        clean_resource_interval: 1,
        ..config(Kind { flush: FlushDiskType::Sync, sealed: true })
    };
    (world, config)
}

async fn send(store: Arc<LocalStore>, sender: usize, acknowledged: Acknowledged) {
    for number in 0..200 {
        let to = (sender + number) % 4;
        let body = format!("{sender} {number} {}", "x".repeat(number % 50)).into_bytes();
        let Ok(receipt) = store.append(&queue(to), &[record(&body, "TAGS\u{1}t\u{2}", 0)]) else {
            return;
        };
        if store.settle().is_err() || store.durable(receipt.end).await.is_err() {
            return;
        }
        let place = (to, receipt.queue_offset.0, receipt.physical_offset, body);
        acknowledged.lock().push(place);
    }
}

async fn run(seed: u64) -> usize {
    let clock = SimClock::new(NOW);
    let disk = SimDisk::new(&clock);
    disk.freeze_at(30 + seed.wrapping_mul(7919) % 400);
    let (world, settings) = threaded(&clock, &disk);
    let tasks = Tasks::new("test");
    let acknowledged = Acknowledged::default();
    if let Ok(store) = LocalStore::open(&world, &tasks, settings.clone()) {
        let senders: Vec<_> =
            (0..3).map(|n| send(Arc::clone(&store), n, Arc::clone(&acknowledged))).collect();
        futures_util::future::join_all(senders).await;
        assert!(disk.is_frozen() || acknowledged.lock().len() == 600);
    }
    let left = disk.after_power_loss(seed);
    assert_eq!(tasks.stop(&*world.clock, Duration::from_secs(20)).await, Vec::<String>::new());
    let (world, settings) = threaded(&clock, &left);
    let store = LocalStore::open_still(&world, &Tasks::new("test"), settings).unwrap();
    let acknowledged = acknowledged.lock();
    for (to, offset, at, body) in &*acknowledged {
        let there = store.offsets(&queue(*to));
        assert!(there.contains(&QueueOffset(*offset)), "{to} {offset} {at} is not in {there:?}");
        let bytes = store.message_at(*at).unwrap();
        let found = RecordView::parse(&bytes).unwrap();
        assert_eq!((found.queue_offset.0, found.body), (*offset, &body[..]));
        assert!(found.store_timestamp > Timestamp(0));
    }
    acknowledged.len()
}

#[test]
fn with_all_its_threads_what_was_acknowledged_survives_power_loss() {
    // CT-01; INV-01, INV-12
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.unwrap();
    let mut kept = 0;
    for seed in amounts::seed() * 1_000..amounts::seed() * 1_000 + 40 * amounts::times() {
        let told = Told(|| format!("seed {seed}"));
        kept += runtime.block_on(run(seed));
        drop(told);
    }
    println!("{kept} acknowledged messages found again");
    assert!(kept > 100);
}
