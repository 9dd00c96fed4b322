//! The files, against those of Apache RocketMQ 5.5.0 and through lives and deaths.

use std::path::PathBuf;
use std::sync::Arc;

use rmq_message::PhysicalOffset;
use rmq_runtime::{Disk, World};

use super::check::Check;
use super::log::TimerLog;
use super::unit::{LEN, Unit};
use super::wheel::Wheel;

/// A timer log of four entries: of 2 s, 1 h, 2 h, and one that takes the third back.
const LOG: &str = "00000034ffffffffffffffff00000001000001a1fe35c478000007d0000000000001b5f80000016bac3309420000000000000000 \
    00000034ffffffffffffffff00000001000001a1fe35c4780036ee80000000000001b76300000174ac3309420000000000000000 \
    00000034ffffffffffffffff00000001000001a1fe35c478006ddd00000000000001b8d700000174ac3309420000000000000000 \
    00000034000000000000006800000005000001a1fe35c478006ddd00000000000001ba4b0000019fac3309420000000000000000";
const CHECK: &str = "000001a1fe3f78d800000000000000d00000000000000004\
    00000000000000040000000000000000000001a1fe3f794900000000000001e1";
const SLOT: &str = "000000006b01b31b0000000000000068000000000000009c0000000000000000";
const SLOT_AT: u64 = 227_099 * 32;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn unit(number: u64, before: Option<u64>) -> Unit {
    Unit {
        before,
        rolls: number.is_multiple_of(3),
        takes_back: number.is_multiple_of(7),
        entered: 1_795_266_299_000,
        tick: 1_795_266_299_000 + 1000 * i64::try_from(number % 5).unwrap(),
        message: PhysicalOffset(number * 100),
        len: 100,
        topic_hash: -7,
    }
}

fn open(dir: &tempfile::TempDir, file_len: u64) -> TimerLog {
    let disk: Arc<dyn Disk> = World::system().disk;
    TimerLog::open(disk, PathBuf::from(dir.path()), file_len).unwrap()
}

#[test]
fn entries_slots_and_the_check_are_apaches_byte_for_byte() {
    let log = bytes(LOG);
    let mut wheel = Wheel::default();
    for (index, bytes) in log.chunks(LEN).enumerate() {
        let unit = Unit::decode(bytes).unwrap();
        assert_eq!(unit.encode(), bytes);
        wheel.put(index as u64 * LEN as u64, &unit);
    }
    let slots = wheel.unwritten();
    let (_, slot) = slots.iter().find(|(at, _)| *at == SLOT_AT).unwrap();
    assert_eq!(slot.to_vec(), bytes(SLOT));

    let disk = World::system().disk;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("timercheck");
    disk.write(&path, &bytes(CHECK)).unwrap();
    let check = Check::load(&*disk, &path).unwrap().unwrap();
    assert_eq!((check.read_to, check.log_end, check.queue_next), (1_795_266_935_000, 208, 4));
    check.save(&*disk, dir.path()).unwrap();
    let saved = disk.read(&path).unwrap();
    assert_eq!((saved.len(), &saved[..56]), (4096, &bytes(CHECK)[..]));
}

#[test]
fn a_log_of_many_files_is_walked_as_it_was_written_and_ends_where_the_check_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, 500);
    let mut written = Vec::new();
    for number in 0..100 {
        let unit = unit(number, written.last().map(|(at, _)| *at));
        written.push((log.append(&unit).unwrap(), unit));
    }
    for (at, unit) in &written {
        assert_eq!(log.view().read(*at).unwrap(), Some(*unit));
    }
    let walk = |to: u64| {
        let mut log = open(&dir, 4096);
        let mut seen = Vec::new();
        log.walk(to, |at, unit| seen.push((at, unit))).unwrap();
        (log, seen)
    };
    let (log, seen) = walk(u64::MAX);
    assert_eq!(seen, written);
    let end = log.end();
    drop(log);

    // What lies behind the end of the check is gone for good.
    let (mut cut, seen) = walk(written[60].0);
    assert_eq!(seen, written[..60]);
    assert_eq!(cut.append(&unit(7, None)).unwrap(), written[60].0);
    drop(cut);
    let (log, seen) = walk(u64::MAX);
    assert_eq!(seen.len(), 61);
    assert!(log.end() < end);
}

#[test]
fn files_whose_messages_have_expired_are_removed_and_the_rest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(&dir, 500);
    for number in 0..100 {
        log.append(&unit(number, None)).unwrap();
    }
    let files = || World::system().disk.list(dir.path()).unwrap().len();
    let all = files();
    log.expire(PhysicalOffset(900)).unwrap();
    assert_eq!(files(), all - 1);
    assert_eq!(log.view().read(0).unwrap(), None);
    log.expire(PhysicalOffset(u64::MAX)).unwrap();
    assert_eq!(files(), 1);
    let mut again = open(&dir, 4096);
    let mut seen = 0;
    again.walk(u64::MAX, |_, _| seen += 1).unwrap();
    assert!(seen > 0 && again.end() == log.end());
}
