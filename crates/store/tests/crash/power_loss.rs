//! Crashes at every operation of many histories, and crashes of the recovery of crashes.

use rmq_runtime::Entropy;
use rmq_sim::SimEntropy;
use rmq_store::FlushDiskType;

use crate::amounts::{self, Told};
use crate::history::{self, Step};
use crate::life::{Kind, Life};
use crate::model::End;

/// One crash: of which history, at which operation, leaving what.
#[derive(Clone, Copy)]
struct Point {
    kind: Kind,
    history: u64,
    operation: u64,
    seed: u64,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flush = match self.kind.flush {
            FlushDiskType::Sync => "sync",
            FlushDiskType::Async => "async",
        };
        let seal = if self.kind.sealed { "sealed" } else { "plain" };
        write!(f, "{flush}:{seal}:{}:{}:{}", self.history, self.operation, self.seed)
    }
}

impl Point {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let flush = match parts.next()? {
            "sync" => FlushDiskType::Sync,
            "async" => FlushDiskType::Async,
            _ => return None,
        };
        let sealed = parts.next()? == "sealed";
        let mut number = || parts.next()?.parse().ok();
        let (history, operation, seed) = (number()?, number()?, number()?);
        Some(Self { kind: Kind { flush, sealed }, history, operation, seed })
    }
}

/// Long ones and short ones by turns.
fn steps(history: u64) -> Vec<Step> {
    if history.is_multiple_of(2) {
        history::mixed(history)
    } else {
        history::short(history.wrapping_mul(2_654_435_761) % history::SHORT)
    }
}

fn crash_at(point: Point, steps: &[Step]) {
    let chance = SimEntropy::new(point.seed);
    let mut life = Life::begin(point.kind, point.operation);
    life.run(steps);
    life.thaw();
    let mut end = if chance.one_in(4) { End::Kill } else { End::PowerLoss };
    let mut left = life.crash(end, chance.next_u64());
    // Up to three crashes more while it recovers.
    for _ in 0..chance.below(4) {
        life.go_on(left);
        life.disk.freeze_at(1 + chance.below(30));
        life.reopen(end);
        let next = if chance.one_in(3) { End::Kill } else { End::PowerLoss };
        left = life.crash(next, chance.next_u64());
        // What a kill has kept may go with the power, and the other way round it is gone.
        if life.store.is_none() || life.disk.is_frozen() {
            end = if next == End::Kill { end } else { next };
        } else {
            end = next;
        }
    }
    life.go_on(left);
    life.settle_down(end, chance.next_u64());
}

fn crash_everywhere(kind: Kind, share: u64) {
    if let Some(text) = amounts::replay() {
        let point = Point::parse(&text).expect("a point such as sync:plain:1:2:3");
        if point.kind == kind {
            let steps = steps(point.history);
            println!("{steps:#?}");
            crash_at(point, &steps);
        }
        return;
    }
    let points = amounts::points() * share / 100;
    // Few points are spread over more histories.
    let stride: u16 = if points < 5_000 { 7 } else { 1 };
    let (mut done, mut histories) = (0, 0);
    for history in amounts::seed() * 1_000_000.. {
        let steps = steps(history);
        let told = Told(|| format!("in history {history} of {kind:?} without a crash: {steps:?}"));
        let mut life = Life::begin(kind, u64::MAX / 2);
        assert!(life.run(&steps));
        let operations = life.operations();
        drop(told);
        histories += 1;
        let first = 1 + history % u64::from(stride);
        for operation in (first..=operations + 1).step_by(stride.into()) {
            let point = Point { kind, history, operation, seed: history ^ (operation << 40) };
            let told = Told(|| format!("replay: cargo xtask torture --replay {point}"));
            crash_at(point, &steps);
            drop(told);
            done += 1;
            if done == points {
                println!("{done} crashes in {histories} histories of {kind:?}");
                return;
            }
        }
    }
}

#[test]
fn what_sync_flush_acknowledged_survives_every_crash() {
    // CT-01, CT-06; INV-01, 02, 04, 05, 07, 09, 11, 12, 13, 14
    crash_everywhere(Kind { flush: FlushDiskType::Sync, sealed: false }, 25);
}

#[test]
fn what_async_flush_has_synced_survives_every_crash() {
    // CT-01, CT-06
    crash_everywhere(Kind { flush: FlushDiskType::Async, sealed: false }, 25);
}

#[test]
fn with_whole_checksums_sync_flush_keeps_its_word() {
    // CT-01, CT-06; INV-08
    crash_everywhere(Kind { flush: FlushDiskType::Sync, sealed: true }, 25);
}

#[test]
fn with_whole_checksums_async_flush_keeps_its_word() {
    // CT-01, CT-06; INV-08
    crash_everywhere(Kind { flush: FlushDiskType::Async, sealed: true }, 25);
}
