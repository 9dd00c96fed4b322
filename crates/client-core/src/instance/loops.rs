//! The tasks of an instance, under the names that operators know from the original.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use rmq_runtime::{Clock, Monotonic, OnFailure, Stop, Tasks, World};
use tokio::sync::Notify;

use super::Engine;
use crate::ClientConfig;
use crate::address_server::AddressServer;
use crate::member::guarded;

/// Before the first refresh of routes.
const FIRST_ROUTES: Duration = Duration::from_millis(10);
/// Before the first heartbeat.
const FIRST_HEARTBEAT: Duration = Duration::from_secs(1);
/// Between two rounds of greetings: a broker that ends every connection at once must not be dialled
/// as fast as the network allows.
const GREETING_PAUSE: Duration = Duration::from_secs(1);
/// Before progress is first written.
const FIRST_PERSIST: Duration = Duration::from_secs(10);

pub(super) fn spawn(
    engine: &Arc<Engine>,
    tasks: &Tasks,
    clock: &Arc<dyn Clock>,
    config: &ClientConfig,
) {
    let timer = |first: Duration| {
        let due = clock.monotonic() + first;
        Timer { clock: Arc::clone(clock), stop: tasks.stop_token(), due }
    };
    let (this, every) = (Arc::clone(engine), config.route_interval);
    let mut timer_of_routes = timer(FIRST_ROUTES.min(every));
    tasks.spawn("MQClientFactoryScheduledThread routes", OnFailure::Unhealthy, async move {
        while timer_of_routes.due(None).await.is_some() {
            this.refresh_routes().await;
            timer_of_routes.set(every);
        }
    });
    let (this, every) = (Arc::clone(engine), config.heartbeat_interval);
    let mut timer_of_heartbeat = timer(FIRST_HEARTBEAT.min(every));
    tasks.spawn("MQClientFactoryScheduledThread heartbeat", OnFailure::Unhealthy, async move {
        let mut earliest = Monotonic::default();
        while let Some(cause) = timer_of_heartbeat.due(Some(&this.signals.connected)).await {
            match cause {
                Cause::Signal => {
                    if !timer_of_heartbeat.reaches(earliest).await {
                        return;
                    }
                    if this.greet().await {
                        earliest = timer_of_heartbeat.clock.monotonic() + GREETING_PAUSE;
                    }
                }
                Cause::Time => {
                    this.heartbeat().await;
                    timer_of_heartbeat.set(every);
                }
            }
        }
    });
    let (this, every) = (Arc::clone(engine), config.persist_interval);
    let mut timer_of_progress = timer(FIRST_PERSIST.min(every.saturating_mul(2)));
    tasks.spawn("MQClientFactoryScheduledThread progress", OnFailure::Unhealthy, async move {
        while timer_of_progress.due(None).await.is_some() {
            this.persist().await;
            timer_of_progress.set(every);
        }
    });
    let (this, longest, shortest) =
        (Arc::clone(engine), config.rebalance_interval, config.rebalance_min_interval);
    let mut timer_of_balance = timer(longest);
    tasks.spawn("RebalanceService", OnFailure::Unhealthy, async move {
        let mut earliest = Monotonic::default();
        while timer_of_balance.due(Some(&this.signals.rebalance)).await.is_some() {
            if !timer_of_balance.reaches(earliest).await {
                return;
            }
            // This run serves all who have asked until now.
            let _asked = this.signals.rebalance.notified().now_or_never();
            let balanced = this.rebalance().await;
            timer_of_balance.set(if balanced { longest } else { shortest });
            earliest = timer_of_balance.clock.monotonic() + shortest;
        }
    });
}

/// Before the name servers are asked for again, the first time and then.
const ADDRESS_DELAY: Duration = Duration::from_secs(10);
const ADDRESS_INTERVAL: Duration = Duration::from_secs(120);

/// Keeps the list of name servers as their address server has it.
pub(super) fn spawn_address_server(
    engine: &Arc<Engine>,
    tasks: &Tasks,
    world: &World,
    server: AddressServer,
) {
    let (this, world, stop) = (Arc::clone(engine), world.clone(), tasks.stop_token());
    let due = world.clock.monotonic() + ADDRESS_DELAY;
    let mut timer = Timer { clock: Arc::clone(&world.clock), stop, due };
    tasks.spawn("MQClientFactoryScheduledThread name servers", OnFailure::Unhealthy, async move {
        while timer.due(None).await.is_some() {
            match server.fetch(&world).await {
                Ok(found) => this.routes.name_servers().replace(found),
                Err(error) => tracing::warn!(%error, "keeping the name servers that are known"),
            }
            timer.set(ADDRESS_INTERVAL);
        }
    });
}

enum Cause {
    Time,
    Signal,
}

/// Waits for a moment, a signal, or the end.
struct Timer {
    clock: Arc<dyn Clock>,
    stop: Stop,
    due: Monotonic,
}

impl Timer {
    /// The next moment, counted from now.
    fn set(&mut self, wait: Duration) {
        self.due = self.clock.monotonic() + wait;
    }

    /// Why to go on; none when it is time to stop. Cancel-safe.
    async fn due(&self, signal: Option<&Notify>) -> Option<Cause> {
        let signalled = async {
            match signal {
                Some(signal) => signal.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stop.requested() => None,
            () = signalled => Some(Cause::Signal),
            () = self.clock.sleep_until(self.due) => Some(Cause::Time),
        }
    }

    /// Whether that moment comes before the end. Cancel-safe.
    async fn reaches(&self, moment: Monotonic) -> bool {
        tokio::select! {
            biased;
            () = self.stop.requested() => false,
            () = self.clock.sleep_until(moment) => true,
        }
    }
}

impl Engine {
    async fn refresh_routes(&self) {
        for topic in self.members.topics() {
            if let Err(error) = self.routes.refresh(&topic).await {
                tracing::debug!(%topic, %error, "route not refreshed");
            }
        }
    }

    async fn heartbeat(&self) {
        for gone in self.routes.forget_offline().await {
            tracing::info!(broker = %gone, "no route mentions this address any more");
            self.heartbeats.forget(&gone);
            self.invoker.disconnect(&gone);
        }
        self.heartbeats.send_all().await;
    }

    /// Brokers that were just connected, maybe after a restart, hear of this client at once. Whether
    /// there were any.
    async fn greet(&self) -> bool {
        let known = self.signals.take_arrivals().into_iter().filter(|at| self.routes.is_broker(at));
        let known: Vec<_> = known.collect();
        if !known.is_empty() {
            self.members.all().iter().for_each(|member| member.reconnected());
        }
        let greeted =
            known.into_iter().map(|address| async move { self.heartbeats.greet(&address).await });
        let understood = join_all(greeted).await;
        if understood.contains(&true) {
            self.signals.rebalance.notify_one();
        }
        !understood.is_empty()
    }

    async fn persist(&self) {
        let members = self.members.all();
        let all = members
            .iter()
            .map(|member| guarded("writing of progress", member.group(), member.persist_offsets()));
        join_all(all).await;
    }

    /// Whether every member holds what it should. One that panics is tried again soon.
    async fn rebalance(&self) -> bool {
        let members = self.members.all();
        let all =
            members.iter().map(|member| guarded("balance", member.group(), member.rebalance()));
        join_all(all).await.iter().all(|balanced| *balanced == Some(true))
    }
}
