//! Opens a store directory and brings everything derived from the log up to the log's end.
//!
//! After a clean stop, and after any other end of ours, [`Progress`] says what is complete and only
//! the log behind it is looked at. After a kill the [`Mark`] says so of more: what was written is
//! there, because the kernel has gone on. A store that another program has written to last goes by
//! Apache's rules: from the youngest file that its checkpoint vouches for. Where a queue turns out
//! to miss entries it is built again from the beginning of the log (INV-11, INV-13). All steps may
//! be interrupted and are then done again (INV-05).

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rmq_message::PhysicalOffset;
use rmq_runtime::{Disk, World, canary};

use crate::api::QueueKey;
use crate::checkpoint::Checkpoint;
use crate::commit_log::recovery::{self, Check, Scanned};
use crate::commit_log::{CommitLog, Recovered, Unsynced};
use crate::config::{Config, FlushDiskType};
use crate::consume_queue::{Applied, ExtensionContext, Queue, QueueTable, Unit, partition};
use crate::dispatch::{DelayLevels, entry};
use crate::index::{KeyIndex, Vouched};
use crate::layout::Layout;
use crate::local::OpenError;
use crate::mark::Mark;
use crate::progress::{Progress, QueueProgress};
use crate::segmented_log::SegmentedLog;

/// The parts of an opened store.
pub(crate) struct Parts {
    pub(crate) log: CommitLog,
    pub(crate) index: Option<KeyIndex>,
    /// Up to where the key index is complete.
    pub(crate) indexed: u64,
    pub(crate) checkpoint: Checkpoint,
    /// What is synced.
    pub(crate) progress: Option<Progress>,
    /// The run goes on that was killed: its mark was right.
    pub(crate) goes_on: bool,
}

/// What of a [`Mark`] is not in the progress that is made of it.
struct Marked {
    durable: u64,
    log_min: u64,
}

struct Recovery<'a> {
    config: &'a Config,
    queues: &'a QueueTable,
    segments: &'a SegmentedLog,
    delays: &'a DelayLevels,
    checkpoint: Checkpoint,
    /// Only when it can be believed.
    progress: Option<Progress>,
    /// The progress is that of a mark: of what is written.
    marked: Option<Marked>,
    known: HashSet<QueueKey>,
    /// What is checked of records that may be torn.
    check: Check,
    clean: bool,
}

pub(crate) fn open(world: &World, layout: &Layout, config: &Config) -> Result<Parts, OpenError> {
    let disk = &world.disk;
    let clean = !disk.exists(&layout.abort());
    let segments = SegmentedLog::load(
        Arc::clone(disk),
        layout.commit_log(),
        config.mapped_file_size_commit_log,
        config.memory_window(),
    )?;
    let queues = Arc::new(queue_table(disk, layout, config)?);
    let delays = DelayLevels(config.delay_levels().unwrap_or_default());
    let checkpoint = Checkpoint::load(&**disk, &layout.checkpoint())?;
    let saved = Progress::load(&**disk, &layout.progress());
    let own = saved.is_some();
    let saved = saved.filter(|progress| progress.fits(&checkpoint));
    let mut recovery = Recovery {
        config,
        queues: &queues,
        segments: &segments,
        delays: &delays,
        checkpoint,
        known: HashSet::new(),
        progress: None,
        marked: None,
        check: Check::of(config, own),
        clean,
    };
    let mark = Mark::load(&**disk, layout).filter(|_| config.can_mark());
    let goes_on = match mark {
        Some(mark) => recovery.go_on(&mark, saved.as_ref())?,
        None => false,
    };
    let mut saved = saved;
    if !goes_on {
        Mark::remove(&**disk, &layout.mark())?;
        recovery.believe(saved.take())?;
        saved.clone_from(&recovery.progress);
    }
    let (scanned, unsynced) = recovery.run()?;
    let (end, progress) = (scanned.end, recovery.progress.take());
    let (index, indexed) = open_index(
        world,
        layout,
        config,
        &checkpoint,
        progress.as_ref(),
        clean,
        end,
        segments.min(),
    )?;
    let segment = match segments.find(end).or_else(|| segments.last()) {
        Some(segment) => segment,
        None => segments.roll()?,
    };
    let last_timestamp = scanned.last_timestamp.max(checkpoint.log);
    let recovered = Recovered { segments, segment, end, last_timestamp, unsynced };
    let log =
        CommitLog::new(config, Arc::clone(&world.clock), Arc::clone(&queues), delays, recovered);
    Ok(Parts { log, index, indexed, checkpoint, progress: saved, goes_on })
}

fn queue_table(disk: &Arc<dyn Disk>, layout: &Layout, config: &Config) -> io::Result<QueueTable> {
    let batch_topics = disk.list(&layout.batch_consume_queues())?;
    Ok(QueueTable::new(
        Arc::clone(disk),
        layout.consume_queues(),
        config.queue_file_units(),
        ExtensionContext {
            dir: layout.queue_extensions(),
            file_len: config.extension_file_len(),
            log_dir: layout.commit_log(),
            log_file_len: config.mapped_file_size_commit_log,
        },
        batch_topics.into_iter().map(|entry| entry.name).collect(),
        disk.volume(layout.root())?.map(|volume| (volume, config.sync_volume_from)),
    ))
}

#[expect(clippy::too_many_arguments, reason = "the values of one recovery, used once")]
fn open_index(
    world: &World,
    layout: &Layout,
    config: &Config,
    checkpoint: &Checkpoint,
    progress: Option<&Progress>,
    clean: bool,
    end: u64,
    log_min: u64,
) -> io::Result<(Option<KeyIndex>, u64)> {
    if !config.message_index_enable {
        return Ok((None, end));
    }
    let (disk, clock) = (Arc::clone(&world.disk), Arc::clone(&world.clock));
    let vouched = match progress {
        _ if clean => Vouched::All,
        Some(progress) => Vouched::UpTo(progress.index_sealed),
        None => Vouched::StoredBy(checkpoint.index),
    };
    let index = KeyIndex::open(disk, clock, layout.index(), config, vouched, end)?;
    let youngest = index.resumes_at();
    let seen = progress
        .filter(|_| clean)
        .and_then(|progress| progress.index)
        .filter(|it| it.youngest == youngest && it.seen <= end)
        .map(|it| it.seen);
    let mut indexed = seen.or(youngest).unwrap_or(0).max(log_min).min(end);
    if canary("RS-03 dispatch resumes at the highest index") {
        indexed = end;
    }
    Ok((Some(index), indexed))
}

impl Recovery<'_> {
    /// Takes the progress as true when it fits the log.
    fn believe(&mut self, progress: Option<Progress>) -> io::Result<()> {
        if let Some(progress) = progress
            && self.segments.last().is_some()
            && progress.log >= self.segments.min()
            && recovery::is_boundary(self.segments, progress.log, self.check)?
        {
            self.known = progress.queues.iter().map(|queue| queue.key()).collect();
            self.progress = Some(progress);
        }
        Ok(())
    }

    /// Takes over from the run that was killed, if its mark is borne out by what is there: then
    /// what it has written counts, and what `saved` knows to be synced counts as that. Whether so.
    fn go_on(&mut self, mark: &Mark, saved: Option<&Progress>) -> Result<bool, OpenError> {
        let progress = mark.with(saved, &self.checkpoint);
        let known: HashMap<_, _> =
            progress.queues.iter().map(|queue| (queue.key(), queue.clone())).collect();
        if self.segments.last().is_none()
            || progress.log < self.segments.min()
            || !recovery::is_boundary(self.segments, progress.log, self.check)?
            || !self.queues.load(&known)?.is_empty()
            || self.is_short(&progress)
        {
            tracing::warn!(
                "what was written before the kill is not there; going by what was synced"
            );
            self.queues.clear();
            return Ok(false);
        }
        let synced: HashMap<_, _> =
            saved.iter().flat_map(|it| &it.queues).map(|it| (it.key(), it.end)).collect();
        for queue in self.queues.all() {
            let Some(known) = known.get(&queue.key) else {
                // New since then: its records are behind the mark.
                self.queues.reset(&queue)?;
                continue;
            };
            if queue.visible() > known.end {
                // The last of them may be written in part.
                queue.cut(&self.queues.context, known.end)?;
            }
            queue.set_min(known.min);
            self.queues.doubt_from(&queue, synced.get(&queue.key).copied().unwrap_or(0));
        }
        self.known = known.into_keys().collect();
        let durable = mark.durable.max(saved.map_or(0, |saved| saved.log)).min(progress.log);
        self.marked = Some(Marked { durable, log_min: mark.log_min });
        self.progress = Some(progress);
        Ok(true)
    }

    /// Finds the queues, and takes away what the progress does not vouch for. Whether there are any
    /// to be built again from the beginning of the log.
    fn take_stock(&mut self) -> Result<bool, OpenError> {
        let gaps = self.queues.load(&HashMap::new())?;
        for queue in &gaps {
            tracing::warn!(queue = %queue.key, "files of a consume queue have a gap; it is built again");
            self.queues.reset(queue)?;
        }
        if self.segments.last().is_none() {
            for queue in self.queues.all() {
                self.queues.reset(&queue)?;
            }
        }
        let rebuild = self.reset_short_queues()? || !gaps.is_empty();
        self.drop_unproven_entries()?;
        Ok(rebuild)
    }

    fn run(&mut self) -> Result<(Scanned, Option<Unsynced>), OpenError> {
        let rebuild = self.marked.is_none() && self.take_stock()?;
        let min = self.segments.min();
        let start = if rebuild { min } else { self.start()? };
        let mut gap = false;
        // Only what is younger than the progress may be torn; what is older has been synced.
        let checked_from = self.progress.as_ref().map_or(start, |it| it.log);
        if start < checked_from {
            self.rescan(start, checked_from, start == min, &mut gap)?;
        }
        let scanned = self.scan(checked_from, u64::MAX, start == min, &mut gap)?;
        if gap && start > min {
            tracing::warn!("consume queues miss entries and are built again from the log");
            self.rescan(min, scanned.end, true, &mut gap)?;
        }
        let expected = self.clean && self.progress.as_ref().is_some_and(|it| it.log == scanned.end);
        if !expected {
            recovery::cut(self.segments, scanned.end, self.check, self.config)?;
        }
        // After a clean stop it has been synced; only a first file may be new, made by a start that
        // ended before it could leave its mark.
        let again = if self.clean { 0 } else { scanned.end };
        let from = self.marked.as_ref().map_or(checked_from, |marked| marked.durable);
        let is_synced = self.marked.is_some() && from >= scanned.end;
        if from >= scanned.end && !self.clean {
            // No sync will follow, and files that were being removed must not come back.
            self.segments.sync_dir()?;
        }
        let mut unsynced = (!is_synced).then_some(Unsynced { from, again });
        if self.config.flush_disk_type == FlushDiskType::Sync
            && let Some(found) = unsynced.take()
        {
            // Readers must not see it before; with `ASYNC_FLUSH` they may.
            recovery::make_durable(self.segments, found, |_| {})?;
        }
        self.fit_queues(scanned.end)?;
        Ok((scanned, unsynced))
    }

    /// A queue that should be there, and what is, when that is less.
    fn short<'a>(
        &'a self,
        known: &'a QueueProgress,
    ) -> Option<(&'a QueueProgress, Option<Arc<Queue>>)> {
        let queue = self.queues.get(&known.key());
        let is_whole = |it: &Arc<Queue>| it.min() <= known.min && it.visible() >= known.end;
        (!queue.as_ref().is_some_and(is_whole)).then_some((known, queue))
    }

    fn is_short(&self, progress: &Progress) -> bool {
        progress.queues.iter().any(|known| self.short(known).is_some())
    }

    /// Empties queues that hold less than the progress says. Whether there are any.
    fn reset_short_queues(&self) -> io::Result<bool> {
        let mut any = false;
        let known = self.progress.iter().flat_map(|progress| &progress.queues);
        for (known, queue) in known.filter_map(|known| self.short(known)) {
            tracing::warn!(queue = %known.key(), "files of a consume queue are missing; it is built again");
            if let Some(queue) = queue {
                self.queues.reset(&queue)?;
            }
            any = true;
        }
        Ok(any)
    }

    /// Where to look from.
    fn start(&self) -> io::Result<u64> {
        if let Some(progress) = &self.progress {
            return Ok(progress.log);
        }
        let min = self.segments.min();
        let reached = self.queues.all().iter().map(|queue| queue.state().log_end).max();
        let Some(reached) = reached else { return Ok(min) };
        for segment in self.segments.all().into_iter().rev() {
            let Some(first) = recovery::first_timestamp(&segment)?.filter(|it| it.0 > 0) else {
                continue;
            };
            let vouched = if self.clean {
                segment.start <= reached
            } else {
                first <= self.checkpoint.min_timestamp()
            };
            if vouched {
                return Ok(segment.start);
            }
        }
        Ok(min)
    }

    /// Applies records to their queues. `gap` tells whether a queue misses entries before one.
    fn scan(&self, from: u64, to: u64, fill: bool, gap: &mut bool) -> io::Result<Scanned> {
        let synced_to = self.progress.as_ref().map_or(0, |it| it.log);
        let check = if to == u64::MAX { self.check } else { Check::Form };
        recovery::scan(self.segments, from, to, check, |record| {
            let Some((key, offset, unit)) = entry(record, self.delays) else { return Ok(()) };
            let known = || self.progress.is_none() || self.known.contains(&key);
            if record.physical_offset.0 < synced_to && !known() {
                // Of a topic that has been deleted.
                return Ok(());
            }
            if self.queues.apply(&key, offset, unit, fill && known())? == Applied::Gap {
                // A queue that began after the progress was written begins at 0; if not, this
                // record is older than the deletion of its topic.
                *gap |= known();
            }
            Ok(())
        })
    }

    /// Goes again over a part of the log that is known to be whole.
    fn rescan(&self, from: u64, to: u64, fill: bool, gap: &mut bool) -> Result<(), OpenError> {
        let scanned = self.scan(from, to, fill, gap)?;
        if scanned.end >= to {
            return Ok(());
        }
        let (at, next) = (PhysicalOffset(scanned.end), PhysicalOffset(to));
        let path = self.segments.find(at.0).map_or_else(PathBuf::new, |it| it.path.clone());
        if !self.config.cut_damaged_log {
            return Err(OpenError::Damaged { path, at, next });
        }
        tracing::error!(path = %path.display(), %at, "messages that cannot be read are left out");
        Ok(())
    }

    /// Drops entries that the progress does not vouch for: the log behind it may have been lost and
    /// written anew since, so that they point to what is no record. They are made again.
    fn drop_unproven_entries(&self) -> io::Result<()> {
        let Some(progress) = &self.progress else { return Ok(()) };
        if canary("RS-08 old entries stand for new records") {
            return Ok(());
        }
        let known = progress.queues.iter().map(|queue| (queue.key(), queue.end));
        let known: HashMap<_, _> = known.collect();
        for queue in self.queues.all() {
            match known.get(&queue.key) {
                Some(end) if queue.visible() > *end || queue.state().log_end > progress.log => {
                    self.cut_queue(&queue, *end, progress.log)?;
                }
                Some(_) => {}
                // New since then, or its topic was deleted.
                None => self.queues.reset(&queue)?,
            }
        }
        Ok(())
    }

    /// Drops entries from a number on, and those whose records lie behind a position of the log.
    fn cut_queue(&self, queue: &Arc<Queue>, number: u64, log_end: u64) -> io::Result<()> {
        let high = queue.visible().min(number).max(queue.min());
        let kept = partition(queue.min(), high, |number| {
            let unit = self.queues.unit(queue, number)?;
            Ok(unit.is_none_or(|unit| !unit.is_blank() && Unit::end(unit) > log_end))
        })?;
        tracing::debug!(queue = %queue.key, kept, "entries without proof are cut off");
        queue.cut(&self.queues.context, kept)
    }

    /// Drops entries whose records are not in the log, and finds where queues begin. What is new in
    /// them is in memory, and written with what comes.
    fn fit_queues(&self, end: u64) -> io::Result<()> {
        let log_min = self.segments.min();
        let fitted = self.marked.as_ref().is_some_and(|marked| marked.log_min == log_min);
        for known in self.progress.iter().flat_map(|progress| &progress.queues) {
            // All its records are gone, and so are its files: its offsets go on all the same.
            if let Ok(queue) = self.queues.open(&known.key())
                && queue.state().end == 0
            {
                queue.restore(known.end, 0);
                queue.set_min(known.end);
            }
        }
        for queue in self.queues.all() {
            if queue.state().log_end > end {
                self.cut_queue(&queue, u64::MAX, end)?;
            }
            if !fitted || !self.known.contains(&queue.key) {
                self.queues.find_min(&queue, log_min)?;
            }
        }
        self.queues.set_fitted(log_min);
        Ok(())
    }
}
