use rmq_message::Timestamp;
use rmq_remoting::protocol::heartbeat::Heartbeat;
use rmq_remoting::{request_code, response_code};
use std::time::Duration;

use super::*;
use crate::protocol::Boundary;
use crate::testing::{A0, A1, B0, Counter, Stage, refusal, route, settle};
use crate::{ErrorKind, MemberCommand, MemberHeartbeat, MemberReply};

impl ClientInstance {
    pub(crate) fn engine_for_tests(&self) -> &Engine {
        &self.engine
    }
}

const HEARTBEAT: i32 = request_code::HEART_BEAT;
const UNREGISTER: i32 = request_code::UNREGISTER_CLIENT;

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

#[tokio::test]
async fn consumers_are_announced_to_replicas_too_and_producers_to_masters_only() {
    let stage = Stage::new(|_| {});
    let instance = &stage.instance;
    instance.refresh_route("T").await.unwrap();
    assert!(!instance.heartbeat().await, "nobody has joined");
    instance.join_producer("p").unwrap();
    assert!(instance.heartbeat().await);
    assert_eq!(sorted(stage.cluster.take_calls(HEARTBEAT)), [A0, B0]);

    instance.join(Counter::new("g")).unwrap();
    assert!(instance.heartbeat().await);
    let request = stage.cluster.last(HEARTBEAT).unwrap();
    assert_eq!(
        std::str::from_utf8(&request.body).unwrap(),
        "{\"clientID\":\"10.0.0.7@test\",\"consumerDataSet\":[{\"consumeFromWhere\":\
         \"CONSUME_FROM_LAST_OFFSET\",\"consumeType\":\"CONSUME_PASSIVELY\",\"groupName\":\"g\",\
         \"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":[{\"classFilterMode\":false,\
         \"codeSet\":[2598919],\"expressionType\":\"TAG\",\"subString\":\"TagA\",\"subVersion\":1,\
         \"tagsSet\":[\"TagA\"],\"topic\":\"T\"}],\"unitMode\":false}],\"heartbeatFingerprint\":0,\
         \"producerDataSet\":[{\"groupName\":\"p\"}],\"withoutSub\":false}"
    );
    assert_eq!(sorted(stage.cluster.take_calls(HEARTBEAT)), [A0, A1, B0]);
    let a0 = A0.parse().unwrap();
    assert_eq!(instance.brokers().version(&a0), 513, "learnt from the answer");
}

#[tokio::test]
async fn one_dead_broker_does_not_keep_the_others_from_hearing() {
    let stage = Stage::new(|_| {});
    stage.instance.join(Counter::new("g")).unwrap();
    stage.instance.refresh_route("T").await.unwrap();
    stage.cluster.down.lock().insert(A0.into());
    assert!(stage.instance.heartbeat().await);
    assert_eq!(sorted(stage.cluster.take_calls(HEARTBEAT)), [A0, A1, B0]);
    assert_eq!(stage.instance.brokers().version(&A0.parse().unwrap()), 0);
}

#[tokio::test]
async fn unchanged_subscriptions_are_left_out_where_the_broker_remembers_them() {
    let stage = Stage::new(|config| config.heartbeat_v2 = true);
    let member = Counter::new("g");
    stage.instance.join(member.clone()).unwrap();
    stage.cluster.routes.lock().insert("T".into(), route(1, &[("broker-b", &[(0, B0)])]));
    stage.instance.refresh_route("T").await.unwrap();
    let supports = || refusal(0).with_field("IS_SUPPORT_HEART_BEAT_V2", "true");
    stage.cluster.script(HEARTBEAT, supports().with_field("IS_SUB_CHANGE", "false"));
    let sent = async || {
        assert!(stage.instance.heartbeat().await);
        let beat: Heartbeat = stage.cluster.last(HEARTBEAT).unwrap().payload().unwrap();
        assert_ne!(beat.heartbeat_fingerprint, 0);
        (beat.without_sub, beat.consumer_data_set[0].subscription_data_set.len())
    };
    assert_eq!(sent().await, (false, 1));
    assert_eq!(sent().await, (true, 0));
    *member.version.lock() = 2;
    stage.instance.subscriptions_changed();
    assert_eq!(sent().await, (false, 1), "the new version must go out");
    assert_eq!(sent().await, (true, 0));
    stage.cluster.script(HEARTBEAT, supports().with_field("IS_SUB_CHANGE", "true"));
    assert_eq!(sent().await, (true, 0));
    assert_eq!(sent().await, (false, 1), "the broker has asked for them");
}

#[tokio::test]
async fn the_loops_run_at_their_times() {
    let stage = Stage::new(|_| {});
    let member = Counter::new("g");
    stage.instance.join(member.clone()).unwrap();
    stage.clock.advance(Duration::from_millis(900)).await;
    assert_eq!(stage.cluster.take_calls(request_code::GET_ROUTEINFO_BY_TOPIC).len(), 1);
    assert_eq!(stage.cluster.take_calls(HEARTBEAT).len(), 0);
    stage.clock.advance(Duration::from_millis(100)).await;
    assert_eq!(stage.cluster.take_calls(HEARTBEAT).len(), 3);
    stage.clock.advance(Duration::from_secs(9)).await;
    assert_eq!(*member.persisted.lock(), 1);
    stage.clock.advance(Duration::from_secs(5)).await;
    assert_eq!((*member.persisted.lock(), *member.runs.lock()), (2, 0));
    stage.clock.advance(Duration::from_secs(5)).await;
    assert_eq!(*member.runs.lock(), 1);
    stage.clock.advance(Duration::from_secs(11)).await;
    assert_eq!(stage.cluster.take_calls(request_code::GET_ROUTEINFO_BY_TOPIC).len(), 1);
    assert_eq!(stage.cluster.take_calls(HEARTBEAT).len(), 3);
}

#[tokio::test]
async fn a_topic_without_a_route_does_not_keep_the_others_from_being_refreshed() {
    let stage = Stage::new(|_| {});
    stage.instance.join(Counter::new("g")).unwrap();
    assert!(stage.instance.publish_queues("A", None).await.is_err());
    stage.cluster.take_calls(request_code::GET_ROUTEINFO_BY_TOPIC);
    stage.clock.advance(Duration::from_secs(31)).await;
    let calls = stage.cluster.calls.lock();
    let asked = calls.iter().filter(|c| c.request.code == request_code::GET_ROUTEINFO_BY_TOPIC);
    let topics: Vec<_> = asked.map(|c| c.request.field("topic").unwrap()).collect();
    assert_eq!(topics, ["A", "T", "A", "T"]);
}

#[tokio::test]
async fn many_wake_ups_make_one_run_a_second() {
    let stage = Stage::new(|_| {});
    let member = Counter::new("g");
    stage.instance.join(member.clone()).unwrap();
    let runs = || *member.runs.lock();
    stage.instance.rebalance_soon();
    stage.instance.rebalance_soon();
    settle().await;
    assert_eq!(runs(), 1, "the first comes at once");
    for _ in 0..9 {
        stage.instance.rebalance_soon();
        stage.clock.advance(Duration::from_millis(100)).await;
        assert_eq!(runs(), 1);
    }
    stage.clock.advance(Duration::from_millis(100)).await;
    assert_eq!(runs(), 2);
    stage.clock.advance(Duration::from_secs(19)).await;
    assert_eq!(runs(), 2, "all wake-ups before the run were served by it");
    stage.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(runs(), 3, "nobody has asked, it was time");
}

#[tokio::test]
async fn unbalanced_queues_are_looked_at_every_second() {
    let stage = Stage::new(|_| {});
    let member = Counter::new("g");
    *member.balanced.lock() = false;
    stage.instance.join(member.clone()).unwrap();
    stage.instance.rebalance_soon();
    stage.clock.advance(Duration::from_secs(3)).await;
    assert_eq!(*member.runs.lock(), 4);
    *member.balanced.lock() = true;
    stage.clock.advance(Duration::from_secs(10)).await;
    assert_eq!(*member.runs.lock(), 5);
}

#[tokio::test]
async fn unknown_members_are_not_nobody() {
    let stage = Stage::new(|_| {});
    let ids = async || stage.instance.consumer_ids("T", "g").await;
    *stage.cluster.ids.lock() = vec!["a".into(), "b".into()];
    assert_eq!(ids().await.unwrap(), ["a", "b"], "the route was fetched on the way");
    stage.cluster.ids.lock().clear();
    assert_eq!(ids().await, None);
    stage
        .cluster
        .script(request_code::GET_CONSUMER_LIST_BY_GROUP, refusal(response_code::SYSTEM_ERROR));
    assert_eq!(ids().await, None);
    stage.cluster.scripted.lock().clear();
    stage.cluster.down.lock().extend([A0.to_owned(), B0.to_owned()]);
    assert_eq!(ids().await, None);
    assert_eq!(stage.instance.consumer_ids("Missing", "g").await, None);
}

#[tokio::test]
async fn a_group_can_join_once_and_again_after_it_left() {
    let stage = Stage::new(|_| {});
    let instance = &stage.instance;
    instance.join(Counter::new("g")).unwrap();
    instance.join_producer("g").unwrap();
    let twice = instance.join(Counter::new("g")).unwrap_err();
    assert!(twice.to_string().starts_with("The consumer group[g] has been created before"));
    let twice = instance.join_producer("g").unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::Config);
    instance.leave("g").await;
    instance.join(Counter::new("g")).unwrap();
    assert!(matches!(instance.join(Counter::new("a b")), Err(ClientError::Name(_))));
}

#[tokio::test]
async fn a_farewell_reaches_every_address_and_the_last_one_ends_the_instance() {
    let stage = Stage::new(|_| {});
    let instance = &stage.instance;
    instance.refresh_route("T").await.unwrap();
    instance.join(Counter::new("g")).unwrap();
    instance.join_producer("p").unwrap();
    stage.cluster.down.lock().insert(A1.into());
    instance.leave("g").await;
    let request = stage.cluster.last(UNREGISTER).unwrap();
    let fields: Vec<_> = request.fields.iter().collect();
    assert_eq!(fields, [("clientID", "10.0.0.7@test"), ("consumerGroup", "g")]);
    assert_eq!(sorted(stage.cluster.take_calls(UNREGISTER)), [A0, A1, B0]);
    instance.leave("g").await;
    assert_eq!(stage.cluster.take_calls(UNREGISTER), Vec::<String>::new());

    let end = async || {
        let grace = Duration::from_secs(5);
        tokio::join!(instance.shutdown(grace), stage.clock.advance(grace * 3)).0
    };
    assert_eq!(end().await, Vec::<String>::new());
    instance.join_producer("q").expect("a producer is still here, so nothing has ended");
    instance.leave_producer("p").await;
    instance.leave_producer("q").await;
    assert_eq!(sorted(stage.cluster.take_calls(UNREGISTER)), [A0, A0, A1, A1, B0, B0]);
    assert_eq!(end().await, Vec::<String>::new(), "no loop goes on");
    assert_eq!(instance.tasks().running(), Vec::<String>::new());
    assert_eq!(instance.join_producer("p").unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_heartbeat_on_its_way_arrives_before_the_farewell() {
    let stage = Stage::new(|_| {});
    stage.instance.refresh_route("T").await.unwrap();
    stage.instance.join(Counter::new("g")).unwrap();
    let slow = Arc::new(tokio::sync::Notify::new());
    *stage.cluster.slow_heartbeats.lock() = Some(Arc::clone(&slow));
    let arrive = async {
        settle().await;
        assert!(stage.cluster.last(UNREGISTER).is_none());
        slow.notify_waiters();
    };
    tokio::join!(stage.instance.heartbeat(), stage.instance.leave("g"), arrive);
    let codes: Vec<i32> = stage.cluster.calls.lock().iter().map(|c| c.request.code).collect();
    assert_eq!(codes[codes.len() - 6..], [[HEARTBEAT; 3], [UNREGISTER; 3]].concat());
}

#[tokio::test]
async fn an_address_without_a_route_is_dropped_with_its_connection() {
    let stage = Stage::new(|_| {});
    stage.instance.join(Counter::new("g")).unwrap();
    stage.clock.advance(Duration::from_secs(2)).await;
    stage.cluster.routes.lock().insert("T".into(), route(2, &[("broker-b", &[(0, B0)])]));
    stage.clock.advance(Duration::from_secs(60)).await;
    assert_eq!(*stage.cluster.disconnected.lock(), [A0, A1]);
    let version = |at: &str| stage.instance.brokers().version(&at.parse().unwrap());
    assert_eq!((version(A0), version(B0)), (0, 513), "who comes there may be another release");
    stage.cluster.take_calls(HEARTBEAT);
    stage.instance.heartbeat().await;
    assert_eq!(stage.cluster.take_calls(HEARTBEAT), [B0]);
}

#[tokio::test]
async fn an_instance_needs_name_servers() {
    let config = ClientConfig { namesrv: vec!["nonsense".into()], ..ClientConfig::default() };
    let error = ClientInstance::start(World::system(), config, false).await.unwrap_err();
    assert!(error.to_string().contains("namesrvAddr"), "{error}");
    let nobody = ClientConfig { namesrv: Vec::new(), ..ClientConfig::default() };
    let error = ClientInstance::start(World::system(), nobody, false).await.unwrap_err();
    assert!(matches!(error, ClientError::NoNameServer), "{error}");
}

#[tokio::test]
async fn an_instance_starts_before_any_server_can_be_reached() {
    let config = ClientConfig::new("127.0.0.1:1");
    let instance = ClientInstance::start(World::system(), config, false).await.unwrap();
    assert_eq!(instance.refresh_route("T").await.unwrap_err().kind(), ErrorKind::Retry);
    assert_eq!(instance.shutdown(Duration::from_secs(5)).await, Vec::<String>::new());
}

#[tokio::test]
async fn questions_have_the_time_limits_of_java() {
    let stage = Stage::new(|_| {});
    let (instance, brokers) = (&stage.instance, stage.instance.brokers());
    let ends = [
        request_code::GET_MAX_OFFSET,
        request_code::GET_MIN_OFFSET,
        request_code::SEARCH_OFFSET_BY_TIMESTAMP,
    ];
    for code in ends {
        stage.cluster.script(code, refusal(0).with_field("offset", "9"));
    }
    let queue = MessageQueue::new("T", "broker-a", 0);
    instance.join(Counter::new("g")).unwrap();
    instance.refresh_route("T").await.unwrap();
    instance.heartbeat().await;
    instance.consumer_ids("T", "g").await;
    brokers.max_offset(&queue).await.unwrap();
    brokers.min_offset(&queue).await.unwrap();
    brokers.search_offset(&queue, Timestamp(1), Boundary::Lower).await.unwrap();
    brokers.query_offset("g", &queue).await.unwrap();
    brokers.lock_queues("g", "broker-a", &[queue]).await.unwrap();
    instance.leave("g").await;
    for (code, seconds) in [
        (request_code::GET_ROUTEINFO_BY_TOPIC, 3),
        (HEARTBEAT, 3),
        (request_code::GET_CONSUMER_LIST_BY_GROUP, 3),
        (UNREGISTER, 3),
        (request_code::QUERY_CONSUMER_OFFSET, 5),
        (request_code::LOCK_BATCH_MQ, 1),
    ]
    .into_iter()
    .chain(ends.map(|code| (code, 6)))
    {
        assert_eq!(stage.cluster.last_timeout(code), Some(Duration::from_secs(seconds)), "{code}");
    }
}

/// M81.
#[tokio::test]
async fn a_member_that_panics_does_not_keep_the_others_from_being_balanced() {
    struct Broken(Arc<Counter>);
    #[async_trait::async_trait]
    impl GroupMember for Broken {
        fn group(&self) -> &str {
            "a-broken-one"
        }
        fn heartbeat(&self) -> MemberHeartbeat {
            self.0.heartbeat()
        }
        fn topics(&self) -> Vec<CompactString> {
            Vec::new()
        }
        async fn rebalance(&self) -> bool {
            panic!("on purpose");
        }
        async fn persist_offsets(&self) {
            panic!("on purpose");
        }
        async fn command(&self, _: MemberCommand) -> MemberReply {
            MemberReply::Unsupported
        }
    }
    let stage = Stage::new(|_| {});
    let member = Counter::new("g");
    stage.instance.join(Arc::new(Broken(Counter::new("other")))).unwrap();
    stage.instance.join(member.clone()).unwrap();
    stage.instance.rebalance_soon();
    settle().await;
    assert_eq!(*member.runs.lock(), 1);
    stage.clock.advance(Duration::from_secs(15)).await;
    assert!(*member.persisted.lock() >= 1);
}
