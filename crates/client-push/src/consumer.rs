//! A running push consumer, and its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use compact_str::CompactString;
use futures_util::future::{join, join_all};
use rmq_client_core::protocol::{Boundary, ConsumerSnapshot};
use rmq_client_core::{ClientError, ClientInstance};
use rmq_message::subscription::ExpressionType;
use rmq_message::{MessageQueue, Timestamp};
use rmq_runtime::{ClockExt, OnFailure};

use crate::builder::{PushConsumerBuilder, subscription};
use crate::engine::Engine;
use crate::error::PushError;
use crate::member::Member;
use crate::owned_queue::OwnedQueue;
use crate::settings::PushSettings;
use crate::stats::Totals;

/// What the steps after the listeners' end have at least, each.
const STEP_MIN: Duration = Duration::from_secs(1);
/// What the farewell of a dropped consumer may take.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

/// Consumes the topics that it subscribes: pulls, calls the listener, keeps the group's progress,
/// and shares queues with the other members.
///
/// End it with [`PushConsumer::shutdown`]. A consumer that is only dropped stops at once, and what its
/// listeners are doing is delivered again.
#[doc(alias("DefaultMQPushConsumer", "DefaultMQPushConsumerImpl"))]
pub struct PushConsumer {
    engine: Arc<Engine>,
    /// Whether the instance ends with the consumer.
    own: bool,
}

/// Where a consumer is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTo {
    /// With the oldest message that is still there.
    Begin,
    /// With the next message that is stored.
    End,
    /// With the first message that was stored at that time or later.
    Time(Timestamp),
}

/// How a consumer ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Calls of the listener that ended while the consumer waited for them.
    pub finished: usize,
    /// Calls of the listener that were given up, their futures dropped; their messages are delivered
    /// again, and it does not count as an attempt.
    pub abandoned: usize,
    /// Messages that were pulled and not finished, those of abandoned calls and those that no
    /// listener had got yet; they are delivered again.
    pub unconsumed: usize,
    /// Whether progress was written and the brokers know that this member has left. If not, the
    /// last messages may be delivered again, and others take the queues over after two minutes.
    pub farewell: bool,
    /// Names of tasks that did not end in time.
    pub stragglers: Vec<String>,
}

impl PushConsumer {
    /// Begins to describe a consumer.
    pub fn builder() -> PushConsumerBuilder {
        PushConsumerBuilder::default()
    }

    /// Joins the group and begins; leaves it again when that fails.
    pub(crate) async fn open(engine: Arc<Engine>, own: bool) -> Result<Self, ClientError> {
        engine.progress.load().await?;
        engine.instance.join(Arc::new(Member::new(&engine)))?;
        // Only from here on there is something to leave: a consumer that was not let in must not
        // take the one that has the group out of it.
        let consumer = Self { engine, own };
        let engine = &consumer.engine;
        engine.spawn_all();
        if let Err(error) = engine.begin().await {
            consumer.shutdown(Duration::ZERO).await;
            return Err(error);
        }
        tracing::info!(group = %engine.group, "consumer started");
        Ok(consumer)
    }

    /// Consumer group, as it was given.
    pub fn group(&self) -> &str {
        &self.engine.settings.consumer_group
    }

    /// The settings with which it was started.
    pub fn settings(&self) -> &PushSettings {
        &self.engine.settings
    }

    /// Who this consumer is in the eyes of brokers.
    pub fn client_id(&self) -> &str {
        self.engine.instance.client_id()
    }

    /// The instance, for another consumer or producer to share.
    pub fn instance(&self) -> &Arc<ClientInstance> {
        &self.engine.instance
    }

    /// The queues that it consumes now; id −1 stands for all queues of a broker that are popped.
    pub fn assignment(&self) -> Vec<MessageQueue> {
        self.engine.all_queues().into_iter().collect()
    }

    /// What was pulled and consumed since the start, by topic; retried messages count for the
    /// group's retry topic.
    pub fn stats(&self) -> BTreeMap<CompactString, Totals> {
        self.engine.stats.totals()
    }

    /// What it is doing, as the admin tools show it: queues, rates, subscriptions, settings, tasks.
    /// Asks brokers for committed positions that are not known here.
    #[doc(alias = "consumerRunningInfo")]
    pub async fn running_info(&self) -> ConsumerSnapshot {
        self.engine.describe().await
    }

    /// Has so many calls of the listener run at once from now on, 1..=1000. Calls that run already
    /// come to their end.
    ///
    /// # Errors
    /// [`PushError::Settings`] outside of that range.
    #[doc(alias("updateCorePoolSize", "setConsumeThreadMin"))]
    pub fn set_concurrency(&self, count: u32) -> Result<(), PushError> {
        let settings = PushSettings {
            consume_thread_min: count,
            consume_thread_max: count,
            ..self.engine.settings.clone()
        };
        settings.validate()?;
        self.engine.work_with(count);
        Ok(())
    }

    /// Goes on somewhere else in all queues of a topic that this member has; those of other members
    /// stay where they are. Ready when the queues stand there, which takes as long as running
    /// listeners do, at most ten seconds.
    ///
    /// ```no_run
    /// # async fn example(consumer: rmq_client_push::PushConsumer) -> Result<(), rmq_client_push::PushError> {
    /// use rmq_client_push::{SeekTo, Timestamp};
    ///
    /// consumer.seek("Orders", SeekTo::Time(Timestamp(1_700_000_000_000))).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// A position that cannot be found out; then nothing has moved.
    #[doc(alias = "resetOffsetByTimeStamp")]
    pub async fn seek(&self, topic: &str, to: SeekTo) -> Result<(), PushError> {
        let engine = &self.engine;
        let topic = engine.namespace().wrap(topic);
        let owned = engine.assignment.open().into_iter().filter(|queue| queue.topic == topic);
        let found = owned.map(|queue| async move {
            let brokers = engine.brokers();
            let offset = match to {
                SeekTo::Begin => brokers.min_offset(&queue).await,
                SeekTo::End => brokers.max_offset(&queue).await,
                SeekTo::Time(time) => brokers.search_offset(&queue, time, Boundary::Lower).await,
            };
            offset.map(|offset| (queue, offset))
        });
        let offsets = join_all(found).await.into_iter().collect::<Result<BTreeMap<_, _>, _>>()?;
        engine.reset(&topic, &offsets).await;
        Ok(())
    }

    /// Stops pulling and balancing; what is already here is still consumed.
    #[doc(alias = "suspend")]
    pub fn pause(&self) {
        self.engine.paused.send_replace(true);
    }

    /// Goes on after [`PushConsumer::pause`].
    pub fn resume(&self) {
        self.engine.paused.send_replace(false);
        self.engine.instance.rebalance_soon();
    }

    /// Subscribes one more topic, or another expression of one: `*`, or tags separated by `||`.
    ///
    /// # Errors
    /// [`PushError::Topic`], [`PushError::Subscription`]; then nothing has changed.
    pub async fn subscribe(&self, topic: &str, tags: &str) -> Result<(), PushError> {
        self.change(topic, tags, &ExpressionType::Tag).await
    }

    /// As [`PushConsumer::subscribe`], with an SQL92 condition over properties.
    ///
    /// # Errors
    /// [`PushError::Topic`], [`PushError::Subscription`]; then nothing has changed.
    pub async fn subscribe_sql(&self, topic: &str, condition: &str) -> Result<(), PushError> {
        self.change(topic, condition, &ExpressionType::Sql92).await
    }

    async fn change(
        &self,
        topic: &str,
        expression: &str,
        kind: &ExpressionType,
    ) -> Result<(), PushError> {
        let engine = &self.engine;
        let topic = engine.namespace().wrap(topic);
        engine.subscriptions.set(subscription(&topic, expression, kind, engine.wall())?);
        if let Err(error) = engine.instance.refresh_route(&topic).await {
            tracing::warn!(%topic, %error, "no route of a new topic yet");
        }
        engine.announce().await;
        engine.instance.rebalance_soon();
        Ok(())
    }

    /// Gives a topic up; its queues go to other members.
    pub async fn unsubscribe(&self, topic: &str) {
        let engine = &self.engine;
        if engine.subscriptions.remove(&engine.namespace().wrap(topic)) {
            engine.announce().await;
            engine.instance.rebalance_soon();
        }
    }

    /// Ends the consumer: pulls no more, waits up to `grace` for running listeners, writes progress
    /// and leaves the group, which takes a moment longer at most.
    ///
    /// ```no_run
    /// # async fn example(consumer: rmq_client_push::PushConsumer) {
    /// let report = consumer.shutdown(std::time::Duration::from_secs(20)).await;
    /// if report.abandoned > 0 {
    ///     tracing::warn!(?report, "some messages will be delivered again");
    /// }
    /// # }
    /// ```
    pub async fn shutdown(self, grace: Duration) -> Report {
        let engine = &self.engine;
        let clock = &engine.instance.world().clock;
        let deadline = clock.monotonic() + grace;
        let rest = || deadline.since(clock.monotonic()).max(STEP_MIN);
        engine.stopping.store(true, Ordering::Release);
        let queues = engine.assignment.queues();
        let running =
            |queues: &[Arc<OwnedQueue>]| queues.iter().map(|q| q.running()).sum::<usize>();
        let pops = engine.pops.queues();
        let popped = || pops.iter().map(|queue| queue.running()).sum::<usize>();
        let before = running(&queues) + popped();
        queues.iter().for_each(|queue| queue.close());
        pops.iter().for_each(|queue| queue.close());
        let idle = join_all(queues.iter().map(|queue| queue.idle()));
        let idle = join(idle, join_all(pops.iter().map(|queue| queue.idle())));
        if clock.timeout(grace, idle).await.is_err() {
            tracing::warn!(group = %engine.group, count = running(&queues) + popped(), "listeners still run and are given up");
        }
        let abandoned = running(&queues) + popped();
        let unconsumed = queues.iter().map(|queue| queue.retire()).sum();
        let farewell = clock.timeout(rest(), engine.farewell(&queues)).await.unwrap_or(false);
        if let Some(tracer) = &engine.tracer
            && clock.timeout(rest(), tracer.flush()).await.is_err()
        {
            tracing::debug!(group = %engine.group, "traces are dropped");
        }
        let mut stragglers = engine.tasks.stop(clock.as_ref(), rest()).await;
        if self.own {
            stragglers.extend(engine.instance.shutdown(rest()).await);
        }
        let finished = before.saturating_sub(abandoned);
        let report = Report { finished, abandoned, unconsumed, farewell, stragglers };
        tracing::info!(group = %engine.group, ?report, "consumer ended");
        report
    }
}

impl Drop for PushConsumer {
    fn drop(&mut self) {
        let engine = Arc::clone(&self.engine);
        if engine.stopping.swap(true, Ordering::AcqRel) {
            return;
        }
        let queues = engine.assignment.queues();
        for queue in &queues {
            queue.retire();
        }
        engine.pops.queues().iter().for_each(|queue| queue.close());
        engine.tasks.request_stop();
        // Without a runtime nobody can be told; brokers notice by the silence.
        if rmq_runtime::executor::is_there() {
            let instance = Arc::clone(&engine.instance);
            instance.tasks().spawn("farewell", OnFailure::Log, async move {
                let clock = Arc::clone(&engine.instance.world().clock);
                if !clock.timeout(FAREWELL_MAX, engine.farewell(&queues)).await.unwrap_or(false) {
                    tracing::warn!(group = %engine.group, "brokers could not be told that a consumer was dropped");
                }
            });
        }
    }
}

impl std::fmt::Debug for PushConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushConsumer")
            .field("group", &self.group())
            .field("client_id", &self.client_id())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Learns the routes, has brokers check filters, and tells them that this member is here.
    async fn begin(&self) -> Result<(), ClientError> {
        for topic in self.subscriptions.topics() {
            match self.instance.refresh_route(&topic).await {
                Ok(_) => {}
                // It comes with a later refresh.
                Err(ClientError::NoRoute { .. }) => tracing::debug!(%topic, "no route yet"),
                Err(error) => return Err(error),
            }
        }
        for subscription in self.subscriptions.all() {
            if subscription.kind != ExpressionType::Tag {
                self.brokers().check_client_config(&self.group, &subscription).await?;
            }
        }
        self.announce().await;
        self.instance.rebalance_soon();
        Ok(())
    }

    /// Writes progress, returns locks, leaves the group: in this order, so that the next owner
    /// reads the newest position. Whether all progress is written and all brokers know.
    async fn farewell(&self, queues: &[Arc<OwnedQueue>]) -> bool {
        let written = join_all(queues.iter().map(|owned| self.commit(owned))).await;
        self.unlock(queues, true).await;
        self.instance.leave(&self.group).await && !written.contains(&false)
    }
}
