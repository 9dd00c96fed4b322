//! Who gets which queues, as the classes of the Java client 5.5.0 compute it (`cargo xtask allocation` asks them again).
//!
//! One member that computes otherwise than its mates loses queues or consumes them twice.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{BTreeMap, BTreeSet};

use rmq_client_core::rebalance::{
    AllocateStrategy, Average, ByConfig, Circle, ConsistentHash, MachineRoom, MachineRoomNearby,
    allocate,
};
use rmq_message::MessageQueue;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    strategy: String,
    virtual_nodes: Option<u32>,
    rooms: Option<BTreeSet<String>>,
    fixed: Option<Vec<String>>,
    queues: Vec<String>,
    members: Vec<String>,
    shares: BTreeMap<String, Share>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Share {
    Queues(Vec<String>),
    Refused(String),
}

fn queues(texts: &[String]) -> Vec<MessageQueue> {
    let parse = |text: &String| {
        let (rest, id) = text.rsplit_once('/').unwrap();
        let (topic, broker) = rest.split_once('/').unwrap();
        MessageQueue::new(topic, broker, id.parse().unwrap())
    };
    texts.iter().map(parse).collect()
}

/// What lies before the first hyphen.
fn room(text: &str) -> String {
    text.split('-').next().unwrap_or_default().to_owned()
}

fn nearby(inner: impl AllocateStrategy) -> Box<dyn AllocateStrategy> {
    let of_queue = |queue: &MessageQueue| room(&queue.broker_name);
    Box::new(MachineRoomNearby::new(inner, of_queue, room))
}

fn strategy(case: &Case) -> Box<dyn AllocateStrategy> {
    let hash = case
        .virtual_nodes
        .map_or_else(ConsistentHash::default, |virtual_nodes| ConsistentHash { virtual_nodes });
    let strategy: Box<dyn AllocateStrategy> = match case.strategy.as_str() {
        "AVG" => Box::new(Average),
        "AVG_BY_CIRCLE" => Box::new(Circle),
        "CONSISTENT_HASH" => Box::new(hash),
        "CONFIG" => Box::new(ByConfig { queues: queues(case.fixed.as_ref().unwrap()) }),
        "MACHINE_ROOM" => Box::new(MachineRoom { rooms: case.rooms.clone().unwrap() }),
        "MACHINE_ROOM_NEARBY-AVG" => nearby(Average),
        "MACHINE_ROOM_NEARBY-AVG_BY_CIRCLE" => nearby(Circle),
        "MACHINE_ROOM_NEARBY-CONSISTENT_HASH" => nearby(hash),
        other => panic!("{other} is not known"),
    };
    assert_eq!(strategy.name(), case.strategy);
    strategy
}

#[test]
fn every_member_gets_what_java_would_give_it() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("golden/allocation.json")).unwrap();
    assert!(cases.len() > 100, "the table has only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let strategy = strategy(case);
        for (me, share) in &case.shares {
            let ours = allocate(strategy.as_ref(), me, queues(&case.queues), case.members.clone());
            let same = match (&ours, share) {
                (Ok(ours), Share::Queues(java)) => {
                    *ours == queues(java).into_iter().collect::<BTreeSet<_>>()
                }
                // Which member or queue has no room is told in other words.
                (Err(ours), Share::Refused(java)) => {
                    ours.to_string() == *java || java.starts_with("Machine room is null for ")
                }
                _ => false,
            };
            if !same {
                let members = &case.members;
                wrong.push(format!("{} for {me:?} of {members:?}: {ours:?}", case.strategy));
            }
        }
    }
    assert!(wrong.is_empty(), "{} shares differ\n{}", wrong.len(), wrong.join("\n"));
}
