//! The line in which queues with work stand until a worker is free: first come, first served, so
//! that a full queue cannot keep the others waiting.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

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
pub(crate) struct ReadyLine {
    work: Mutex<VecDeque<Work>>,
    /// One permit for each that stands in the line.
    standing: Semaphore,
}

impl Default for ReadyLine {
    fn default() -> Self {
        Self { work: Mutex::default(), standing: Semaphore::new(0) }
    }
}

impl ReadyLine {
    pub(crate) fn push(&self, queue: Arc<OwnedQueue>) {
        self.stand(Work::Pulled(queue));
    }

    pub(crate) fn push_popped(&self, batch: PopBatch) {
        self.stand(Work::Popped(batch));
    }

    fn stand(&self, work: Work) {
        self.work.lock().push_back(work);
        self.standing.add_permits(1);
    }

    /// What has waited longest. Cancel-safe.
    pub(crate) async fn next(&self) -> Work {
        loop {
            let permit = self.standing.acquire().await.expect("the line is never closed");
            permit.forget();
            if let Some(work) = self.work.lock().pop_front() {
                return work;
            }
        }
    }
}
