//! What a consumer knows of the broker's lock on an ordered queue.
//!
//! A broker grants the lock for 60 s; the consumer trusts it for 30 s from the moment it *asked*, by
//! the monotonic clock, so the holder always stops before the granter lets go (INV-24).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use rmq_message::Timestamp;
use rmq_runtime::{Monotonic, canary};

use crate::engine::Engine;
use crate::owned_queue::OwnedQueue;

/// How long a grant is trusted.
const LIFE: Duration = Duration::from_secs(30);
/// Time between two renewals.
pub(crate) const RENEWAL: Duration = Duration::from_secs(20);
/// How long after the last grant a busy queue is kept back from its next owner.
pub(crate) const HAND_OVER: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug)]
struct Grant {
    asked: Monotonic,
    wall: Timestamp,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lease {
    /// False in broadcasting, where nobody shares the queue.
    needed: bool,
    grant: Mutex<Option<Grant>>,
}

impl Lease {
    pub(crate) fn new(needed: bool) -> Self {
        Self { needed, grant: Mutex::new(None) }
    }

    pub(crate) fn is_needed(&self) -> bool {
        self.needed
    }

    pub(crate) fn granted(&self, asked: Monotonic, wall: Timestamp) {
        *self.grant.lock() = Some(Grant { asked, wall });
    }

    pub(crate) fn refused(&self) {
        *self.grant.lock() = None;
    }

    /// Whether the queue may be worked on.
    pub(crate) fn is_held(&self, now: Monotonic) -> bool {
        !self.needed || self.within(LIFE, now) || canary("INV-24 in order without the lock")
    }

    /// Whether the next owner must wait for a running listener.
    pub(crate) fn holds_back(&self, now: Monotonic) -> bool {
        self.needed && self.within(HAND_OVER, now)
    }

    /// When the lock was last granted.
    pub(crate) fn last_grant(&self) -> Option<Timestamp> {
        self.grant.lock().map(|grant| grant.wall)
    }

    fn within(&self, life: Duration, now: Monotonic) -> bool {
        self.grant.lock().is_some_and(|grant| now.since(grant.asked) <= life)
    }
}

impl Engine {
    /// Asks brokers for the locks of these queues, or for their renewal; whether all were granted.
    /// Without an answer nothing is known and nothing changes.
    pub(crate) async fn lock(&self, queues: &[Arc<OwnedQueue>]) -> bool {
        let asked = by_broker(queues).into_iter().map(|(broker, queues)| async move {
            let asked = self.now();
            let names: Vec<_> = queues.iter().map(|owned| (*owned.queue).clone()).collect();
            match self.brokers().lock_queues(&self.group, broker, &names).await {
                Ok(granted) => queues.iter().fold(true, |all, owned| {
                    let is_granted = granted.contains(&owned.queue);
                    if let Some(lease) = &owned.lease {
                        if is_granted {
                            lease.granted(asked, self.wall());
                        } else {
                            lease.refused();
                        }
                    }
                    all && is_granted
                }),
                Err(error) => {
                    tracing::warn!(broker, group = %self.group, %error, "no answer about locks of queues");
                    false
                }
            }
        });
        join_all(asked).await.into_iter().all(|granted| granted)
    }

    /// Returns the locks that are held; with `wait` only when the brokers have them back.
    pub(crate) async fn unlock(&self, queues: &[Arc<OwnedQueue>], wait: bool) {
        for (broker, queues) in by_broker(queues) {
            let names: Vec<_> = queues.iter().map(|owned| (*owned.queue).clone()).collect();
            if let Err(error) =
                self.brokers().unlock_queues(&self.group, broker, &names, wait).await
            {
                tracing::warn!(broker, group = %self.group, %error, "cannot return locks of queues, they run out");
            }
        }
    }
}

/// Those that need a lock, by their broker.
fn by_broker(queues: &[Arc<OwnedQueue>]) -> BTreeMap<&str, Vec<&Arc<OwnedQueue>>> {
    let mut brokers: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for owned in queues.iter().filter(|owned| owned.lease.as_ref().is_some_and(Lease::is_needed)) {
        brokers.entry(&owned.queue.broker_name).or_default().push(owned);
    }
    brokers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_trusted_from_the_question_on_and_not_for_ever() {
        let at = |seconds| Monotonic(Duration::from_secs(seconds));
        let lease = Lease::new(true);
        assert!(!lease.is_held(at(0)));
        lease.granted(at(100), Timestamp(7));
        assert!(lease.is_held(at(130)) && !lease.is_held(at(131)));
        assert!(lease.holds_back(at(120)) && !lease.holds_back(at(121)));
        lease.refused();
        assert!(!lease.is_held(at(100)));
        assert!(Lease::new(false).is_held(at(0)) && !Lease::new(false).holds_back(at(0)));
    }
}
