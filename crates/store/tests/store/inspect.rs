//! Looking at stores from outside: sound ones are sound, each damage is told with its place, and
//! nothing is ever written.

use std::ops::ControlFlow;
use std::path::Path;

use rmq_runtime::system::SystemDisk;
use rmq_store::inspect::{self, Finding, Known, Report, Severity};
use rmq_store::{MessageStore, QueueKey};

use crate::golden::{Golden, golden};
use crate::support::{self, tree};

fn known() -> Known {
    Known { index_slots: 200, index_items: 400, ..Known::default() }
}

fn check_with(root: &Path, known: &Known) -> Report {
    let before = tree(root);
    let report = inspect::check(&SystemDisk, root, known, &mut |_| {}).unwrap();
    assert!(tree(root) == before, "a check writes nothing");
    report
}

fn check(root: &Path) -> Report {
    check_with(root, &known())
}

fn shown(findings: &[Finding]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

/// First byte after the last entry of a file of a consume queue.
fn queue_end(path: &Path) -> usize {
    let bytes = std::fs::read(path).unwrap();
    let last = bytes.chunks(20).rposition(|unit| unit.iter().any(|byte| *byte != 0));
    last.map_or(0, |last| (last + 1) * 20)
}

/// Bytes at a place of a file.
fn patch(path: &Path, at: usize, bytes: &[u8]) {
    let mut content = std::fs::read(path).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    std::fs::write(path, content).unwrap();
}

#[test]
fn stores_of_apache_are_sound() {
    for (name, records, queues) in [("clean", 217, 16), ("killed", 257, 16), ("extra", 0, 0)] {
        let golden = golden(name);
        let report = check(&golden.root());
        assert_eq!(report.worst(), Severity::Note, "{name}: {}", shown(&report.findings));
        let counts = report.counts;
        assert_eq!(counts.records, golden.messages().len() as u64);
        assert_eq!(counts.log_end as i64, golden.expected["commitlog"]["end"].as_i64().unwrap());
        assert!(counts.records >= records && counts.queues >= queues, "{counts:?}");
        assert!(counts.entries > 0 && counts.index_items > 0, "{counts:?}");
        assert_eq!(counts.extension_units > 0, name == "extra");
        let clean = golden.root().join("abort").exists();
        assert_eq!(clean, name == "killed");
    }
}

#[tokio::test]
async fn our_stores_are_sound_stopped_or_killed() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let opened = support::open_at(dir.path());
        for n in 0..200 {
            let text = format!(
                "KEYS\u{1}k{n} r{round}\u{2}TAGS\u{1}t{}\u{2}UNIQ_KEY\u{1}u{n}\u{2}",
                n % 3
            );
            let queue = QueueKey::new("A", n % 4);
            opened.store.append(&queue, &[support::with_properties(&[7; 300], &text)]).unwrap();
            opened.store.settle().unwrap();
        }
        let counts = if round == 1 {
            opened.abandon().await;
            let report = check(dir.path());
            assert_eq!(report.worst(), Severity::Note, "{}", shown(&report.findings));
            assert!(report.findings.iter().any(|finding| finding.path.ends_with("abort")));
            report.counts
        } else {
            opened.stop().await;
            let report = check(dir.path());
            assert_eq!(report.findings, [], "{}", shown(&report.findings));
            assert_eq!(report.counts.index_items, 800 * (round + 1));
            report.counts
        };
        assert_eq!(counts.records, 200 * (round + 1));
    }
}

/// What is done to a store, the file that the finding names, and what it says.
type Case = (&'static str, fn(&Path), &'static str, &'static str);

fn assert_told(golden_name: &str, cases: &[Case]) {
    for (what, damage, file, text) in cases {
        let golden: Golden = golden(golden_name);
        let root = golden.root();
        damage(&root);
        let topics = ["StoreA".to_owned()].into();
        let report = check_with(&root, &Known { topics, ..known() });
        let told = report.findings.iter().any(|finding| {
            finding.severity > Severity::Note
                && finding.path.to_string_lossy().contains(file)
                && finding.problem.contains(text)
                && !finding.next.is_empty()
        });
        assert!(told, "{what}: {}", shown(&report.findings));
        assert!(report.worst() > Severity::Note);
    }
}

const LOG_0: &str = "commitlog/00000000000000000000";
const LOG_1: &str = "commitlog/00000000000000065536";
const QUEUE: &str = "consumequeue/StoreA/0/00000000000000000000";
const OTHER_QUEUE: &str = "consumequeue/StoreA/1/00000000000000000000";

#[test]
fn damage_of_the_log_is_told_with_its_place() {
    assert_told(
        "clean",
        &[
            (
                "a flipped bit",
                |root| patch(&root.join(LOG_0), 100, b"\xFF"),
                LOG_0,
                "no record can be read at position 0",
            ),
            (
                "a lost sector",
                |root| patch(&root.join(LOG_0), 30_000, &[0; 512]),
                LOG_0,
                "a valid one follows",
            ),
            ("a wrong magic", |root| patch(&root.join(LOG_1), 4, b"\0"), LOG_1, "no magic"),
            (
                "a lost file",
                |root| std::fs::remove_file(root.join(LOG_1)).unwrap(),
                "checkpoint",
                "last record",
            ),
            (
                "a lost end",
                |root| {
                    let bytes = std::fs::read(root.join(LOG_1)).unwrap();
                    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
                    patch(&root.join(LOG_1), end - 300, &[0; 301]);
                },
                "consumequeue/",
                "the log ends at",
            ),
            (
                "a cut file",
                |root| {
                    std::fs::File::options()
                        .write(true)
                        .open(root.join(LOG_1))
                        .unwrap()
                        .set_len(60_000)
                        .unwrap();
                },
                LOG_1,
                "60000 bytes",
            ),
            (
                "a foreign file",
                |root| std::fs::write(root.join("commitlog/notes"), b"x").unwrap(),
                "notes",
                "no position",
            ),
        ],
    );
}

#[test]
fn damage_of_consume_queues_is_told_with_its_place() {
    assert_told(
        "clean",
        &[
            (
                "another place",
                |root| patch(&root.join(QUEUE), 7, b"\x01"),
                QUEUE,
                "entry 0 points to",
            ),
            (
                "another size",
                |root| patch(&root.join(QUEUE), 31, b"\x01"),
                QUEUE,
                "entry 1 points to 257 bytes",
            ),
            (
                "another tag",
                |root| patch(&root.join(QUEUE), 55, b"\x01\x02\x03\x04\x05"),
                QUEUE,
                "tags code",
            ),
            (
                "a hole",
                |root| patch(&root.join(QUEUE), 60, &[0; 20]),
                QUEUE,
                "entries 3 to 4 are missing",
            ),
            (
                "a lost end",
                |root| {
                    let path = root.join(OTHER_QUEUE);
                    patch(&path, queue_end(&path) - 20, &[0; 20]);
                },
                "StoreA/1",
                "1 entries are missing",
            ),
            (
                "one too many",
                |root| {
                    let path = root.join(OTHER_QUEUE);
                    patch(&path, queue_end(&path), &[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 100]);
                },
                "StoreA/1",
                "no record of it",
            ),
            (
                "one beyond the log",
                |root| {
                    let path = root.join(OTHER_QUEUE);
                    patch(&path, queue_end(&path), &[0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 100]);
                },
                "StoreA/1",
                "the log ends at",
            ),
            (
                "a lost first file",
                |root| std::fs::remove_file(root.join(QUEUE)).unwrap(),
                "StoreA/0",
                "missing",
            ),
            (
                "a lost queue",
                |root| std::fs::remove_dir_all(root.join("consumequeue/StoreA/0")).unwrap(),
                "StoreA/0",
                "no such directory",
            ),
            (
                "a cut file",
                |root| std::fs::write(root.join(QUEUE), [0; 30]).unwrap(),
                "StoreA/0",
                "bytes",
            ),
        ],
    );
}

#[test]
fn damage_of_extensions_and_batch_queues_is_told() {
    assert_told(
        "extra",
        &[
            (
                "an extension's tag",
                |root| {
                    let dir = root.join("consumequeue_ext");
                    let (path, _) =
                        tree(&dir).into_iter().find(|(_, bytes)| bytes[1] >= 20).unwrap();
                    patch(&path, 9, b"\x77");
                },
                "consumequeue/",
                "tags code",
            ),
            (
                "an extension's unit",
                |root| {
                    let dir = root.join("consumequeue_ext");
                    let (path, _) =
                        tree(&dir).into_iter().find(|(_, bytes)| bytes[1] >= 20).unwrap();
                    patch(&path, 0, &[0xFF; 2]);
                },
                "consumequeue/",
                "no unit",
            ),
            (
                "a batch's entry",
                |root| {
                    let (path, _) = tree(&root.join("batchconsumequeue")).remove(0);
                    patch(&path, 7, b"\x03");
                },
                "batchconsumequeue/",
                "its record is",
            ),
        ],
    );
}

/// The first of the index files, with its first used slot.
fn index_file(root: &Path) -> std::path::PathBuf {
    tree(&root.join("index")).remove(0).0
}

#[test]
fn damage_of_the_key_index_is_told_with_its_place() {
    const ITEMS: usize = 40 + 4 * 200;
    assert_told(
        "clean",
        &[
            ("a header", |root| patch(&index_file(root), 36, &[0xFF; 4]), "index/", "header"),
            (
                "a slot",
                |root| {
                    let path = index_file(root);
                    let bytes = std::fs::read(&path).unwrap();
                    let slot = (0..200).find(|slot| bytes[40 + slot * 4 + 3] != 0).unwrap();
                    patch(&path, 40 + slot * 4, &[0; 4]);
                },
                "index/",
                "holds item 0",
            ),
            (
                "a circle",
                |root| patch(&index_file(root), ITEMS + 20 * 5 + 16, &[0, 0, 0, 5]),
                "index/",
                "a circle",
            ),
            (
                "another place",
                |root| patch(&index_file(root), ITEMS + 20 * 7 + 4, &[0, 0, 0, 0, 0, 0, 0, 3]),
                "index/",
                "where no record begins",
            ),
            (
                "another hash",
                |root| patch(&index_file(root), ITEMS + 20 * 7, &[0, 0, 0, 3]),
                "index/",
                "no such key",
            ),
            (
                "another length",
                |root| std::fs::write(index_file(root), [0; 100]).unwrap(),
                "index/",
                "has 100 bytes",
            ),
            (
                "the youngest is gone",
                |root| {
                    std::fs::remove_file(tree(&root.join("index")).pop().unwrap().0).unwrap();
                },
                "index",
                "are not in it",
            ),
        ],
    );
}

#[test]
fn damage_of_small_files_is_told() {
    assert_told(
        "clean",
        &[
            (
                "a checkpoint of the future",
                |root| patch(&root.join("checkpoint"), 0, &[0x70]),
                "checkpoint",
                "had been synced",
            ),
            (
                "a short checkpoint",
                |root| std::fs::write(root.join("checkpoint"), [0; 48]).unwrap(),
                "checkpoint",
                "48 bytes",
            ),
            (
                "a timer unit",
                |root| {
                    patch(&tree(&root.join("timerlog")).remove(0).0, 28, &[0, 0, 0, 0, 0, 0, 0, 3])
                },
                "timerlog",
                "where no record begins",
            ),
            (
                "a timer unit's size",
                |root| patch(&tree(&root.join("timerlog")).remove(0).0, 52, &[0, 0, 0, 7]),
                "timerlog",
                "makes no sense",
            ),
        ],
    );
}

#[tokio::test]
async fn our_progress_is_held_against_log_and_queues() {
    let dir = tempfile::tempdir().unwrap();
    let opened = support::open_at(dir.path());
    for _ in 0..40 {
        opened.send(&QueueKey::new("A", 0), b"hello").await;
    }
    opened.stop().await;
    let path = dir.path().join("progress");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"end\":40", "\"end\":41")).unwrap();
    let report = check(dir.path());
    assert!(shown(&report.findings).contains("entries up to 41 had been synced, 40 are there"));
    std::fs::write(&path, "{").unwrap();
    let report = check(dir.path());
    assert!(report.findings.iter().all(|finding| finding.path.ends_with("progress")));
    std::fs::write(&path, &text).unwrap();
    std::fs::remove_dir_all(dir.path().join("consumequeue/A")).unwrap();
    let report = check(dir.path());
    assert_eq!(report.worst(), Severity::Damage, "{}", shown(&report.findings));
}

#[test]
fn records_queues_and_items_are_shown() {
    let golden = golden("clean");
    let root = golden.root();
    let mut shown = Vec::new();
    inspect::records(&SystemDisk, &root, 0, &mut |record| {
        shown.push((record.physical_offset.0 as i64, record.topic.to_owned()));
        ControlFlow::Continue(())
    })
    .unwrap();
    let expected: Vec<_> =
        golden.messages().iter().map(|it| it["physicalOffset"].as_i64()).collect();
    assert_eq!(shown.iter().map(|(at, _)| Some(*at)).collect::<Vec<_>>(), expected);
    let from = u64::try_from(shown[100].0).unwrap();
    let mut rest = 0;
    inspect::records(&SystemDisk, &root, from, &mut |_| {
        rest += 1;
        if rest == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!(rest, 10);

    let queues = inspect::queues(&SystemDisk, &root).unwrap();
    let first = queues.iter().find(|it| it.topic == "StoreA" && it.queue_id == 0).unwrap();
    let entries =
        golden.expected["consumequeue"]["StoreA/0"]["entries[index,physicalOffset,size,tagsCode]"]
            .as_array()
            .unwrap();
    assert_eq!((first.max_offset, first.min_offset, first.files), (entries.len() as u64, 0, 2));

    let mut items = 0;
    inspect::index_items(&SystemDisk, &root, &known(), &mut |item| {
        assert!(shown.iter().any(|(at, _)| *at == item.physical_offset));
        items += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(items, check(&root).counts.index_items);
}

#[test]
fn a_directory_without_a_store_is_said_to_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let error = inspect::check(&SystemDisk, dir.path(), &known(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("holds no store"), "{error}");
}
