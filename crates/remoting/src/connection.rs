//! One connection: a loop that reads, has requests processed, and writes.
//!
//! A turn is: read what has come, decode every whole frame, have each processed, settle once, write
//! all answers at once. Answers that come later are futures which the same loop polls. Nothing here
//! starts a task, and an answer that is ready costs neither a box nor a channel.
//!
//! Where TLS is served, the first byte that comes decides: a handshake begins then, after which the
//! same loop goes on with what lies inside, or nothing was ever different.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use compact_str::{CompactString, format_compact};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use rmq_runtime::{Clock, ClockExt, Stream};
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::command::{HeaderEncoding, RemotingCommand, Response};
use crate::frame::{self, FrameError};
use crate::limits::{Limits, Share};
use crate::output::Output;
use crate::pace::{Pace, Sight, Verdict};
use crate::peer::Peer;
use crate::processor::{Processor, Reply, Unsettled};
use crate::tls::Acceptor;
use crate::{request_code, response_code};

/// Clients above this release understand GO_AWAY: 5.3.1.
const GO_AWAY_ABOVE: i32 = 475;

/// Bytes that a new or an idle connection reads at once. Most connections are idle, and hold this.
const READ_FIRST: usize = 2 << 10;
/// With less room than this it is worth to make more.
const ROOM_MIN: usize = 4 << 10;

/// A body up to this size is right for any request.
const BODY_FREE: usize = 64 << 10;

/// One connection.
pub(crate) struct Connection {
    peer: Arc<Peer>,
    processor: Arc<dyn Processor>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    wire: Wire,
    /// Decides what the first byte means; none when nothing has to be decided, or not any more.
    acceptor: Option<Arc<Acceptor>>,
    /// Answers that come later.
    later: FuturesUnordered<Owed>,
    /// Whole frames may be left over from the last turn.
    more: bool,
    /// New requests are turned away; the connection ends when nothing is owed any more.
    draining: bool,
    /// Nothing is read any more; the connection ends when everything is written.
    fault: Option<FrameError>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("closed by the other side")]
    Finished,
    #[error("broken: {0}")]
    Io(#[from] io::Error),
    #[error("closed after unreadable bytes: {0}")]
    Frame(FrameError),
    #[error("closed: {0}")]
    Unsettled(#[from] Unsettled),
    #[error("closed: {0}")]
    Pace(Verdict),
    #[error("closed: the frames that have begun take too much memory")]
    Budget,
    #[error("closed: it does not speak TLS, and only TLS is served here")]
    Plain,
    #[error("closed: the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error("drained")]
    Drained,
    #[error("{0}")]
    Asked(CompactString),
}

/// How far the loop went.
enum Pass {
    /// To the end.
    End(End),
    /// To the first byte, with which a handshake begins.
    Handshake(Arc<Acceptor>),
}

impl From<End> for Pass {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// What the loop woke for.
enum Event {
    Outbox,
    Answered,
    Moved(io::Result<Moved>),
    More,
    Tick,
}

impl Connection {
    pub(crate) fn new(
        peer: Arc<Peer>,
        stream: Box<dyn Stream>,
        processor: Arc<dyn Processor>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        share: Share,
    ) -> Self {
        Self {
            peer,
            processor,
            clock,
            limits,
            wire: Wire {
                stream,
                input: Input::new(share),
                output: Output::default(),
                unflushed: false,
            },
            acceptor: None,
            later: FuturesUnordered::new(),
            more: false,
            draining: false,
            fault: None,
        }
    }

    /// The same connection where TLS is served.
    pub(crate) fn with_acceptor(mut self, acceptor: Option<Arc<Acceptor>>) -> Self {
        self.acceptor = acceptor;
        self
    }

    /// Serves the connection until it ends.
    pub(crate) async fn run(mut self) {
        let peer = Arc::clone(&self.peer);
        // Runs also when a processor panics or the task is dropped.
        let _closing = Closing { peer: &peer, processor: &*self.processor.clone() };
        self.processor.connected(&peer);
        let end = loop {
            match self.serve().await {
                Pass::End(end) => break end,
                // On the heap: plain connections need no room for it.
                Pass::Handshake(acceptor) => match Box::pin(self.secured(&acceptor)).await {
                    Ok(secured) => self = secured,
                    Err(end) => break end,
                },
            }
        };
        let at = peer.endpoint();
        match &end {
            End::Frame(_) | End::Unsettled(_) | End::Budget | End::Plain | End::Handshake(_) => {
                tracing::warn!(peer = %at, "{end}")
            }
            _ => tracing::debug!(peer = %at, "{end}"),
        }
        peer.close_because(&format_compact!("{end}"));
    }

    async fn serve(&mut self) -> Pass {
        let mut pace = Pace::new(&self.limits);
        let mut tick = self.clock.sleep(self.limits.header);
        loop {
            if let Some(end) = self.finished() {
                return end.into();
            }
            let result = match self.next(&mut tick).await {
                Event::Outbox => self.look_into_outbox(),
                Event::Answered | Event::Moved(Ok(Moved::Written)) => Ok(()),
                Event::Moved(Ok(Moved::Received)) => match self.greet() {
                    Ok(Some(acceptor)) => return Pass::Handshake(acceptor),
                    Ok(None) => self.turn(),
                    Err(end) => Err(end),
                },
                Event::More => self.turn(),
                Event::Moved(Ok(Moved::Ended)) => Err(End::Finished),
                Event::Moved(Err(error)) => Err(error.into()),
                Event::Tick => {
                    tick = self.clock.sleep(self.limits.header);
                    self.look_at_clock(&mut pace)
                }
            };
            if let Err(end) = result {
                return end.into();
            }
        }
    }

    /// Looks at the first byte; returns whoever is to accept when a handshake begins.
    fn greet(&mut self) -> Result<Option<Arc<Acceptor>>, End> {
        let Some(acceptor) = self.acceptor.take() else { return Ok(None) };
        if self.wire.input.bytes.first() == Some(&frame::TLS_HANDSHAKE) {
            Ok(Some(acceptor))
        } else if acceptor.admits_plain() {
            Ok(None)
        } else {
            Err(End::Plain)
        }
    }

    /// The same connection after its handshake. What others want of it meanwhile waits, but for
    /// its end.
    async fn secured(mut self, acceptor: &Acceptor) -> Result<Self, End> {
        let Wire { stream, input, mut output, .. } = self.wire;
        let first = BytesMut::from(&input.bytes[..]);
        let input = Input { bytes: BytesMut::new(), ..input };
        let clock = Arc::clone(&self.clock);
        let mut handshake = pin!(acceptor.accept(stream, first, &*clock));
        let stream = loop {
            tokio::select! {
                biased;
                () = poll_fn(|cx| self.peer.outbox().poll_changed(cx)) => {
                    let wishes = self.peer.outbox().take(&mut output);
                    self.draining |= wishes.draining;
                    if let Some(reason) = wishes.closed {
                        return Err(End::Asked(reason));
                    }
                }
                stream = &mut handshake => break stream.map_err(End::Handshake)?,
            }
        };
        self.wire = Wire { stream, input, output, unflushed: false };
        Ok(self)
    }

    async fn next(&mut self, tick: &mut BoxFuture<'static, ()>) -> Event {
        let (open, more) = (self.is_reading(), self.more);
        let reading = open && !more;
        let tell_written = !reading || self.draining;
        let Self { peer, wire, later, limits, .. } = self;
        // Answers come before writing, so that all that are ready go out together.
        tokio::select! {
            biased;
            () = poll_fn(|cx| peer.outbox().poll_changed(cx)) => Event::Outbox,
            Some(answer) = later.next() => {
                answer.asker.answer(&answer.response, &mut wire.output);
                Event::Answered
            }
            moved = poll_fn(|cx| wire.poll(cx, reading, tell_written, limits)) => {
                Event::Moved(moved)
            }
            () = tokio::task::yield_now(), if open && more => Event::More,
            () = tick => Event::Tick,
        }
    }

    /// Whether more requests are wanted.
    fn is_reading(&self) -> bool {
        self.fault.is_none()
            && self.wire.output.len() < self.limits.output_max
            && self.later.len() < self.limits.later_max
    }

    /// Handles the whole frames that have come, as many as one turn may have.
    fn turn(&mut self) -> Result<(), End> {
        let before = self.wire.output.len();
        let mut frames = 0;
        self.more = false;
        loop {
            match frame::decode(&mut self.wire.input.bytes, &self.limits.frame) {
                Ok(Some(command)) => self.handle(command),
                Ok(None) => break,
                Err(error) => {
                    self.fault = Some(error);
                    break;
                }
            }
            frames += 1;
            if frames == self.limits.turn_frames
                || self.wire.output.len() - before >= self.limits.turn_bytes
            {
                self.more = true;
                break;
            }
        }
        if frames > 0 {
            self.wire.input.frames = self.wire.input.frames.wrapping_add(1);
            self.processor.settle()?;
        }
        let unfinished = if self.more { 0 } else { self.wire.input.bytes.len() };
        if self.wire.input.share.set(unfinished) { Ok(()) } else { Err(End::Budget) }
    }

    fn handle(&mut self, command: RemotingCommand) {
        if command.is_response() {
            return self.peer.answered(command);
        }
        let asker = Asker {
            opaque: command.opaque,
            encoding: command.encoding,
            oneway: command.is_oneway(),
        };
        if let Some(refusal) = self.refuse(&command) {
            return asker.answer(&refusal, &mut self.wire.output);
        }
        match self.processor.process(&self.peer, command) {
            Reply::Now(response) => asker.answer(&response, &mut self.wire.output),
            Reply::Later(future) => self.later.push(Owed { future, asker }),
            Reply::None => {}
        }
    }

    /// The answer to a request that no processor gets to see.
    fn refuse(&self, request: &RemotingCommand) -> Option<Response> {
        if self.draining && request.version > GO_AWAY_ABOVE && !request.is_oneway() {
            return Some(Response::error(response_code::GO_AWAY, "please go away"));
        }
        let len = request.body.len();
        if len <= BODY_FREE {
            return None;
        }
        let row = request_code::find(request.code)?;
        (len > row.body.bytes()).then(|| {
            let remark = format_compact!("a body of {len} bytes is too large for {}", row.name);
            Response::error(response_code::SYSTEM_ERROR, remark)
        })
    }

    fn look_into_outbox(&mut self) -> Result<(), End> {
        let wishes = self.peer.outbox().take(&mut self.wire.output);
        self.draining |= wishes.draining;
        match wishes.closed {
            Some(reason) => Err(End::Asked(reason)),
            None => Ok(()),
        }
    }

    fn look_at_clock(&mut self, pace: &mut Pace) -> Result<(), End> {
        if let Some(error) = self.fault.take() {
            return Err(End::Frame(error));
        }
        let reading = self.is_reading();
        let Wire { input, output, .. } = &mut self.wire;
        let verdict = pace.tick(Sight {
            received: input.received,
            frames: input.frames,
            begun: (!input.bytes.is_empty())
                .then(|| frame::arrived(&input.bytes, &self.limits.frame)),
            unsent: output.len(),
            busy: self.more || !self.later.is_empty() || self.peer.is_waited_for(),
            reading,
        });
        input.shrink();
        verdict.map_err(End::Pace)
    }

    /// Whether there is nothing left to do on a connection that is to end.
    fn finished(&mut self) -> Option<End> {
        if !self.wire.output.is_empty() || self.wire.unflushed {
            return None;
        }
        if let Some(error) = self.fault.take() {
            return Some(End::Frame(error));
        }
        let drained = self.draining
            && self.wire.input.bytes.is_empty()
            && self.later.is_empty()
            && !self.peer.is_waited_for();
        drained.then_some(End::Drained)
    }
}

/// Tells the processor at the end, however it comes.
struct Closing<'a> {
    peer: &'a Arc<Peer>,
    processor: &'a dyn Processor,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.peer.close_because("its task ended");
        self.processor.closed(self.peer);
    }
}

/// Who is to get an answer.
#[derive(Clone, Copy)]
struct Asker {
    opaque: i32,
    encoding: HeaderEncoding,
    oneway: bool,
}

impl Asker {
    fn answer(self, response: &Response, output: &mut Output) {
        if !self.oneway {
            output.push_response(response, self.opaque, self.encoding);
        }
    }
}

/// An answer that comes later.
struct Owed {
    future: BoxFuture<'static, Response>,
    asker: Asker,
}

struct Answer {
    response: Response,
    asker: Asker,
}

impl Future for Owed {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let asker = self.asker;
        self.future.as_mut().poll(cx).map(|response| Answer { response, asker })
    }
}

/// The socket, with what has come and what is to go.
struct Wire {
    stream: Box<dyn Stream>,
    input: Input,
    output: Output,
    /// Something was written that the stream may still hold.
    unflushed: bool,
}

impl Wire {
    /// Writes what there is to write, then reads if that is wanted. Ready when something was read,
    /// or, if that is to be told, written.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reading: bool,
        tell_written: bool,
        limits: &Limits,
    ) -> Poll<io::Result<Moved>> {
        let Self { stream, input, output, unflushed } = self;
        let (unsent, was_unflushed) = (output.len(), *unflushed);
        if let Poll::Ready(Err(error)) = output.poll_write(cx, stream) {
            return Poll::Ready(Err(error));
        }
        *unflushed |= output.len() < unsent;
        if *unflushed && let Poll::Ready(flushed) = Pin::new(&mut *stream).poll_flush(cx) {
            flushed?;
            *unflushed = false;
        }
        if tell_written && (output.len() < unsent || was_unflushed && !*unflushed) {
            return Poll::Ready(Ok(Moved::Written));
        }
        if !reading {
            return Poll::Pending;
        }
        input.make_room(limits);
        let room = input.bytes.capacity() - input.bytes.len();
        let read = pin!(stream.read_buf(&mut input.bytes)).poll(cx);
        read.map_ok(|len| {
            input.count(len, room, limits);
            if len == 0 { Moved::Ended } else { Moved::Received }
        })
    }
}

/// Bytes that have come and are not yet a frame.
struct Input {
    bytes: BytesMut,
    /// How much is read at once.
    read_size: usize,
    /// Bytes that have ever come.
    received: u64,
    /// Turns that brought whole frames.
    frames: u64,
    share: Share,
}

impl Input {
    fn new(share: Share) -> Self {
        Self { bytes: BytesMut::new(), read_size: READ_FIRST, received: 0, frames: 0, share }
    }

    /// Makes room for the next read: what the frame still lacks, within limits. A frame that says
    /// it is long gets its room step by step, as it comes.
    fn make_room(&mut self, limits: &Limits) {
        let wanted = match frame::arrived(&self.bytes, &limits.frame) {
            frame::Arrived::Header { missing } => missing.clamp(self.read_size, limits.read_max),
            frame::Arrived::Beginning => self.read_size,
        };
        if self.bytes.capacity() - self.bytes.len() < wanted.min(ROOM_MIN) {
            self.bytes.reserve(wanted);
        }
    }

    /// Counts a read; one that filled its room asks for more the next time.
    fn count(&mut self, len: usize, room: usize, limits: &Limits) {
        self.received = self.received.wrapping_add(u64::try_from(len).unwrap_or(u64::MAX));
        if len == room {
            self.read_size = (self.read_size * 2).min(limits.read_max);
        }
    }

    /// Gives back what a quiet connection does not need.
    fn shrink(&mut self) {
        if self.bytes.is_empty() && self.bytes.capacity() > READ_FIRST {
            self.bytes = BytesMut::new();
            self.read_size = READ_FIRST;
        }
    }
}

/// What became of one look at the socket.
enum Moved {
    /// Something was written, nothing read.
    Written,
    /// Something was read.
    Received,
    /// The other side sends nothing more.
    Ended,
}
