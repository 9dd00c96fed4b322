//! Popping instead of pulling, for topics of which brokers say so (`clientRebalance` is false).
//!
//! A popped message is the group's business no more than anybody's: there is no process queue and no
//! progress, only a receipt and a time within which to use it. What is done is acknowledged; what
//! failed stays hidden for longer, each time; what failed too often is copied to the dead letters
//! first and then acknowledged. What is neither comes again to whoever pops then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use rmq_client_core::protocol::{PopQueueSnapshot, RequestMode};
use rmq_client_core::{ClientError, PopCall, PopOutcome, Popped, Receipt};
use rmq_message::{MessageQueue, MessageView, Subscription, Timestamp, name};
use rmq_runtime::{ClockExt, Monotonic};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::listener::{ConsumeContext, ConsumeOutcome, MessageListener};
use crate::process_queue::Messages;
use crate::pull_loop::restore_topic;
use crate::send_back;
use crate::settings::ConsumeFrom;
use crate::stats::TopicStats;

/// How long a broker may wait for messages, and the time limit of the call.
const POLL: Duration = Duration::from_secs(15);
const TIMEOUT: Duration = Duration::from_secs(25);
/// Wait while enough is held, and after an answer that came at once and brought nothing.
const FULL_WAIT: Duration = Duration::from_millis(50);
const BUSY_WAIT: Duration = Duration::from_millis(20);
/// Wait when the broker has too many who wait, and when the topic is no longer subscribed.
const CROWDED_WAIT: Duration = Duration::from_secs(1);
/// Seconds for which a message is hidden after a failure, by attempt.
const HIDE_SECONDS: [u64; 16] =
    [10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];

/// A queue that is popped; with id −1 all queues of its broker.
pub(crate) struct PopQueue {
    queue: Arc<MessageQueue>,
    revoked: Arc<CancellationToken>,
    stats: Arc<TopicStats>,
    /// Messages that were popped and are not settled.
    held: AtomicUsize,
    /// Batches that workers have.
    running: watch::Sender<usize>,
    last_pop: AtomicI64,
}

/// Messages for one call of the listener.
pub(crate) struct PopBatch {
    queue: Arc<PopQueue>,
    popped: Vec<Popped>,
}

/// All queues that are popped.
#[derive(Default)]
pub(crate) struct PopTable(Mutex<BTreeMap<MessageQueue, Arc<PopQueue>>>);

impl PopTable {
    pub(crate) fn queues(&self) -> Vec<Arc<PopQueue>> {
        self.0.lock().values().cloned().collect()
    }

    pub(crate) fn names(&self) -> BTreeSet<MessageQueue> {
        self.0.lock().keys().cloned().collect()
    }

    pub(crate) fn snapshots(&self) -> BTreeMap<MessageQueue, PopQueueSnapshot> {
        let snapshot = |queue: &PopQueue| PopQueueSnapshot {
            droped: queue.revoked.is_cancelled(),
            last_pop_timestamp: queue.last_pop.load(Ordering::Relaxed),
            wait_ack_count: i32::try_from(queue.held()).unwrap_or(i32::MAX),
        };
        self.queues().iter().map(|queue| ((*queue.queue).clone(), snapshot(queue))).collect()
    }
}

impl PopQueue {
    fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.revoked.cancel();
    }

    pub(crate) fn running(&self) -> usize {
        *self.running.borrow()
    }

    /// Ready when no worker has a batch. Cancel-safe.
    pub(crate) async fn idle(&self) {
        let mut running = self.running.subscribe();
        let ended = running.wait_for(|count| *count == 0).await;
        debug_assert!(ended.is_ok(), "the sender lives as long as the queue");
    }
}

impl Drop for PopBatch {
    fn drop(&mut self) {
        self.queue.held.fetch_sub(self.popped.len(), Ordering::AcqRel);
    }
}

impl Engine {
    /// Has a broker say which queues are this member's, and how they are consumed.
    pub(crate) async fn balance_by_broker(self: &Arc<Self>, topic: &str) -> bool {
        let (strategy, model) = (self.parts.strategy.name(), self.settings.message_model);
        let asked = self.brokers().query_assignment(topic, &self.group, strategy, model).await;
        let assignments = match asked {
            Ok(Some(assignments)) => assignments,
            Ok(None) => return false,
            Err(error) => {
                tracing::warn!(topic, group = %self.group, %error, "no broker tells which queues are ours, keeping what is there");
                return false;
            }
        };
        let (mut pull, mut pop) = (BTreeSet::new(), BTreeSet::new());
        for assignment in assignments {
            let Some(queue) = assignment.message_queue else { continue };
            match assignment.mode {
                RequestMode::Pop => pop.insert(queue),
                _ => pull.insert(queue),
            };
        }
        let changed = self.follow_retries(topic, !pull.is_empty(), !pop.is_empty());
        let popping = self.apply_pops(topic, &pop);
        if changed || popping {
            self.queues_changed(topic).await;
        }
        self.apply(topic, &pull).await
    }

    /// What was popped before and failed lies in a topic of its own; while a topic is pulled, that
    /// one is pulled too. Whether that is new.
    fn follow_retries(&self, topic: &str, pulls: bool, pops: bool) -> bool {
        if name::is_retry(topic) || pulls == pops {
            return false;
        }
        let retry = format!("{}{}_{topic}", name::RETRY_PREFIX, self.group);
        let is_known = self.subscriptions.contains(&retry);
        if pulls && !is_known {
            self.subscriptions.set(Subscription::all(&retry, self.wall()));
        } else if pops && is_known {
            self.subscriptions.remove(&retry);
        }
        pulls != is_known
    }

    /// Makes the popped queues of a topic those that are wanted. Whether they are others now.
    pub(crate) fn apply_pops(
        self: &Arc<Self>,
        topic: &str,
        wanted: &BTreeSet<MessageQueue>,
    ) -> bool {
        let (mut gone, mut fresh) = (Vec::new(), Vec::new());
        {
            let mut table = self.pops.0.lock();
            table.retain(|name, queue| {
                let keep = name.topic != topic || wanted.contains(name);
                if !keep {
                    gone.push(Arc::clone(queue));
                }
                keep
            });
            for name in wanted.iter().filter(|_| !self.is_stopping()) {
                if !table.contains_key(name) {
                    let queue = self.pop_queue(name);
                    table.insert(name.clone(), Arc::clone(&queue));
                    fresh.push(queue);
                }
            }
        }
        gone.iter().for_each(|queue| queue.close());
        for queue in &fresh {
            tracing::info!(queue = %queue.queue, "popping begins");
            let name = format!("PullMessageService pop {}", queue.queue);
            self.spawn(&name, run(Arc::clone(self), Arc::clone(queue)));
        }
        !gone.is_empty() || !fresh.is_empty()
    }

    fn pop_queue(&self, name: &MessageQueue) -> Arc<PopQueue> {
        Arc::new(PopQueue {
            queue: Arc::new(name.clone()),
            revoked: Arc::default(),
            stats: self.stats.of(&name.topic),
            held: AtomicUsize::new(0),
            running: watch::Sender::new(0),
            last_pop: AtomicI64::new(self.wall().0),
        })
    }
}

async fn run(engine: Arc<Engine>, queue: Arc<PopQueue>) {
    tokio::select! {
        biased;
        () = queue.revoked.cancelled() => {}
        () = pop_on(&engine, &queue) => {}
    }
}

async fn pop_on(engine: &Arc<Engine>, queue: &Arc<PopQueue>) {
    let clock = &engine.instance.world().clock;
    let mut paused = engine.paused.subscribe();
    let most = usize::try_from(engine.settings.pop_threshold_for_queue).unwrap_or(usize::MAX);
    clock.sleep(Duration::from_millis(engine.settings.first_pull_delay_millis)).await;
    while paused.wait_for(|paused| !paused).await.is_ok() {
        queue.last_pop.store(engine.wall().0, Ordering::Relaxed);
        if queue.held() > most {
            clock.sleep(FULL_WAIT).await;
            continue;
        }
        let Some(subscription) = engine.subscriptions.for_pull(&queue.queue.topic) else {
            clock.sleep(CROWDED_WAIT).await;
            continue;
        };
        let begun = engine.now();
        let wait = match pop(engine, queue, &subscription).await {
            Ok(outcome) => take(engine, queue, outcome, begun).await,
            Err(error) => {
                tracing::warn!(queue = %queue.queue, %error, "pop failed");
                Duration::from_millis(engine.settings.pull_time_delay_mills_when_exception)
            }
        };
        clock.sleep(wait).await;
    }
}

async fn pop(
    engine: &Engine,
    queue: &PopQueue,
    subscription: &Subscription,
) -> Result<PopOutcome, ClientError> {
    let call = PopCall {
        group: &engine.group,
        queue: &queue.queue,
        subscription,
        max_messages: i32::try_from(engine.settings.pop_batch_nums).unwrap_or(i32::MAX),
        invisible: Duration::from_millis(engine.settings.pop_invisible_time),
        poll: POLL,
        timeout: TIMEOUT,
        from_start: engine.settings.consume_from_where == ConsumeFrom::FirstOffset,
        born: engine.wall(),
    };
    engine.brokers().pop(&call).await
}

/// Hands over what came. Tells how long to wait before the next pop.
async fn take(
    engine: &Arc<Engine>,
    queue: &Arc<PopQueue>,
    outcome: PopOutcome,
    begun: Monotonic,
) -> Duration {
    let took = engine.now().since(begun);
    let (popped, unwanted) = match outcome {
        PopOutcome::Full => return CROWDED_WAIT,
        PopOutcome::Nothing if took < BUSY_WAIT => return BUSY_WAIT,
        PopOutcome::Nothing => return Duration::ZERO,
        PopOutcome::Found { popped, unwanted } => (popped, unwanted),
    };
    queue.stats.pulled(popped.len(), took);
    join_all(unwanted.iter().map(|receipt| acknowledge(engine, receipt))).await;
    let size = usize::try_from(engine.settings.consume_message_batch_max_size).unwrap_or(1);
    let mut rest = popped.into_iter().map(|mut popped| {
        restore_topic(&engine.group, engine.namespace(), &mut popped.message);
        popped
    });
    loop {
        let popped: Vec<Popped> = rest.by_ref().take(size.max(1)).collect();
        if popped.is_empty() {
            return Duration::ZERO;
        }
        queue.held.fetch_add(popped.len(), Ordering::AcqRel);
        engine.line.push_popped(PopBatch { queue: Arc::clone(queue), popped });
    }
}

/// One batch.
pub(crate) async fn turn(engine: &Engine, listener: &dyn MessageListener, batch: PopBatch) {
    let queue = &batch.queue;
    if queue.revoked.is_cancelled() || batch.is_over(engine.wall()) {
        tracing::debug!(queue = %queue.queue, count = batch.popped.len(), "popped messages come again, nobody had time for them");
        return;
    }
    queue.running.send_modify(|count| *count += 1);
    let _running = Running(queue);
    let messages: Vec<MessageView> = batch.popped.iter().map(|p| p.message.clone()).collect();
    let (messages, count) = (Messages::from(messages), batch.popped.len());
    let (group, name) = (Arc::clone(&engine.group), Arc::clone(&queue.queue));
    let context = ConsumeContext::new(group, name, Arc::clone(&queue.revoked), &messages);
    let answer = listener.consume(&messages, &context);
    let is_success = |outcome: &ConsumeOutcome| outcome.done_of(count) == count;
    let (answer, took) = engine.observed(&queue.queue, &messages, answer, is_success).await;
    let outcome = answer.unwrap_or_else(ConsumeOutcome::later);
    let done = outcome.done_of(count);
    queue.stats.consumed(done, count - done, took);
    if batch.is_over(engine.wall()) {
        tracing::warn!(queue = %queue.queue, count, "the listener took longer than messages are hidden, they come again");
        return;
    }
    let level = outcome.delay_level();
    let (finished, failed) = batch.popped.split_at(done);
    join_all(finished.iter().map(|popped| acknowledge(engine, &popped.receipt))).await;
    join_all(failed.iter().map(|popped| postpone(engine, popped, level))).await;
}

impl PopBatch {
    fn is_over(&self, now: Timestamp) -> bool {
        self.popped.iter().any(|popped| popped.receipt.is_over(now))
    }
}

struct Running<'a>(&'a PopQueue);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.send_modify(|count| *count = count.saturating_sub(1));
    }
}

async fn acknowledge(engine: &Engine, receipt: &Receipt) {
    if let Err(error) = engine.brokers().ack(&engine.group, receipt).await {
        tracing::warn!(group = %engine.group, %error, "cannot acknowledge a message, it comes again");
    }
}

/// A failed message stays hidden for a while, or goes to the dead letters.
async fn postpone(engine: &Engine, popped: &Popped, level: i32) {
    let (message, receipt) = (&popped.message, &popped.receipt);
    if level < 0 || message.reconsume_times >= engine.attempts_max() {
        match send_back::send_back(engine, message, -1).await {
            Ok(()) => return acknowledge(engine, receipt).await,
            Err(error) => {
                tracing::warn!(queue = %message.queue(), %error, "cannot make a dead letter, the message comes again");
            }
        }
    }
    let time = hidden_for(level, message.reconsume_times);
    if let Err(error) = engine.brokers().hide(&engine.group, receipt, time).await {
        tracing::warn!(queue = %message.queue(), %error, "cannot postpone a message, it comes again when it is visible");
    }
}

/// How long a message is hidden: by the level that the listener names, else by the attempt.
fn hidden_for(level: i32, reconsume_times: i32) -> Duration {
    let index = if level > 0 { level } else { reconsume_times };
    let index = usize::try_from(index).unwrap_or(0).min(HIDE_SECONDS.len() - 1);
    Duration::from_secs(HIDE_SECONDS.get(index).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_message_is_hidden_for_longer_each_time() {
        for (level, times, seconds) in [
            (0, 0, 10),
            (0, 1, 30),
            (0, 15, 7200),
            (0, 99, 7200),
            (3, 0, 120),
            (18, 0, 7200),
            (-1, -1, 10),
        ] {
            assert_eq!(hidden_for(level, times), Duration::from_secs(seconds));
        }
    }
}
