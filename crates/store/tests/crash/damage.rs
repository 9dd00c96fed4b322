//! Bits that a device has turned over: told, never silently cut away.

use rmq_store::{OpenError, StoreAdmin};

use crate::amounts::{self, Told};
use crate::life::log_file;
use crate::model::FILE;
use crate::tail::{COUNT, Killed};

/// Messages whose every bit is flipped, some with others behind them in the same file.
fn hit() -> impl Iterator<Item = usize> {
    let some = usize::try_from(amounts::times() * 2).unwrap().min(COUNT - 1);
    (0..some).map(move |n| n * (COUNT - 1) / some)
}

fn flips(killed: &Killed, message: usize) -> impl Iterator<Item = (u64, u8)> + use<> {
    let (at, end) = killed.places[message];
    (at..end).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit)))
}

#[test]
fn any_flipped_bit_before_valid_messages_is_told_with_its_place() {
    // CT-03; INV-06, INV-08
    let killed = Killed::new(true, false);
    for message in hit() {
        for (at, bit) in flips(&killed, message) {
            let told = Told(|| format!("bit {bit} at {at}, in message {message}"));
            let disk = killed.damaged(at, |bytes| bytes[0] ^= bit);
            let before = disk.bytes(&log_file(at / FILE * FILE));
            match killed.open(&disk) {
                Err(OpenError::Damaged { path, at: place, next }) => {
                    let expected = (killed.places[message].0, killed.places[message + 1].0);
                    assert_eq!((place.0, next.0), expected);
                    assert_eq!(path, log_file(at / FILE * FILE));
                }
                Err(other) => panic!("{other}"),
                Ok(_) => panic!("opened"),
            }
            // Valid records are never removed because of an earlier bad one.
            assert!(disk.bytes(&log_file(at / FILE * FILE)) == before);
            drop(told);
        }
    }
}

#[test]
fn without_whole_checksums_no_flipped_bit_costs_a_message() {
    // CT-03; INV-06: damage is told, or passed on where no checksum covers it.
    let killed = Killed::new(false, false);
    for message in hit() {
        for (at, bit) in flips(&killed, message) {
            let told = Told(|| format!("bit {bit} at {at}, in message {message}"));
            let disk = killed.damaged(at, |bytes| bytes[0] ^= bit);
            match killed.open(&disk) {
                Err(OpenError::Damaged { at: place, .. }) => {
                    assert_eq!(place.0, killed.places[message].0);
                }
                Err(other) => panic!("{other}"),
                Ok(store) => assert_eq!(store.status().max_physical.0, killed.end()),
            }
            drop(told);
        }
    }
}

#[test]
fn a_flipped_bit_of_the_last_message_costs_only_that() {
    // CT-03; INV-04
    let killed = Killed::new(true, false);
    for (at, bit) in flips(&killed, COUNT - 1).step_by(5) {
        let disk = killed.damaged(at, |bytes| bytes[0] ^= bit);
        killed.assert_kept(&disk, COUNT - 1);
    }
}

#[test]
fn damage_of_what_was_saved_removes_nothing() {
    // CT-03; INV-06: such a place is read over, the rest is there.
    let killed = Killed::new(true, true);
    for (at, bit) in flips(&killed, COUNT / 2).step_by(7) {
        let disk = killed.damaged(at, |bytes| bytes[0] ^= bit);
        let store = killed.open(&disk).unwrap();
        assert_eq!(store.status().max_physical.0, killed.end());
        assert_eq!(store.status().min_physical.0, 0);
    }
}
