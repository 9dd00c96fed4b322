//! Timed messages in masses: how late each comes when a million waits, how many come in a second
//! when they are all due at once, and what memory they take.
//!
//! The moment of delivery is the moment at which the message was stored in its own topic.

#![expect(clippy::unwrap_used, reason = "a bench that panics has failed")]
#![expect(clippy::print_stdout, reason = "this is what a bench is for")]

mod bed;

use std::time::Duration;

use bytes::Bytes;
use rmq_message::record::{self, RecordView};
use rmq_message::{QueueOffset, Timestamp, properties, property};
use rmq_runtime::ClockExt;
use rmq_store::{AdmitAll, FlushDiskType, MessageStore, QueueKey, ReadRequest};

use bed::Bed;

/// Messages that wait for moments of their own, and for one together.
const SPREAD: i64 = 1_000_000;
const AT_ONCE: i64 = 300_000;
/// Over so many ms.
const OVER: i64 = 60_000;

fn now(bed: &Bed) -> i64 {
    Timestamp::from(bed.world.clock.wall()).0
}

fn resident() -> String {
    let status = String::from_utf8(rmq_runtime_status()).unwrap();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().to_owned()
    };
    format!("{} resident, {} of it anonymous", line("VmRSS:"), line("RssAnon:"))
}

#[expect(clippy::disallowed_methods, reason = "the kernel's word, no file of the broker's")]
fn rmq_runtime_status() -> Vec<u8> {
    std::fs::read("/proc/self/status").unwrap()
}

/// Sends messages that ask for these moments.
async fn send(bed: &Bed, topic: &str, count: i64, asked: impl Fn(i64) -> i64) {
    for number in 0..count {
        let properties = format!("TIMER_DELIVER_MS\u{1}{}\u{2}", asked(number));
        let queue_id = i32::try_from(number % 4).unwrap();
        bed.send(topic, queue_id, Bytes::from_static(&[b'x'; 128]), &properties).await;
    }
}

/// Waits until all are there; when each was asked for, and when it came.
async fn delivered(bed: &Bed, topic: &str, count: i64) -> Vec<(i64, i64)> {
    let queues: Vec<_> = (0..4).map(|queue_id| QueueKey::new(topic, queue_id)).collect();
    let end = |queue| bed.store.offsets(queue).end.0;
    while queues.iter().map(end).sum::<i64>() < count {
        bed.world.clock.sleep(Duration::from_millis(200)).await;
    }
    let mut moments = Vec::new();
    for queue in &queues {
        let mut at = QueueOffset::ZERO;
        while at.0 < end(queue) {
            let request = ReadRequest { queue, offset: at, count_max: 256, bytes_max: 1 << 20 };
            let outcome = bed.store.read(&request, &AdmitAll).unwrap();
            for slice in &outcome.records {
                moments.extend(record::walk(slice).map(|record| moments_of(&record.unwrap())));
            }
            at = outcome.next_offset;
        }
    }
    moments
}

fn moments_of(record: &RecordView<'_>) -> (i64, i64) {
    let asked = properties::find(record.properties, property::TIMER_DELIVER_MS);
    (asked.unwrap().parse().unwrap(), record.store_timestamp.0)
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let bed = Bed::make(FlushDiskType::Async);
        bed.send("Spread", 0, Bytes::from_static(b"x"), "").await;
        println!("at the start: {}", resident());
        let (begun, first) = (now(&bed), now(&bed) + 40_000);
        // Neighbours in time are no neighbours in the log.
        send(&bed, "Timed", SPREAD, |number| first + number.wrapping_mul(7_919) % OVER).await;
        println!("{SPREAD} timed messages stored in {} ms: {}", now(&bed) - begun, resident());
        bed.world.clock.sleep(Duration::from_secs(3)).await;
        println!("three seconds later: {}", resident());
        let moments = delivered(&bed, "Timed", SPREAD).await;
        let mut late: Vec<_> = moments.iter().map(|(asked, came)| came - asked).collect();
        late.sort_unstable();
        let part = |share: usize| late.get(late.len() * share / 1_000).copied().unwrap_or(0);
        println!(
            "late, ms: least {}, p50 {}, p99 {}, p99.9 {}, most {}",
            part(0),
            part(500),
            part(990),
            part(999),
            late.last().unwrap()
        );
        println!("delivered: {}", resident());

        let due = now(&bed) / 1_000 * 1_000 + 20_000;
        send(&bed, "AtOnce", AT_ONCE, |_| due).await;
        let left = due - now(&bed);
        let moments = delivered(&bed, "AtOnce", AT_ONCE).await;
        let came = || moments.iter().map(|(_, came)| *came);
        let (first, last) = (came().min().unwrap(), came().max().unwrap());
        println!(
            "{AT_ONCE} due at once (stored {left} ms before): first {} ms late, last {} ms, {} a second",
            first - due,
            last - due,
            AT_ONCE * 1_000 / (last - first).max(1)
        );
        bed.clear().await;
    });
}
