//! One queue that is held: what was pulled ahead of the application, and where everything stands.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use rmq_message::{MessageQueue, MessageView, QueueOffset};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A held queue.
#[derive(Debug)]
pub(crate) struct HeldQueue {
    pub(crate) queue: MessageQueue,
    /// The queue was given up.
    pub(crate) revoked: CancellationToken,
    /// Something is different: a seek, a resume, room in the buffer.
    pub(crate) changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    buffer: VecDeque<MessageView>,
    bytes: usize,
    /// Where the application stands: after what was handed out.
    consumed: Option<QueueOffset>,
    /// Where pulling goes on from, when somebody has said so.
    sought: Option<QueueOffset>,
    /// Counts the seeks: what an older pull brings is void.
    epoch: u64,
    paused: bool,
}

/// What the pull loop is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing until something changes.
    Wait,
    /// Pull; from that position, if somebody has said so.
    Pull { epoch: u64, from: Option<QueueOffset> },
}

/// Bounds of one buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) count_max: usize,
    pub(crate) bytes_max: usize,
}

impl HeldQueue {
    pub(crate) fn new(queue: MessageQueue) -> Arc<Self> {
        Arc::new(Self {
            queue,
            revoked: CancellationToken::new(),
            changed: Notify::new(),
            state: Mutex::default(),
        })
    }

    /// What to do next.
    pub(crate) fn turn(&self, room: Room) -> Turn {
        let mut state = self.state.lock();
        let is_full = state.buffer.len() >= room.count_max || state.bytes >= room.bytes_max;
        if state.paused || is_full {
            return Turn::Wait;
        }
        Turn::Pull { epoch: state.epoch, from: state.sought.take() }
    }

    /// Whether a pull of that epoch still counts.
    pub(crate) fn is_current(&self, epoch: u64) -> bool {
        self.state.lock().epoch == epoch
    }

    /// Puts what a pull has brought behind the rest; false when a seek has made it void.
    pub(crate) fn put(&self, epoch: u64, messages: Vec<MessageView>) -> bool {
        let mut state = self.state.lock();
        if state.epoch != epoch {
            return false;
        }
        state.bytes += messages.iter().map(|message| message.stored_len).sum::<usize>();
        state.buffer.extend(messages);
        true
    }

    /// The pull of that epoch could not be made from where somebody has said: it is to be tried
    /// again.
    pub(crate) fn again(&self, epoch: u64, from: Option<QueueOffset>) {
        let mut state = self.state.lock();
        if state.epoch == epoch && state.sought.is_none() {
            state.sought = from;
        }
    }

    /// Hands out messages from the front.
    pub(crate) fn take(&self, count_max: usize) -> Vec<MessageView> {
        let mut state = self.state.lock();
        let count = count_max.min(state.buffer.len());
        let taken: Vec<_> = state.buffer.drain(..count).collect();
        state.bytes -= taken.iter().map(|message| message.stored_len).sum::<usize>();
        if let Some(last) = taken.last() {
            state.consumed = Some(last.queue_offset + 1);
            drop(state);
            self.changed.notify_one();
        }
        taken
    }

    /// Goes on from another position.
    pub(crate) fn seek(&self, to: QueueOffset) {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.buffer.clear();
        state.bytes = 0;
        state.sought = Some(to);
        state.consumed = Some(to);
        drop(state);
        self.changed.notify_one();
    }

    pub(crate) fn pause(&self, paused: bool) {
        self.state.lock().paused = paused;
        self.changed.notify_one();
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.state.lock().paused
    }

    /// Where the application stands; none before it has got anything.
    pub(crate) fn consumed(&self) -> Option<QueueOffset> {
        self.state.lock().consumed
    }

    /// Messages that are held ahead.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmq_message::{PhysicalOffset, Properties, Timestamp};

    const ROOM: Room = Room { count_max: 3, bytes_max: 1000 };

    fn messages(offsets: std::ops::Range<i64>) -> Vec<MessageView> {
        let message = |offset| MessageView {
            topic: "T".into(),
            body: "b".into(),
            flag: 0,
            properties: Properties::new(),
            broker_name: "a".into(),
            queue_id: 0,
            queue_offset: QueueOffset(offset),
            physical_offset: PhysicalOffset(0),
            sys_flag: 0,
            reconsume_times: 0,
            born_timestamp: Timestamp(0),
            born_host: "127.0.0.1:1".parse().unwrap(),
            store_timestamp: Timestamp(0),
            store_host: "127.0.0.1:1".parse().unwrap(),
            prepared_transaction_offset: 0,
            stored_len: 100,
        };
        offsets.map(message).collect()
    }

    fn held() -> Arc<HeldQueue> {
        HeldQueue::new(MessageQueue::new("T", "a", 0))
    }

    #[test]
    fn a_full_or_paused_queue_is_not_pulled() {
        let queue = held();
        assert_eq!(queue.turn(ROOM), Turn::Pull { epoch: 0, from: None });
        assert!(queue.put(0, messages(0..3)));
        assert_eq!(queue.turn(ROOM), Turn::Wait);
        assert_eq!(queue.take(2).len(), 2);
        assert_eq!(queue.consumed(), Some(QueueOffset(2)));
        queue.pause(true);
        assert_eq!(queue.turn(ROOM), Turn::Wait);
        assert_eq!(queue.take(9).len(), 1, "what is there can be taken");
    }

    #[test]
    fn a_seek_makes_what_is_on_its_way_void() {
        let queue = held();
        let Turn::Pull { epoch, .. } = queue.turn(ROOM) else { panic!("room") };
        queue.seek(QueueOffset(40));
        assert!(!queue.put(epoch, messages(0..3)) && !queue.is_current(epoch));
        assert_eq!((queue.len(), queue.consumed()), (0, Some(QueueOffset(40))));
        let turn = queue.turn(ROOM);
        assert_eq!(turn, Turn::Pull { epoch: 1, from: Some(QueueOffset(40)) });
        queue.again(1, Some(QueueOffset(40)));
        assert_eq!(queue.turn(ROOM), turn, "a pull that failed is made again");
    }
}
