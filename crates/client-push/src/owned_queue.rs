//! One queue while this consumer owns it: the process queue behind a lock, who works on it, and
//! whether results still count.
//!
//! Assigning a queue makes a new one of these; revoking it ends it for good. A result that comes
//! later finds the old one and changes nothing: that is the generation of the queue.
//!
//! ```text
//! open ──close──▶ closing (running listeners may still end, nothing is handed out)
//!   └──────────────┴──retire──▶ retired (empty; no result counts any more)
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_client_core::Progress;
use rmq_message::{MessageQueue, MessageView, QueueOffset, Timestamp};
use rmq_runtime::{Monotonic, canary};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::process_queue::{Batch, Load, Messages, ProcessQueue, Ticket};
use crate::queue_lease::Lease;
use crate::ready::ReadyLine;
use crate::stats::TopicStats;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    Retired,
}

struct State {
    held: ProcessQueue,
    phase: Phase,
    /// Whether the queue stands in the ready line or, when it is ordered, a worker has it.
    scheduled: bool,
    /// Batches that workers have.
    running: usize,
    /// Batches that an ordered listener has handled and not yet committed.
    deferred: Vec<Batch>,
    /// Last progress told to the offset store.
    told: Option<QueueOffset>,
}

/// See the module.
pub(crate) struct OwnedQueue {
    pub(crate) queue: Arc<MessageQueue>,
    /// Cancelled when the queue is to be given up: ends the pull loop, tells listeners.
    pub(crate) revoked: Arc<CancellationToken>,
    pub(crate) stats: Arc<TopicStats>,
    /// The broker's lock on an ordered queue.
    pub(crate) lease: Option<Lease>,
    /// Set when the pull loop ended without having been told to.
    pub(crate) lost: AtomicBool,
    /// Set when somebody has chosen where consumption begins: progress may go back then.
    pub(crate) moved: AtomicBool,
    /// Set when it is known where consumption begins; before, there is no progress to tell.
    begun: AtomicBool,
    /// Times of the last pull and the last outcome, ms since 1970.
    pub(crate) last_pull: AtomicI64,
    pub(crate) last_consume: AtomicI64,
    state: Mutex<State>,
    idle: Notify,
    /// Set while the pull loop waits for room.
    starved: AtomicBool,
    room: Notify,
}

impl OwnedQueue {
    pub(crate) fn new(
        queue: MessageQueue,
        stats: Arc<TopicStats>,
        lease: Option<Lease>,
        now: Timestamp,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: Arc::new(queue),
            revoked: Arc::default(),
            stats,
            lease,
            lost: AtomicBool::new(false),
            moved: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            last_pull: AtomicI64::new(now.0),
            last_consume: AtomicI64::new(now.0),
            state: Mutex::new(State {
                held: ProcessQueue::default(),
                phase: Phase::Open,
                scheduled: false,
                running: 0,
                deferred: Vec::new(),
                told: None,
            }),
            idle: Notify::new(),
            starved: AtomicBool::new(false),
            room: Notify::new(),
        })
    }

    /// Takes in what was read up to `next`, and gets in line.
    pub(crate) fn put(
        self: &Arc<Self>,
        messages: Vec<MessageView>,
        next: QueueOffset,
        line: &ReadyLine,
    ) {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return;
        }
        state.held.put(messages, next);
        if !state.scheduled && state.held.has_waiting() {
            state.scheduled = true;
            drop(state);
            line.push(Arc::clone(self));
        }
    }

    /// Consumption begins at `start`; as progress, unless it is that of the store.
    pub(crate) fn begin(&self, start: QueueOffset, stored: bool, offsets: &Progress) {
        if !stored {
            self.advance(start, offsets);
        }
        self.begun.store(true, Ordering::Release);
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether the broker's lock, if one is needed, is held.
    pub(crate) fn is_leased(&self, now: Monotonic) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.is_held(now))
    }

    /// Whether it is pulled and its results count.
    pub(crate) fn is_live(&self) -> bool {
        self.is_open() && !self.lost.load(Ordering::Acquire)
    }

    /// Notes that a listener has answered.
    pub(crate) fn touch(&self, now: Timestamp) {
        self.last_consume.store(now.0, Ordering::Relaxed);
    }

    /// The queue was read up to `next` and what was read is for somebody else.
    pub(crate) fn advance(&self, next: QueueOffset, offsets: &Progress) {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return;
        }
        state.held.advance(next);
        if state.held.is_empty() {
            let progress = state.held.progress();
            state.tell(&self.queue, progress, offsets);
        }
    }

    /// Next messages for a worker, which must call [`Self::ended`] with them, whatever happens. The
    /// queue gets in line again at once, unless it is ordered.
    pub(crate) fn take(
        self: &Arc<Self>,
        max: usize,
        now: Monotonic,
        line: &ReadyLine,
    ) -> Option<Batch> {
        let mut state = self.state.lock();
        let batch = match state.phase {
            Phase::Open => state.held.take(max, now),
            Phase::Closing | Phase::Retired => None,
        };
        if batch.is_none() {
            state.scheduled = false;
            return None;
        }
        state.running += 1;
        if self.lease.is_none() {
            state.scheduled = state.held.has_waiting();
            if state.scheduled {
                drop(state);
                line.push(Arc::clone(self));
            }
        }
        batch
    }

    /// A worker is through with a batch.
    pub(crate) fn ended(&self) {
        let mut state = self.state.lock();
        state.running = state.running.saturating_sub(1);
        if state.running == 0 {
            drop(state);
            self.idle.notify_waiters();
        }
    }

    /// An ordered queue may be worked on again; it gets in line if it has work.
    pub(crate) fn reschedule(self: &Arc<Self>, line: &ReadyLine) {
        let mut state = self.state.lock();
        state.scheduled = state.phase == Phase::Open && state.held.has_waiting();
        if state.scheduled {
            drop(state);
            line.push(Arc::clone(self));
        }
    }

    /// These messages of a batch are finished; progress follows.
    pub(crate) fn done(
        &self,
        ticket: Ticket,
        finished: impl IntoIterator<Item = QueueOffset>,
        offsets: &Progress,
    ) {
        let mut state = self.state.lock();
        if state.phase == Phase::Retired {
            return;
        }
        if let Some(progress) = state.held.done(ticket, finished) {
            state.tell(&self.queue, Some(progress), offsets);
        }
        drop(state);
        if self.starved.swap(false, Ordering::AcqRel) {
            self.room.notify_one();
        }
    }

    /// A batch is handled, and finished with the next one that is.
    pub(crate) fn defer(&self, batch: Batch) {
        let mut state = self.state.lock();
        if state.phase != Phase::Retired {
            state.deferred.push(batch);
        }
    }

    /// What was deferred, to be finished or consumed again.
    pub(crate) fn take_deferred(&self) -> Vec<Batch> {
        std::mem::take(&mut self.state.lock().deferred)
    }

    /// These messages of a batch are to be consumed again, here.
    pub(crate) fn put_back(
        self: &Arc<Self>,
        ticket: Ticket,
        again: impl IntoIterator<Item = QueueOffset>,
        failed: bool,
        line: &ReadyLine,
    ) {
        let mut state = self.state.lock();
        state.held.put_back(ticket, again, failed);
        let schedule = self.lease.is_none()
            && state.phase == Phase::Open
            && !state.scheduled
            && state.held.has_waiting();
        if schedule {
            state.scheduled = true;
            drop(state);
            line.push(Arc::clone(self));
        }
    }

    /// Whether a taken message is still unfinished and still counts.
    pub(crate) fn holds(&self, ticket: Ticket, offset: QueueOffset) -> bool {
        let state = self.state.lock();
        state.phase != Phase::Retired && state.held.holds(ticket, offset)
    }

    /// See [`ProcessQueue::overdue`].
    pub(crate) fn overdue(
        &self,
        now: Monotonic,
        limit: Duration,
    ) -> Option<(Ticket, Messages, usize)> {
        self.state.lock().held.overdue(now, limit)
    }

    /// Nothing is handed out any more; the pull loop ends.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        drop(state);
        self.revoked.cancel();
    }

    /// No result counts any more. Returns how many messages were held and not finished.
    pub(crate) fn retire(&self) -> usize {
        self.close();
        let mut state = self.state.lock();
        state.phase = Phase::Retired;
        let count = state.held.load().count;
        if !canary("INV-28 what is given up is still counted") {
            state.held.clear();
        }
        state.deferred.clear();
        count
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().phase == Phase::Open
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.state.lock().phase == Phase::Retired
    }

    /// Batches that workers have.
    pub(crate) fn running(&self) -> usize {
        self.state.lock().running
    }

    /// Ready when no worker has a batch. Cancel-safe.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.running() == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(crate) fn load(&self) -> Load {
        self.state.lock().held.load()
    }

    /// Lowest and highest unfinished offset.
    pub(crate) fn bounds(&self) -> Option<(QueueOffset, QueueOffset)> {
        let state = self.state.lock();
        Some((state.held.first()?, state.held.last()?))
    }

    /// From now on the next finished message wakes [`Self::room`].
    pub(crate) fn await_room(&self) {
        self.starved.store(true, Ordering::Release);
    }

    /// Ready when a message was finished after [`Self::await_room`]. Cancel-safe.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }
}

impl State {
    /// Tells progress while the lock is held, so that nothing is told after [`OwnedQueue::retire`].
    fn tell(&mut self, queue: &MessageQueue, progress: Option<QueueOffset>, offsets: &Progress) {
        if let Some(progress) = progress
            && self.told != Some(progress)
        {
            offsets.update(queue, progress, true);
            self.told = Some(progress);
        }
    }
}
