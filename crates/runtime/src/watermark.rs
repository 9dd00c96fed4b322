//! A number that only grows, and those who wait for it: flushed, confirmed, dispatched.
//!
//! One writer, many waiters. Wakers run outside the lock. Ending it answers everybody.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use thiserror::Error;

/// The number will not grow any more.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Ended {
    /// Why.
    pub reason: Arc<str>,
}

#[derive(Default)]
struct Waiters {
    by_target: BTreeMap<(u64, u64), Waker>,
    next_id: u64,
    ended: Option<Ended>,
}

/// See the module.
#[derive(Default)]
pub struct Watermark {
    value: AtomicU64,
    waiters: Mutex<Waiters>,
}

impl Watermark {
    /// Starts at `value`.
    pub fn new(value: u64) -> Arc<Self> {
        Arc::new(Self { value: AtomicU64::new(value), waiters: Mutex::default() })
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Acquire)
    }

    /// Raises the number and wakes who waited for it; a smaller one changes nothing.
    pub fn advance(&self, to: u64) {
        if self.value.fetch_max(to, Ordering::AcqRel) >= to {
            return;
        }
        let reached = {
            let mut waiters = self.waiters.lock();
            if waiters.by_target.first_key_value().is_none_or(|((nearest, _), _)| *nearest > to) {
                return;
            }
            let beyond = waiters.by_target.split_off(&(to.saturating_add(1), 0));
            std::mem::replace(&mut waiters.by_target, beyond)
        };
        for waker in reached.into_values() {
            waker.wake();
        }
    }

    /// It will not grow any more: all who wait for more, now and later, get the reason. The first
    /// reason stays.
    pub fn end(&self, reason: &str) {
        let waiting = {
            let mut waiters = self.waiters.lock();
            waiters.ended.get_or_insert_with(|| Ended { reason: reason.into() });
            std::mem::take(&mut waiters.by_target)
        };
        for waker in waiting.into_values() {
            waker.wake();
        }
    }

    /// The lowest number that somebody waits for.
    pub fn next_target(&self) -> Option<u64> {
        self.waiters.lock().by_target.keys().next().map(|(target, _)| *target)
    }

    /// Why it ended, if it did.
    pub fn ended(&self) -> Option<Ended> {
        self.waiters.lock().ended.clone()
    }

    /// Ready when the number is at least `target`, or when it has ended below it. Cancel-safe.
    pub fn reached(self: &Arc<Self>, target: u64) -> Reached {
        Reached { mark: Arc::clone(self), target, id: None }
    }
}

impl std::fmt::Debug for Watermark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Watermark").field(&self.get()).finish()
    }
}

/// Future of [`Watermark::reached`].
#[derive(Debug)]
#[must_use = "it does nothing unless awaited"]
pub struct Reached {
    mark: Arc<Watermark>,
    target: u64,
    id: Option<u64>,
}

impl Future for Reached {
    type Output = Result<(), Ended>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.mark.get() >= self.target {
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let mut waiters = this.mark.waiters.lock();
        // Looked at again under the lock: the writer raises the number before it takes the lock.
        if this.mark.get() >= this.target {
            return Poll::Ready(Ok(()));
        }
        if let Some(ended) = &waiters.ended {
            return Poll::Ready(Err(ended.clone()));
        }
        let id = *this.id.get_or_insert_with(|| {
            waiters.next_id += 1;
            waiters.next_id
        });
        waiters.by_target.insert((this.target, id), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.mark.waiters.lock().by_target.remove(&(self.target, id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiters_are_answered_in_reach_only() {
        let mark = Watermark::new(5);
        mark.reached(5).await.unwrap();
        let (mut near, mut far) = (mark.reached(10), mark.reached(20));
        assert!(poll(&mut near).is_pending() && poll(&mut far).is_pending());
        mark.advance(10);
        assert_eq!(poll(&mut near), Poll::Ready(Ok(())));
        assert!(poll(&mut far).is_pending());
        mark.advance(7);
        assert_eq!(mark.get(), 10);
        mark.end("disk on fire");
        assert_eq!(far.await.unwrap_err().reason.as_ref(), "disk on fire");
        assert_eq!(mark.reached(10).await, Ok(()));
        assert!(mark.reached(11).await.is_err());
    }

    #[tokio::test]
    async fn a_dropped_waiter_leaves_nothing_behind() {
        let mark = Watermark::new(0);
        let mut waiting = mark.reached(1);
        assert!(poll(&mut waiting).is_pending());
        assert_eq!(mark.waiters.lock().by_target.len(), 1);
        drop(waiting);
        assert!(mark.waiters.lock().by_target.is_empty());
    }

    fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
    }
}
