//! Transactions: half messages, their ends, the questions about those that stay open.

use std::path::Path;

use bytes::Bytes;
use rmq_broker::BrokerConfig;
use rmq_message::sys_flag;
use rmq_remoting::protocol::heartbeat::{Heartbeat, ProducerGroup};
use rmq_remoting::protocol::send::{SendMessage, SendResponse};
use rmq_remoting::protocol::topic::DeleteTopic;
use rmq_remoting::protocol::transaction::{CheckTransaction, EndTransaction, ResumeCheck, verdict};
use rmq_remoting::{TypedRequest, request_code, response_code};

use crate::fixture::{Fixture, Seen, bodies, config, header, payload, seen, soon};
use crate::remote::{Remote, remotes};

const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const OP: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// Nobody is asked.
fn calm(dir: &Path) -> BrokerConfig {
    BrokerConfig { transaction_check_interval: 86_400_000, ..config(dir) }
}

/// Producers are asked at once, up to three times.
fn eager(dir: &Path) -> BrokerConfig {
    BrokerConfig {
        transaction_timeout: 1,
        transaction_check_interval: 20,
        transaction_check_max: 3,
        ..config(dir)
    }
}

async fn prepare(fixture: &Fixture, body: &str, more: &str) -> (SendResponse, i64) {
    let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}GP\u{2}TAGS\u{1}t\u{2}{more}");
    let born_timestamp = i64::try_from(
        fixture.world.clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis(),
    )
    .unwrap();
    let base = header("Orders", &properties);
    let header = SendMessage {
        sys_flag: sys_flag::TRANSACTION_PREPARED,
        queue_id: 2,
        born_timestamp,
        ..base
    };
    let answer = fixture.ask(header.to_command(body.to_owned().into())).await;
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    let sent: SendResponse = payload(&answer);
    let physical = i64::from_str_radix(&sent.msg_id[16..], 16).unwrap();
    (sent, physical)
}

fn end((sent, physical): &(SendResponse, i64), verdict: i32) -> EndTransaction {
    EndTransaction {
        topic: Some("Orders".into()),
        producer_group: "GP".into(),
        tran_state_table_offset: sent.queue_offset,
        commit_log_offset: *physical,
        commit_or_rollback: verdict,
        from_transaction_check: None,
        msg_id: sent.transaction_id.clone(),
        transaction_id: sent.transaction_id.clone(),
        broker_name: None,
    }
}

#[tokio::test]
async fn a_committed_message_is_delivered_and_a_rolled_back_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(calm(dir.path()));
    let first = prepare(&fixture, "first", "").await;
    let second = prepare(&fixture, "second", "").await;
    assert_eq!((first.0.queue_id, first.0.queue_offset, second.0.queue_offset), (2, 0, 1));
    assert_eq!(fixture.pull("Orders", 2, 0).await.code, response_code::PULL_NOT_FOUND);
    fixture.call(&end(&second, verdict::ROLLBACK)).await;
    fixture.call(&end(&first, verdict::COMMIT)).await;

    let found = fixture.pull("Orders", 2, 0).await;
    let [message] = &seen(&found.body)[..] else { panic!("one message") };
    assert_eq!((&*message.body, message.offset), ("first", 0));
    let of = |name| message.properties.get(name);
    assert_eq!(of("TRAN_MSG"), Some("true"));
    assert_eq!(of("__transactionId__"), first.0.transaction_id.as_deref());
    assert_eq!((of("REAL_TOPIC"), of("REAL_QID")), (None, None));
    assert_eq!(bodies(&fixture.pull(HALF, 0, 0).await), ["first", "second"]);
    assert_eq!(bodies(&fixture.pull(OP, 0, 0).await), ["1,", "0,"]);
    fixture.stop().await;
}

#[tokio::test]
async fn the_first_verdict_is_final_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(calm(dir.path()));
    let first = prepare(&fixture, "first", "").await;
    let open = prepare(&fixture, "open", "").await;
    fixture.call(&end(&first, verdict::COMMIT)).await;
    for later in [verdict::COMMIT, verdict::ROLLBACK] {
        let refused = fixture.ask(end(&first, later).to_command()).await;
        assert_eq!(refused.code, response_code::SYSTEM_ERROR);
    }
    fixture.stop().await;
    let fixture = Fixture::start(calm(dir.path()));
    assert_eq!(fixture.ask(end(&first, verdict::COMMIT).to_command()).await.code, 1);
    fixture.call(&end(&open, verdict::COMMIT)).await;
    assert_eq!(bodies(&fixture.pull("Orders", 2, 0).await), ["first", "open"]);
    fixture.stop().await;
}

#[tokio::test]
async fn only_who_knows_the_half_message_may_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(calm(dir.path()));
    let plain = fixture.send("Orders", "plain", "PGROUP\u{1}GP\u{2}").await;
    let plain: SendResponse = payload(&plain);
    let half = prepare(&fixture, "half", "").await;
    let right = end(&half, verdict::COMMIT);
    let plain_at = i64::from_str_radix(&plain.msg_id[16..], 16).unwrap();
    for (wrong, text) in [
        (EndTransaction { producer_group: "GX".into(), ..right.clone() }, "producer group"),
        (EndTransaction { tran_state_table_offset: 7, ..right.clone() }, "table offset"),
        (EndTransaction { commit_log_offset: 1, ..right.clone() }, "Find prepared"),
        (EndTransaction { commit_log_offset: -1, ..right.clone() }, "Find prepared"),
        (EndTransaction { commit_log_offset: plain_at, ..right.clone() }, "Find prepared"),
        (EndTransaction { commit_or_rollback: 3, ..right.clone() }, "commitOrRollback"),
    ] {
        let refused = fixture.ask(wrong.to_command()).await;
        assert_eq!(refused.code, response_code::SYSTEM_ERROR);
        assert!(refused.remark.as_deref().unwrap().contains(text), "{:?}", refused.remark);
    }
    assert_eq!(bodies(&fixture.pull(OP, 0, 0).await), Vec::<String>::new());
    fixture.call(&right).await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_delayed_transaction_and_a_forbidden_one_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(calm(dir.path()));
    let delayed = fixture.send("Orders", "x", "TRAN_MSG\u{1}true\u{2}DELAY\u{1}1\u{2}").await;
    assert_eq!(delayed.code, response_code::MESSAGE_ILLEGAL);
    fixture.stop().await;
    let reject_transaction_message = true;
    let fixture = Fixture::start(BrokerConfig { reject_transaction_message, ..calm(dir.path()) });
    let refused = fixture.send("Orders", "x", "TRAN_MSG\u{1}true\u{2}").await;
    assert_eq!(refused.code, response_code::NO_PERMISSION);
    fixture.stop().await;
}

#[tokio::test]
async fn a_commit_does_not_bring_a_deleted_topic_back() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(calm(dir.path()));
    let half = prepare(&fixture, "half", "").await;
    fixture.call(&DeleteTopic { topic: "Orders".into() }).await;
    assert_eq!(fixture.ask(end(&half, verdict::COMMIT).to_command()).await.code, 1);
    assert_eq!(fixture.pull("Orders", 2, 0).await.code, response_code::TOPIC_NOT_EXIST);
    fixture.stop().await;
}

#[tokio::test]
async fn a_late_end_of_an_immune_message_is_left_to_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(calm(dir.path()));
    let half = prepare(&fixture, "half", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}0\u{2}").await;
    let begun = fixture.world.clock.monotonic();
    while fixture.world.clock.monotonic().since(begun).as_millis() < 2 {
        tokio::task::yield_now().await;
    }
    let late = end(&half, verdict::COMMIT);
    let refused = fixture.ask(late.to_command()).await;
    assert_eq!(refused.code, response_code::ILLEGAL_OPERATION);
    fixture.call(&EndTransaction { from_transaction_check: Some(true), ..late }).await;
    fixture.stop().await;
}

async fn producer(fixture: &Fixture) -> Remote {
    let [remote] = remotes(fixture).await;
    let producer_data_set = vec![ProducerGroup { group_name: "GP".into() }];
    let client_id = "c@1".into();
    remote.call(&Heartbeat { client_id, producer_data_set, ..Heartbeat::default() }).await;
    remote
}

async fn question(producer: &mut Remote) -> (CheckTransaction, Seen) {
    let asked = soon(producer.heard.recv()).await.unwrap();
    assert_eq!(asked.code, request_code::CHECK_TRANSACTION_STATE);
    let (header, body) = asked.payload::<(CheckTransaction, Bytes)>().unwrap();
    (header, seen(&body).remove(0))
}

#[tokio::test]
async fn a_producer_is_asked_about_an_open_transaction_until_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(BrokerConfig { transaction_check_max: 99, ..eager(dir.path()) });
    let mut producer = producer(&fixture).await;
    let half = prepare(&fixture, "half", "").await;
    let (first, message) = question(&mut producer).await;
    assert_eq!(first.topic.as_deref(), Some(HALF));
    assert_eq!(first.msg_id, half.0.transaction_id);
    assert_eq!((&*message.topic, message.queue_id, &*message.body), ("Orders", 2, "half"));
    assert_eq!(message.offset, first.tran_state_table_offset);
    assert_eq!(message.properties.get("TRANSACTION_CHECK_TIMES"), Some("1"));
    let (second, message) = question(&mut producer).await;
    assert!(second.tran_state_table_offset > first.tran_state_table_offset);
    assert_eq!(message.properties.get("TRANSACTION_CHECK_TIMES"), Some("2"));

    // The end names the first position; it ends the youngest copy, too.
    fixture.call(&end(&half, verdict::COMMIT)).await;
    assert_eq!(bodies(&fixture.pull("Orders", 2, 0).await), ["half"]);
    let answer = EndTransaction {
        tran_state_table_offset: second.tran_state_table_offset,
        commit_log_offset: second.commit_log_offset,
        from_transaction_check: Some(true),
        ..end(&half, verdict::ROLLBACK)
    };
    assert_eq!(fixture.ask(answer.to_command()).await.code, response_code::SYSTEM_ERROR);
    fixture.stop().await;
}

#[tokio::test]
async fn a_transaction_that_nobody_ends_is_parked_where_operators_find_it() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(eager(dir.path()));
    let mut producer = producer(&fixture).await;
    let half = prepare(&fixture, "half", "").await;
    for times in ["1", "2", "3"] {
        let (_, message) = question(&mut producer).await;
        assert_eq!(message.properties.get("TRANSACTION_CHECK_TIMES"), Some(times));
    }
    let parked = arrival(&fixture, GIVEN_UP).await;
    assert_eq!(parked.properties.get("REAL_TOPIC"), Some("Orders"));
    assert_eq!(parked.properties.get("UNIQ_KEY"), half.0.transaction_id.as_deref());

    // An operator has the producer asked once more, from the first time on.
    let resume = |at: i64| ResumeCheck {
        topic: Some(GIVEN_UP.into()),
        msg_id: Some(format!("7F00000200005597{at:016X}").into()),
    };
    let refused = fixture.ask(resume(half.1).to_command()).await;
    assert_eq!(refused.code, response_code::SYSTEM_ERROR, "was never given up: it is the copy");
    fixture.call(&resume(parked.physical)).await;
    let (again, message) = question(&mut producer).await;
    assert_eq!(message.properties.get("TRANSACTION_CHECK_TIMES"), Some("1"));
    let commit = EndTransaction {
        tran_state_table_offset: again.tran_state_table_offset,
        commit_log_offset: again.commit_log_offset,
        from_transaction_check: Some(true),
        ..end(&half, verdict::COMMIT)
    };
    fixture.call(&commit).await;
    assert_eq!(bodies(&fixture.pull("Orders", 2, 0).await), ["half"]);
    fixture.stop().await;
}

#[tokio::test]
async fn open_transactions_are_asked_about_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(calm(dir.path()));
    let ended = prepare(&fixture, "ended", "").await;
    prepare(&fixture, "open", "").await;
    fixture.call(&end(&ended, verdict::ROLLBACK)).await;
    fixture.stop().await;
    let fixture = Fixture::start(eager(dir.path()));
    let mut producer = producer(&fixture).await;
    let (_, message) = question(&mut producer).await;
    assert_eq!(message.body, "open");
    fixture.stop().await;
}

#[tokio::test]
async fn an_immune_transaction_is_kept_without_a_question() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(eager(dir.path()));
    let mut producer = producer(&fixture).await;
    let immune = prepare(&fixture, "immune", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}3600\u{2}").await;
    prepare(&fixture, "other", "").await;
    for _ in 0..2 {
        assert_eq!(question(&mut producer).await.1.body, "other");
    }
    fixture.call(&end(&immune, verdict::COMMIT)).await;
    assert_eq!(bodies(&fixture.pull("Orders", 2, 0).await), ["immune"]);
    fixture.stop().await;
}

/// The first message of a topic that is made meanwhile.
async fn arrival(fixture: &Fixture, topic: &str) -> Seen {
    let look = async {
        loop {
            let found = fixture.pull(topic, 0, 0).await;
            if let Some(message) = seen(&found.body).into_iter().next() {
                return message;
            }
            tokio::task::yield_now().await;
        }
    };
    soon(look).await
}
