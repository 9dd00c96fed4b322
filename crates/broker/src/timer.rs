//! Messages that wait until a moment of their own: they lie in the queue of `rmq_sys_wheel_timer`, are
//! entered into the tick (second) they ask for, and go where they belong when that tick has ended.
//!
//! One task does it all, in turns: enter what has come, deliver the ticks that are over, and once a
//! second write down how far it is. The queue is the truth; what is written down, in the files of
//! Apache RocketMQ 5.5 (`timerlog`, `timerwheel`, `config/timercheck`), may be behind. After a crash
//! some messages are delivered twice, none is lost and none comes early (INV-34).
//!
//! | module | owns |
//! |---|---|
//! | `wish` | what a sender asks for |
//! | `unit`, `log`, `wheel`, `check` | the files |
//! | `counts` | how many wait, by topic |
//! | `recall` | tickets to take a message back |

mod check;
mod counts;
mod log;
pub(crate) mod recall;
mod unit;
mod wheel;
mod wish;

#[cfg(test)]
mod files_test;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use rmq_message::record::RecordView;
use rmq_message::{
    CompactString, PhysicalOffset, QueueOffset, Timestamp, java, name, properties, property,
};
use rmq_runtime::{Clock, ClockExt, Disk, OpenMode, Stop, Tasks};
use rmq_store::{MessageStore, QueueKey, ReadError, ReadRequest, ReadStatus, StoreAdmin};
use tokio::sync::Notify;

pub(crate) use wish::{TICK_MS, Wish};

use crate::cold::ColdReads;
use crate::config::BrokerConfig;
use crate::delay::{Release, tags_code};
use check::Check;
use counts::{Counts, Tally};
use log::TimerLog;
use unit::Unit;
use wheel::Wheel;
use wish::tick_of;

/// Messages that are entered, or delivered, before the store is waited for.
const BATCH: usize = 512;
/// Between notes of how far it is.
const NOTE_PERIOD: Duration = Duration::from_secs(1);
/// Longest wait without a look at the clock, which may step.
const LOOK: Duration = Duration::from_secs(1);
/// Wait for the next arrival, which is only a hint.
const IDLE: Duration = Duration::from_secs(5);
/// Wait after a failure; doubled with each one that follows.
const RETRY: Duration = Duration::from_millis(100);
/// Longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// `TIMER_ENQUEUE_MS` of a message that was never entered.
const NEVER_ENTERED: i64 = i64::MAX;

/// Settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Whether messages are timed (`timerWheelEnable`).
    pub(crate) enabled: bool,
    /// Whether timed messages may be taken back (`recallMessageEnable`).
    pub(crate) recall: bool,
    /// Longest delay, ms (`timerMaxDelaySec`).
    pub(crate) delay_ms_max: i64,
    /// A message waits at most so many ms in one tick, and then goes round
    /// (`timerRollWindowSlot`).
    roll_ms: i64,
    /// Bytes of a file of the timer log (`mappedFileSizeTimerLog`).
    file_len: u64,
}

impl Timing {
    pub(crate) fn of(config: &BrokerConfig) -> Self {
        let ms = |seconds: u32| i64::from(seconds) * 1000;
        Self {
            enabled: config.timer_wheel_enable,
            recall: config.recall_message_enable,
            delay_ms_max: ms(config.timer_max_delay_sec),
            roll_ms: ms(config.timer_roll_window_slot),
            file_len: config.mapped_file_size_timer_log,
        }
    }
}

/// What the timers work with.
pub(crate) struct Tools {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) store_admin: Arc<dyn StoreAdmin>,
    pub(crate) release: Release,
    pub(crate) bell: Arc<Notify>,
}

/// The timers.
pub(crate) struct Timers {
    tools: Tools,
    rules: Timing,
    root: PathBuf,
    queue: QueueKey,
    log: TimerLog,
    wheel: Wheel,
    /// Next message to be entered.
    next: QueueOffset,
    /// Ticks before this one are over.
    read_to: i64,
    /// A tick that is being delivered, and how many of its entries are.
    begun: Option<(i64, usize)>,
    /// Something has changed since the last note.
    moved: bool,
    noted: Check,
    board: Arc<Board>,
}

/// What others may know of the timers.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// How far they were when they last wrote it down: the body of request 60.
    pub(crate) note: Mutex<Bytes>,
    /// How many messages wait (61).
    pub(crate) counts: Mutex<Counts>,
}

impl Timers {
    /// Reads how far an earlier life has come.
    pub(crate) fn open(root: PathBuf, rules: Timing, tools: Tools) -> io::Result<Self> {
        let found = Check::load(&*tools.disk, &root.join("config").join(check::FILE))?;
        let check = found.unwrap_or_default();
        let disk = Arc::clone(&tools.disk);
        let mut log = TimerLog::open(disk, root.join("timerlog"), rules.file_len)?;
        let mut wheel = Wheel::default();
        let (mut last, mut tally) = (None, Tally::default());
        log.walk(found.map_or(u64::MAX, |check| check.log_end), |at, unit| {
            last = Some(unit.message);
            if unit.tick >= check.read_to {
                wheel.put(at, &unit);
                tally.put(&unit);
            }
        })?;
        wheel.written();
        let topic = |at| topic_of(&*tools.store, at);
        let counts = Counts::open(&*tools.disk, &root.join("config"), tally, topic);
        let note = Bytes::copy_from_slice(&check.encode());
        let board = Board { note: Mutex::new(note), counts: Mutex::new(counts) };
        // The log may know of more than the check.
        let entered = last.and_then(|at| offset_of(&*tools.store, at)).map_or(0, |at| at.0 + 1);
        Ok(Self {
            rules,
            root,
            queue: QueueKey::new(name::TIMER_TOPIC, 0),
            log,
            wheel,
            next: QueueOffset(check.queue_next.max(entered)),
            read_to: check.read_to,
            begun: None,
            moved: false,
            noted: check,
            board: Arc::new(board),
            tools,
        })
    }

    /// Where others look.
    pub(crate) fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Works until it is time to stop.
    pub(crate) async fn run(mut self, stop: Stop) {
        let mut retry = RETRY;
        let mut note_at = self.tools.clock.monotonic();
        loop {
            let wait = match self.turn().await {
                Ok(wait) => {
                    retry = RETRY;
                    wait
                }
                Err(why) => {
                    tracing::warn!(why, "timed messages wait for another try");
                    let wait = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    wait
                }
            };
            let now = self.tools.clock.monotonic();
            if now >= note_at {
                note_at = now + NOTE_PERIOD;
                self.note().await;
            }
            let wait = if self.moved { wait.min(LOOK) } else { wait };
            let (bell, clock) = (Arc::clone(&self.tools.bell), Arc::clone(&self.tools.clock));
            tokio::select! {
                biased;
                () = stop.requested() => break,
                () = bell.notified() => {}
                () = clock.sleep(wait) => {}
            }
        }
        self.note().await;
    }

    /// Enters what has come and delivers what is due; how long nothing will be.
    async fn turn(&mut self) -> Result<Duration, String> {
        while self.enter().await? {}
        let now = tick_of(self.now());
        while let Some(tick) = self.wheel.first().filter(|tick| *tick < now) {
            self.deliver(tick).await?;
        }
        // Also back, with the clock: what is over is no longer in the wheel.
        self.read_to = now;
        Ok(match self.wheel.first() {
            None => IDLE,
            Some(tick) => {
                let until = (tick + TICK_MS).saturating_sub(self.now().0);
                Duration::from_millis(u64::try_from(until).unwrap_or(0)).min(LOOK)
            }
        })
    }

    /// Enters one batch; whether there may be more.
    async fn enter(&mut self) -> Result<bool, String> {
        let range = self.tools.store.offsets(&self.queue);
        // Notes older or newer than the log count only inside it.
        let from = self.next.max(range.start).min(range.end);
        self.advance(from);
        if from >= range.end {
            return Ok(false);
        }
        let request =
            ReadRequest { queue: &self.queue, offset: from, count_max: BATCH, bytes_max: 4 << 20 };
        let outcome = self.tools.cold.read(&request).await.map_err(|error| error.to_string())?;
        match outcome.status {
            ReadStatus::Found => {}
            ReadStatus::MessageWasRemoving | ReadStatus::OffsetTooSmall
                if outcome.next_offset > from =>
            {
                self.advance(outcome.next_offset);
                return Ok(true);
            }
            status => return Err(format!("read ended with {status:?} at {from}")),
        }
        let mut staged = None;
        let mut failure = None;
        let mut next = from;
        'records: for mut slice in outcome.records {
            while !slice.is_empty() {
                let record = RecordView::parse(&slice).map_err(|error| error.to_string())?;
                match self.enter_one(&record) {
                    Ok(end) => staged = end.or(staged),
                    Err(why) => {
                        failure = Some(why);
                        break 'records;
                    }
                }
                next = record.queue_offset + 1;
                let len = record.total_len;
                slice.advance(len.min(slice.len()));
            }
        }
        self.settle(staged).await?;
        self.advance(next);
        failure.map_or(Ok(true), Err)
    }

    fn advance(&mut self, next: QueueOffset) {
        self.moved |= next != self.next;
        self.next = next;
    }

    fn now(&self) -> Timestamp {
        Timestamp::from(self.tools.clock.wall())
    }

    /// Enters a message into its tick, or delivers it when that is over; the end of what was staged.
    fn enter_one(&mut self, record: &RecordView<'_>) -> Result<Option<PhysicalOffset>, String> {
        let of = |name| properties::find(record.properties, name);
        let wished = of(property::TIMER_OUT_MS).and_then(|text| text.parse::<i64>().ok());
        let Some(wished) = wished else {
            tracing::warn!(offset = record.queue_offset.0, "a timed message without a time");
            return Ok(None);
        };
        let now = tick_of(self.now());
        let takes_back = of(property::TIMER_DEL_UNIQKEY).is_some();
        let wished = wished.div_euclid(TICK_MS) * TICK_MS;
        if wished < now {
            // What it would take back is delivered already.
            if takes_back {
                return Ok(None);
            }
            return self.release(record, NEVER_ENTERED);
        }
        let (rolls, tick) = self.tick_for(wished, now);
        let unit = Unit {
            before: self.wheel.last(tick),
            rolls,
            takes_back,
            entered: now,
            tick,
            message: record.physical_offset,
            len: i32::try_from(record.total_len).unwrap_or(i32::MAX),
            topic_hash: of(property::REAL_TOPIC).map_or(0, java::hash),
        };
        let at = self.log.append(&unit).map_err(|error| error.to_string())?;
        self.wheel.put(at, &unit);
        if let Some(topic) = of(property::REAL_TOPIC) {
            self.board.counts.lock().came(&unit, topic, self.now());
        }
        Ok(None)
    }

    /// The tick for a wished one: a stop on the way when that is too far off.
    fn tick_for(&self, wished: i64, now: i64) -> (bool, i64) {
        let window = self.rules.roll_ms;
        let delay = wished.saturating_sub(now);
        if delay < window {
            return (false, wished);
        }
        let stop = if delay - window < window / 3 { window / 2 } else { window };
        (true, now + stop / TICK_MS * TICK_MS)
    }

    /// Delivers all of a tick, and forgets it.
    async fn deliver(&mut self, tick: i64) -> Result<(), String> {
        let units = self.units(tick).await?;
        let mut taken_back = HashSet::new();
        let marks: Vec<_> = units.iter().filter(|unit| unit.takes_back).collect();
        for marks in marks.chunks(BATCH) {
            for slice in self.messages(marks).await?.into_iter().flatten() {
                let record = RecordView::parse(&slice).map_err(|error| error.to_string())?;
                taken_back.extend(record.property(property::TIMER_DEL_UNIQKEY).map(str::to_owned));
            }
        }
        let done = self.begun.filter(|(begun, _)| *begun == tick).map_or(0, |(_, done)| done);
        for (index, batch) in units.chunks(BATCH).enumerate().skip(done) {
            let mut staged = None;
            let batch: Vec<_> = batch.iter().filter(|unit| !unit.takes_back).collect();
            let messages = self.messages(&batch).await?;
            for (unit, slice) in batch.into_iter().zip(messages) {
                let Some(slice) = slice else { continue };
                let record = RecordView::parse(&slice).map_err(|error| error.to_string())?;
                if is_taken_back(&record, &taken_back) {
                    continue;
                }
                let end = if unit.rolls {
                    self.roll(&record)
                } else {
                    self.release(&record, unit.entered)
                };
                staged = end?.or(staged);
            }
            self.settle(staged).await?;
            self.begun = Some((tick, index + 1));
        }
        let now = self.now();
        let mut counts = self.board.counts.lock();
        units.iter().for_each(|unit| counts.done(unit, now));
        drop(counts);
        self.wheel.remove(tick);
        self.begun = None;
        self.moved = true;
        self.read_to = self.read_to.max(tick + TICK_MS);
        Ok(())
    }

    /// The entries of a tick, in the order in which they came.
    async fn units(&self, tick: i64) -> Result<Vec<Unit>, String> {
        let (log, last) = (self.log.view(), self.wheel.last(tick));
        let read = self.tools.cold.aside(move |_| log.tick(tick, last)).await;
        let units = read.map_err(|error| error.to_string())?;
        units.map_err(|error| error.to_string())
    }

    /// The messages of entries, except those that have expired.
    async fn messages(&self, units: &[&Unit]) -> Result<Vec<Option<Bytes>>, String> {
        let positions = units.iter().map(|unit| unit.message).collect();
        let found = self.tools.cold.messages_at(positions).await;
        let found = found.map_err(|error| error.to_string())?.into_iter();
        found
            .map(|message| match message {
                Ok(slice) => Ok(Some(slice)),
                Err(ReadError::NotFound { at }) => {
                    tracing::error!(offset = at.0, "a timed message is gone before its time");
                    Ok(None)
                }
                Err(error) => Err(error.to_string()),
            })
            .collect()
    }

    /// Stages a message where it belongs.
    fn release(
        &self,
        record: &RecordView<'_>,
        entered: i64,
    ) -> Result<Option<PhysicalOffset>, String> {
        let now = self.now().0;
        let added = [(property::TIMER_ENQUEUE_MS, entered), (property::TIMER_DEQUEUE_MS, now)];
        let text = with(record.properties, &added);
        self.tools.release.stage(record, &text).map_err(|error| error.to_string())
    }

    /// Stages a message among the timed ones anew.
    fn roll(&self, record: &RecordView<'_>) -> Result<Option<PhysicalOffset>, String> {
        let rolled = record.property(property::TIMER_ROLL_TIMES);
        let times = rolled.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0).saturating_add(1);
        let text = with(record.properties, &[(property::TIMER_ROLL_TIMES, times)]);
        let staged = self.tools.release.stage_in(&self.queue, tags_code(record), record, &text);
        staged.map_err(|error| error.to_string())
    }

    async fn settle(&self, staged: Option<PhysicalOffset>) -> Result<(), String> {
        let Some(end) = staged else { return Ok(()) };
        self.tools.release.appender.settled(end).await.map_err(|error| error.to_string())
    }

    /// Writes down how far it is, if it has moved.
    async fn note(&mut self) {
        if !self.moved {
            return;
        }
        let check = Check {
            read_to: self.read_to,
            log_end: self.log.end(),
            queue_next: self.next.0,
            made: self.now().0,
            count: self.noted.count.wrapping_add(1),
        };
        if let Err(error) = self.log.expire(self.tools.store_admin.status().min_physical) {
            tracing::warn!(%error, "old files of the timer log are not removed");
        }
        let (files, made_in) = self.log.unsynced();
        let slots = self.wheel.unwritten();
        let metrics = self.board.counts.lock().metrics();
        let (disk, root) = (Arc::clone(&self.tools.disk), self.root.clone());
        let write = move || -> io::Result<()> {
            for file in files {
                file.sync()?;
            }
            if let Some(dir) = made_in {
                disk.sync_dir(&dir)?;
                disk.sync_dir(&root)?;
            }
            write_slots(&*disk, &root, &slots)?;
            counts::save(&*disk, &root.join("config"), &metrics)?;
            check.save(&*disk, &root.join("config"))
        };
        match self.tools.tasks.blocking(write).await {
            Some(Ok(())) => {
                self.log.synced();
                self.wheel.written();
                *self.board.note.lock() = Bytes::copy_from_slice(&check.encode());
                self.noted = check;
                self.moved = false;
            }
            Some(Err(error)) => tracing::warn!(%error, "the timers cannot note how far they are"),
            None => tracing::warn!("the timers cannot note how far they are"),
        }
    }
}

fn write_slots(
    disk: &dyn Disk,
    root: &std::path::Path,
    slots: &[(u64, [u8; 32])],
) -> io::Result<()> {
    if slots.is_empty() {
        return Ok(());
    }
    let path = root.join("timerwheel");
    let is_there = disk.exists(&path);
    let mode =
        if is_there { OpenMode::Write } else { OpenMode::CreateSparse { len: wheel::FILE_LEN } };
    let file = disk.open(&path, mode)?;
    if file.len() != wheel::FILE_LEN {
        file.set_len(wheel::FILE_LEN)?;
    }
    for (at, slot) in slots {
        file.write_at(*at, slot)?;
    }
    file.sync()?;
    if is_there { Ok(()) } else { disk.sync_dir(root) }
}

/// The queue offset of a message of the timers' queue.
fn offset_of(store: &dyn MessageStore, at: PhysicalOffset) -> Option<QueueOffset> {
    let slice = store.message_at(at).ok()?;
    let record = RecordView::parse(&slice).ok()?;
    (record.topic == name::TIMER_TOPIC).then_some(record.queue_offset)
}

/// The topic that a timed message is meant for.
fn topic_of(store: &dyn MessageStore, at: PhysicalOffset) -> Option<CompactString> {
    let slice = store.message_at(at).ok()?;
    let record = RecordView::parse(&slice).ok()?;
    record.property(property::REAL_TOPIC).map(CompactString::new)
}

/// Whether one of the marks is meant for the message. Before 5.4 they carried the topic as well.
fn is_taken_back(record: &RecordView<'_>, taken_back: &HashSet<String>) -> bool {
    let Some(id) = record.property(property::UNIQ_KEY).filter(|_| !taken_back.is_empty()) else {
        return false;
    };
    let topic = record.property(property::REAL_TOPIC).unwrap_or_default();
    taken_back.contains(id) || taken_back.contains(&format!("{topic}+{id}"))
}

/// The properties with some set to numbers.
fn with(properties: &[u8], added: &[(&str, i64)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(properties.len() + 48 * added.len());
    for segment in properties.split(|byte| *byte == property::PROPERTY_SEPARATOR) {
        let name = segment.split(|byte| *byte == property::NAME_VALUE_SEPARATOR).next();
        let is_replaced = added.iter().any(|(added, _)| name == Some(added.as_bytes()));
        if !segment.is_empty() && !is_replaced {
            out.extend_from_slice(segment);
            out.push(property::PROPERTY_SEPARATOR);
        }
    }
    for (name, value) in added {
        out.extend_from_slice(name.as_bytes());
        out.push(property::NAME_VALUE_SEPARATOR);
        out.extend_from_slice(value.to_string().as_bytes());
        out.push(property::PROPERTY_SEPARATOR);
    }
    out
}
