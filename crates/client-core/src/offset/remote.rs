//! Progress kept by the brokers: clustering.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use rmq_message::{CompactString, MessageQueue, QueueOffset};

use super::{Memory, OffsetStore};
use crate::{BrokerClient, ClientError, ClientInstance};

/// Each position lies at the broker of its queue.
#[doc(alias = "RemoteBrokerOffsetStore")]
#[derive(Debug)]
pub struct RemoteOffsets {
    group: CompactString,
    brokers: Arc<BrokerClient>,
    memory: Memory,
}

impl RemoteOffsets {
    /// For a group of this instance.
    pub fn new(instance: &ClientInstance, group: &str) -> Self {
        Self {
            group: group.into(),
            brokers: Arc::clone(instance.shared_brokers()),
            memory: Memory::default(),
        }
    }
}

#[async_trait]
impl OffsetStore for RemoteOffsets {
    async fn load(&self) -> Result<(), ClientError> {
        Ok(())
    }

    async fn read(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        let found = self.brokers.query_offset(&self.group, queue).await?;
        if let Some(offset) = found {
            self.memory.update(queue, offset, false);
        }
        Ok(found)
    }

    fn memory(&self, queue: &MessageQueue) -> Option<QueueOffset> {
        self.memory.get(queue)
    }

    fn snapshot(&self) -> BTreeMap<MessageQueue, QueueOffset> {
        self.memory.all()
    }

    fn update(&self, queue: &MessageQueue, offset: QueueOffset, increase_only: bool) {
        self.memory.update(queue, offset, increase_only);
    }

    fn update_and_freeze(&self, queue: &MessageQueue, offset: QueueOffset) {
        self.memory.freeze(queue, offset);
    }

    async fn persist(&self, owned: &[MessageQueue]) -> Result<(), ClientError> {
        if owned.is_empty() {
            return Ok(());
        }
        let mut by_broker: BTreeMap<CompactString, Vec<_>> = BTreeMap::new();
        for (queue, offset) in self.memory.retain(owned) {
            by_broker.entry(queue.broker_name.clone()).or_default().push((queue, offset));
        }
        // Brokers at the same time, so that one that cannot be reached keeps nobody waiting.
        let told = by_broker.into_values().map(|positions| async move {
            for (queue, offset) in positions {
                self.brokers.update_offset(&self.group, &queue, offset).await?;
            }
            Ok(())
        });
        join_all(told).await.into_iter().collect()
    }

    async fn persist_one(&self, queue: &MessageQueue) -> Result<(), ClientError> {
        match self.memory.get(queue) {
            Some(offset) => self.brokers.commit_offset(&self.group, queue, offset).await,
            None => Ok(()),
        }
    }

    fn forget(&self, queue: &MessageQueue) {
        self.memory.forget(queue);
    }
}
