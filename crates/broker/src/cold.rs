//! Reads that may wait for the disk: beside the shards and the loops, a few at a time.
//!
//! Whoever reads tries what is in memory first, where it stands. What is not ([`ReadError::Cold`])
//! comes here and is read by a thread that nobody else waits for; how many do that at once is
//! bounded, and turns are taken in the order of arrival. So a slow disk delays those who want old
//! messages, and nobody else.

use std::sync::Arc;

use bytes::Bytes;
use rmq_message::{PhysicalOffset, QueueOffset};
use rmq_remoting::{Reply, Response};
use rmq_runtime::Tasks;
use rmq_store::{AdmitAll, MessageStore, QueueKey, ReadError, ReadOutcome, ReadRequest};
use tokio::sync::Semaphore;

use crate::limits;
use crate::reply;

/// The way to the disk.
pub(crate) struct ColdReads {
    store: Arc<dyn MessageStore>,
    tasks: Tasks,
    turns: Semaphore,
}

impl ColdReads {
    pub(crate) fn new(store: Arc<dyn MessageStore>, tasks: Tasks) -> Self {
        Self { store, tasks, turns: Semaphore::new(limits::COLD_READS_MAX) }
    }

    /// Does something that may wait for the disk, when its turn has come.
    ///
    /// # Errors
    /// [`ReadError::Io`] when it panicked.
    pub(crate) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn MessageStore) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        let _turn = self.turns.acquire().await;
        let store = Arc::clone(&self.store);
        let done = self.tasks.blocking(move || work(&*store)).await;
        done.ok_or_else(|| std::io::Error::other("the read has failed").into())
    }

    /// Messages of a queue, all of them.
    pub(crate) async fn read(&self, request: &ReadRequest<'_>) -> Result<ReadOutcome, ReadError> {
        match self.store.read_cached(request, &AdmitAll) {
            Err(ReadError::Cold) => {}
            outcome => return outcome,
        }
        let (queue, ReadRequest { offset, count_max, bytes_max, .. }) =
            (request.queue.clone(), *request);
        self.aside(move |store| {
            let request = ReadRequest { queue: &queue, offset, count_max, bytes_max };
            store.read(&request, &AdmitAll)
        })
        .await?
    }

    /// The record at a position.
    pub(crate) async fn message_at(&self, at: PhysicalOffset) -> Result<Bytes, ReadError> {
        match self.store.message_at_cached(at) {
            Err(ReadError::Cold) => self.aside(move |store| store.message_at(at)).await?,
            outcome => outcome,
        }
    }

    /// Answers with the record at a position in hand: in this turn where it is in memory.
    pub(crate) fn with_message(
        self: &Arc<Self>,
        at: PhysicalOffset,
        then: impl FnOnce(Result<Bytes, ReadError>) -> Reply + Send + 'static,
    ) -> Reply {
        match self.store.message_at_cached(at) {
            Err(ReadError::Cold) => {
                let this = Arc::clone(self);
                Reply::Later(Box::pin(async move {
                    let response = match then(this.message_at(at).await) {
                        Reply::Now(response) => response,
                        Reply::Later(response) => return response.await,
                        // Nobody is told.
                        Reply::None => Response::ok(),
                    };
                    // No turn ends here that would make visible what was staged.
                    match this.store.settle() {
                        Ok(()) => response,
                        Err(error) => reply::failed(error),
                    }
                }))
            }
            found => then(found),
        }
    }

    /// Answers with one message of a queue in hand: in this turn where it is in memory.
    pub(crate) fn with_one(
        self: &Arc<Self>,
        queue: QueueKey,
        offset: QueueOffset,
        then: impl FnOnce(Result<ReadOutcome, ReadError>) -> Response + Send + 'static,
    ) -> Reply {
        let request = ReadRequest { queue: &queue, offset, count_max: 1, bytes_max: 1 };
        match self.store.read_cached(&request, &AdmitAll) {
            Err(ReadError::Cold) => {}
            found => return Reply::Now(then(found)),
        }
        let this = Arc::clone(self);
        Reply::Later(Box::pin(async move {
            let request = ReadRequest { queue: &queue, offset, count_max: 1, bytes_max: 1 };
            then(this.read(&request).await)
        }))
    }

    /// The records at some positions, in their order; from the first on that is on the disk all of
    /// them in one turn.
    pub(crate) async fn messages_at(
        &self,
        mut positions: Vec<PhysicalOffset>,
    ) -> Result<Vec<Result<Bytes, ReadError>>, ReadError> {
        let mut found = Vec::with_capacity(positions.len());
        for at in &positions {
            match self.store.message_at_cached(*at) {
                Err(ReadError::Cold) => break,
                outcome => found.push(outcome),
            }
        }
        let left = positions.split_off(found.len());
        if !left.is_empty() {
            let rest = move |store: &dyn MessageStore| {
                left.into_iter().map(|at| store.message_at(at)).collect::<Vec<_>>()
            };
            found.extend(self.aside(rest).await?);
        }
        Ok(found)
    }
}
