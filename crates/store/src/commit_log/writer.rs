//! Staging: one lock, a few hundred nanoseconds. Gives a record its offsets and its store time,
//! encodes it, and puts its entry into its queue's RAM.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rmq_message::record::{self, BLANK_LEN, NewRecord, Placement};
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp, sys_flag};
use smallvec::SmallVec;

use super::{CommitLog, checksum};
use crate::api::{AppendError, AppendReceipt, QueueKey};
use crate::config::FlushDiskType;
use crate::consume_queue::{Queue, QueueState, Unit};
use crate::segmented_log::Segment;
use rmq_runtime::canary;

/// Staged bytes above which appends are refused until the disk has taken some.
const STAGED_MAX: usize = 64 << 20;
/// Staged bytes above which an append writes them itself (`ASYNC_FLUSH`).
const STAGED_SOFT: usize = 4 << 20;

/// A stretch of staged bytes that goes to one place.
pub(super) struct Piece {
    pub(super) segment: Arc<Segment>,
    /// Position in the file.
    pub(super) at: u64,
    /// Where it ends in the staged bytes.
    pub(super) to: usize,
}

/// Bytes on their way to the disk, with the queues that become longer by them.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) bytes: Vec<u8>,
    pub(super) pieces: Vec<Piece>,
    pub(super) touched: Touched,
    pub(super) last_timestamp: Timestamp,
}

/// Queues and the ends they will have.
pub(crate) type Touched = Vec<(Arc<Queue>, u64)>;

pub(super) struct Writer {
    pub(super) staged: Staged,
    /// Counts the lists of touched queues.
    pub(super) generation: u64,
    segment: Arc<Segment>,
    /// Position in the segment of the next byte.
    position: u64,
    /// Position in the segment of the first staged byte that belongs to no piece yet.
    piece_at: u64,
}

impl Writer {
    pub(super) fn new(segment: Arc<Segment>, end: u64) -> Self {
        let position = end.saturating_sub(segment.start);
        Self { staged: Staged::default(), generation: 1, segment, position, piece_at: position }
    }

    pub(super) fn end(&self) -> u64 {
        self.segment.start + self.position
    }

    /// Makes a piece of the staged bytes since the last one.
    pub(super) fn finish_piece(&mut self) {
        let to = self.staged.bytes.len();
        if self.staged.pieces.last().map_or(0, |last| last.to) < to {
            let segment = Arc::clone(&self.segment);
            self.staged.pieces.push(Piece { segment, at: self.piece_at, to });
        }
        self.piece_at = self.position;
    }

    fn touch(&mut self, queue: &Arc<Queue>, touched: &mut (u64, usize), end: u64) {
        let list = &mut self.staged.touched;
        if touched.0 == self.generation
            && let Some(entry) = list.get_mut(touched.1)
        {
            entry.1 = end;
            return;
        }
        *touched = (self.generation, list.len());
        list.push((Arc::clone(queue), end));
    }
}

/// Records for a queue, and what is known of them before the lock is taken.
struct Measured<'a> {
    key: &'a QueueKey,
    records: &'a [NewRecord<'a>],
    /// Length of each, and checksum of its body.
    sizes: SmallVec<[(usize, u32); 4]>,
    /// The properties of each with room for its checksum, if records get one.
    sealed: Vec<checksum::Text>,
    total: usize,
}

impl CommitLog {
    /// See [`MessageStore::append`](crate::MessageStore::append).
    pub(crate) fn append(
        &self,
        key: &QueueKey,
        records: &[NewRecord<'_>],
    ) -> Result<AppendReceipt, AppendError> {
        self.gate.check()?;
        let (receipt, write_now) = self.queues.with(key, |queue| {
            queue.approach();
            let measured = self.measure(key, records)?;
            self.stage(queue, &measured)
        })??;
        if write_now {
            // Not yet visible: whoever settles tells the readers.
            self.write_ahead()?;
        }
        Ok(receipt)
    }

    fn measure<'a>(
        &self,
        key: &'a QueueKey,
        records: &'a [NewRecord<'a>],
    ) -> Result<Measured<'a>, AppendError> {
        let (sizes, sealed) = (SmallVec::new(), Vec::new());
        let mut measured = Measured { key, records, sizes, sealed, total: 0 };
        for record in records {
            if record.body.len() > self.limits.body {
                let (len, max) = (record.body.len(), self.limits.body);
                return Err(AppendError::TooLarge { len, max });
            }
            if memchr::memchr(0, record.properties).is_some() {
                return Err(AppendError::ZeroByte);
            }
            if self.seals {
                measured.sealed.push(checksum::with_room(record.properties));
            }
            let properties = measured.sealed.last().map_or(record.properties, |text| text);
            let len = NewRecord { topic: &key.topic, properties, ..*record }.encoded_len()?;
            if len > self.limits.record {
                return Err(AppendError::TooLarge { len, max: self.limits.record });
            }
            measured.total = measured.total.saturating_add(len);
            measured.sizes.push((len, record::crc(record.body)));
        }
        let max = usize::try_from(self.segments.segment_len()).unwrap_or(usize::MAX) - BLANK_LEN;
        match measured.total {
            0 => Err(AppendError::Empty),
            len if len > max => Err(AppendError::TooLarge { len, max }),
            _ => Ok(measured),
        }
    }

    /// Also tells whether what is staged is so much that it should be written now.
    fn stage(
        &self,
        queue: &Arc<Queue>,
        measured: &Measured<'_>,
    ) -> Result<(AppendReceipt, bool), AppendError> {
        let mut guard = self.writer.lock();
        let _unwound = self.fails_if_unwound();
        let mut state = queue.state();
        let writer = &mut *guard;
        // Again under the lock: after a stop or a failure nothing more is staged.
        self.gate.check()?;
        let (staged, total) = (writer.staged.bytes.len(), measured.total);
        if staged.saturating_add(total) > STAGED_MAX {
            return Err(AppendError::Busy { staged });
        }
        if writer.position + (total + BLANK_LEN) as u64 > writer.segment.len {
            if canary("RS-09 a roll takes a queue offset") {
                state.end += 1;
            }
            self.roll(writer)?;
        }
        state.approach();
        let store_timestamp = Timestamp::from(self.clock.wall());
        let first = writer.end();
        let queue_offset = state.end;
        let following = self.place(writer, &mut state, queue, measured, store_timestamp);
        let queued = state.end > queue_offset;
        if queued {
            let (mut touched, end) = (state.touched, state.end);
            writer.touch(queue, &mut touched, end);
            state.touched = touched;
        }
        drop(state);
        writer.staged.last_timestamp = store_timestamp;
        let end = writer.end();
        self.staged_end.store(end, Ordering::Release);
        let write_now =
            writer.staged.bytes.len() > STAGED_SOFT && self.mode == FlushDiskType::Async;
        let receipt = AppendReceipt {
            queue_offset: QueueOffset(if queued { signed(queue_offset) } else { 0 }),
            physical_offset: PhysicalOffset(first),
            following,
            end: PhysicalOffset(end),
            store_timestamp,
        };
        Ok((receipt, write_now))
    }

    /// Encodes records and adds their entries to the queue. Tells where those after the first begin.
    fn place(
        &self,
        writer: &mut Writer,
        state: &mut QueueState,
        queue: &Queue,
        measured: &Measured<'_>,
        store_timestamp: Timestamp,
    ) -> Vec<PhysicalOffset> {
        let mut following = Vec::new();
        writer.staged.bytes.reserve(measured.total);
        // The key that was asked for is at hand, that of the queue may be far away.
        let Measured { key, records, sizes, .. } = measured;
        for (index, (record, (len, crc))) in records.iter().zip(sizes).enumerate() {
            let at = writer.end();
            if index > 0 {
                following.push(PhysicalOffset(at));
            }
            // Half and rolled-back messages are found by other ways than their queue.
            let queued = is_queued(record.sys_flag);
            let place = Placement {
                queue_offset: QueueOffset(if queued { signed(state.end) } else { 0 }),
                physical_offset: PhysicalOffset(at),
                store_timestamp,
            };
            let record = NewRecord {
                topic: &key.topic,
                queue_id: key.queue_id,
                properties: measured.sealed.get(index).map_or(record.properties, |text| text),
                ..*record
            };
            let bytes = &mut writer.staged.bytes;
            let start = bytes.len();
            record.encode(bytes, *len, *crc, place);
            if self.seals {
                checksum::seal(bytes.get_mut(start..).unwrap_or_default());
            }
            writer.position += *len as u64;
            if queued {
                let due = || self.delays.delivery_time(record.properties, store_timestamp);
                let tags_code = if queue.holds_times { due() } else { None };
                let tags_code = tags_code.unwrap_or(record.tags_code);
                let size = u32::try_from(*len).unwrap_or(u32::MAX);
                state.push(Unit { physical: at, size, tags_code });
            }
        }
        following
    }

    /// Ends the current file and goes on in the next. Changes nothing when there is no next.
    fn roll(&self, writer: &mut Writer) -> Result<(), AppendError> {
        let next = self.segments.roll().map_err(|error| {
            tracing::error!(%error, "no next file for the commit log");
            if error.kind() == std::io::ErrorKind::StorageFull {
                AppendError::Full { path: self.segments.dir().to_owned() }
            } else {
                AppendError::ReadOnly { reason: error.to_string().into() }
            }
        })?;
        let remaining = writer.segment.len.saturating_sub(writer.position);
        if let Ok(remaining) = u32::try_from(remaining)
            && remaining as usize >= BLANK_LEN
        {
            record::encode_blank(&mut writer.staged.bytes, remaining);
        }
        writer.finish_piece();
        writer.segment = next;
        writer.position = 0;
        writer.piece_at = 0;
        Ok(())
    }
}

/// Whether a record of those flags has an entry in its queue.
pub(crate) fn is_queued(flags: i32) -> bool {
    matches!(sys_flag::transaction(flags), 0 | sys_flag::TRANSACTION_COMMIT)
}

/// A number of a queue as files and the wire hold it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
