//! One loop per owned queue: find where to begin, then pull, hand over, pull again.
//!
//! There is never more than one pull of a queue on the way. The loop ends when its queue is revoked,
//! wherever it waits, and a pull that is on the way then is dropped with its answer (INV-25). It also
//! ends when the queue must begin anew; it cannot end otherwise, and if it did, the next balancing
//! would replace the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rmq_client_core::{ClientError, Namespace, PullCall, PullOutcome, PullStatus};
use rmq_message::{MessageView, QueueOffset, name, property};
use rmq_runtime::{ClockExt, Monotonic};
use tokio::sync::watch;

use crate::engine::Engine;
use crate::owned_queue::OwnedQueue;
use crate::start_offset::start_offset;

/// How long a broker may wait for messages.
const SUSPEND: Duration = Duration::from_secs(15);
/// Time limit of a pull; longer than the wait and the broker's check every five seconds.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait of a full queue before it is looked at again.
const FULL_WAIT: Duration = Duration::from_millis(50);
/// Wait when the broker is busy, and after an answer that came at once and brought nothing.
const BUSY_WAIT: Duration = Duration::from_millis(20);
/// Time in which a queue of which somebody pulls would not stand still, and how often it is waited.
const SETTLE: Duration = Duration::from_millis(100);
const SETTLE_MAX: u32 = 20;
/// Wait when the lock of an ordered queue was refused.
const LOCK_WAIT: Duration = Duration::from_millis(500);
/// Wait when the topic is no longer subscribed.
const UNSUBSCRIBED_WAIT: Duration = Duration::from_secs(1);
/// The broker is busy.
const FLOW_CONTROL: i32 = 215;
/// The broker has an older version of the subscription.
const SUBSCRIPTION_NOT_LATEST: i32 = 25;

/// Why a loop ended by itself.
enum End {
    /// The broker says that the queue does not go on where we are, but here.
    Moved(QueueOffset),
    /// The lock of an ordered queue was lost.
    LeaseLost,
}

/// What comes after a turn.
enum Then {
    Next,
    Wait(Duration),
    End(End),
}

/// The whole life of a loop.
pub(crate) async fn run(engine: Arc<Engine>, queue: Arc<OwnedQueue>, start: Option<QueueOffset>) {
    let alive = Alive { engine: &engine, queue: &queue };
    let pulling = PullLoop::new(&engine, &queue).run(start);
    let end = tokio::select! {
        biased;
        () = queue.revoked.cancelled() => None,
        end = pulling => Some(end),
    };
    match end {
        None => {}
        Some(End::LeaseLost) => engine.begin_anew(&queue),
        Some(End::Moved(to)) => engine.move_to(&queue, to).await,
    }
    drop(alive);
}

/// Tells the next balancing when a loop is gone although its queue is not.
struct Alive<'a> {
    engine: &'a Engine,
    queue: &'a OwnedQueue,
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        if !self.queue.revoked.is_cancelled() && !self.engine.is_stopping() {
            self.queue.lost.store(true, Ordering::Release);
            self.engine.instance.rebalance_soon();
        }
    }
}

struct PullLoop<'a> {
    engine: &'a Arc<Engine>,
    queue: &'a Arc<OwnedQueue>,
    next: QueueOffset,
    /// The replica that the broker wants to be asked.
    broker_id: i64,
    paused: watch::Receiver<bool>,
    changes: watch::Receiver<u64>,
}

impl<'a> PullLoop<'a> {
    fn new(engine: &'a Arc<Engine>, queue: &'a Arc<OwnedQueue>) -> Self {
        Self {
            engine,
            queue,
            next: QueueOffset::ZERO,
            broker_id: 0,
            paused: engine.paused.subscribe(),
            changes: engine.subscriptions.changes(),
        }
    }

    async fn run(mut self, start: Option<QueueOffset>) -> End {
        self.next = self.locate(start).await;
        tracing::debug!(queue = %self.queue.queue, from = %self.next, "pulling begins");
        loop {
            match self.turn().await {
                Then::Next => {}
                Then::Wait(time) => self.sleep(time).await,
                Then::End(end) => return end,
            }
        }
    }

    async fn sleep(&self, time: Duration) {
        self.engine.instance.world().clock.sleep(time).await;
    }

    fn after_error(&self) -> Duration {
        BUSY_WAIT
            .max(Duration::from_millis(self.engine.settings.pull_time_delay_mills_when_exception))
    }

    /// Where to begin. A shared queue is asked for at once and, when the group has progress there,
    /// once more after the former owner's last commit had time to arrive; an ordered one after its
    /// lock was granted, and after this consumer's own listener has let go of it.
    async fn locate(&self, start: Option<QueueOffset>) -> QueueOffset {
        self.engine.assignment.cleared(&self.queue.queue).await;
        while !self.queue.is_leased(self.engine.now())
            && !self.engine.lock(std::slice::from_ref(self.queue)).await
        {
            self.sleep(LOCK_WAIT).await;
        }
        let delay = Duration::from_millis(self.engine.settings.first_pull_delay_millis);
        let (queue, progress) = (&self.queue.queue, &self.engine.progress);
        if let Some(offset) = start {
            self.queue.begin(offset, false, progress);
            self.sleep(delay).await;
            return offset;
        }
        let found = loop {
            match start_offset(self.engine, queue).await {
                Ok(found) => break found,
                Err(error) => {
                    tracing::warn!(%queue, %error, "position is not known yet, asking again");
                    self.sleep(self.after_error()).await;
                }
            }
        };
        self.sleep(delay).await;
        let offset = if found.stored { self.settled(found.offset).await } else { found.offset };
        // What a rule gave counts as progress, so that messages that arrive before the first commit
        // are not skipped when the queue changes its owner meanwhile.
        self.queue.begin(offset, found.stored, progress);
        offset
    }

    /// Where the group's progress stands still, or is after the longest wait: a former owner that has
    /// not noticed the change yet moves it with each of its pulls, and what it does would be done
    /// twice.
    async fn settled(&self, mut offset: QueueOffset) -> QueueOffset {
        for _ in 0..SETTLE_MAX {
            match self.engine.progress.read(&self.queue.queue).await {
                Ok(Some(moved)) if moved != offset => offset = moved,
                Ok(_) | Err(_) => break,
            }
            self.sleep(SETTLE).await;
        }
        offset
    }

    /// One look at the queue and, if it may be, one pull.
    async fn turn(&mut self) -> Then {
        let (engine, queue) = (self.engine, self.queue);
        queue.last_pull.store(engine.wall().0, Ordering::Relaxed);
        if self.paused.wait_for(|paused| !paused).await.is_err() {
            return Then::Wait(self.after_error());
        }
        queue.await_room();
        if let Some(full) = engine.assignment.limits().full(queue.load()) {
            tracing::trace!(queue = %queue.queue, ?full, "enough is held, pulling waits");
            tokio::select! {
                biased;
                () = queue.room() => {}
                () = self.sleep(FULL_WAIT) => {}
            }
            return Then::Next;
        }
        if !queue.is_leased(engine.now()) {
            return Then::End(End::LeaseLost);
        }
        self.changes.borrow_and_update();
        let Some(subscription) = engine.subscriptions.for_pull(&queue.queue.topic) else {
            return Then::Wait(UNSUBSCRIBED_WAIT);
        };
        let commit =
            if engine.is_clustering() { engine.progress.memory(&queue.queue) } else { None };
        let call = PullCall {
            group: &engine.group,
            queue: &queue.queue,
            offset: self.next,
            subscription: &subscription,
            send_expression: engine.settings.post_subscription_when_pull,
            max_messages: i32::try_from(engine.settings.pull_batch_size).unwrap_or(i32::MAX),
            max_bytes: engine.settings.pull_batch_size_in_bytes,
            commit: commit.filter(|offset| *offset > QueueOffset::ZERO),
            suspend: Some(SUSPEND),
            timeout: TIMEOUT,
            broker_id: self.broker_id,
            lite: false,
        };
        let begun = engine.now();
        let answer = tokio::select! {
            biased;
            // What was asked under an old expression is asked again; nothing was taken yet.
            _ = self.changes.changed() => return Then::Next,
            _ = self.paused.wait_for(|paused| *paused) => return Then::Next,
            answer = engine.brokers().pull(&call) => answer,
        };
        match answer {
            Ok(outcome) => self.take(outcome, begun),
            Err(error) => self.failed(&error),
        }
    }

    fn take(&mut self, outcome: PullOutcome, begun: Monotonic) -> Then {
        let (engine, queue) = (self.engine, self.queue);
        self.broker_id = outcome.broker_id;
        let took = engine.now().since(begun);
        match outcome.status {
            PullStatus::OffsetIllegal => self.moved(&outcome),
            PullStatus::Found if !outcome.messages.is_empty() => {
                queue.stats.pulled(outcome.messages.len(), took);
                let messages = self.restored(outcome.messages);
                let messages = engine.parts.hooks.filter(&queue.queue, messages);
                if outcome.next < self.next {
                    tracing::warn!(queue = %queue.queue, from = %self.next, to = %outcome.next, "the broker goes back");
                }
                self.next = outcome.next;
                queue.put(messages, outcome.next, &engine.line);
                match engine.settings.pull_interval {
                    0 => Then::Next,
                    millis => Then::Wait(Duration::from_millis(millis.into())),
                }
            }
            PullStatus::Found | PullStatus::NoNewMessage | PullStatus::NoMatchedMessage => {
                let stands_still = outcome.next == self.next;
                self.next = outcome.next;
                queue.advance(outcome.next, &engine.progress);
                if stands_still && took < BUSY_WAIT { Then::Wait(BUSY_WAIT) } else { Then::Next }
            }
        }
    }

    /// The broker has corrected the position; a correction that is itself outside the queue is none.
    fn moved(&self, outcome: &PullOutcome) -> Then {
        let (queue, from, to) = (&self.queue.queue, self.next, outcome.next);
        if to == from || to < outcome.min || to > outcome.max {
            let (min, max) = (outcome.min, outcome.max);
            tracing::warn!(%queue, %from, %to, %min, %max, "the broker refuses the position and names no usable one");
            return Then::Wait(self.after_error());
        }
        tracing::warn!(%queue, %from, %to, "the position is none of the queue, the broker corrects it");
        Then::End(End::Moved(to))
    }

    fn failed(&mut self, error: &ClientError) -> Then {
        let queue = &self.queue.queue;
        self.broker_id = 0;
        if error.is_refused_with(FLOW_CONTROL) {
            return Then::Wait(BUSY_WAIT);
        }
        if name::is_retry(&queue.topic) || error.is_refused_with(SUBSCRIPTION_NOT_LATEST) {
            tracing::debug!(%queue, %error, "pull failed");
        } else {
            tracing::warn!(%queue, %error, "pull failed");
        }
        Then::Wait(self.after_error())
    }

    /// Gives retried messages the topic that they were sent to, as users know it.
    fn restored(&self, mut messages: Vec<MessageView>) -> Vec<MessageView> {
        let namespace = self.engine.namespace();
        if name::is_retry(&self.queue.queue.topic) || !namespace.is_none() {
            for message in &mut messages {
                restore_topic(&self.engine.group, namespace, message);
            }
        }
        messages
    }
}

/// The topic that a retried message was sent to, without namespace; other messages keep theirs.
pub(crate) fn restore_topic(group: &str, namespace: &Namespace, message: &mut MessageView) {
    let retried = message.topic.strip_prefix(name::RETRY_PREFIX);
    let restored = retried.and_then(|rest| rest.strip_prefix(group)).and_then(|rest| {
        match rest.strip_prefix(['_', '+']) {
            Some(topic) => Some(topic),
            None if rest.is_empty() => message.properties.get(property::RETRY_TOPIC),
            None => None,
        }
    });
    let topic = namespace.strip(restored.unwrap_or(&message.topic));
    message.topic = topic;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message;

    #[test]
    fn retried_messages_get_their_topic_back() {
        for (topic, retry_topic, expected) in [
            ("%RETRY%g", Some("Orders"), "Orders"),
            ("%RETRY%g", None, "%RETRY%g"),
            ("%RETRY%g_Orders", None, "Orders"),
            ("%RETRY%g+Orders", None, "Orders"),
            ("%RETRY%gg", Some("Orders"), "%RETRY%gg"),
            ("Orders", Some("Else"), "Orders"),
        ] {
            let mut message = message(topic, 0, b"");
            if let Some(name) = retry_topic {
                message.properties.set(property::RETRY_TOPIC, name);
            }
            restore_topic("g", &Namespace::default(), &mut message);
            assert_eq!(message.topic, expected);
        }
    }
}
