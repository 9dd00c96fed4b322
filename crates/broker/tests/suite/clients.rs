//! Clients and their groups, over real connections.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rmq_message::MessageQueue;
use rmq_remoting::protocol::client::{
    AllProducers, ClientStatus, ConsumeDirectly, ConsumerConnections, ConsumerList,
    DescribeConsumer, GroupStatus, ProducerConnections,
};
use rmq_remoting::protocol::heartbeat::{
    ConsumerGroup, Heartbeat, MessageModel, ProducerGroup, TopicSubscription, UnregisterClient,
};
use rmq_remoting::protocol::lock::{LockQueues, UnlockQueues};
use rmq_remoting::protocol::queue::QueryQueue;
use rmq_remoting::protocol::send::SendResponse;
use rmq_remoting::{Invoker, TypedRequest, request_code};
use rmq_runtime::system::SystemClock;
use rmq_runtime::{BoxFuture, Clock, ClockExt, Monotonic, World};
use tokio::sync::watch;

use crate::fixture::{Fixture, ask, bodies, call, config, payload, soon};
use crate::remote::remotes;

pub(crate) fn heartbeat(client: &str, topics: &[&str]) -> Heartbeat {
    let subscription = |topic: &&str| TopicSubscription {
        sub_string: "*".into(),
        expression_type: "TAG".into(),
        topic: (*topic).into(),
        sub_version: 1,
        ..TopicSubscription::default()
    };
    Heartbeat {
        client_id: client.into(),
        consumer_data_set: vec![ConsumerGroup {
            group_name: "G".into(),
            subscription_data_set: topics.iter().map(subscription).collect(),
            ..ConsumerGroup::default()
        }],
        producer_data_set: vec![ProducerGroup { group_name: "P".into() }],
        ..Heartbeat::default()
    }
}

#[tokio::test]
async fn a_condition_is_shown_and_kept_when_its_group_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("T", "x", "").await;
    let [member] = remotes(&fixture).await;
    let mut beat = heartbeat("a", &["T"]);
    let wanted = &mut beat.consumer_data_set[0].subscription_data_set[0];
    (wanted.expression_type, wanted.sub_string) = ("SQL92".into(), "size > 5".into());
    member.call(&beat).await;
    let entries = QueryQueue {
        topic: "T".into(),
        queue_id: 0,
        index: 0,
        count: 1,
        consumer_group: Some("G".into()),
    };
    let shown = fixture.call(&entries).await;
    let condition: serde_json::Value = serde_json::from_str(&shown.filter_data.unwrap()).unwrap();
    assert_eq!((&condition["expression"], &condition["dead"]), (&"size > 5".into(), &false.into()));
    assert!(shown.queue_data[0].eval, "only a pull looks at the properties");
    let leave = UnregisterClient {
        client_id: "a".into(),
        producer_group: None,
        consumer_group: Some("G".into()),
    };
    member.call(&leave).await;
    fixture.stop().await;
    let disk = World::system().disk;
    let file = disk.read(&dir.path().join("config/consumerFilter.json")).unwrap();
    let file: serde_json::Value = rmq_remoting::json::from_slice(&file).unwrap();
    let row = &file["filterDataByTopic"]["T"]["groupFilterData"]["G"];
    assert!(row["dead"] == true && row["deadTime"].as_i64() > Some(0), "{file}");
}

const CHANGED: i32 = request_code::NOTIFY_CONSUMER_IDS_CHANGED;

#[tokio::test]
async fn members_hear_of_every_change_of_their_group() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let [mut one, mut two] = remotes(&fixture).await;
    let changed = (CHANGED, "G".to_owned());
    one.call(&heartbeat("a", &["T"])).await;
    assert_eq!(one.hears().await, changed);
    // Nothing new: nobody is told, so the next word is that of the second member.
    one.call(&heartbeat("a", &["T"])).await;
    two.call(&heartbeat("b", &["T"])).await;
    assert_eq!((one.hears().await, two.hears().await), (changed.clone(), changed.clone()));
    let list = ConsumerList { consumer_group: "G".into() };
    assert_eq!(one.call(&list).await.consumer_id_list, ["a", "b"]);
    // Another topic is a change.
    two.call(&heartbeat("b", &["T", "U"])).await;
    assert_eq!((one.hears().await, two.hears().await), (changed.clone(), changed.clone()));
    let leave = UnregisterClient {
        client_id: "a".into(),
        producer_group: Some("P".into()),
        consumer_group: Some("G".into()),
    };
    one.call(&leave).await;
    assert_eq!(two.hears().await, changed);
    one.call(&heartbeat("a", &["T"])).await;
    assert_eq!((one.hears().await, two.hears().await), (changed.clone(), changed.clone()));
    // A connection that ends is a member that leaves.
    one.client.disconnect(&one.to);
    assert_eq!(two.hears().await, changed);
    assert_eq!(two.call(&list).await.consumer_id_list, ["b"]);
    fixture.stop().await;
}

/// The real clock, which a test can put forward.
struct Forward {
    clock: SystemClock,
    skipped: watch::Sender<Duration>,
}

impl Clock for Forward {
    fn wall(&self) -> SystemTime {
        self.clock.wall() + *self.skipped.borrow()
    }

    fn monotonic(&self) -> Monotonic {
        self.clock.monotonic() + *self.skipped.borrow()
    }

    fn sleep_until(&self, at: Monotonic) -> BoxFuture<'static, ()> {
        let (clock, mut skipped) = (self.clock, self.skipped.subscribe());
        Box::pin(async move {
            loop {
                let left = at.since(clock.monotonic() + *skipped.borrow_and_update());
                tokio::select! {
                    () = clock.sleep(left) => return,
                    Ok(()) = skipped.changed() => {}
                }
            }
        })
    }

    fn utc_offset_ms(&self) -> i64 {
        0
    }
}

#[tokio::test]
async fn who_is_silent_for_two_minutes_is_no_member_any_more_and_the_others_hear_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Forward { clock: SystemClock::new(), skipped: watch::Sender::default() };
    let clock = Arc::new(clock);
    let world = World { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..World::system() };
    let fixture = Fixture::start_in(world, config(dir.path()));
    let [mut one, mut two] = remotes(&fixture).await;
    one.call(&heartbeat("a", &["T"])).await;
    two.call(&heartbeat("b", &["T"])).await;
    for heard in [one.hears().await, one.hears().await, two.hears().await] {
        assert_eq!(heard, (CHANGED, "G".to_owned()));
    }
    let list = ConsumerList { consumer_group: "G".into() };
    clock.skipped.send_modify(|skipped| *skipped += Duration::from_secs(100));
    one.call(&heartbeat("a", &["T"])).await;
    assert_eq!(one.call(&list).await.consumer_id_list, ["a", "b"]);
    clock.skipped.send_modify(|skipped| *skipped += Duration::from_secs(30));
    assert_eq!(one.hears().await, (CHANGED, "G".to_owned()));
    assert_eq!(one.call(&list).await.consumer_id_list, ["a"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_broadcasting_group_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let [mut one] = remotes(&fixture).await;
    let mut beat = heartbeat("a", &["T"]);
    beat.consumer_data_set[0].message_model = MessageModel::Broadcasting;
    one.call(&beat).await;
    beat.consumer_data_set[0].group_name = "H".into();
    beat.consumer_data_set[0].message_model = MessageModel::Clustering;
    one.call(&beat).await;
    assert_eq!(one.hears().await, (CHANGED, "H".to_owned()));
    fixture.stop().await;
}

#[tokio::test]
async fn a_heartbeat_without_subscriptions_is_enough_while_they_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let connection = fixture.connect();
    let wanted = |mut beat: Heartbeat, fingerprint, without_sub| {
        beat.heartbeat_fingerprint = fingerprint;
        beat.without_sub = without_sub;
        let connection = &connection;
        async move { call(connection, &beat).await.subscription_changed }
    };
    assert_eq!(wanted(heartbeat("a", &["T"]), 0, false).await, Some(true));
    assert_eq!(wanted(heartbeat("a", &["T"]), 7, false).await, Some(false));
    assert_eq!(wanted(heartbeat("a", &[]), 7, true).await, Some(false));
    assert_eq!(wanted(heartbeat("a", &[]), 8, true).await, Some(true));
    let described = ConsumerConnections { consumer_group: "G".into() };
    let described = call(&connection, &described).await;
    assert!(described.subscription_table.contains_key("T"));
    // A broker that knows nothing asks for everything.
    let other = fixture.connect();
    let mut beat = heartbeat("b", &[]);
    beat.heartbeat_fingerprint = 7;
    beat.without_sub = true;
    assert_eq!(call(&other, &beat).await.subscription_changed, Some(true));
    fixture.stop().await;
}

#[tokio::test]
async fn tools_reach_a_client_through_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let [mut one] = remotes(&fixture).await;
    one.call(&heartbeat("a", &["T"])).await;
    assert_eq!(one.hears().await.0, CHANGED);
    let describe = DescribeConsumer {
        consumer_group: "G".into(),
        client_id: "a".into(),
        jstack_enable: Some(false),
    };
    let answer = fixture.ask(describe.to_command()).await;
    assert_eq!((answer.code, &answer.body[..]), (0, &b"I am fine"[..]));
    assert_eq!(one.hears().await, (DescribeConsumer::CODE, "G".to_owned()));
    let status = GroupStatus { topic: "T".into(), group: "G".into(), client_addr: None };
    let status = fixture.call(&status).await;
    assert_eq!(status.consumer_table["a"].values().copied().collect::<Vec<_>>(), [7]);
    assert_eq!(one.hears().await, (ClientStatus::CODE, "G".to_owned()));
    let producers = ProducerConnections { producer_group: "P".into() };
    assert_eq!(fixture.call(&producers).await.connection_set[0].client_id, "a");
    assert_eq!(fixture.call(&AllProducers).await.data["P"][0].client_id, "a");

    // One message, handed over by the broker.
    let sent: SendResponse = payload(&fixture.send("T", "once more", "").await);
    let direct = ConsumeDirectly {
        consumer_group: "G".into(),
        client_id: Some("a".into()),
        msg_id: Some(sent.msg_id),
        broker_name: None,
        topic: Some("T".into()),
        topic_sys_flag: None,
        group_sys_flag: None,
    };
    let answer = fixture.ask((direct, bytes::Bytes::new()).to_command()).await;
    assert_eq!((answer.code, &answer.body[..]), (0, &b"I am fine"[..]));
    let handed = soon(one.heard.recv()).await.unwrap();
    assert_eq!(handed.code, request_code::CONSUME_MESSAGE_DIRECTLY);
    assert_eq!(
        (handed.field("brokerName"), handed.field("topicSysFlag")),
        (Some("broker-a"), Some("0"))
    );
    assert_eq!(bodies(&handed), ["once more"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_queue_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "x", "").await;
    let queues = |ids: &[i32]| -> Vec<_> {
        ids.iter().map(|id| MessageQueue::new("Orders", "broker-a", *id)).collect()
    };
    let lock = |client: &str, ids: &[i32]| LockQueues {
        client_id: client.into(),
        consumer_group: "G".into(),
        mq_set: queues(ids),
        only_this_broker: false,
    };
    assert_eq!(fixture.call(&lock("a", &[0, 1])).await.lock_ok_mq_set, queues(&[0, 1]));
    assert_eq!(fixture.call(&lock("b", &[1, 2])).await.lock_ok_mq_set, queues(&[2]));
    // Queues that are not there cannot be locked.
    assert_eq!(fixture.call(&lock("b", &[99, -1])).await.lock_ok_mq_set, queues(&[]));
    let unlock = UnlockQueues {
        client_id: "a".into(),
        consumer_group: "G".into(),
        mq_set: queues(&[1]),
        only_this_broker: false,
    };
    fixture.call(&unlock).await;
    assert_eq!(fixture.call(&lock("b", &[0, 1])).await.lock_ok_mq_set, queues(&[1]));
    fixture.stop().await;

    // Owners stay owners over a restart.
    let fixture = Fixture::start(config(dir.path()));
    assert_eq!(fixture.call(&lock("c", &[0, 1])).await.lock_ok_mq_set, queues(&[]));
    let connection = fixture.connect();
    let mine = ask(&connection, lock("a", &[0]).to_command()).await;
    assert_eq!(mine.code, 0);
    fixture.stop().await;
}

#[tokio::test]
async fn a_member_that_pops_gets_every_broker_once() {
    use rmq_remoting::TypedRequest;
    use rmq_remoting::protocol::assignment::{QueryAssignment, RequestMode, SetRequestMode};

    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "m", "").await;
    let ask = QueryAssignment {
        client_id: "me".into(),
        consumer_group: "GC".into(),
        strategy_name: "AVG".into(),
        topic: "Orders".into(),
        ..QueryAssignment::default()
    };
    let assigned = |answer: rmq_remoting::protocol::assignment::Assignments| {
        let all = answer.message_queue_assignments?.into_iter();
        Some(all.map(|one| (one.mode, one.message_queue.unwrap().queue_id)).collect::<Vec<_>>())
    };
    // Nobody of the group is known: the broker cannot tell.
    assert_eq!(assigned(fixture.call(&ask).await), None);
    let group = ConsumerGroup { group_name: "GC".into(), ..ConsumerGroup::default() };
    let heartbeat = Heartbeat {
        client_id: "me".into(),
        consumer_data_set: vec![group],
        ..Heartbeat::default()
    };
    fixture.call(&heartbeat).await;
    let pulls: Vec<_> = (0..4).map(|id| (RequestMode::Pull, id)).collect();
    assert_eq!(assigned(fixture.call(&ask).await), Some(pulls));
    let mode = SetRequestMode {
        consumer_group: "GC".into(),
        mode: RequestMode::Pop,
        pop_share_queue_num: 0,
        topic: "Orders".into(),
    };
    for (topic, code) in [("%RETRY%GC", 16), ("Nothing", 17)] {
        let bad = SetRequestMode { topic: topic.into(), ..mode.clone() };
        assert_eq!(fixture.ask(bad.to_command()).await.code, code, "{topic}");
    }
    fixture.call(&mode).await;
    fixture.stop().await;
    let fixture = Fixture::start(config(dir.path()));
    fixture.call(&heartbeat).await;
    let pops = Some(vec![(RequestMode::Pop, -1)]);
    assert_eq!(assigned(fixture.call(&ask).await), pops);
    fixture.stop().await;
}
