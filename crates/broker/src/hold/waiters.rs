//! Who waits for which queue, until when. A plain structure: no clock inside, no task.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::task::Waker;

use rmq_message::{CompactString, QueueOffset};
use rmq_runtime::Monotonic;
use rmq_store::QueueKey;
use smallvec::SmallVec;

use super::{ANY_QUEUE, HoldRequest, Wake};
use crate::limits;

/// The structure.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Who has waited longest is woken first.
    by_id: BTreeMap<u64, Waiter>,
    by_queue: HashMap<QueueKey, BTreeSet<u64>>,
    by_peer: HashMap<u64, usize>,
    deadlines: BTreeSet<(Monotonic, u64)>,
    next_id: u64,
    /// When deadlines are looked at next; nobody does before the watcher runs.
    pub(super) next_look: Option<Monotonic>,
    closing: bool,
}

#[derive(Debug)]
struct Waiter {
    queues: SmallVec<[QueueKey; 1]>,
    share: Option<CompactString>,
    offset: QueueOffset,
    deadline: Monotonic,
    peer_id: u64,
    wake: Option<Wake>,
    waker: Option<Waker>,
}

impl Waiter {
    fn wake(&mut self, why: Wake) -> Option<Waker> {
        // An end is never replaced by a mere hint.
        if matches!(self.wake, None | Some(Wake::Arrived)) {
            self.wake = Some(why);
        }
        self.waker.take()
    }
}

impl Waiters {
    /// `None` when there are too many, in all or of this connection.
    pub(super) fn insert(&mut self, request: HoldRequest<'_>) -> Option<u64> {
        let of_peer = self.by_peer.get(&request.peer_id).copied().unwrap_or(0);
        if self.by_id.len() >= limits::HOLDS_MAX || of_peer >= limits::HOLDS_PER_CONNECTION_MAX {
            return None;
        }
        self.next_id += 1;
        let id = self.next_id;
        self.by_peer.insert(request.peer_id, of_peer + 1);
        for queue in request.queues {
            match self.by_queue.get_mut(queue) {
                Some(ids) => {
                    ids.insert(id);
                }
                None => {
                    self.by_queue.insert(queue.clone(), BTreeSet::from([id]));
                }
            }
        }
        self.deadlines.insert((request.deadline, id));
        let waiter = Waiter {
            queues: request.queues.into(),
            share: request.share.map(CompactString::new),
            offset: request.offset,
            deadline: request.deadline,
            peer_id: request.peer_id,
            wake: self.closing.then_some(Wake::Closing),
            waker: None,
        };
        self.by_id.insert(id, waiter);
        Some(id)
    }

    /// Takes one out. If it was woken and has not looked, the next of those who share wakes.
    pub(super) fn remove(&mut self, id: u64) -> Option<Waker> {
        let waiter = self.by_id.remove(&id)?;
        self.deadlines.remove(&(waiter.deadline, id));
        for queue in &waiter.queues {
            if let Some(ids) = self.by_queue.get_mut(queue) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_queue.remove(queue);
                }
            }
        }
        if let Some(count) = self.by_peer.get_mut(&waiter.peer_id) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&waiter.peer_id);
            }
        }
        match (waiter.wake, &waiter.share) {
            (Some(Wake::Arrived), Some(share)) => self.wake_next(&waiter.queues, share),
            _ => None,
        }
    }

    /// Wakes one of those who share one of these queues.
    pub(super) fn wake_next(&mut self, queues: &[QueueKey], share: &str) -> Option<Waker> {
        let Self { by_id, by_queue, .. } = self;
        let ids = queues.iter().filter_map(|queue| by_queue.get(queue)).flatten();
        for id in ids {
            let waiter = by_id.get_mut(id);
            if let Some(waiter) = waiter.filter(|waiter| waiter.share.as_deref() == Some(share)) {
                return waiter.wake(Wake::Arrived);
            }
        }
        None
    }

    /// How many of those who share a queue wait for it.
    pub(super) fn waiting(&self, queue: &QueueKey, share: &str) -> usize {
        let ids = self.by_queue.get(queue).into_iter().flatten();
        let waiters = ids.filter_map(|id| self.by_id.get(id));
        waiters.filter(|waiter| waiter.share.as_deref() == Some(share)).count()
    }

    pub(super) fn advance(&mut self, id: u64, offset: QueueOffset) {
        if let Some(waiter) = self.by_id.get_mut(&id) {
            waiter.offset = offset;
        }
    }

    /// Takes the reason of a wake, or keeps the waker until there is one. An arrival is taken once,
    /// an end stays.
    pub(super) fn take_wake(&mut self, id: u64, waker: &Waker) -> Option<Wake> {
        let waiter = self.by_id.get_mut(&id)?;
        match waiter.wake {
            Some(Wake::Arrived) => waiter.wake.take(),
            Some(end) => Some(end),
            None => {
                waiter.waker = Some(waker.clone());
                None
            }
        }
    }

    /// Wakes those of a queue whose offset lies before its end; of those who share it, one.
    pub(super) fn arrived(&mut self, queue: &QueueKey, end: QueueOffset) -> SmallVec<[Waker; 4]> {
        let Self { by_id, by_queue, .. } = self;
        let any = QueueKey { topic: queue.topic.clone(), queue_id: ANY_QUEUE };
        let ids = [queue, &any].into_iter().filter_map(|queue| by_queue.get(queue)).flatten();
        let mut served = SmallVec::<[CompactString; 4]>::new();
        let mut woken = SmallVec::new();
        for id in ids {
            let waiter = by_id.get_mut(id).filter(|waiter| waiter.offset < end);
            let Some(waiter) = waiter else { continue };
            if let Some(share) = &waiter.share {
                if served.contains(share) {
                    continue;
                }
                served.push(share.clone());
            }
            woken.extend(waiter.wake(Wake::Arrived));
        }
        woken
    }

    /// Wakes those of some queues to look again.
    pub(super) fn wake(&mut self, of: impl Fn(&QueueKey) -> bool) -> Vec<Waker> {
        let waiters = self.by_id.values_mut().filter(|waiter| waiter.queues.iter().any(&of));
        waiters.filter_map(|waiter| waiter.wake(Wake::Arrived)).collect()
    }

    /// Ends those whose time is over.
    pub(super) fn due(&mut self, now: Monotonic) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some(&(deadline, id)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            if let Some(waiter) = self.by_id.get_mut(&id) {
                woken.extend(waiter.wake(Wake::TimedOut));
            }
        }
        woken
    }

    /// Ends all, now and later.
    pub(super) fn close(&mut self) -> Vec<Waker> {
        self.closing = true;
        self.by_id.values_mut().filter_map(|waiter| waiter.wake(Wake::Closing)).collect()
    }

    /// The earliest moment at which [`Self::due`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
