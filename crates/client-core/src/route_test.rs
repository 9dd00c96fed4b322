use futures_util::FutureExt;

use super::*;
use crate::testing::{A0, A1, B0, Stage, route, two_brokers};

const NAMESRV: i32 = rmq_remoting::request_code::GET_ROUTEINFO_BY_TOPIC;

fn texts(queues: &[MessageQueue]) -> Vec<String> {
    queues.iter().map(ToString::to_string).collect()
}

fn table_of(topics: &[(&str, TopicRoute)]) -> Table {
    let mut table = Table::default();
    for (topic, route) in topics {
        table.put(topic, route.clone());
    }
    table
}

#[test]
fn queues_to_write_need_permission_and_a_master() {
    let mut route = two_brokers();
    let entry = |table: &Table| texts(&table.topics["T"].publish.queues);
    let both = ["T/broker-a/0", "T/broker-a/1", "T/broker-b/0", "T/broker-b/1"];
    assert_eq!(entry(&table_of(&[("T", route.clone())])), both);

    route.queue_datas[0].perm = 4;
    assert_eq!(entry(&table_of(&[("T", route.clone())])), both[..2]);

    route.broker_datas[1].broker_addrs.remove(&0);
    let table = table_of(&[("T", route)]);
    assert_eq!(entry(&table), Vec::<String>::new());
    assert_eq!(table.topics["T"].subscribe.len(), 8, "reading needs no master");
}

#[tokio::test]
async fn an_ordered_topic_has_its_own_list() {
    let mut route = two_brokers();
    route.order_topic_conf = Some("broker-b:1;broker-a:2;nonsense;broker-c:99999999".into());
    let stage = Stage::new(|_| {});
    stage.cluster.routes.lock().insert("T".into(), route);
    let publish = stage.instance.publish_queues("T", None).await.unwrap();
    assert!(publish.ordered);
    assert_eq!(texts(&publish.queues[..3]), ["T/broker-b/0", "T/broker-a/0", "T/broker-a/1"]);
    assert_eq!(publish.queues.len(), 3 + 65_536, "a lying count is bounded");
}

#[test]
fn queues_to_read_need_permission_only() {
    let mut route = two_brokers();
    route.queue_datas[1].perm = 2;
    let mut table = table_of(&[("T", route)]);
    let expected: Vec<String> = (0..4).map(|id| format!("T/broker-b/{id}")).collect();
    assert_eq!(texts(&table.topics["T"].subscribe), expected);
    table.put("T", two_brokers());
    assert_eq!(table.topics["T"].subscribe.len(), 8, "a new route replaces what was known");
}

#[test]
fn a_route_in_another_order_is_no_change() {
    let mut table = table_of(&[("T", two_brokers())]);
    let mut turned = two_brokers();
    turned.broker_datas.reverse();
    turned.queue_datas.reverse();
    assert!(!table.put("T", turned.clone()));
    turned.queue_datas[0].write_queue_nums = 8;
    assert!(table.put("T", turned));
}

#[test]
fn the_newest_answer_about_a_broker_wins_whichever_topic_it_was_for() {
    let old = route(2, &[("broker-a", &[(0, "old:1")])]);
    let new = route(2, &[("broker-a", &[(0, "new:1")])]);
    let mut table = table_of(&[("T", new.clone()), ("U", old.clone())]);
    assert_eq!(table.brokers["broker-a"][&0].as_str(), "old:1");
    assert!(table.put("T", new), "an unchanged route still says where the broker is");
    assert_eq!(table.brokers["broker-a"][&0].as_str(), "new:1");
}

#[test]
fn addresses_that_no_route_mentions_are_forgotten() {
    let mut table = table_of(&[("T", two_brokers())]);
    assert_eq!(table.forget_offline(), []);
    table.put("T", route(2, &[("broker-a", &[(0, A0)])]));
    assert_eq!(table.forget_offline(), [B0.parse().unwrap()]);
    assert!(!table.brokers.contains_key("broker-b"));
    assert_eq!(table.brokers["broker-a"].len(), 1);
}

#[tokio::test]
async fn replicas_are_found_by_id_then_the_next_then_any() {
    let stage = Stage::new(|_| {});
    stage.cluster.routes.lock().insert(
        "T".into(),
        route(2, &[("broker-a", &[(0, A0), (2, A1)]), ("broker-b", &[(3, B0)])]),
    );
    assert!(stage.instance.refresh_route("T").await.unwrap());
    let engine = stage.instance.engine_for_tests();
    let find = |name, id, only| {
        let found = engine.routes.replica(name, id, only);
        found.map(|replica| (replica.address.to_string(), replica.is_master()))
    };
    assert_eq!(find("broker-a", 0, true), Some((A0.into(), true)));
    assert_eq!(find("broker-a", 1, true), Some((A1.into(), false)));
    assert_eq!(find("broker-a", 7, true), None);
    assert_eq!(find("broker-a", 7, false), Some((A0.into(), true)));
    assert_eq!(find("broker-b", 0, true), None);
    assert_eq!(find("broker-b", 0, false), Some((B0.into(), false)));
    assert_eq!(find("broker-c", 0, false), None);
}

#[tokio::test]
async fn any_broker_of_a_topic_may_be_asked_and_its_master_before_its_replicas() {
    let stage = Stage::new(|_| {});
    let routes = &stage.instance.engine_for_tests().routes;
    assert_eq!(routes.any_broker_of("T"), None);
    stage.instance.refresh_route("T").await.unwrap();
    let drawn: BTreeSet<_> =
        (0..200).filter_map(|_| routes.any_broker_of("T")).map(|at| at.to_string()).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [A0, B0]);
    stage.cluster.routes.lock().insert("T".into(), route(2, &[("broker-a", &[(1, A1)])]));
    stage.instance.refresh_route("T").await.unwrap();
    assert_eq!(routes.any_broker_of("T").unwrap().as_str(), A1);
}

#[tokio::test]
async fn the_next_name_server_is_asked_when_one_fails_and_stays_chosen() {
    let stage = Stage::new(|_| {});
    stage.instance.refresh_route("T").await.unwrap();
    let [first] = &stage.cluster.take_calls(NAMESRV)[..] else { panic!("one is asked") };
    let other = if first == "ns1:9876" { "ns2:9876" } else { "ns1:9876" };
    stage.cluster.down.lock().insert(first.clone());
    stage.instance.refresh_route("T").await.unwrap();
    assert_eq!(stage.cluster.take_calls(NAMESRV), [first, other]);
    stage.instance.refresh_route("T").await.unwrap();
    assert_eq!(stage.cluster.take_calls(NAMESRV), [other], "sticky");

    stage.cluster.down.lock().insert(other.into());
    let error = stage.instance.refresh_route("T").await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (crate::ErrorKind::Retry, 10_001));
    stage.cluster.down.lock().clear();
    let error = stage.instance.refresh_route("Missing").await.unwrap_err();
    assert_eq!(error.to_string().split(';').next(), Some("No route info of this topic: Missing"));
}

#[tokio::test]
async fn a_topic_that_is_not_there_borrows_the_template_until_it_is() {
    let stage = Stage::new(|_| {});
    let missing = stage.instance.publish_queues("New", None).await.unwrap_err();
    assert!(matches!(missing, ClientError::NoRoute { .. }));
    let missing = stage.instance.publish_queues("New", Some(4)).await.unwrap_err();
    assert!(matches!(missing, ClientError::NoRoute { topic } if topic == "New"));

    let template = route(8, &[("broker-a", &[(0, A0)])]);
    stage.cluster.routes.lock().insert("TBW102".into(), template);
    let route = stage.instance.publish_queues("New", Some(3)).await.unwrap();
    assert_eq!(texts(&route.queues), ["New/broker-a/0", "New/broker-a/1", "New/broker-a/2"]);

    stage.cluster.routes.lock().insert("New".into(), two_brokers());
    stage.clock.advance(Duration::from_secs(31)).await;
    let route = stage.instance.publish_queues("New", Some(3)).await.unwrap();
    assert_eq!(route.queues.len(), 4, "the refresh has found the true route");
}

#[tokio::test]
async fn a_topic_without_writable_queues_does_not_borrow_the_template() {
    let stage = Stage::new(|_| {});
    let mut closed = two_brokers();
    closed.queue_datas.iter_mut().for_each(|queues| queues.perm = 4);
    stage.cluster.routes.lock().insert("T".into(), closed);
    stage.cluster.routes.lock().insert("TBW102".into(), two_brokers());
    assert!(stage.instance.publish_queues("T", Some(4)).await.is_err());
}

/// M83, M90, M193.
#[tokio::test]
async fn a_refresh_that_would_wait_for_three_seconds_gives_up_without_an_answer() {
    let stage = Stage::new(|_| {});
    let routes = &stage.instance.engine_for_tests().routes;
    let others = routes.refreshing.lock().await;
    let mut refresh = Box::pin(routes.refresh("T"));
    assert!((&mut refresh).now_or_never().is_none());
    stage.clock.advance(Duration::from_millis(2900)).await;
    assert!((&mut refresh).now_or_never().is_none(), "it still waits");
    stage.clock.advance(Duration::from_millis(100)).await;
    let given_up = refresh.now_or_never().expect("three seconds are over");
    assert!(!given_up.unwrap());
    drop(others);
    assert!(routes.refresh("T").await.unwrap());
    assert!(!routes.refresh("T").await.unwrap(), "nothing is new");
}
