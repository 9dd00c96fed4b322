//! The store against a model: whatever is done to it, it holds what the model holds.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use rmq_store::{Config, MessageStore, QueueKey};

use crate::memory_disk::MemoryDisk;
use crate::support::{config, message, open};

#[derive(Clone, Debug)]
enum Step {
    Append { queue: i32, lens: Vec<usize> },
    Settle,
    Kill,
    Restart,
    DeleteTopic,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4, prop::collection::vec(0_usize..900, 1..5))
            .prop_map(|(queue, lens)| Step::Append { queue, lens }),
        4 => Just(Step::Settle),
        1 => Just(Step::Kill),
        1 => Just(Step::Restart),
        1 => Just(Step::DeleteTopic),
    ]
}

fn settings() -> Config {
    Config { mapped_file_size_commit_log: 4096, ..config(Path::new("/store")) }
}

/// Queues 2 and 3 belong to a topic that is deleted now and then.
fn key(queue: i32) -> QueueKey {
    QueueKey::new(if queue < 2 { "Stays" } else { "Goes" }, queue)
}

async fn run(steps: Vec<Step>) {
    let mut disk = MemoryDisk::default();
    let mut opened = open(disk.clone(), settings()).unwrap();
    let mut staged: BTreeMap<i32, Vec<Vec<u8>>> = BTreeMap::new();
    let mut settled = staged.clone();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Append { queue, lens } => {
                let bodies: Vec<_> = lens
                    .iter()
                    .map(|len| vec![u8::try_from(number % 251).unwrap(); *len])
                    .collect();
                let records: Vec<_> = bodies.iter().map(|body| message(body)).collect();
                let all = staged.entry(queue).or_default();
                if let Ok(receipt) = opened.store.append(&key(queue), &records) {
                    assert_eq!(receipt.queue_offset.0, all.len() as i64);
                    all.extend(bodies);
                }
            }
            Step::Settle => {
                opened.store.settle().unwrap();
                settled.clone_from(&staged);
            }
            Step::Kill => {
                let left = disk.killed();
                opened.abandon().await;
                disk = left;
                opened = open(disk.clone(), settings()).unwrap();
                staged.clone_from(&settled);
            }
            Step::Restart => {
                opened.stop().await;
                opened = open(disk.clone(), settings()).unwrap();
                settled.clone_from(&staged);
            }
            Step::DeleteTopic => {
                opened.store.settle().unwrap();
                rmq_store::StoreAdmin::delete_topic(&*opened.store, "Goes").unwrap();
                staged.retain(|queue, _| *queue < 2);
                settled.clone_from(&staged);
            }
        }
        for queue in 0..4 {
            let expected = settled.get(&queue).map_or(&[][..], Vec::as_slice);
            assert_eq!(opened.bodies(&key(queue)), expected, "queue {queue} after step {number}");
        }
    }
    opened.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn the_store_holds_what_the_model_holds(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(steps));
    }
}
