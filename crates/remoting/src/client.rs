//! The dialling side: one connection for each address, made when it is needed.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rmq_runtime::{ClockExt, Monotonic, OnFailure, Stream, Tasks, World};

use crate::command::{HeaderEncoding, RemotingCommand};
use crate::connection::Connection;
use crate::invoker::{Endpoint, InvokeError, Invoker};
use crate::limits::{Budget, Limits};
use crate::live::Live;
use crate::peer::{Addresses, Peer, PeerLimits};
use crate::processor::Processor;
use crate::response_code;
use crate::tls::Connector;

/// Settings of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientConfig {
    /// How headers are written. Codes that do not fit a binary header go as JSON all the same.
    pub encoding: HeaderEncoding,
    /// How long dialling may take, within the timeout of the call.
    pub connect_timeout: Duration,
    /// Limits of each connection.
    pub limits: Limits,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            encoding: HeaderEncoding::Json,
            connect_timeout: Duration::from_secs(3),
            limits: Limits::CLIENT,
        }
    }
}

/// Sends requests, and has the requests of servers served by a processor, which also hears of every
/// connection that is made and that ends.
pub struct Client {
    world: World,
    tasks: Tasks,
    config: ClientConfig,
    processor: Arc<dyn Processor>,
    connector: Option<Arc<Connector>>,
    budget: Budget,
    live: Live,
    lines: Mutex<HashMap<Endpoint, Arc<Line>>>,
}

/// The way to one address.
#[derive(Default)]
struct Line {
    peer: Mutex<Option<Arc<Peer>>>,
    /// Held by the one who dials.
    dialling: tokio::sync::Mutex<()>,
}

impl Line {
    fn peer(&self) -> Option<Arc<Peer>> {
        self.peer.lock().clone().filter(|peer| !peer.is_closed())
    }
}

impl Client {
    /// A client without connections. Must be made within a runtime.
    pub fn new(
        world: World,
        tasks: &Tasks,
        config: ClientConfig,
        processor: Arc<dyn Processor>,
    ) -> Arc<Self> {
        Self::with_tls(world, tasks, config, processor, None)
    }

    /// The same whose connections are TLS when there is a connector.
    pub fn with_tls(
        world: World,
        tasks: &Tasks,
        config: ClientConfig,
        processor: Arc<dyn Processor>,
        connector: Option<Arc<Connector>>,
    ) -> Arc<Self> {
        let (tasks, live) = (tasks.child("remoting-client"), Live::new(usize::MAX));
        let (stop, closing) = (tasks.stop_token(), live.clone());
        tasks.spawn("close", OnFailure::Log, async move {
            stop.requested().await;
            closing.close();
        });
        Arc::new(Self {
            world,
            tasks,
            config,
            processor,
            connector,
            budget: Budget::new(config.limits.unfinished_max),
            live,
            lines: Mutex::default(),
        })
    }

    /// The connection to an address, made if there is none.
    ///
    /// # Errors
    /// [`InvokeError::Connect`].
    pub async fn connect(
        &self,
        to: &Endpoint,
        timeout: Duration,
    ) -> Result<Arc<Peer>, InvokeError> {
        let line = Arc::clone(self.lines.lock().entry(to.clone()).or_default());
        if let Some(peer) = line.peer() {
            return Ok(peer);
        }
        let timeout = timeout.min(self.config.connect_timeout);
        let dialled = self.world.clock.timeout(timeout, async {
            let _dialling = line.dialling.lock().await;
            match line.peer() {
                Some(peer) => Ok(peer),
                None => {
                    let peer = self.serve(to, self.dial(to).await?);
                    *line.peer.lock() = Some(Arc::clone(&peer));
                    Ok(peer)
                }
            }
        });
        let source = match dialled.await {
            Ok(Ok(peer)) => return Ok(peer),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, "dialling took too long"),
        };
        Err(InvokeError::Connect { to: to.clone(), source })
    }

    async fn dial(&self, to: &Endpoint) -> io::Result<Box<dyn Stream>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.world.net.resolve(to.as_str()).await? {
            match self.world.net.connect(address).await {
                Ok(stream) => {
                    return match &self.connector {
                        Some(connector) => connector.connect(to, stream).await,
                        None => Ok(stream),
                    };
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn serve(&self, to: &Endpoint, stream: Box<dyn Stream>) -> Arc<Peer> {
        let addresses = Addresses { local: stream.local_addr(), remote: stream.remote_addr() };
        let limits = self.config.limits;
        let peer = Peer::new(
            addresses,
            to.clone(),
            Arc::clone(&self.world.clock),
            PeerLimits { in_flight: limits.in_flight_max, bytes: limits.outbox_max },
        );
        let entry = self.live.enter(&peer);
        let connection = Connection::new(
            Arc::clone(&peer),
            stream,
            Arc::clone(&self.processor),
            Arc::clone(&self.world.clock),
            limits,
            self.budget.share(),
        );
        // Operators look for the thread that does this in the original.
        let name = format!("NettyClientSelector {}", peer.endpoint());
        self.tasks.spawn(&name, OnFailure::Log, async move {
            connection.run().await;
            drop(entry);
        });
        peer
    }

    /// Sets the encoding of a request.
    fn encoding_of(&self, request: &RemotingCommand) -> HeaderEncoding {
        match i16::try_from(request.code) {
            Ok(_) => self.config.encoding,
            Err(_) => HeaderEncoding::Json,
        }
    }

    fn left(&self, deadline: Monotonic) -> Duration {
        deadline.since(self.world.clock.monotonic())
    }
}

#[async_trait]
impl Invoker for Client {
    async fn invoke(
        &self,
        to: &Endpoint,
        mut request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        request.encoding = self.encoding_of(&request);
        let deadline = self.world.clock.monotonic() + timeout;
        let peer = self.connect(to, timeout).await?;
        let answer = peer.call(&mut request, self.left(deadline)).await?;
        if answer.code != response_code::GO_AWAY {
            return Ok(answer);
        }
        // The server is about to stop, or wants its connections spread anew: once more on a new
        // one.
        self.leave(to, &peer);
        let peer = self.connect(to, self.left(deadline)).await?;
        let answer = peer.call(&mut request, self.left(deadline)).await?;
        if answer.code != response_code::GO_AWAY {
            return Ok(answer);
        }
        self.leave(to, &peer);
        Err(InvokeError::Closed { to: to.clone(), reason: "the server goes away".into() })
    }

    async fn oneway(
        &self,
        to: &Endpoint,
        mut request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(), InvokeError> {
        request.encoding = self.encoding_of(&request);
        self.connect(to, timeout).await?.oneway(request)
    }

    fn disconnect(&self, to: &Endpoint) {
        let line = self.lines.lock().remove(to);
        if let Some(peer) = line.and_then(|line| line.peer()) {
            peer.close();
        }
    }
}

impl Client {
    /// Takes no more requests to a connection; what is on its way may finish.
    fn leave(&self, to: &Endpoint, peer: &Arc<Peer>) {
        if let Some(line) = self.lines.lock().get(to) {
            let mut current = line.peer.lock();
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, peer)) {
                *current = None;
            }
        }
        peer.drain();
    }
}
