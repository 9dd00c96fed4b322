//! `rmq-server store`: a look at a broker's directory.

use rmq_runtime::Disk as _;
use rmq_runtime::system::SystemDisk;
use rmq_runtime::{Tasks, World};
use rmq_store::{Config, LocalStore, MessageStore as _, QueueKey};

use crate::program::Place;

fn config(place: &Place) -> Config {
    Config {
        store_path_root_dir: place.path("store"),
        mapped_file_size_commit_log: 64 << 10,
        mapped_file_size_consume_queue: 400,
        max_hash_slot_num: 100,
        max_index_num: 400,
        disk_space_warning_level_ratio: 100,
        ..Config::default()
    }
}

const SHAPE: [&str; 4] = ["--set", "maxHashSlotNum=100", "--set", "maxIndexNum=400"];

/// A store with 50 messages of topic `A`, stopped.
async fn filled(place: &Place) {
    fill(config(place)).await.expect("a store can be filled");
}

async fn fill(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let store = LocalStore::open(&World::system(), &Tasks::new("test"), config)?;
    for n in 0..50 {
        let body = format!("message {n}");
        let properties = format!("KEYS\u{1}k{n}\u{2}TAGS\u{1}red\u{2}");
        let record = rmq_message::record::NewRecord {
            topic: "",
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: rmq_message::Timestamp(1),
            born_host: ([127, 0, 0, 1], 1).into(),
            store_host: ([127, 0, 0, 1], 2).into(),
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: body.as_bytes(),
            properties: properties.as_bytes(),
            tags_code: i64::from(rmq_message::java::hash("red")),
        };
        let end = store.append(&QueueKey::new("A", n % 2), &[record])?.end;
        store.settle()?;
        store.durable(end).await?;
    }
    Ok(store.stop().await?)
}

#[tokio::test]
async fn a_sound_store_is_told_and_dumped() {
    let place = Place::new();
    filled(&place).await;
    place.write("store/config/topics.json", "{\"topicConfigTable\":{\"A\":{0:1}}}");
    let check = place.run(&[&["store", "check", "store"][..], &SHAPE].concat());
    assert_eq!(check.status, Some(0), "{check:?}");
    assert!(check.stdout.starts_with("sound: 50 records from 0 to "), "{check:?}");
    let json = place.run(&[&["store", "check", "store", "--json"][..], &SHAPE].concat());
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["counts"]["indexItems"], 100);

    let dump = place.run(&["store", "dump", "store", "--topic", "A", "--body", "--limit", "3"]);
    let lines: Vec<serde_json::Value> =
        dump.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2]["body"], "message 2");
    assert_eq!((&lines[2]["queueOffset"], &lines[2]["keys"]), (&1.into(), &"k2".into()));
    let from = lines[2]["offset"].to_string();
    let rest = place.run(&["store", "dump", "store", "--from", &from]);
    assert_eq!(rest.stdout.lines().count(), 48);
    let queues = place.run(&["store", "dump", "store", "--queues"]);
    assert_eq!(queues.stdout.lines().count(), 2);
    assert!(queues.stdout.contains("\"maxOffset\":25"), "{}", queues.stdout);
    let items = place.run(&[&["store", "dump", "store", "--index"][..], &SHAPE].concat());
    assert_eq!(items.stdout.lines().count(), 100);
}

#[tokio::test]
async fn damage_and_what_cannot_be_told_have_their_statuses() {
    let place = Place::new();
    filled(&place).await;
    let unknown = place.run(&["store", "check", "store"]);
    assert_eq!(unknown.status, Some(2), "{unknown:?}");
    assert!(unknown.stdout.contains("maxHashSlotNum"), "{unknown:?}");
    let none = place.run(&["store", "check", "nowhere"]);
    assert_eq!(none.status, Some(2), "{none:?}");
    assert!(none.stderr.contains("holds no store"), "{none:?}");

    place.write("store/config/consumerOffset.json", "{\"offsetTable\":");
    let damaged = place.run(&[&["store", "check", "store"][..], &SHAPE].concat());
    assert_eq!(damaged.status, Some(1), "{damaged:?}");
    assert!(damaged.stdout.contains("damage: store/config/consumerOffset.json"), "{damaged:?}");
    place.write("store/config/consumerOffset.json.bak", "{}");
    let mended = place.run(&[&["store", "check", "store"][..], &SHAPE].concat());
    assert_eq!(mended.status, Some(0), "{mended:?}");
    assert!(mended.stdout.contains(".bak"), "{mended:?}");

    let log = place.path("store/commitlog/00000000000000000000");
    let mut bytes = SystemDisk.read(&log).unwrap().to_vec();
    // In the first body.
    bytes[90] ^= 1;
    SystemDisk.write(&log, &bytes).unwrap();
    let damaged = place.run(&[&["store", "check", "store"][..], &SHAPE].concat());
    assert_eq!(damaged.status, Some(1), "{damaged:?}");
    assert!(damaged.stdout.contains("a valid one follows at"), "{damaged:?}");
}

#[tokio::test]
async fn a_store_in_use_is_only_looked_at_by_force() {
    let place = Place::new();
    filled(&place).await;
    let tasks = Tasks::new("test");
    let store = LocalStore::open(&World::system(), &tasks, config(&place)).unwrap();
    let refused = place.run(&["store", "check", "store"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("a broker has store open"), "{refused:?}");
    assert_eq!(place.run(&["store", "dump", "store"]).status, Some(2));
    let forced = place.run(&[&["store", "check", "store", "--force"][..], &SHAPE].concat());
    assert_eq!(forced.status, Some(0), "{forced:?}");
    assert!(forced.stdout.contains("abort"), "{forced:?}");
    store.stop().await.unwrap();
}
