//! Brokers that were slow or failed are avoided for a while (off by default).
//!
//! A broker that was slow is not *available* until its time is over; one that failed is not
//! *reachable* until a send or a probe succeeds. A send prefers available brokers, then reachable
//! ones, then any.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client_core::{ClientError, ClientInstance, ErrorKind};
use rmq_message::{CompactString, MessageQueue};
use rmq_runtime::{ClockExt, Monotonic, Stop};

use crate::config::ProducerConfig;

/// Between looks for brokers to probe.
const LOOK: Duration = Duration::from_secs(3);

/// What is known of brokers.
#[doc(alias("MQFaultStrategy", "LatencyFaultTolerance"))]
#[derive(Debug, Default)]
pub(crate) struct Faults {
    brokers: Mutex<BTreeMap<CompactString, Fault>>,
}

#[derive(Clone, Debug)]
struct Fault {
    until: Monotonic,
    reachable: bool,
    /// When it may be probed again, and by which queue.
    probe: (Monotonic, MessageQueue),
}

/// How a try ended, as far as its broker is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Well,
    /// It could not be reached, or did not answer.
    Unreachable,
    /// It answered that it cannot.
    Refusing,
}

impl Health {
    pub(crate) fn of<T>(outcome: &Result<T, ClientError>) -> Self {
        match outcome {
            Ok(_) => Self::Well,
            Err(ClientError::Refused { .. }) => Self::Refusing,
            Err(error) => match error.kind() {
                ErrorKind::Retry | ErrorKind::Timeout => Self::Unreachable,
                _ => Self::Well,
            },
        }
    }
}

impl Faults {
    /// Takes note of how a try went.
    pub(crate) fn note(
        &self,
        config: &ProducerConfig,
        queue: &MessageQueue,
        took: Duration,
        health: Health,
        now: Monotonic,
    ) {
        let failed = health != Health::Well;
        let latency = if failed { config.failure_latency } else { took };
        let levels = config.latency_max.iter().zip(&config.not_available_duration);
        let wait = levels.rev().find(|(from, _)| latency.as_millis() >= u128::from(**from));
        let wait = Duration::from_millis(wait.map_or(0, |(_, wait)| *wait));
        let reachable = match health {
            Health::Well => true,
            // Without a probe nothing would make it reachable again but a send.
            Health::Unreachable => !config.detector,
            Health::Refusing => false,
        };
        let mut brokers = self.brokers.lock();
        if wait.is_zero() && reachable {
            brokers.remove(&queue.broker_name);
        } else {
            let probe = (now + config.detect_interval, queue.clone());
            let fault = Fault { until: now + wait, reachable, probe };
            brokers.insert(queue.broker_name.clone(), fault);
        }
    }

    /// Whether nothing speaks against a broker.
    pub(crate) fn is_available(&self, broker: &str, now: Monotonic) -> bool {
        self.brokers.lock().get(broker).is_none_or(|fault| fault.until <= now)
    }

    /// Whether a broker answers, as far as is known.
    pub(crate) fn is_reachable(&self, broker: &str) -> bool {
        self.brokers.lock().get(broker).is_none_or(|fault| fault.reachable)
    }

    fn to_probe(&self, now: Monotonic) -> Vec<MessageQueue> {
        let brokers = self.brokers.lock();
        let due = brokers.values().filter(|fault| !fault.reachable && fault.probe.0 <= now);
        due.map(|fault| fault.probe.1.clone()).collect()
    }

    fn probed(&self, queue: &MessageQueue, outcome: Probe, next: Monotonic) {
        let mut brokers = self.brokers.lock();
        match outcome {
            Probe::Gone => drop(brokers.remove(&queue.broker_name)),
            Probe::Silent | Probe::Answered => {
                if let Some(fault) = brokers.get_mut(&queue.broker_name) {
                    fault.reachable |= outcome == Probe::Answered;
                    fault.probe.0 = next;
                }
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Answered,
    Silent,
    /// No route mentions the broker any more.
    Gone,
}

/// Probes brokers that are not reachable until it is time to stop.
#[doc(alias = "startDetectorEnable")]
pub(crate) async fn detect(
    faults: Arc<Faults>,
    instance: Weak<ClientInstance>,
    config: ProducerConfig,
    stop: Stop,
) {
    let Some(clock) = instance.upgrade().map(|instance| Arc::clone(&instance.world().clock)) else {
        return;
    };
    loop {
        tokio::select! {
            biased;
            () = stop.requested() => return,
            () = clock.sleep(LOOK) => {}
        }
        let Some(instance) = instance.upgrade() else { return };
        for queue in faults.to_probe(clock.monotonic()) {
            let asked = instance.brokers().max_offset(&queue);
            let outcome = match clock.timeout(config.detect_timeout, asked).await {
                Ok(Err(ClientError::BrokerNotExist { .. })) => Probe::Gone,
                Ok(Ok(_) | Err(ClientError::Refused { .. })) => Probe::Answered,
                Ok(Err(_)) | Err(_) => Probe::Silent,
            };
            faults.probed(&queue, outcome, clock.monotonic() + config.detect_interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic(Duration::from_millis(ms))
    }

    fn note(faults: &Faults, detector: bool, ms: u64, health: Health) {
        let config = ProducerConfig { detector, ..ProducerConfig::default() };
        let queue = MessageQueue::new("T", "a", 0);
        faults.note(&config, &queue, Duration::from_millis(ms), health, at(ms));
    }

    #[test]
    fn the_slower_a_broker_the_longer_it_is_avoided() {
        for (latency, wait) in [(549, 0), (550, 2_000), (1_800, 5_000), (9_000, 10_000)] {
            let faults = Faults::default();
            note(&faults, false, latency, Health::Well);
            assert!(faults.is_available("a", at(latency + wait)), "{latency}");
            assert_eq!(faults.is_available("a", at(latency)), wait == 0);
            assert!(faults.is_available("b", at(latency)) && faults.is_reachable("a"));
        }
    }

    #[test]
    fn a_failure_is_forgotten_by_a_good_send_or_a_probe() {
        let faults = Faults::default();
        note(&faults, false, 1, Health::Unreachable);
        assert!(!faults.is_available("a", at(9_000)) && faults.is_reachable("a"));
        note(&faults, true, 1, Health::Unreachable);
        assert!(!faults.is_reachable("a"));
        assert!(faults.to_probe(at(1_000)).is_empty(), "not yet");
        let [queue] = &faults.to_probe(at(2_001))[..] else { panic!("one broker") };
        faults.probed(queue, Probe::Silent, at(4_000));
        assert!(!faults.is_reachable("a") && faults.to_probe(at(3_000)).is_empty());
        faults.probed(queue, Probe::Answered, at(6_000));
        assert!(faults.is_reachable("a"));
        note(&faults, true, 1, Health::Refusing);
        note(&faults, true, 2, Health::Well);
        assert!(faults.is_reachable("a") && faults.is_available("a", at(2)));
    }
}
