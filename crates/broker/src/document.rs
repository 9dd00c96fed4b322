//! Tables that are kept in files: `config/*.json` under the store, in the shapes of Apache
//! RocketMQ 5.5.0, replaced whole with the generation before kept (INV-15).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_remoting::protocol::register::DataVersion;
use rmq_runtime::{Clock, ClockExt, Disk, Tasks, state_file, watermark};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Wait after a save that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How often a table has changed, and which of the changes are saved.
#[derive(Debug)]
pub(crate) struct Changes {
    made: watch::Sender<u64>,
    saved: Arc<watermark::Watermark>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { made: watch::Sender::new(0), saved: watermark::Watermark::new(0) }
    }
}

impl Changes {
    /// Notes a change that has been made, to be saved soon. Its number.
    pub(crate) fn note(&self) -> u64 {
        let mut number = 0;
        self.made.send_modify(|made| {
            *made += 1;
            number = *made;
        });
        number
    }

    /// Notes a change that may wait for the next regular save.
    pub(crate) fn note_quietly(&self) {
        self.made.send_if_modified(|made| {
            *made += 1;
            false
        });
    }

    /// The number of the last change.
    pub(crate) fn made(&self) -> u64 {
        *self.made.borrow()
    }

    /// Ready when that change is saved.
    pub(crate) fn saved(&self, change: u64) -> watermark::Reached {
        self.saved.reached(change)
    }

    /// Told of changes.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.made.subscribe()
    }

    fn is_saved(&self) -> bool {
        self.saved.get() >= self.made()
    }
}

/// A table that is kept in a file.
pub(crate) trait Document: Send + Sync + 'static {
    /// Name of the file.
    fn file(&self) -> &'static str;
    /// Its changes. A change is noted after it was made, never before.
    fn changes(&self) -> &Changes;
    /// The text of the file.
    fn render(&self) -> Vec<u8>;
}

/// The directory of the files.
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Held while a file is replaced, so that an older text never follows a newer one.
    saving: Mutex<()>,
}

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, saving: Mutex::default() }
    }

    /// What is in a file, or in its older generation when the file is missing or damaged.
    pub(crate) fn load<T: DeserializeOwned>(&self, file: &str) -> io::Result<Option<T>> {
        let path = self.dir.join(file);
        let loaded =
            state_file::load(&*self.disk, &path, |text| rmq_remoting::json::from_slice(&text))?;
        if let state_file::Loaded::Previous { why, .. } = &loaded {
            tracing::warn!(%why, file, "the generation before is used");
        }
        Ok(loaded.into_value())
    }

    /// Saves a table if it has changed. Blocks.
    pub(crate) fn save(&self, document: &dyn Document) -> io::Result<()> {
        let _one = self.saving.lock();
        if document.changes().is_saved() {
            return Ok(());
        }
        let made = document.changes().made();
        let text = document.render();
        state_file::save(&*self.disk, &self.dir.join(document.file()), &text)?;
        document.changes().saved.advance(made);
        Ok(())
    }
}

/// When a table is saved.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rhythm {
    /// After each change.
    AtOnce,
    /// That often, if it has changed.
    Every(Duration),
}

/// Keeps a table saved until it is time to stop. What is changed later is saved by whoever stops.
pub(crate) async fn keep(
    files: Arc<Files>,
    document: Arc<dyn Document>,
    rhythm: Rhythm,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
) {
    let stop = tasks.stop_token();
    let mut changed = document.changes().watch();
    // What was made before anybody watched.
    changed.mark_changed();
    loop {
        let due = async {
            match rhythm {
                Rhythm::AtOnce => changed.changed().await.is_ok(),
                Rhythm::Every(period) => {
                    clock.sleep(period).await;
                    true
                }
            }
        };
        tokio::select! {
            biased;
            () = stop.requested() => return,
            alive = due => if !alive { return },
        }
        let (files, saved) = (Arc::clone(&files), Arc::clone(&document));
        let outcome = tasks.blocking(move || files.save(&*saved)).await;
        if let Some(Err(error)) = outcome {
            tracing::error!(%error, file = document.file(), "a table cannot be saved");
            changed.mark_changed();
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = clock.sleep(RETRY) => {}
            }
        }
    }
}

/// The text of a document as Apache RocketMQ lays it out.
pub(crate) fn render(document: &impl Serialize) -> Vec<u8> {
    rmq_remoting::json::to_document(document).into_bytes()
}

/// The version after a change.
pub(crate) fn next_version(version: DataVersion, now: rmq_message::Timestamp) -> DataVersion {
    DataVersion { counter: version.counter.saturating_add(1), timestamp: now.0, ..version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_runtime::World;

    #[derive(Default)]
    struct Table {
        changes: Changes,
        value: Mutex<u32>,
    }

    impl Document for Table {
        fn file(&self) -> &'static str {
            "table.json"
        }
        fn changes(&self) -> &Changes {
            &self.changes
        }
        fn render(&self) -> Vec<u8> {
            render(&std::collections::BTreeMap::from([("value", *self.value.lock())]))
        }
    }

    #[tokio::test]
    async fn a_noted_change_is_saved_by_the_keeper() {
        let dir = tempfile::tempdir().unwrap();
        let world = World::system();
        let files = Arc::new(Files::new(Arc::clone(&world.disk), dir.path().into()));
        let (table, tasks) = (Arc::new(Table::default()), Tasks::new("test"));
        let document: Arc<dyn Document> = Arc::clone(&table) as _;
        let keeper = keep(
            Arc::clone(&files),
            document,
            Rhythm::AtOnce,
            Arc::clone(&world.clock),
            tasks.clone(),
        );
        tasks.spawn("keep", rmq_runtime::OnFailure::Unhealthy, keeper);
        *table.value.lock() = 7;
        let change = table.changes.note();
        table.changes.saved(change).await.unwrap();
        let loaded = files.load::<std::collections::BTreeMap<String, u32>>("table.json").unwrap();
        assert_eq!(loaded.unwrap()["value"], 7);
        assert_eq!(tasks.stop(&*world.clock, Duration::from_secs(5)).await, Vec::<String>::new());
    }
}
