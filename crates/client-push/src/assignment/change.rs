//! Giving queues up and taking them.
//!
//! Giving one up ends its pull loop, lets running listeners end for a moment, writes the progress,
//! and only then lets the queue go; ordered queues also return their lock. Taking one makes a fresh
//! [`OwnedQueue`] with a pull loop of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use rmq_message::{MessageQueue, QueueOffset};
use rmq_runtime::ClockExt;

use crate::engine::Engine;
use crate::owned_queue::OwnedQueue;
use crate::pull_loop;
use crate::queue_lease::Lease;

/// How long an ordered queue that is given up waits for its listener, at least.
const ORDERED_GRACE: Duration = Duration::from_millis(500);
/// How long running listeners have before positions are reset.
const RESET_GRACE: Duration = Duration::from_secs(10);

impl Engine {
    /// Gives a queue up. False: its listener still runs and nobody else may have it yet.
    pub(super) async fn revoke(&self, owned: &Arc<OwnedQueue>) -> bool {
        let queue = &*owned.queue;
        owned.close();
        let mut grace = Duration::from_millis(self.settings.revoke_grace_millis);
        if owned.lease.is_some() {
            grace = grace.max(ORDERED_GRACE);
        }
        let idle = self.instance.world().clock.timeout(grace, owned.idle()).await.is_ok();
        if !idle && owned.lease.as_ref().is_some_and(|lease| lease.holds_back(self.now())) {
            tracing::info!(%queue, "queue is kept until its listener ends");
            return false;
        }
        let left = self.assignment.retire(owned);
        self.commit(owned).await;
        self.progress.let_go(queue);
        self.unlock(std::slice::from_ref(owned), false).await;
        tracing::info!(%queue, left, "queue given up");
        self.assignment.remove(owned)
    }

    /// Takes a queue; false when it is still being given up.
    pub(super) fn assign(
        self: &Arc<Self>,
        queue: MessageQueue,
        start: Option<QueueOffset>,
    ) -> bool {
        let stats = self.stats.of(&queue.topic);
        let lease = self.is_ordered().then(|| Lease::new(self.is_clustering()));
        let owned = OwnedQueue::new(queue, stats, lease, self.wall());
        {
            let mut queues = self.assignment.queues.lock();
            if self.is_stopping() || queues.contains_key(&*owned.queue) {
                return self.is_stopping();
            }
            self.start_from(&owned, start);
            queues.insert((*owned.queue).clone(), Arc::clone(&owned));
        }
        self.spawn_loop(owned, start);
        true
    }

    /// Puts a fresh queue in the place of one that cannot go on; false when that one was given up
    /// meanwhile.
    pub(super) fn replace(
        self: &Arc<Self>,
        old: &Arc<OwnedQueue>,
        start: Option<QueueOffset>,
    ) -> bool {
        let lease = self.is_ordered().then(|| Lease::new(self.is_clustering()));
        let queue = (*old.queue).clone();
        let fresh = OwnedQueue::new(queue, Arc::clone(&old.stats), lease, self.wall());
        {
            let mut queues = self.assignment.queues.lock();
            let place = queues.get_mut(&*old.queue).filter(|current| Arc::ptr_eq(current, old));
            let Some(place) = place.filter(|_| !self.is_stopping()) else {
                return false;
            };
            self.assignment.retire(old);
            fresh.moved.store(start.is_some(), Ordering::Release);
            self.start_from(&fresh, start);
            *place = Arc::clone(&fresh);
        }
        self.spawn_loop(fresh, start);
        true
    }

    /// Drops what memory knows of an earlier ownership, but for what could not be written of it.
    fn start_from(&self, owned: &OwnedQueue, start: Option<QueueOffset>) {
        match start {
            None => self.progress.let_go(&owned.queue),
            Some(offset) => {
                self.progress.forget(&owned.queue);
                self.progress.update(&owned.queue, offset, false);
            }
        }
    }

    fn spawn_loop(self: &Arc<Self>, owned: Arc<OwnedQueue>, start: Option<QueueOffset>) {
        tracing::info!(queue = %owned.queue, ?start, "queue taken");
        let name = format!("PullMessageService {}", owned.queue);
        self.spawn(&name, pull_loop::run(Arc::clone(self), owned, start));
    }

    /// An ordered queue lost its lock: somebody else may have gone on with it.
    pub(crate) fn begin_anew(self: &Arc<Self>, owned: &Arc<OwnedQueue>) {
        if owned.is_open() {
            tracing::warn!(queue = %owned.queue, "the lock of an ordered queue was lost, it begins anew");
            self.replace(owned, None);
        }
    }

    /// A queue goes on somewhere else.
    pub(crate) async fn move_to(self: &Arc<Self>, owned: &Arc<OwnedQueue>, to: QueueOffset) {
        let _turn = self.assignment.turn.lock().await;
        self.replace_at(owned, to).await;
    }

    /// Must be called in turn.
    async fn replace_at(self: &Arc<Self>, owned: &Arc<OwnedQueue>, to: QueueOffset) {
        if self.replace(owned, Some(to))
            && let Err(error) = self.progress.persist_one(&owned.queue).await
        {
            tracing::warn!(queue = %owned.queue, %error, "cannot write the new position yet");
        }
    }

    /// Moves the owned queues of a topic to new positions (220).
    pub(crate) async fn reset(
        self: &Arc<Self>,
        topic: &str,
        offsets: &BTreeMap<MessageQueue, QueueOffset>,
    ) {
        let _turn = self.assignment.turn.lock().await;
        let owned = self.assignment.open();
        offsets
            .keys()
            .filter(|queue| !owned.contains(queue))
            .for_each(|queue| self.progress.forget(queue));
        let owned = self.assignment.queues().into_iter().filter(|owned| owned.queue.topic == topic);
        let moved = owned.filter_map(|owned| Some((offsets.get(&*owned.queue).copied()?, owned)));
        join_all(moved.map(|(to, owned)| async move {
            owned.close();
            let clock = &self.instance.world().clock;
            if clock.timeout(RESET_GRACE, owned.idle()).await.is_err() {
                tracing::warn!(queue = %owned.queue, "a listener still runs, its outcome does not count");
            }
            tracing::info!(queue = %owned.queue, %to, "position reset");
            self.replace_at(&owned, to).await;
        }))
        .await;
    }
}
