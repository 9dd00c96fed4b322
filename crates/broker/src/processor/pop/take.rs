//! Takes messages from one queue for a pop.

use bytes::{Buf, Bytes};
use rmq_message::record::{self, NewRecord, Placement, RecordView};
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp, property};
use rmq_remoting::protocol::pop::PopMessage;
use rmq_store::{
    AdmitAll, MessageFilter, QueueKey, ReadError, ReadOutcome, ReadRequest, ReadStatus,
};

use super::batch::{Batch, Found, Wanted};
use super::{Admitted, PopRequests};
use crate::offset_table::{Backward, Place};
use crate::pop::check_point::CheckPoint;
use crate::pop::cursor::Turn;
use crate::pop::order::Taken;
use crate::pop::receipt::Kind;
use crate::stats::Got;

/// Most bytes that are taken from one queue.
const BYTES_MAX: usize = 4 << 20;
/// Where a new group begins: at the beginning.
const FROM_MIN: i32 = 0;

impl Wanted {
    pub(super) fn request(&self) -> ReadRequest<'_> {
        let Self { queue, count_max, .. } = self;
        let offset = QueueOffset(self.from);
        ReadRequest { queue, offset, count_max: *count_max, bytes_max: BYTES_MAX }
    }
}

impl PopRequests {
    /// Takes what there is room for. A queue that cannot be read gives nothing.
    pub(super) fn take(
        &self,
        admitted: &Admitted,
        header: &PopMessage,
        queue: &QueueKey,
        batch: &mut Batch,
    ) {
        let place =
            Place { group: &header.consumer_group, topic: &queue.topic, queue_id: queue.queue_id };
        self.cursors.at(place, |mut turn| {
            let Some(from) = self.start(place, header.init_mode, &mut turn, batch) else { return };
            let ordered = header.order == Some(true);
            if ordered {
                let attempt = header.attempt_id.as_deref();
                if let Some(until) = self.orders.blocked_until(place, attempt, batch.pop_time()) {
                    return batch.blocked(until);
                }
            }
            if batch.room() == 0 {
                return batch.leave(self.store.offsets(queue).end.0.saturating_sub(from));
            }
            let Some((from, outcome)) = self.look(admitted, queue, place, from, batch) else {
                return;
            };
            batch.leave(outcome.max_offset - outcome.next_offset);
            let now = Timestamp(batch.pop_time());
            if outcome.status == ReadStatus::Found {
                if ordered {
                    self.give_in_order(header, (place, from), outcome, batch);
                } else {
                    self.reserve(header, (place, from), outcome, &mut turn, batch);
                }
            } else if outcome.next_offset.0 > from {
                // Nobody of this group wants what lies between.
                batch.pass();
                turn.pass(outcome.next_offset.0, now);
            }
        });
    }

    /// Where the group goes on in the queue; `None` when that cannot be told without the disk.
    fn start(
        &self,
        place: Place<'_>,
        init_mode: i32,
        turn: &mut Turn<'_>,
        batch: &mut Batch,
    ) -> Option<i64> {
        let now = Timestamp::from(self.clock.wall());
        if let Some(reset) = self.offsets.take_reset(place) {
            turn.restart();
            self.orders.clear(place);
            return Some(reset);
        }
        if let Some(committed) = self.offsets.committed(place) {
            return Some(turn.ahead().map_or(committed, |ahead| ahead.max(committed)));
        }
        let start = self.first(place, init_mode, batch)?;
        turn.restart();
        self.offsets.commit(place, start, Backward::Ignored, now);
        Some(start)
    }

    /// Where a new group begins.
    fn first(&self, place: Place<'_>, init_mode: i32, batch: &mut Batch) -> Option<i64> {
        let queue = QueueKey::new(place.topic, place.queue_id);
        let range = self.store.offsets(&queue);
        if init_mode == FROM_MIN || Kind::of(place.topic) != Kind::Normal {
            return Some(range.start.0);
        }
        if range.start <= QueueOffset::ZERO {
            let first = Wanted { queue, from: 0, count_max: 1, filtered: false };
            match self.read(&first, &AdmitAll, batch) {
                Ok(outcome) => {
                    if outcome.status == ReadStatus::Found && !outcome.suggest_replica {
                        return Some(0);
                    }
                }
                Err(ReadError::Cold) => {
                    batch.cold(first);
                    return None;
                }
                // What cannot be read is old.
                Err(_) => {}
            }
        }
        Some(range.end.0.saturating_sub(1).max(0))
    }

    /// Reads what is in memory, or was read ahead.
    fn read(
        &self,
        wanted: &Wanted,
        filter: &dyn MessageFilter,
        batch: &mut Batch,
    ) -> Result<ReadOutcome, ReadError> {
        match batch.seen(wanted) {
            Some(outcome) => Ok(outcome),
            None => self.store.read_cached(&wanted.request(), filter),
        }
    }

    /// Looks at the queue; once more from where it really is, if the group stands outside of it.
    fn look(
        &self,
        admitted: &Admitted,
        queue: &QueueKey,
        place: Place<'_>,
        from: i64,
        batch: &mut Batch,
    ) -> Option<(i64, ReadOutcome)> {
        let mut read = |from| {
            let (queue, count_max) = (queue.clone(), batch.room());
            let wanted = Wanted { queue, from, count_max, filtered: true };
            match self.read(&wanted, &admitted.filter, batch) {
                Ok(outcome) => Some(outcome),
                Err(ReadError::Cold) => {
                    let end = self.store.offsets(&wanted.queue).end;
                    batch.leave(end.0.saturating_sub(from));
                    batch.cold(wanted);
                    None
                }
                Err(error) => {
                    tracing::warn!(queue = %wanted.queue, %error, "a queue cannot be popped");
                    None
                }
            }
        };
        let outcome = read(from)?;
        match outcome.status {
            ReadStatus::OffsetTooSmall
            | ReadStatus::OffsetOverflowBadly
            | ReadStatus::OffsetFoundNull => {
                let next = outcome.next_offset.0;
                tracing::info!(%queue, group = place.group, from, next, "a pop begins elsewhere");
                let now = Timestamp::from(self.clock.wall());
                self.offsets.commit(place, next, Backward::Allowed, now);
                Some((next, read(next)?))
            }
            _ => Some((from, outcome)),
        }
    }

    /// Hands messages out once they are noted as in flight. If they cannot be, they stay.
    fn reserve(
        &self,
        header: &PopMessage,
        (place, from): (Place<'_>, i64),
        outcome: ReadOutcome,
        turn: &mut Turn<'_>,
        batch: &mut Batch,
    ) {
        let offsets = offsets(&outcome.records);
        let receipt = batch.receipt(Kind::of(place.topic), from);
        let diffs = offsets.iter().map(|offset| i32::try_from(offset.saturating_sub(from)));
        let Ok(diffs) = diffs.collect::<Result<Vec<_>, _>>() else { return };
        let check_point = CheckPoint {
            broker: receipt.broker.clone(),
            group: header.consumer_group.clone(),
            count: i8::try_from(offsets.len()).unwrap_or(i8::MAX),
            diffs: Some(diffs),
            invisible: receipt.invisible,
            pop_time: receipt.pop_time,
            queue_id: place.queue_id,
            due: receipt.due(),
            start: from,
            topic: place.topic.into(),
            ..CheckPoint::default()
        };
        match self.log.check_point(batch.revive_queue(), &check_point) {
            Ok(staged) => batch.reserve(staged.end, turn.take(outcome.next_offset.0)),
            Err(error) => {
                tracing::warn!(%error, group = place.group, "messages cannot be popped");
                return batch.leave(i64::try_from(offsets.len()).unwrap_or(0));
            }
        }
        let found =
            Found { kind: receipt.kind, queue_id: place.queue_id, start: from, offsets: &offsets };
        let records = match receipt.kind {
            Kind::Normal => outcome.records,
            _ => {
                let text = |offset| receipt.render(place.queue_id, offset);
                outcome.records.iter().map(|slice| disguise(slice, &header.topic, text)).collect()
            }
        };
        self.count(place, (outcome.count, outcome.bytes));
        batch.add(found, records);
    }

    /// Hands messages out that block their queue until they are acknowledged.
    fn give_in_order(
        &self,
        header: &PopMessage,
        (place, start): (Place<'_>, i64),
        outcome: ReadOutcome,
        batch: &mut Batch,
    ) {
        let offsets = offsets(&outcome.records);
        let taken = Taken {
            attempt: header.attempt_id.as_deref(),
            pop_time: batch.pop_time(),
            invisible: header.invisible_time,
            offsets: &offsets,
        };
        let counts = self.orders.take(place, taken, Timestamp(batch.pop_time()));
        let found =
            Found { kind: Kind::Normal, queue_id: place.queue_id, start, offsets: &offsets };
        batch.count(found, &counts);
        self.count(place, (outcome.count, outcome.bytes));
        batch.add(found, outcome.records);
    }

    /// Messages and their bytes have been handed out.
    fn count(&self, place: Place<'_>, (count, bytes): (usize, usize)) {
        let Place { topic, group, queue_id } = place;
        self.stats.got(&Got { topic, group, queue_id, count, bytes, took: None });
    }
}

/// Queue offsets of records that lie back to back.
fn offsets(slices: &[Bytes]) -> Vec<i64> {
    let records = slices.iter().flat_map(|slice| record::walk(slice));
    records.filter_map(|record| Some(record.ok()?.queue_offset.0)).collect()
}

/// Messages of a retry topic as those of the topic itself, with their receipts.
fn disguise(slice: &Bytes, topic: &str, receipt: impl Fn(i64) -> String) -> Bytes {
    let mut out = Vec::with_capacity(slice.len() + 128);
    let mut rest = slice.clone();
    while let Ok(message) = RecordView::parse(&rest) {
        let len = message.total_len;
        let mut properties = message.properties.to_vec();
        if message.property(property::POP_CK).is_none() {
            if properties.last().is_some_and(|last| *last != property::PROPERTY_SEPARATOR) {
                properties.push(property::PROPERTY_SEPARATOR);
            }
            properties.extend_from_slice(property::POP_CK.as_bytes());
            properties.push(property::NAME_VALUE_SEPARATOR);
            properties.extend_from_slice(receipt(message.queue_offset.0).as_bytes());
            properties.push(property::PROPERTY_SEPARATOR);
        }
        let shown = NewRecord { topic, properties: &properties, ..message.to_new(0) };
        match shown.encoded_len() {
            Ok(len) => shown.encode(&mut out, len, message.body_crc, placement(&message)),
            // With its true topic the client makes the receipt by itself.
            Err(_) => out.extend_from_slice(rest.get(..len).unwrap_or_default()),
        }
        rest.advance(len.min(rest.len()));
    }
    Bytes::from(out)
}

fn placement(message: &RecordView<'_>) -> Placement {
    Placement {
        queue_offset: message.queue_offset,
        physical_offset: PhysicalOffset(message.physical_offset.0),
        store_timestamp: message.store_timestamp,
    }
}
