//! Progress of a group: a table in memory, and where it is kept.
//!
//! Unknown is not a number: a store that cannot be read gives an error, and none only when it is
//! certain that nothing was ever committed.

use std::collections::BTreeMap;

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

/// Keeps the progress of one group.
///
/// Positions are those of the next message. Updates go to memory; `persist` writes them.
#[async_trait]
pub trait OffsetStore: Send + Sync + 'static {
    /// Reads what must be read before anything else.
    ///
    /// # Errors
    /// [`ClientError`]: the consumer must not start.
    async fn load(&self) -> Result<(), ClientError>;

    /// The position in the store, which also becomes that in memory (unless it is frozen there).
    /// None: nothing was ever committed.
    ///
    /// # Errors
    /// [`ClientError`]: unknown; try again later, never assume a number.
    async fn read(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError>;

    /// The position in memory.
    fn memory(&self, queue: &MessageQueue) -> Option<QueueOffset>;

    /// All positions in memory.
    #[doc(alias = "cloneOffsetTable")]
    fn snapshot(&self) -> BTreeMap<MessageQueue, QueueOffset>;

    /// Sets the position in memory; with `increase_only` never back. Ignored while frozen.
    fn update(&self, queue: &MessageQueue, offset: QueueOffset, increase_only: bool);

    /// Sets the position and ignores all updates until the queue is forgotten.
    #[doc(alias = "updateAndFreezeOffset")]
    fn update_and_freeze(&self, queue: &MessageQueue, offset: QueueOffset);

    /// Writes the positions of the queues that are held, and drops all others from memory. With no
    /// queue nothing is done: right after the start nothing is held yet.
    ///
    /// # Errors
    /// [`ClientError`]: the first failure; a broker that fails does not keep others from being told.
    #[doc(alias = "persistAll")]
    async fn persist(&self, owned: &[MessageQueue]) -> Result<(), ClientError>;

    /// Writes the position of one queue and waits until it is kept, for queues that are given up.
    /// Nothing is done when memory has none.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn persist_one(&self, queue: &MessageQueue) -> Result<(), ClientError>;

    /// Drops the position from memory, not from the store.
    #[doc(alias = "removeOffset")]
    fn forget(&self, queue: &MessageQueue);
}

/// The table in memory.
#[derive(Debug, Default)]
struct Memory {
    table: Mutex<BTreeMap<MessageQueue, Position>>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    offset: QueueOffset,
    frozen: bool,
}

impl Memory {
    fn get(&self, queue: &MessageQueue) -> Option<QueueOffset> {
        self.table.lock().get(queue).map(|position| position.offset)
    }

    fn all(&self) -> BTreeMap<MessageQueue, QueueOffset> {
        self.table.lock().iter().map(|(queue, p)| (queue.clone(), p.offset)).collect()
    }

    fn update(&self, queue: &MessageQueue, offset: QueueOffset, increase_only: bool) {
        let mut table = self.table.lock();
        match table.get_mut(queue) {
            Some(position) if position.frozen => {}
            Some(position) if increase_only => position.offset = position.offset.max(offset),
            Some(position) => position.offset = offset,
            None => {
                table.insert(queue.clone(), Position { offset, frozen: false });
            }
        }
    }

    fn freeze(&self, queue: &MessageQueue, offset: QueueOffset) {
        self.table.lock().insert(queue.clone(), Position { offset, frozen: true });
    }

    fn forget(&self, queue: &MessageQueue) {
        self.table.lock().remove(queue);
    }

    /// Drops all but the owned queues. Returns their positions.
    fn retain(&self, owned: &[MessageQueue]) -> Vec<(MessageQueue, QueueOffset)> {
        let owned: std::collections::BTreeSet<_> = owned.iter().collect();
        let mut table = self.table.lock();
        table.retain(|queue, _| owned.contains(queue));
        table.iter().map(|(queue, p)| (queue.clone(), p.offset)).collect()
    }
}
