//! Puts messages into the store, and answers when they are as durable as configured (INV-01).

use std::sync::Arc;
use std::time::Duration;

use rmq_message::PhysicalOffset;
use rmq_message::record::NewRecord;
use rmq_remoting::{Reply, Response, response_code};
use rmq_runtime::{Clock, ClockExt, watermark};
use rmq_store::{AppendError, AppendReceipt, FlushDiskType, MessageStore, QueueKey};

use crate::config::BrokerConfig;
use crate::reply;
use crate::stats::Stats;

/// Longest wait for a changed table to be saved before the request that changed it is answered.
pub(crate) const SAVE_WAIT: Duration = Duration::from_secs(3);

/// The writing side of the store.
#[derive(Clone)]
pub(crate) struct Appender {
    store: Arc<dyn MessageStore>,
    clock: Arc<dyn Clock>,
    stats: Arc<Stats>,
    sync: bool,
    flush_timeout: Duration,
    body_max: usize,
}

/// What an answer must wait for.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// The sender does not care for the flush.
    pub(crate) no_flush: bool,
    /// A table that this request has changed.
    pub(crate) saved: Option<watermark::Reached>,
}

impl Appender {
    pub(crate) fn new(
        store: Arc<dyn MessageStore>,
        clock: Arc<dyn Clock>,
        stats: Arc<Stats>,
        config: &BrokerConfig,
    ) -> Self {
        Self {
            store,
            clock,
            stats,
            sync: config.flush_disk_type == FlushDiskType::Sync,
            flush_timeout: Duration::from_millis(config.sync_flush_timeout),
            body_max: config.max_message_size,
        }
    }

    /// Most bytes of a body.
    pub(crate) fn body_max(&self) -> usize {
        self.body_max
    }

    /// Stages messages; not yet to be acknowledged.
    pub(crate) fn stage(
        &self,
        queue: &QueueKey,
        records: &[NewRecord<'_>],
    ) -> Result<AppendReceipt, AppendError> {
        let longest = records.iter().map(|record| record.body.len()).max().unwrap_or(0);
        if longest > self.body_max {
            return Err(AppendError::TooLarge { len: longest, max: self.body_max });
        }
        let receipt = self.store.append(queue, records)?;
        self.stats.put(&queue.topic, records.len(), receipt.end - receipt.physical_offset);
        Ok(receipt)
    }

    /// Hands the answer out at the end of this turn, or when what it waits for has come true.
    pub(crate) fn answer(&self, end: PhysicalOffset, before: Before, response: Response) -> Reply {
        let wait_for_flush = self.sync && !before.no_flush;
        if !wait_for_flush && before.saved.is_none() {
            return Reply::Now(response);
        }
        let this = self.clone();
        Reply::Later(Box::pin(async move {
            if let Err(refused) = this.saved(before.saved).await {
                return refused;
            }
            // Nothing is answered before it is at least visible, whoever settles.
            if let Err(error) = this.store.settle() {
                return reply::append_failed(&error, this.body_max);
            }
            if !wait_for_flush {
                return response;
            }
            match this.clock.timeout(this.flush_timeout, this.store.durable(end)).await {
                Ok(Ok(())) => response,
                Ok(Err(error)) => reply::append_failed(&error, this.body_max),
                Err(_) => Response { code: response_code::FLUSH_DISK_TIMEOUT, ..response },
            }
        }))
    }

    async fn saved(&self, saved: Option<watermark::Reached>) -> Result<(), Response> {
        let Some(saved) = saved else { return Ok(()) };
        match self.clock.timeout(SAVE_WAIT, saved).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(reply::unsaved()),
        }
    }

    /// Does something when everything before `end` is safe, and answers what it says: at once where
    /// that takes no waiting.
    pub(crate) fn when_settled(
        &self,
        end: PhysicalOffset,
        done: impl FnOnce() -> Response + Send + 'static,
    ) -> Reply {
        if !self.sync {
            return Reply::Now(match self.store.settle() {
                Ok(()) => done(),
                Err(error) => reply::append_failed(&error, self.body_max),
            });
        }
        let this = self.clone();
        Reply::Later(Box::pin(async move {
            match this.settled_in_time(end).await {
                Ok(()) => done(),
                Err(refused) => refused,
            }
        }))
    }

    /// Waits as long as an answer may until everything before `end` is safe.
    pub(crate) async fn settled_in_time(&self, end: PhysicalOffset) -> Result<(), Response> {
        match self.clock.timeout(self.flush_timeout, self.settled(end)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(reply::append_failed(&error, self.body_max)),
            Err(_) => Err(reply::flush_late()),
        }
    }

    /// Waits until everything before `end` is visible and as durable as configured.
    pub(crate) async fn settled(&self, end: PhysicalOffset) -> Result<(), AppendError> {
        self.store.settle()?;
        self.store.durable(end).await
    }
}

/// Answers when a table is saved.
pub(crate) fn when_saved(
    clock: &Arc<dyn Clock>,
    saved: watermark::Reached,
    response: Response,
) -> Reply {
    let clock = Arc::clone(clock);
    Reply::Later(Box::pin(async move {
        match clock.timeout(SAVE_WAIT, saved).await {
            Ok(Ok(())) => response,
            Ok(Err(_)) | Err(_) => reply::unsaved(),
        }
    }))
}
