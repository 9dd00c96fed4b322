use rmq_remoting::protocol::register::DataVersion;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Monotonic {
    Monotonic(Duration::from_secs(seconds))
}

fn topics(counter: i64, names: &[&str]) -> TopicConfigs {
    let config = |name: &&str| TopicConfig { topic_name: (*name).into(), ..TopicConfig::default() };
    TopicConfigs {
        data_version: DataVersion { counter, ..DataVersion::default() },
        topic_config_table: names.iter().map(|name| ((*name).into(), config(name))).collect(),
        ..TopicConfigs::default()
    }
}

/// Replica `id` of broker `a` at `a<id>:1` on connection 10 + `id`, with topics `A` and `B`.
fn replica(id: i64) -> Registration {
    Registration {
        cluster: "c".into(),
        broker: "a".into(),
        address: format!("a{id}:1").into(),
        id,
        ha_address: format!("a{id}:2").into(),
        zone: None,
        timeout: MINUTE,
        acting_master: None,
        topics: topics(1, &["A", "B"]),
        connection: 10 + u64::try_from(id).unwrap(),
    }
}

fn acting(id: i64) -> Registration {
    Registration { acting_master: Some(true), ..replica(id) }
}

fn table(registrations: impl IntoIterator<Item = Registration>) -> RouteTable {
    let mut table = RouteTable::default();
    for registration in registrations {
        register(&mut table, registration);
    }
    table
}

fn register(table: &mut RouteTable, registration: Registration) -> Registered {
    table.register(registration, RegisterRules::default(), at(0)).unwrap()
}

fn perm_of(table: &RouteTable, topic: &str) -> i32 {
    table.route(topic, false).unwrap().queue_datas[0].perm
}

fn addresses(table: &RouteTable) -> Vec<(i64, String)> {
    let group = table.group("c", "a").broker_addrs;
    group.into_iter().map(|(id, address)| (id, address.into())).collect()
}

#[test]
fn registered_broker_is_in_the_route_and_the_cluster() {
    let table = table([replica(0), replica(1)]);
    let route = table.route("A", false).unwrap();
    assert_eq!(route.queue_datas.len(), 1);
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "a0:1");
    assert_eq!(route.broker_datas[0].broker_addrs[&1], "a1:1");
    assert_eq!(table.route("nope", false), None);
    assert!(table.clusters().cluster_addr_table["c"].contains("a"));
    assert_eq!(table.system_topics().topic_list, ["c", "a"]);
    assert_eq!(table.topics_of_cluster("c").topic_list, ["A", "B"]);
    assert!(table.topics_of_cluster("d").topic_list.is_empty());
}

#[test]
fn first_registration_with_one_topic_leaves_nothing_behind() {
    let mut table = RouteTable::default();
    let one = Registration { topics: topics(1, &["A"]), ..replica(0) };
    let refused = table.register(one.clone(), RegisterRules::default(), at(0));
    assert_eq!(refused, Err(RegisterError::OneTopic));
    assert_eq!(table.clusters(), RouteTable::default().clusters());
    register(&mut table, Registration { topics: topics(1, &[]), ..replica(0) });
    register(&mut table, one);
    assert!(table.route("A", false).is_some());
}

#[test]
fn refused_registrations_say_why_and_change_nothing() {
    let long = "x".repeat(256);
    let cases = [
        (Registration { broker: "".into(), ..replica(0) }, RegisterError::Name),
        (Registration { address: long.as_str().into(), ..replica(0) }, RegisterError::Name),
        (Registration { id: -1, ..replica(0) }, RegisterError::Name),
        (Registration { topics: topics(1, &["A", &long]), ..replica(0) }, RegisterError::Name),
    ];
    for (registration, error) in cases {
        let mut table = RouteTable::default();
        assert_eq!(table.register(registration, RegisterRules::default(), at(0)), Err(error));
        assert_eq!(table.broker_count() + table.topic_count(), 0);
    }
}

#[test]
fn topics_change_with_the_version_or_when_they_are_missing() {
    let mut table = table([replica(0)]);
    assert_eq!(table.wipe_write("a"), 2);
    assert_eq!(perm_of(&table, "A"), 4);
    register(&mut table, replica(0));
    assert_eq!(perm_of(&table, "A"), 4, "the same version leaves what a tool has set");
    register(&mut table, Registration { topics: topics(1, &["A", "B", "C"]), ..replica(0) });
    assert_eq!((perm_of(&table, "A"), perm_of(&table, "C")), (4, 6));
    register(&mut table, Registration { topics: topics(2, &["A"]), ..replica(0) });
    assert_eq!((perm_of(&table, "A"), perm_of(&table, "B")), (6, 4));
    assert_eq!(table.add_write("a"), 3);
    assert_eq!(perm_of(&table, "B"), 6);
    assert_eq!(table.wipe_write("unknown"), 0);
}

#[test]
fn missing_topics_go_only_where_that_is_wanted() {
    let mut table = table([replica(0)]);
    let fewer = Registration { topics: topics(2, &["A"]), ..replica(0) };
    table.register(fewer.clone(), RegisterRules::default(), at(0)).unwrap();
    assert_eq!(table.topic_count(), 2);
    table.register(fewer, RegisterRules { delete_missing_topics: true }, at(0)).unwrap();
    assert_eq!(table.all_topics().topic_list, ["A"]);
}

#[test]
fn replica_learns_its_master_and_does_not_bring_topics() {
    let mut table = table([replica(0)]);
    let brought = Registration { topics: topics(1, &["A", "X"]), ..replica(1) };
    let registered = register(&mut table, brought);
    assert_eq!(registered.master, Some(("a0:1".into(), "a0:2".into())));
    assert_eq!(table.route("X", false), None);
}

#[test]
fn address_has_one_place() {
    let mut table = table([replica(0), replica(1)]);
    register(&mut table, Registration { address: "a1:1".into(), ..replica(2) });
    assert_eq!(addresses(&table), [(0, "a0:1".to_owned()), (2, "a1:1".to_owned())]);
    register(&mut table, Registration { broker: "b".into(), ..replica(0) });
    assert_eq!(addresses(&table), [(2, "a1:1".to_owned())]);
    assert_eq!(table.group("c", "b").broker_addrs[&0], "a0:1");
}

#[test]
fn another_process_with_an_older_state_does_not_take_the_place() {
    let newer = DataVersion { state_version: 2, ..DataVersion::default() };
    let mut first = replica(0);
    first.topics.data_version = newer;
    let mut table = table([first]);
    register(&mut table, Registration { address: "other:1".into(), ..replica(0) });
    assert_eq!(addresses(&table), [(0, "a0:1".to_owned())]);
    let mut takes_over = Registration { address: "other:1".into(), ..replica(0) };
    takes_over.topics.data_version = newer;
    register(&mut table, takes_over);
    assert_eq!(addresses(&table), [(0, "other:1".to_owned())]);
    assert_eq!(table.broker_count(), 1);
}

#[test]
fn late_farewell_of_a_former_process_changes_nothing() {
    // RS-39
    let mut table = table([replica(0)]);
    register(&mut table, Registration { address: "new:1".into(), connection: 77, ..replica(0) });
    table.unregister("c", "a", "a0:1");
    table.disconnected(10);
    table.expire(at(59));
    assert_eq!(addresses(&table), [(0, "new:1".to_owned())]);
    table.unregister("c", "other name", "new:1");
    assert!(table.route("A", false).is_some());
}

#[test]
fn last_replica_takes_everything_along() {
    let mut table = table([replica(0), replica(1)]);
    table.unregister("c", "a", "a0:1");
    assert!(table.route("A", false).is_some());
    table.unregister("c", "a", "a1:1");
    assert_eq!(table.clusters(), RouteTable::default().clusters());
    assert_eq!(table.broker_count() + table.topic_count(), 0);
}

#[test]
fn silent_brokers_go_after_their_own_time() {
    let quick = Registration { timeout: Duration::from_secs(10), ..replica(1) };
    let mut table = table([replica(0), quick]);
    assert!(table.expire(at(10)).is_empty());
    let gone = table.expire(at(11));
    assert_eq!(gone.len(), 1);
    assert_eq!((gone[0].address.as_str(), gone[0].connection), ("a1:1", 11));
    assert_eq!(table.heard("c", "a0:1", at(60)).map(|version| version.counter), Some(1));
    assert_eq!(table.heard("c", "never:1", at(60)), None);
    assert!(table.expire(at(120)).is_empty());
    assert_eq!(table.expire(at(121)).len(), 1);
}

#[test]
fn connection_takes_its_brokers_along() {
    let mut table = table([replica(0), Registration { connection: 10, ..replica(1) }]);
    assert!(table.disconnected(11).is_empty());
    assert_eq!(table.disconnected(10).len(), 2);
    assert_eq!(table.broker_count(), 0);
}

#[test]
fn lowest_replica_acts_for_a_missing_master() {
    let mut table = table([acting(0), acting(1), acting(2)]);
    assert_eq!(perm_of(&table, "A"), 6);
    let change = table.unregister("c", "a", "a0:1").unwrap();
    assert_eq!((change.id, change.address.as_str()), (1, "a1:1"));
    assert_eq!(change.offline.as_deref(), Some("a0:1"));
    assert_eq!(change.tell, [11, 12]);
    assert_eq!(perm_of(&table, "A"), 4);
    let route = table.route("A", true).unwrap();
    assert_eq!(route.broker_datas[0].broker_addrs[&0], "a1:1");
    assert!(!table.route("A", false).unwrap().broker_datas[0].broker_addrs.contains_key(&0));
    let next = Registration { topics: topics(2, &["A", "New"]), ..acting(1) };
    register(&mut table, next);
    assert_eq!(perm_of(&table, "New"), 4, "the lowest replica brings topics, but not for writing");

    let back = register(&mut table, Registration { topics: topics(3, &["A", "B"]), ..acting(0) });
    let change = back.lowest.unwrap();
    assert_eq!((change.id, change.ha_address.as_deref()), (0, Some("a0:2")));
    assert_eq!(change.tell, [11, 12], "the master knows of itself");
    assert_eq!(perm_of(&table, "A"), 6);
}

#[test]
fn zone_keeps_its_brokers_and_those_without_a_master() {
    let zoned = |broker: &str, id: i64, zone: &str| Registration {
        broker: broker.into(),
        address: format!("{broker}:{id}").into(),
        zone: Some(zone.into()),
        acting_master: Some(true),
        ..replica(id)
    };
    let table = table([zoned("a", 0, "East"), zoned("b", 0, "west"), zoned("d", 1, "west")]);
    let mut route = table.route("A", false).unwrap();
    crate::route_table::keep_zone(&mut route, "EAST");
    let names: Vec<_> = route.broker_datas.iter().map(|b| b.broker_name.as_str()).collect();
    assert_eq!(names, ["a", "d"]);
    assert_eq!(route.queue_datas.len(), 2);
}

#[test]
fn topics_are_added_and_deleted_by_tools() {
    let mut table = table([
        replica(0),
        Registration {
            cluster: "d".into(),
            broker: "b".into(),
            address: "b:1".into(),
            ..replica(0)
        },
    ]);
    let row =
        |broker: &str| BrokerQueues { broker_name: broker.into(), perm: 6, ..Default::default() };
    table.add_topic("T", vec![row("a"), row("unknown")]).unwrap();
    assert_eq!(table.route("T", false), None);
    table.add_topic("T", vec![row("a")]).unwrap();
    assert_eq!(table.route("T", false).unwrap().queue_datas.len(), 1);
    assert_eq!(table.add_topic("", vec![]), Err(RegisterError::Name));
    table.delete_topic("A", Some("d"));
    assert_eq!(table.route("A", false).unwrap().queue_datas.len(), 1);
    table.delete_topic("A", Some("nowhere"));
    table.delete_topic("A", Some("c"));
    table.delete_topic("B", None);
    assert_eq!(table.all_topics().topic_list, ["T"]);
}

#[test]
fn unit_lists_follow_the_flags_of_the_topic() {
    use crate::route_table::UnitList::{Unit, UnitSub, UnitSubUnunit};
    let mut registration = replica(0);
    registration.topics = topics(1, &["none", "unit", "sub", "both"]);
    for (name, flag) in [("unit", 1), ("sub", 2), ("both", 3)] {
        registration.topics.topic_config_table.get_mut(name).unwrap().topic_sys_flag = flag;
    }
    let table = table([registration]);
    assert_eq!(table.unit_topics(Unit).topic_list, ["both", "unit"]);
    assert_eq!(table.unit_topics(UnitSub).topic_list, ["both", "sub"]);
    assert_eq!(table.unit_topics(UnitSubUnunit).topic_list, ["sub"]);
}
