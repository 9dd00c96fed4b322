//! What a consumer holds of one queue: messages that wait for the listener, messages that the
//! listener has, and from both the progress that may be committed.
//!
//! A plain structure: no lock, no clock. Progress is the lowest unfinished offset, or the position
//! up to which the queue has been read when nothing is unfinished; filtered messages therefore
//! advance it and an unfinished one holds it back. A message that was taken belongs to its ticket;
//! whoever comes with an older ticket changes nothing.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rmq_message::{MessageView, QueueOffset};
use rmq_runtime::{Monotonic, canary};

/// Messages of one call of the listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Messages(Arc<[MessageView]>);

impl Deref for Messages {
    type Target = [MessageView];
    fn deref(&self) -> &[MessageView] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Messages {
    type Item = &'a MessageView;
    type IntoIter = std::slice::Iter<'a, MessageView>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl From<Vec<MessageView>> for Messages {
    fn from(messages: Vec<MessageView>) -> Self {
        Self(messages.into())
    }
}

/// Names one taking of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Messages taken together.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) ticket: Ticket,
    pub(crate) messages: Messages,
}

#[derive(Debug)]
struct Taken {
    batch: Batch,
    index: usize,
    since: Monotonic,
}

#[derive(Debug)]
struct Unfinished {
    bytes: usize,
    taken: Option<Taken>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ProcessQueue {
    unfinished: BTreeMap<QueueOffset, Unfinished>,
    /// Those of `unfinished` that nobody has taken, by offset.
    waiting: VecDeque<MessageView>,
    bytes: usize,
    position: Option<QueueOffset>,
    last_ticket: u64,
}

/// How full a process queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Unfinished messages.
    pub(crate) count: usize,
    /// Bytes of their bodies.
    pub(crate) bytes: usize,
    /// Distance between the first and the last of them.
    pub(crate) span: i64,
}

impl ProcessQueue {
    /// Adds what was read up to `next`; a message that is held already is left as it is. Returns how
    /// many were new.
    pub(crate) fn put(&mut self, messages: Vec<MessageView>, next: QueueOffset) -> usize {
        let before = self.unfinished.len();
        for message in messages {
            let (offset, bytes) = (message.queue_offset, message.body.len());
            if self.unfinished.contains_key(&offset) {
                continue;
            }
            self.unfinished.insert(offset, Unfinished { bytes, taken: None });
            self.bytes += bytes;
            self.advance(offset + 1);
            self.wait(message);
        }
        self.advance(next);
        self.unfinished.len() - before
    }

    /// The queue has been read up to `next`. Never goes back.
    pub(crate) fn advance(&mut self, next: QueueOffset) {
        self.position = self.position.max(Some(next));
    }

    /// Hands out the first waiting messages, at most `max`.
    pub(crate) fn take(&mut self, max: usize, now: Monotonic) -> Option<Batch> {
        let count = max.min(self.waiting.len());
        if count == 0 {
            return None;
        }
        let messages: Messages = self.waiting.drain(..count).collect::<Vec<_>>().into();
        self.last_ticket += 1;
        let batch = Batch { ticket: Ticket(self.last_ticket), messages };
        for (index, message) in batch.messages.iter().enumerate() {
            if let Some(held) = self.unfinished.get_mut(&message.queue_offset) {
                held.taken = Some(Taken { batch: batch.clone(), index, since: now });
            }
        }
        Some(batch)
    }

    /// These messages of a taken batch are finished. Returns the progress, or `None` when the batch
    /// holds none of them any more: then it says nothing about progress.
    pub(crate) fn done(
        &mut self,
        ticket: Ticket,
        offsets: impl IntoIterator<Item = QueueOffset>,
    ) -> Option<QueueOffset> {
        let mut finished = false;
        for offset in offsets {
            if self.holds(ticket, offset)
                && let Some(held) = self.unfinished.remove(&offset)
            {
                self.bytes -= held.bytes;
                finished = true;
            }
        }
        if finished { self.progress() } else { None }
    }

    /// These messages of a taken batch wait again, each with one more attempt behind it when
    /// `failed`.
    pub(crate) fn put_back(
        &mut self,
        ticket: Ticket,
        offsets: impl IntoIterator<Item = QueueOffset>,
        failed: bool,
    ) {
        for offset in offsets {
            let Some(held) = self.unfinished.get_mut(&offset) else { continue };
            let Some(taken) = held.taken.take_if(|taken| taken.batch.ticket == ticket) else {
                continue;
            };
            let Some(message) = taken.batch.messages.get(taken.index) else { continue };
            let mut message = message.clone();
            message.reconsume_times = message.reconsume_times.saturating_add(i32::from(failed));
            self.wait(message);
        }
    }

    /// Whether a taken message is still unfinished and still belongs to this ticket.
    pub(crate) fn holds(&self, ticket: Ticket, offset: QueueOffset) -> bool {
        self.unfinished
            .get(&offset)
            .and_then(|held| held.taken.as_ref())
            .is_some_and(|taken| taken.batch.ticket == ticket)
    }

    /// The first unfinished message, if the listener has had it for longer than `limit`.
    pub(crate) fn overdue(
        &self,
        now: Monotonic,
        limit: Duration,
    ) -> Option<(Ticket, Messages, usize)> {
        let (_, first) = self.unfinished.first_key_value()?;
        let taken = first.taken.as_ref().filter(|taken| now.since(taken.since) > limit)?;
        Some((taken.batch.ticket, taken.batch.messages.clone(), taken.index))
    }

    /// Everything below is finished; `None` when nothing has been read.
    pub(crate) fn progress(&self) -> Option<QueueOffset> {
        if canary("INV-21 progress passes what is unfinished") {
            return self.position;
        }
        self.first().or(self.position)
    }

    /// Forgets all messages. What was taken stays with who has it and counts no more.
    pub(crate) fn clear(&mut self) {
        self.unfinished.clear();
        self.waiting.clear();
        self.bytes = 0;
    }

    pub(crate) fn load(&self) -> Load {
        let span = match (self.first(), self.last()) {
            (Some(first), Some(last)) => last - first,
            _ => 0,
        };
        Load { count: self.unfinished.len(), bytes: self.bytes, span }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.unfinished.is_empty()
    }

    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Lowest unfinished offset.
    pub(crate) fn first(&self) -> Option<QueueOffset> {
        self.unfinished.first_key_value().map(|(offset, _)| *offset)
    }

    /// Highest unfinished offset.
    pub(crate) fn last(&self) -> Option<QueueOffset> {
        self.unfinished.last_key_value().map(|(offset, _)| *offset)
    }

    fn wait(&mut self, message: MessageView) {
        let offset = message.queue_offset;
        match self.waiting.back() {
            Some(last) if last.queue_offset > offset => {
                let at = self.waiting.partition_point(|held| held.queue_offset < offset);
                self.waiting.insert(at, message);
            }
            _ => self.waiting.push_back(message),
        }
    }
}

#[cfg(test)]
#[path = "process_queue_test.rs"]
mod tests;
