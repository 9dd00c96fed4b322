//! A message store in one page: append, acknowledge, read, look up, stop. Run it twice: the second
//! run finds what the first has stored.
//!
//! `cargo run -p rmq-store --example store -- target/example-store`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;

use rmq_message::record::{NewRecord, RecordView, walk};
use rmq_message::{Timestamp, java};
use rmq_runtime::{Tasks, World};
use rmq_store::{
    AdmitAll, Config, FlushDiskType, KeyKind, KeyQuery, LocalStore, MessageStore, QueueKey,
    ReadRequest,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::args().nth(1).ok_or("name a directory for the store")?;
    // Settings have the names and defaults of Apache RocketMQ's store.
    let config = Config {
        store_path_root_dir: root.into(),
        mapped_file_size_commit_log: 16 << 20,
        flush_disk_type: FlushDiskType::Sync,
        ..Config::default()
    };
    // The world is clock, disk and chance; tasks own what the store does in the background.
    let (world, tasks) = (World::system(), Tasks::new("example"));
    let store = LocalStore::open(&world, &tasks, config)?;

    // A queue comes into being with its first message.
    let queue = QueueKey::new("Greetings", 0);
    let receipt =
        store.append(&queue, &[greeting("hello", Timestamp::from(world.clock.wall()))?])?;
    // So far the message is in memory only. After these two it survives power loss, and whoever
    // sent it may be told so.
    store.settle()?;
    store.durable(receipt.end).await?;
    println!(
        "stored as number {} of {queue}, at {}",
        receipt.queue_offset, receipt.physical_offset
    );

    // All messages of the queue, some at a time; each answer says where to read on.
    let mut range = store.offsets(&queue);
    while range.start < range.end {
        let offset = range.start;
        let request = ReadRequest { queue: &queue, offset, count_max: 32, bytes_max: 256 << 10 };
        let outcome = store.read(&request, &AdmitAll)?;
        for bytes in &outcome.records {
            for record in walk(bytes) {
                show(&record?);
            }
        }
        range.start = outcome.next_offset;
    }

    // And by key, over all queues of the topic.
    let query = KeyQuery {
        topic: &queue.topic,
        key: "first-contact",
        kind: KeyKind::Key,
        begin: Timestamp(0),
        end: Timestamp(i64::MAX),
        count_max: 10,
    };
    println!("{} messages have the key {}", store.query(&query)?.records.len(), query.key);

    // A store that is only dropped recovers at its next start, as after a crash.
    store.stop().await?;
    Ok(())
}

/// A message as a producer sends it. The store fills in the queue and its own time.
fn greeting(body: &str, born: Timestamp) -> Result<NewRecord<'_>, Box<dyn Error>> {
    Ok(NewRecord {
        topic: "Greetings",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: born,
        born_host: "127.0.0.1:50000".parse()?,
        store_host: "127.0.0.1:10911".parse()?,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.as_bytes(),
        // Name, 1, value, 2; and so on.
        properties: b"TAGS\x01friendly\x02KEYS\x01first-contact\x02",
        // What filters by tag look at first.
        tags_code: i64::from(java::hash("friendly")),
    })
}

fn show(record: &RecordView<'_>) {
    let body = String::from_utf8_lossy(record.body);
    println!("  {}: {body}, stored at {} ms", record.queue_offset, record.store_timestamp.0);
}
