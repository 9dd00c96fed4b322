//! The line in which queues with work stand until a worker is free: first come, first served, so
//! that a full queue cannot keep the others waiting.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::owned_queue::OwnedQueue;

/// Holds each queue at most once; [`OwnedQueue`] sees to that.
pub(crate) struct ReadyLine {
    queues: Mutex<VecDeque<Arc<OwnedQueue>>>,
    /// One permit for each queue in the line.
    standing: Semaphore,
}

impl Default for ReadyLine {
    fn default() -> Self {
        Self { queues: Mutex::default(), standing: Semaphore::new(0) }
    }
}

impl ReadyLine {
    pub(crate) fn push(&self, queue: Arc<OwnedQueue>) {
        self.queues.lock().push_back(queue);
        self.standing.add_permits(1);
    }

    /// The queue that has waited longest. Cancel-safe.
    pub(crate) async fn next(&self) -> Arc<OwnedQueue> {
        loop {
            let permit = self.standing.acquire().await.expect("the line is never closed");
            permit.forget();
            if let Some(queue) = self.queues.lock().pop_front() {
                return queue;
            }
        }
    }
}
