//! The small key-value store of a name server: namespaces of names and values, kept in
//! `kvConfig.json` as `{"configTable":{namespace:{key:value}}}` with the generation before beside it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use compact_str::CompactString;
use parking_lot::{Mutex, RwLock};
use rmq_runtime::{Disk, state_file};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Entries of all namespaces together.
const ENTRIES_MAX: usize = 10_000;
/// Bytes of a namespace or key.
const NAME_LEN_MAX: usize = 255;
/// Bytes of a value.
const VALUE_LEN_MAX: usize = 32 << 10;

type Namespaces = BTreeMap<CompactString, BTreeMap<CompactString, CompactString>>;

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    config_table: Namespaces,
}

/// Names and values by namespace.
pub struct KvConfig {
    disk: Arc<dyn Disk>,
    path: Option<PathBuf>,
    table: RwLock<Namespaces>,
    /// Held while a change is written, so that changes reach the file in order.
    changing: Mutex<()>,
}

/// Why a change was refused; nothing changed then.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KvError {
    /// Too long or too many.
    #[error(
        "the key-value store takes {ENTRIES_MAX} entries with names of {NAME_LEN_MAX} and values of {VALUE_LEN_MAX} bytes"
    )]
    Limit,
    /// The file could not be replaced.
    #[error("the change could not be saved: {0}")]
    Save(#[from] io::Error),
}

impl KvConfig {
    /// Loads the file, when there is one.
    ///
    /// # Errors
    /// When neither the file nor the generation before can be read.
    pub fn open(disk: Arc<dyn Disk>, path: Option<PathBuf>) -> io::Result<Self> {
        let mut document = Document::default();
        if let Some(path) = &path {
            let loaded = state_file::load(&*disk, path, |bytes| {
                rmq_remoting::json::from_slice::<Document>(&bytes)
            })?;
            if let state_file::Loaded::Previous { why, .. } = &loaded {
                tracing::warn!("the key-value store is read from its previous generation: {why}");
            }
            document = loaded.into_value().unwrap_or_default();
        }
        let table = RwLock::new(document.config_table);
        Ok(Self { disk, path, table, changing: Mutex::default() })
    }

    /// A value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<CompactString> {
        self.table.read().get(namespace)?.get(key).cloned()
    }

    /// All of a namespace.
    pub fn list(&self, namespace: &str) -> Option<BTreeMap<CompactString, CompactString>> {
        self.table.read().get(namespace).cloned()
    }

    /// Sets a value and saves it. Blocks.
    ///
    /// # Errors
    /// [`KvError`]; the value is as before then.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), KvError> {
        if namespace.len().max(key.len()) > NAME_LEN_MAX || value.len() > VALUE_LEN_MAX {
            return Err(KvError::Limit);
        }
        self.change(|table| {
            table.entry(namespace.into()).or_default().insert(key.into(), value.into());
            if table.values().map(BTreeMap::len).sum::<usize>() > ENTRIES_MAX {
                return Err(KvError::Limit);
            }
            Ok(true)
        })
    }

    /// Removes a value, if it is there, and saves that. Blocks.
    ///
    /// # Errors
    /// [`KvError`]; the value is as before then.
    pub fn remove(&self, namespace: &str, key: &str) -> Result<(), KvError> {
        self.change(|table| {
            Ok(table.get_mut(namespace).is_some_and(|keys| keys.remove(key).is_some()))
        })
    }

    fn change(
        &self,
        edit: impl FnOnce(&mut Namespaces) -> Result<bool, KvError>,
    ) -> Result<(), KvError> {
        let _in_order = self.changing.lock();
        let mut next = self.table.read().clone();
        if !edit(&mut next)? {
            return Ok(());
        }
        let document = Document { config_table: next };
        if let Some(path) = &self.path {
            state_file::save(&*self.disk, path, &rmq_remoting::json::to_bytes(&document))?;
        }
        *self.table.write() = document.config_table;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rmq_runtime::system::SystemDisk;

    use super::*;

    #[test]
    fn values_outlive_the_server_and_a_damaged_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("namesrv/kvConfig.json");
        let open = || KvConfig::open(Arc::new(SystemDisk), Some(path.clone())).unwrap();
        let kv = open();
        kv.put("NS1", "k", "v").unwrap();
        kv.put("NS1", "gone", "x").unwrap();
        kv.remove("NS1", "gone").unwrap();
        kv.remove("other", "never").unwrap();
        let written = SystemDisk.read(&path).unwrap();
        assert_eq!(written, br#"{"configTable":{"NS1":{"k":"v"}}}"#.as_slice());
        let again = open();
        assert_eq!(again.get("NS1", "k").as_deref(), Some("v"));
        assert_eq!(again.list("NS1").unwrap().len(), 1);
        assert_eq!(again.list("NS2"), None);
        SystemDisk.write(&path, b"{\"configTable\":{\"NS1\"").unwrap();
        assert_eq!(open().get("NS1", "k").as_deref(), Some("v"));
    }

    #[test]
    fn limits_leave_everything_as_it_was() {
        let kv = KvConfig::open(Arc::new(SystemDisk), None).unwrap();
        assert!(matches!(kv.put("n", "k", &"x".repeat(VALUE_LEN_MAX + 1)), Err(KvError::Limit)));
        assert!(matches!(kv.put("n", &"x".repeat(NAME_LEN_MAX + 1), ""), Err(KvError::Limit)));
        assert_eq!(kv.list("n"), None);
    }
}
