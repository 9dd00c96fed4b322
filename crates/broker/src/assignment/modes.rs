//! Pull or pop, by topic and group (`messageRequestMode.json`).

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::RwLock;
use rmq_message::CompactString;
use rmq_remoting::protocol::assignment::SetRequestMode;
use serde::{Deserialize, Serialize};

use crate::document::{self, Changes, Document, Files};
use crate::limits;

/// Name of the file.
pub(crate) const FILE: &str = "messageRequestMode.json";

/// The table.
#[derive(Debug, Default)]
pub(crate) struct RequestModes {
    rows: RwLock<ModesFile>,
    changes: Changes,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ModesFile {
    /// By topic and group.
    message_request_mode_map: BTreeMap<CompactString, BTreeMap<CompactString, SetRequestMode>>,
}

impl RequestModes {
    pub(crate) fn open(files: &Files) -> std::io::Result<Self> {
        let file = files.load::<ModesFile>(FILE)?.unwrap_or_default();
        Ok(Self { rows: RwLock::new(file), changes: Changes::default() })
    }

    /// What was set for a group on a topic.
    pub(crate) fn find(&self, topic: &str, group: &str) -> Option<SetRequestMode> {
        self.rows.read().message_request_mode_map.get(topic)?.get(group).cloned()
    }

    /// Sets it. The change to be saved; `None` when there are too many.
    pub(crate) fn set(&self, mode: SetRequestMode) -> Option<u64> {
        let mut rows = self.rows.write();
        let topics = &mut rows.message_request_mode_map;
        let known =
            topics.get(&mode.topic).is_some_and(|set| set.contains_key(&mode.consumer_group));
        let count: usize = topics.values().map(BTreeMap::len).sum();
        if !known && count >= limits::GROUPS_MAX {
            return None;
        }
        let groups = topics.entry(mode.topic.clone()).or_default();
        groups.insert(mode.consumer_group.clone(), mode);
        drop(rows);
        Some(self.changes.note())
    }

    /// The document as one answer.
    pub(crate) fn document(&self) -> Bytes {
        rmq_remoting::json::to_bytes(&*self.rows.read())
    }
}

impl Document for RequestModes {
    fn file(&self) -> &'static str {
        FILE
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn render(&self) -> Vec<u8> {
        document::render(&*self.rows.read())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rmq_remoting::protocol::assignment::RequestMode;
    use rmq_runtime::World;

    use super::*;

    #[test]
    fn modes_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(Arc::clone(&World::system().disk), dir.path().into());
        let table = RequestModes::open(&files).unwrap();
        let mode = SetRequestMode {
            consumer_group: "g".into(),
            mode: RequestMode::Pop,
            pop_share_queue_num: 2,
            topic: "T".into(),
        };
        assert!(table.set(mode.clone()).is_some());
        files.save(&table).unwrap();
        let again = RequestModes::open(&files).unwrap();
        assert_eq!(again.find("T", "g"), Some(mode));
        assert_eq!(again.find("T", "h"), None);
    }
}
