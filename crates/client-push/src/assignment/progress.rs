//! Writing the progress of owned queues, unless somebody else has come further meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;

use crate::engine::Engine;
use crate::owned_queue::OwnedQueue;

impl Engine {
    /// Writes the progress of a queue, if it is this consumer's to tell. False when it could not be
    /// written.
    pub(crate) async fn commit(&self, owned: &OwnedQueue) -> bool {
        if !owned.has_begun() || !owned.is_leased(self.now()) || self.is_behind(owned).await {
            return true;
        }
        let written = self.progress.persist_one(&owned.queue).await;
        if let Err(error) = &written {
            tracing::warn!(queue = %owned.queue, %error, "cannot write the progress of a queue that is given up, it is kept until the queue comes back");
        }
        written.is_ok()
    }

    /// Whether the group has come further in a queue than this consumer, so somebody else has it.
    /// Unknown counts as no: then nothing can be written either.
    async fn is_behind(&self, owned: &OwnedQueue) -> bool {
        if !self.is_clustering() || owned.moved.load(Ordering::Acquire) {
            return false;
        }
        let committed = self.brokers().query_offset(&self.group, &owned.queue).await;
        committed.is_ok_and(|committed| committed > self.progress.memory(&owned.queue))
    }

    /// Writes the progress of all owned queues. In turn, so that nothing is written of a queue that
    /// somebody else has meanwhile.
    pub(crate) async fn persist(self: &Arc<Self>) {
        let _turn = self.assignment.turn.lock().await;
        let now = self.now();
        let mut begun = self.assignment.queues();
        begun.retain(|owned| owned.has_begun() && owned.is_leased(now));
        if self.is_clustering() && self.assignment.take_doubt(now) {
            begun = self.still_mine(begun).await;
        }
        let begun: Vec<_> = begun.iter().map(|owned| (*owned.queue).clone()).collect();
        if let Err(error) = self.progress.persist(&begun).await {
            tracing::warn!(group = %self.group, %error, "cannot write progress, it is written again");
        }
    }

    /// Those in which nobody has come further. What somebody else had in between begins anew, where
    /// that member stopped (INV-22, INV-25); of what is not known nothing is written.
    async fn still_mine(self: &Arc<Self>, queues: Vec<Arc<OwnedQueue>>) -> Vec<Arc<OwnedQueue>> {
        let asked = queues.into_iter().map(|owned| async move {
            if owned.moved.load(Ordering::Acquire) {
                return Some(owned);
            }
            let mine = self.progress.memory(&owned.queue);
            match self.brokers().query_offset(&self.group, &owned.queue).await {
                Ok(committed) if committed > mine => {
                    tracing::warn!(queue = %owned.queue, ?mine, ?committed, "somebody else has gone on with a queue, it begins anew");
                    self.replace(&owned, None);
                    None
                }
                Ok(_) => Some(owned),
                Err(error) => {
                    tracing::debug!(queue = %owned.queue, %error, "whose the queue was is not known yet");
                    self.assignment.doubt();
                    None
                }
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }
}
