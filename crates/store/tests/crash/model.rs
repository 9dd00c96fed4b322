//! What a store has been given and what it has promised, and whether it still has it.

use std::collections::BTreeMap;

use rmq_message::record::{RecordView, walk};
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp};
use rmq_store::{
    AdmitAll, Chore, KeyKind, KeyQuery, LocalStore, MessageStore, QueueKey, ReadError, ReadRequest,
    StoreAdmin,
};

/// Bytes of a file of the log.
pub(crate) const FILE: u64 = 8 << 10;

/// A message as it was given to the store, and where the store put it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) queue: QueueKey,
    /// Counts the deletions of its topic.
    pub(crate) generation: u32,
    /// `None` for half messages, which no queue has.
    pub(crate) offset: Option<i64>,
    pub(crate) at: u64,
    pub(crate) end: u64,
    pub(crate) stored: Timestamp,
    pub(crate) body: Vec<u8>,
    pub(crate) properties: String,
    pub(crate) key: String,
}

impl Sent {
    fn assert_is(&self, record: &RecordView<'_>) {
        let what = || format!("message {} at {}", self.key, self.at);
        assert_eq!(record.physical_offset.0, self.at, "{}", what());
        assert_eq!(record.queue_offset.0, self.offset.unwrap_or(0), "{}", what());
        assert_eq!(record.topic, self.queue.topic, "{}", what());
        assert_eq!(record.queue_id, self.queue.queue_id, "{}", what());
        assert_eq!(record.store_timestamp, self.stored, "{}", what());
        assert!(record.body == self.body, "{} has another body", what());
        // The store may add its checksum.
        let rest = record.properties.strip_prefix(self.properties.as_bytes());
        let fits = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"__CRC32#"));
        assert!(fits, "{} has other properties", what());
    }
}

/// How the life before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Stop,
    Kill,
    PowerLoss,
}

/// All that can be asked of a store by its public door.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) min: u64,
    pub(crate) end: u64,
    queues: BTreeMap<QueueKey, Queue>,
}

#[derive(Debug, PartialEq, Eq)]
struct Queue {
    start: i64,
    end: i64,
    records: Vec<Vec<u8>>,
}

/// Reads everything. An error is one of the disk.
pub(crate) fn try_look(store: &LocalStore) -> Result<Seen, ReadError> {
    let status = store.status();
    let mut queues = BTreeMap::new();
    for key in store.queues() {
        let range = store.offsets(&key);
        let (start, end) = (range.start.0, range.end.0);
        let (mut next, mut records) = (start, Vec::new());
        while next < end {
            let request = ReadRequest {
                queue: &key,
                offset: QueueOffset(next),
                count_max: 32,
                bytes_max: usize::MAX,
            };
            let outcome = store.read(&request, &AdmitAll)?;
            assert!(outcome.count > 0, "{key}: {:?} at {next} of {start}..{end}", outcome.status);
            for record in outcome.records.iter().flat_map(|bytes| walk(bytes)) {
                let record = record.unwrap();
                assert_eq!(record.queue_offset.0, next, "{key}: offsets are not dense");
                let at = record.physical_offset;
                records.push(store.message_at(at)?.to_vec());
                next += 1;
            }
            assert_eq!(outcome.next_offset.0, next, "{key}");
        }
        if end > 0 {
            queues.insert(key, Queue { start, end, records });
        }
    }
    Ok(Seen { min: status.min_physical.0, end: status.max_physical.0, queues })
}

/// Reads everything, where no more than one call fails.
pub(crate) fn look(store: &LocalStore) -> Seen {
    try_look(store).or_else(|_| try_look(store)).unwrap()
}

#[derive(Default)]
pub(crate) struct Model {
    /// Everything staged that may be in the log, in its order.
    pub(crate) log: Vec<Sent>,
    /// Must survive the end of the process.
    pub(crate) settled: u64,
    /// Must survive the loss of power.
    pub(crate) durable: u64,
    /// First position of the log; moved by expiry.
    min: u64,
    /// The first position may also have moved up to here.
    min_max: u64,
    generations: BTreeMap<QueueKey, u32>,
    /// A topic whose deletion was begun.
    pub(crate) deleting: Option<&'static str>,
}

impl Model {
    pub(crate) fn generation(&self, queue: &QueueKey) -> u32 {
        self.generations.get(queue).copied().unwrap_or(0)
    }

    /// Messages of a queue before a position of the log, those expired included.
    fn before(&self, queue: &QueueKey, end: u64) -> impl Iterator<Item = &Sent> {
        let (queue, generation) = (queue.clone(), self.generation(queue));
        self.log.iter().filter(move |sent| {
            sent.end <= end
                && sent.offset.is_some()
                && sent.queue == queue
                && sent.generation == generation
        })
    }

    fn queues(&self) -> Vec<QueueKey> {
        let mut queues: Vec<_> = self.log.iter().map(|sent| sent.queue.clone()).collect();
        queues.sort();
        queues.dedup();
        queues
    }

    pub(crate) fn begin_expiry(&mut self, last_file: u64) {
        self.min_max = last_file.max(self.min);
    }

    pub(crate) fn expired_to(&mut self, min: u64) {
        assert!((self.min..=self.min_max.max(self.min)).contains(&min), "expired up to {min}");
        self.min = min;
        self.min_max = min;
    }

    /// Whether a deletion or an expiry was begun and has failed.
    pub(crate) fn is_unsure(&self) -> bool {
        self.deleting.is_some() || self.min_max > self.min
    }

    pub(crate) fn deleted(&mut self, topic: &str) {
        for queue in self.queues().into_iter().filter(|queue| queue.topic == topic) {
            *self.generations.entry(queue).or_default() += 1;
        }
        self.deleting = None;
    }

    /// What readers see must be what is visible, no more and no less (INV-02).
    pub(crate) fn check_visible(&self, store: &LocalStore) {
        let end = store.status().max_physical.0;
        for queue in self.queues() {
            let expected = self.before(&queue, end).last().map_or(0, |it| it.offset.unwrap() + 1);
            assert_eq!(store.offsets(&queue).end.0, expected, "visible end of {queue}");
        }
    }

    /// Compares what a store shows after it was opened again, and takes over what of the
    /// unpromised it has kept.
    pub(crate) fn check(&mut self, seen: &Seen, ended: End) {
        let promised = match ended {
            End::Stop => u64::MAX,
            End::Kill => self.settled.max(self.durable),
            End::PowerLoss => self.durable,
        };
        // Whole messages, and all that were promised (INV-01, INV-04).
        let kept = self.log.iter().take_while(|sent| sent.end <= seen.end).count();
        if let Some(lost) = self.log.get(kept) {
            assert!(
                lost.end > promised,
                "{} at {}..{} was promised (up to {promised}), the log ends at {}",
                lost.key,
                lost.at,
                lost.end,
                seen.end
            );
            assert!(lost.at >= seen.end, "the log ends inside of {} at {}", lost.key, seen.end);
        }
        self.log.truncate(kept);
        let end = self.log.last().map_or(0, |last| last.end);
        assert!(
            seen.end == end || seen.end == end.next_multiple_of(FILE) || self.log.is_empty(),
            "the log ends at {}, its last message at {end}",
            seen.end
        );
        // Nothing has gone but what has expired (INV-09, INV-18).
        assert!(
            (self.min..=self.min_max.max(self.min)).contains(&seen.min),
            "the log begins at {}, expected {}..={}",
            seen.min,
            self.min,
            self.min_max
        );
        (self.min, self.min_max) = (seen.min, seen.min);
        // Each queue has exactly its messages (INV-04, INV-12).
        for key in seen.queues.keys() {
            assert!(self.queues().contains(key), "queue {key} is invented");
        }
        for key in self.queues() {
            let found = seen.queues.get(&key);
            if found.is_none() && self.deleting.is_some_and(|topic| key.topic == topic) {
                *self.generations.entry(key).or_default() += 1;
                continue;
            }
            let all: Vec<_> = self.before(&key, seen.end).collect();
            let live: Vec<_> = all.iter().filter(|sent| sent.at >= seen.min).collect();
            let next = all.last().map_or(0, |last| last.offset.unwrap() + 1);
            let first = live.first().map_or(next, |first| first.offset.unwrap());
            let (start, end) = found.map_or((0, 0), |queue| (queue.start, queue.end));
            if live.is_empty() && found.is_none() && all.iter().all(|it| it.end > promised) {
                continue;
            }
            assert_eq!((start, end), (first, next), "offsets of {key}");
            for (sent, bytes) in live.iter().zip(found.iter().flat_map(|queue| &queue.records)) {
                sent.assert_is(&RecordView::parse(bytes).unwrap());
            }
        }
        self.deleting = None;
        self.settled = seen.end;
    }

    /// The key index answers as the log says (INV-11).
    pub(crate) fn check_index(&self, store: &LocalStore) {
        while store.status().indexed_end < store.status().max_physical {
            store.work(Chore::Index).unwrap();
        }
        for sent in self.log.iter().filter(|sent| sent.at >= self.min) {
            let query = KeyQuery {
                topic: &sent.queue.topic,
                key: &sent.key,
                kind: KeyKind::Key,
                begin: Timestamp(0),
                end: Timestamp(i64::MAX - 10_000),
                count_max: 10,
            };
            let found = store.query(&query).unwrap().records;
            assert_eq!(found.len(), 1, "messages of key {} at {}", sent.key, sent.at);
            sent.assert_is(&RecordView::parse(&found[0]).unwrap());
            let record = store.message_at(PhysicalOffset(sent.at)).unwrap();
            assert_eq!(record, found[0]);
        }
    }
}
