//! Calls of the disk that fail, one at a time until none is left to fail.

use rmq_sim::Fault;
use rmq_store::FlushDiskType;

use crate::amounts::{self, Told};
use crate::history::{self, Step};
use crate::life::{Kind, Life};
use crate::model::End;

const KINDS: [Kind; 2] = [
    Kind { flush: FlushDiskType::Sync, sealed: true },
    Kind { flush: FlushDiskType::Async, sealed: true },
];

fn steps(history: u64) -> Vec<Step> {
    // Of the seed's histories one that does a bit of everything.
    let mut steps = history::mixed(0x5EED + history);
    steps.extend([Step::Save, Step::Restart, Step::Expire, Step::DeleteTopic]);
    steps.extend([
        Step::Append { queue: 1, count: 1, body: 100, pad: 0 },
        Step::Settle,
        Step::Flush,
    ]);
    steps
}

/// Lives with one fault, dies, and is looked at. Whether the fault has struck.
fn live(kind: Kind, steps: &[Step], ended: End, seed: u64, fault: impl FnOnce(&Life)) -> bool {
    let mut life = Life::begin(kind, u64::MAX / 2);
    fault(&life);
    life.run(steps);
    let struck = life.disk.has_struck();
    life.settle_down_after(ended, seed);
    struck
}

#[test]
fn whatever_call_fails_no_promise_is_broken() {
    // CT-04; INV-03, INV-12, INV-17
    for kind in KINDS {
        for fault in [Fault::Error, Fault::StorageFull, Fault::Interrupted, Fault::Short] {
            for history in 0..amounts::times().min(50) {
                let steps = steps(history);
                let mut n = 1;
                let step = if amounts::times() > 1 { 1 } else { 4 };
                loop {
                    let told = Told(|| format!("{fault:?} at call {n} of {history}, {kind:?}"));
                    let ended = if n % 3 == 0 { End::Kill } else { End::PowerLoss };
                    let struck = live(kind, &steps, ended, n, |life| life.disk.fail_call(n, fault));
                    drop(told);
                    if !struck {
                        break;
                    }
                    n += step;
                }
                assert!(n > 100, "only {n} calls");
            }
        }
    }
}

#[test]
fn a_failed_sync_is_never_followed_by_a_promise_of_what_it_lost() {
    // CT-05; INV-01, INV-03
    for kind in KINDS {
        for history in 0..(4 * amounts::times()).min(500) {
            let steps = steps(history);
            for n in 1.. {
                let told = Told(|| format!("sync {n} fails, history {history}, {kind:?}"));
                let struck = live(kind, &steps, End::PowerLoss, n, |life| {
                    life.disk.fail_sync(n, history);
                });
                drop(told);
                if !struck {
                    break;
                }
            }
        }
    }
}
