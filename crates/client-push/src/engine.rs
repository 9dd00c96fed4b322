//! What all tasks of one consumer share.
//!
//! The instance holds the consumer as its group member and the consumer holds the instance; leaving
//! the group takes the circle apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rmq_client_core::protocol::MessageModel;
use rmq_client_core::rebalance::AllocateStrategy;
use rmq_client_core::trace::Tracer;
use rmq_client_core::{BrokerClient, ClientInstance, Namespace, Progress};
use rmq_message::id::UniqueIds;
use rmq_message::{MessageQueue, Timestamp, name};
use rmq_runtime::{ClockExt, Monotonic, OnFailure, Tasks};
use tokio::sync::watch;

use crate::assignment::Assignment;
use crate::call::Hooks;
use crate::listener::{ConsumeContext, MessageListener, OrderlyListener};
use crate::owned_queue::OwnedQueue;
use crate::pop::PopTable;
use crate::process_queue::Messages;
use crate::ready::{ReadyLine, Work};
use crate::settings::PushSettings;
use crate::stats::{SAMPLE_INTERVAL, StatsTable};
use crate::subscriptions::Subscriptions;
use crate::{concurrent, orderly, pop};

/// Called with a topic and the queues of it that this consumer has now.
pub(crate) type AssignmentListener = Box<dyn Fn(&str, &[MessageQueue]) + Send + Sync>;

/// The listener, and with it the way of consumption.
#[derive(Clone)]
pub(crate) enum Listener {
    Concurrent(Arc<dyn MessageListener>),
    Ordered(Arc<dyn OrderlyListener>),
}

/// What is handed in rather than set.
pub(crate) struct Parts {
    pub(crate) listener: Listener,
    pub(crate) strategy: Arc<dyn AllocateStrategy>,
    pub(crate) assignment_listener: Option<AssignmentListener>,
    pub(crate) hooks: Hooks,
}

/// Calls of the listener that may run at once.
pub(crate) struct Workers {
    wanted: watch::Sender<u32>,
    spawned: Mutex<u32>,
}

impl Default for Workers {
    fn default() -> Self {
        Self { wanted: watch::Sender::new(0), spawned: Mutex::new(0) }
    }
}

/// See the module.
pub(crate) struct Engine {
    pub(crate) group: Arc<str>,
    pub(crate) settings: PushSettings,
    pub(crate) parts: Parts,
    pub(crate) instance: Arc<ClientInstance>,
    pub(crate) progress: Progress,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) assignment: Assignment,
    pub(crate) pops: PopTable,
    pub(crate) line: ReadyLine,
    pub(crate) stats: StatsTable,
    /// Names of calls.
    pub(crate) ids: UniqueIds,
    pub(crate) tracer: Option<Arc<Tracer>>,
    pub(crate) tasks: Tasks,
    pub(crate) paused: watch::Sender<bool>,
    pub(crate) workers: Workers,
    /// Set for good when the consumer begins to shut down.
    pub(crate) stopping: AtomicBool,
    pub(crate) started: Timestamp,
}

impl Engine {
    pub(crate) fn namespace(&self) -> &Namespace {
        self.instance.namespace()
    }

    pub(crate) fn brokers(&self) -> &BrokerClient {
        self.instance.brokers()
    }

    pub(crate) fn now(&self) -> Monotonic {
        self.instance.world().clock.monotonic()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        self.instance.world().clock.wall().into()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn is_clustering(&self) -> bool {
        self.settings.message_model == MessageModel::Clustering
    }

    pub(crate) fn is_ordered(&self) -> bool {
        matches!(self.parts.listener, Listener::Ordered(_))
    }

    /// Whether brokers say who consumes what.
    pub(crate) fn is_assigned_by_brokers(&self) -> bool {
        !self.settings.client_rebalance && !self.is_ordered() && self.is_clustering()
    }

    /// Whether the topic is the retry topic of this group.
    pub(crate) fn is_own_retry(&self, topic: &str) -> bool {
        topic.strip_prefix(name::RETRY_PREFIX) == Some(&*self.group)
    }

    /// Most attempts of a message before the dead-letter topic.
    pub(crate) fn attempts_max(&self) -> i32 {
        match (self.settings.max_reconsume_times, self.is_ordered()) {
            (-1, false) => 16,
            (-1, true) => i32::MAX,
            (max, _) => max,
        }
    }

    /// Starts a task that ends when the consumer does.
    pub(crate) fn spawn(&self, name: &str, body: impl Future<Output = ()> + Send + 'static) {
        let stop = self.tasks.stop_token();
        self.tasks.spawn(name, OnFailure::Log, async move {
            tokio::select! {
                biased;
                () = stop.requested() => {}
                () = body => {}
            }
        });
    }

    /// Starts what runs as long as the consumer does. Names are those that operators know.
    pub(crate) fn spawn_all(self: &Arc<Self>) {
        self.work_with(self.settings.consume_thread_min);
        let engine = Arc::clone(self);
        self.spawn("ConsumerStatsScheduledThread", async move { engine.sample().await });
        let engine = Arc::clone(self);
        match self.parts.listener {
            Listener::Concurrent(_) => {
                let name = format!("CleanExpireMsgScheduledThread_{}", self.group);
                self.spawn(&name, async move { concurrent::clean(&engine).await });
            }
            Listener::Ordered(_) if self.is_clustering() => {
                let name = format!("ConsumeMessageScheduledThread_{}", self.group);
                self.spawn(&name, async move { orderly::renew_leases(&engine).await });
            }
            Listener::Ordered(_) => {}
        }
    }

    /// From now on so many calls may run at once.
    pub(crate) fn work_with(self: &Arc<Self>, count: u32) {
        self.workers.wanted.send_replace(count);
        let mut spawned = self.workers.spawned.lock();
        while *spawned < count {
            *spawned += 1;
            let (engine, number) = (Arc::clone(self), *spawned);
            let name = format!("ConsumeMessageThread_{}_{number}", self.group);
            self.spawn(&name, async move { engine.work(number).await });
        }
    }

    pub(crate) fn concurrency(&self) -> u32 {
        *self.workers.wanted.borrow()
    }

    /// One worker: takes the queue that has waited longest, and from it one batch. Rests while fewer
    /// are wanted.
    async fn work(self: Arc<Self>, number: u32) {
        let max = usize::try_from(self.settings.consume_message_batch_max_size).unwrap_or(1);
        let mut wanted = self.workers.wanted.subscribe();
        loop {
            if wanted.wait_for(|count| *count >= number).await.is_err() {
                return;
            }
            // Listeners that need not wait must not keep others from this thread.
            tokio::task::consume_budget().await;
            let work = match self.line.take() {
                Some(work) => work,
                None => tokio::select! {
                    biased;
                    _ = wanted.changed() => continue,
                    work = self.line.next() => work,
                },
            };
            match (&self.parts.listener, work) {
                (Listener::Concurrent(listener), Work::Pulled(queue)) => {
                    concurrent::turn(&self, listener.as_ref(), &queue, max).await;
                }
                (Listener::Ordered(listener), Work::Pulled(queue)) => {
                    orderly::turn(&self, listener.as_ref(), &queue, max).await;
                }
                (Listener::Concurrent(listener), Work::Popped(batch)) => {
                    pop::turn(&self, listener.as_ref(), batch).await;
                }
                // Ordered queues are never popped; nothing would be lost if one were.
                (Listener::Ordered(_), Work::Popped(_)) => {}
            }
        }
    }

    async fn sample(&self) {
        let clock = &self.instance.world().clock;
        loop {
            self.stats.sample(clock.monotonic());
            clock.sleep(SAMPLE_INTERVAL).await;
        }
    }

    /// What a listener is told beside the messages.
    pub(crate) fn context(&self, queue: &OwnedQueue, messages: &Messages) -> ConsumeContext {
        let (group, name) = (Arc::clone(&self.group), Arc::clone(&queue.queue));
        ConsumeContext::new(group, name, Arc::clone(&queue.revoked), messages)
    }
}

/// Counts a batch as ended however the work on it ends.
pub(crate) struct AtWork<'a>(pub(crate) &'a OwnedQueue);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.ended();
    }
}
