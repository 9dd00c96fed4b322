//! What every offset store must do, run over both.

use std::sync::Arc;

use rmq_message::{MessageQueue, QueueOffset};
use rmq_remoting::{request_code, response_code};

use super::*;
use crate::ErrorKind;
use crate::testing::{A1, Stage, refusal, route};

fn queue(id: i32) -> MessageQueue {
    MessageQueue::new("T", "broker-a", id)
}

fn at(offset: i64) -> Option<QueueOffset> {
    Some(QueueOffset(offset))
}

/// `again` opens the same store anew, with nothing in memory.
async fn suite<S: OffsetStore>(again: impl Fn() -> S) {
    let again = || Progress::new(Arc::new(again()));
    let store = again();
    store.load().await.unwrap();
    let (one, two) = (queue(1), queue(2));
    assert_eq!(store.memory(&one), None);
    assert_eq!(store.read(&one).await.unwrap(), None, "nothing was ever committed");
    assert_eq!(store.memory(&one), None);

    store.update(&one, QueueOffset(5), true);
    store.update(&one, QueueOffset(3), true);
    assert_eq!(store.memory(&one), at(5), "increase only");
    store.update(&one, QueueOffset(4), false);
    assert_eq!(store.memory(&one), at(4));

    store.persist(&[]).await.unwrap();
    assert_eq!(store.memory(&one), at(4), "no queue: nothing is done");
    store.update(&two, QueueOffset(8), true);
    store.persist(&[one.clone(), two.clone()]).await.unwrap();
    store.update(&two, QueueOffset(9), true);
    store.persist(std::slice::from_ref(&one)).await.unwrap();
    assert_eq!(store.memory(&two), None, "not held any more");
    assert_eq!(again().read(&two).await.unwrap(), at(8), "and written before it was given up only");
    assert_eq!(store.read(&two).await.unwrap(), at(9), "what was not written comes back");
    assert_eq!(store.memory(&two), at(9), "what was read is in memory");

    store.update(&two, QueueOffset(10), true);
    store.persist_one(&two).await.unwrap();
    assert_eq!(store.memory(&one), at(4), "the others stay");
    store.let_go(&two);
    assert_eq!(store.memory(&two), None);
    store.persist_one(&two).await.unwrap();
    assert_eq!(again().read(&two).await.unwrap(), at(10));

    store.update(&two, QueueOffset(20), true);
    store.forget(&two);
    assert_eq!(store.read(&two).await.unwrap(), at(10), "what goes on elsewhere is not remembered");

    store.update_and_freeze(&one, QueueOffset(2));
    store.update(&one, QueueOffset(7), false);
    store.update(&one, QueueOffset(7), true);
    assert_eq!(store.memory(&one), at(2), "frozen");
    assert_eq!(store.read(&one).await.unwrap(), at(4));
    assert_eq!(store.memory(&one), at(2), "frozen against reading as well");
    assert_eq!(store.snapshot()[&one], QueueOffset(2));
    store.persist_one(&one).await.unwrap();
    store.let_go(&one);
    store.update(&one, QueueOffset(7), true);
    assert_eq!(store.memory(&one), at(7), "let go, so free again");
    assert_eq!(again().read(&one).await.unwrap(), at(2));
}

#[tokio::test]
async fn progress_is_kept_by_brokers() {
    let stage = Stage::new(|_| {});
    suite(|| RemoteOffsets::new(&stage.instance, "g")).await;
    let code = request_code::UPDATE_CONSUMER_OFFSET;
    let request = stage.cluster.last(code).unwrap();
    let told: Vec<_> = {
        let calls = stage.cluster.calls.lock();
        let commits = calls.iter().filter(|call| call.request.code == code);
        commits.map(|call| call.request.is_oneway()).collect()
    };
    // Those of all queues go out one-way; that of one queue is waited for.
    assert_eq!(told, [true, true, true, false, false]);
    let fields: Vec<_> = request.fields.iter().collect();
    assert_eq!(
        fields,
        [
            ("consumerGroup", "g"),
            ("topic", "T"),
            ("queueId", "1"),
            ("commitOffset", "2"),
            ("bname", "broker-a")
        ]
    );
}

#[tokio::test]
async fn progress_is_kept_by_a_replica_while_there_is_no_master() {
    let stage = Stage::new(|_| {});
    stage.cluster.routes.lock().insert("T".into(), route(2, &[("broker-a", &[(1, A1)])]));
    let progress = Progress::new(Arc::new(RemoteOffsets::new(&stage.instance, "g")));
    progress.update(&queue(1), QueueOffset(5), true);
    progress.persist(&[queue(1)]).await.unwrap();
    progress.persist_one(&queue(1)).await.unwrap();
    assert_eq!(progress.read(&queue(1)).await.unwrap(), at(5));
    assert_eq!(stage.cluster.take_calls(request_code::UPDATE_CONSUMER_OFFSET), [A1, A1]);
    assert_eq!(stage.cluster.take_calls(request_code::QUERY_CONSUMER_OFFSET), [A1]);
}

#[tokio::test]
async fn progress_is_kept_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::new(|config| config.local_offset_store_dir = Some(dir.path().to_owned()));
    suite(|| LocalFileOffsets::new(&stage.instance, "g")).await;
    let path = dir.path().join("10.0.0.7@test/g/offsets.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"offsetTable\":{"), "{text}");
    let before = std::fs::read_to_string(path.with_extension("json.bak")).unwrap();
    assert!(before.contains("\"offsetTable\":{") && before != text, "{before}");
    let unset = Stage::new(|_| {});
    let file = LocalFileOffsets::new(&unset.instance, "g");
    let below_home = ".rocketmq_offsets/10.0.0.7@test/g/offsets.json";
    assert!(file.path().ends_with(below_home), "{}", file.path().display());
    let loaded = Progress::new(Arc::new(LocalFileOffsets::new(&stage.instance, "g")));
    loaded.load().await.unwrap();
    assert_eq!(loaded.snapshot(), [(queue(1), QueueOffset(2)), (queue(2), QueueOffset(10))].into());
}

#[tokio::test]
async fn an_unknown_position_is_an_error_and_changes_nothing() {
    let stage = Stage::new(|_| {});
    let store = Progress::new(Arc::new(RemoteOffsets::new(&stage.instance, "g")));
    store.update(&queue(0), QueueOffset(5), true);
    let code = request_code::QUERY_CONSUMER_OFFSET;
    for answer in [
        refusal(response_code::SYSTEM_ERROR),
        refusal(response_code::SUCCESS),
        refusal(response_code::SUCCESS).with_field("offset", "-1"),
        refusal(response_code::SUCCESS).with_field("offset", "many"),
    ] {
        stage.cluster.script(code, answer.clone());
        store.read(&queue(0)).await.expect_err(&format!("{answer:?}"));
        assert_eq!(store.memory(&queue(0)), at(5));
    }
    stage.cluster.scripted.lock().clear();
    stage.cluster.down.lock().insert(crate::testing::A0.into());
    assert_eq!(store.read(&queue(0)).await.unwrap_err().kind(), ErrorKind::Retry);
    let elsewhere = MessageQueue::new("T", "broker-x", 0);
    let error = store.read(&elsewhere).await.unwrap_err();
    assert!(error.to_string().starts_with("The broker[broker-x] not exist"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_gives_way_to_the_one_before_and_then_to_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::new(|config| config.local_offset_store_dir = Some(dir.path().to_owned()));
    let file = Arc::new(LocalFileOffsets::new(&stage.instance, "g"));
    let path = file.path().to_owned();
    let store = Progress::new(file);
    let disk = Arc::clone(&stage.instance.world().disk);
    disk.create_dir(path.parent().unwrap()).unwrap();
    // As the Java client lays it out.
    let java = "{\n\t\"offsetTable\":{{\n\t\t\t\"brokerName\":\"broker-a\",\n\t\t\t\"queueId\":1,\n\
                \t\t\t\"topic\":\"T\"\n\t\t}:12\n\t}\n}";
    disk.write(&path, b"{\"offsetTa").unwrap();
    let error = store.load().await.unwrap_err();
    assert!(error.to_string().starts_with("readLocalOffset Exception, maybe fastjson"), "{error}");
    assert!(store.read(&queue(1)).await.is_err());
    assert!(store.memory(&queue(1)).is_none());
    store.update(&queue(2), QueueOffset(1), true);
    assert!(store.persist(&[queue(2)]).await.is_err(), "what cannot be read is not overwritten");

    disk.write(&path.with_extension("json.bak"), java.as_bytes()).unwrap();
    store.load().await.unwrap();
    assert_eq!(store.memory(&queue(1)), at(12));
    assert_eq!(store.memory(&queue(2)), at(1));
    store.persist(&[queue(2)]).await.unwrap();
    assert_eq!(store.read(&queue(1)).await.unwrap(), at(12), "queues stay in the file");
}

/// INV-22 and INV-23: what was finished while the broker was away counts when the queue comes back,
/// but never against somebody who has set the group back.
#[tokio::test]
async fn what_could_not_be_written_comes_back_with_its_queue_unless_the_store_was_reset() {
    for (stored_at_first, stored_later, resumed) in [
        (Some(10), Some(10), Some(50)),
        (Some(10), Some(30), Some(50)),
        (Some(10), Some(90), Some(90)),
        (Some(10), Some(5), Some(5)),
        (Some(10), None, None),
        (None, None, Some(50)),
        (None, Some(20), Some(50)),
    ] {
        let stage = Stage::new(|_| {});
        let set = |stored: Option<i64>| {
            let mut offsets = stage.cluster.offsets.lock();
            offsets.remove(&queue(1));
            offsets.extend(stored.map(|offset| (queue(1), offset)));
        };
        let progress = Progress::new(Arc::new(RemoteOffsets::new(&stage.instance, "g")));
        set(stored_at_first);
        progress.read(&queue(1)).await.unwrap();
        progress.update(&queue(1), QueueOffset(50), true);
        stage.cluster.down.lock().insert(crate::testing::A0.into());
        progress.persist_one(&queue(1)).await.unwrap_err();
        progress.let_go(&queue(1));
        progress.read(&queue(1)).await.unwrap_err();
        stage.cluster.down.lock().clear();
        set(stored_later);
        let resumed = resumed.map(QueueOffset);
        for _ in 0..2 {
            let read = progress.read(&queue(1)).await.unwrap();
            assert_eq!(read, resumed, "{stored_at_first:?} {stored_later:?}");
        }
        assert_eq!(progress.memory(&queue(1)), resumed);
    }
}
