//! The consumer as its user holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rmq_client_core::protocol::Boundary;
use rmq_message::{MessageQueue, MessageView, QueueOffset, Subscription, Timestamp};
use rmq_runtime::{ClockExt, OnFailure};

use crate::builder::PullConsumerBuilder;
use crate::engine::Engine;
use crate::error::{PullError, StartError};

/// Time that tasks and farewells get at the end.
const GRACE: Duration = Duration::from_secs(3);

/// Hands out messages when it is asked. Clones share everything; names of topics in queues are those
/// that brokers know.
#[doc(alias("DefaultLitePullConsumer", "LitePullConsumer"))]
#[derive(Clone)]
pub struct PullConsumer {
    engine: Arc<Engine>,
    is_own: bool,
}

impl PullConsumer {
    /// A consumer with the usual settings, to be changed and started.
    pub fn builder() -> PullConsumerBuilder {
        PullConsumerBuilder::default()
    }

    pub(crate) fn new(engine: Arc<Engine>, is_own: bool) -> Self {
        Self { engine, is_own }
    }

    /// Tells brokers what is subscribed, and balances.
    pub(crate) async fn announce(&self) {
        for subscription in self.engine.subscriptions() {
            if let Err(error) = self.engine.instance.refresh_route(&subscription.topic).await {
                tracing::warn!(topic = %subscription.topic, %error, "no route yet");
            }
        }
        self.engine.instance.subscriptions_changed();
        self.engine.instance.heartbeat().await;
        self.engine.instance.rebalance_soon();
    }

    /// Shares the queues of another topic with the group.
    ///
    /// # Errors
    /// [`StartError::Subscription`]; [`PullError::Exclusive`] as a [`StartError::Setting`] when
    /// queues are assigned.
    pub async fn subscribe(&self, topic: &str, expression: &str) -> Result<(), StartError> {
        let now = Timestamp::from(self.engine.clock().wall());
        let topic = self.engine.instance.namespace().wrap(topic);
        let subscription = Subscription::tags(&topic, expression, now)?;
        self.engine.subscribe(subscription).map_err(|_| StartError::Setting {
            setting: "subscribe",
            reason: "Subscribe and assign are mutually exclusive.",
        })?;
        self.announce().await;
        Ok(())
    }

    /// Gives a topic up, from the next balancing on.
    pub async fn unsubscribe(&self, topic: &str) {
        self.engine.unsubscribe(&self.engine.instance.namespace().wrap(topic));
        self.announce().await;
    }

    /// Holds just these queues from now on, whatever others of the group do.
    ///
    /// # Errors
    /// [`PullError::Exclusive`] when topics are subscribed.
    pub async fn assign(
        &self,
        queues: impl IntoIterator<Item = MessageQueue>,
    ) -> Result<(), PullError> {
        self.engine.open()?;
        let queues: BTreeSet<_> = queues.into_iter().collect();
        for topic in queues.iter().map(|queue| &queue.topic).collect::<BTreeSet<_>>() {
            self.engine.instance.subscribe_queues(topic).await?;
        }
        self.engine.assign(queues).await
    }

    /// The queues of a topic, to be assigned.
    ///
    /// # Errors
    /// No route of the topic.
    #[doc(alias = "fetchMessageQueues")]
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, PullError> {
        let topic = self.engine.instance.namespace().wrap(topic);
        Ok(self.engine.instance.subscribe_queues(&topic).await?.to_vec())
    }

    /// The queues that are held now.
    pub fn assignment(&self) -> Vec<MessageQueue> {
        self.engine.held().iter().map(|held| held.queue.clone()).collect()
    }

    /// Tells of the queues of a topic whenever the brokers have others, for who assigns them.
    ///
    /// # Errors
    /// No route of the topic.
    #[doc(alias = "registerTopicMessageQueueChangeListener")]
    pub async fn watch_queues(
        &self,
        topic: &str,
        listener: impl Fn(&[MessageQueue]) + Send + Sync + 'static,
    ) -> Result<(), PullError> {
        let topic = self.engine.instance.namespace().wrap(topic);
        let mut known = self.engine.instance.subscribe_queues(&topic).await?;
        let weak = Arc::downgrade(&self.engine);
        let interval = Duration::from_millis(self.engine.settings.watch_interval);
        let (clock, stop) =
            (Arc::clone(&self.engine.instance.world().clock), self.engine.tasks.stop_token());
        self.engine.tasks.spawn("watch queues", OnFailure::Log, async move {
            loop {
                tokio::select! {
                    biased;
                    () = stop.requested() => return,
                    () = clock.sleep(interval) => {}
                }
                let Some(engine) = weak.upgrade() else { return };
                if let Err(error) = engine.instance.refresh_route(&topic).await {
                    tracing::debug!(%topic, %error, "no fresh route of a watched topic");
                }
                if let Ok(queues) = engine.instance.subscribe_queues(&topic).await
                    && queues != known
                {
                    known = queues;
                    listener(&known);
                }
            }
        });
        Ok(())
    }

    /// Messages of one queue, waiting for some if there are none; nothing when the time is up.
    ///
    /// Cancel-safe: what is not returned is not taken.
    ///
    /// # Errors
    /// [`PullError::Closed`].
    pub async fn poll(&self, timeout: Duration) -> Result<Vec<MessageView>, PullError> {
        let engine = &self.engine;
        let deadline = engine.clock().monotonic() + timeout;
        loop {
            engine.open()?;
            engine.auto_commit();
            let arrived = engine.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            let taken = engine.take_some();
            if !taken.is_empty() {
                return Ok(taken);
            }
            tokio::select! {
                biased;
                () = arrived => {}
                () = engine.clock().sleep_until(deadline) => return Ok(Vec::new()),
            }
        }
    }

    /// Commits what was handed out of all queues that are held, and waits until the brokers have it.
    ///
    /// # Errors
    /// Some of it may be committed.
    pub async fn commit(&self) -> Result<(), PullError> {
        let held = self.engine.held();
        self.engine.note_consumed(&held);
        let queues: Vec<_> = held.iter().map(|held| held.queue.clone()).collect();
        self.engine.write(&queues).await
    }

    /// Commits these positions, each that of the next message wanted.
    ///
    /// # Errors
    /// [`PullError::NotAssigned`]; nothing is committed then. Otherwise some of it may be.
    pub async fn commit_offsets(
        &self,
        offsets: &BTreeMap<MessageQueue, QueueOffset>,
    ) -> Result<(), PullError> {
        for queue in offsets.keys() {
            self.engine.find(queue)?;
        }
        for (queue, offset) in offsets {
            self.engine.progress.update(queue, *offset, false);
        }
        let queues: Vec<_> = offsets.keys().cloned().collect();
        self.engine.write(&queues).await
    }

    /// The committed position of a queue, of memory or of its broker. None: there is none.
    ///
    /// # Errors
    /// The broker cannot be asked.
    pub async fn committed(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, PullError> {
        match self.engine.progress.memory(queue) {
            Some(offset) => Ok(Some(offset)),
            None => {
                let (brokers, group) =
                    (self.engine.instance.brokers(), &self.engine.settings.group);
                Ok(brokers.query_offset(group, queue).await?)
            }
        }
    }

    /// Goes on from another position. What was pulled of the queue and not handed out is dropped.
    ///
    /// # Errors
    /// [`PullError::NotAssigned`], [`PullError::OutOfRange`], or the broker cannot be asked.
    pub async fn seek(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), PullError> {
        let held = self.engine.find(queue)?;
        let brokers = self.engine.instance.brokers();
        let (min, max) = (brokers.min_offset(queue).await?, brokers.max_offset(queue).await?);
        if !(min..=max).contains(&offset) {
            return Err(PullError::OutOfRange { offset, min, max });
        }
        held.seek(offset);
        Ok(())
    }

    /// Goes on from the queue's first message.
    ///
    /// # Errors
    /// As [`PullConsumer::seek`].
    pub async fn seek_to_begin(&self, queue: &MessageQueue) -> Result<(), PullError> {
        let held = self.engine.find(queue)?;
        held.seek(self.engine.instance.brokers().min_offset(queue).await?);
        Ok(())
    }

    /// Goes on with the next message that comes.
    ///
    /// # Errors
    /// As [`PullConsumer::seek`].
    pub async fn seek_to_end(&self, queue: &MessageQueue) -> Result<(), PullError> {
        let held = self.engine.find(queue)?;
        held.seek(self.engine.instance.brokers().max_offset(queue).await?);
        Ok(())
    }

    /// Goes on from the first message stored at or after a time.
    ///
    /// # Errors
    /// As [`PullConsumer::seek`].
    pub async fn seek_to_time(
        &self,
        queue: &MessageQueue,
        time: Timestamp,
    ) -> Result<(), PullError> {
        let held = self.engine.find(queue)?;
        held.seek(self.offset_for_timestamp(queue, time).await?);
        Ok(())
    }

    /// The position of the first message stored at or after a time.
    ///
    /// # Errors
    /// The broker cannot be asked.
    pub async fn offset_for_timestamp(
        &self,
        queue: &MessageQueue,
        time: Timestamp,
    ) -> Result<QueueOffset, PullError> {
        let brokers = self.engine.instance.brokers();
        Ok(brokers.search_offset(queue, time, Boundary::Lower).await?)
    }

    /// Pulls no more of these queues; what is held of them is still handed out.
    ///
    /// # Errors
    /// [`PullError::NotAssigned`] for the first one that is not held.
    pub fn pause(&self, queues: &[MessageQueue]) -> Result<(), PullError> {
        self.set_paused(queues, true)
    }

    /// Goes on with these queues.
    ///
    /// # Errors
    /// As [`PullConsumer::pause`].
    pub fn resume(&self, queues: &[MessageQueue]) -> Result<(), PullError> {
        self.set_paused(queues, false)
    }

    fn set_paused(&self, queues: &[MessageQueue], paused: bool) -> Result<(), PullError> {
        for queue in queues {
            self.engine.find(queue)?.pause(paused);
        }
        Ok(())
    }

    /// Whether a queue is held and paused.
    pub fn is_paused(&self, queue: &MessageQueue) -> bool {
        self.engine.find(queue).is_ok_and(|held| held.is_paused())
    }

    /// Writes the progress, gives all queues up, and takes leave. Further calls do nothing.
    pub async fn shutdown(&self) {
        let engine = &self.engine;
        if !engine.close().await {
            return;
        }
        engine.instance.leave(&engine.settings.group).await;
        engine.tasks.stop(engine.instance.world().clock.as_ref(), GRACE).await;
        if self.is_own {
            let stragglers = engine.instance.shutdown(GRACE).await;
            if !stragglers.is_empty() {
                tracing::warn!(?stragglers, "tasks of the client did not end in time");
            }
        }
    }
}

impl std::fmt::Debug for PullConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullConsumer")
            .field("group", &self.engine.settings.group)
            .field("client_id", &self.engine.instance.client_id())
            .finish_non_exhaustive()
    }
}
