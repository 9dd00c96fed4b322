//! Progress kept in a file of this machine: broadcasting. The file is the Java client's,
//! `~/.rocketmq_offsets/<clientId>/<group>/offsets.json`:
//!
//! ```text
//! {
//!     "offsetTable":{
//!         {"brokerName":"b","queueId":0,"topic":"t"}:12
//!     }
//! }
//! ```
//!
//! Queues are never taken out of it. It is replaced whole, and the generation before stays as
//! `offsets.json.bak`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rmq_message::{MessageQueue, QueueOffset};
use rmq_remoting::json;
use rmq_remoting::protocol::offset::ResetOffsets;
use rmq_runtime::{Disk, Tasks, state_file};

use super::{OffsetStore, Positions};
use crate::{ClientError, ClientInstance};

/// All positions of a group lie in one file.
#[doc(alias = "LocalFileOffsetStore")]
pub struct LocalFileOffsets {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    tasks: Tasks,
    /// One writer at a time: each reads the file, merges and replaces it.
    writing: tokio::sync::Mutex<()>,
}

/// Directory under the user's home when none is configured.
const DIRECTORY: &str = ".rocketmq_offsets";

impl LocalFileOffsets {
    /// For a group of this instance, below the directory of its settings.
    pub fn new(instance: &ClientInstance, group: &str) -> Self {
        let root = instance.config().local_offset_store_dir.clone().unwrap_or_else(|| {
            let home = std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
            home.map_or_else(|| PathBuf::from("."), PathBuf::from).join(DIRECTORY)
        });
        let path = root.join(instance.client_id()).join(group).join("offsets.json");
        Self {
            path,
            disk: Arc::clone(&instance.world().disk),
            tasks: instance.tasks().clone(),
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All positions in the file.
    async fn stored(&self) -> Result<Positions, ClientError> {
        let (disk, path) = (Arc::clone(&self.disk), self.path.clone());
        let read = move || state_file::load(disk.as_ref(), &path, parse);
        let loaded = self.blocking(read).await;
        let loaded =
            loaded.map_err(|source| ClientError::OffsetFile { path: self.path.clone(), source })?;
        if let state_file::Loaded::Previous { why, .. } = &loaded {
            tracing::warn!(why, "offsets of the generation before are used");
        }
        let stored = loaded.into_value().unwrap_or_default().into_iter();
        Ok(stored.map(|(queue, offset)| (queue, QueueOffset(offset))).collect())
    }

    async fn merge(&self, fresh: Positions) -> Result<(), ClientError> {
        let _turn = self.writing.lock().await;
        let mut table = self.stored().await?;
        table.extend(fresh);
        let offset_table = table.into_iter().map(|(queue, offset)| (queue, offset.0)).collect();
        let text = json::to_document(&ResetOffsets { offset_table });
        let (disk, path) = (Arc::clone(&self.disk), self.path.clone());
        let written =
            self.blocking(move || state_file::save(disk.as_ref(), &path, text.as_bytes())).await;
        let path = || self.path.clone();
        written.map_err(|source| ClientError::OffsetFileWrite { path: path(), source })
    }

    async fn blocking<T, F>(&self, call: F) -> std::io::Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> std::io::Result<T> + Send + 'static,
    {
        let stopped = || Err(std::io::Error::other("the file access was interrupted"));
        self.tasks.blocking(call).await.unwrap_or_else(stopped)
    }
}

fn parse(text: Bytes) -> Result<BTreeMap<MessageQueue, i64>, json::Error> {
    json::from_slice::<ResetOffsets>(&text).map(|file| file.offset_table)
}

#[async_trait]
impl OffsetStore for LocalFileOffsets {
    async fn load(&self) -> Result<Positions, ClientError> {
        self.stored().await
    }

    async fn read(&self, queue: &MessageQueue) -> Result<Option<QueueOffset>, ClientError> {
        let found = self.stored().await?.get(queue).copied();
        Ok(found.filter(|offset| *offset >= QueueOffset::ZERO))
    }

    async fn write(&self, positions: Positions) -> Result<(), ClientError> {
        self.merge(positions).await
    }

    async fn keep(&self, queue: &MessageQueue, offset: QueueOffset) -> Result<(), ClientError> {
        self.merge([(queue.clone(), offset)].into()).await
    }
}

impl std::fmt::Debug for LocalFileOffsets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalFileOffsets").field("path", &self.path).finish_non_exhaustive()
    }
}
