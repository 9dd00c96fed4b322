//! A half message: a record whose properties say where it belongs, whose it is, and how often its
//! producer has been asked.

use bytes::{Buf, Bytes};
use rmq_message::record::{NewRecord, RecordView};
use rmq_message::{
    CompactString, QueueOffset, Timestamp, java, name, properties, property,
    property::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR},
};
use rmq_store::{AdmitAll, MessageStore, QueueKey, ReadError, ReadRequest, ReadStatus};

use super::half_queue;

/// Records and bytes that are read at once.
pub(super) const BATCH: usize = 32;
const BATCH_BYTES: usize = 4 << 20;
const MILLIS: i64 = 1_000;

/// A half message as it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Half<'a>(RecordView<'a>);

impl<'a> Half<'a> {
    /// The record, if it is one.
    pub(crate) fn of(record: RecordView<'a>) -> Option<Self> {
        (record.topic == name::HALF_TOPIC).then_some(Self(record))
    }

    pub(crate) fn record(&self) -> &RecordView<'a> {
        &self.0
    }

    /// Its position among the half messages.
    pub(crate) fn offset(&self) -> i64 {
        self.0.queue_offset.0
    }

    /// The position of the first one, of which this is a copy.
    pub(crate) fn origin(&self) -> i64 {
        let of = self.0.property(property::TRANSACTION_PREPARED_QUEUE_OFFSET);
        of.and_then(|text| text.parse().ok())
            .filter(|origin| (0..self.offset()).contains(origin))
            .unwrap_or(self.offset())
    }

    /// Group of its producer.
    pub(crate) fn group(&self) -> Option<&'a str> {
        self.0.property(property::PRODUCER_GROUP)
    }

    /// How often its producer has been asked.
    pub(crate) fn checks(&self) -> u32 {
        let times = self.0.property(property::TRANSACTION_CHECK_TIMES);
        times.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// For how long after its birth nobody is asked, if it says so itself.
    pub(crate) fn immunity_ms(&self, otherwise: i64) -> Option<i64> {
        let text = self.0.property(property::CHECK_IMMUNITY_TIME_IN_SECONDS)?;
        Some(immunity_ms(text, otherwise))
    }

    /// Where it goes when it is committed.
    pub(crate) fn target(&self) -> Option<QueueKey> {
        let topic = self.0.property(property::REAL_TOPIC)?;
        let queue_id = self.0.property(property::REAL_QUEUE_ID)?.parse().ok()?;
        Some(QueueKey { topic: CompactString::new(topic), queue_id })
    }

    /// The queue entry's part of its tag.
    pub(crate) fn tags_code(&self) -> i64 {
        tags_code(&self.0)
    }

    /// The properties of a copy that takes its place; `checks` when its producer is asked.
    pub(super) fn copied_properties(&self, checks: Option<u32>) -> Vec<u8> {
        let (origin, checks) = (self.origin().to_string(), checks.map(|checks| checks.to_string()));
        let mut edits = vec![(property::TRANSACTION_PREPARED_QUEUE_OFFSET, origin.as_str())];
        edits.extend(checks.as_deref().map(|checks| (property::TRANSACTION_CHECK_TIMES, checks)));
        let dropped: Vec<&str> = edits.iter().map(|(name, _)| *name).collect();
        let mut text = without(self.0.properties, &dropped);
        for (name, value) in edits {
            text.extend_from_slice(name.as_bytes());
            text.push(NAME_VALUE_SEPARATOR);
            text.extend_from_slice(value.as_bytes());
            text.push(PROPERTY_SEPARATOR);
        }
        text
    }

    /// The properties of the message that it becomes.
    pub(crate) fn committed_properties(&self) -> Vec<u8> {
        without(self.0.properties, &[property::REAL_TOPIC, property::REAL_QUEUE_ID])
    }

    /// The record with other properties, to be appended.
    pub(crate) fn with_properties<'b>(&'b self, properties: &'b [u8]) -> NewRecord<'b> {
        NewRecord { properties, ..self.0.to_new(self.tags_code()) }
    }
}

/// The queue entry's part of a record's tag.
pub(crate) fn tags_code(record: &RecordView<'_>) -> i64 {
    record.property(property::TAGS).map_or(0, |tag| java::hash(tag).into())
}

/// A time in seconds as a property tells it; the usual one when it tells none.
fn immunity_ms(text: &str, otherwise: i64) -> i64 {
    let seconds: Option<i64> = text.trim().parse().ok().filter(|seconds| *seconds >= 0);
    seconds.map_or(otherwise, |seconds| seconds.saturating_mul(MILLIS))
}

/// The properties of a new half message for a transaction that was given up: nobody has been asked
/// about it yet. None when the record is no such message.
pub(crate) fn resumed_properties(given_up: &RecordView<'_>) -> Option<Vec<u8>> {
    if given_up.topic != name::TRANS_CHECK_MAX_TIME_TOPIC {
        return None;
    }
    given_up.property(property::REAL_TOPIC)?;
    let forgotten =
        [property::TRANSACTION_PREPARED_QUEUE_OFFSET, property::TRANSACTION_CHECK_TIMES];
    let mut text = without(given_up.properties, &forgotten);
    text.extend_from_slice(property::TRANSACTION_CHECK_TIMES.as_bytes());
    text.push(NAME_VALUE_SEPARATOR);
    text.push(b'0');
    text.push(PROPERTY_SEPARATOR);
    Some(text)
}

fn without(text: &[u8], names: &[&str]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len() + 64);
    for (name, value) in properties::pairs(text) {
        if !names.iter().any(|dropped| dropped.as_bytes() == name) {
            kept.extend_from_slice(name);
            kept.push(NAME_VALUE_SEPARATOR);
            kept.extend_from_slice(value);
            kept.push(PROPERTY_SEPARATOR);
        }
    }
    kept
}

/// Slices with the records of a queue from an offset on, and where to go on; nothing at its end.
pub(super) fn read(
    store: &dyn MessageStore,
    queue: &QueueKey,
    from: i64,
) -> Result<(Vec<Bytes>, i64), ReadError> {
    let offset = QueueOffset(from);
    let request = ReadRequest { queue, offset, count_max: BATCH, bytes_max: BATCH_BYTES };
    let outcome = store.read(&request, &AdmitAll)?;
    Ok(match outcome.status {
        ReadStatus::Found => (outcome.records, outcome.next_offset.0),
        ReadStatus::MessageWasRemoving
        | ReadStatus::OffsetTooSmall
        | ReadStatus::OffsetFoundNull => (Vec::new(), outcome.next_offset.0.max(from)),
        _ => (Vec::new(), from),
    })
}

/// The records of slices, until one says stop.
pub(super) fn records(slices: Vec<Bytes>, mut visit: impl FnMut(RecordView<'_>) -> bool) {
    for mut slice in slices {
        while let Ok(record) = RecordView::parse(&slice) {
            let len = record.total_len;
            if !visit(record) {
                return;
            }
            slice.advance(len.min(slice.len()));
        }
    }
}

/// All half messages from an offset on.
pub(super) fn walk(
    store: &dyn MessageStore,
    from: i64,
    mut visit: impl FnMut(Half<'_>),
) -> Result<(), ReadError> {
    let mut at = from;
    loop {
        let (slices, next) = read(store, &half_queue(), at)?;
        if next <= at {
            return Ok(());
        }
        at = next;
        records(slices, |record| {
            Half::of(record).into_iter().for_each(&mut visit);
            true
        });
    }
}

/// Milliseconds since the message was made.
pub(super) fn age_ms(half: &Half<'_>, now: Timestamp) -> i64 {
    now - half.record().born_timestamp
}
