//! What the store does by itself: sync, prepare files, write, mark and save derived state, follow the
//! log into the key index, remove what has expired. Each waits for something to do; a store at rest
//! costs nothing but the look for expired files and that at the [pulse](super::pulse).

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rmq_message::Timestamp;
use rmq_runtime::{ClockExt, OnFailure, Stop, canary};

use super::LocalStore;
use crate::api::{AppendError, StoreAdmin};
use crate::commit_log::recovery::{self as log_recovery, Check};
use crate::config::FlushDiskType;
use crate::consume_queue::Queue;
use crate::index::KeyIndex;
use crate::mark::Mark;
use crate::progress::{IndexProgress, Progress};

/// Bytes after which writing to the device is begun.
const WRITE_BACK: u64 = 8 << 20;
/// Log bytes that are indexed at once.
const INDEX_BATCH: u64 = 8 << 20;
/// Rest between looks for what to index: gathers records, because waking for each one costs more
/// than indexing it, and delays whoever waits for the message. Queries do not see the lag.
const INDEX_REST: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);
/// Log bytes that are marked at once, so that a start after a kill has little to look at.
const MARK_BATCH: u64 = 32 << 20;
/// Saving, and marking more often than it has to be, take at most one part in so many of the time.
const SHARE: u32 = 10;

impl LocalStore {
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let stop = self.tasks.stop_token();
        match self.log.mode() {
            FlushDiskType::Async => {
                let task = Arc::clone(self).sync_often(stop.clone());
                self.tasks.spawn("flush", OnFailure::Unhealthy, task);
            }
            FlushDiskType::Sync => {
                let store = Arc::clone(self);
                self.tasks.thread("store-flush", OnFailure::Unhealthy, move |stop| {
                    store.log.run_flusher(&stop, |touched| store.tell(touched));
                })?;
                let (store, stop) = (Arc::clone(self), stop.clone());
                self.tasks.spawn("flush-stop", OnFailure::Unhealthy, async move {
                    stop.requested().await;
                    store.log.wake_flusher();
                });
            }
        }
        let (store, on) = (Arc::clone(self), stop.clone());
        self.tasks.spawn("watch", OnFailure::Log, store.watch(on));
        let (store, on) = (Arc::clone(self), stop.clone());
        self.tasks.spawn("pulse", OnFailure::Unhealthy, store.feel_pulse(on));
        let (store, on) = (Arc::clone(self), stop.clone());
        self.tasks.spawn("prepare", OnFailure::Unhealthy, store.prepare_files(on));
        let (store, on) = (Arc::clone(self), stop.clone());
        self.tasks.spawn("mark", OnFailure::Unhealthy, store.mark_often(on));
        let (store, on) = (Arc::clone(self), stop.clone());
        self.tasks.spawn("save", OnFailure::Unhealthy, store.save_often(on));
        let (store, on) = (Arc::clone(self), stop.clone());
        self.tasks.spawn("expire", OnFailure::Log, store.expire_often(on));
        let store = Arc::clone(self);
        self.tasks.spawn("index", OnFailure::Unhealthy, store.follow(stop));
        Ok(())
    }

    /// Closes the store when one of its tasks has died (INV-16).
    async fn watch(self: Arc<Self>, stop: Stop) {
        let mut failure = self.tasks.failure();
        tokio::select! {
            biased;
            () = stop.requested() => {}
            died = failure.wait_for(Option::is_some) => {
                let task = died.ok().and_then(|died| died.clone()).unwrap_or_default();
                if !canary("RS-20 nobody watches the tasks") {
                    self.log.fail(&task, &io::Error::other("the task has panicked"));
                }
            }
        }
    }

    /// Runs a call that blocks. A panic in it closes the store (INV-16).
    async fn blocking<T: Send + 'static>(
        &self,
        doing: &str,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let outcome = self.tasks.blocking(call).await;
        if outcome.is_none() && !canary("RS-20 nobody watches the tasks") {
            self.log.fail(doing, &io::Error::other("a panic"));
        }
        outcome
    }

    /// Sleeps; `false` when it is time to stop.
    pub(super) async fn rest(&self, wait: Duration, stop: &Stop) -> bool {
        tokio::select! {
            biased;
            () = stop.requested() => false,
            () = self.world.clock.sleep(wait) => true,
        }
    }

    /// Waits until there are visible records up to `target`; `false` when it is time to stop, or
    /// when there will be no more.
    async fn visible(&self, target: u64, stop: &Stop) -> bool {
        tokio::select! {
            biased;
            () = stop.requested() => false,
            reached = self.log.visible.reached(target) => reached.is_ok(),
        }
    }

    /// Makes everything durable from time to time (`ASYNC_FLUSH`).
    async fn sync_often(self: Arc<Self>, stop: Stop) {
        let interval = Duration::from_millis(self.config.flush_interval_commit_log);
        let mut written_back = self.log.visible.get();
        while self.visible(self.log.durable.get() + 1, &stop).await {
            let due = self.world.clock.monotonic() + interval;
            loop {
                let store = &self;
                tokio::select! {
                    biased;
                    () = stop.requested() => return,
                    () = store.world.clock.sleep_until(due) => break,
                    reached = store.log.visible.reached(written_back + WRITE_BACK) => {
                        if reached.is_err() {
                            return;
                        }
                        let (from, to) = (written_back, store.log.visible.get());
                        let store = Arc::clone(store);
                        let write_back = move || store.log.write_back(from, to);
                        self.blocking("cannot write back", write_back).await;
                        written_back = to;
                    }
                }
            }
            let store = Arc::clone(&self);
            // A failure has closed the store already.
            let _synced = self.blocking("cannot sync messages", move || store.log.sync()).await;
        }
    }

    /// Makes the next file of the log when the current one is half full.
    async fn prepare_files(self: Arc<Self>, stop: Stop) {
        loop {
            let Some(last) = self.log.segments.last() else { return };
            if !self.visible(last.start + last.len / 2, &stop).await {
                return;
            }
            let store = Arc::clone(&self);
            let prepared =
                self.blocking("cannot make a file", move || store.log.segments.prepare()).await;
            if let Some(Err(error)) = prepared {
                tracing::warn!(%error, "cannot make the next file of the commit log yet");
                if !self.rest(RETRY, &stop).await {
                    return;
                }
                continue;
            }
            if !self.visible(last.end() + 1, &stop).await {
                return;
            }
        }
    }

    /// Writes consume queue entries and marks how far they are, each interval, and earlier when there
    /// is much of it.
    async fn mark_often(self: Arc<Self>, stop: Stop) {
        let interval = Duration::from_millis(self.config.flush_interval_consume_queue);
        // What a start has found is marked as well.
        let mut seen = 0;
        let mut early_from = self.world.clock.monotonic() + interval;
        while self.visible(seen + 1, &stop).await {
            let due = self.world.clock.monotonic() + interval;
            let early = async {
                let much = self.log.visible.reached(seen.saturating_add(MARK_BATCH));
                self.world.clock.sleep_until(early_from).await;
                if much.await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = self.world.clock.sleep_until(due) => {}
                () = early => {}
            }
            let started = self.world.clock.monotonic();
            seen = self.log.visible.get();
            let store = Arc::clone(&self);
            // A failure closes the store until a later turn succeeds.
            let _marked = self
                .blocking("cannot write consume queues", move || store.derive(Self::mark))
                .await;
            self.derived.store(seen, Ordering::Relaxed);
            let now = self.world.clock.monotonic();
            early_from = now + now.since(started) * SHARE;
        }
        let store = Arc::clone(&self);
        self.blocking("cannot remove a mark", move || store.withdraw_mark()).await;
    }

    /// Syncs everything and saves how far it is.
    async fn save_often(self: Arc<Self>, stop: Stop) {
        let interval = Duration::from_millis(self.config.flush_interval_consume_queue);
        // What a start has found is saved as well.
        let mut seen = self.saved.lock().progress.as_ref().map_or(0, |progress| progress.log);
        while self.visible(seen + 1, &stop).await && self.rest(interval, &stop).await {
            seen = self.log.visible.get();
            let started = self.world.clock.monotonic();
            let store = Arc::clone(&self);
            let _saved = self
                .blocking("cannot save progress", move || store.derive(|it| it.save(None)))
                .await;
            let now = self.world.clock.monotonic();
            if !self.rest(now.since(started) * SHARE, &stop).await {
                return;
            }
        }
    }

    /// Does something to what is derived. An error closes the store until it goes well again.
    pub(super) fn derive(&self, act: impl FnOnce(&Self) -> io::Result<()>) -> io::Result<()> {
        let done = act(self);
        let problem = done.as_ref().err().map(|error| {
            tracing::error!(%error, "cannot write consume queues or progress");
            format!("{error}; nothing is taken until consume queues can be written").into()
        });
        self.log.gate.set_queues(problem);
        if done.is_err() {
            self.withdraw_mark();
        }
        done
    }

    /// Writes the entries of all queues, and marks how far they are.
    pub(super) fn mark(&self) -> io::Result<()> {
        let run = self.run.as_ref().map(|run| run.lock());
        let (log, durable) = (self.log.told(), self.log.durable.get());
        self.log.queues.write_all()?;
        let Some(run) = run.filter(|_| self.log.gate.fault().is_none()) else { return Ok(()) };
        let mark = Mark {
            run: run.clone(),
            log,
            durable,
            log_min: self.log.queues.fitted(),
            index_sealed: self.index.as_ref().and_then(KeyIndex::sealed_at),
            queues: self.log.queues.progress(Queue::written),
        };
        mark.save(&*self.world.disk, &self.layout.mark())
    }

    /// After a failure of the disk nobody knows what the kernel has kept (INV-03).
    fn withdraw_mark(&self) {
        if let Some(run) = &self.run
            && self.log.gate.fault().is_some()
        {
            let _run = run.lock();
            // The disk has failed: whatever comes of it.
            drop(Mark::remove(&*self.world.disk, &self.layout.mark()));
        }
    }

    /// Syncs the log and everything derived, then notes how far they are. `index` is only known
    /// after a clean stop.
    pub(super) fn save(&self, index: Option<IndexProgress>) -> io::Result<()> {
        let mut saved = self.saved.lock();
        let disk = &*self.world.disk;
        let (end, timestamp) = self.log.sync().map_err(io::Error::other)?;
        self.log.queues.write_all()?;
        self.log.queues.sync_written().inspect_err(|error| {
            self.log.fail("cannot sync consume queues", error);
        })?;
        if saved.found && disk.exists(&self.layout.checkpoint()) {
            // The progress leans on it.
            saved.checkpoint.save(disk, &self.layout.checkpoint())?;
        }
        saved.found = false;
        let mut checkpoint = saved.checkpoint;
        checkpoint.log = timestamp;
        checkpoint.queues = timestamp;
        if let Some(index) = &self.index {
            checkpoint.index = index.sealed();
        }
        let sealed_at = self.index.as_ref().and_then(KeyIndex::sealed_at);
        let progress = Progress::new(
            &checkpoint,
            end,
            index,
            sealed_at,
            self.log.queues.progress(Queue::synced),
        );
        if saved.progress.as_ref() != Some(&progress) || checkpoint != saved.checkpoint {
            // In this order: progress fits the checkpoint that it follows as well as its own.
            progress.save(disk, &self.layout.progress(), &saved.checkpoint)?;
            checkpoint.save(disk, &self.layout.checkpoint())?;
        }
        saved.checkpoint = checkpoint;
        saved.progress = Some(progress);
        Ok(())
    }

    /// Puts visible records into the key index.
    async fn follow(self: Arc<Self>, stop: Stop) {
        while self.visible(self.indexed.get() + 1, &stop).await {
            let store = Arc::clone(&self);
            let wait =
                match self.blocking("cannot write the key index", move || store.index_some()).await
                {
                    Some(Ok(())) => INDEX_REST,
                    Some(Err(error)) => {
                        tracing::error!(%error, "cannot write the key index; trying again");
                        RETRY
                    }
                    None => return,
                };
            let behind = self.log.visible.get() > self.indexed.get();
            if (wait == RETRY || !behind) && !self.rest(wait, &stop).await {
                return;
            }
        }
    }

    /// Indexes what was gathered since the last look, so that a query finds what was sent before
    /// it. A longer backlog, as after a start, is left to the background.
    pub(super) fn index_young(&self) {
        let behind = self.log.visible.get().saturating_sub(self.indexed.get());
        if (1..=INDEX_BATCH).contains(&behind) {
            // A failure is told by the background, which tries again.
            let _indexed = self.index_some();
        }
    }

    /// Indexes up to [`INDEX_BATCH`] of the log.
    pub(super) fn index_some(&self) -> io::Result<()> {
        let _indexing = self.indexing.lock();
        let visible = self.log.visible.get();
        let Some(index) = &self.index else {
            self.indexed.advance(visible);
            return Ok(());
        };
        let from = self.indexed.get().max(self.log.segments.min());
        let to = visible.min(from.saturating_add(INDEX_BATCH));
        let scanned = log_recovery::scan(&self.log.segments, from, to, Check::Form, |record| {
            index.apply(record)
        })?;
        let mut end = scanned.end;
        if end == from && from < to {
            // A place that cannot be read: on with the next file, as readers of the log do.
            let next = self.log.segments.find(from).map_or(to, |segment| segment.end());
            tracing::error!(at = from, next, "a part of the log cannot be read and is not indexed");
            end = next.min(visible);
        }
        self.indexed.advance(end.min(visible));
        Ok(())
    }

    async fn expire_often(self: Arc<Self>, stop: Stop) {
        let interval = Duration::from_millis(self.config.clean_resource_interval);
        loop {
            let store = Arc::clone(&self);
            let now = Timestamp::from(self.world.clock.wall());
            let expired =
                self.blocking("cannot remove expired files", move || store.expire(now)).await;
            if let Some(Err(error)) = expired {
                tracing::error!(%error, "cannot remove expired files");
            }
            if !self.rest(interval, &stop).await {
                return;
            }
        }
    }

    /// `SYNC_FLUSH` or not: everything that is staged is written, synced and told of.
    pub(super) fn finish_log(&self) -> Result<(), AppendError> {
        let touched = self.log.commit_group()?;
        self.tell(touched);
        Ok(())
    }
}
