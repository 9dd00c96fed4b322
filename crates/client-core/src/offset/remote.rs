//! Progress kept by the brokers: clustering.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use rmq_message::{CompactString, MessageQueue, QueueOffset};

use super::{OffsetStore, Positions};
use crate::{BrokerClient, ClientError, ClientInstance};

/// Each position lies at the broker of its queue.
#[doc(alias = "RemoteBrokerOffsetStore")]
#[derive(Debug)]
pub struct RemoteOffsets {
    group: CompactString,
    brokers: Arc<BrokerClient>,
}

impl RemoteOffsets {
    /// For a group of this instance.
    pub fn new(instance: &ClientInstance, group: &str) -> Self {
        Self { group: group.into(), brokers: Arc::clone(instance.shared_brokers()) }
    }
}

#[async_trait]
impl OffsetStore for RemoteOffsets {
    async fn read(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        self.brokers.query_offset(&self.group, queue).await
    }

    async fn write(&self, positions: Positions) -> Result<(), ClientError> {
        let mut by_broker: BTreeMap<CompactString, Vec<_>> = BTreeMap::new();
        for (queue, offset) in positions {
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

    async fn keep(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), ClientError> {
        self.brokers.commit_offset(&self.group, queue, offset).await
    }
}
