//! Pulls and pops that wait for messages.
//!
//! A held pull is one `await` in the middle of its own request: nothing is submitted again. It
//! registers first and looks at the queue's end afterwards, so that no arrival falls between. An
//! arrival is only a hint; a slow sweep wakes everybody as well. Deadlines are those of the
//! monotonic clock. Dropping the future (its connection has ended) drops the hold.

mod waiters;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use rmq_message::QueueOffset;
use rmq_runtime::{Clock, Monotonic, Stop};
use rmq_store::QueueKey;
use tokio::sync::Notify;

use waiters::Waiters;

/// How often all holds look at their queues, whatever arrivals say.
const SWEEP: Duration = Duration::from_secs(5);

/// Why a hold has been woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// There may be something new in the queue.
    Arrived,
    /// Its time is over.
    TimedOut,
    /// The broker is closing.
    Closing,
}

/// In place of a queue: any of the topic.
pub(crate) const ANY_QUEUE: i32 = -1;

/// A pull or pop that is to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HoldRequest<'a> {
    pub(crate) queues: &'a [QueueKey],
    /// Wakes when the end of one of the queues lies behind this offset.
    pub(crate) offset: QueueOffset,
    /// Those who share what arrives: only one of them wakes.
    pub(crate) share: Option<&'a str>,
    /// Until this moment.
    pub(crate) deadline: Monotonic,
    /// Connection of the pull.
    pub(crate) peer_id: u64,
}

/// Keeps the holds and wakes them.
#[derive(Debug, Default)]
pub(crate) struct HoldService {
    waiters: Mutex<Waiters>,
    /// There is a deadline before the next look.
    sooner: Notify,
}

impl HoldService {
    /// Registers a hold. `None` when there are too many.
    pub(crate) fn register(self: &Arc<Self>, request: HoldRequest<'_>) -> Option<Hold> {
        let mut waiters = self.waiters.lock();
        let id = waiters.insert(request)?;
        // Waking the watcher costs more than all the rest; most deadlines lie behind its next sweep.
        let sooner = waiters.next_look.is_none_or(|look| request.deadline < look);
        drop(waiters);
        if sooner {
            self.sooner.notify_one();
        }
        Some(Hold { service: Arc::clone(self), id })
    }

    /// A queue has grown.
    pub(crate) fn arrived(&self, queue: &QueueKey, end: QueueOffset) {
        let woken = self.waiters.lock().arrived(queue, end);
        woken.into_iter().for_each(std::task::Waker::wake);
    }

    /// Wakes one of those who share these queues: there is more than the last one has taken.
    pub(crate) fn wake_next(&self, queues: &[QueueKey], share: &str) {
        let woken = self.waiters.lock().wake_next(queues, share);
        woken.into_iter().for_each(std::task::Waker::wake);
    }

    /// How many of those who share a queue wait for it.
    pub(crate) fn waiting(&self, queue: &QueueKey, share: &str) -> usize {
        self.waiters.lock().waiting(queue, share)
    }

    /// Wakes all holds of a topic: it is going away.
    pub(crate) fn wake_topic(&self, topic: &str) {
        let woken = self.waiters.lock().wake(|queue| queue.topic == topic);
        woken.into_iter().for_each(std::task::Waker::wake);
    }

    /// Wakes all holds for good; there will be no others.
    pub(crate) fn close(&self) {
        let woken = self.waiters.lock().close();
        woken.into_iter().for_each(std::task::Waker::wake);
    }

    /// How many pulls are held.
    pub(crate) fn held(&self) -> usize {
        self.waiters.lock().len()
    }

    /// Watches deadlines and sweeps until it is time to stop.
    pub(crate) async fn run(self: Arc<Self>, clock: Arc<dyn Clock>, stop: Stop) {
        let mut sweep = clock.monotonic() + SWEEP;
        loop {
            let next = {
                let mut waiters = self.waiters.lock();
                let next = waiters.next_deadline().map_or(sweep, |next| next.min(sweep));
                waiters.next_look = Some(next);
                next
            };
            tokio::select! {
                biased;
                () = stop.requested() => return self.close(),
                () = self.sooner.notified() => continue,
                () = clock.sleep_until(next) => {}
            }
            let now = clock.monotonic();
            let mut woken = self.waiters.lock().due(now);
            if now >= sweep {
                woken.extend(self.waiters.lock().wake(|_| true));
                sweep = now + SWEEP;
            }
            woken.into_iter().for_each(std::task::Waker::wake);
        }
    }
}

/// A registered hold; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Hold {
    service: Arc<HoldService>,
    id: u64,
}

impl Hold {
    /// Ready when there is a reason to look. Cancel-safe.
    pub(crate) fn wake(&mut self) -> Waiting<'_> {
        Waiting { hold: self }
    }

    /// From now on the hold waits for what comes behind this offset.
    pub(crate) fn advance(&mut self, offset: QueueOffset) {
        self.service.waiters.lock().advance(self.id, offset);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A wake that it has not taken goes to the next one.
        let woken = self.service.waiters.lock().remove(self.id);
        woken.into_iter().for_each(std::task::Waker::wake);
    }
}

/// Future of [`Hold::wake`].
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    hold: &'a mut Hold,
}

impl Future for Waiting<'_> {
    type Output = Wake;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Wake> {
        let mut waiters = self.hold.service.waiters.lock();
        waiters.take_wake(self.hold.id, cx.waker()).map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
#[path = "hold/tests.rs"]
mod tests;
