//! Pops, acks, and what comes back.

use rmq_message::{Timestamp, sys_flag};
use rmq_remoting::protocol::group::SubscriptionGroupConfig;
use rmq_remoting::protocol::pop::{
    AckMessage, BatchAck, BatchAckMessage, ChangeInvisibleTime, Notification, PeekMessage,
    PollingCount, PopMessage, PopResponse,
};
use rmq_remoting::protocol::pull::PullMessage;
use rmq_remoting::protocol::topic::{CreateTopics, TopicConfig};
use rmq_remoting::{RemotingCommand, TypedRequest, response_code};
use rmq_store::{MessageStore, QueueKey};

use crate::fixture::{Fixture, Seen, bodies, config, payload, seen};

const TOPIC: &str = "Orders";
const GROUP: &str = "GP";
/// Long enough for a slow machine to acknowledge in, ms.
const LONG: i64 = 60_000;
/// Over before anybody looks, ms.
const SHORT: i64 = 1;
const WAIT: i64 = 15_000;

fn pop() -> PopMessage {
    PopMessage {
        consumer_group: GROUP.into(),
        topic: TOPIC.into(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: LONG,
        poll_time: 0,
        born_time: 0,
        init_mode: 0,
        expression_type: None,
        expression: None,
        order: None,
        attempt_id: None,
    }
}

fn held() -> PopMessage {
    PopMessage { poll_time: WAIT, ..pop() }
}

/// What a client knows of a popped message.
struct Taken {
    message: Seen,
    receipt: String,
    topic: String,
}

/// As a client does: the receipt is made of the answer, or stands in the message.
fn taken(answer: &RemotingCommand) -> Vec<Taken> {
    let response: PopResponse = payload(answer);
    let starts = response.start_offset_info.clone().unwrap_or_default();
    let make = |message: Seen| {
        let start = starts.split(';').find_map(|entry| {
            let rest = entry.strip_prefix("0 ")?;
            let (queue_id, start) = rest.split_once(' ')?;
            (queue_id.parse() == Ok(message.queue_id)).then(|| start.to_owned())
        });
        let made = || {
            let start = start.unwrap();
            let PopResponse { pop_time, invisible_time, revive_queue_id, .. } = response;
            let Seen { queue_id, offset, .. } = message;
            format!(
                "{start} {pop_time} {invisible_time} {revive_queue_id} 0 broker-a {queue_id} {offset}"
            )
        };
        let receipt = message.properties.get("POP_CK").map(ToOwned::to_owned);
        let retry = receipt.is_some();
        let topic = if retry { format!("%RETRY%{GROUP}_{TOPIC}") } else { TOPIC.to_owned() };
        Taken { receipt: receipt.unwrap_or_else(made), topic, message }
    };
    seen(&answer.body).into_iter().map(make).collect()
}

fn ack(taken: &Taken) -> AckMessage {
    AckMessage {
        consumer_group: GROUP.into(),
        topic: taken.topic.as_str().into(),
        queue_id: taken.message.queue_id,
        extra_info: taken.receipt.as_str().into(),
        offset: taken.message.offset,
    }
}

async fn found(fixture: &Fixture, pop: &PopMessage) -> RemotingCommand {
    let answer = fixture.ask(pop.to_command()).await;
    assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
    answer
}

async fn nothing(fixture: &Fixture, pop: &PopMessage) {
    let answer = fixture.ask(pop.to_command()).await;
    assert_eq!(answer.code, response_code::POLLING_TIMEOUT, "{:?}", bodies(&answer));
}

/// The clock shows another millisecond than before.
async fn next_moment(fixture: &Fixture) {
    let now = || Timestamp::from(fixture.world.clock.wall());
    let begun = now();
    while now() == begun {
        tokio::task::yield_now().await;
    }
}

/// The next message, whenever it comes back.
async fn comes_back(fixture: &Fixture) -> Taken {
    taken(&found(fixture, &PopMessage { invisible_time: SHORT, ..held() }).await).remove(0)
}

async fn offset(fixture: &Fixture, topic: &str, queue_id: i32) -> i64 {
    let query = rmq_remoting::protocol::offset::QueryConsumerOffset {
        consumer_group: GROUP.into(),
        topic: topic.into(),
        queue_id,
        set_zero_if_not_found: None,
    };
    fixture.call(&query).await.offset
}

#[tokio::test]
async fn what_is_popped_is_hidden_and_progress_moves() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for body in ["a", "b", "c"] {
        fixture.send(TOPIC, body, "").await;
    }
    let first = found(&fixture, &PopMessage { max_msg_nums: 2, ..pop() }).await;
    assert_eq!(bodies(&first), ["a", "b"]);
    let response: PopResponse = payload(&first);
    assert_eq!(response.start_offset_info.as_deref(), Some("0 0 0"));
    assert_eq!(response.msg_offset_info.as_deref(), Some("0 0 0,1"));
    assert_eq!((response.rest_num, response.invisible_time), (1, LONG));
    assert_eq!(bodies(&found(&fixture, &pop()).await), ["c"]);
    nothing(&fixture, &pop()).await;
    assert_eq!(offset(&fixture, TOPIC, 0).await, 3);
    // The check points lie in the log, one for each pop.
    let revive: i64 = (0..8)
        .map(|id| QueueKey::new("rmq_sys_REVIVE_LOG_DefaultCluster", id))
        .map(|queue| fixture.store.offsets(&queue).end.0)
        .sum();
    assert_eq!(revive, 2);
    fixture.stop().await;
}

#[tokio::test]
async fn a_held_pop_is_answered_by_the_message_it_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send(TOPIC, "old", "").await;
    assert_eq!(bodies(&found(&fixture, &pop()).await), ["old"]);
    let ask = held();
    let (answer, _) = tokio::join!(found(&fixture, &ask), fixture.send(TOPIC, "new", ""));
    assert_eq!(bodies(&answer), ["new"]);
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_back_until_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for body in ["lost", "done"] {
        fixture.send(TOPIC, body, "TAGS\u{1}t\u{2}KEYS\u{1}k\u{2}").await;
    }
    let popped = taken(&found(&fixture, &PopMessage { invisible_time: 500, ..pop() }).await);
    fixture.call(&ack(&popped[1])).await;
    let again = comes_back(&fixture).await;
    assert_eq!((again.message.body.as_str(), again.message.reconsume_times), ("lost", 1));
    assert_eq!((again.message.topic.as_str(), again.message.queue_id), (TOPIC, 0));
    let properties = &again.message.properties;
    assert_eq!((properties.get("TAGS"), properties.get("KEYS")), (Some("t"), Some("k")));
    assert_eq!(properties.get("ORIGIN_GROUP"), Some(GROUP));
    assert!(properties.get("1ST_POP_TIME").is_some());
    let once_more = taken(&found(&fixture, &held()).await).remove(0);
    assert_eq!(once_more.message.reconsume_times, 2);
    fixture.call(&ack(&once_more)).await;
    nothing(&fixture, &PopMessage { poll_time: 300, ..pop() }).await;
    fixture.stop().await;
}

#[tokio::test]
async fn after_too_many_deliveries_a_message_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let group = SubscriptionGroupConfig {
        group_name: GROUP.into(),
        retry_max_times: 1,
        ..SubscriptionGroupConfig::default()
    };
    fixture.call(&group).await;
    let dead = format!("%DLQ%{GROUP}");
    let topic = TopicConfig {
        topic_name: dead.as_str().into(),
        read_queue_nums: 1,
        write_queue_nums: 1,
        ..TopicConfig::default()
    };
    fixture.call(&CreateTopics { topic_config_list: vec![topic] }).await;
    fixture.send(TOPIC, "poison", "").await;
    found(&fixture, &PopMessage { invisible_time: SHORT, ..pop() }).await;
    assert_eq!(comes_back(&fixture).await.message.reconsume_times, 1);
    let waiting = crate::fixture::pull(&dead, 0, 0);
    let waiting = PullMessage { sys_flag: waiting.sys_flag | sys_flag::pull::SUSPEND, ..waiting };
    let letters = fixture.ask(waiting.to_command()).await;
    let letter = &seen(&letters.body)[0];
    assert_eq!(letter.body, "poison");
    assert_eq!(letter.properties.get("RETRY_TOPIC"), Some(TOPIC));
    nothing(&fixture, &PopMessage { poll_time: 100, ..pop() }).await;
    fixture.stop().await;
}

#[tokio::test]
async fn another_invisible_time_makes_another_receipt() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send(TOPIC, "m", "").await;
    let popped = taken(&found(&fixture, &pop()).await).remove(0);
    let change = |receipt: &str, invisible_time, suspend| ChangeInvisibleTime {
        consumer_group: GROUP.into(),
        topic: TOPIC.into(),
        queue_id: 0,
        extra_info: receipt.into(),
        offset: 0,
        invisible_time,
        suspend: Some(suspend),
    };
    let longer = fixture.call(&change(&popped.receipt, LONG, false)).await;
    assert_eq!(longer.invisible_time, LONG);
    let receipt = format!("0 {} {LONG} {} 0 broker-a 0 0", longer.pop_time, longer.revive_queue_id);
    // The old receipt is void: it acknowledges nothing any more.
    fixture.call(&ack(&popped)).await;
    fixture.call(&change(&receipt, SHORT, true)).await;
    let again = comes_back(&fixture).await;
    assert_eq!((again.message.body.as_str(), again.message.reconsume_times), ("m", 0));
    fixture.stop().await;
}

#[tokio::test]
async fn a_batch_of_acks_leaves_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for body in ["a", "b", "c"] {
        fixture.send(TOPIC, body, "").await;
    }
    let answer = found(&fixture, &PopMessage { invisible_time: 500, ..pop() }).await;
    let response: PopResponse = payload(&answer);
    let acks = BatchAckMessage {
        acks: vec![BatchAck {
            bits: "BQ==".into(),
            consumer_group: GROUP.into(),
            invisible_time: 500,
            pop_time: response.pop_time,
            queue_id: 0,
            retry: "0".into(),
            revive_queue_id: response.revive_queue_id,
            start_offset: 0,
            topic: TOPIC.into(),
        }],
        broker_name: "broker-a".into(),
    };
    fixture.call(&acks).await;
    assert_eq!(bodies(&found(&fixture, &held()).await), ["b"]);
    nothing(&fixture, &PopMessage { poll_time: 100, ..pop() }).await;
    fixture.stop().await;
}

#[tokio::test]
async fn foreign_receipts_are_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send(TOPIC, "m", "").await;
    let mut popped =
        taken(&found(&fixture, &PopMessage { invisible_time: 300, ..pop() }).await).remove(0);
    for (receipt, code) in [
        ("0 1 60000 3 0 broker-z 0 0", response_code::SUCCESS),
        ("0 1 60000 999 0 broker-a 0 0", response_code::SUCCESS),
        ("0 1 60000 4711 0 broker-a 0 0", response_code::SYSTEM_ERROR),
        ("0 9223372036854775807 9223372036854775807 1 0 b 0 0", response_code::SUCCESS),
        ("nonsense", response_code::SYSTEM_ERROR),
    ] {
        popped.receipt = receipt.to_owned();
        let answer = fixture.ask(ack(&popped).to_command()).await;
        assert_eq!(answer.code, code, "{receipt}: {:?}", answer.remark);
    }
    assert_eq!(comes_back(&fixture).await.message.body, "m");
    fixture.stop().await;
}

#[tokio::test]
async fn what_is_in_flight_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for body in ["lost", "done"] {
        fixture.send(TOPIC, body, "").await;
    }
    let popped = taken(&found(&fixture, &PopMessage { invisible_time: 1_000, ..pop() }).await);
    fixture.call(&ack(&popped[1])).await;
    fixture.stop().await;
    let fixture = Fixture::start(config(dir.path()));
    assert_eq!(comes_back(&fixture).await.message.body, "lost");
    assert_eq!(taken(&found(&fixture, &held()).await)[0].message.reconsume_times, 2);
    nothing(&fixture, &pop()).await;
    fixture.stop().await;
    // What was brought back once is not brought back again.
    let fixture = Fixture::start(config(dir.path()));
    nothing(&fixture, &PopMessage { poll_time: 300, ..pop() }).await;
    fixture.stop().await;
}

#[tokio::test]
async fn messages_are_filtered_and_progress_passes_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for (body, tag) in [("a", "A"), ("b", "B"), ("c", "A"), ("d", "C")] {
        fixture.send(TOPIC, body, &format!("TAGS\u{1}{tag}\u{2}")).await;
    }
    let filtered = PopMessage {
        expression: Some("A || D".into()),
        expression_type: Some("TAG".into()),
        ..pop()
    };
    let answer = found(&fixture, &filtered).await;
    assert_eq!(bodies(&answer), ["a", "c"]);
    let response: PopResponse = payload(&answer);
    assert_eq!(response.msg_offset_info.as_deref(), Some("0 0 0,2"));
    nothing(&fixture, &filtered).await;
    assert_eq!(offset(&fixture, TOPIC, 0).await, 4);
    let sql = PopMessage {
        expression: Some("a > 1".into()),
        expression_type: Some("SQL92".into()),
        ..pop()
    };
    fixture.send(TOPIC, "e", "a\u{1}1\u{2}").await;
    fixture.send(TOPIC, "f", "a\u{1}2\u{2}").await;
    assert_eq!(bodies(&found(&fixture, &sql).await), ["f"]);
    nothing(&fixture, &sql).await;
    fixture.stop().await;
}

#[tokio::test]
async fn an_ordered_queue_gives_nothing_before_its_batch_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for body in ["a", "b", "c"] {
        fixture.send(TOPIC, body, "").await;
    }
    let ordered = |attempt: &str| PopMessage {
        order: Some(true),
        max_msg_nums: 2,
        attempt_id: Some(attempt.into()),
        ..pop()
    };
    let answer = found(&fixture, &ordered("1")).await;
    let response: PopResponse = payload(&answer);
    assert_eq!(response.revive_queue_id, 999);
    assert_eq!(response.order_count_info.as_deref(), Some("0 0 0"));
    let popped = taken(&answer);
    nothing(&fixture, &ordered("2")).await;
    // The same try of the same call, a moment later: pops are told apart by their time.
    next_moment(&fixture).await;
    assert_eq!(bodies(&found(&fixture, &ordered("1")).await), ["a", "b"]);
    assert_eq!(offset(&fixture, TOPIC, 0).await, 0);
    fixture.call(&ack(&popped[0])).await;
    let popped = taken(&found(&fixture, &ordered("1")).await);
    let again: Vec<_> = popped.iter().map(|taken| taken.message.body.as_str()).collect();
    assert_eq!(again, ["a", "b"], "an ack of an earlier pop counts no more");
    let waiting = PopMessage { poll_time: WAIT, ..ordered("2") };
    let (next, ()) = tokio::join!(found(&fixture, &waiting), async {
        for taken in &popped {
            fixture.call(&ack(taken)).await;
        }
    });
    assert_eq!(bodies(&next), ["c"]);
    assert_eq!(offset(&fixture, TOPIC, 0).await, 2);
    fixture.stop().await;
}

#[tokio::test]
async fn an_ordered_batch_comes_again_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for body in ["a", "b"] {
        fixture.send(TOPIC, body, "").await;
    }
    let ordered = PopMessage { order: Some(true), ..held() };
    found(&fixture, &PopMessage { invisible_time: 200, max_msg_nums: 1, ..ordered.clone() }).await;
    let again = found(&fixture, &ordered).await;
    assert_eq!(bodies(&again), ["a", "b"]);
    let response: PopResponse = payload(&again);
    assert_eq!(response.order_count_info.as_deref(), Some("0 qo0%0 1;0 0 0"));
    fixture.stop().await;
}

#[tokio::test]
async fn a_reset_moves_pops_too() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for body in ["a", "b"] {
        fixture.send(TOPIC, body, "").await;
    }
    assert_eq!(bodies(&found(&fixture, &pop()).await), ["a", "b"]);
    let reset = rmq_remoting::protocol::offset::ResetOffset {
        topic: TOPIC.into(),
        group: GROUP.into(),
        queue_id: 0,
        offset: Some(1),
        timestamp: 0,
        is_force: true,
    };
    assert_eq!(fixture.ask(reset.to_command()).await.code, 0);
    assert_eq!(bodies(&found(&fixture, &pop()).await), ["b"]);
    fixture.stop().await;
}

#[tokio::test]
async fn those_who_ask_are_told_that_there_is_something() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send(TOPIC, "a", "").await;
    let ask = |poll_time| Notification {
        consumer_group: GROUP.into(),
        topic: TOPIC.into(),
        queue_id: -1,
        poll_time,
        born_time: 0,
        order: Some(false),
        attempt_id: None,
        expression_type: None,
        expression: None,
    };
    assert!(fixture.call(&ask(0)).await.has_msg);
    found(&fixture, &pop()).await;
    assert!(!fixture.call(&ask(50)).await.has_msg);
    let asked = ask(WAIT);
    let (told, _) = tokio::join!(fixture.call(&asked), fixture.send(TOPIC, "b", ""));
    assert!(told.has_msg);
    let polling = PollingCount { consumer_group: GROUP.into(), topic: TOPIC.into(), queue_id: -1 };
    assert_eq!(fixture.call(&polling).await.polling_count, 0);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_share_a_topic_get_each_message_once() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = std::sync::Arc::new(Fixture::start(config(dir.path())));
    fixture.send(TOPIC, "0", "").await;
    let (tx, mut rx) = tokio::sync::mpsc::channel(1_000);
    let tasks = fixture.tasks.child("poppers");
    for _ in 0..8 {
        let (fixture, tx) = (std::sync::Arc::clone(&fixture), tx.clone());
        tasks.spawn("popper", rmq_runtime::OnFailure::Unhealthy, async move {
            loop {
                let ask = PopMessage { max_msg_nums: 3, poll_time: 2_000, ..pop() };
                let answer = fixture.ask(ask.to_command()).await;
                if answer.code != response_code::SUCCESS {
                    return;
                }
                for body in bodies(&answer) {
                    tx.send(body).await.unwrap();
                }
            }
        });
    }
    drop(tx);
    for number in 1..100 {
        fixture.send(TOPIC, &number.to_string(), "").await;
    }
    let mut got = Vec::new();
    while let Some(body) = rx.recv().await {
        got.push(body.parse::<u32>().unwrap());
    }
    got.sort_unstable();
    assert_eq!(got, (0..100).collect::<Vec<_>>());
    tasks.stop(&*fixture.world.clock, crate::fixture::WAIT).await;
    std::sync::Arc::into_inner(fixture).unwrap().stop().await;
}

#[tokio::test]
async fn higher_priorities_are_popped_first_and_the_others_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let topic = TopicConfig {
        topic_name: TOPIC.into(),
        read_queue_nums: 4,
        write_queue_nums: 4,
        attributes: [("+message.type".into(), "PRIORITY".into())].into(),
        ..TopicConfig::default()
    };
    fixture.call(&CreateTopics { topic_config_list: vec![topic] }).await;
    for (body, priority) in [("a", "0"), ("b", "2"), ("c", "9"), ("d", "1"), ("e", "9")] {
        let sent = format!("_SYS_MSG_PRIORITY_\u{1}{priority}\u{2}");
        let sent = fixture.send(TOPIC, body, &sent).await;
        let queue = priority.parse::<i32>().unwrap().min(3).to_string();
        assert_eq!(sent.fields.get("queueId"), Some(queue.as_str()));
    }
    // One that has to be in order keeps its queue and loses its priority.
    let both = "_SYS_MSG_PRIORITY_\u{1}3\u{2}__SHARDINGKEY\u{1}k\u{2}";
    assert_eq!(fixture.send(TOPIC, "f", both).await.fields.get("queueId"), Some("0"));
    let one = PopMessage { max_msg_nums: 1, ..pop() };
    let mut order = Vec::new();
    for _ in 0..6 {
        let answer = found(&fixture, &one).await;
        order.extend(seen(&answer.body).into_iter().map(|message| message.body));
    }
    assert_eq!(order, ["c", "e", "b", "d", "a", "f"]);
    fixture.stop().await;
}

#[tokio::test]
async fn who_peeks_sees_what_a_pop_would_take_and_takes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for body in ["a", "b", "c"] {
        fixture.send(TOPIC, body, "").await;
    }
    let peek = PeekMessage {
        consumer_group: GROUP.into(),
        topic: TOPIC.into(),
        queue_id: -1,
        max_msg_nums: 2,
    };
    for _ in 0..2 {
        let answer = fixture.ask(peek.to_command()).await;
        assert_eq!((answer.code, answer.remark.as_deref()), (0, Some("FOUND")));
        assert_eq!(bodies(&answer), ["a", "b"]);
        let response: PopResponse = payload(&answer);
        assert_eq!((response.rest_num, response.pop_time, response.invisible_time), (3, 0, 0));
    }
    assert_eq!(bodies(&found(&fixture, &pop()).await), ["a", "b", "c"]);
    let answer = fixture.ask(peek.to_command()).await;
    assert_eq!(answer.code, response_code::PULL_NOT_FOUND);
    assert_eq!(answer.remark.as_deref(), Some("NO_MESSAGE_IN_QUEUE"));
    let nowhere = PeekMessage { topic: "Nowhere".into(), ..peek.clone() };
    let refused = fixture.ask(nowhere.to_command()).await;
    assert_eq!(refused.code, response_code::TOPIC_NOT_EXIST);
    assert_eq!(payload::<PopResponse>(&refused).rest_num, 0);
    fixture.stop().await;
}

#[tokio::test]
async fn a_pop_passes_long_stretches_that_nobody_wants_without_another_arrival() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for number in 0..2_000 {
        fixture.send(TOPIC, &number.to_string(), "TAGS\u{1}A\u{2}").await;
    }
    fixture.send(TOPIC, "wanted", "TAGS\u{1}B\u{2}").await;
    let filtered =
        PopMessage { expression: Some("B".into()), expression_type: Some("TAG".into()), ..held() };
    assert_eq!(bodies(&found(&fixture, &filtered).await), ["wanted"]);
    fixture.stop().await;
}
