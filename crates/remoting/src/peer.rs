//! The other end of a connection, as the rest of the program holds it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use compact_str::CompactString;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use rmq_runtime::{Clock, ClockExt};

use crate::command::RemotingCommand;
use crate::in_flight::{InFlight, NoAnswer};
use crate::invoker::{Endpoint, InvokeError};
use crate::output::Output;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The other end of a connection. Lives as long as anybody holds it; the connection may have ended.
pub struct Peer {
    id: u64,
    remote: SocketAddr,
    local: SocketAddr,
    endpoint: Endpoint,
    clock: Arc<dyn Clock>,
    in_flight: Arc<InFlight>,
    outbox: Outbox,
}

/// Limits of what a peer may be asked at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerLimits {
    /// Requests that wait for an answer.
    pub(crate) in_flight: usize,
    /// Bytes that wait to be written.
    pub(crate) bytes: usize,
}

/// Both ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl Peer {
    pub(crate) fn new(
        addresses: Addresses,
        endpoint: Endpoint,
        clock: Arc<dyn Clock>,
        limits: PeerLimits,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            remote: addresses.remote,
            local: addresses.local,
            endpoint,
            clock,
            in_flight: InFlight::new(limits.in_flight),
            outbox: Outbox::new(limits.bytes),
        })
    }

    /// A number that no other connection of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Address of the other end.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Address of this end.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// What was dialled; of accepted connections the address of the other end.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the connection has ended or is about to.
    pub fn is_closed(&self) -> bool {
        self.outbox.state.lock().closed.is_some()
    }

    /// Ends the connection. What is on its way is dropped; those who wait for an answer get
    /// [`InvokeError::Closed`].
    pub fn close(&self) {
        self.close_because("closed by this side");
    }

    /// Sends a request over this connection and waits for its answer.
    pub async fn invoke(
        &self,
        mut request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        self.call(&mut request, timeout).await
    }

    /// The same for callers that may have to ask again.
    pub(crate) async fn call(
        &self,
        request: &mut RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        let ticket = self.in_flight.book().map_err(|error| self.no_answer(error))?;
        request.opaque = ticket.opaque();
        let code = request.code;
        self.send(request)?;
        match self.clock.timeout(timeout, ticket).await {
            Ok(answer) => answer.map_err(|error| self.no_answer(error)),
            Err(_) => Err(InvokeError::Timeout { to: self.endpoint.clone(), code, timeout }),
        }
    }

    /// Hands a request to the connection and wants no answer.
    ///
    /// # Errors
    /// [`InvokeError::Closed`], [`InvokeError::TooMany`] or [`InvokeError::Encode`].
    pub fn oneway(&self, request: RemotingCommand) -> Result<(), InvokeError> {
        self.send(&request.oneway())
    }

    fn send(&self, request: &RemotingCommand) -> Result<(), InvokeError> {
        let mut state = self.outbox.state.lock();
        if let Some(reason) = &state.closed {
            return Err(InvokeError::Closed { to: self.endpoint.clone(), reason: reason.clone() });
        }
        let was_empty = state.output.is_empty();
        if state.output.len() > self.outbox.bytes_max {
            return Err(InvokeError::TooMany { to: self.endpoint.clone() });
        }
        state
            .output
            .push_command(request)
            .map_err(|source| InvokeError::Encode { code: request.code, source })?;
        drop(state);
        if was_empty {
            self.outbox.signal();
        }
        Ok(())
    }

    fn no_answer(&self, error: NoAnswer) -> InvokeError {
        let to = self.endpoint.clone();
        match error {
            NoAnswer::Broken(reason) => InvokeError::Closed { to, reason },
            NoAnswer::Full => InvokeError::TooMany { to },
        }
    }

    /// Hands an answer to whoever waits for it.
    pub(crate) fn answered(&self, answer: RemotingCommand) {
        let (opaque, code) = (answer.opaque, answer.code);
        if !self.in_flight.complete(answer) {
            tracing::debug!(peer = %self.endpoint, opaque, code, "answer that nobody waits for");
        }
    }

    /// Whether somebody waits for an answer.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.in_flight.len() > 0
    }

    /// Ends the connection with a reason; the first reason stays.
    pub(crate) fn close_because(&self, reason: &str) {
        let mut state = self.outbox.state.lock();
        let reason = state.closed.get_or_insert_with(|| reason.into()).clone();
        drop(state);
        self.in_flight.break_all(&reason);
        self.outbox.signal();
    }

    /// Asks the connection to finish what it has begun, and to end then.
    pub(crate) fn drain(&self) {
        self.outbox.state.lock().draining = true;
        self.outbox.signal();
    }

    /// The connection's end of the outbox.
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).field("remote", &self.remote).finish()
    }
}

/// What others want of a connection: bytes to be written, or its end. They leave it here and wake
/// the connection once.
pub(crate) struct Outbox {
    state: Mutex<Outgoing>,
    bytes_max: usize,
    changed: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Outgoing {
    output: Output,
    draining: bool,
    closed: Option<CompactString>,
}

/// What was found in the outbox.
pub(crate) struct Wishes {
    /// Somebody wants the connection to finish.
    pub(crate) draining: bool,
    /// Somebody wants the connection to end now.
    pub(crate) closed: Option<CompactString>,
}

impl Outbox {
    fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            bytes_max,
            changed: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        }
    }

    fn signal(&self) {
        self.changed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Ready when there is something new. Cancel-safe.
    pub(crate) fn poll_changed(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.changed.swap(false, Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Moves what is to be written to the end of `output`.
    pub(crate) fn take(&self, output: &mut Output) -> Wishes {
        let mut state = self.state.lock();
        output.append(&mut state.output);
        Wishes { draining: state.draining, closed: state.closed.clone() }
    }
}
