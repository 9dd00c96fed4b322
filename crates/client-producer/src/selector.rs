//! Which queue a message goes to.

use std::sync::atomic::{AtomicUsize, Ordering};

use rmq_message::{Message, MessageQueue, java};

/// Chooses the queue of a message. Closures over the queues and the message do, too.
#[doc(alias = "MessageQueueSelector")]
pub trait QueueSelector: Send + Sync {
    /// Index of the queue; `None` when none suits, and then the message is not sent. `queues` is
    /// never empty.
    fn select(&self, queues: &[MessageQueue], message: &Message) -> Option<usize>;
}

impl<F: Fn(&[MessageQueue], &Message) -> usize + Send + Sync> QueueSelector for F {
    fn select(&self, queues: &[MessageQueue], message: &Message) -> Option<usize> {
        Some(self(queues, message))
    }
}

/// Messages of one key go to one queue, as long as the number of queues stays; the queue is the
/// one that Java's producer chooses for the same text.
#[doc(alias = "SelectMessageQueueByHash")]
#[derive(Clone, Debug)]
pub struct ByHash<K>(pub K);

impl<K: AsRef<str> + Send + Sync> QueueSelector for ByHash<K> {
    fn select(&self, queues: &[MessageQueue], _message: &Message) -> Option<usize> {
        let hash = java::hash(self.0.as_ref()).unsigned_abs();
        usize::try_from(hash).ok()?.checked_rem(queues.len())
    }
}

/// One queue after the other, from a random one on.
#[derive(Debug)]
pub(crate) struct RoundRobin {
    next: AtomicUsize,
}

impl RoundRobin {
    pub(crate) fn new(start: usize) -> Self {
        Self { next: AtomicUsize::new(start) }
    }

    /// The next queue that suits.
    pub(crate) fn find<'a>(
        &self,
        queues: &'a [MessageQueue],
        suits: impl Fn(&MessageQueue) -> bool,
    ) -> Option<&'a MessageQueue> {
        let at = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(queues.len())?;
        let (before, from) = queues.split_at(at);
        from.iter().chain(before).find(|queue| suits(queue))
    }

    /// The next queue that suits, or just the next one when none does.
    pub(crate) fn choose<'a>(
        &self,
        queues: &'a [MessageQueue],
        suits: impl Fn(&MessageQueue) -> bool,
    ) -> Option<&'a MessageQueue> {
        self.find(queues, suits).or_else(|| self.find(queues, |_| true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(brokers: &[&str]) -> Vec<MessageQueue> {
        brokers.iter().flat_map(|b| (0..2).map(move |id| MessageQueue::new("T", b, id))).collect()
    }

    #[test]
    fn every_queue_has_its_turn() {
        let (queues, round) = (queues(&["a", "b"]), RoundRobin::new(usize::MAX));
        let mut seen: Vec<_> = (0..4).map(|_| round.choose(&queues, |_| true).unwrap()).collect();
        assert_eq!(seen.first(), Some(&&queues[3]), "the counter wraps");
        seen.sort();
        assert_eq!(seen, queues.iter().collect::<Vec<_>>());
        assert_eq!(round.choose(&[], |_| true), None);
    }

    #[test]
    fn a_broker_is_avoided_unless_there_is_no_other() {
        let round = RoundRobin::new(0);
        let not_a = |queue: &MessageQueue| queue.broker_name != "a";
        assert!(
            (0..4).all(|_| round.choose(&queues(&["a", "b"]), not_a).unwrap().broker_name == "b")
        );
        assert!(round.choose(&queues(&["a"]), not_a).is_some());
    }

    #[test]
    fn a_key_chooses_the_queue_that_java_chooses() {
        let (queues, message) = (queues(&["a", "b", "c", "d", "e"]), Message::new("T", "b"));
        // Java: "order-paid".hashCode() = 710106603; "polygenelubricants".hashCode() = -2^31.
        assert_eq!(ByHash("order-paid").select(&queues, &message), Some(3));
        assert_eq!(ByHash("polygenelubricants").select(&queues, &message), Some(8));
        assert_eq!(ByHash("x").select(&[], &message), None);
    }
}
