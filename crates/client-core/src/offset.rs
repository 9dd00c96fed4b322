//! Progress of a group: what memory knows of it, and where it is kept.
//!
//! Unknown is not a number: a store that cannot be read gives an error, and none only when it is
//! certain that nothing was ever committed.
//!
//! Owns the positions of the queues that a consumer has, and those that it could not write when it
//! gave a queue up. These come back with the queue, if it comes back to this consumer: what was
//! finished need not be delivered again. A store that has gone back since then was reset by somebody,
//! and wins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rmq_message::{MessageQueue, QueueOffset};

use crate::ClientError;

mod local_file;
mod remote;
#[cfg(test)]
mod suite;

pub use local_file::LocalFileOffsets;
pub use remote::RemoteOffsets;

/// Positions of the next message, by queue.
pub type Positions = BTreeMap<MessageQueue, QueueOffset>;

/// Queues whose unwritten positions are remembered; what is beyond is delivered again.
const UNWRITTEN_MAX: usize = 10_000;

/// Where the progress of one group is kept.
#[async_trait]
pub trait OffsetStore: Send + Sync + 'static {
    /// Reads what must be readable before anything else; memory begins with it.
    ///
    /// # Errors
    /// [`ClientError`]: the consumer must not start.
    async fn load(&self) -> Result<Positions, ClientError> {
        Ok(Positions::new())
    }

    /// The position of a queue. None: nothing was ever committed.
    ///
    /// # Errors
    /// [`ClientError`]: unknown; try again later, never assume a number.
    async fn read(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError>;

    /// Writes positions, or sends them on their way.
    ///
    /// # Errors
    /// [`ClientError`]: the first failure; a broker that fails does not keep others from being told.
    async fn write(&self, positions: Positions) -> Result<(), ClientError>;

    /// Writes the position of a queue that is given up, and waits until it is kept.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn keep(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), ClientError>;
}

/// See the module.
#[doc(alias = "OffsetStore")]
pub struct Progress {
    store: Arc<dyn OffsetStore>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    held: BTreeMap<MessageQueue, Held>,
    unwritten: BTreeMap<MessageQueue, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    offset: QueueOffset,
    /// What the store surely had.
    kept: Option<QueueOffset>,
    /// Whether updates are ignored.
    frozen: bool,
}

impl Progress {
    /// Nothing in memory yet.
    pub fn new(store: Arc<dyn OffsetStore>) -> Self {
        Self { store, table: Mutex::default() }
    }

    /// Reads what must be read before anything else.
    ///
    /// # Errors
    /// [`ClientError`]: the consumer must not start.
    pub async fn load(&self) -> Result<(), ClientError> {
        let loaded = self.store.load().await?;
        let held = |offset| Held { offset, kept: Some(offset), frozen: false };
        self.table.lock().held.extend(loaded.into_iter().map(|(q, at)| (q, held(at))));
        Ok(())
    }

    /// The position at which the group goes on, which also becomes that in memory (unless it is
    /// frozen there): that of the store, or a later one that could not be written when the queue was
    /// given up. None: nothing was ever committed.
    ///
    /// # Errors
    /// [`ClientError`]: unknown; try again later, never assume a number.
    pub async fn read(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        let stored = self.store.read(queue).await?;
        let mut table = self.table.lock();
        let found = table.resume(queue, stored);
        if let Some(offset) = found {
            table.update(queue, offset, false);
        }
        if let Some(held) = table.held.get_mut(queue) {
            held.kept = stored;
        }
        Ok(found)
    }

    /// The position in memory.
    pub fn memory(&self, queue: &MessageQueue) -> Option<QueueOffset> {
        self.table.lock().held.get(queue).map(|held| held.offset)
    }

    /// All positions in memory.
    #[doc(alias = "cloneOffsetTable")]
    pub fn snapshot(&self) -> Positions {
        self.table.lock().held.iter().map(|(queue, held)| (queue.clone(), held.offset)).collect()
    }

    /// Sets the position in memory; with `increase_only` never back. Ignored while frozen.
    pub fn update(&self, queue: &MessageQueue, offset: QueueOffset, increase_only: bool) {
        self.table.lock().update(queue, offset, increase_only);
    }

    /// Sets the position and ignores all updates until the queue is let go.
    #[doc(alias = "updateAndFreezeOffset")]
    pub fn update_and_freeze(&self, queue: &MessageQueue, offset: QueueOffset) {
        let frozen = Held { offset, kept: None, frozen: true };
        self.table.lock().held.insert(queue.clone(), frozen);
    }

    /// Writes the positions of the queues that are held, and lets all others go. With no queue
    /// nothing is done: right after the start nothing is held yet.
    ///
    /// # Errors
    /// [`ClientError`]: the first failure.
    #[doc(alias = "persistAll")]
    pub async fn persist(&self, owned: &[MessageQueue]) -> Result<(), ClientError> {
        if owned.is_empty() {
            return Ok(());
        }
        let positions = self.table.lock().retain(&owned.iter().collect());
        self.store.write(positions).await
    }

    /// Writes the position of one queue and waits until it is kept. Nothing is done when memory has
    /// none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn persist_one(&self, queue: &MessageQueue) -> Result<(), ClientError> {
        let Some(offset) = self.memory(queue) else { return Ok(()) };
        self.store.keep(queue, offset).await?;
        if let Some(held) = self.table.lock().held.get_mut(queue) {
            held.kept = Some(offset);
        }
        Ok(())
    }

    /// Drops the position of a queue that is given up from memory. What of it was not written is
    /// remembered for [`Self::read`].
    #[doc(alias = "removeOffset")]
    pub fn let_go(&self, queue: &MessageQueue) {
        self.table.lock().let_go(queue);
    }

    /// Drops all that is known of a queue, because it goes on somewhere else.
    pub fn forget(&self, queue: &MessageQueue) {
        let mut table = self.table.lock();
        table.held.remove(queue);
        table.unwritten.remove(queue);
    }
}

impl Table {
    fn update(&mut self, queue: &MessageQueue, offset: QueueOffset, increase_only: bool) {
        match self.held.get_mut(queue) {
            Some(held) if held.frozen => {}
            Some(held) if increase_only => held.offset = held.offset.max(offset),
            Some(held) => held.offset = offset,
            None => {
                let held = Held { offset, kept: None, frozen: false };
                self.held.insert(queue.clone(), held);
            }
        }
    }

    fn let_go(&mut self, queue: &MessageQueue) {
        let Some(held) = self.held.remove(queue) else { return };
        self.unwritten.remove(queue);
        let is_written = held.kept.is_some_and(|kept| kept >= held.offset);
        if !is_written && !held.frozen && self.unwritten.len() < UNWRITTEN_MAX {
            self.unwritten.insert(queue.clone(), held);
        }
    }

    /// Lets all but the owned queues go. Returns their positions.
    fn retain(&mut self, owned: &BTreeSet<&MessageQueue>) -> Positions {
        let others = self.held.keys().filter(|queue| !owned.contains(queue));
        for queue in others.cloned().collect::<Vec<_>>() {
            self.let_go(&queue);
        }
        self.held.iter().map(|(queue, held)| (queue.clone(), held.offset)).collect()
    }

    /// Where to go on when the store says `stored`.
    fn resume(&mut self, queue: &MessageQueue, stored: Option<QueueOffset>) -> Option<QueueOffset> {
        let Some(unwritten) = self.unwritten.get(queue) else { return stored };
        if stored >= unwritten.kept {
            // Others may have gone on from an older position, but never before it; what is finished
            // here need not be delivered again.
            return stored.max(Some(unwritten.offset));
        }
        self.unwritten.remove(queue);
        stored
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("memory", &self.snapshot()).finish_non_exhaustive()
    }
}
