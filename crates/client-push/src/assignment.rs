//! Which queues this consumer owns, and how that changes.
//!
//! A balancing computes what it should own and applies the difference: first give up, then take.
//! Giving up a queue ends its pull loop, lets running listeners end for a moment, writes the
//! progress, and only then lets the queue go; ordered queues also return their lock. Taking one
//! makes a fresh [`OwnedQueue`] with a pull loop of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use rmq_client_core::ClientError;
use rmq_client_core::rebalance::{self, Plan};
use rmq_message::{MessageQueue, QueueOffset};
use rmq_runtime::{ClockExt, Monotonic, canary};

use crate::engine::Engine;
use crate::flow_control::Limits;
use crate::owned_queue::OwnedQueue;
use crate::pull_loop;
use crate::queue_lease::Lease;

/// How long an ordered queue that is given up waits for its listener, at least.
const ORDERED_GRACE: Duration = Duration::from_millis(500);
/// How long running listeners have before positions are reset.
const RESET_GRACE: Duration = Duration::from_secs(10);
/// Progress that was not written for so long may be somebody else's meanwhile: brokers forget
/// members after two minutes.
const STILL: Duration = Duration::from_secs(60);
/// Runs in which a retry topic without a route counts as not balanced: brokers make it at the first
/// heartbeat, and name servers hear of it a moment later.
const RETRY_MISSES_MAX: u32 = 10;

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

impl Engine {
    /// Balances all topics; whether everything is as it should be.
    pub(crate) async fn rebalance(self: &Arc<Self>) -> bool {
        if *self.paused.borrow() {
            return false;
        }
        let _turn = self.assignment.turn.lock().await;
        let mut balanced = true;
        for topic in self.subscriptions.topics() {
            if self.is_stopping() {
                return true;
            }
            balanced &= self.balance(&topic).await;
        }
        for topic in self.strays() {
            self.apply_pops(&topic, &BTreeSet::new());
            balanced &= self.apply(&topic, &BTreeSet::new()).await;
        }
        balanced
    }

    /// Topics that are owned but no longer subscribed.
    fn strays(&self) -> BTreeSet<String> {
        let names = self.assignment.names().into_iter().chain(self.pops.names());
        let topics = names.map(|queue| queue.topic.to_string());
        topics.filter(|topic| !self.subscriptions.contains(topic)).collect()
    }

    async fn balance(self: &Arc<Self>, topic: &str) -> bool {
        let queues = match self.instance.subscribe_queues(topic).await {
            Ok(queues) => queues,
            Err(error) => return self.without_route(topic, &error),
        };
        if self.is_assigned_by_brokers() {
            return self.balance_by_broker(topic).await;
        }
        if !self.is_clustering() {
            return self.apply(topic, &queues.iter().cloned().collect()).await;
        }
        let Some(members) = self.members(topic).await else { return false };
        let me = self.instance.client_id();
        let listed = members.iter().any(|member| member == me);
        if !listed {
            tracing::warn!(topic, group = %self.group, "the broker does not list this client as a member, its queues go to others");
        }
        match rebalance::allocate(self.parts.strategy.as_ref(), me, queues.to_vec(), members) {
            Ok(wanted) => self.apply(topic, &wanted).await && listed,
            Err(error) => {
                tracing::warn!(topic, group = %self.group, %error, "cannot share the queues, keeping what is there");
                false
            }
        }
    }

    /// The members of the group. A broker that does not list this one, maybe because it was
    /// restarted, hears of it and is asked again.
    async fn members(&self, topic: &str) -> Option<Vec<String>> {
        let members = self.instance.consumer_ids(topic, &self.group).await?;
        if members.iter().any(|member| member == self.instance.client_id()) {
            return Some(members);
        }
        self.announce().await;
        self.instance.consumer_ids(topic, &self.group).await
    }

    /// A topic without a route keeps its queues; it is found when its route is.
    fn without_route(&self, topic: &str, error: &ClientError) -> bool {
        if self.is_own_retry(topic) {
            tracing::debug!(topic, %error, "no route of the retry topic yet");
            return self.assignment.retry_misses.fetch_add(1, Ordering::Relaxed)
                >= RETRY_MISSES_MAX;
        }
        tracing::warn!(topic, %error, "no route of a subscribed topic");
        true
    }

    /// Makes the owned queues of a topic those that are wanted.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        topic: &str,
        wanted: &BTreeSet<MessageQueue>,
    ) -> bool {
        let mut owned = self.assignment.queues();
        owned.retain(|owned| owned.queue.topic == topic);
        let (leaving, assign) = difference(owned, wanted);
        if leaving.is_empty() && assign.is_empty() {
            return true;
        }
        let revoked = join_all(leaving.iter().map(|owned| self.revoke(owned))).await;
        let mut complete = revoked.iter().all(|done| *done);
        for queue in assign {
            complete &= self.assign(queue, None);
        }
        self.queues_changed(topic).await;
        complete
    }

    /// Gives a queue up. False: its listener still runs and nobody else may have it yet.
    async fn revoke(&self, owned: &Arc<OwnedQueue>) -> bool {
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

    /// Writes the progress of a queue, if it is this consumer's to tell. False when it could not be
    /// written.
    pub(crate) async fn commit(&self, owned: &OwnedQueue) -> bool {
        if !owned.has_begun() || !owned.is_leased(self.now()) || self.is_behind(owned).await {
            return true;
        }
        let written = self.progress.persist_one(&owned.queue).await;
        if let Err(error) = &written {
            tracing::warn!(queue = %owned.queue, %error, "cannot write the progress of a queue that is given up, it is kept until the queue comes back");
        }
        written.is_ok()
    }

    /// Whether the group has come further in a queue than this consumer, so somebody else has it.
    /// Unknown counts as no: then nothing can be written either.
    async fn is_behind(&self, owned: &OwnedQueue) -> bool {
        if !self.is_clustering() || owned.moved.load(Ordering::Acquire) {
            return false;
        }
        let committed = self.brokers().query_offset(&self.group, &owned.queue).await;
        committed.is_ok_and(|committed| committed > self.progress.memory(&owned.queue))
    }

    /// Takes a queue; false when it is still being given up.
    fn assign(self: &Arc<Self>, queue: MessageQueue, start: Option<QueueOffset>) -> bool {
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
    fn replace(self: &Arc<Self>, old: &Arc<OwnedQueue>, start: Option<QueueOffset>) -> bool {
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

    /// The queues of a topic are others now: brokers refresh the subscription, and whoever wants to
    /// know is told.
    pub(crate) async fn queues_changed(&self, topic: &str) {
        let count = self.assignment.queues().len();
        *self.assignment.limits.lock() = Limits::of(&self.settings, count, self.is_ordered());
        let mine: Vec<_> =
            self.all_queues().into_iter().filter(|queue| queue.topic == topic).collect();
        tracing::info!(topic, group = %self.group, count = mine.len(), "assignment changed");
        if let Some(listener) = &self.parts.assignment_listener {
            listener(topic, &mine);
        }
        self.subscriptions.renew(topic, self.wall());
        self.announce().await;
    }

    /// The queues that it consumes, pulled and popped.
    pub(crate) fn all_queues(&self) -> BTreeSet<MessageQueue> {
        let mut queues = self.assignment.open();
        queues.append(&mut self.pops.names());
        queues
    }

    /// Tells brokers what is subscribed; pulls name the new versions when they know them.
    pub(crate) async fn announce(&self) {
        self.instance.subscriptions_changed();
        let carried = self.subscriptions.all();
        if self.instance.heartbeat().await {
            self.subscriptions.announced(&carried);
        }
    }

    /// Writes the progress of all owned queues. In turn, so that nothing is written of a queue that
    /// somebody else has meanwhile.
    pub(crate) async fn persist(self: &Arc<Self>) {
        let _turn = self.assignment.turn.lock().await;
        let now = self.now();
        let mut begun = self.assignment.queues();
        begun.retain(|owned| owned.has_begun() && owned.is_leased(now));
        if self.is_clustering() && self.assignment.take_doubt(now) {
            begun = self.still_mine(begun).await;
        }
        let begun: Vec<_> = begun.iter().map(|owned| (*owned.queue).clone()).collect();
        if let Err(error) = self.progress.persist(&begun).await {
            tracing::warn!(group = %self.group, %error, "cannot write progress, it is written again");
        }
    }

    /// Those in which nobody has come further. What somebody else had in between begins anew, where
    /// that member stopped (INV-22, INV-25); of what is not known nothing is written.
    async fn still_mine(self: &Arc<Self>, queues: Vec<Arc<OwnedQueue>>) -> Vec<Arc<OwnedQueue>> {
        let asked = queues.into_iter().map(|owned| async move {
            if owned.moved.load(Ordering::Acquire) {
                return Some(owned);
            }
            let mine = self.progress.memory(&owned.queue);
            match self.brokers().query_offset(&self.group, &owned.queue).await {
                Ok(committed) if committed > mine => {
                    tracing::warn!(queue = %owned.queue, ?mine, ?committed, "somebody else has gone on with a queue, it begins anew");
                    self.replace(&owned, None);
                    None
                }
                Ok(_) => Some(owned),
                Err(error) => {
                    tracing::debug!(queue = %owned.queue, %error, "whose the queue was is not known yet");
                    self.assignment.doubt();
                    None
                }
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}
