//! A store on a simulated disk, driven step by step, with the model beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rmq_message::record::NewRecord;
use rmq_message::{Timestamp, sys_flag};
use rmq_runtime::{Tasks, Usage};
use rmq_sim::{SimClock, SimDisk, world};
use rmq_store::{
    AppendError, Chore, Config, FlushDiskType, LocalStore, MessageStore, OpenError, QueueKey,
    StoreAdmin,
};
use tokio::runtime::Runtime;

use crate::amounts;
use crate::history::Step;
use crate::model::{End, FILE, Model, Sent, look};

pub(crate) const NOW: i64 = 1_795_270_000_000;
const HALVES: &str = "RMQ_SYS_TRANS_HALF_TOPIC";

/// What kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) flush: FlushDiskType,
    /// Whether records have a checksum of all their bytes.
    pub(crate) sealed: bool,
}

pub(crate) fn config(kind: Kind) -> Config {
    Config {
        store_path_root_dir: PathBuf::from("/var/store"),
        mapped_file_size_commit_log: FILE,
        mapped_file_size_consume_queue: 200,
        flush_disk_type: kind.flush,
        enabled_append_prop_crc: kind.sealed,
        force_verify_prop_crc: kind.sealed,
        // Header, slots and items in sectors of their own.
        max_hash_slot_num: 150,
        max_index_num: 24,
        disk_space_warning_level_ratio: 95,
        file_reserved_time: 1,
        delete_when: "00".to_owned(),
        delete_file_batch_max: 2,
        sync_volume_from: if kind.sealed { 2 } else { usize::MAX },
        ..Config::default()
    }
}

pub(crate) fn log_file(start: u64) -> PathBuf {
    Path::new("/var/store/commitlog").join(format!("{start:020}"))
}

pub(crate) fn queue(n: usize) -> QueueKey {
    let topic = if n < 2 { "Stays" } else { "Goes" };
    QueueKey::new(topic, i32::try_from(n % 2).unwrap())
}

/// A runtime for what is asynchronous; nothing runs on it by itself.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

pub(crate) fn open(
    disk: &SimDisk,
    clock: &Arc<SimClock>,
    kind: Kind,
) -> Result<Arc<LocalStore>, OpenError> {
    LocalStore::open_still(&world(clock, disk, 0), &Tasks::new("test"), config(kind))
}

pub(crate) struct Life {
    pub(crate) kind: Kind,
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<SimClock>,
    /// None when it could not be opened because the disk froze.
    pub(crate) store: Option<Arc<LocalStore>>,
    pub(crate) model: Model,
    runtime: Runtime,
    number: u64,
    /// It was to stop and failed.
    stopped: bool,
    /// Operations of the disks before this one.
    operations: u64,
    freeze_at: u64,
}

impl Life {
    /// Opens a store on a new disk that freezes at that operation.
    pub(crate) fn begin(kind: Kind, freeze_at: u64) -> Self {
        let clock = SimClock::new(NOW);
        let disk = SimDisk::new(&clock);
        let mut life = Self {
            kind,
            disk,
            clock,
            store: None,
            model: Model::default(),
            runtime: runtime(),
            number: 0,
            stopped: false,
            operations: 0,
            freeze_at,
        };
        life.disk.freeze_at(freeze_at);
        life.open();
        life
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations + self.disk.operations()
    }

    fn open(&mut self) {
        match open(&self.disk, &self.clock, self.kind) {
            Ok(store) => self.store = Some(store),
            Err(error) => {
                assert!(self.disk.is_frozen() || self.disk.has_struck(), "cannot open: {error}");
                self.store = None;
            }
        }
    }

    /// Goes on with another disk, as a new process.
    pub(crate) fn go_on(&mut self, disk: SimDisk) {
        if amounts::replay().is_some() {
            eprintln!("{:#?}", self.disk.trace());
        }
        self.operations += self.disk.operations();
        self.store = None;
        self.disk = disk;
        if let Some(rest) = self.freeze_at.checked_sub(self.operations) {
            self.disk.freeze_at(rest);
        }
    }

    /// From now on nothing freezes unless told anew.
    pub(crate) fn thaw(&mut self) {
        self.freeze_at = 0;
    }

    /// Opens, compares with the model, and takes over what is there.
    pub(crate) fn reopen(&mut self, ended: End) {
        self.open();
        if let Some(store) = &self.store {
            if self.disk.is_frozen() {
                return;
            }
            self.model.check(&look(store), ended);
            self.observe();
        }
    }

    /// Takes steps until the disk freezes. Whether all were taken.
    pub(crate) fn run(&mut self, steps: &[Step]) -> bool {
        for step in steps {
            if self.disk.is_frozen() || self.store.is_none() {
                return false;
            }
            self.step(*step);
            // What was half done is only known after the next start.
            let half_done = self.model.is_unsure() || (*step == Step::Restart && self.stopped);
            if self.disk.has_struck() && half_done {
                return false;
            }
        }
        !self.disk.is_frozen()
    }

    pub(crate) fn step(&mut self, step: Step) {
        let Some(store) = self.store.clone() else { return };
        if amounts::replay().is_some() {
            eprintln!("{:>4} {step:?}", self.operations());
        }
        match step {
            Step::Append { queue: n, count, body, pad } => {
                let appended = self.append(&queue(n), count, body, pad, 0);
                self.expect(&appended);
            }
            Step::AppendHalf => {
                let appended = self.append(
                    &QueueKey::new(HALVES, 0),
                    1,
                    50,
                    10,
                    sys_flag::TRANSACTION_PREPARED,
                );
                self.expect(&appended);
            }
            Step::Settle => {
                let settled = store.settle();
                self.expect(&settled);
                if settled.is_ok() && self.kind.flush == FlushDiskType::Async {
                    self.model.settled = store.status().staged_end.0;
                }
            }
            Step::Flush => self.work(Chore::Flush),
            Step::WriteQueues => self.work(Chore::WriteQueues),
            Step::Save => self.work(Chore::Save),
            Step::Prepare => self.work(Chore::Prepare),
            Step::Index => self.work(Chore::Index),
            Step::Expire => self.expire(),
            Step::DeleteTopic => {
                self.model.deleting = Some("Goes");
                let deleted = store.delete_topic("Goes");
                self.expect(&deleted);
                if deleted.is_ok() {
                    self.model.deleted("Goes");
                }
            }
            Step::Restart => self.restart(),
            Step::Kill => {
                drop(store);
                let left = self.disk.after_kill();
                self.go_on(left);
                self.reopen(End::Kill);
            }
            Step::Wait => self.clock.advance(Duration::from_millis(1_700)),
            Step::SetBack => self.clock.step(-3_600_000),
        }
        self.observe();
    }

    /// A call may fail only because the disk did.
    fn expect<T, E: std::fmt::Display>(&self, outcome: &Result<T, E>) {
        if let Err(error) = outcome {
            assert!(self.disk.is_frozen() || self.disk.has_struck(), "refused: {error}");
        }
    }

    fn work(&self, chore: Chore) {
        if let Some(store) = &self.store {
            self.expect(&store.work(chore));
        }
    }

    fn expire(&mut self) {
        let Some(store) = self.store.clone() else { return };
        // Old enough, and at midnight, when files are removed.
        let day = 86_400_000;
        let to_midnight = day - self.clock.wall_ms().rem_euclid(day);
        self.clock.advance(Duration::from_millis(u64::try_from(to_midnight + day).unwrap()));
        self.disk.set_usage(Usage::new(100, 90));
        let staged = store.status().staged_end.0;
        self.model.begin_expiry(staged.saturating_sub(1) / FILE * FILE);
        let expired = store.work(Chore::Expire);
        self.expect(&expired);
        if expired.is_ok() {
            self.model.expired_to(store.status().min_physical.0);
        }
    }

    fn restart(&mut self) {
        let Some(store) = self.store.take() else { return };
        let stopped = self.runtime.block_on(store.stop());
        self.expect(&stopped);
        self.store = Some(store);
        self.stopped = stopped.is_err();
        if self.stopped {
            return;
        }
        self.model.settled = self.model.log.last().map_or(0, |last| last.end);
        self.model.durable = self.model.settled;
        // The same disk, now without the lock.
        self.store = None;
        self.reopen(End::Stop);
    }

    pub(crate) fn append(
        &mut self,
        key: &QueueKey,
        count: usize,
        body: usize,
        pad: usize,
        flags: i32,
    ) -> Result<(), AppendError> {
        let Some(store) = self.store.clone() else { return Ok(()) };
        let parts: Vec<_> = (0..count)
            .map(|_| {
                self.number += 1;
                let key = format!("k{}", self.number);
                let pad = "p".repeat(pad);
                let properties =
                    format!("UNIQ_KEY\u{1}{key}\u{2}TAGS\u{1}t\u{2}PAD\u{1}x{pad}\u{2}");
                (filled(self.number, body), properties, key)
            })
            .collect();
        let records: Vec<_> =
            parts.iter().map(|(body, properties, _)| record(body, properties, flags)).collect();
        let receipt = store.append(key, &records)?;
        let mut places: Vec<_> = receipt.physical_offsets().map(|at| at.0).collect();
        places.push(receipt.end.0);
        let queued = flags == 0;
        for (index, (body, properties, id)) in parts.into_iter().enumerate() {
            let offset = receipt.queue_offset.0 + i64::try_from(index).unwrap();
            self.model.log.push(Sent {
                queue: key.clone(),
                generation: self.model.generation(key),
                offset: queued.then_some(offset),
                at: places[index],
                end: places[index + 1],
                stored: receipt.store_timestamp,
                body,
                properties,
                key: id,
            });
        }
        Ok(())
    }

    /// Notes what the store has promised by now.
    pub(crate) fn observe(&mut self) {
        let Some(store) = &self.store else { return };
        let status = store.status();
        self.model.durable = self.model.durable.max(status.durable_end.0);
        if self.kind.flush == FlushDiskType::Sync {
            let unknown = self.model.log.iter().filter(|sent| sent.end > self.model.durable);
            let told = unknown.map(|sent| sent.end).take_while(|end| {
                let durable = store.durable(rmq_message::PhysicalOffset(*end)).now_or_never();
                matches!(durable, Some(Ok(())))
            });
            // What could be read must not vanish either (INV-02).
            let durable = told.last().unwrap_or(0).max(status.max_physical.0);
            self.model.durable = self.model.durable.max(durable);
        }
        if !self.disk.is_frozen() && !self.disk.has_struck() {
            self.model.check_visible(store);
        }
    }

    /// What is left after a crash now.
    pub(crate) fn crash(&self, ended: End, seed: u64) -> SimDisk {
        match ended {
            End::Kill => self.disk.after_kill(),
            _ => self.disk.after_power_loss(seed),
        }
    }

    /// Opens after the last crash, compares, uses and opens again: everything must be there, and
    /// stay.
    pub(crate) fn settle_down(&mut self, ended: End, seed: u64) {
        self.reopen(ended);
        let store = self.store.clone().expect("no fault, no refusal");
        self.model.check_index(&store);
        // Interrupted at any later time it is the same (INV-05).
        let before = look(&store);
        drop(store);
        for ended in [End::PowerLoss, End::Kill] {
            let left = self.crash(ended, seed);
            let again = open(&left, &self.clock, self.kind).expect("opened before");
            if self.kind.flush == FlushDiskType::Sync || ended == End::Kill || self.all_durable() {
                assert_eq!(look(&again), before, "opened again after {ended:?}");
            }
        }
        // And it goes on: offsets are dense, nothing is in the way.
        for n in 0..crate::history::QUEUES {
            self.append(&queue(n), 1, 100, 0, 0).unwrap();
        }
        let store = self.store.clone().expect("still open");
        store.settle().unwrap();
        store.work(Chore::Flush).unwrap();
        self.model.settled = store.status().staged_end.0;
        self.observe();
        assert_eq!(store.status().durable_end, store.status().staged_end);
        let left = self.crash(End::PowerLoss, seed ^ 1);
        drop(store);
        self.go_on(left);
        self.reopen(End::PowerLoss);
        let store = self.store.clone().expect("no fault, no refusal");
        self.model.check_index(&store);
    }

    /// Crashes now, and then [settles down](Self::settle_down).
    pub(crate) fn settle_down_after(&mut self, ended: End, seed: u64) {
        let left = self.crash(ended, seed);
        self.thaw();
        self.go_on(left);
        self.settle_down(ended, seed);
    }

    fn all_durable(&self) -> bool {
        self.store.as_ref().is_some_and(|store| {
            let status = store.status();
            status.durable_end >= status.max_physical
        })
    }
}

/// A body that no other message has, of many kinds of bytes.
fn filled(number: u64, len: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    let fill = |index: usize| match number % 4 {
        0 => 0,
        1 => 0xA5,
        2 => u8::try_from(index % 251).unwrap_or(0),
        _ => b"The quick brown fox. "[index % 21],
    };
    body.extend((0..len).map(fill));
    body
}

pub(crate) fn record<'a>(body: &'a [u8], properties: &'a str, sys_flag: i32) -> NewRecord<'a> {
    let host = "127.0.0.1:10911".parse().unwrap();
    NewRecord {
        topic: "",
        queue_id: 0,
        flag: 0,
        sys_flag,
        born_timestamp: Timestamp(NOW - 1),
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: properties.as_bytes(),
        tags_code: 116,
    }
}
