//! All consume queues of a store: found by key, written and synced by turns, forgotten by topic.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use parking_lot::{Mutex, RwLock};
use rmq_message::{CompactString, name};
use rmq_runtime::{Disk, Volume, canary};

use super::extension_files::ExtensionContext;
use super::files::FileContext;
use super::queue::{Applied, Queue};
use super::unit::{UNIT_LEN, Unit};
use crate::api::{AppendError, QueueKey};
use crate::local::OpenError;
use crate::progress::QueueProgress;

#[derive(Default)]
struct Turns {
    /// Queues with entries to write.
    waiting: Vec<Arc<Queue>>,
    /// Queues written in the turn before, with the end they had: they may rest.
    written: Vec<(Arc<Queue>, u64)>,
    /// Queues whose files are not synced yet.
    unsynced: Vec<Arc<Queue>>,
}

/// A queue that is found by the key it holds: what a table of thousands keeps for each is a pointer,
/// and stays near.
struct ByKey(Arc<Queue>);

impl Borrow<QueueKey> for ByKey {
    fn borrow(&self) -> &QueueKey {
        &self.0.key
    }
}

impl Hash for ByKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for ByKey {}

pub(crate) struct QueueTable {
    pub(crate) context: FileContext,
    queues: RwLock<foldhash::HashSet<ByKey>>,
    turns: Mutex<Turns>,
    /// One turn of writing or removing at a time.
    turn: Mutex<()>,
    /// First offsets of all queues are those of a log that begins there.
    fitted: AtomicU64,
    /// Queues that were written or synced so far.
    steps: AtomicU64,
    /// Topics with batch consume queues, which are not written here.
    batch_topics: HashSet<String>,
    /// The file system, and the number of queues from which on it is synced as a whole.
    volume: Option<(Arc<dyn Volume>, usize)>,
}

impl QueueTable {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        units_per_file: u64,
        extension: ExtensionContext,
        batch_topics: HashSet<String>,
        volume: Option<(Arc<dyn Volume>, usize)>,
    ) -> Self {
        let file_len = units_per_file * UNIT_LEN as u64;
        Self {
            context: FileContext {
                disk,
                dir,
                file_len,
                extension,
                open: Mutex::new(VecDeque::new()),
            },
            queues: RwLock::default(),
            turns: Mutex::default(),
            turn: Mutex::default(),
            fitted: AtomicU64::new(0),
            steps: AtomicU64::new(0),
            batch_topics,
            volume,
        }
    }

    pub(crate) fn get(&self, key: &QueueKey) -> Option<Arc<Queue>> {
        self.queues.read().get(key).map(|found| Arc::clone(&found.0))
    }

    /// Does something with a queue, made when it is new, that is not [forgotten](Self::forget)
    /// meanwhile. It must not come back to the table.
    pub(crate) fn with<T>(
        &self,
        key: &QueueKey,
        act: impl FnOnce(&Arc<Queue>) -> T,
    ) -> Result<T, AppendError> {
        loop {
            if let Some(ByKey(queue)) = self.queues.read().get(key) {
                return Ok(act(queue));
            }
            self.open(key)?;
        }
    }

    /// The queue, made when it is new. Only in RAM: files appear with the first entries.
    pub(crate) fn open(&self, key: &QueueKey) -> Result<Arc<Queue>, AppendError> {
        if let Some(queue) = self.get(key) {
            return Ok(queue);
        }
        if let Some(problem) = self.problem(key) {
            return Err(AppendError::Queue { queue: key.clone(), problem });
        }
        let mut queues = self.queues.write();
        if let Some(ByKey(queue)) = queues.get(key) {
            return Ok(Arc::clone(queue));
        }
        let queue = Arc::new(Queue::new(key.clone()));
        queues.insert(ByKey(Arc::clone(&queue)));
        Ok(queue)
    }

    /// Why there can be no such queue: names become directories.
    fn problem(&self, key: &QueueKey) -> Option<&'static str> {
        if key.topic.is_empty()
            || key.topic.len() > name::RETRY_TOPIC_LEN_MAX
            || !name::is_legal(&key.topic)
        {
            return Some("has no legal topic name");
        }
        if key.queue_id < 0 {
            return Some("has a negative number");
        }
        if self.batch_topics.contains(key.topic.as_str()) {
            return Some(
                "belongs to a topic with batch consume queues, which are not written here",
            );
        }
        None
    }

    /// Whether records of that queue belong into a consume queue of this table.
    pub(crate) fn takes(&self, key: &QueueKey) -> bool {
        self.problem(key).is_none()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Queue>> {
        self.queues.read().iter().map(|ByKey(queue)| Arc::clone(queue)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.read().len()
    }

    /// Puts queues, whose entries are visible, on the list of those to be written.
    pub(crate) fn list<'a>(&self, queues: impl Iterator<Item = &'a Arc<Queue>>) {
        // Who finds a queue listed relies on a turn that has not looked at its entries yet: either
        // we see that it has taken the queue off the list, or it sees the entries.
        fence(Ordering::SeqCst);
        for queue in queues {
            if !queue.listed.load(Ordering::Relaxed) && !queue.listed.swap(true, Ordering::AcqRel) {
                self.turns.lock().waiting.push(Arc::clone(queue));
            }
        }
    }

    /// Writes the queue's new entries when they are a whole stretch.
    pub(crate) fn grown(&self, queue: &Arc<Queue>) -> io::Result<()> {
        if queue.is_full() { queue.write(&self.context) } else { Ok(()) }
    }

    /// Writes the entries of all queues that have any to write.
    pub(crate) fn write_all(&self) -> io::Result<()> {
        let _turn = self.turn.lock();
        let waiting = std::mem::take(&mut self.turns.lock().waiting);
        let mut written = Vec::with_capacity(waiting.len());
        let mut rest = waiting.into_iter();
        let mut failed = None;
        for queue in rest.by_ref() {
            queue.listed.store(false, Ordering::Release);
            fence(Ordering::SeqCst);
            self.steps.fetch_add(1, Ordering::Relaxed);
            match queue.write(&self.context) {
                Ok(()) => written.push((Arc::clone(&queue), queue.visible())),
                Err(error) => {
                    self.list(std::iter::once(&queue));
                    failed = Some(error);
                    break;
                }
            }
        }
        let mut turns = self.turns.lock();
        turns.waiting.extend(rest);
        turns.unsynced.extend(written.iter().map(|(queue, _)| Arc::clone(queue)));
        let before = std::mem::replace(&mut turns.written, written);
        drop(turns);
        for (queue, end) in before {
            if queue.visible() == end {
                queue.rest();
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Syncs all queues that were written when it began; others are written meanwhile. An error is
    /// final: nothing is known of what was synced.
    pub(crate) fn sync_written(&self) -> io::Result<()> {
        let mut unsynced = std::mem::take(&mut self.turns.lock().unsynced);
        unsynced.sort_by_key(Arc::as_ptr);
        unsynced.dedup_by(|a, b| Arc::ptr_eq(a, b));
        let ends = match &self.volume {
            Some((volume, from)) if unsynced.len() >= *from => {
                let ends: Vec<_> = unsynced.iter().map(|queue| queue.leave_to_volume()).collect();
                if !canary("INV-13 entries count as synced with nothing synced") {
                    volume.sync()?;
                }
                ends
            }
            _ => self.sync_each(&unsynced)?,
        };
        for (queue, end) in unsynced.iter().zip(ends) {
            queue.set_synced(end);
        }
        Ok(())
    }

    /// Tells how far each of the queues is synced.
    fn sync_each(&self, queues: &[Arc<Queue>]) -> io::Result<Vec<u64>> {
        let (mut ends, mut topics) = (Vec::with_capacity(queues.len()), BTreeSet::new());
        for queue in queues {
            let (end, fresh) = queue.sync(&self.context)?;
            ends.push(end);
            if fresh {
                topics.insert(queue.key.topic.as_str());
            }
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        let FileContext { disk, dir, .. } = &self.context;
        for topic in &topics {
            match disk.sync_dir(&dir.join(topic)) {
                // The topic was deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                synced => synced?,
            }
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        if !topics.is_empty() {
            disk.sync_dir(dir)?;
        }
        Ok(ends)
    }

    /// Only entries below `end` of a queue are synced for certain: the rest follows with the next
    /// turn.
    pub(crate) fn doubt_from(&self, queue: &Arc<Queue>, end: u64) {
        if end < queue.synced() {
            queue.doubt_from(&self.context, end);
            self.turns.lock().unsynced.push(Arc::clone(queue));
        }
    }

    /// Grows while queues are written and synced, be it by one of thousands.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Exactly where each queue stands that has anything, for [`crate::progress`] and
    /// [`crate::mark`]: which `end` of it counts.
    pub(crate) fn progress(&self, end: impl Fn(&Queue) -> u64) -> Vec<QueueProgress> {
        let mut queues: Vec<_> = self
            .all()
            .iter()
            .map(|queue| QueueProgress {
                topic: queue.key.topic.to_string(),
                queue: queue.key.queue_id,
                min: queue.min(),
                end: end(queue),
            })
            .filter(|queue| queue.end > 0)
            .collect();
        queues.sort_by(|a, b| (&a.topic, a.queue).cmp(&(&b.topic, b.queue)));
        queues
    }

    /// Takes the queues of a topic out of the table; their files go with [`Self::remove_files`].
    pub(crate) fn forget(&self, topic: &str) -> Vec<Arc<Queue>> {
        let mut forgotten = Vec::new();
        self.queues.write().retain(|ByKey(queue)| {
            let stays = queue.key.topic != topic;
            if !stays {
                forgotten.push(Arc::clone(queue));
            }
            stays
        });
        for queue in &forgotten {
            queue.files.lock().gone = true;
        }
        forgotten
    }

    pub(crate) fn remove_files(&self, forgotten: &[Arc<Queue>]) -> io::Result<()> {
        let _turn = self.turn.lock();
        for queue in forgotten {
            queue.files.lock().remove_all(&self.context, queue, true)?;
        }
        match forgotten.first() {
            Some(queue) => {
                let FileContext { disk, dir, extension, .. } = &self.context;
                disk.remove_dir(&extension.dir.join(queue.key.topic.as_str()))?;
                disk.remove_dir(&dir.join(queue.key.topic.as_str()))
            }
            None => Ok(()),
        }
    }

    /// Empties a queue so that it can be built again.
    pub(crate) fn reset(&self, queue: &Queue) -> io::Result<()> {
        queue.files.lock().remove_all(&self.context, queue, false)?;
        queue.restore(0, 0);
        queue.set_min(0);
        Ok(())
    }

    /// Applies a record whose place is known, see [`Queue::apply`].
    pub(crate) fn apply(
        &self,
        key: &QueueKey,
        offset: rmq_message::QueueOffset,
        unit: Unit,
        fill: bool,
    ) -> io::Result<Applied> {
        let Ok(queue) = self.open(key) else { return Ok(Applied::Known) };
        let mut applied = queue.apply(offset, unit, fill);
        if applied == Applied::Anew {
            tracing::info!(%queue.key, "the topic was deleted and made again; its queue begins anew");
            self.reset(&queue)?;
            applied = queue.apply(offset, unit, fill);
        }
        if applied == Applied::Added {
            self.list(std::iter::once(&queue));
            self.grown(&queue)?;
        }
        Ok(applied)
    }

    /// Forgets what was [found](Self::load).
    pub(crate) fn clear(&self) {
        self.queues.write().clear();
    }

    /// Finds all queues on disk; of those that are vouched for up to an end, only what follows is
    /// looked at. Returns those whose files have a gap.
    pub(crate) fn load(
        &self,
        vouched: &std::collections::HashMap<QueueKey, QueueProgress>,
    ) -> Result<Vec<Arc<Queue>>, OpenError> {
        let mut gaps = Vec::new();
        for topic in self.context.disk.list(&self.context.dir)? {
            if !topic.is_dir {
                continue;
            }
            for entry in self.context.disk.list(&self.context.dir.join(&topic.name))? {
                let Some(queue_id) = entry.name.parse().ok().filter(|_| entry.is_dir) else {
                    continue;
                };
                let key = QueueKey { topic: CompactString::new(&topic.name), queue_id };
                if !self.takes(&key) {
                    tracing::warn!(queue = %key, "directory of no consume queue is left alone");
                    continue;
                }
                let queue = Arc::new(Queue::new(key.clone()));
                let scan = queue
                    .files
                    .lock()
                    .load(&self.context, &queue, vouched.get(&key).map(|it| it.end))?
                    .map_err(|(path, problem)| OpenError::File { path, problem })?;
                let log_end = scan.last.filter(|last| !last.is_blank()).map_or(0, Unit::end);
                queue.restore(scan.end, log_end);
                queue.set_min(scan.first);
                if scan.gap {
                    gaps.push(Arc::clone(&queue));
                }
                self.queues.write().insert(ByKey(queue));
            }
        }
        Ok(gaps)
    }

    /// Moves the queues' beginnings behind what is gone from the log.
    pub(crate) fn find_all_min(&self, log_min: u64) -> io::Result<()> {
        self.all().iter().try_for_each(|queue| self.find_min(queue, log_min))?;
        self.set_fitted(log_min);
        Ok(())
    }

    /// First offsets are those of a log that begins there.
    pub(crate) fn fitted(&self) -> u64 {
        self.fitted.load(Ordering::Acquire)
    }

    pub(crate) fn set_fitted(&self, log_min: u64) {
        self.fitted.store(log_min, Ordering::Release);
    }

    /// Removes files that only point before `log_min`.
    pub(crate) fn expire(&self, log_min: u64) -> io::Result<usize> {
        let _turn = self.turn.lock();
        let mut removed = 0;
        for queue in self.all() {
            loop {
                let mut files = queue.files.lock();
                if files.gone || !files.remove_first_before(&self.context, &queue, log_min)? {
                    break;
                }
                removed += 1;
            }
        }
        Ok(removed)
    }
}
