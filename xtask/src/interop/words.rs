//! The words that producers and consumers print, ours and Java's alike, one line each:
//!
//! | line | who | means |
//! |---|---|---|
//! | `SENT id queue offset body` | producer | confirmed; one-way sends print `-`, -1, -1 |
//! | `FAILED body reason...` | producer | not confirmed, so unknown |
//! | `DONE sent failed` | producer | the end; exit status 0 if nothing failed |
//! | `READY` | consumer | started |
//! | `ASSIGNED topic [broker:queue,...]` | consumer | all queues it owns of that topic, whenever they change |
//! | `GOT queue offset reconsumeTimes topic body` | consumer | one delivery, printed before it is acknowledged |
//! | `STOPPED` | consumer | after SIGTERM or the end of standard input |
//!
//! A body is `<key-prefix>-<i>` padded with dots; trailing dots are printed as `~` and the length of the whole body.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::process::Line;

/// A confirmed message.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) id: String,
    pub(super) place: Place,
    pub(super) body: String,
    pub(super) at: Instant,
}

/// Queue and offset.
pub(super) type Place = (i32, i64);

/// One delivery.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) place: Place,
    pub(super) reconsumed: u32,
    pub(super) topic: String,
    pub(super) body: String,
    pub(super) at: Instant,
}

pub(super) fn sent(lines: &[Line]) -> Vec<Sent> {
    let parse = |line: &Line| {
        let mut words = line.text.strip_prefix("SENT ")?.split(' ');
        let id = words.next()?.to_owned();
        let place = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Sent { id, place, body: words.next()?.to_owned(), at: line.at })
    };
    lines.iter().filter_map(parse).collect()
}

pub(super) fn got(lines: &[Line]) -> Vec<Got> {
    let parse = |line: &Line| {
        let mut words = line.text.strip_prefix("GOT ")?.split(' ');
        let place = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let reconsumed = words.next()?.parse().ok()?;
        Some(Got {
            place,
            reconsumed,
            topic: words.next()?.to_owned(),
            body: words.next()?.to_owned(),
            at: line.at,
        })
    };
    lines.iter().filter_map(parse).collect()
}

/// The queues that a consumer said it owned last; none before it said so.
pub(super) fn assigned(lines: &[Line], topic: &str) -> BTreeSet<String> {
    let prefix = format!("ASSIGNED {topic} [");
    let last =
        lines.iter().rev().find_map(|line| line.text.strip_prefix(&prefix)?.strip_suffix(']'));
    last.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|queue| !queue.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Each message was delivered once, from where its producer was told that it lies; nothing else was.
pub(super) fn expect_same(sent: &[Sent], got: &[Got]) -> Result<()> {
    let expected: BTreeMap<&str, Place> =
        sent.iter().map(|one| (one.body.as_str(), one.place)).collect();
    let mut seen = BTreeSet::new();
    for one in got {
        let place = expected.get(one.body.as_str());
        ensure!(place.is_some(), "{one:?} was never sent");
        ensure!(place == Some(&one.place), "{one:?} was sent to {place:?}");
        ensure!(seen.insert(one.body.as_str()), "{one:?} came twice");
    }
    ensure!(seen.len() == expected.len(), "{} of {} messages came", seen.len(), expected.len());
    Ok(())
}

/// In every queue the offsets came in order and without a gap; a repetition is allowed only at once.
pub(super) fn expect_in_order(got: &[Got]) -> Result<()> {
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for one in got {
        let (queue, offset) = one.place;
        let before = last.insert(queue, offset).unwrap_or(-1);
        ensure!(
            offset == before + 1 || (offset == before && one.reconsumed > 0),
            "queue {queue}: {offset} came after {before}"
        );
    }
    Ok(())
}

/// Whoever of a group got a message, all before it in its queue had come to somebody. Repetitions are allowed.
pub(super) fn expect_no_leap(got: impl IntoIterator<Item = Got>) -> Result<()> {
    let mut all: Vec<Got> = got.into_iter().collect();
    all.sort_by_key(|one| one.at);
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    for one in all {
        let (queue, offset) = one.place;
        let end = ends.entry(queue).or_default();
        ensure!(
            offset <= *end,
            "queue {queue}: {offset} came when only those below {end} had come"
        );
        *end = (*end).max(offset + 1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        text.lines().map(|text| Line { text: text.to_owned(), at: Instant::now() }).collect()
    }

    #[test]
    fn words_are_understood() {
        let printed = lines(
            "READY\nASSIGNED T [a:0,a:1]\nGOT 1 7 2 T m-3~100\nASSIGNED T [a:1]\nASSIGNED TT [a:2]\nnoise",
        );
        let got = got(&printed);
        assert_eq!(
            (got.len(), got[0].place, got[0].reconsumed, got[0].body.as_str()),
            (1, (1, 7), 2, "m-3~100")
        );
        assert_eq!(assigned(&printed, "T"), BTreeSet::from(["a:1".to_owned()]));
        assert_eq!(assigned(&printed, "U"), BTreeSet::new());
    }

    #[test]
    fn a_message_from_elsewhere_or_twice_is_noticed() {
        let sent = sent(&lines("SENT id 0 0 a\nSENT id 0 1 b"));
        assert!(expect_same(&sent, &got(&lines("GOT 0 0 0 T a\nGOT 0 1 0 T b"))).is_ok());
        for wrong in [
            "GOT 0 0 0 T a",
            "GOT 0 0 0 T a\nGOT 0 2 0 T b",
            "GOT 0 0 0 T a\nGOT 0 1 0 T b\nGOT 0 1 0 T b",
            "GOT 0 0 0 T c",
        ] {
            assert!(expect_same(&sent, &got(&lines(wrong))).is_err(), "{wrong}");
        }
    }

    #[test]
    fn order_allows_only_repetition() {
        assert!(
            expect_in_order(&got(&lines(
                "GOT 0 0 0 T a\nGOT 0 0 1 T a\nGOT 1 0 0 T c\nGOT 0 1 0 T b"
            )))
            .is_ok()
        );
        assert!(expect_in_order(&got(&lines("GOT 0 0 0 T a\nGOT 0 2 0 T b"))).is_err());
    }

    #[test]
    fn a_leap_is_noticed_and_a_repetition_is_none() {
        assert!(expect_no_leap(got(&lines("GOT 0 0 0 T a\nGOT 0 1 0 T b\nGOT 0 0 0 T a"))).is_ok());
        assert!(expect_no_leap(got(&lines("GOT 0 0 0 T a\nGOT 0 2 0 T c"))).is_err());
    }
}
