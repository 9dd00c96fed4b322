//! What one connection, and all together, may take of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::frame::FrameLimits;

/// Limits of connections. The defaults are those of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Frames, headers and fields.
    pub frame: FrameLimits,
    /// Bytes that are read at once at most.
    pub read_max: usize,
    /// Frames that are handled before others get their turn.
    pub turn_frames: usize,
    /// Bytes of answers after which others get their turn.
    pub turn_bytes: usize,
    /// Bytes of unsent answers from which on a connection is not read.
    pub output_max: usize,
    /// Answers that may be owed to one connection; it is not read beyond.
    pub later_max: usize,
    /// Requests that may wait for the answer of one peer.
    pub in_flight_max: usize,
    /// Bytes of unsent requests to one peer from which on more are refused.
    pub outbox_max: usize,
    /// Bytes of frames of all connections that have begun and not ended.
    pub unfinished_max: usize,
    /// A connection on which nothing moves for so long is closed.
    pub idle: Duration,
    /// A frame that does not grow for so long is given up, with its connection.
    pub stall: Duration,
    /// A header must be whole within about this time. Also the step in which a connection looks at
    /// the clock.
    pub header: Duration,
}

impl Limits {
    /// For servers.
    pub const SERVER: Self = Self {
        frame: FrameLimits::SERVER,
        read_max: 256 << 10,
        turn_frames: 256,
        turn_bytes: 1 << 20,
        output_max: 4 << 20,
        later_max: 65_536,
        in_flight_max: 65_536,
        outbox_max: 4 << 20,
        unfinished_max: 64 << 20,
        idle: Duration::from_secs(120),
        stall: Duration::from_secs(30),
        header: Duration::from_secs(10),
    };

    /// For clients, which have few connections and chose them.
    pub const CLIENT: Self = Self {
        frame: FrameLimits::CLIENT,
        outbox_max: 64 << 20,
        unfinished_max: 1 << 30,
        ..Self::SERVER
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::SERVER
    }
}

/// A connection counts in the budget of unfinished frames from so many bytes on.
const CHARGED_FROM: usize = 64 << 10;

/// Bytes that unfinished frames take, of all connections together.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    taken: Arc<AtomicUsize>,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self { taken: Arc::default(), max }
    }

    /// The share of one connection, nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// What one connection has taken; given back when it ends.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Sets the share. False when all together is too much now.
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        let bytes = if bytes < CHARGED_FROM { 0 } else { bytes };
        if bytes == self.bytes {
            return true;
        }
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
        let others = self.budget.taken.fetch_add(bytes, Ordering::Relaxed);
        bytes == 0 || others.saturating_add(bytes) <= self.budget.max
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_count_together_and_are_given_back() {
        let budget = Budget::new(300 << 10);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(first.set(200 << 10));
        assert!(second.set(10 << 10), "small ones are free");
        assert!(!second.set(150 << 10));
        drop(first);
        assert!(second.set(151 << 10));
    }
}
