//! Brokers that were slow or failed are avoided for a while (off by default).

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_message::CompactString;
use rmq_runtime::Monotonic;

/// Latency from which on a broker is avoided, and for how long; both in ms.
const AVOID: [(u64, u64); 5] =
    [(15_000, 30_000), (5_000, 10_000), (3_000, 6_000), (1_800, 5_000), (550, 2_000)];
/// A failure counts as this latency.
const FAILED: Duration = Duration::from_secs(10);

/// Until when which broker is avoided.
#[doc(alias = "MQFaultStrategy")]
#[derive(Debug, Default)]
pub(crate) struct Faults {
    until: Mutex<BTreeMap<CompactString, Monotonic>>,
}

impl Faults {
    /// Takes note of how a send went.
    pub(crate) fn note(&self, broker: &str, began: Monotonic, now: Monotonic, failed: bool) {
        let latency = if failed { FAILED } else { now.since(began) };
        let mut until = self.until.lock();
        match AVOID.iter().find(|(from, _)| latency >= Duration::from_millis(*from)) {
            Some((_, wait)) => {
                until.insert(CompactString::new(broker), now + Duration::from_millis(*wait));
            }
            None => drop(until.remove(broker)),
        }
    }

    /// Whether nothing speaks against a broker.
    pub(crate) fn admits(&self, broker: &str, now: Monotonic) -> bool {
        self.until.lock().get(broker).is_none_or(|until| *until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    #[test]
    fn the_slower_a_broker_the_longer_it_is_avoided() {
        for (latency, wait) in [(549, 0), (550, 2_000), (1_800, 5_000), (9_000, 10_000)] {
            let faults = Faults::default();
            faults.note("a", at(0), at(latency), false);
            assert!(faults.admits("a", at(latency + wait)), "{latency}");
            assert_eq!(faults.admits("a", at(latency + wait).min(at(latency + 1))), wait == 0);
            assert!(faults.admits("b", at(latency)));
        }
    }

    #[test]
    fn a_failure_is_forgotten_by_a_good_send() {
        let faults = Faults::default();
        faults.note("a", at(0), at(1), true);
        assert!(!faults.admits("a", at(10_000)));
        faults.note("a", at(10_000), at(10_001), false);
        assert!(faults.admits("a", at(10_001)));
    }
}
