//! The listening side: sockets, shards, and how they end.
//!
//! Each shard is a thread with a runtime of its own and its own listening socket on the same port;
//! the kernel spreads connections over them, and a connection never leaves its thread.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rmq_runtime::{ClockExt, Listener, OnFailure, Stop, Stream, Tasks, World};
use tokio::sync::{oneshot, watch};

use crate::connection::Connection;
use crate::limits::{Budget, Limits};
use crate::live::Live;
use crate::peer::{Addresses, Peer, PeerLimits};
use crate::processor::{Processor, Unsupported};
use crate::tls::Acceptor;

/// How long a shard rests when the system refuses to accept: out of descriptors, mostly.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How often a server looks whether its certificate has changed.
const TLS_REFRESH: Duration = Duration::from_secs(60);

/// Settings of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerConfig {
    /// Threads that serve connections, each alone. 0: connections are tasks of the runtime that
    /// starts the server.
    pub shards: usize,
    /// Most connections at once; others are closed at once.
    pub connections_max: usize,
    /// Limits of each connection.
    pub limits: Limits,
    /// How long connections may take to finish when the program stops without draining.
    pub grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            shards: 0,
            connections_max: 65_536,
            limits: Limits::SERVER,
            grace: Duration::from_secs(3),
        }
    }
}

/// A server that is not yet started.
pub struct Server {
    world: World,
    tasks: Tasks,
    at: SocketAddr,
    config: ServerConfig,
    processor: Arc<dyn Processor>,
    acceptor: Option<Arc<Acceptor>>,
}

impl Server {
    /// A server on a free port of the loopback address that serves nothing yet.
    pub fn builder(world: World, tasks: &Tasks) -> Self {
        Self {
            world,
            tasks: tasks.child("remoting-server"),
            at: SocketAddr::from(([127, 0, 0, 1], 0)),
            config: ServerConfig::default(),
            processor: Arc::new(Unsupported),
            acceptor: None,
        }
    }

    /// Where to listen; port 0 takes a free one.
    #[must_use]
    pub fn listen(mut self, at: SocketAddr) -> Self {
        self.at = at;
        self
    }

    /// Who serves the requests.
    #[must_use]
    pub fn processor(mut self, processor: Arc<dyn Processor>) -> Self {
        self.processor = processor;
        self
    }

    /// Who accepts TLS connections; without, all are plain.
    #[must_use]
    pub fn tls(mut self, acceptor: Option<Arc<Acceptor>>) -> Self {
        self.acceptor = acceptor;
        self
    }

    /// Settings.
    #[must_use]
    pub fn config(mut self, config: ServerConfig) -> Self {
        self.config = config;
        self
    }

    /// Listens, on all shards, and begins to serve.
    pub async fn start(self) -> io::Result<ServerHandle> {
        let Self { world, tasks, at, config, processor, acceptor } = self;
        let (open, accepting) = watch::channel(true);
        let budget = Budget::new(config.limits.unfinished_max);
        let live = Live::new(config.connections_max);
        let shard = |name: &str| Shard {
            world: world.clone(),
            tasks: tasks.child(name),
            stop: tasks.stop_token(),
            config,
            processor: Arc::clone(&processor),
            acceptor: acceptor.clone(),
            budget: budget.clone(),
            live: live.clone(),
            accepting: accepting.clone(),
        };
        let mut local = at;
        if config.shards == 0 {
            let listener = world.net.listen(at, false).await?;
            local = listener.local_addr();
            tasks.spawn("accept", OnFailure::Unhealthy, shard("ambient").run(listener));
        }
        for number in 0..config.shards {
            let name = format!("shard-{number}");
            let (bound, address) = oneshot::channel();
            let shard = shard(&name);
            tasks.thread(&name, OnFailure::Unhealthy, move |_| shard.run_alone(local, bound))?;
            // The first shard finds the port, the others share it.
            local = address.await.map_err(|_| io::Error::other("the shard has ended"))??;
        }
        if let Some(acceptor) = acceptor {
            tasks.spawn(
                "tls",
                OnFailure::Log,
                refresh(acceptor, world.clone(), tasks.stop_token()),
            );
        }
        Ok(ServerHandle { local, world, tasks, open, live })
    }
}

/// Has changed certificates shown, until the server stops.
async fn refresh(acceptor: Arc<Acceptor>, world: World, stop: Stop) {
    loop {
        tokio::select! {
            biased;
            () = stop.requested() => return,
            () = world.clock.sleep(TLS_REFRESH) => acceptor.refresh(&world),
        }
    }
}

/// A running server.
pub struct ServerHandle {
    local: SocketAddr,
    world: World,
    tasks: Tasks,
    open: watch::Sender<bool>,
    live: Live,
}

impl ServerHandle {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.live.len()
    }

    /// Closes the listening sockets; connections go on.
    pub fn stop_accepting(&self) {
        self.open.send_replace(false);
    }

    /// Stops accepting and lets connections finish what they have begun. New requests are answered
    /// with GO_AWAY where the client understands it. What is not done in time is cut off.
    pub async fn drain(&self, grace: Duration) {
        self.stop_accepting();
        self.live.drain(&*self.world.clock, grace).await;
        self.tasks.stop(&*self.world.clock, grace).await;
    }
}

/// One accept loop and its connections.
struct Shard {
    world: World,
    tasks: Tasks,
    stop: Stop,
    config: ServerConfig,
    processor: Arc<dyn Processor>,
    acceptor: Option<Arc<Acceptor>>,
    budget: Budget,
    live: Live,
    accepting: watch::Receiver<bool>,
}

impl Shard {
    /// On a thread and a runtime of its own.
    fn run_alone(self, at: SocketAddr, bound: oneshot::Sender<io::Result<SocketAddr>>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(bound.send(Err(error))),
        };
        runtime.block_on(async {
            match self.world.net.listen(at, true).await {
                Ok(listener) => {
                    // Whoever starts the server may have given up; then it stops as well.
                    drop(bound.send(Ok(listener.local_addr())));
                    self.run(listener).await;
                }
                Err(error) => drop(bound.send(Err(error))),
            }
        });
    }

    async fn run(mut self, mut listener: Box<dyn Listener>) {
        let stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.requested() => break,
                _ = self.accepting.wait_for(|open| !open) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(stream) => self.serve(stream),
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection ended before it was accepted");
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections; trying on");
                    self.world.clock.sleep(ACCEPT_REST).await;
                }
            }
        }
        drop(listener);
        stop.requested().await;
        // The runtime of a shard must outlive its connections.
        self.live.drain(&*self.world.clock, self.config.grace).await;
        self.tasks.stop(&*self.world.clock, self.config.grace).await;
    }

    fn serve(&self, stream: Box<dyn Stream>) {
        let addresses = Addresses { local: stream.local_addr(), remote: stream.remote_addr() };
        let limits = self.config.limits;
        let peer = Peer::new(
            addresses,
            addresses.remote.into(),
            Arc::clone(&self.world.clock),
            PeerLimits { in_flight: limits.in_flight_max, bytes: limits.outbox_max },
        );
        let Some(entry) = self.live.enter(&peer) else {
            tracing::warn!(peer = %addresses.remote, "too many connections; closed a new one");
            return;
        };
        let connection = Connection::new(
            peer,
            stream,
            Arc::clone(&self.processor),
            Arc::clone(&self.world.clock),
            limits,
            self.budget.share(),
        )
        .with_acceptor(self.acceptor.clone());
        self.tasks.spawn("connection", OnFailure::Log, async move {
            connection.run().await;
            drop(entry);
        });
    }
}

/// Errors of `accept` that say nothing about the listening socket.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | NotConnected)
}
