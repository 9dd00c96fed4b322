//! How much is tried, from the environment.

use std::env;

fn number(name: &str) -> Option<u64> {
    Some(env::var(name).ok()?.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Points at which the power fails, over all tests of that kind.
pub(crate) fn points() -> u64 {
    number("RMQ_TORTURE_POINTS").unwrap_or(2_000)
}

/// How many times as much as usual the other tests try.
pub(crate) fn times() -> u64 {
    (points() / 2_000).max(1)
}

/// Where histories begin.
pub(crate) fn seed() -> u64 {
    number("RMQ_TORTURE_SEED").unwrap_or(1)
}

/// The one point to replay, as a failure has printed it.
pub(crate) fn replay() -> Option<String> {
    env::var("RMQ_TORTURE_REPLAY").ok()
}

/// Printed when the test panics while it lives.
pub(crate) struct Told<F: Fn() -> String>(pub(crate) F);

impl<F: Fn() -> String> Drop for Told<F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", (self.0)());
        }
    }
}
