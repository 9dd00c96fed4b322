//! Work that hangs, under a clock that is moved by hand.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_message::QueueOffset;
use rmq_runtime::Tasks;
use rmq_sim::{SimClock, SimDisk, world};
use rmq_store::{
    AppendError, ArrivalListener, FlushDiskType, LocalStore, MessageStore, QueueKey, StoreAdmin,
};

use crate::life::{Kind, NOW, config, queue, record};

/// Holds whoever tells of a message until its other end is dropped.
struct Hanging(Mutex<Receiver<()>>);

impl ArrivalListener for Hanging {
    fn arrived(&self, _queue: &QueueKey, _end: QueueOffset) {
        let _released = self.0.lock().recv();
    }
}

/// Seconds until the store takes messages, or does not.
async fn seconds_until(store: &LocalStore, clock: &SimClock, writable: bool) -> u32 {
    let mut seconds = 0;
    while store.health().writable != writable {
        assert!(seconds < 1000, "nobody has noticed");
        clock.advance(Duration::from_secs(1));
        seconds += 1;
        // All tasks run on this thread; each gets its turn.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        std::thread::yield_now();
    }
    seconds
}

#[tokio::test]
async fn a_flusher_that_hangs_closes_the_store_until_it_goes_on() {
    // INV-16, RS-20
    let clock = SimClock::new(NOW);
    let disk = SimDisk::new(&clock);
    let settings = config(Kind { flush: FlushDiskType::Sync, sealed: false });
    let tasks = Tasks::new("test");
    let store = LocalStore::open(&world(&clock, &disk, 0), &tasks, settings).unwrap();
    let send = |body: &[u8]| {
        let receipt = store.append(&queue(0), &[record(body, "TAGS\u{1}t\u{2}", 0)])?;
        store.settle()?;
        Ok::<_, AppendError>(receipt.end)
    };
    store.durable(send(b"fine").unwrap()).await.unwrap();

    let (release, held) = channel();
    store.on_arrival(Arc::new(Hanging(Mutex::new(held))));
    store.durable(send(b"told by a flusher that hangs").unwrap()).await.unwrap();
    let waiting = send(b"never flushed").unwrap();
    let noticed = seconds_until(&store, &clock, false).await;
    assert!((5..=8).contains(&noticed), "noticed after {noticed} s");
    let refused = send(b"refused").unwrap_err();
    assert!(refused.to_string().contains("has made no progress for 5 s"), "{refused}");

    drop(release);
    store.durable(waiting).await.unwrap();
    seconds_until(&store, &clock, true).await;
    store.durable(send(b"fine again").unwrap()).await.unwrap();
    assert_eq!(store.offsets(&queue(0)).end, QueueOffset(4));
    store.stop().await.unwrap();
}
