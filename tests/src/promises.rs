//! What must become of messages that wait before anybody gets them: half ones for their verdict, delayed and
//! timed ones for their time.
//!
//! Every send is noted as begun, with its fate and its time, and later with what the sender was told.
//! [`Promises::check`] holds them against what came to a group:
//!
//! - what was acknowledged and is wanted came, from a place and with bytes that somebody sent;
//! - what was rolled back or refused did not come, whatever the sender was told of it;
//! - nothing was stored for delivery earlier than a tick before its time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rmq_message::Timestamp;

use crate::history::{Violations, shown};

/// How early a message may be (INV-34).
const TICK: Duration = Duration::from_secs(1);

/// What a sender was told in the end; until then it knows nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Stored.
    Stored,
    /// Not stored.
    Refused,
}

/// A send and what must become of it.
#[derive(Clone, Debug)]
pub struct Promise {
    /// What it waits for, to be counted by.
    pub kind: &'static str,
    /// Whether it is to come; else it is rolled back.
    pub wanted: bool,
    /// Nobody gets it before.
    pub due: Timestamp,
    /// What the sender knows.
    pub told: Option<Told>,
}

/// A message as a group got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Body.
    pub body: Bytes,
    /// When it was stored where it was taken from.
    pub stored: Timestamp,
}

/// Sends of a run, by body; bodies must differ.
#[derive(Debug, Default)]
pub struct Promises(Mutex<BTreeMap<Bytes, Promise>>);

/// Counts of a run in which all promises were kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Acknowledged sends of each kind.
    pub acknowledged: BTreeMap<&'static str, usize>,
    /// Sends of unknown outcome.
    pub unknown: usize,
    /// Arrivals of what had come before, of each kind.
    pub repeated: BTreeMap<&'static str, usize>,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |counts: &BTreeMap<&str, usize>| {
            let counts = counts.iter().map(|(kind, count)| format!("{count} {kind}"));
            counts.collect::<Vec<_>>().join(", ")
        };
        let (acknowledged, repeated) = (counts(&self.acknowledged), counts(&self.repeated));
        write!(f, "{acknowledged}, {} unknown (again: {repeated})", self.unknown)
    }
}

impl Promises {
    /// Notes that a send begins.
    pub fn begun(&self, body: Bytes, kind: &'static str, wanted: bool, due: Timestamp) {
        self.0.lock().insert(body, Promise { kind, wanted, due, told: None });
    }

    /// Notes what the sender was told.
    pub fn ended(&self, body: &Bytes, told: Told) {
        if let Some(promise) = self.0.lock().get_mut(body) {
            promise.told = Some(told);
        }
    }

    /// Sends that were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.0.lock().values().filter(|promise| promise.told == Some(Told::Stored)).count()
    }

    /// Holds them against what a group got.
    ///
    /// # Errors
    /// Broken promises.
    pub fn check(&self, arrivals: &[Arrival]) -> Result<Kept, Violations> {
        let promises = self.0.lock();
        let mut wrong = Vec::new();
        let mut came: HashMap<&Bytes, usize> = HashMap::new();
        for arrival in arrivals {
            let Some(promise) = promises.get(&arrival.body) else {
                wrong.push(format!("{} was never sent", shown(&arrival.body)));
                continue;
            };
            let early = Duration::from_millis((promise.due - arrival.stored).max(0).unsigned_abs());
            if early > TICK {
                wrong.push(format!("{} was {early:?} early", shown(&arrival.body)));
            }
            *came.entry(&arrival.body).or_default() += 1;
        }
        let mut kept = Kept::default();
        for (body, promise) in promises.iter() {
            let (what, kind, count) = (shown(body), promise.kind, came.get(body).copied());
            match promise.told {
                Some(Told::Stored) => *kept.acknowledged.entry(kind).or_default() += 1,
                Some(Told::Refused) if count.is_some() => {
                    wrong.push(format!("{what} ({kind}) was refused and came"));
                }
                Some(Told::Refused) => {}
                None => kept.unknown += 1,
            }
            match count {
                Some(_) if !promise.wanted => {
                    wrong.push(format!("{what} ({kind}) was rolled back and came"));
                }
                Some(count) if count > 1 => *kept.repeated.entry(kind).or_default() += count - 1,
                Some(_) => {}
                None if promise.wanted && promise.told == Some(Told::Stored) => {
                    wrong.push(format!("{what} ({kind}) was acknowledged and never came"));
                }
                None => {}
            }
        }
        if wrong.is_empty() { Ok(kept) } else { Err(Violations(wrong)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUE: Timestamp = Timestamp(10_000);

    fn promises() -> Promises {
        let promises = Promises::default();
        for (body, wanted, told) in [
            ("stored", true, Some(Told::Stored)),
            ("unknown", true, None),
            ("refused", true, Some(Told::Refused)),
            ("dropped", false, Some(Told::Stored)),
        ] {
            promises.begun(body.into(), "timed", wanted, DUE);
            if let Some(told) = told {
                promises.ended(&body.into(), told);
            }
        }
        promises
    }

    fn came(arrivals: &[(&'static str, i64)]) -> Result<Kept, Violations> {
        let arrival = |(body, at): &(&'static str, i64)| Arrival {
            body: Bytes::from_static(body.as_bytes()),
            stored: Timestamp(*at),
        };
        promises().check(&arrivals.iter().map(arrival).collect::<Vec<_>>())
    }

    #[test]
    fn kept_promises_are_counted() {
        let kept = came(&[("stored", 9_000), ("stored", 12_000), ("unknown", 10_000)]).unwrap();
        assert_eq!(kept.acknowledged, BTreeMap::from([("timed", 2)]));
        assert_eq!((kept.unknown, kept.repeated), (1, BTreeMap::from([("timed", 1)])));
        assert_eq!(promises().acknowledged(), 2);
    }

    #[test]
    fn every_broken_promise_is_found() {
        for (arrivals, complaint) in [
            (&[][..], "never came"),
            (&[("stored", 8_999)], "early"),
            (&[("stored", 10_000), ("refused", 10_000)], "refused and came"),
            (&[("stored", 10_000), ("dropped", 10_000)], "rolled back and came"),
            (&[("stored", 10_000), ("invented", 10_000)], "never sent"),
        ] {
            let error = came(arrivals).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
        }
    }
}
