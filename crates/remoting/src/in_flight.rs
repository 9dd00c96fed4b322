//! Requests that wait for their answers: a table that is alive, or broken as a whole.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use compact_str::CompactString;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::command::RemotingCommand;

/// Requests of one connection that wait for their answers.
pub(crate) struct InFlight {
    state: Mutex<State>,
    max: usize,
}

enum State {
    Alive {
        waiting: HashMap<i32, oneshot::Sender<RemotingCommand>>,
        next: i32,
    },
    /// The connection ended; nothing can be booked any more.
    Broken(CompactString),
}

/// Why a request cannot wait, or waits in vain.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The connection ended.
    Broken(CompactString),
    /// Too many are waiting.
    Full,
}

impl InFlight {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        let state = State::Alive { waiting: HashMap::new(), next: 0 };
        Arc::new(Self { state: Mutex::new(state), max })
    }

    /// Books the next free number.
    pub(crate) fn book(self: &Arc<Self>) -> Result<Ticket, NoAnswer> {
        let mut state = self.state.lock();
        let (waiting, next) = match &mut *state {
            State::Alive { waiting, next } => (waiting, next),
            State::Broken(reason) => return Err(NoAnswer::Broken(reason.clone())),
        };
        if waiting.len() >= self.max {
            return Err(NoAnswer::Full);
        }
        // Numbers come round after four billion requests; one may still be waiting then.
        loop {
            let opaque = *next;
            *next = next.wrapping_add(1);
            if let Entry::Vacant(place) = waiting.entry(opaque) {
                let (sender, answer) = oneshot::channel();
                place.insert(sender);
                return Ok(Ticket { table: Arc::clone(self), opaque, answer });
            }
        }
    }

    /// Hands an answer to whoever waits for it. False when nobody does.
    pub(crate) fn complete(&self, answer: RemotingCommand) -> bool {
        let waiting = match &mut *self.state.lock() {
            State::Alive { waiting, .. } => waiting.remove(&answer.opaque),
            State::Broken(_) => None,
        };
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    /// Ends all waiting at once. Later calls change nothing.
    pub(crate) fn break_all(&self, reason: &str) {
        let mut state = self.state.lock();
        if let State::Alive { .. } = *state {
            let alive = std::mem::replace(&mut *state, State::Broken(reason.into()));
            drop(state);
            drop(alive);
        }
    }

    /// How many are waiting.
    pub(crate) fn len(&self) -> usize {
        match &*self.state.lock() {
            State::Alive { waiting, .. } => waiting.len(),
            State::Broken(_) => 0,
        }
    }

    fn broken(&self) -> NoAnswer {
        match &*self.state.lock() {
            State::Alive { .. } => NoAnswer::Broken("no longer waited for".into()),
            State::Broken(reason) => NoAnswer::Broken(reason.clone()),
        }
    }
}

/// A place in the table; a future of the answer. The place is freed when it is dropped.
pub(crate) struct Ticket {
    table: Arc<InFlight>,
    opaque: i32,
    answer: oneshot::Receiver<RemotingCommand>,
}

impl Ticket {
    pub(crate) fn opaque(&self) -> i32 {
        self.opaque
    }
}

impl Future for Ticket {
    type Output = Result<RemotingCommand, NoAnswer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx).map(|answer| answer.map_err(|_| self.table.broken()))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let State::Alive { waiting, .. } = &mut *self.table.state.lock() {
            waiting.remove(&self.opaque);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(opaque: i32) -> RemotingCommand {
        RemotingCommand { opaque, ..RemotingCommand::response(0) }
    }

    #[tokio::test]
    async fn answer_reaches_the_one_who_waits_for_its_number() {
        let table = InFlight::new(8);
        let (first, second) = (table.book().unwrap(), table.book().unwrap());
        assert_eq!((first.opaque(), second.opaque()), (0, 1));
        assert!(table.complete(answer(1)));
        assert!(!table.complete(answer(1)), "answered already");
        assert!(!table.complete(answer(7)), "never asked");
        assert_eq!(second.await.unwrap().opaque, 1);
        drop(first);
        assert_eq!(table.len(), 0);
    }

    #[tokio::test]
    async fn a_break_ends_all_waiting_and_all_booking() {
        let table = InFlight::new(8);
        let waiting = table.book().unwrap();
        table.break_all("gone");
        assert_eq!(waiting.await.unwrap_err(), NoAnswer::Broken("gone".into()));
        assert_eq!(table.book().err(), Some(NoAnswer::Broken("gone".into())));
    }

    #[test]
    fn places_are_limited_and_freed_by_those_who_give_up() {
        let table = InFlight::new(1);
        let waiting = table.book().unwrap();
        assert_eq!(table.book().err(), Some(NoAnswer::Full));
        drop(waiting);
        assert!(table.book().is_ok());
    }
}
