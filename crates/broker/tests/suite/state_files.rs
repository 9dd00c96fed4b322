//! The files of `config/`: replaced whole, and read from the generation before when damaged.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rmq_message::sys_flag;
use rmq_remoting::protocol::group::SubscriptionGroupConfig;
use rmq_remoting::protocol::offset::UpdateConsumerOffset;
use rmq_remoting::protocol::pull::PullMessage;
use rmq_remoting::{RemotingCommand, json, request_code};
use rmq_runtime::World;
use serde_json::Value;

use crate::fixture::{Fixture, bodies, config, pull};

/// File, its table, and the request that tells the table as it is.
const TABLES: [(&str, &str, i32); 4] = [
    ("topics.json", "topicConfigTable", request_code::GET_ALL_TOPIC_CONFIG),
    ("consumerOffset.json", "offsetTable", request_code::GET_ALL_CONSUMER_OFFSET),
    (
        "subscriptionGroup.json",
        "subscriptionGroupTable",
        request_code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
    ),
    ("delayOffset.json", "offsetTable", request_code::GET_ALL_DELAY_OFFSET),
];

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join("config").join(name)
}

fn table(text: &[u8], name: &str) -> Value {
    let document: Value = json::from_slice(text).unwrap();
    assert!(document[name].is_object(), "{document}");
    document[name].clone()
}

/// What becomes of a file; none when it is gone.
type Damage = dyn Fn(&Bytes) -> Option<Bytes>;

/// Lives once: every table changes.
async fn live(dir: &Path, round: i64) {
    let fixture = Fixture::start(config(dir));
    for topic in ["Orders", &format!("Topic{round}")] {
        fixture.send(topic, "now", "").await;
    }
    for group in ["GC", &format!("Group{round}")] {
        let group_name = group.into();
        let group = SubscriptionGroupConfig { group_name, ..SubscriptionGroupConfig::default() };
        fixture.call(&group).await;
    }
    let commit = UpdateConsumerOffset {
        consumer_group: "GC".into(),
        topic: "Orders".into(),
        queue_id: 0,
        commit_offset: round,
    };
    fixture.call(&commit).await;
    fixture.send("Late", "late", "DELAY\u{1}1\u{2}").await;
    let waits = sys_flag::pull::SUBSCRIPTION | sys_flag::pull::SUSPEND;
    let late = PullMessage { sys_flag: waits, ..pull("Late", 0, round) };
    assert_eq!(bodies(&fixture.ask(late.to_command()).await), ["late"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_damaged_table_is_read_from_the_generation_before() {
    // INV-15
    let (dir, disk) = (tempfile::tempdir().unwrap(), World::system().disk);
    for round in 0..3 {
        live(dir.path(), round).await;
    }
    let mut kept = Vec::new();
    for (name, key, _) in TABLES {
        let (new, before) = (file(dir.path(), name), file(dir.path(), &format!("{name}.bak")));
        let (new, before) = (disk.read(&new).unwrap(), disk.read(&before).unwrap());
        assert_ne!(new, before, "{name}");
        table(&new, key);
        table(&before, key);
        assert!(!disk.exists(&file(dir.path(), &format!("{name}.tmp"))));
        kept.push((new, before));
    }
    let cut = |text: &Bytes| Some(text.slice(..text.len() / 2));
    let damages: [&Damage; 4] =
        [&|_| None, &|_| Some(Bytes::new()), &cut, &|text| Some(vec![0; text.len()].into())];
    for (number, damage) in damages.into_iter().enumerate() {
        for ((name, ..), (new, before)) in TABLES.iter().zip(&kept) {
            match damage(new) {
                Some(text) => disk.write(&file(dir.path(), name), &text).unwrap(),
                None => disk.remove(&file(dir.path(), name)).unwrap(),
            }
            disk.write(&file(dir.path(), &format!("{name}.bak")), before).unwrap();
        }
        let fixture = Fixture::start(config(dir.path()));
        for ((name, key, code), (_, before)) in TABLES.iter().zip(&kept) {
            let answer = fixture.ask(RemotingCommand::request(*code)).await;
            let (now, before) = (table(&answer.body, key), table(before, key));
            if *name == "delayOffset.json" {
                // What was delivered after it was saved is delivered again and goes on from there.
                assert!(now["1"].as_i64() >= before["1"].as_i64(), "{number}: {now}");
            } else {
                assert_eq!(now, before, "{name}, damage {number}");
            }
        }
        fixture.stop().await;
    }
}

#[tokio::test]
async fn tables_without_any_whole_generation_stop_the_start_and_are_named() {
    // INV-15
    let dir = tempfile::tempdir().unwrap();
    for round in 0..2 {
        live(dir.path(), round).await;
    }
    let disk = World::system().disk;
    for name in ["topics.json", "topics.json.bak"] {
        disk.write(&file(dir.path(), name), b"{").unwrap();
    }
    let error = Fixture::refused(config(dir.path()));
    assert!(error.contains("topics.json") && error.contains(".bak"), "{error}");
}
