//! The line in which queues with work stand until a worker is free: first come, first served, so
//! that a full queue cannot keep the others waiting.
//!
//! Only one worker at a time is on its way to the line: whoever arrives calls the next one if there is
//! more. Listeners that answer at once are served by workers that are awake already, and waking is
//! what costs.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::owned_queue::OwnedQueue;
use crate::pop::PopBatch;

/// What a worker can do.
pub(crate) enum Work {
    /// The next batch of a queue.
    Pulled(Arc<OwnedQueue>),
    /// This batch.
    Popped(PopBatch),
}

/// Holds each queue at most once; [`OwnedQueue`] sees to that.
#[derive(Default)]
pub(crate) struct ReadyLine {
    standing: Mutex<Standing>,
    bell: Notify,
}

#[derive(Default)]
struct Standing {
    work: VecDeque<Work>,
    /// A worker was called and has not arrived yet; always so while there is work.
    called: bool,
}

impl ReadyLine {
    pub(crate) fn push(&self, queue: Arc<OwnedQueue>) {
        self.stand(Work::Pulled(queue));
    }

    pub(crate) fn push_popped(&self, batch: PopBatch) {
        self.stand(Work::Popped(batch));
    }

    fn stand(&self, work: Work) {
        let mut standing = self.standing.lock();
        standing.work.push_back(work);
        if !std::mem::replace(&mut standing.called, true) {
            drop(standing);
            self.bell.notify_one();
        }
    }

    /// What has waited longest, for a worker that is awake.
    pub(crate) fn take(&self) -> Option<Work> {
        self.standing.lock().work.pop_front()
    }

    /// What has waited longest. Cancel-safe: a call that is not answered goes to another worker.
    pub(crate) async fn next(&self) -> Work {
        loop {
            self.bell.notified().await;
            let mut standing = self.standing.lock();
            let work = standing.work.pop_front();
            standing.called = !standing.work.is_empty();
            if standing.called {
                drop(standing);
                self.bell.notify_one();
            }
            if let Some(work) = work {
                return work;
            }
        }
    }
}
