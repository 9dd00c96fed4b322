//! What is on the disk only, on a disk where nothing is in memory: no shard waits for it.

use std::sync::Arc;

use rmq_broker::BrokerConfig;
use rmq_message::sys_flag;
use rmq_remoting::protocol::offset::{EarliestStoreTime, QueryConsumerOffset};
use rmq_remoting::protocol::pop::{PeekMessage, PopMessage};
use rmq_remoting::protocol::query::ViewMessage;
use rmq_remoting::protocol::send::{SendMessage, SendResponse};
use rmq_remoting::protocol::send_back::SendBack;
use rmq_remoting::protocol::transaction::{EndTransaction, verdict};
use rmq_remoting::{TypedRequest, response_code};
use rmq_runtime::{ClockExt, World};
use rmq_store::{MessageStore, QueueKey};

use crate::disk::{TestDisk, Watched};
use crate::fixture::{Fixture, bodies, config, header, payload};

#[tokio::test]
async fn a_pull_from_the_disk_is_not_read_on_its_shard() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "one", "").await;
    fixture.send("Orders", "two", "").await;
    fixture.stop().await;

    let disk = TestDisk::cold();
    let watched = disk.reads.clone();
    let world = World { disk: Arc::new(disk), ..World::system() };
    let fixture = Fixture::start_in(world, config(dir.path()));
    // The shard of this connection is this thread.
    watched.watch();
    let found = fixture.pull("Orders", 0, 0).await;
    watched.unwatch();
    assert_eq!(found.code, response_code::SUCCESS, "{:?}", found.remark);
    assert_eq!(bodies(&found), ["one", "two"]);
    assert_eq!(watched.reads(), 0, "reads on the shard");

    // What has just been stored is answered in its turn.
    fixture.send("Orders", "three", "").await;
    watched.watch();
    assert_eq!(bodies(&fixture.pull("Orders", 0, 2).await), ["three"]);
    watched.unwatch();
    assert!(watched.reads() > 0, "read on the shard, from memory");
    fixture.stop().await;
}

const GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC";

/// So much that what comes next lies in the second file of the log.
async fn fill(fixture: &Fixture) {
    let body = "x".repeat((4 << 20) - 1_000);
    for _ in 0..3 {
        fixture.send("Fill", &body, "").await;
    }
}

/// The same broker again, with all that it has stored on the disk only.
fn again(config: BrokerConfig) -> (Fixture, Watched) {
    let disk = TestDisk::cold();
    let watched = disk.reads.clone();
    let world = World { disk: Arc::new(disk), ..World::system() };
    let fixture = Fixture::start_in(world, config);
    watched.watch();
    (fixture, watched)
}

fn pop() -> PopMessage {
    PopMessage {
        consumer_group: "GP".into(),
        topic: "Orders".into(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: 60_000,
        poll_time: 0,
        born_time: 0,
        init_mode: 0,
        expression_type: None,
        expression: None,
        order: None,
        attempt_id: None,
    }
}

fn physical(sent: &SendResponse) -> i64 {
    i64::from_str_radix(&sent.msg_id[16..], 16).unwrap()
}

#[tokio::test]
async fn while_a_pop_waits_for_the_disk_its_shard_serves_others() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for body in ["one", "two"] {
        fixture.send("Orders", body, "").await;
    }
    fill(&fixture).await;
    fixture.stop().await;
    let (fixture, watched) = again(config(dir.path()));
    watched.gate.close();
    // The last one begins at the end, for which it must look how old the beginning is.
    let late = PopMessage { consumer_group: "GL".into(), init_mode: 1, ..pop() };
    let others = async {
        fixture.send("Others", "young", "").await;
        assert_eq!(bodies(&fixture.pull("Others", 0, 0).await), ["young"]);
        watched.gate.open();
    };
    let (first, late) = (pop().to_command(), late.to_command());
    let (popped, late, ()) = tokio::join!(fixture.ask(first), fixture.ask(late), others);
    for popped in [popped, late] {
        assert_eq!(bodies(&popped), ["one", "two"], "{:?}", popped.remark);
    }
    assert_eq!(watched.reads(), 0, "reads on the shard");
    fixture.stop().await;
}

#[tokio::test]
async fn no_request_for_an_old_message_is_read_on_its_shard() {
    let dir = tempfile::tempdir().unwrap();
    let calm = || BrokerConfig { transaction_check_interval: 86_400_000, ..config(dir.path()) };
    let fixture = Fixture::start(calm());
    let sent: SendResponse = payload(&fixture.send("Orders", "one", "").await);
    let half = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}GP\u{2}";
    let half = SendMessage { sys_flag: sys_flag::TRANSACTION_PREPARED, ..header("Orders", half) };
    let half: SendResponse = payload(&fixture.ask(half.to_command("half".into())).await);
    fill(&fixture).await;
    fixture.stop().await;

    let (fixture, watched) = again(calm());
    let peek = PeekMessage {
        consumer_group: "GP".into(),
        topic: "Orders".into(),
        queue_id: 0,
        max_msg_nums: 8,
    };
    assert_eq!(bodies(&fixture.ask(peek.to_command()).await), ["one"]);
    let view = ViewMessage { offset: physical(&sent), topic: None };
    assert_eq!(bodies(&fixture.ask(view.to_command()).await), ["one"]);
    let stands = QueryConsumerOffset {
        consumer_group: "GN".into(),
        topic: "Orders".into(),
        queue_id: 0,
        set_zero_if_not_found: None,
    };
    assert_eq!(fixture.call(&stands).await.offset, 0);
    let earliest = EarliestStoreTime { topic: "Orders".into(), queue_id: 0 };
    assert!(fixture.call(&earliest).await.timestamp > 0);
    let back = SendBack {
        offset: physical(&sent),
        group: "GP".into(),
        delay_level: -1,
        origin_msg_id: None,
        origin_topic: None,
        unit_mode: None,
        max_reconsume_times: None,
    };
    fixture.call(&back).await;
    assert_eq!(bodies(&fixture.pull("%DLQ%GP", 0, 0).await), ["one"]);
    let end = EndTransaction {
        topic: Some("Orders".into()),
        producer_group: "GP".into(),
        tran_state_table_offset: half.queue_offset,
        commit_log_offset: physical(&half),
        commit_or_rollback: verdict::COMMIT,
        from_transaction_check: None,
        msg_id: half.transaction_id.clone(),
        transaction_id: half.transaction_id.clone(),
        broker_name: None,
    };
    fixture.call(&end).await;
    assert_eq!(bodies(&fixture.pull("Orders", 0, 1).await), ["half"]);
    assert_eq!(watched.reads(), 0, "reads on the shard");
    fixture.stop().await;
}

#[tokio::test]
async fn what_the_broker_does_in_time_waits_for_the_disk_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "popped", "").await;
    let popped = fixture.ask(PopMessage { invisible_time: 1_500, ..pop() }.to_command()).await;
    assert_eq!(bodies(&popped), ["popped"]);
    fixture.send("Delayed", "by level", "DELAY\u{1}2\u{2}").await;
    fixture.send("Timed", "to the moment", "TIMER_DELAY_MS\u{1}2000\u{2}").await;
    let half = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}GP\u{2}";
    let half = SendMessage { sys_flag: sys_flag::TRANSACTION_PREPARED, ..header("Orders", half) };
    fixture.ask(half.to_command("half".into())).await;
    fill(&fixture).await;
    fixture.stop().await;

    let eager = BrokerConfig {
        transaction_timeout: 1,
        transaction_check_interval: 20,
        ..config(dir.path())
    };
    let (fixture, watched) = again(eager);
    let comes_again = PopMessage { poll_time: 15_000, ..pop() };
    assert_eq!(bodies(&fixture.ask(comes_again.to_command()).await), ["popped"]);
    for (topic, body) in [("Delayed", "by level"), ("Timed", "to the moment")] {
        let pull = crate::fixture::pull(topic, 0, 0);
        let sys_flag = pull.sys_flag | sys_flag::pull::SUSPEND;
        let held = rmq_remoting::protocol::pull::PullMessage { sys_flag, ..pull };
        assert_eq!(bodies(&fixture.ask(held.to_command()).await), [body]);
    }
    // The half message claims to be very old, so it is given up.
    let given_up = QueueKey::new(GIVEN_UP, 0);
    while fixture.store.offsets(&given_up).end.0 < 1 {
        fixture.world.clock.sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(watched.reads(), 0, "reads on the thread of the shard");
    fixture.stop().await;
}
