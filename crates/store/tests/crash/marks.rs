//! What a start takes over from a run that was killed, and what it does not.

use std::path::{Path, PathBuf};

use rmq_message::QueueOffset;
use rmq_sim::SimDisk;
use rmq_store::{FlushDiskType, MessageStore, OpenError};

use crate::history::Step;
use crate::life::{Kind, Life, log_file, open, queue};
use crate::model::{End, look};

const SYNC: Kind = Kind { flush: FlushDiskType::Sync, sealed: true };
const ASYNC: Kind = Kind { flush: FlushDiskType::Async, sealed: true };

fn mark() -> PathBuf {
    PathBuf::from("/var/store/progress.boot")
}

fn one(queue: usize) -> Step {
    Step::Append { queue, count: 1, body: 300, pad: 0 }
}

/// A run with a mark behind three messages, and one message more.
fn marked(kind: Kind) -> Life {
    let mut life = Life::begin(kind, u64::MAX / 2);
    life.run(&[one(0), one(1), one(0), Step::Settle, Step::Flush, Step::WriteQueues]);
    assert!(life.disk.bytes(&mark()).is_some());
    life.run(&[one(0), Step::Settle, Step::Flush]);
    life
}

/// Flips a bit of the second message, so that whoever looks at it notices.
fn with_a_flaw(life: &Life, disk: SimDisk) -> SimDisk {
    let place = usize::try_from(life.model.log[1].at).unwrap() + 100;
    assert!(disk.damage(&log_file(0), |bytes| bytes[place] ^= 1));
    disk
}

fn is_noticed(life: &Life, disk: &SimDisk) -> bool {
    match open(disk, &life.clock, life.kind) {
        Err(OpenError::Damaged { .. }) => true,
        Err(other) => panic!("{other}"),
        Ok(store) => {
            assert_eq!(store.offsets(&queue(0)).end, QueueOffset(3));
            false
        }
    }
}

#[test]
fn after_a_kill_a_start_looks_only_at_what_is_younger_than_the_mark() {
    for kind in [SYNC, ASYNC] {
        let life = marked(kind);
        assert!(!is_noticed(&life, &with_a_flaw(&life, life.disk.after_kill())));
    }
}

#[test]
fn a_mark_does_not_outlive_the_power() {
    for kind in [SYNC, ASYNC] {
        let life = marked(kind);
        // Everything has arrived, the mark too: it is not believed all the same.
        life.disk.settle();
        let left = life.disk.after_power_loss(1);
        assert!(left.bytes(&mark()).is_some());
        assert!(is_noticed(&life, &with_a_flaw(&life, left)));
    }
}

#[test]
fn a_mark_is_not_believed_when_another_program_has_been_there() {
    let life = marked(ASYNC);
    let left = life.disk.after_kill();
    // What Apache's broker writes when it starts.
    assert!(left.damage(Path::new("/var/store/abort"), |text| *text = b"4711".to_vec()));
    assert!(is_noticed(&life, &with_a_flaw(&life, left)));
}

#[test]
fn a_mark_is_not_believed_when_a_queue_has_lost_something() {
    let mut life = marked(ASYNC);
    let before = look(life.store.as_ref().unwrap());
    let file = Path::new("/var/store/consumequeue/Stays/0/00000000000000000000");
    for lost in [0, 19, 20] {
        let left = life.disk.after_kill();
        assert!(left.damage(file, |bytes| bytes[lost..].fill(0)));
        let store = open(&left, &life.clock, ASYNC).unwrap();
        assert_eq!(look(&store), before, "all but {lost} bytes");
    }
    let left = life.disk.after_kill();
    rmq_runtime::Disk::remove(&left, file).unwrap();
    life.go_on(left);
    life.settle_down(End::Kill, 1);
}

#[test]
fn what_was_synced_before_a_kill_is_not_written_again() {
    let mut life = marked(SYNC);
    life.run(&[Step::WriteQueues, Step::Kill]);
    let log = life.disk.trace().into_iter().filter(|line| line.contains("commitlog/"));
    assert_eq!(log.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_failed_sync_takes_the_mark_away() {
    // INV-03
    let mut life = marked(ASYNC);
    life.disk.fail_sync(1, 1);
    life.step(Step::Save);
    assert!(life.disk.has_struck());
    assert!(life.disk.bytes(&mark()).is_none());
}

#[test]
fn a_clean_stop_and_a_deleted_topic_leave_no_mark() {
    let mut life = marked(ASYNC);
    life.run(&[Step::DeleteTopic]);
    assert!(life.disk.bytes(&mark()).is_some(), "there is no such topic");
    life.run(&[one(2), Step::Settle, Step::WriteQueues, Step::DeleteTopic]);
    assert!(life.disk.bytes(&mark()).is_none());
    life.run(&[one(0), Step::Settle, Step::WriteQueues, Step::Restart]);
    assert!(life.disk.bytes(&mark()).is_none());
}
