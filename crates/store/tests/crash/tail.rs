//! A log whose end is torn at any byte, in every way a torn end looks.

use std::sync::Arc;

use rmq_message::record::RecordView;
use rmq_runtime::Entropy as _;
use rmq_sim::{SimClock, SimDisk, SimEntropy};
use rmq_store::{Chore, FlushDiskType, LocalStore, MessageStore, StoreAdmin};

use crate::amounts::{self, Told};
use crate::life::{Kind, Life, log_file, open, queue};
use crate::model::{FILE, look};

pub(crate) const COUNT: usize = 200;

/// A store of [`COUNT`] messages that was killed; nothing but its log has been saved.
pub(crate) struct Killed {
    pub(crate) kind: Kind,
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<SimClock>,
    /// Where the messages lie.
    pub(crate) places: Vec<(u64, u64)>,
}

impl Killed {
    pub(crate) fn new(sealed: bool, saved: bool) -> Self {
        let kind = Kind { flush: FlushDiskType::Sync, sealed };
        let mut life = Life::begin(kind, u64::MAX / 2);
        for n in 0..COUNT {
            life.append(&queue(n % 3), 1, n % 23, n % 7, 0).unwrap();
        }
        Self::of(life, saved)
    }

    /// Few messages, of which the last of the first file ends at a position. Zeros are nowhere but
    /// in their numbers.
    fn with_first_file_until(position: u64) -> Self {
        let mut life =
            Life::begin(Kind { flush: FlushDiskType::Sync, sealed: false }, u64::MAX / 2);
        let mut pad = 900;
        loop {
            life.append(&queue(0), 1, 0, pad, 0).unwrap();
            let last = life.model.log.last().unwrap();
            let (len, left) = (last.end - last.at, position - last.end);
            if left == 0 {
                break;
            }
            if left < 2 * len {
                // Half of it twice, so that no message is too short.
                let beside = usize::try_from(len).unwrap() - pad;
                let next = if left > len + 1 { left / 2 } else { left };
                pad = usize::try_from(next).unwrap() - beside;
            }
        }
        for n in 0..5 {
            life.append(&queue(n % 3), 1, 0, 900, 0).unwrap();
        }
        Self::of(life, false)
    }

    fn of(life: Life, saved: bool) -> Self {
        let kind = life.kind;
        let store = life.store.clone().unwrap();
        store.settle().unwrap();
        store.work(Chore::Flush).unwrap();
        if saved {
            store.work(Chore::Save).unwrap();
        }
        let places = life.model.log.iter().map(|sent| (sent.at, sent.end)).collect();
        Self { kind, disk: life.disk.after_kill(), clock: life.clock, places }
    }

    pub(crate) fn end(&self) -> u64 {
        self.places.last().unwrap().1
    }

    /// A copy of the disk, one file of whose log is changed by `change`.
    pub(crate) fn damaged(&self, at: u64, change: impl FnOnce(&mut [u8])) -> SimDisk {
        let disk = self.disk.after_kill();
        let start = at / FILE * FILE;
        let place = usize::try_from(at - start).unwrap();
        assert!(disk.damage(&log_file(start), |bytes| change(&mut bytes[place..])));
        disk
    }

    /// How many messages in front are as they were.
    pub(crate) fn intact(&self, disk: &SimDisk) -> usize {
        let (now, before) = (self.log(disk), self.log(&self.disk));
        let place = |at: u64| usize::try_from(at).unwrap();
        let range = |(at, end): (u64, u64)| place(at)..place(end);
        self.places.iter().take_while(|place| now[range(**place)] == before[range(**place)]).count()
    }

    fn log(&self, disk: &SimDisk) -> Vec<u8> {
        let files =
            (0..self.end().div_ceil(FILE)).map(|n| disk.bytes(&log_file(n * FILE)).unwrap());
        files.flatten().collect()
    }

    pub(crate) fn open(&self, disk: &SimDisk) -> Result<Arc<LocalStore>, rmq_store::OpenError> {
        open(disk, &self.clock, self.kind)
    }

    /// The first `kept` messages are there and nothing else, again after another start, and the
    /// log goes on behind them.
    pub(crate) fn assert_kept(&self, disk: &SimDisk, kept: usize) {
        let store = self.open(disk).unwrap();
        let end = kept.checked_sub(1).map_or(0, |last| self.places[last].1);
        let found = store.status().max_physical.0;
        assert!(found == end || found == end.next_multiple_of(FILE), "{found}, not {end}");
        let counts: i64 = (0..3).map(|n| store.offsets(&queue(n)).end.0).sum();
        assert_eq!(counts, i64::try_from(kept).unwrap());
        for (at, _) in self.places[..kept].iter().rev().take(3) {
            let record = store.message_at(rmq_message::PhysicalOffset(*at)).unwrap();
            RecordView::parse(&record).unwrap().verify().unwrap();
        }
        let before = look(&store);
        drop(store);
        // INV-05, INV-07: what was cut is gone for good.
        let again = self.open(&disk.after_power_loss(7)).unwrap();
        assert_eq!(look(&again), before);
    }
}

/// Bytes of the log's end that are torn: those of the last messages.
fn torn_places(killed: &Killed) -> impl Iterator<Item = u64> + use<> {
    let last = usize::try_from(amounts::times() * 4).unwrap().min(COUNT);
    killed.places[COUNT - last].0..killed.end()
}

#[test]
fn a_log_zeroed_from_any_byte_keeps_what_is_before() {
    // CT-02; INV-04, 05, 07
    for sealed in [false, true] {
        let killed = Killed::new(sealed, false);
        for at in torn_places(&killed) {
            let told = Told(|| format!("zeros from {at}, sealed {sealed}"));
            let disk = killed.damaged(at, |bytes| bytes.fill(0));
            for file in at / FILE + 1..killed.end().div_ceil(FILE) {
                disk.damage(&log_file(file * FILE), |bytes| bytes.fill(0));
            }
            killed.assert_kept(&disk, killed.intact(&disk));
            drop(told);
        }
    }
}

#[test]
fn a_log_ending_in_old_bytes_or_garbage_keeps_what_is_before() {
    // CT-02; INV-04, 08. Only with the checksum of the whole record: without it garbage in
    // properties cannot be told.
    let killed = Killed::new(true, false);
    let old = killed.disk.bytes(&log_file(0)).unwrap();
    let last_file = killed.end() / FILE * FILE;
    for at in torn_places(&killed).filter(|at| *at >= last_file) {
        let told = Told(|| format!("refilled from {at}"));
        let stale = killed.damaged(at, |bytes| {
            let len = bytes.len();
            bytes.copy_from_slice(&old[..len]);
        });
        killed.assert_kept(&stale, killed.intact(&stale));
        let chance = SimEntropy::new(at);
        let garbage = killed.damaged(at, |bytes| {
            let end = usize::try_from(killed.end() - at).unwrap();
            bytes[..end].fill_with(|| u8::try_from(chance.below(256)).unwrap());
        });
        killed.assert_kept(&garbage, killed.intact(&garbage));
        drop(told);
    }
}

#[test]
fn a_sector_that_never_arrived_ends_the_log() {
    // CT-02; INV-04, 06: what follows has come out of order and was never promised.
    for sealed in [false, true] {
        let killed = Killed::new(sealed, false);
        for sector in killed.places[COUNT / 2].0 / 512..killed.end() / 512 {
            let at = sector * 512;
            let told = Told(|| format!("no sector at {at}, sealed {sealed}"));
            let disk = killed.damaged(at, |bytes| bytes[..512].fill(0));
            killed.assert_kept(&disk, killed.intact(&disk));
            drop(told);
        }
    }
}

#[test]
fn a_sector_that_never_arrived_is_noticed_wherever_behind_it_the_file_ends() {
    // CT-02; INV-04, 06: the blank that ends a file may begin in the lost sector with nothing but
    // zeros of its size, and still look whole.
    for blank in FILE - 512 - 9..FILE - 512 + 9 {
        let killed = Killed::with_first_file_until(blank);
        let told = Told(|| format!("blank at {blank}"));
        let disk = killed.damaged(FILE - 1024, |bytes| bytes[..512].fill(0));
        killed.assert_kept(&disk, killed.intact(&disk));
        drop(told);
    }
}
