//! The store on local disk: opens, wires and closes its parts.

mod admin;
mod background;
mod chores;
mod close;
mod pulse;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rmq_message::record::NewRecord;
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp};
use rmq_runtime::{BoxFuture, Disk, DiskLock, Tasks, Watermark, World};
use thiserror::Error;

use crate::api::{
    AppendError, AppendReceipt, ArrivalListener, Boundary, KeyQuery, MessageFilter, MessageStore,
    QueryOutcome, QueueKey, ReadError, ReadOutcome, ReadRequest,
};
use crate::checkpoint::Checkpoint;
use crate::commit_log::CommitLog;
use crate::commit_log::writer::{Touched, signed};
use crate::config::{Config, ConfigError};
use crate::index::KeyIndex;
use crate::layout::Layout;
use crate::mark::Run;
use crate::progress::Progress;
use crate::read::Reader;
use crate::recovery;

pub use chores::Chore;
pub use close::StopError;

/// Why a store does not open.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another store has the directory.
    #[error("{path} is in use by another process or store; stop it first")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be read or written.
    #[error("{0}; check the disk and the rights of the store's directory")]
    Io(Arc<std::io::Error>),
    /// A file has another length than configured, or its name is no number.
    #[error("{path}: {problem}; restore the file, or the setting it was written with")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A part of the log cannot be read, and valid messages follow it.
    #[error(
        "{path} is damaged at {at}, and a valid message follows at {next}; restore the file from a \
         replica, or set cutDamagedLog to lose everything from {at} on"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where no record can be read.
        at: PhysicalOffset,
        /// Where one can be read again.
        next: PhysicalOffset,
    },
}

impl From<std::io::Error> for OpenError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// What was saved last, and is saved next.
struct Saved {
    checkpoint: Checkpoint,
    /// The start has found the checkpoint, and it may not be synced.
    found: bool,
    progress: Option<Progress>,
}

/// The store on local disk.
///
/// Stop it with [`LocalStore::stop`]; a store that is only dropped recovers at its next start, as
/// after a crash.
#[doc(alias = "DefaultMessageStore")]
pub struct LocalStore {
    config: Config,
    layout: Layout,
    world: World,
    tasks: Tasks,
    log: CommitLog,
    index: Option<KeyIndex>,
    /// Records before it are in the key index.
    indexed: Arc<Watermark>,
    /// Entries of records before it have been written to consume queues.
    derived: AtomicU64,
    /// One indexes at a time.
    indexing: Mutex<()>,
    listener: RwLock<Option<Arc<dyn ArrivalListener>>>,
    saved: Mutex<Saved>,
    /// One marks, or takes away what the mark says, at a time. None when a mark would say nothing.
    run: Option<Mutex<Run>>,
    /// Used share of the disk, as bits of an `f64`.
    disk_used: AtomicU64,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl std::fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalStore").field("root", &self.layout.root()).finish_non_exhaustive()
    }
}

impl LocalStore {
    /// Opens the store of `config.store_path_root_dir`, creates it when there is none, and
    /// recovers it. Blocks; must be called inside a runtime, on which its tasks then run.
    pub fn open(world: &World, tasks: &Tasks, config: Config) -> Result<Arc<Self>, OpenError> {
        let store = Self::open_still(world, tasks, config)?;
        store.start()?;
        Ok(store)
    }

    /// Like [`open`](Self::open), but nothing runs in the background: the caller does the work
    /// piece by piece, see [`work`](Self::work). For simulations.
    pub fn open_still(
        world: &World,
        tasks: &Tasks,
        config: Config,
    ) -> Result<Arc<Self>, OpenError> {
        config.validate()?;
        let layout = Layout::new(&config.store_path_root_dir);
        let disk = &world.disk;
        for dir in [layout.commit_log(), layout.consume_queues(), layout.index()] {
            disk.create_dir(&dir)?;
        }
        let lock = disk.lock(&layout.lock()).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => OpenError::Locked { path: layout.root().to_owned() },
            _ => error.into(),
        })?;
        let parts = recovery::open(world, &layout, &config)?;
        let abort = match parts.goes_on {
            // The run that was killed has done all this.
            true => String::from_utf8_lossy(&disk.read(&layout.abort())?).into_owned(),
            false => begin_run(world, &layout)?,
        };
        let boot = disk.boot().filter(|_| config.can_mark());
        let run = boot.map(|boot| Mutex::new(Run { boot, abort }));
        let derived = AtomicU64::new(parts.log.visible.get());
        let store = Arc::new(Self {
            config,
            layout,
            world: world.clone(),
            tasks: tasks.child("store"),
            log: parts.log,
            index: parts.index,
            indexed: Watermark::new(parts.indexed),
            derived,
            indexing: Mutex::new(()),
            listener: RwLock::new(None),
            saved: Mutex::new(Saved {
                checkpoint: parts.checkpoint,
                found: true,
                progress: parts.progress,
            }),
            run,
            disk_used: AtomicU64::new(0),
            lock: Mutex::new(Some(lock)),
        });
        if store.saved.lock().progress.is_none() {
            store.save(None)?;
        }
        Ok(store)
    }

    /// How it was configured.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Behind every record of the key index; for those who wait for [`MessageStore::query`].
    pub fn indexed(&self) -> Arc<Watermark> {
        Arc::clone(&self.indexed)
    }

    fn reader(&self) -> Reader<'_> {
        Reader { log: &self.log, config: &self.config, waits: true }
    }

    /// Readers see more of these queues now: writes whole stretches of entries and tells who waits.
    fn tell(&self, touched: Touched) {
        let listener = self.listener.read().clone();
        for (queue, end) in &touched {
            if let Some(listener) = &listener {
                listener.arrived(&queue.key, QueueOffset(signed(*end)));
            }
            if let Err(error) = self.log.queues.grown(queue) {
                // Kept in RAM and tried again with all others.
                tracing::warn!(%error, queue = %queue.key, "cannot write entries of a consume queue");
            }
        }
        self.log.give_back(touched);
    }
}

/// Notes durably that a store is open, with a text that no other run has; tells the text.
fn begin_run(world: &World, layout: &Layout) -> std::io::Result<String> {
    let disk = &*world.disk;
    make_durable_dir(disk, layout.root())?;
    let text = format!("{}\n{:016x}", std::process::id(), world.entropy.next_u64());
    disk.write(&layout.abort_bak(), b"")?;
    disk.write(&layout.abort(), text.as_bytes())?;
    disk.sync_dir(layout.root())?;
    Ok(text)
}

/// Makes a directory and the entries that lead to it durable, whoever has made them.
fn make_durable_dir(disk: &dyn Disk, dir: &Path) -> std::io::Result<()> {
    disk.create_dir(dir)?;
    for above in dir.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match disk.sync_dir(above) {
            // Who may not read it has not made anything in it.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

impl MessageStore for LocalStore {
    fn append(
        &self,
        queue: &QueueKey,
        records: &[NewRecord<'_>],
    ) -> Result<AppendReceipt, AppendError> {
        self.log.append(queue, records)
    }

    fn settle(&self) -> Result<(), AppendError> {
        if let Some(touched) = self.log.settle()? {
            self.tell(touched);
        }
        Ok(())
    }

    fn durable(&self, to: PhysicalOffset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.log.durable(to)
    }

    fn read(
        &self,
        request: &ReadRequest<'_>,
        filter: &dyn MessageFilter,
    ) -> Result<ReadOutcome, ReadError> {
        self.reader().read(request, filter)
    }

    fn read_cached(
        &self,
        request: &ReadRequest<'_>,
        filter: &dyn MessageFilter,
    ) -> Result<ReadOutcome, ReadError> {
        Reader { waits: false, ..self.reader() }.read(request, filter)
    }

    fn offsets(&self, queue: &QueueKey) -> Range<QueueOffset> {
        match self.log.queues.get(queue) {
            Some(queue) => QueueOffset(signed(queue.min()))..QueueOffset(signed(queue.visible())),
            None => QueueOffset::ZERO..QueueOffset::ZERO,
        }
    }

    fn offset_at(
        &self,
        queue: &QueueKey,
        time: Timestamp,
        boundary: Boundary,
    ) -> Result<QueueOffset, ReadError> {
        match self.log.queues.get(queue) {
            Some(queue) => self.reader().offset_at(&queue, time, boundary),
            None => Ok(QueueOffset::ZERO),
        }
    }

    fn message_at(&self, at: PhysicalOffset) -> Result<Bytes, ReadError> {
        self.reader().message_at(at)
    }

    fn message_at_cached(&self, at: PhysicalOffset) -> Result<Bytes, ReadError> {
        Reader { waits: false, ..self.reader() }.message_at(at)
    }

    fn query(&self, query: &KeyQuery<'_>) -> Result<QueryOutcome, ReadError> {
        match &self.index {
            Some(index) => {
                self.index_young();
                self.reader().query(index, query)
            }
            None => Ok(QueryOutcome::default()),
        }
    }

    fn on_arrival(&self, listener: Arc<dyn ArrivalListener>) {
        *self.listener.write() = Some(listener);
    }
}
