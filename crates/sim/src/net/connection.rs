//! One connection: two directions, each with what is on its way.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rmq_runtime::{BoxFuture, Clock, Monotonic, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Machine, SimNet};

/// Bytes of one direction that may be on their way; then the writer waits.
const WINDOW: usize = 256 << 10;

/// What arrives.
pub(super) enum What {
    Bytes(Bytes),
    /// Nothing more comes.
    End,
}

pub(super) struct Segment {
    /// When, in nanoseconds; never while it is held back.
    pub(super) at: u64,
    pub(super) what: What,
}

/// One side.
struct Side {
    /// Whether its program has it open.
    open: bool,
    inbox: VecDeque<Segment>,
    unread: usize,
    /// From when on the connection is broken.
    broken: Option<u64>,
    reader: Option<Waker>,
    /// Of the other side, which waits for room here.
    writer: Option<Waker>,
}

impl Side {
    fn new() -> Self {
        let inbox = VecDeque::new();
        Self { open: true, inbox, unread: 0, broken: None, reader: None, writer: None }
    }

    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.writer.take().into_iter().for_each(Waker::wake);
    }

    fn break_at(&mut self, at: u64) {
        self.broken = Some(self.broken.map_or(at, |broken| broken.min(at)));
        self.wake();
    }
}

pub(super) struct Connection {
    pub(super) machines: [Machine; 2],
    sides: [Side; 2],
}

impl Connection {
    pub(super) fn new(machines: [Machine; 2]) -> Self {
        Self { machines, sides: [Side::new(), Side::new()] }
    }

    pub(super) fn is_between(&self, one: Machine, other: Machine) -> bool {
        self.machines == [one, other] || self.machines == [other, one]
    }

    pub(super) fn is_there(&self, side: usize) -> bool {
        self.sides[side].open
    }

    pub(super) fn is_over(&self) -> bool {
        self.sides.iter().all(|side| !side.open)
    }

    /// What one side is sent; never earlier than what was sent before.
    pub(super) fn deliver(&mut self, to: usize, mut segment: Segment) -> Option<Waker> {
        let side = &mut self.sides[to];
        if let Some(last) = side.inbox.back() {
            segment.at = segment.at.max(last.at);
        }
        if let What::Bytes(bytes) = &segment.what {
            side.unread += bytes.len();
        }
        side.inbox.push_back(segment);
        side.reader.take()
    }

    /// The link is free again. Whether anything was held back.
    pub(super) fn release(&mut self, from: Machine, to: Machine, now: u64) -> bool {
        let mut held = false;
        for side in 0..2 {
            if (self.machines[1 - side], self.machines[side]) != (from, to) {
                continue;
            }
            for segment in self.sides[side].inbox.iter_mut().filter(|held| held.at == u64::MAX) {
                segment.at = now + 1;
                held = true;
            }
            self.sides[side].wake();
        }
        held
    }

    /// Both sides learn that it is broken.
    pub(super) fn reset(&mut self, now: u64) {
        self.sides.iter_mut().for_each(|side| side.break_at(now));
    }

    /// One side learns that the other knows nothing of it.
    pub(super) fn refuse(&mut self, side: usize, at: u64) {
        self.sides[side].break_at(at);
    }

    pub(super) fn program_ended(
        &mut self,
        machine: Machine,
        now: u64,
        is_cut: impl Fn(Machine, Machine) -> bool,
    ) {
        for side in 0..2 {
            if self.machines[side] != machine || !self.sides[side].open {
                continue;
            }
            self.sides[side].open = false;
            let other = self.machines[1 - side];
            // What was on its way is lost with the reset; a reset that is held back comes when the
            // other side writes the next time.
            if !is_cut(machine, other) {
                self.sides[1 - side].break_at(now + 500_000);
            }
        }
    }

    pub(super) fn power_lost(&mut self, machine: Machine) {
        for side in 0..2 {
            if self.machines[side] == machine {
                self.sides[side].open = false;
                self.sides[side].inbox.clear();
            }
        }
    }
}

/// One side of a connection, as its program holds it.
pub(super) struct SimStream {
    net: SimNet,
    id: u64,
    side: usize,
    addresses: [SocketAddr; 2],
    timer: Option<BoxFuture<'static, ()>>,
}

/// What reading found.
enum Found {
    Bytes(Bytes),
    End,
    Broken,
    /// Nothing before that moment.
    At(u64),
    Nothing,
}

impl SimStream {
    pub(super) fn new(net: SimNet, (id, side): (u64, usize), addresses: [SocketAddr; 2]) -> Self {
        Self { net, id, side, addresses, timer: None }
    }

    fn look(&self, cx: &Context<'_>, room: usize) -> Found {
        let now = self.net.clock.nanos();
        let mut state = self.net.state.lock();
        let Some(connection) = state.connections.get_mut(&self.id) else { return Found::Broken };
        let side = &mut connection.sides[self.side];
        if !side.open || side.broken.is_some_and(|at| at <= now) {
            return Found::Broken;
        }
        let next = side.inbox.front().map(|segment| segment.at);
        let Some(at) = next.filter(|at| *at <= now) else {
            side.reader = Some(cx.waker().clone());
            let next = next.into_iter().chain(side.broken).min().filter(|at| *at != u64::MAX);
            return next.map_or(Found::Nothing, Found::At);
        };
        let Some(segment) = side.inbox.pop_front() else { return Found::Nothing };
        let found = match segment.what {
            What::Bytes(mut bytes) => {
                let taken = bytes.split_to(room.min(bytes.len()));
                side.unread -= taken.len();
                if bytes.has_remaining() {
                    side.inbox.push_front(Segment { at, what: What::Bytes(bytes) });
                }
                Found::Bytes(taken)
            }
            What::End => {
                side.inbox.push_front(Segment { at, what: What::End });
                Found::End
            }
        };
        let writer = side.writer.take();
        drop(state);
        writer.into_iter().for_each(Waker::wake);
        found
    }

    fn send_end(&self) {
        let now = self.net.clock.nanos();
        let waker = self.net.state.lock().send((self.id, self.side), What::End, now);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.look(cx, buf.remaining()) {
                Found::Bytes(bytes) => {
                    buf.put_slice(&bytes);
                    return Poll::Ready(Ok(()));
                }
                Found::End => return Poll::Ready(Ok(())),
                Found::Broken => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Found::Nothing => {
                    self.timer = None;
                    return Poll::Pending;
                }
                Found::At(at) => {
                    let until = Monotonic(Duration::from_nanos(at));
                    let mut timer = self.net.clock.sleep_until(until);
                    let poll = timer.as_mut().poll(cx);
                    self.timer = Some(timer);
                    if poll.is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let now = self.net.clock.nanos();
        let mut state = self.net.state.lock();
        let Some(connection) = state.connections.get_mut(&self.id) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let mine = &connection.sides[self.side];
        if !mine.open || mine.broken.is_some_and(|at| at <= now) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let other = &mut connection.sides[1 - self.side];
        let room = WINDOW.saturating_sub(other.unread).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            other.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = Bytes::copy_from_slice(bytes.get(..room).unwrap_or_default());
        let waker = state.send((self.id, self.side), What::Bytes(taken), now);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.send_end();
        Poll::Ready(Ok(()))
    }
}

impl Stream for SimStream {
    fn local_addr(&self) -> SocketAddr {
        self.addresses[self.side]
    }

    fn remote_addr(&self) -> SocketAddr {
        self.addresses[1 - self.side]
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.send_end();
        let mut state = self.net.state.lock();
        if let Some(connection) = state.connections.get_mut(&self.id) {
            connection.sides[self.side].open = false;
            if connection.is_over() {
                state.connections.remove(&self.id);
            }
        }
    }
}
