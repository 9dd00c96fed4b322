//! Which queues this consumer owns, and how that changes.
//!
//! A balancing computes what it should own (`balance`) and applies the difference: first give up,
//! then take (`change`). What is written of the queues is this consumer's to tell (`progress`). Here
//! is the table of them, and the difference. Whoever changes it over an `await` does so in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use rmq_client_core::rebalance::{self, Plan};
use rmq_message::MessageQueue;
use rmq_runtime::{Monotonic, canary};

use crate::flow_control::Limits;
use crate::owned_queue::OwnedQueue;

mod balance;
mod change;
mod progress;

/// Progress that was not written for so long may be somebody else's meanwhile: brokers forget
/// members after two minutes.
const STILL: Duration = Duration::from_secs(60);

/// The table of owned queues.
pub(crate) struct Assignment {
    queues: Mutex<BTreeMap<MessageQueue, Arc<OwnedQueue>>>,
    limits: Mutex<Limits>,
    /// Ordered queues that were let go while a listener had their messages.
    lingering: Mutex<Vec<Arc<OwnedQueue>>>,
    /// Somebody else may have had the queues in between.
    doubted: AtomicBool,
    /// When progress was last written.
    persisted: Mutex<Monotonic>,
    /// Held by whoever changes what is owned over an `await`.
    turn: tokio::sync::Mutex<()>,
    retry_misses: AtomicU32,
}

impl Assignment {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            queues: Mutex::default(),
            limits: Mutex::new(limits),
            lingering: Mutex::default(),
            doubted: AtomicBool::new(false),
            persisted: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            retry_misses: AtomicU32::new(0),
        }
    }

    fn names(&self) -> Vec<MessageQueue> {
        self.queues.lock().keys().cloned().collect()
    }

    pub(crate) fn queues(&self) -> Vec<Arc<OwnedQueue>> {
        self.queues.lock().values().cloned().collect()
    }

    /// Those whose results count, by name.
    pub(crate) fn open(&self) -> BTreeSet<MessageQueue> {
        let queues = self.queues.lock();
        queues
            .values()
            .filter(|owned| owned.is_open())
            .map(|owned| (*owned.queue).clone())
            .collect()
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.lock()
    }

    /// Somebody else may have had the queues in between.
    pub(crate) fn doubt(&self) {
        self.doubted.store(true, Ordering::Release);
    }

    /// Whether that may be so: there was doubt, or this process stood still for long.
    fn take_doubt(&self, now: Monotonic) -> bool {
        let before = std::mem::replace(&mut *self.persisted.lock(), now);
        self.doubted.swap(false, Ordering::AcqRel) || now.since(before) > STILL
    }

    /// Ends a queue for good; returns how many messages were not finished. What its listener still
    /// does counts no more, but holds back who has an ordered queue next in this consumer.
    fn retire(&self, owned: &Arc<OwnedQueue>) -> usize {
        let left = owned.retire();
        let mut lingering = self.lingering.lock();
        lingering.retain(|former| former.running() > 0);
        if owned.lease.is_some() && owned.running() > 0 {
            lingering.push(Arc::clone(owned));
        }
        left
    }

    /// Ready when no listener has messages of that queue from an earlier ownership. Cancel-safe.
    pub(crate) async fn cleared(&self, queue: &MessageQueue) {
        let of_queue = |former: &&Arc<OwnedQueue>| *former.queue == *queue;
        let former: Vec<_> = self.lingering.lock().iter().filter(of_queue).cloned().collect();
        if !canary("INV-24 an ordered queue begins anew beside its listener") {
            join_all(former.iter().map(|former| former.idle())).await;
        }
    }

    /// Takes the queue out unless another has taken its place.
    fn remove(&self, owned: &Arc<OwnedQueue>) -> bool {
        let mut queues = self.queues.lock();
        let is_current =
            queues.get(&*owned.queue).is_some_and(|current| Arc::ptr_eq(current, owned));
        if is_current {
            queues.remove(&*owned.queue);
        }
        is_current
    }
}

/// What a balancing changes: the queues to give up, among them those whose giving up is not
/// complete, and the queues to take once these are gone.
pub(crate) fn difference(
    owned: Vec<Arc<OwnedQueue>>,
    wanted: &BTreeSet<MessageQueue>,
) -> (Vec<Arc<OwnedQueue>>, Vec<MessageQueue>) {
    let (live, dead): (Vec<_>, Vec<_>) = owned.into_iter().partition(|owned| owned.is_live());
    let held = live.iter().map(|owned| (*owned.queue).clone()).collect();
    let Plan { revoke, assign, .. } = rebalance::plan(&held, wanted);
    let leaving = live.into_iter().filter(|owned| revoke.contains(&owned.queue));
    (leaving.chain(dead).collect(), assign)
}
