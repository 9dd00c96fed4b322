//! Simulated clusters: what was promised holds, whatever goes wrong (CT-10).
//!
//! `RMQ_SIM_SEEDS`, `RMQ_SIM_MINUTES` and `RMQ_SIM_SEED` set how many, how long, and where to begin;
//! `cargo xtask sim` sets them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rmq_tests::sim::{self, Outcome};
use rmq_tests::wait::now;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let digests = [1, 2].map(|seed| {
        let (one, two) = (sim::run(seed, 1), sim::run(seed, 1));
        let same = one.lines.iter().zip(&two.lines).take_while(|(one, two)| one == two).count();
        let end = one.lines.len().min(same + 1);
        assert_eq!(
            one.lines.get(same..end),
            two.lines.get(same..end),
            "seed {seed} after {:?}",
            &one.lines[same.saturating_sub(6)..same]
        );
        assert_eq!(one, two, "seed {seed}");
        one.digest
    });
    assert_ne!(digests[0], digests[1]);
}

#[test]
fn promises_hold_whatever_goes_wrong() {
    let (first, minutes) = (setting("RMQ_SIM_SEED", 1), setting("RMQ_SIM_MINUTES", 1));
    let (count, begin) = (setting("RMQ_SIM_SEEDS", 10), now());
    let (next, all) = (AtomicU64::new(first), Mutex::new(Vec::<(u64, Outcome)>::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first.saturating_add(count) {
                        return;
                    }
                    let mut outcome = sim::run(seed, minutes);
                    if count == 1 {
                        let from = outcome.lines.len().saturating_sub(1_000);
                        outcome.lines[from..].iter().for_each(|line| println!("{line}"));
                    }
                    for wrong in &outcome.violations {
                        println!("seed {seed}: {wrong}");
                    }
                    outcome.lines.clear();
                    all.lock().unwrap().push((seed, outcome));
                }
            });
        }
    });
    let all = all.into_inner().unwrap();
    let took = now().since(begin);
    let sum = |of: fn(&Outcome) -> usize| all.iter().map(|(_, outcome)| of(outcome)).sum::<usize>();
    let passed: Duration = all.iter().map(|(_, outcome)| outcome.passed).sum();
    println!(
        "{count} seeds: {} sends acknowledged, {} deliveries, {} troubles, {} polls; {passed:.0?} in {took:.1?}, {:.0} times as fast",
        sum(|it| it.acknowledged),
        sum(|it| it.deliveries),
        sum(|it| it.troubles),
        all.iter().map(|(_, outcome)| outcome.polls).sum::<u64>(),
        passed.as_secs_f64() / took.as_secs_f64(),
    );
    let red: Vec<u64> =
        all.iter().filter(|(_, outcome)| !outcome.violations.is_empty()).map(|it| it.0).collect();
    for seed in &red {
        println!("again: cargo xtask sim --seeds 1 --seed {seed} --minutes {minutes}");
    }
    assert!(red.is_empty(), "{} of {count} seeds are red: {red:?}", red.len());
}

#[test]
fn every_queue_has_an_owner_within_five_seconds() {
    for seed in 1..2 {
        let outcome = sim::changes_of_members(seed);
        assert_eq!(outcome.violations, Vec::<String>::new(), "seed {seed}");
    }
}
