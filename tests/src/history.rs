//! What clients were told, held against what the brokers really have.
//!
//! Every call is noted as invoked and later as ok, refused or unknown. At the end
//! [`History::check`] compares with the content of the queues:
//!
//! - every ok send is there once, at the offset that was reported, with its own bytes;
//! - a refused send is not there; an unknown one may be, at most once (more are counted);
//! - the ok sends of one sender lie in a queue in the order in which it made them;
//! - offsets of a queue are dense from 0, and nothing is there that nobody sent.
//!
//! What a group did is held against the same content: [`History::check_delivered`] (or [`all_delivered`],
//! which waits) and [`History::check_committed`], or both by [`judge`]; [`Commits`] watches progress while a test runs.
//!
//! - every stored message was delivered, from where it lies and with its own bytes;
//! - progress never passes a message that was not delivered, and ends where the queue does;
//! - progress never goes back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context as _;
use bytes::Bytes;
use parking_lot::Mutex;
use rmq_message::MessageQueue;

use crate::Client;
use crate::inbox::Inbox;
use crate::wait::eventually;

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored, as the client was told: at this place.
    Ok {
        /// Queue.
        queue: MessageQueue,
        /// Offset in the queue.
        offset: i64,
    },
    /// The client was told that it is not stored.
    Refused,
    /// The client cannot know: no answer, or not yet.
    Unknown,
}

/// One send.
#[derive(Clone, Debug)]
struct Call {
    sender: usize,
    body: Bytes,
    outcome: Outcome,
}

/// A send that was begun.
#[derive(Clone, Copy, Debug)]
pub struct CallId(usize);

/// Calls of all senders of a run. Bodies must differ from each other.
#[derive(Debug, Default)]
pub struct History {
    calls: Mutex<Vec<Call>>,
    acknowledged: AtomicUsize,
}

/// A message as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Offset in its queue.
    pub offset: i64,
    /// Body.
    pub body: Bytes,
}

/// What the queues hold, in the order in which it was read.
pub type Contents = BTreeMap<MessageQueue, Vec<Stored>>;

/// Counts of a run that kept the promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Sends that were acknowledged.
    pub ok: usize,
    /// Sends that were refused.
    pub refused: usize,
    /// Sends of unknown outcome.
    pub unknown: usize,
    /// Those of them that are stored.
    pub unknown_stored: usize,
    /// Messages in the queues.
    pub stored: usize,
    /// Further copies of messages of one send.
    pub duplicates: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ok, refused, unknown, unknown_stored, stored, duplicates } = self;
        write!(
            f,
            "{ok} acknowledged, {refused} refused, {unknown} unknown ({unknown_stored} of them \
             stored), {stored} messages stored, {duplicates} duplicates"
        )
    }
}

/// Broken promises.
#[derive(Debug, thiserror::Error)]
#[error("{} broken promises: {}", .0.len(), .0.iter().take(10).cloned().collect::<Vec<_>>().join("; "))]
pub struct Violations(pub(crate) Vec<String>);

impl History {
    /// Notes that a sender begins to send a body.
    pub fn invoked(&self, sender: usize, body: Bytes) -> CallId {
        let mut calls = self.calls.lock();
        calls.push(Call { sender, body, outcome: Outcome::Unknown });
        CallId(calls.len() - 1)
    }

    /// Notes how it ended. A call of which this is never told is unknown.
    pub fn ended(&self, call: CallId, outcome: Outcome) {
        if let Some(call) = self.calls.lock().get_mut(call.0) {
            if matches!(outcome, Outcome::Ok { .. }) {
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            call.outcome = outcome;
        }
    }

    /// Sends that were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Compares with what the brokers have.
    ///
    /// # Errors
    /// What was promised and is not so.
    pub fn check(&self, contents: &Contents) -> Result<Verdict, Violations> {
        let calls = self.calls.lock();
        let mut wrong = Vec::new();
        let mut places: HashMap<&Bytes, Vec<(&MessageQueue, i64)>> = HashMap::new();
        for (queue, messages) in contents {
            for (expected, message) in (0i64..).zip(messages) {
                if message.offset != expected {
                    wrong.push(format!(
                        "{queue} has offset {} after {expected} messages",
                        message.offset
                    ));
                }
                places.entry(&message.body).or_default().push((queue, message.offset));
            }
        }
        let mut verdict =
            Verdict { stored: contents.values().map(Vec::len).sum(), ..Verdict::default() };
        let mut last: HashMap<(usize, &MessageQueue), i64> = HashMap::new();
        for call in calls.iter() {
            let found = places.remove(&call.body).unwrap_or_default();
            verdict.duplicates += found.len().saturating_sub(1);
            match &call.outcome {
                Outcome::Ok { queue, offset } => {
                    verdict.ok += 1;
                    if !found.contains(&(queue, *offset)) {
                        wrong.push(format!(
                            "{} was acknowledged at {queue} {offset} and lies at {found:?}",
                            shown(&call.body)
                        ));
                    }
                    if last
                        .insert((call.sender, queue), *offset)
                        .is_some_and(|last| last >= *offset)
                    {
                        wrong.push(format!(
                            "{} lies before what was sent earlier",
                            shown(&call.body)
                        ));
                    }
                }
                Outcome::Refused => {
                    verdict.refused += 1;
                    if !found.is_empty() {
                        wrong.push(format!(
                            "{} was refused and lies at {found:?}",
                            shown(&call.body)
                        ));
                    }
                }
                Outcome::Unknown => {
                    verdict.unknown += 1;
                    verdict.unknown_stored += usize::from(!found.is_empty());
                }
            }
        }
        wrong.extend(places.keys().map(|body| format!("{} was never sent", shown(body))));
        if wrong.is_empty() { Ok(verdict) } else { Err(Violations(wrong)) }
    }

    /// Whether every stored message was delivered; tells how many deliveries were repetitions.
    ///
    /// # Errors
    /// What was never delivered, and deliveries of what is not stored.
    pub fn check_delivered(
        contents: &Contents,
        delivered: &[(MessageQueue, Stored)],
    ) -> Result<usize, Violations> {
        let mut missing: HashMap<(&MessageQueue, i64), &Bytes> = HashMap::new();
        for (queue, messages) in contents {
            missing.extend(messages.iter().map(|stored| ((queue, stored.offset), &stored.body)));
        }
        let all = missing.clone();
        let (mut wrong, mut repeated) = (Vec::new(), 0);
        for (queue, message) in delivered {
            let place = (queue, message.offset);
            if all.get(&place) != Some(&&message.body) {
                wrong.push(format!(
                    "{} came from {place:?} and does not lie there",
                    shown(&message.body)
                ));
            }
            repeated += usize::from(missing.remove(&place).is_none());
        }
        wrong.extend(missing.keys().map(|place| format!("{place:?} was never delivered")));
        if wrong.is_empty() { Ok(repeated) } else { Err(Violations(wrong)) }
    }

    /// Whether everything below the committed positions was delivered, and none is beyond its queue.
    ///
    /// # Errors
    /// Progress that passes a message, or the end.
    pub fn check_committed(
        contents: &Contents,
        delivered: &[(MessageQueue, Stored)],
        progress: &[(MessageQueue, i64)],
    ) -> Result<(), Violations> {
        let got: HashSet<_> = delivered.iter().map(|(queue, m)| (queue, m.offset)).collect();
        let mut wrong = Vec::new();
        for (queue, committed) in progress {
            let messages = contents.get(queue).map_or(&[][..], Vec::as_slice);
            let end = messages.last().map_or(0, |last| last.offset + 1);
            if *committed > end {
                wrong.push(format!("progress of {queue} is {committed}, its end is {end}"));
            }
            let below = messages.iter().filter(|stored| stored.offset < *committed);
            let passed = below.filter(|stored| !got.contains(&(queue, stored.offset)));
            wrong.extend(
                passed.map(|stored| {
                    format!("progress of {queue} passed {} undelivered", stored.offset)
                }),
            );
        }
        if wrong.is_empty() { Ok(()) } else { Err(Violations(wrong)) }
    }
}

/// Progress of a group as it was seen, time after time.
#[derive(Debug, Default)]
pub struct Commits(BTreeMap<MessageQueue, i64>);

impl Commits {
    /// Notes what is committed now.
    ///
    /// # Errors
    /// Progress that has gone back.
    pub fn seen(&mut self, progress: &[(MessageQueue, i64)]) -> Result<(), Violations> {
        let mut wrong = Vec::new();
        for (queue, offset) in progress {
            let last = self.0.entry(queue.clone()).or_default();
            if offset < last {
                wrong.push(format!("progress of {queue} went back from {last} to {offset}"));
            }
            *last = (*last).max(*offset);
        }
        if wrong.is_empty() { Ok(()) } else { Err(Violations(wrong)) }
    }
}

/// Waits until every stored message was delivered; tells how many deliveries were repetitions.
///
/// # Errors
/// It does not come to that in time.
pub async fn all_delivered(contents: &Contents, inbox: &Inbox) -> anyhow::Result<usize> {
    let look = async || History::check_delivered(contents, &inbox.stored()).ok();
    match eventually("delivery of every stored message", look).await {
        Ok(repeated) => Ok(repeated),
        // Says what is missing.
        Err(late) => Ok(History::check_delivered(contents, &inbox.stored()).context(late)?),
    }
}

/// Holds what the members of a group got against what is stored and what they have committed; tells
/// how many deliveries were repetitions.
///
/// # Errors
/// Broken promises, or a broker that does not answer.
pub async fn judge(
    client: &Client,
    topic: &str,
    group: &str,
    inbox: &Inbox,
) -> anyhow::Result<usize> {
    let (contents, progress) =
        (client.contents(topic).await?, client.progress(group, topic).await?);
    let delivered = inbox.stored();
    History::check_committed(&contents, &delivered, &progress)?;
    Ok(History::check_delivered(&contents, &delivered)?)
}

pub(crate) fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(..40).unwrap_or(body)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(id: i32) -> MessageQueue {
        MessageQueue::new("T", "a", id)
    }

    fn contents(queues: &[(i32, &[&'static str])]) -> Contents {
        let stored = |body: &&'static str| Bytes::from_static(body.as_bytes());
        let messages = |bodies: &[&'static str]| {
            (0..).zip(bodies).map(|(offset, body)| Stored { offset, body: stored(body) }).collect()
        };
        queues.iter().map(|(id, bodies)| (queue(*id), messages(bodies))).collect()
    }

    fn sent(history: &History, sender: usize, body: &'static str, outcome: Outcome) {
        let call = history.invoked(sender, body.into());
        history.ended(call, outcome);
    }

    fn ok(id: i32, offset: i64) -> Outcome {
        Outcome::Ok { queue: queue(id), offset }
    }

    #[test]
    fn a_run_that_keeps_its_promises_is_counted() {
        let history = History::default();
        sent(&history, 0, "a", ok(0, 0));
        sent(&history, 0, "b", ok(1, 0));
        sent(&history, 1, "c", Outcome::Refused);
        sent(&history, 1, "d", Outcome::Unknown);
        let _never_ended = history.invoked(1, "e".into());
        let verdict = history.check(&contents(&[(0, &["a", "d"]), (1, &["b", "d"])])).unwrap();
        let expected =
            Verdict { ok: 2, refused: 1, unknown: 2, unknown_stored: 1, stored: 4, duplicates: 1 };
        assert_eq!(verdict, expected);
        assert_eq!(history.acknowledged(), 2);
    }

    #[test]
    fn every_broken_promise_is_found() {
        for (what, queues) in [
            ("lost", contents(&[(0, &["b"])])),
            ("moved", contents(&[(0, &["b", "a"])])),
            ("refused, yet stored", contents(&[(0, &["a", "b", "no"])])),
            ("invented", contents(&[(0, &["a", "b", "x"])])),
            ("hole", {
                let mut holed = contents(&[(0, &["a", "b"])]);
                holed.get_mut(&queue(0)).unwrap().get_mut(1).unwrap().offset = 2;
                holed
            }),
        ] {
            let history = History::default();
            sent(&history, 0, "a", ok(0, 0));
            sent(&history, 0, "b", ok(0, 1));
            sent(&history, 0, "no", Outcome::Refused);
            assert!(history.check(&queues).is_err(), "{what}");
        }
        let history = History::default();
        sent(&history, 0, "a", ok(0, 1));
        sent(&history, 0, "b", ok(0, 0));
        assert!(history.check(&contents(&[(0, &["b", "a"])])).is_err(), "out of order");
    }

    #[test]
    fn deliveries_are_held_against_the_log() {
        let log = contents(&[(0, &["a", "b"])]);
        let of = |offset, body: &'static str| (queue(0), Stored { offset, body: body.into() });
        let check = |delivered: &[_]| History::check_delivered(&log, delivered);
        assert_eq!(check(&[of(0, "a"), of(1, "b"), of(0, "a")]).unwrap(), 1);
        assert!(check(&[of(0, "a")]).is_err());
        assert!(check(&[of(0, "a"), of(1, "x")]).is_err());
    }

    #[test]
    fn progress_is_held_against_deliveries_and_never_goes_back() {
        let log = contents(&[(0, &["a", "b"])]);
        let got = |offset, body: &'static str| (queue(0), Stored { offset, body: body.into() });
        let check = |delivered: &[_], committed| {
            History::check_committed(&log, delivered, &[(queue(0), committed)])
        };
        check(&[got(0, "a"), got(1, "b")], 2).unwrap();
        check(&[got(0, "a")], 1).unwrap();
        check(&[], 0).unwrap();
        assert!(check(&[got(1, "b")], 2).is_err(), "passed a message");
        assert!(check(&[got(0, "a"), got(1, "b")], 3).is_err(), "beyond the end");
        let mut commits = Commits::default();
        for (offset, is_right) in [(1, true), (1, true), (5, true), (4, false), (5, true)] {
            assert_eq!(commits.seen(&[(queue(0), offset)]).is_ok(), is_right, "{offset}");
        }
    }
}
