//! Small state files on a disk that loses power: whatever the moment, one whole generation is there.

#![cfg(test)]

use std::path::Path;

use rmq_runtime::state_file::{self, Loaded};
use rmq_sim::{SimClock, SimDisk};

const FILE: &str = "/store/config/topics.json";

/// Longer than a sector, so that a write can be torn.
fn text(generation: u8) -> Vec<u8> {
    vec![generation; 3_000]
}

fn save(disk: &SimDisk, generation: u8) {
    // Fails when the disk froze; what is left is looked at afterwards.
    drop(state_file::save(disk, Path::new(FILE), &text(generation)));
}

/// The generation that a start finds. Fails when there is none, or one that is not whole.
fn found(disk: &SimDisk) -> Loaded<u8> {
    let parse = |bytes: bytes::Bytes| {
        let generation = *bytes.first().ok_or("empty")?;
        if bytes == text(generation) { Ok(generation) } else { Err("torn") }
    };
    state_file::load(disk, Path::new(FILE), parse).unwrap_or_else(|error| panic!("{error}"))
}

fn saved(generations: &[u8]) -> SimDisk {
    let disk = SimDisk::new(&SimClock::new(1_000));
    generations.iter().for_each(|generation| save(&disk, *generation));
    disk.settle();
    disk
}

/// Every state that a crash during the save of that generation can leave.
fn crashes(disk: &SimDisk, generation: u8, seeds: u64) -> Vec<SimDisk> {
    let mut left = Vec::new();
    for operation in 1.. {
        let disk = disk.after_kill();
        disk.settle();
        disk.freeze_at(operation);
        save(&disk, generation);
        left.push(disk.after_kill());
        left.extend((0..seeds).map(|seed| disk.after_power_loss(seed)));
        if !disk.is_frozen() {
            break;
        }
    }
    left
}

#[test]
fn a_save_that_is_cut_short_leaves_the_new_or_the_former_generation() {
    // INV-15
    let (mut new, mut former, mut from_backup) = (0, 0, 0);
    for left in crashes(&saved(&[1, 2]), 3, 50) {
        match found(&left) {
            Loaded::Current(3) => new += 1,
            Loaded::Current(2) => former += 1,
            Loaded::Previous { value: 2, .. } => from_backup += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(new > 0 && former > 0 && from_backup > 0, "{new} {former} {from_backup}");
}

#[test]
fn a_save_that_is_cut_short_again_and_again_loses_nothing_saved() {
    // INV-05, INV-15
    for left in crashes(&saved(&[1, 2]), 3, 8) {
        let before = found(&left).into_value().expect("something was saved");
        for left in crashes(&left, 4, 8) {
            let after = found(&left).into_value().expect("something was saved");
            assert!(after == before || after == 4, "{after} after {before}");
        }
    }
}

#[test]
fn the_first_save_is_there_whole_or_not_at_all() {
    for left in crashes(&saved(&[]), 1, 50) {
        assert!(matches!(found(&left), Loaded::Missing | Loaded::Current(1)));
    }
}

#[test]
fn what_was_saved_is_durable_and_the_former_generation_is_kept() {
    let disk = saved(&[1, 2]);
    save(&disk, 3);
    for seed in 0..50 {
        let left = disk.after_power_loss(seed);
        assert_eq!(found(&left), Loaded::Current(3));
        assert_eq!(left.bytes(Path::new("/store/config/topics.json.bak")), Some(text(2)));
    }
}
