//! Directories written by Apache RocketMQ 5.5.0: read them, recover them, write on in them.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rmq_message::record::RecordView;
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp};
use rmq_runtime::system::SystemDisk;
use rmq_store::{
    Config, KeyKind, KeyQuery, MessageFilter, MessageStore, QueueKey, ReadRequest, StoreAdmin,
};
use serde_json::Value;

use crate::support::{self, Opened, StatusEnd, tree};

pub(crate) struct Golden {
    dir: tempfile::TempDir,
    pub(crate) expected: Value,
}

fn octal(field: &[u8]) -> usize {
    let text = std::str::from_utf8(field).unwrap().trim_matches(['\0', ' ']);
    usize::from_str_radix(text, 8).unwrap()
}

/// Unpacks `store/…` of an archive, without the large files that are none of the store's.
fn unpack(archive: &Path, into: &Path) {
    let mut bytes = Vec::new();
    let file = std::fs::read(archive).unwrap();
    flate2::read::GzDecoder::new(&file[..]).read_to_end(&mut bytes).unwrap();
    let (mut rest, mut long_name) = (&bytes[..], None);
    while rest.first().is_some_and(|first| *first != 0) {
        let (header, after) = rest.split_at(512);
        let len = octal(&header[124..136]);
        let content = &after[..len];
        rest = &after[len.next_multiple_of(512)..];
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.split(|b| *b == 0).next().unwrap().to_vec()).unwrap()
        };
        if header[156] == b'L' {
            long_name = Some(text(content));
            continue;
        }
        let name = long_name.take().unwrap_or_else(|| text(&header[..100]));
        let path = into.join(&name);
        if header[156] == b'5' {
            std::fs::create_dir_all(path).unwrap();
        } else if !name.ends_with("timerwheel") {
            std::fs::write(path, content).unwrap();
        }
    }
}

pub(crate) fn golden(name: &str) -> Golden {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let dir = tempfile::tempdir().unwrap();
    unpack(&source.join(format!("{name}.tar.gz")), dir.path());
    let expected = std::fs::read(source.join(format!("{name}.expected.json"))).unwrap();
    Golden { dir, expected: serde_json::from_slice(&expected).unwrap() }
}

impl Golden {
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn config(&self) -> Config {
        Config {
            mapped_file_size_commit_log: 65_536,
            mapped_file_size_consume_queue: 2000,
            ..support::config(&self.root())
        }
    }

    fn open(&self) -> Opened {
        support::open(SystemDisk, self.config()).unwrap()
    }

    pub(crate) fn messages(&self) -> &Vec<Value> {
        self.expected["messages"].as_array().unwrap()
    }
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

/// Sees the tags code of every entry.
#[derive(Default)]
struct Codes(Mutex<Vec<i64>>);

impl MessageFilter for Codes {
    fn admits_entry(&self, tags_code: i64) -> bool {
        self.0.lock().push(tags_code);
        true
    }
}

fn assert_messages(opened: &Opened, golden: &Golden) {
    for expected in golden.messages() {
        let at = PhysicalOffset(u64::try_from(int(&expected["physicalOffset"])).unwrap());
        let bytes = opened.store.message_at(at).unwrap();
        let record = RecordView::parse(&bytes).unwrap();
        record.verify().unwrap();
        assert_eq!(bytes.len() as i64, int(&expected["size"]));
        assert_eq!(record.topic, expected["topic"].as_str().unwrap());
        assert_eq!(i64::from(record.queue_id), int(&expected["queueId"]));
        assert_eq!(record.queue_offset.0, int(&expected["queueOffset"]));
        assert_eq!(record.store_timestamp.0, int(&expected["storeTimestamp"]));
        assert_eq!(record.properties, expected["properties"].as_str().unwrap().as_bytes());
        assert!(opened.store.message_at(at + 1).is_err());
    }
}

fn assert_queues(opened: &Opened, golden: &Golden) {
    for (name, expected) in golden.expected["consumequeue"].as_object().unwrap() {
        let (topic, queue_id) = name.rsplit_once('/').unwrap();
        let queue = QueueKey::new(topic, queue_id.parse().unwrap());
        let entries = expected["entries[index,physicalOffset,size,tagsCode]"].as_array().unwrap();
        assert_eq!(
            opened.store.offsets(&queue),
            QueueOffset(0)..QueueOffset(i64::try_from(entries.len()).unwrap()),
            "{queue}"
        );
        for entry in entries {
            let (offset, codes) = (QueueOffset(int(&entry[0])), Codes::default());
            let request = ReadRequest { queue: &queue, offset, count_max: 1, bytes_max: 1 << 20 };
            let outcome = opened.store.read(&request, &codes).unwrap();
            let record = RecordView::parse(&outcome.records[0]).unwrap();
            assert_eq!(record.physical_offset.to_i64(), int(&entry[1]), "{queue} {offset}");
            assert_eq!(record.total_len as i64, int(&entry[2]));
            assert!(codes.0.lock().contains(&int(&entry[3])) || int(&entry[3]) < -2_147_483_648);
        }
    }
}

fn find(opened: &Opened, topic: &str, key: &str, kind: KeyKind, around: i64) -> Vec<i64> {
    let (begin, end) = (Timestamp(around), Timestamp(around));
    let query = KeyQuery { topic, key, kind, begin, end, count_max: 64 };
    let found = opened.store.query(&query).unwrap();
    found.records.iter().map(|r| RecordView::parse(r).unwrap().physical_offset.to_i64()).collect()
}

async fn assert_index(opened: &Opened, golden: &Golden) {
    opened.indexed().await;
    for expected in golden.messages() {
        let bytes = opened
            .store
            .message_at(PhysicalOffset(u64::try_from(int(&expected["physicalOffset"])).unwrap()))
            .unwrap();
        let record = RecordView::parse(&bytes).unwrap();
        let (at, time) = (record.physical_offset.to_i64(), record.store_timestamp.0);
        let keys = record.property("KEYS").unwrap_or_default().split(' ');
        let keys = keys.chain(record.property("UNIQ_KEY")).map(|key| (KeyKind::Key, key));
        for (kind, key) in keys.chain(record.property("TAGS").map(|tag| (KeyKind::Tag, tag))) {
            if !key.is_empty() {
                let found = find(opened, record.topic, key, kind, time);
                assert_eq!(found.iter().filter(|it| **it == at).count(), 1, "{key} of {at}");
            }
        }
    }
}

#[tokio::test]
async fn a_store_of_apache_is_read_whole() {
    let golden = golden("clean");
    let opened = golden.open();
    assert_eq!(opened.store.status_end(), 127_677);
    assert_eq!(golden.messages().len(), 217);
    assert_messages(&opened, &golden);
    assert_queues(&opened, &golden);
    assert_index(&opened, &golden).await;
    opened.stop().await;
}

#[tokio::test]
async fn opening_and_stopping_changes_no_byte_of_the_messages() {
    let golden = golden("clean");
    let below = |dir: &str| tree(&golden.root().join(dir));
    let before = ["commitlog", "consumequeue", "index"].map(below);
    golden.open().stop().await;
    assert!(!golden.root().join("abort").exists());
    let after = ["commitlog", "consumequeue", "index"].map(below);
    assert!(before == after);
}

#[tokio::test]
async fn deleted_queues_and_indexes_are_rebuilt_byte_for_byte() {
    let golden = golden("clean");
    let root = golden.root();
    let queues = tree(&root.join("consumequeue"));
    let index: Vec<_> = tree(&root.join("index")).into_iter().map(|(_, bytes)| bytes).collect();
    std::fs::remove_dir_all(root.join("consumequeue")).unwrap();
    std::fs::remove_dir_all(root.join("index")).unwrap();
    golden.open().stop().await;
    let rebuilt = tree(&root.join("consumequeue"));
    assert_eq!(
        rebuilt.iter().map(|(path, _)| path).collect::<Vec<_>>(),
        queues.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    for (rebuilt, original) in rebuilt.iter().zip(&queues) {
        assert!(rebuilt == original, "{}", original.0.display());
    }
    let rebuilt: Vec<_> = tree(&root.join("index")).into_iter().map(|(_, bytes)| bytes).collect();
    assert!(rebuilt == index);
}

#[tokio::test]
async fn a_killed_store_of_apache_is_recovered_and_written_on() {
    let golden = golden("killed");
    let opened = golden.open();
    assert_eq!(opened.store.status_end(), 150_274);
    assert_eq!(golden.messages().len(), 257);
    assert_messages(&opened, &golden);
    assert_queues(&opened, &golden);
    assert_index(&opened, &golden).await;
    assert!(!golden.root().join("commitlog/00000000000000196608").exists());

    // Write on: more than a file, to an old queue and a new one.
    let (old, new) = (QueueKey::new("StoreA", 0), QueueKey::new("New", 3));
    let begin = opened.store.offsets(&old).end.0;
    let body = vec![7; 1000];
    for _ in 0..100 {
        opened.append(&old, &body).unwrap();
        opened.append(&new, &body).unwrap();
        opened.store.settle().unwrap();
    }
    let status = opened.store.status();
    opened.stop().await;
    assert!(!golden.root().join("abort").exists());

    let opened = golden.open();
    assert_eq!(opened.store.status().max_physical, status.max_physical);
    assert_eq!(opened.store.offsets(&old).end.0, begin + 100);
    assert_eq!(opened.bodies(&new), vec![body.clone(); 100]);
    assert_eq!(opened.bodies(&old).len() as i64, begin + 100);
    assert_messages(&opened, &golden);
    assert_index(&opened, &golden).await;
    opened.stop().await;
}

#[tokio::test]
async fn extensions_of_apache_do_not_disturb() {
    let golden = golden("extra");
    let opened = golden.open();
    assert_eq!(opened.store.status_end(), 6741);
    assert_messages(&opened, &golden);
    assert_queues(&opened, &golden);
    assert_index(&opened, &golden).await;
    // Batch consume queues are not written.
    let refused = opened.append(&QueueKey::new("StoreBcq", 0), b"x").unwrap_err();
    assert!(refused.to_string().contains("batch consume queues"), "{refused}");
    assert!(!golden.root().join("consumequeue/StoreBcq").exists());
    opened.stop().await;
}

#[tokio::test]
async fn extensions_of_apache_are_resolved_for_filters() {
    let golden = golden("extra");
    let opened = golden.open();
    let units = golden.expected["consumequeue_ext"].as_object().unwrap();
    assert!(!units.is_empty());
    for (name, expected) in units {
        let (topic, queue) = name.rsplit_once('/').unwrap();
        let expected = &expected["units[at,size,tagsCode,storeTime,bitmap]"];
        let expected: Vec<_> =
            expected.as_array().unwrap().iter().map(|unit| int(&unit[2])).collect();
        let queue = QueueKey::new(topic, queue.parse().unwrap());
        assert_eq!(codes(&opened, &queue), expected, "{queue}");
    }
    opened.stop().await;
}

/// The tags codes that filters see in a queue.
fn codes(opened: &Opened, queue: &QueueKey) -> Vec<i64> {
    let range = opened.store.offsets(queue);
    let codes = Codes::default();
    let mut offset = range.start;
    while offset < range.end {
        let request = ReadRequest { queue, offset, count_max: 32, bytes_max: usize::MAX };
        offset = opened.store.read(&request, &codes).unwrap().next_offset;
    }
    codes.0.into_inner()
}

#[tokio::test]
async fn written_extensions_are_read_after_any_end_and_go_with_their_queues() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        enable_consume_queue_ext: true,
        mapped_file_size_consume_queue_ext: 4096,
        ..support::config(dir.path())
    };
    let open = || support::open(SystemDisk, config.clone()).unwrap();
    let queue = QueueKey::new("A", 0);
    let mut expected = Vec::new();
    for round in 0..3 {
        let opened = open();
        assert_eq!(codes(&opened, &queue), expected);
        for n in 0..250 {
            let tag = format!("t{round}-{n}");
            let text = format!("TAGS\u{1}{tag}\u{2}");
            opened.store.append(&queue, &[support::with_properties(b"x", &text)]).unwrap();
            opened.store.settle().unwrap();
            expected.push(i64::from(rmq_message::java::hash(&tag)));
        }
        assert_eq!(codes(&opened, &queue), expected);
        if round == 1 { opened.abandon().await } else { opened.stop().await }
    }
    let known =
        rmq_store::inspect::Known { index_slots: 200, index_items: 400, ..Default::default() };
    let report = rmq_store::inspect::check(&SystemDisk, dir.path(), &known, &mut |_| {}).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.counts.extension_units, 750);
    // 204 units and the mark of the end fit into a file.
    let files = tree(&dir.path().join("consumequeue_ext/A/0"));
    assert!(files.len() >= 4);
    assert_eq!(files[0].1[4080..4082], [0xFF, 0xFF]);

    // Entries that are built again get units of their own.
    std::fs::remove_dir_all(dir.path().join("consumequeue/A")).unwrap();
    let opened = open();
    assert_eq!(codes(&opened, &queue), expected);
    opened.store.delete_topic("A").unwrap();
    assert!(tree(&dir.path().join("consumequeue_ext")).is_empty());
    opened.stop().await;
}

#[tokio::test]
async fn our_own_queue_entries_are_those_that_recovery_builds() {
    let dir = tempfile::tempdir().unwrap();
    let opened = support::open_at(dir.path());
    let schedule = QueueKey::new("SCHEDULE_TOPIC_XXXX", 2);
    let mut sizes = HashMap::new();
    for n in 0..150_i32 {
        let body = vec![1; usize::try_from(n).unwrap() * 3];
        let queue = QueueKey::new(if n % 3 == 0 { "A" } else { "B" }, n % 4);
        let tag = format!("TAGS\u{1}tag{n}\u{2}KEYS\u{1}k{n}\u{2}");
        opened.store.append(&queue, &[support::with_properties(&body, &tag)]).unwrap();
        let delay = format!("DELAY\u{1}{}\u{2}TAGS\u{1}x\u{2}", n % 30);
        opened.store.append(&schedule, &[support::with_properties(b"later", &delay)]).unwrap();
        *sizes.entry(queue).or_insert(0) += 1;
        opened.store.settle().unwrap();
    }
    opened.stop().await;
    let original = tree(&dir.path().join("consumequeue"));
    std::fs::remove_dir_all(dir.path().join("consumequeue")).unwrap();
    let opened = support::open_at(dir.path());
    for (queue, size) in sizes {
        assert_eq!(opened.store.offsets(&queue).end.0, size);
    }
    opened.stop().await;
    assert!(tree(&dir.path().join("consumequeue")) == original);
}
