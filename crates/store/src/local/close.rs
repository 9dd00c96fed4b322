//! The end of a store: everything derived complete and synced, then the mark of a clean stop
//! (INV-14).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::LocalStore;
use crate::mark::Mark;
use crate::progress::IndexProgress;
use rmq_runtime::canary;

const GRACE: Duration = Duration::from_secs(30);

/// The store could not be brought to a clean end; its next start recovers it.
#[derive(Clone, Debug, Error)]
#[error("the store did not stop cleanly: {reason}; its next start recovers it")]
pub struct StopError {
    reason: Arc<str>,
}

impl StopError {
    fn new(reason: &impl std::fmt::Display) -> Self {
        Self { reason: reason.to_string().into() }
    }
}

impl LocalStore {
    /// Refuses further appends, stores and tells of what is staged, completes and syncs everything
    /// derived, and lets go of the directory. To be called once; readers may go on for as long as
    /// they hold the store.
    pub async fn stop(self: &Arc<Self>) -> Result<(), StopError> {
        self.log.gate.stop();
        let stragglers = self.tasks.stop(&*self.world.clock, GRACE).await;
        let store = Arc::clone(self);
        let closed = self.tasks.blocking(move || {
            let closed = if stragglers.is_empty() {
                store.close()
            } else {
                Err(io::Error::other(format!("{} did not end", stragglers.join(", "))))
            };
            drop(store.lock.lock().take());
            closed
        });
        match closed.await {
            Some(closed) => closed.map_err(|error| StopError::new(&error)),
            None => Err(StopError::new(&"a task panicked")),
        }
    }

    fn close(&self) -> io::Result<()> {
        self.finish_log().map_err(io::Error::other)?;
        self.log.visible.end("");
        self.log.durable.end("");
        while self.indexed.get() < self.log.visible.get() && !canary("RS-02 a stop with a lag") {
            self.index_some()?;
        }
        if canary("INV-14 the mark comes before what it says") {
            self.world.disk.remove(&self.layout.abort())?;
        }
        let mut progress = None;
        if let Some(index) = &self.index {
            index.flush()?;
            let (seen, youngest) = (self.indexed.get(), index.resumes_at());
            progress = Some(IndexProgress { seen, youngest });
        }
        let segments = &self.log.segments;
        segments.discard_prepared()?;
        // A file that was begun but holds nothing goes as well.
        let end = self.log.visible.get();
        segments.remove_from(end)?;
        self.save(progress)?;
        Mark::remove(&*self.world.disk, &self.layout.mark())?;
        self.world.disk.remove(&self.layout.abort())?;
        self.world.disk.sync_dir(self.layout.root())
    }
}
