//! What becomes of popped messages: acks (200051, 200151), and other times at which they come again
//! (200053).
//!
//! An ack is a record of the revive topic, which finds its check point there; one that finds none
//! is nothing (RS-35). Ordered messages are acknowledged in the table of the group's batches.

use std::sync::Arc;

use rmq_message::Timestamp;
use rmq_remoting::protocol::pop::{
    AckMessage, BatchAck, BatchAckMessage, ChangeInvisibleTime, ChangeInvisibleTimeResponse,
};
use rmq_remoting::{Peer, RemotingCommand, Reply, Response};
use rmq_runtime::Clock;
use rmq_store::{AppendError, AppendReceipt, MessageStore, QueueKey};

use super::offset::read;
use crate::append::{Appender, Before};
use crate::group_table::GroupTable;
use crate::hold::{ANY_QUEUE, HoldService};
use crate::identity::Identity;
use crate::limits;
use crate::offset_table::{Backward, OffsetTable, Place};
use crate::pop::ORDER_QUEUE;
use crate::pop::check_point::{Ack, CheckPoint};
use crate::pop::cursor::Cursors;
use crate::pop::order::{Acked, OrderTable};
use crate::pop::receipt::{Kind, Receipt};
use crate::pop::revive_log::ReviveLog;
use crate::reply;
use crate::topic_table::TopicTable;

/// Serves acks.
pub(crate) struct AckRequests {
    pub(crate) identity: Arc<Identity>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) orders: Arc<OrderTable>,
    pub(crate) log: Arc<ReviveLog>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) appender: Appender,
    pub(crate) holds: Arc<HoldService>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl AckRequests {
    /// One message is done (200051).
    pub(crate) fn ack(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Reply {
        self.ack_checked(peer, request).unwrap_or_else(Reply::Now)
    }

    fn ack_checked(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Reply, Response> {
        let asked: AckMessage = read(request)?;
        let queue = self.queue(&asked.topic, asked.queue_id, peer)?;
        let range = self.store.offsets(&queue);
        if !(range.start.0..=range.end.0).contains(&asked.offset) {
            let at = [asked.offset, range.start.0, range.end.0];
            return Err(reply::ack_out_of_range(&queue.topic, queue.queue_id, at));
        }
        let receipt = self.receipt(&asked.extra_info)?;
        let place =
            Place { group: &asked.consumer_group, topic: &asked.topic, queue_id: asked.queue_id };
        if receipt.revive_queue == ORDER_QUEUE {
            self.ack_in_order(place, asked.offset, receipt.pop_time)?;
            return Ok(Reply::Now(Response::ok()));
        }
        let staged = self.log.ack(
            receipt.revive_queue,
            &ack_of(place, &receipt, asked.offset, Vec::new()),
            receipt.due(),
        );
        self.answer(staged, Response::ok())
    }

    /// Many messages are done (200151).
    pub(crate) fn ack_many(&self, request: &RemotingCommand) -> Reply {
        self.ack_many_checked(request).unwrap_or_else(Reply::Now)
    }

    fn ack_many_checked(&self, request: &RemotingCommand) -> Result<Reply, Response> {
        let asked: Option<BatchAckMessage> = read(request)?;
        let asked = asked.filter(|asked| !asked.acks.is_empty()).ok_or_else(reply::no_acks)?;
        let mut last = None;
        for ack in &asked.acks {
            last = self.ack_some(ack, &asked.broker_name)?.or(last);
        }
        match last {
            Some(staged) => self.answer(Ok(staged), Response::ok()),
            None => Ok(Reply::Now(Response::ok())),
        }
    }

    /// Messages of one check point; those outside of the queue are left out.
    fn ack_some(&self, ack: &BatchAck, broker: &str) -> Result<Option<AppendReceipt>, Response> {
        let kind = Kind::parse(&ack.retry).unwrap_or(Kind::Normal);
        let topic = kind.topic(&ack.topic, &ack.consumer_group);
        let place = Place { group: &ack.consumer_group, topic: &topic, queue_id: ack.queue_id };
        let range = self.store.offsets(&QueueKey::new(&topic, ack.queue_id));
        let positions =
            ack.positions(limits::ACKS_MAX).ok_or_else(|| reply::bad_receipt(&ack.bits))?;
        let offsets = positions.iter().map(|position| ack.start_offset.saturating_add(*position));
        let offsets: Vec<i64> =
            offsets.filter(|offset| (range.start.0..=range.end.0).contains(offset)).collect();
        if offsets.is_empty() {
            return Ok(None);
        }
        if ack.revive_queue_id == ORDER_QUEUE {
            for offset in offsets {
                self.ack_in_order(place, offset, ack.pop_time)?;
            }
            return Ok(None);
        }
        if !self.log.has_queue(ack.revive_queue_id) {
            return Err(reply::bad_receipt(&ack.revive_queue_id.to_string()));
        }
        let receipt = Receipt {
            start: ack.start_offset,
            pop_time: ack.pop_time,
            invisible: ack.invisible_time,
            revive_queue: ack.revive_queue_id,
            kind,
            broker: broker.into(),
        };
        let staged =
            self.log.ack(ack.revive_queue_id, &ack_of(place, &receipt, -1, offsets), receipt.due());
        staged.map(Some).map_err(|error| self.failed(&error))
    }

    /// A message is to come again at another time (200053).
    pub(crate) fn change(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Reply {
        self.change_checked(peer, request).unwrap_or_else(Reply::Now)
    }

    fn change_checked(
        &self,
        peer: &Arc<Peer>,
        request: &RemotingCommand,
    ) -> Result<Reply, Response> {
        let asked: ChangeInvisibleTime = read(request)?;
        let queue = self.queue(&asked.topic, asked.queue_id, peer)?;
        let range = self.store.offsets(&queue);
        if !(range.start.0..range.end.0).contains(&asked.offset) {
            return Err(reply::no_acks());
        }
        let receipt = self.receipt(&asked.extra_info)?;
        let now = Timestamp::from(self.clock.wall());
        if receipt.revive_queue == ORDER_QUEUE {
            return Ok(Reply::Now(self.change_in_order(&asked, &receipt, now)));
        }
        if self.groups.peek(&asked.consumer_group).is_none() {
            return Err(reply::pull_group_missing(&asked.consumer_group));
        }
        // The old receipt must not name the new check point, however quick the client is.
        let pop_time = now.0.saturating_add(i64::from(now.0 == receipt.pop_time));
        let check_point = CheckPoint {
            broker: self.identity.name.clone(),
            group: asked.consumer_group.clone(),
            count: 1,
            diffs: Some(vec![0]),
            invisible: asked.invisible_time,
            pop_time,
            queue_id: asked.queue_id,
            due: pop_time.saturating_add(asked.invisible_time),
            start: asked.offset,
            suspend: asked.suspend == Some(true),
            topic: asked.topic.clone(),
            ..CheckPoint::default()
        };
        // The new one first: between the two the message comes twice, and not never.
        let staged = self.log.check_point(receipt.revive_queue, &check_point);
        staged.map_err(|error| self.failed(&error))?;
        let place =
            Place { group: &asked.consumer_group, topic: &asked.topic, queue_id: asked.queue_id };
        let old = ack_of(place, &receipt, asked.offset, Vec::new());
        let staged = self.log.ack(receipt.revive_queue, &old, receipt.due());
        let response = Response::of(&ChangeInvisibleTimeResponse {
            pop_time,
            invisible_time: asked.invisible_time,
            revive_queue_id: receipt.revive_queue,
        });
        self.answer(staged, response.with_remark(reply::UNSET))
    }

    fn change_in_order(
        &self,
        asked: &ChangeInvisibleTime,
        receipt: &Receipt,
        now: Timestamp,
    ) -> Response {
        let place =
            Place { group: &asked.consumer_group, topic: &asked.topic, queue_id: asked.queue_id };
        let until = now.0.saturating_add(asked.invisible_time);
        self.cursors.at(place, |_turn| {
            if self.offsets.committed(place).is_some_and(|committed| asked.offset >= committed) {
                self.orders.hide(place, asked.offset, receipt.pop_time, until);
            }
        });
        self.wake(place);
        let response = Response::of(&ChangeInvisibleTimeResponse {
            pop_time: receipt.pop_time,
            invisible_time: until.saturating_sub(receipt.pop_time),
            revive_queue_id: receipt.revive_queue,
        });
        response.with_remark(reply::UNSET)
    }

    fn ack_in_order(&self, place: Place<'_>, offset: i64, pop_time: i64) -> Result<(), Response> {
        let now = Timestamp::from(self.clock.wall());
        let acked = self.cursors.at(place, |_turn| {
            let committed = self.offsets.committed(place).unwrap_or(0);
            if offset < committed {
                return Acked::Stale;
            }
            let acked = self.orders.ack(place, offset, pop_time, committed);
            if let Acked::Next(next) = acked {
                self.offsets.commit(place, next, Backward::Ignored, now);
            }
            acked
        });
        match acked {
            Acked::Next(_) => {
                self.wake(place);
                Ok(())
            }
            Acked::Stale => Ok(()),
            Acked::Unknown => {
                let Place { group, topic, queue_id } = place;
                Err(reply::ack_unknown(topic, group, queue_id, offset))
            }
        }
    }

    /// An ordered queue may give again, or at another time: those who wait look.
    fn wake(&self, place: Place<'_>) {
        let queues =
            [QueueKey::new(place.topic, ANY_QUEUE), QueueKey::new(place.topic, place.queue_id)];
        self.holds.wake_next(&queues, place.group);
    }

    /// The queue, if there is one.
    fn queue(&self, topic: &str, queue_id: i32, peer: &Arc<Peer>) -> Result<QueueKey, Response> {
        let found = self.topics.find(topic).ok_or_else(|| reply::pop_topic_missing(topic))?;
        if !(0..found.read_queues).contains(&queue_id) {
            let remote = peer.remote();
            return Err(reply::ack_queue(queue_id, topic, found.read_queues, remote));
        }
        Ok(QueueKey::new(topic, queue_id))
    }

    fn receipt(&self, text: &str) -> Result<Receipt, Response> {
        Receipt::parse(text)
            .filter(|receipt| {
                receipt.revive_queue == ORDER_QUEUE || self.log.has_queue(receipt.revive_queue)
            })
            .ok_or_else(|| reply::bad_receipt(text))
    }

    fn failed(&self, error: &AppendError) -> Response {
        reply::append_failed(error, self.appender.body_max())
    }

    fn answer(
        &self,
        staged: Result<AppendReceipt, AppendError>,
        response: Response,
    ) -> Result<Reply, Response> {
        let staged = staged.map_err(|error| self.failed(&error))?;
        Ok(self.appender.answer(staged.end, Before::default(), response))
    }
}

fn ack_of(place: Place<'_>, receipt: &Receipt, offset: i64, offsets: Vec<i64>) -> Ack {
    Ack {
        offset,
        offsets,
        broker: receipt.broker.clone(),
        group: place.group.into(),
        pop_time: receipt.pop_time,
        queue_id: place.queue_id,
        start: receipt.start,
        topic: place.topic.into(),
    }
}
