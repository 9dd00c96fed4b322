//! Appends a message, waits until it is durable, reads it back.
//!
//! `cargo run -p rmq-store --example store -- /tmp/example-store`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use rmq_message::record::{NewRecord, walk};
use rmq_message::{Timestamp, java};
use rmq_runtime::{Tasks, World};
use rmq_store::{AdmitAll, Config, FlushDiskType, LocalStore, MessageStore, QueueKey, ReadRequest};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = std::env::args().nth(1).ok_or("name a directory for the store")?;
    let config = Config {
        store_path_root_dir: root.into(),
        mapped_file_size_commit_log: 16 << 20,
        flush_disk_type: FlushDiskType::Sync,
        ..Config::default()
    };
    let store = LocalStore::open(&World::system(), &Tasks::new("example"), config)?;

    let (queue, host) = (QueueKey::new("Greetings", 0), "127.0.0.1:10911".parse()?);
    let receipt = store.append(
        &queue,
        &[NewRecord {
            topic: &queue.topic,
            queue_id: queue.queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: Timestamp(0),
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"hello",
            properties: b"TAGS\x01greeting\x02",
            tags_code: i64::from(java::hash("greeting")),
        }],
    )?;
    store.settle()?;
    store.durable(receipt.end).await?;
    println!("stored at {} as number {}", receipt.physical_offset, receipt.queue_offset);

    let request =
        ReadRequest { queue: &queue, offset: receipt.queue_offset, count_max: 1, bytes_max: 1024 };
    for bytes in store.read(&request, &AdmitAll)?.records {
        for record in walk(&bytes) {
            println!("read back: {}", String::from_utf8_lossy(record?.body));
        }
    }
    store.stop().await?;
    Ok(())
}
