//! What all tasks of one consumer share, and which queues it holds.
//!
//! Queues are either shared with the group (subscribed topics, balanced by the instance) or chosen
//! by the application (assigned). Giving a queue up ends its task, writes its committed position, and
//! forgets it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use rmq_client_core::protocol::MessageModel;
use rmq_client_core::rebalance::{self, AllocateStrategy, Plan};
use rmq_client_core::{ClientInstance, Progress};
use rmq_message::{CompactString, MessageQueue, MessageView, QueueOffset, Subscription, Timestamp};
use rmq_runtime::{Clock, Monotonic, OnFailure, Tasks};
use tokio::sync::Notify;

use crate::error::PullError;
use crate::held_queue::HeldQueue;
use crate::pull_loop;
use crate::settings::PullSettings;

/// Called with a topic and the queues of it that this consumer has now.
pub(crate) type AssignmentListener = Arc<dyn Fn(&str, &[MessageQueue]) + Send + Sync>;

/// See the module.
pub(crate) struct Engine {
    pub(crate) settings: PullSettings,
    pub(crate) instance: Arc<ClientInstance>,
    pub(crate) progress: Progress,
    pub(crate) tasks: Tasks,
    /// There is something to poll.
    pub(crate) arrived: Notify,
    strategy: Arc<dyn AllocateStrategy>,
    listener: Option<AssignmentListener>,
    table: Mutex<Table>,
    /// Held by whoever changes what is held over an `await`.
    turn: tokio::sync::Mutex<()>,
    /// Whose turn it is at a poll.
    next: AtomicUsize,
    committed: Mutex<Monotonic>,
    closed: AtomicBool,
}

#[derive(Default)]
struct Table {
    held: BTreeMap<MessageQueue, Arc<HeldQueue>>,
    /// What is wanted of topics, as brokers name them.
    subscriptions: BTreeMap<CompactString, Subscription>,
    /// Whether the application chooses the queues.
    assigned: bool,
}

/// What an engine is made of.
pub(crate) struct Parts {
    pub(crate) strategy: Arc<dyn AllocateStrategy>,
    pub(crate) listener: Option<AssignmentListener>,
    pub(crate) progress: Progress,
    pub(crate) subscriptions: BTreeMap<CompactString, Subscription>,
}

impl Engine {
    pub(crate) fn new(
        settings: PullSettings,
        instance: Arc<ClientInstance>,
        parts: Parts,
    ) -> Arc<Self> {
        let Parts { strategy, listener, progress, subscriptions } = parts;
        Arc::new(Self {
            tasks: instance.tasks().child("pull"),
            committed: Mutex::new(instance.world().clock.monotonic()),
            table: Mutex::new(Table { subscriptions, ..Table::default() }),
            settings,
            instance,
            progress,
            arrived: Notify::new(),
            strategy,
            listener,
            turn: tokio::sync::Mutex::default(),
            next: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.instance.world().clock.as_ref()
    }

    pub(crate) fn open(&self) -> Result<(), PullError> {
        if self.closed.load(Ordering::Acquire) { Err(PullError::Closed) } else { Ok(()) }
    }

    // What is wanted.

    /// Subscriptions that brokers share among the group.
    pub(crate) fn subscriptions(&self) -> Vec<Subscription> {
        let table = self.table.lock();
        if table.assigned { Vec::new() } else { table.subscriptions.values().cloned().collect() }
    }

    /// What is wanted of a topic.
    pub(crate) fn subscription(&self, topic: &str) -> Subscription {
        let known = self.table.lock().subscriptions.get(topic).cloned();
        known.unwrap_or_else(|| Subscription::all(topic, Timestamp(0)))
    }

    /// Subscribes to a topic, from the next balancing on.
    pub(crate) fn subscribe(&self, subscription: Subscription) -> Result<(), PullError> {
        let mut table = self.table.lock();
        if table.assigned {
            return Err(PullError::Exclusive);
        }
        table.subscriptions.insert(subscription.topic.clone(), subscription);
        Ok(())
    }

    pub(crate) fn unsubscribe(&self, topic: &str) {
        self.table.lock().subscriptions.remove(topic);
    }

    // What is held.

    pub(crate) fn held(&self) -> Vec<Arc<HeldQueue>> {
        self.table.lock().held.values().cloned().collect()
    }

    pub(crate) fn find(&self, queue: &MessageQueue) -> Result<Arc<HeldQueue>, PullError> {
        let held = self.table.lock().held.get(queue).cloned();
        held.ok_or_else(|| PullError::NotAssigned { queue: queue.clone() })
    }

    /// Messages in all buffers.
    pub(crate) fn held_ahead(&self) -> usize {
        self.table.lock().held.values().map(|queue| queue.len()).sum()
    }

    /// Holds just these queues from now on.
    pub(crate) async fn assign(
        self: &Arc<Self>,
        queues: BTreeSet<MessageQueue>,
    ) -> Result<(), PullError> {
        let _turn = self.turn.lock().await;
        {
            let mut table = self.table.lock();
            if !table.assigned && !table.subscriptions.is_empty() {
                return Err(PullError::Exclusive);
            }
            table.assigned = true;
        }
        self.hold(|_| true, &queues).await;
        Ok(())
    }

    /// Balances all topics; whether everything is as it should be.
    pub(crate) async fn rebalance(self: &Arc<Self>) -> bool {
        let _turn = self.turn.lock().await;
        let (topics, assigned) = {
            let table = self.table.lock();
            let topics: Vec<_> = table.subscriptions.keys().cloned().collect();
            (topics, table.assigned)
        };
        if assigned || self.open().is_err() {
            return true;
        }
        let mut balanced = true;
        for topic in &topics {
            balanced &= self.balance(topic).await;
        }
        self.hold(|topic| !topics.iter().any(|known| known == topic), &BTreeSet::new()).await;
        balanced
    }

    async fn balance(self: &Arc<Self>, topic: &str) -> bool {
        let queues = match self.instance.subscribe_queues(topic).await {
            Ok(queues) => queues,
            Err(error) => {
                tracing::warn!(topic, %error, "no route of a subscribed topic");
                return true;
            }
        };
        if self.settings.message_model == MessageModel::Broadcasting {
            self.hold(|held| held == topic, &queues.iter().cloned().collect()).await;
            return true;
        }
        let (me, group) = (self.instance.client_id(), &self.settings.group);
        let members = self.instance.consumer_ids(topic, group).await;
        let Some(members) = members else { return false };
        let listed = members.iter().any(|member| member == me);
        if !listed {
            self.instance.heartbeat().await;
        }
        match rebalance::allocate(self.strategy.as_ref(), me, queues.to_vec(), members) {
            Ok(wanted) => {
                self.hold(|held| held == topic, &wanted).await;
                listed
            }
            Err(error) => {
                tracing::warn!(topic, group, %error, "cannot share the queues");
                false
            }
        }
    }

    /// Makes what is held of some topics what is wanted: first gives up, then takes.
    async fn hold(
        self: &Arc<Self>,
        concerned: impl Fn(&str) -> bool,
        wanted: &BTreeSet<MessageQueue>,
    ) {
        let held = self.table.lock().held.keys().filter(|q| concerned(&q.topic)).cloned().collect();
        let Plan { revoke, assign, .. } = rebalance::plan(&held, wanted);
        if revoke.is_empty() && assign.is_empty() {
            return;
        }
        let mut topics: BTreeSet<CompactString> = BTreeSet::new();
        for queue in revoke.iter().chain(&assign) {
            topics.insert(queue.topic.clone());
        }
        join_all(revoke.iter().map(|queue| self.give_up(queue))).await;
        for queue in assign {
            self.take(queue);
        }
        for topic in topics {
            self.changed(&topic);
        }
        self.instance.subscriptions_changed();
        self.instance.heartbeat().await;
    }

    async fn give_up(&self, queue: &MessageQueue) {
        let Some(held) = self.table.lock().held.remove(queue) else { return };
        held.revoked.cancel();
        if let Err(error) = self.progress.persist_one(queue).await {
            tracing::warn!(%queue, %error, "progress of a queue that is given up is not written");
        }
        self.progress.let_go(queue);
        tracing::info!(%queue, "queue given up");
    }

    fn take(self: &Arc<Self>, queue: MessageQueue) {
        tracing::info!(%queue, "queue taken");
        let held = HeldQueue::new(queue.clone());
        let name = format!("pull {queue}");
        self.table.lock().held.insert(queue, Arc::clone(&held));
        self.tasks.spawn(&name, OnFailure::Log, pull_loop::run(Arc::clone(self), held));
    }

    /// Tells who wants to know, and raises the version of the subscription.
    fn changed(&self, topic: &str) {
        let now = Timestamp::from(self.clock().wall());
        let mine: Vec<_> = {
            let mut table = self.table.lock();
            if let Some(subscription) = table.subscriptions.get_mut(topic) {
                subscription.version = now.0;
            }
            table.held.keys().filter(|queue| queue.topic == topic).cloned().collect()
        };
        if let Some(listener) = &self.listener {
            listener(topic, &mine);
        }
    }

    // What is handed out.

    /// What one of the queues has, each in its turn; nothing when all are empty.
    pub(crate) fn take_some(&self) -> Vec<MessageView> {
        let held = self.held();
        let count = usize::try_from(self.settings.batch_size).unwrap_or(1);
        let start = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(held.len()).unwrap_or(0);
        let (before, from) = held.split_at(start);
        let mut taken = from.iter().chain(before).map(|queue| queue.take(count));
        taken.find(|taken| !taken.is_empty()).unwrap_or_default()
    }

    /// Messages as users know them.
    pub(crate) fn told(&self, mut messages: Vec<MessageView>) -> Vec<MessageView> {
        let namespace = self.instance.namespace();
        if !namespace.is_none() {
            for message in &mut messages {
                message.topic = namespace.strip(&message.topic);
            }
        }
        messages
    }

    // Progress.

    /// Commits what was handed out, when it is time to; the instance writes it.
    pub(crate) fn auto_commit(&self) {
        if !self.settings.auto_commit {
            return;
        }
        let (now, interval) =
            (self.clock().monotonic(), Duration::from_millis(self.settings.auto_commit_interval));
        let mut committed = self.committed.lock();
        if now.since(*committed) >= interval {
            *committed = now;
            drop(committed);
            self.note_consumed(&self.held());
        }
    }

    /// What was handed out of these queues counts as consumed, in memory.
    pub(crate) fn note_consumed(&self, queues: &[Arc<HeldQueue>]) {
        for held in queues {
            if let Some(offset) = held.consumed() {
                self.progress.update(&held.queue, offset, false);
            }
        }
    }

    /// Writes positions of memory and waits until they are kept.
    pub(crate) async fn write(&self, queues: &[MessageQueue]) -> Result<(), PullError> {
        let written = queues.iter().map(|queue| self.progress.persist_one(queue));
        let outcomes = join_all(written).await;
        Ok(outcomes.into_iter().collect::<Result<(), _>>()?)
    }

    pub(crate) async fn persist(&self) {
        let _turn = self.turn.lock().await;
        let held: Vec<_> = self.table.lock().held.keys().cloned().collect();
        if let Err(error) = self.progress.persist(&held).await {
            tracing::warn!(group = self.settings.group, %error, "progress is not written yet");
        }
    }

    /// Goes on from other positions, because an operator wants it.
    pub(crate) async fn reset(&self, offsets: &BTreeMap<MessageQueue, QueueOffset>) {
        let _turn = self.turn.lock().await;
        for (queue, offset) in offsets {
            let Ok(held) = self.find(queue) else { continue };
            tracing::info!(%queue, %offset, "position reset");
            held.seek(*offset);
            self.progress.update(queue, *offset, false);
            if let Err(error) = self.progress.persist_one(queue).await {
                tracing::warn!(%queue, %error, "the new position is not written yet");
            }
        }
    }

    /// Gives everything up; false when that was done before.
    pub(crate) async fn close(&self) -> bool {
        if self.closed.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.arrived.notify_waiters();
        let _turn = self.turn.lock().await;
        if self.settings.auto_commit {
            self.note_consumed(&self.held());
        }
        let held: Vec<_> = self.table.lock().held.keys().cloned().collect();
        join_all(held.iter().map(|queue| self.give_up(queue))).await;
        true
    }
}
