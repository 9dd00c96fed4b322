//! A disk that fails.

use std::path::Path;

use rmq_store::{AppendError, Config, FlushDiskType, MessageStore, QueueKey, StoreAdmin};

use crate::memory_disk::MemoryDisk;
use crate::support::{config, message, open};

fn settings(mode: FlushDiskType) -> Config {
    Config { flush_disk_type: mode, ..config(Path::new("/store")) }
}

fn queue(n: usize) -> QueueKey {
    QueueKey::new("Orders", i32::try_from(n % 3).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_call_fails_nothing_acknowledged_is_lost() {
    // INV-03, INV-17; CT-04 in small
    for mode in [FlushDiskType::Async, FlushDiskType::Sync] {
        for n in 1.. {
            let disk = MemoryDisk::default();
            disk.fail_at(n);
            let mut acknowledged: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 3];
            if let Ok(opened) = open(disk.clone(), settings(mode)) {
                for message_number in 0..30_usize {
                    let body = vec![u8::try_from(message_number).unwrap(); 700];
                    let sent = async {
                        let receipt = opened.append(&queue(message_number), &body)?;
                        opened.store.settle()?;
                        opened.store.durable(receipt.end).await?;
                        Ok::<_, AppendError>(receipt)
                    };
                    if sent.await.is_ok() {
                        acknowledged[message_number % 3].push(body);
                    } else {
                        assert!(disk.has_failed(), "refused without a cause");
                    }
                }
                // May fail as well; then the next start recovers.
                let _stopped = opened.store.stop().await;
                opened.abandon().await;
            }
            let failed = disk.has_failed();
            disk.fail_at(0);
            let left = if mode == FlushDiskType::Sync { disk.power_lost() } else { disk.killed() };
            let opened = open(left, settings(mode)).unwrap();
            for (id, acknowledged) in acknowledged.iter().enumerate() {
                let kept = opened.bodies(&queue(id));
                let mut rest = kept.iter();
                for body in acknowledged {
                    assert!(rest.any(|it| it == body), "{mode:?} {n}: a message of {id} is lost");
                }
            }
            opened.stop().await;
            if !failed {
                assert!(n > 50, "{n}");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_is_final() {
    // INV-01, INV-03; CT-05
    let disk = MemoryDisk::default();
    let opened = open(disk.clone(), settings(FlushDiskType::Sync)).unwrap();
    opened.send(&queue(0), b"good").await;
    disk.hold_syncs();
    let receipt = opened.append(&queue(0), b"waits").unwrap();
    opened.store.settle().unwrap();
    let waiting = opened.store.durable(receipt.end);
    while disk.syncs_waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let late = opened.append(&queue(0), b"next group").unwrap();
    disk.fail_syncs();
    disk.release_syncs();
    let error = waiting.await.unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    assert!(opened.store.durable(late.end).await.is_err());
    assert!(matches!(opened.append(&queue(0), b"x"), Err(AppendError::ReadOnly { .. })));
    assert!(opened.store.settle().is_err());
    let health = opened.store.health();
    assert!(!health.writable && health.reason.unwrap().contains("sync"));
    // What was durable can still be read.
    assert_eq!(opened.bodies(&queue(0)), [b"good"]);
    assert!(opened.store.stop().await.is_err());
    let left = disk.power_lost();
    opened.abandon().await;
    let opened = open(left, settings(FlushDiskType::Sync)).unwrap();
    assert_eq!(opened.bodies(&queue(0)), [b"good"]);
    opened.stop().await;
}

#[tokio::test]
async fn a_stopped_store_takes_nothing_more() {
    let opened = open(MemoryDisk::default(), settings(FlushDiskType::Async)).unwrap();
    let store = opened.store.clone();
    opened.append(&queue(0), b"staged only").unwrap();
    opened.stop().await;
    assert!(matches!(store.append(&queue(0), &[message(b"x")]), Err(AppendError::Stopped)));
    // What was staged has been stored.
    assert_eq!(store.offsets(&queue(0)).end.0, 1);
}
