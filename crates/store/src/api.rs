//! The store as a broker sees it: traits and their values.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rmq_message::record::{EncodeError, NewRecord, RecordView};
use rmq_message::{CompactString, PhysicalOffset, QueueOffset, Timestamp};
use rmq_runtime::BoxFuture;
use thiserror::Error;

/// One queue of this store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueKey {
    /// Topic.
    pub topic: CompactString,
    /// Number of the queue, from 0.
    pub queue_id: i32,
}

impl QueueKey {
    /// A queue by its parts.
    pub fn new(topic: impl AsRef<str>, queue_id: i32) -> Self {
        Self { topic: CompactString::new(topic), queue_id }
    }
}

impl fmt::Display for QueueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.queue_id)
    }
}

/// The message store.
///
/// A record goes through three states: *staged* (it has its offsets and is in memory), *visible*
/// (readers see it) and *durable* (it survives power loss). With `ASYNC_FLUSH` [`settle`] makes
/// staged records visible; with `SYNC_FLUSH` a record is visible when it is durable. **Acknowledge
/// a record only after** `settle` returned **and** [`durable`] of its receipt's `end` is ready.
///
/// Calls are short: `append` never touches the disk in the ordinary case, `settle` does one write,
/// `read_cached` and `message_at` hand out slices of mapped files. `read`, `offset_at` and `query`
/// may read older parts of files.
///
/// [`settle`]: MessageStore::settle
/// [`durable`]: MessageStore::durable
#[doc(alias = "DefaultMessageStore")]
pub trait MessageStore: Send + Sync + 'static {
    /// Stages one message, or a batch that lies in one file at consecutive offsets of its queue.
    /// The queue is `queue`, whatever the records say. All or nothing: a refused append leaves
    /// every offset as it was. Half and rolled-back messages of transactions get queue offset 0
    /// and no entry in the queue.
    #[doc(alias = "putMessage")]
    fn append(
        &self,
        queue: &QueueKey,
        records: &[NewRecord<'_>],
    ) -> Result<AppendReceipt, AppendError>;

    /// `ASYNC_FLUSH`: hands all that is staged to the file, by whoever comes first, and makes it
    /// visible; when it returns, everything staged before the call survives the end of the
    /// process. `SYNC_FLUSH`: wakes the flusher and returns at once.
    fn settle(&self) -> Result<(), AppendError>;

    /// Ready when everything before `to` is as durable as the store is configured to make it: at
    /// once with `ASYNC_FLUSH`, after the sync of its group with `SYNC_FLUSH`. Cancel-safe.
    fn durable(&self, to: PhysicalOffset) -> BoxFuture<'static, Result<(), AppendError>>;

    /// Messages of a queue from an offset on. May wait for the disk; whoever then sends the records
    /// on does not.
    #[doc(alias = "getMessage")]
    fn read(
        &self,
        request: &ReadRequest<'_>,
        filter: &dyn MessageFilter,
    ) -> Result<ReadOutcome, ReadError>;

    /// Like [`read`](Self::read), but [`ReadError::Cold`] where the disk would have to be waited
    /// for. What has been stored since the start and fits the memory never is.
    fn read_cached(
        &self,
        request: &ReadRequest<'_>,
        filter: &dyn MessageFilter,
    ) -> Result<ReadOutcome, ReadError>;

    /// The offsets that can be read; `0..0` for a queue that has never been.
    fn offsets(&self, queue: &QueueKey) -> Range<QueueOffset>;

    /// The offset whose message was stored at that time, see [`Boundary`]; inside [`offsets`].
    ///
    /// [`offsets`]: MessageStore::offsets
    fn offset_at(
        &self,
        queue: &QueueKey,
        time: Timestamp,
        boundary: Boundary,
    ) -> Result<QueueOffset, ReadError>;

    /// The record that begins at exactly that position. May wait for the disk.
    fn message_at(&self, at: PhysicalOffset) -> Result<Bytes, ReadError>;

    /// Like [`message_at`](Self::message_at), but [`ReadError::Cold`] where the disk would have to
    /// be waited for.
    fn message_at_cached(&self, at: PhysicalOffset) -> Result<Bytes, ReadError>;

    /// Messages by key, those that were visible before the call included, unless the index has much
    /// to catch up with, as after an unclean end.
    fn query(&self, query: &KeyQuery<'_>) -> Result<QueryOutcome, ReadError>;

    /// Who is told of queues that have grown. At most one; a later one replaces it.
    fn on_arrival(&self, listener: Arc<dyn ArrivalListener>);
}

/// The store as an operator sees it. Calls may block.
pub trait StoreAdmin: Send + Sync + 'static {
    /// Forgets all queues of a topic; a topic of the same name begins at 0 again. The records stay
    /// in the log until it expires. Returns how many queues there were.
    fn delete_topic(&self, topic: &str) -> Result<usize, AdminError>;

    /// Removes expired files and reacts to a full disk, as is also done every ten seconds.
    fn expire(&self, now: Timestamp) -> Result<Expired, AdminError>;

    /// All queues that hold or have held messages.
    fn queues(&self) -> Vec<QueueKey>;

    /// Where the store stands.
    fn status(&self) -> StoreStatus;

    /// Whether it can keep its promises.
    fn health(&self) -> Health;
}

/// What the log gave to the records of one append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendReceipt {
    /// Queue offset of the first record; the others follow.
    pub queue_offset: QueueOffset,
    /// Position of the first record.
    pub physical_offset: PhysicalOffset,
    /// Positions of the records after the first.
    pub following: Vec<PhysicalOffset>,
    /// First byte after the last record: what to wait for.
    pub end: PhysicalOffset,
    /// When they were stored.
    pub store_timestamp: Timestamp,
}

impl AppendReceipt {
    /// Positions of all records.
    pub fn physical_offsets(&self) -> impl Iterator<Item = PhysicalOffset> {
        std::iter::once(self.physical_offset).chain(self.following.iter().copied())
    }
}

/// Why nothing was stored, or why what was stored will not become durable.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A body or record beyond `maxMessageSize`, or a batch beyond a file.
    #[error("{len} bytes are more than {max}; send smaller messages or raise maxMessageSize")]
    TooLarge {
        /// Its bytes.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// Topic or properties have no record form.
    #[error(transparent)]
    Unfit(#[from] EncodeError),
    /// Properties with a zero byte: after a power loss nobody could tell it from a part of the
    /// record that never reached the disk.
    #[error("properties must not hold a zero byte")]
    ZeroByte,
    /// No records at all.
    #[error("an append needs at least one record")]
    Empty,
    /// No queue of that name can be written.
    #[error("queue {queue} {problem}")]
    Queue {
        /// Queue.
        queue: QueueKey,
        /// Why not.
        problem: &'static str,
    },
    /// The disk is full. Try again later.
    #[error(
        "the disk of {path} is full; free space, lower fileReservedTime or raise diskSpaceWarningLevelRatio"
    )]
    Full {
        /// Where.
        path: PathBuf,
    },
    /// More is staged than the disk takes. Try again soon.
    #[error("{staged} bytes wait for the disk; try again")]
    Busy {
        /// Bytes that wait.
        staged: usize,
    },
    /// A write or sync has failed; nothing is stored until the store is opened again. Records
    /// that waited may or may not have been stored.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// What has failed, where, and what to do.
        reason: Arc<str>,
    },
    /// The store is stopping.
    #[error("the store is stopping")]
    Stopped,
}

/// Which messages to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest<'a> {
    /// From which queue.
    pub queue: &'a QueueKey,
    /// From which offset on.
    pub offset: QueueOffset,
    /// At most so many messages.
    pub count_max: usize,
    /// At most so many bytes, but at least one message.
    pub bytes_max: usize,
}

/// Chooses among the messages of a queue.
pub trait MessageFilter: Send + Sync {
    /// By what the queue entry holds of the tag: its Java hash, 0 without a tag.
    fn admits_entry(&self, tags_code: i64) -> bool;

    /// Whether [`admits_record`](Self::admits_record) has anything to say. Reading records is
    /// dearer than reading entries.
    fn reads_records(&self) -> bool {
        false
    }

    /// By the record itself.
    fn admits_record(&self, _record: &RecordView<'_>) -> bool {
        true
    }
}

/// Admits every message.
#[derive(Clone, Copy, Debug, Default)]
pub struct AdmitAll;

impl MessageFilter for AdmitAll {
    fn admits_entry(&self, _tags_code: i64) -> bool {
        true
    }
}

/// How a read ended. In brackets Apache's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStatus {
    /// There is at least one message (`FOUND`).
    Found,
    /// Messages were looked at, and none passed the filter (`NO_MATCHED_MESSAGE`).
    NoMatchedMessage,
    /// The queue is empty and has always been, or there is none (`NO_MESSAGE_IN_QUEUE`).
    NoMessageInQueue,
    /// The offset lies before the queue's first message (`OFFSET_TOO_SMALL`).
    OffsetTooSmall,
    /// The offset is the queue's end: nothing yet (`OFFSET_OVERFLOW_ONE`).
    OffsetOverflowOne,
    /// The offset lies beyond the queue's end (`OFFSET_OVERFLOW_BADLY`).
    OffsetOverflowBadly,
    /// The entries at the offset cannot be read (`OFFSET_FOUND_NULL`).
    OffsetFoundNull,
    /// The records have been removed from the log (`MESSAGE_WAS_REMOVING`).
    MessageWasRemoving,
}

/// What a read found.
#[derive(Clone, Debug)]
pub struct ReadOutcome {
    /// How it ended.
    pub status: ReadStatus,
    /// Where to read on.
    pub next_offset: QueueOffset,
    /// First offset of the queue.
    pub min_offset: QueueOffset,
    /// End of the queue.
    pub max_offset: QueueOffset,
    /// Whole records; one slice may hold several that lie back to back.
    pub records: Vec<Bytes>,
    /// How many records there are.
    pub count: usize,
    /// Their bytes.
    pub bytes: usize,
    /// What was read lies so far behind that a replica should serve it.
    pub suggest_replica: bool,
}

/// Which message a time means when none was stored exactly then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The first message stored at or after the time; the queue's end when there is none.
    #[default]
    Lower,
    /// The last message stored at or before the time; the queue's first when there is none.
    Upper,
}

/// What sort of key is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// A business key or the unique id.
    #[default]
    Key,
    /// The tag.
    Tag,
}

/// Messages to look for by key.
#[derive(Clone, Copy, Debug)]
pub struct KeyQuery<'a> {
    /// Topic under which they are stored.
    pub topic: &'a str,
    /// Key, unique id or tag.
    pub key: &'a str,
    /// What `key` is.
    pub kind: KeyKind,
    /// Stored at or after this time,
    pub begin: Timestamp,
    /// and at or before that one.
    pub end: Timestamp,
    /// At most so many, the youngest; never more than `maxMsgsNumBatch`.
    pub count_max: usize,
}

/// What a query by key found.
#[derive(Clone, Debug, Default)]
pub struct QueryOutcome {
    /// Records in the order in which they were stored.
    pub records: Vec<Bytes>,
    /// Store time of the youngest indexed message.
    pub index_timestamp: Timestamp,
    /// Its position.
    pub index_offset: PhysicalOffset,
}

/// Why nothing can be read.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No record begins there, or it is gone.
    #[error("no message begins at {at}")]
    NotFound {
        /// Position in the log.
        at: PhysicalOffset,
    },
    /// It is on the disk only: to be read where waiting harms nobody.
    #[error("the messages are not in memory; read them where waiting is allowed")]
    Cold,
    /// A file cannot be read.
    #[error("{0}; check the disk and the store's files")]
    Io(Arc<std::io::Error>),
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// Told of queues that have grown. Called without any lock of the store, on the thread that made
/// the messages visible; must not block. A hint: the truth is [`MessageStore::offsets`].
pub trait ArrivalListener: Send + Sync {
    /// `queue` can be read up to `end`.
    fn arrived(&self, queue: &QueueKey, end: QueueOffset);
}

/// Why an operator's call failed.
#[derive(Clone, Debug, Error)]
#[error("{0}; check the disk and try again")]
pub struct AdminError(pub Arc<std::io::Error>);

impl From<std::io::Error> for AdminError {
    fn from(error: std::io::Error) -> Self {
        Self(Arc::new(error))
    }
}

/// What [`StoreAdmin::expire`] removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Files of the commit log.
    pub log_files: usize,
    /// Files of consume queues and of the key index.
    pub derived_files: usize,
}

/// Where the store stands.
#[derive(Clone, Debug)]
pub struct StoreStatus {
    /// First position of the log.
    pub min_physical: PhysicalOffset,
    /// End of what can be read.
    pub max_physical: PhysicalOffset,
    /// End of what has been staged.
    pub staged_end: PhysicalOffset,
    /// End of what has been synced.
    pub durable_end: PhysicalOffset,
    /// End of what the key index has seen.
    pub indexed_end: PhysicalOffset,
    /// Store time of the last record.
    pub last_timestamp: Timestamp,
    /// Queues in the table.
    pub queues: usize,
    /// Used share of the disk, 0 to 1.
    pub disk_used: f64,
}

/// Whether the store can keep its promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether messages are taken.
    pub writable: bool,
    /// Why not.
    pub reason: Option<Arc<str>>,
}
