use std::sync::Arc;

use rmq_runtime::World;

use super::*;

const NOW: Timestamp = Timestamp(1_000_000_000);
const DAY: i64 = 86_400_000;

fn wants(topic: &str, expression: &str, version: i64) -> TopicSubscription {
    TopicSubscription {
        topic: topic.into(),
        expression_type: if expression.contains('>') { "SQL92" } else { "TAG" }.into(),
        sub_string: expression.into(),
        sub_version: version,
        ..TopicSubscription::default()
    }
}

fn row(table: &FilterTable, group: &str, topic: &str) -> Option<Row> {
    table.groups.read().get(group)?.get(topic).cloned()
}

fn expression(table: &FilterTable) -> Option<CompactString> {
    row(table, "g", "T").map(|row| row.expression)
}

#[test]
fn only_conditions_that_compile_are_kept() {
    let table = FilterTable::default();
    let all = [wants("T", "a > 1", 1), wants("U", "tag", 1), wants("V", "a > > 1", 1)];
    table.subscribed("g", &all, NOW);
    assert_eq!(expression(&table).as_deref(), Some("a > 1"));
    assert_eq!((row(&table, "g", "U"), row(&table, "g", "V")), (None, None));
}

#[test]
fn a_newer_version_replaces_and_an_older_one_does_not() {
    let table = FilterTable::default();
    for (wanted, version, kept) in [
        ("a > 1", 5, Some("a > 1")),
        ("a > 2", 4, Some("a > 1")),
        ("a > 2", 5, Some("a > 1")),
        ("a > 2", 6, Some("a > 2")),
        ("a > > 2", 7, None),
    ] {
        table.subscribed("g", &[wants("T", wanted, version)], NOW);
        assert_eq!(expression(&table).as_deref(), kept, "{wanted} {version}");
    }
}

#[test]
fn a_group_that_left_is_forgotten_after_a_day_unless_it_comes_back() {
    let table = FilterTable::default();
    let all = [wants("T", "a > 1", 1), wants("U", "a > 1", 1)];
    table.subscribed("g", &all, NOW);
    // One topic is not wanted any more, then nobody is there.
    table.subscribed("g", &all[..1], NOW);
    assert_eq!(row(&table, "g", "U").unwrap().dead_time, NOW.0);
    assert_eq!(row(&table, "g", "T").unwrap().dead_time, 0);
    table.left("g", NOW + 10);
    table.expire(NOW + (DAY - 1));
    assert!(row(&table, "g", "U").is_some());
    table.expire(NOW + DAY);
    assert_eq!(row(&table, "g", "U"), None);
    table.subscribed("g", &all[..1], NOW + DAY);
    table.expire(NOW + 2 * DAY);
    let back = row(&table, "g", "T").unwrap();
    assert_eq!((back.dead, back.dead_time, back.born_time), (false, 0, NOW.0));
}

#[test]
fn the_file_is_apaches() {
    let dir = tempfile::tempdir().unwrap();
    let disk = World::system().disk;
    let theirs = include_bytes!("../../tests/golden/config/consumerFilter.json");
    disk.write(&dir.path().join(FILE), theirs).unwrap();
    let files = Files::new(Arc::clone(&disk), dir.path().into());
    let table = FilterTable::open(&files, Timestamp(1_795_266_320_000)).unwrap();
    let row = row(&table, "GSql", "StoreA").unwrap();
    assert_eq!((&*row.expression_type, row.dead_time), ("SQL92", 1_795_266_315_881));
    table.changes.note();
    files.save(&table).unwrap();
    assert_eq!(disk.read(&dir.path().join(FILE)).unwrap(), theirs[..]);
}

#[test]
fn groups_of_a_killed_broker_count_as_gone_shortly_before_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(Arc::clone(&World::system().disk), dir.path().into());
    let table = FilterTable::open(&files, NOW).unwrap();
    table.subscribed("g", &[wants("T", "a > 1", 1)], NOW);
    files.save(&table).unwrap();
    let again = FilterTable::open(&files, NOW + 50_000).unwrap();
    assert_eq!(row(&again, "g", "T").unwrap().dead_time, NOW.0 + 20_000);
    let soon = FilterTable::open(&files, NOW + 5_000).unwrap();
    assert_eq!(row(&soon, "g", "T").unwrap().dead_time, NOW.0, "not before it was born");
}

#[test]
fn a_full_table_lets_go_of_the_dead_first() {
    let table = FilterTable::default();
    for number in 0..limits::FILTERS_MAX {
        table.subscribed(&format!("g{number}"), &[wants("T", "a > 1", 1)], NOW);
    }
    table.subscribed("one-more", &[wants("T", "a > 1", 1)], NOW);
    assert_eq!(row(&table, "one-more", "T"), None);
    table.left("g7", NOW);
    table.subscribed("one-more", &[wants("T", "a > 1", 1)], NOW);
    assert!(row(&table, "one-more", "T").is_some() && row(&table, "g7", "T").is_none());
}
