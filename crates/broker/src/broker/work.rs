//! What the broker does in time, without being asked.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_message::{QueueOffset, Timestamp, name};
use rmq_remoting::Invoker;
use rmq_runtime::{ClockExt, OnFailure, Tasks, World};
use rmq_store::{ArrivalListener, QueueKey};
use tokio::sync::Notify;

use super::parts::Parts;
use crate::assignment::routes::RouteView;
use crate::delay::{Bells, DelayDelivery, Levels};
use crate::document::{self, Document, Files, Rhythm};
use crate::filter_table::FilterTable;
use crate::hold::HoldService;
use crate::pop::order::OrderTable;
use crate::pop::revive::{Revival, ReviveWatch};
use crate::processor::client::ClientRequests;
use crate::queue_lock::LockTable;
use crate::registrar::Registrar;
use crate::stats::{SAMPLE_PERIOD, Stats};
use crate::timer::Timers;
use crate::transaction::TransactionCheck;

/// Between looks for clients and locks that have expired.
const EXPIRY_PERIOD: Duration = Duration::from_secs(10);
/// Time that tasks get to end.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// The work and what it is done on.
pub(super) struct Work {
    world: World,
    tasks: Tasks,
    files: Arc<Files>,
    documents: Vec<(Arc<dyn Document>, Rhythm)>,
    delivery: Arc<DelayDelivery>,
    /// Until they run.
    timers: Mutex<Option<Timers>>,
    levels: Levels,
    revival: Arc<Revival>,
    orders: Arc<OrderTable>,
    filter_table: Arc<FilterTable>,
    transactions: Arc<TransactionCheck>,
    holds: Arc<HoldService>,
    clients: Arc<ClientRequests>,
    /// A client is gone after this time without a heartbeat.
    client_life: Duration,
    locks: Arc<LockTable>,
    stats: Arc<Stats>,
    registrar: Arc<Registrar>,
    routes: Arc<RouteView>,
    /// What the registrar registers with, while it does.
    invoker: Mutex<Option<Arc<dyn Invoker>>>,
}

/// Brings news of the store to those who wait for it. Holds nothing that holds the store.
struct Arrivals {
    holds: Arc<HoldService>,
    bells: Arc<Bells>,
    timer_bell: Arc<Notify>,
    revive: Arc<ReviveWatch>,
}

impl ArrivalListener for Arrivals {
    fn arrived(&self, queue: &QueueKey, end: QueueOffset) {
        self.holds.arrived(queue, end);
        if queue.topic == name::SCHEDULE_TOPIC {
            self.bells.ring(queue.queue_id);
        } else if queue.topic == name::TIMER_TOPIC {
            self.timer_bell.notify_one();
        }
        self.revive.arrived(queue);
    }
}

impl Work {
    pub(super) fn new(parts: &Parts, clients: Arc<ClientRequests>, timers: Option<Timers>) -> Self {
        let arrivals = Arrivals {
            holds: Arc::clone(&parts.holds),
            bells: Arc::clone(&parts.bells),
            timer_bell: Arc::clone(&parts.timer_bell),
            revive: Arc::clone(&parts.pop.watch),
        };
        parts.store.on_arrival(Arc::new(arrivals));
        let every = |millis| Rhythm::Every(Duration::from_millis(millis));
        let (progress, delays) = (
            every(parts.config.flush_consumer_offset_interval),
            every(parts.config.flush_delay_offset_interval),
        );
        Self {
            world: parts.world.clone(),
            tasks: parts.tasks.clone(),
            files: Arc::clone(&parts.files),
            documents: vec![
                (Arc::clone(&parts.topics) as _, Rhythm::AtOnce),
                (Arc::clone(&parts.groups) as _, Rhythm::AtOnce),
                (Arc::clone(&parts.locks) as _, Rhythm::AtOnce),
                (Arc::clone(&parts.modes) as _, Rhythm::AtOnce),
                (Arc::clone(&parts.offsets) as _, progress),
                (Arc::clone(&parts.pop.orders) as _, progress),
                (Arc::clone(&parts.delays) as _, delays),
                (Arc::clone(&parts.filter_table) as _, delays),
            ],
            delivery: Arc::new(parts.delivery()),
            timers: Mutex::new(timers),
            levels: parts.levels.clone(),
            revival: Arc::new(parts.revival()),
            orders: Arc::clone(&parts.pop.orders),
            filter_table: Arc::clone(&parts.filter_table),
            transactions: Arc::new(parts.transaction_check()),
            holds: Arc::clone(&parts.holds),
            clients,
            client_life: Duration::from_millis(parts.config.channel_expired_timeout),
            locks: Arc::clone(&parts.locks),
            stats: Arc::clone(&parts.stats),
            registrar: Arc::new(parts.registrar()),
            routes: Arc::clone(&parts.routes),
            invoker: Mutex::new(None),
        }
    }

    pub(super) fn start(self: &Arc<Self>, invoker: Arc<dyn Invoker>) {
        let Self { world, tasks, .. } = &**self;
        for (document, rhythm) in &self.documents {
            let keep = document::keep(
                Arc::clone(&self.files),
                Arc::clone(document),
                *rhythm,
                Arc::clone(&world.clock),
                tasks.clone(),
            );
            tasks.spawn(document.file(), OnFailure::Unhealthy, keep);
        }
        let holds = Arc::clone(&self.holds).run(Arc::clone(&world.clock), tasks.stop_token());
        tasks.spawn("hold", OnFailure::Unhealthy, holds);
        for (level, delay) in self.levels.iter() {
            let run = Arc::clone(&self.delivery).run(level, delay, tasks.stop_token());
            tasks.spawn(&format!("delay-{level}"), OnFailure::Unhealthy, run);
        }
        if let Some(timers) = self.timers.lock().take() {
            tasks.spawn("timer", OnFailure::Unhealthy, timers.run(tasks.stop_token()));
        }
        for queue in self.revival.log.queues() {
            let name = format!("revive-{}", queue.queue_id);
            let run = Arc::clone(&self.revival).run(queue, tasks.stop_token());
            tasks.spawn(&name, OnFailure::Unhealthy, run);
        }
        let check = Arc::clone(&self.transactions).run(tasks.stop_token());
        tasks.spawn("transaction-check", OnFailure::Unhealthy, check);
        tasks.spawn("expiry", OnFailure::Unhealthy, Arc::clone(self).expire());
        tasks.spawn("stats", OnFailure::Log, Arc::clone(self).sample());
        self.registrar.start(&invoker);
        self.routes.ask_through(&invoker);
        *self.invoker.lock() = Some(invoker);
    }

    async fn expire(self: Arc<Self>) {
        let (clock, stop) = (&self.world.clock, self.tasks.stop_token());
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = clock.sleep(EXPIRY_PERIOD) => {}
            }
            self.clients.expire(self.client_life);
            self.locks.expire(clock.monotonic());
            let now = Timestamp::from(clock.wall());
            self.orders.expire(now);
            self.filter_table.expire(now);
        }
    }

    async fn sample(self: Arc<Self>) {
        let (clock, stop) = (&self.world.clock, self.tasks.stop_token());
        loop {
            let local = Timestamp::from(clock.wall()) + clock.utc_offset_ms();
            self.stats.sample(clock.monotonic(), local);
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = clock.sleep(SAMPLE_PERIOD) => {}
            }
        }
    }

    pub(super) fn release_holds(&self) {
        self.holds.close();
    }

    pub(super) async fn unregister(&self) {
        let invoker = self.invoker.lock().take();
        if let Some(invoker) = invoker {
            self.registrar.stop(&*invoker).await;
        }
    }

    /// Ends the tasks and saves the tables.
    pub(super) async fn stop(&self) -> Vec<String> {
        let stragglers = self.tasks.stop(&*self.world.clock, STOP_GRACE).await;
        for (document, _) in &self.documents {
            let (files, document) = (Arc::clone(&self.files), Arc::clone(document));
            let file = document.file();
            match self.tasks.blocking(move || files.save(&*document)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::error!(%error, file, "a table is not saved"),
                None => tracing::error!(file, "a table is not saved"),
            }
        }
        stragglers
    }
}
