//! Pulls, held pulls, progress.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use rmq_broker::Broker;
use rmq_message::subscription::Subscription;
use rmq_message::{Timestamp, sys_flag};
use rmq_remoting::protocol::heartbeat::ConsumeType;
use rmq_remoting::protocol::heartbeat::{ConsumerGroup, Heartbeat};
use rmq_remoting::protocol::offset::{
    CloneGroupOffset, MaxOffset, QueryConsumerOffset, ResetOffset, SearchOffset,
    UpdateConsumerOffset,
};
use rmq_remoting::protocol::pull::{PullMessage, PullResponse};
use rmq_remoting::protocol::topic::DeleteTopic;
use rmq_remoting::{
    Invoker, LocalInvoker, Peer, Processor, RemotingCommand, Reply, TypedRequest, response_code,
};

use crate::fixture::{Fixture, WAIT, ask, bodies, config, header, payload, pull};

fn held<'a>(topic: &'a str, queue_id: i32, offset: i64) -> PullMessage<'a> {
    let base = pull(topic, queue_id, offset);
    PullMessage { sys_flag: base.sys_flag | sys_flag::pull::SUSPEND, ..base }
}

fn query(topic: &str) -> QueryConsumerOffset {
    QueryConsumerOffset {
        consumer_group: "GC".into(),
        topic: topic.into(),
        queue_id: 0,
        set_zero_if_not_found: None,
    }
}

fn update(offset: i64) -> UpdateConsumerOffset {
    UpdateConsumerOffset {
        consumer_group: "GC".into(),
        topic: "Orders".into(),
        queue_id: 0,
        commit_offset: offset,
    }
}

#[tokio::test]
async fn a_held_pull_is_answered_by_the_message_it_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "old", "").await;
    let waiting = fixture.ask(held("Orders", 0, 1).to_command());
    let sending = fixture.send("Orders", "new", "");
    let (found, _) = tokio::join!(waiting, sending);
    assert_eq!(found.code, response_code::SUCCESS, "{:?}", found.remark);
    assert_eq!(bodies(&found), ["new"]);
    let response: PullResponse = payload(&found);
    assert_eq!((response.next_begin_offset, response.max_offset), (2, 2));
    fixture.stop().await;
}

/// A broker that stores a message after each look at a queue, before the pull is held.
struct Between {
    broker: Arc<Broker>,
    sender: Arc<LocalInvoker>,
}

impl Processor for Between {
    fn process(&self, peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        let Reply::Later(held) = self.broker.process(peer, request) else { panic!("not held") };
        let sender = Arc::clone(&self.sender);
        Reply::Later(Box::pin(async move {
            ask(&*sender, header("Orders", "").to_command("new".into())).await;
            held.now_or_never().expect("it looks once more before it waits")
        }))
    }
}

#[tokio::test]
async fn what_comes_between_a_look_and_its_hold_is_found_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "old", "").await;
    let sender = Arc::new(fixture.connect());
    let between = Between { broker: Arc::clone(&fixture.broker), sender };
    let invoker = LocalInvoker::new(Arc::new(between), Arc::clone(&fixture.world.clock));
    assert_eq!(bodies(&ask(&invoker, held("Orders", 0, 1).to_command()).await), ["new"]);
    drop(invoker);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_arrival_falls_between_a_look_and_its_hold() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Arc::new(Fixture::start(config(dir.path())));
    fixture.send("Orders", "first", "").await;
    let other = fixture.connect();
    let tasks = fixture.tasks.child("sender");
    for round in 0..200 {
        let sender = Arc::clone(&fixture);
        tasks.spawn("send", rmq_runtime::OnFailure::Unhealthy, async move {
            sender.send("Orders", "x", "").await;
        });
        // Far below the slow sweep: only an arrival can end it in time.
        let begun = fixture.world.clock.monotonic();
        let found = ask(&other, held("Orders", 0, round + 1).to_command()).await;
        assert_eq!(found.code, response_code::SUCCESS, "{round}: {:?}", found.remark);
        let took = fixture.world.clock.monotonic().since(begun);
        assert!(took < Duration::from_secs(4), "{round}: {took:?}");
    }
    tasks.stop(&*fixture.world.clock, WAIT).await;
    drop(other);
    Arc::into_inner(fixture).unwrap().stop().await;
}

#[tokio::test]
async fn a_held_pull_passes_over_what_it_does_not_want_and_says_so_at_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "old", "").await;
    let wants = PullMessage {
        subscription: Some("tagA"),
        suspend_timeout_millis: 300,
        ..held("Orders", 0, 1)
    };
    let waiting = fixture.ask(wants.to_command());
    let sending = async {
        fixture.send("Orders", "other", "TAGS\u{1}tagB\u{2}").await;
    };
    let (ended, ()) = tokio::join!(waiting, sending);
    assert_eq!(ended.code, response_code::PULL_RETRY_IMMEDIATELY);
    assert_eq!(payload::<PullResponse>(&ended).next_begin_offset, 2);

    let wants = PullMessage { queue_offset: 2, suspend_timeout_millis: 15_000, ..wants };
    let sending = async {
        fixture.send("Orders", "other", "TAGS\u{1}tagB\u{2}").await;
        fixture.send("Orders", "wanted", "TAGS\u{1}tagA\u{2}").await;
    };
    let (found, ()) = tokio::join!(fixture.ask(wants.to_command()), sending);
    assert_eq!(bodies(&found), ["wanted"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_hold_ends_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "old", "").await;
    let begun = fixture.world.clock.monotonic();
    let wants = PullMessage { suspend_timeout_millis: 200, ..held("Orders", 0, 1) };
    let ended = fixture.ask(wants.to_command()).await;
    let took = fixture.world.clock.monotonic().since(begun);
    assert_eq!((ended.code, ended.remark()), (19, "OFFSET_OVERFLOW_ONE"));
    assert!(took >= Duration::from_millis(200) && took < Duration::from_secs(3), "{took:?}");
    // Who does not ask for it is not held at all, whatever time is named.
    let flags = wants.sys_flag & !sys_flag::pull::SUSPEND;
    let wants = PullMessage { sys_flag: flags, suspend_timeout_millis: 15_000, ..wants };
    let ended = fixture.ask(wants.to_command()).now_or_never().unwrap();
    assert_eq!((ended.code, ended.remark()), (19, "OFFSET_OVERFLOW_ONE"));
    fixture.stop().await;
}

#[tokio::test]
async fn closing_and_deleting_answer_held_pulls() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "old", "").await;
    fixture.send("Gone", "old", "").await;
    let wants = held("Gone", 0, 1);
    let delete = DeleteTopic { topic: "Gone".into() };
    let (ended, ()) = tokio::join!(fixture.ask(wants.to_command()), fixture.call(&delete));
    assert_eq!(ended.code, response_code::TOPIC_NOT_EXIST);
    let closing = async { fixture.broker.release_holds() };
    let (ended, ()) = tokio::join!(fixture.ask(held("Orders", 0, 1).to_command()), closing);
    assert_eq!(ended.code, response_code::PULL_NOT_FOUND);
    // Nothing is held any more.
    let ended = fixture.ask(held("Orders", 0, 1).to_command()).now_or_never();
    assert_eq!(ended.unwrap().code, response_code::PULL_NOT_FOUND);
    fixture.stop().await;
}

#[tokio::test]
async fn many_pulls_wait_for_one_queue() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "old", "").await;
    let request = held("Orders", 0, 1).to_command();
    let waiting = join_all((0..100).map(|_| fixture.ask(request.clone())));
    let (found, _) = tokio::join!(waiting, fixture.send("Orders", "new", ""));
    assert!(found.iter().all(|answer| bodies(answer) == ["new"]));
    fixture.stop().await;
}

#[tokio::test]
async fn progress_rides_on_pulls_and_is_kept_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for number in 0..5 {
        fixture.send("Orders", &format!("{number}"), "").await;
    }
    // A new group on a young queue begins at its beginning.
    assert_eq!(fixture.call(&query("Orders")).await.offset, 0);
    let base = pull("Orders", 0, 2);
    let commits = PullMessage {
        sys_flag: base.sys_flag | sys_flag::pull::COMMIT_OFFSET,
        commit_offset: 2,
        ..base
    };
    assert_eq!(bodies(&fixture.ask(commits.to_command()).await), ["2", "3", "4"]);
    assert_eq!(fixture.call(&query("Orders")).await.offset, 2);
    let stale = PullMessage { commit_offset: 1, ..commits };
    fixture.ask(stale.to_command()).await;
    assert_eq!(fixture.call(&query("Orders")).await.offset, 2);
    // Also when the pull itself finds nothing and waits.
    let waits = PullMessage {
        queue_offset: 5,
        sys_flag: commits.sys_flag | sys_flag::pull::SUSPEND,
        suspend_timeout_millis: 50,
        commit_offset: 3,
        ..commits
    };
    assert_eq!(fixture.ask(waits.to_command()).await.code, response_code::PULL_NOT_FOUND);
    assert_eq!(fixture.call(&query("Orders")).await.offset, 3);
    fixture.call(&update(4)).await;
    fixture.stop().await;

    let fixture = Fixture::start(config(dir.path()));
    assert_eq!(fixture.call(&query("Orders")).await.offset, 4);
    assert_eq!(bodies(&fixture.pull("Orders", 0, 4).await), ["4"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_reset_is_told_once_and_voids_older_commits() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for number in 0..5 {
        fixture.send("Orders", &format!("{number}"), "").await;
    }
    fixture.pull("Orders", 0, 5).await;
    fixture.call(&update(5)).await;
    let reset = ResetOffset {
        topic: "Orders".into(),
        group: "GC".into(),
        queue_id: 0,
        offset: Some(1),
        timestamp: 0,
        is_force: true,
    };
    // A pull that waits at the end learns it at once.
    let waiting = fixture.ask(held("Orders", 0, 5).to_command());
    let (told, body) = tokio::join!(waiting, fixture.call(&reset));
    assert_eq!(body.offset_table.values().copied().collect::<Vec<_>>(), [1]);
    assert_eq!((told.code, told.remark()), (response_code::PULL_OFFSET_MOVED, "OFFSET_RESET"));
    assert_eq!(payload::<PullResponse>(&told).next_begin_offset, 1);

    fixture.call(&reset).await;
    let void = fixture.ask(update(5).to_command()).await;
    assert_eq!((void.code, void.remark()), (0, "Offset has been previously reset"));
    assert_eq!(fixture.call(&query("Orders")).await.offset, 1);
    // Nor does what rides on the pull that is told.
    let base = pull("Orders", 0, 5);
    let rides = PullMessage {
        sys_flag: base.sys_flag | sys_flag::pull::COMMIT_OFFSET,
        commit_offset: 5,
        ..base
    };
    assert_eq!(fixture.ask(rides.to_command()).await.remark(), "OFFSET_RESET");
    assert_eq!(fixture.call(&query("Orders")).await.offset, 1);
    let out = ResetOffset { offset: Some(9), ..reset.clone() };
    let refused = fixture.ask(out.to_command()).await;
    assert_eq!(refused.remark(), "Target offset 9 not in consume queue range [0-5]");
    let end = ResetOffset { queue_id: -1, offset: None, timestamp: -1, ..reset };
    let body = fixture.call(&end).await;
    assert_eq!(body.offset_table.values().copied().collect::<Vec<_>>(), [5, 0, 0, 0]);
    fixture.stop().await;
}

#[tokio::test]
async fn positions_of_what_is_not_there_are_zero() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let max = MaxOffset { topic: "None".into(), queue_id: 3, committed: None };
    assert_eq!(fixture.call(&max).await.offset, 0);
    let search = SearchOffset { topic: "None".into(), queue_id: 3, timestamp: 5, boundary: None };
    assert_eq!(fixture.call(&search).await.offset, 0);
    assert_eq!(fixture.ask(query("None").to_command()).await.code, 22);
    for queue_id in [i32::MIN, -1, i32::MAX] {
        let pull = fixture.pull("TBW102", queue_id, i64::MAX).await;
        assert_eq!(pull.code, response_code::INVALID_PARAMETER);
    }
    fixture.stop().await;
}

fn member(tags: &str, version: i64) -> Heartbeat {
    let subscription = Subscription::tags("Orders", tags, Timestamp(version)).unwrap();
    Heartbeat {
        client_id: "c".into(),
        consumer_data_set: vec![ConsumerGroup {
            group_name: "GC".into(),
            subscription_data_set: vec![(&subscription).into()],
            ..ConsumerGroup::default()
        }],
        ..Heartbeat::default()
    }
}

#[tokio::test]
async fn a_member_is_filtered_by_its_own_subscription() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "a", "TAGS\u{1}tagA\u{2}").await;
    fixture.send("Orders", "b", "TAGS\u{1}tagB\u{2}").await;
    let (one, two) = (fixture.connect(), fixture.connect());
    ask(&one, member("tagA", 5).to_command()).await;
    ask(&two, member("tagB", 9).to_command()).await;
    let registered = PullMessage { sys_flag: 0, subscription: None, ..pull("Orders", 0, 0) };
    let mut request = PullMessage { sub_version: 5, ..registered };
    assert_eq!(bodies(&ask(&one, request.to_command()).await), ["a"]);
    assert_eq!(bodies(&ask(&two, request.to_command()).await), ["b"]);
    // A newer version than the heartbeat's is taken when the pull brings it.
    request.sub_version = 7;
    assert_eq!(ask(&one, request.to_command()).await.code, 25);
    request.subscription = Some("tagA || tagB");
    assert_eq!(bodies(&ask(&one, request.to_command()).await), ["a", "b"]);
    request.subscription = None;
    assert_eq!(bodies(&ask(&one, request.to_command()).await), ["a", "b"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_member_that_gets_everything_need_not_wait_for_its_newer_subscription_to_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "a", "TAGS\u{1}tagA\u{2}").await;
    for (expression, pulled) in [("*", 0), ("tagA", 25)] {
        let member = fixture.connect();
        let subscription = Subscription::tags("Orders", expression, Timestamp(1)).unwrap();
        let group = ConsumerGroup {
            group_name: "GC".into(),
            subscription_data_set: vec![(&subscription).into()],
            ..ConsumerGroup::default()
        };
        let beat = Heartbeat {
            client_id: expression.into(),
            consumer_data_set: vec![group],
            ..Heartbeat::default()
        };
        assert_eq!(ask(&member, beat.to_command()).await.code, 0);
        let newer = PullMessage { sys_flag: 0, sub_version: 2, ..pull("Orders", 0, 0) };
        let newer = PullMessage { subscription: None, ..newer };
        assert_eq!(ask(&member, newer.to_command()).await.code, pulled, "{expression}");
        let sql = PullMessage { expression_type: Some("SQL92"), ..newer };
        assert_eq!(ask(&member, sql.to_command()).await.code, 25, "{expression}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn filters_that_are_not_served_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "a", "").await;
    let sql = PullMessage {
        subscription: Some("a = 1"),
        expression_type: Some("SQL92"),
        ..pull("Orders", 0, 0)
    };
    let refused = fixture.ask(sql.to_command()).await;
    assert_eq!(
        (refused.code, refused.remark()),
        (1, "The broker does not support consumer to filter message by SQL92")
    );
    let empty = PullMessage { subscription: Some("||"), ..pull("Orders", 0, 0) };
    assert_eq!(fixture.ask(empty.to_command()).await.code, 23);
    fixture.stop().await;
}

#[tokio::test]
async fn a_condition_over_properties_chooses_among_messages_also_while_a_pull_is_held() {
    let dir = tempfile::tempdir().unwrap();
    let config = rmq_broker::BrokerConfig { enable_property_filter: true, ..config(dir.path()) };
    let fixture = Fixture::start(config);
    for size in 1..=4 {
        fixture.send("Orders", &size.to_string(), &format!("size\u{1}{size}\u{2}")).await;
    }
    let sql = PullMessage {
        subscription: Some("size > 2 AND missing IS NULL"),
        expression_type: Some("SQL92"),
        ..held("Orders", 0, 0)
    };
    assert_eq!(bodies(&fixture.ask(sql.to_command()).await), ["3", "4"]);

    let waiting = PullMessage { queue_offset: 4, ..sql };
    let sending = async {
        fixture.send("Orders", "small", "size\u{1}1\u{2}").await;
        fixture.send("Orders", "large", "size\u{1}7\u{2}").await;
    };
    let (found, ()) = tokio::join!(fixture.ask(waiting.to_command()), sending);
    assert_eq!(bodies(&found), ["large"]);

    // As Apache: what a pull brings and does not compile lets everything pass.
    let wrong = PullMessage { subscription: Some("size >"), ..sql };
    assert_eq!(bodies(&fixture.ask(wrong.to_command()).await).len(), 6);
    fixture.stop().await;
}

#[tokio::test]
async fn a_member_whose_condition_does_not_compile_is_told_before_and_when_it_pulls() {
    let dir = tempfile::tempdir().unwrap();
    let config = rmq_broker::BrokerConfig { enable_property_filter: true, ..config(dir.path()) };
    let fixture = Fixture::start(config);
    fixture.send("Orders", "a", "size\u{1}3\u{2}").await;
    let subscription = |text: &str| Subscription::sql("Orders", text, Timestamp(1)).unwrap();
    for (text, checked, pulled) in [("size = 3", 0, 0), ("size = NULL", 23, 27)] {
        let check = rmq_remoting::protocol::heartbeat::CheckClientConfig {
            client_id: "c".into(),
            group: "GC".into(),
            subscription_data: (&subscription(text)).into(),
            namespace: None,
        };
        assert_eq!(fixture.ask(check.to_command()).await.code, checked, "{text}");
        let member = fixture.connect();
        let group = ConsumerGroup {
            group_name: "GC".into(),
            subscription_data_set: vec![(&subscription(text)).into()],
            ..ConsumerGroup::default()
        };
        let beat = Heartbeat {
            client_id: "c".into(),
            consumer_data_set: vec![group],
            ..Heartbeat::default()
        };
        assert_eq!(ask(&member, beat.to_command()).await.code, 0);
        let as_member = PullMessage { sys_flag: 0, sub_version: 1, ..pull("Orders", 0, 0) };
        assert_eq!(ask(&member, as_member.to_command()).await.code, pulled, "{text}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_deleted_topic_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.send("Orders", "old", "").await;
    fixture.pull("Orders", 0, 0).await;
    fixture.call(&update(1)).await;
    fixture.call(&DeleteTopic { topic: "Orders".into() }).await;
    assert_eq!(fixture.pull("Orders", 0, 0).await.code, response_code::TOPIC_NOT_EXIST);
    fixture.send("Orders", "new", "").await;
    assert_eq!(bodies(&fixture.pull("Orders", 0, 0).await), ["new"]);
    assert_eq!(fixture.call(&query("Orders")).await.offset, 0);
    fixture.stop().await;
}

#[tokio::test]
async fn progress_is_copied_to_another_group() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    fixture.ask(header("Orders", "").to_command("x".into())).await;
    for group in ["GC", "Other"] {
        let pull = PullMessage { consumer_group: group, ..pull("Orders", 0, 0) };
        fixture.ask(pull.to_command()).await;
    }
    fixture.call(&update(1)).await;
    let copy = CloneGroupOffset {
        src_group: "GC".into(),
        dest_group: "Other".into(),
        topic: Some("Orders".into()),
        offline: true,
    };
    fixture.call(&copy).await;
    let other = QueryConsumerOffset { consumer_group: "Other".into(), ..query("Orders") };
    assert_eq!(fixture.call(&other).await.offset, 1);
    fixture.stop().await;
}

#[tokio::test]
async fn what_members_say_by_the_way_sets_back_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for body in ["0", "1", "2", "3", "4", "5"] {
        fixture.send("Orders", body, "").await;
    }
    let committed = async |of: i64| {
        assert_eq!(fixture.call(&query("Orders")).await.offset, of);
    };
    fixture.pull("Orders", 0, 0).await;
    fixture.call(&update(5)).await;
    // Nobody consumes: whoever says so may go back.
    fixture.oneway(update(4).to_command().oneway()).await;
    committed(4).await;
    let member = fixture.connect();
    let mut heartbeat = crate::clients::heartbeat("one@1", &["Orders"]);
    heartbeat.consumer_data_set[0].group_name = "GC".into();
    heartbeat.consumer_data_set[0].consume_type = ConsumeType::Push;
    crate::fixture::call(&member, &heartbeat).await;
    let to = crate::fixture::nowhere();
    member.oneway(&to, update(3).to_command().oneway(), WAIT).await.unwrap();
    fixture.oneway(update(3).to_command().oneway()).await;
    committed(4).await;
    member.oneway(&to, update(5).to_command().oneway(), WAIT).await.unwrap();
    committed(5).await;
    // Who waits for an answer means it; so does who finds the queue shorter.
    fixture.call(&update(2)).await;
    committed(2).await;
    fixture.call(&update(60)).await;
    member.oneway(&to, update(6).to_command().oneway(), WAIT).await.unwrap();
    committed(6).await;
    // A pull consumer that is a member goes where it wants.
    heartbeat.consumer_data_set[0].consume_type = ConsumeType::Pull;
    crate::fixture::call(&member, &heartbeat).await;
    member.oneway(&to, update(1).to_command().oneway(), WAIT).await.unwrap();
    committed(1).await;
    fixture.stop().await;
}
