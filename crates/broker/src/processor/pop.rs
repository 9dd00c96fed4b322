//! Pops: 200050, and 200055.
//!
//! A pop takes from the queues of a topic and from the group's pop retry topic. Where the topic's
//! messages have priorities, a queue stands for one, and the queues are visited strictly in their
//! order; else where to begin is left to chance. Before its answer
//! goes out, the check points of what it has taken are as safe as configured (INV-32); only then
//! progress moves. A pop that finds nothing and may wait becomes a hold and looks again when it is
//! woken; of those of one group, an arrival wakes one. What is on the disk only is read ahead,
//! beside the shards; nobody waits for the disk while the queue is his.

mod batch;
mod peek;
mod take;

use std::sync::Arc;
use std::time::Duration;

use rmq_message::subscription::{ExpressionType, Subscription};
use rmq_message::{CompactString, QueueOffset, Timestamp};
use rmq_remoting::protocol::pop::{PollingCount, PollingCountResponse, PopMessage};
use rmq_remoting::{Peer, RemotingCommand, Reply, Response, response_code};
use rmq_runtime::{Clock, ClockExt, Entropy, Monotonic};
use rmq_store::{MessageStore, QueueKey, ReadError};

use super::offset::{answer, read};
use crate::append::Appender;
use crate::cold::ColdReads;
use crate::config::Live;
use crate::filter::{Filters, QueueFilter};
use crate::group_table::{Group, GroupTable};
use crate::hold::{ANY_QUEUE, HoldRequest, HoldService, Wake};
use crate::identity::Identity;
use crate::limits;
use crate::offset_table::OffsetTable;
use crate::pop::ORDER_QUEUE;
use crate::pop::cursor::Cursors;
use crate::pop::order::OrderTable;
use crate::pop::receipt::Kind;
use crate::pop::revive::ReviveWatch;
use crate::pop::revive_log::ReviveLog;
use crate::reply;
use crate::stats::Stats;
use crate::topic_table::{Topic, TopicTable};
use batch::{Ahead, Batch, Wanted};

/// Most messages of one pop.
const COUNT_MAX: i32 = 32;
/// A pop that has been on its way so much longer than it wanted to wait is not served, ms.
const LATE: i64 = 500;

/// Serves pops.
pub(crate) struct PopRequests {
    pub(crate) identity: Arc<Identity>,
    pub(crate) live: Arc<Live>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) filters: Arc<Filters>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) cursors: Arc<Cursors>,
    pub(crate) orders: Arc<OrderTable>,
    pub(crate) log: Arc<ReviveLog>,
    pub(crate) watch: Arc<ReviveWatch>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) appender: Appender,
    pub(crate) holds: Arc<HoldService>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) retries: Retries,
    pub(crate) cold: Arc<ColdReads>,
    /// Whether higher queues come first.
    pub(crate) ascending: bool,
}

/// Which retry topics are read, and how often first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retries {
    /// Those that are written.
    pub(crate) kind: Kind,
    /// Whether the old ones are read too.
    pub(crate) old_too: bool,
    /// Percent of pops that look there first.
    pub(crate) first: u64,
    /// The same of pops in the order of priorities.
    pub(crate) first_by_priority: u64,
}

impl Retries {
    fn first(&self, by_priority: bool) -> u64 {
        if by_priority { self.first_by_priority } else { self.first }
    }

    /// The retry topics of a group for a topic.
    pub(super) fn topics(&self, topic: &str, group: &str) -> Vec<CompactString> {
        let old = self.old_too.then_some(Kind::RetryV1);
        [Some(self.kind), old].into_iter().flatten().map(|kind| kind.topic(topic, group)).collect()
    }
}

/// A pop that may be served.
struct Admitted {
    topic: Topic,
    /// Percent of pops that keep to the order of priorities.
    priority_factor: u64,
    filter: QueueFilter,
}

impl PopRequests {
    /// Serves one.
    pub(crate) fn process(self: &Arc<Self>, peer: &Arc<Peer>, request: &RemotingCommand) -> Reply {
        let header: PopMessage = match read(request) {
            Ok(header) => header,
            Err(refused) => return Reply::Now(refused),
        };
        let batch = match self.attempt(peer, &header, self.entropy.below(100), None) {
            Ok(batch) => batch,
            Err(refused) => return Reply::Now(reply::pop_refused(refused)),
        };
        if !batch.is_empty() {
            self.more(&header, &batch);
            return self.finish(batch);
        }
        let oneway = request.is_oneway();
        let mut wait = self.wait(header.born_time, header.poll_time);
        if oneway || header.max_msg_nums < 1 {
            wait = Duration::ZERO;
        }
        if wait.is_zero() && (oneway || !batch.may_find_more()) {
            return Reply::Now(batch.nothing(response_code::POLLING_TIMEOUT));
        }
        let (this, peer) = (Arc::clone(self), Arc::clone(peer));
        Reply::Later(Box::pin(async move {
            match this.hold(&peer, &header, batch, wait).await {
                Ok(response) => response,
                Err(refused) => reply::pop_refused(refused),
            }
        }))
    }

    /// How many pops wait for a queue (200055).
    pub(crate) fn polling(&self, peer: &Peer, request: &RemotingCommand) -> Response {
        answer(self.polling_checked(peer, request))
    }

    fn polling_checked(
        &self,
        peer: &Peer,
        request: &RemotingCommand,
    ) -> Result<Response, Response> {
        let asked: PollingCount = read(request)?;
        self.readable(peer, &asked.topic, asked.queue_id, &asked.consumer_group)?;
        let queue = QueueKey::new(&asked.topic, asked.queue_id);
        let waiting = self.holds.waiting(&queue, &asked.consumer_group);
        let polling_count = i32::try_from(waiting).unwrap_or(i32::MAX);
        Ok(Response::of(&PollingCountResponse { polling_count }).with_remark(reply::UNSET))
    }

    /// Whoever shares what was popped may go on with what is left.
    fn more(&self, header: &PopMessage, batch: &Batch) {
        if batch.rest() > 0 {
            self.holds.wake_next(&self.queues_of(header), &header.consumer_group);
        }
    }

    /// Answers when what was taken is safe.
    fn finish(&self, batch: Batch) -> Reply {
        let now = Timestamp::from(self.clock.wall());
        match batch.end() {
            None => Reply::Now(batch.found(now)),
            Some(end) => self.appender.when_settled(end, move || batch.found(now)),
        }
    }

    /// How long a request that was born then may be held, as it wishes.
    pub(super) fn wait(&self, born_time: i64, poll_time: i64) -> Duration {
        let now = Timestamp::from(self.clock.wall()).0;
        let born = if born_time == 0 { now } else { born_time };
        let left = born.saturating_add(poll_time.max(0)).saturating_sub(now).min(poll_time);
        Duration::from_millis(u64::try_from(left).unwrap_or(0)).min(limits::HOLD_MAX)
    }

    /// The queues whose growth is news for a group.
    pub(super) fn waits_for(
        &self,
        topic: &str,
        group: &str,
        queue_id: i32,
        ordered: bool,
    ) -> Vec<QueueKey> {
        let mut queues = vec![QueueKey::new(topic, queue_id.max(ANY_QUEUE))];
        if !ordered {
            let retries = self.retries.topics(topic, group);
            queues.extend(retries.into_iter().map(|topic| QueueKey { topic, queue_id: 0 }));
        }
        queues
    }

    fn queues_of(&self, header: &PopMessage) -> Vec<QueueKey> {
        let ordered = header.order == Some(true);
        self.waits_for(&header.topic, &header.consumer_group, header.queue_id, ordered)
    }

    async fn hold(
        &self,
        peer: &Arc<Peer>,
        header: &PopMessage,
        nothing: Batch,
        wait: Duration,
    ) -> Result<Response, Response> {
        let deadline = self.clock.monotonic() + wait;
        let queues = self.queues_of(header);
        let held = HoldRequest {
            queues: &queues,
            offset: QueueOffset(-1),
            share: Some(&header.consumer_group),
            deadline,
            peer_id: peer.id(),
        };
        let mut hold = None;
        if !wait.is_zero() {
            let Some(registered) = self.holds.register(held) else {
                return Ok(nothing.nothing(response_code::POLLING_FULL));
            };
            hold = Some(registered);
        }
        loop {
            // The first time: what has come before the registration woke nobody.
            let batch = self.take_some(peer, header, deadline).await?;
            if !batch.is_empty() {
                self.more(header, &batch);
                if let Some(end) = batch.end() {
                    self.appender.settled_in_time(end).await?;
                }
                return Ok(batch.found(Timestamp::from(self.clock.wall())));
            }
            let over = batch.nothing(response_code::POLLING_TIMEOUT);
            let Some(hold) = &mut hold else { return Ok(over) };
            let free = async {
                match batch.free_in(Timestamp::from(self.clock.wall()).0) {
                    Some(wait) => self.clock.sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            let wake = tokio::select! {
                biased;
                wake = hold.wake() => wake,
                () = free => Wake::Arrived,
            };
            if wake != Wake::Arrived {
                return Ok(over);
            }
        }
    }

    /// Takes what is there. What is on the disk only is read beside the shards first; then, with the
    /// same throw of the dice, the pop is tried again. Messages that nobody wants are passed until
    /// the deadline.
    async fn take_some(
        &self,
        peer: &Arc<Peer>,
        header: &PopMessage,
        deadline: Monotonic,
    ) -> Result<Batch, Response> {
        let (mut chance, mut ahead) = (self.entropy.below(100), None);
        loop {
            // Where a new group begins is told by reads that bring no messages yet.
            let read_before = ahead.as_ref().is_some_and(|ahead: &Ahead| ahead.wanted.filtered);
            let mut batch = self.attempt(peer, header, chance, ahead.take())?;
            let is_late = self.clock.monotonic() >= deadline;
            match batch.take_cold() {
                Some(wanted) if !(is_late && read_before) => {
                    ahead = Some(self.read_ahead(header, wanted).await?);
                }
                None if batch.may_find_more() && !is_late => {
                    chance = self.entropy.below(100);
                    tokio::task::yield_now().await;
                }
                _ => return Ok(batch),
            }
        }
    }

    async fn read_ahead(&self, header: &PopMessage, wanted: Wanted) -> Result<Ahead, Response> {
        let filter = if wanted.filtered { self.filter(header)? } else { QueueFilter::Everything };
        let read = self.cold.aside(move |store| {
            let outcome = store.read(&wanted.request(), &filter)?;
            Ok::<_, ReadError>(Ahead { wanted, outcome })
        });
        read.await.flatten().map_err(|error| reply::read_failed(&error))
    }

    /// Checks the pop and takes what is there; `chance` is a number below 100.
    fn attempt(
        &self,
        peer: &Arc<Peer>,
        header: &PopMessage,
        chance: u64,
        ahead: Option<Ahead>,
    ) -> Result<Batch, Response> {
        let admitted = self.admit(peer, header)?;
        let ordered = header.order == Some(true);
        let revive_queue = if ordered { ORDER_QUEUE } else { self.log.any_queue() };
        let now = Timestamp::from(self.clock.wall());
        let mut batch = Batch::new(header, &self.identity.name, revive_queue, now, ahead);
        let by_priority = admitted.topic.priority && !ordered && chance < admitted.priority_factor;
        let retry_first = !ordered && chance < self.retries.first(by_priority);
        if retry_first {
            self.take_retries(&admitted, header, chance, &mut batch);
        }
        if header.queue_id < 0 {
            let start = if by_priority { 0 } else { chance };
            for queue_id in visits(admitted.topic.read_queues, start, self.ascending) {
                self.take(&admitted, header, &QueueKey::new(&header.topic, queue_id), &mut batch);
            }
        } else {
            let queue = QueueKey::new(&header.topic, header.queue_id);
            self.take(&admitted, header, &queue, &mut batch);
        }
        if !retry_first && !ordered {
            self.take_retries(&admitted, header, chance, &mut batch);
        }
        Ok(batch)
    }

    /// One answer has room for one retry topic only, so old and new ones take turns.
    fn take_retries(
        &self,
        admitted: &Admitted,
        header: &PopMessage,
        chance: u64,
        batch: &mut Batch,
    ) {
        let old = self.retries.old_too && chance.is_multiple_of(2);
        let kind = if old { Kind::RetryV1 } else { self.retries.kind };
        let topic = kind.topic(&header.topic, &header.consumer_group);
        if self.topics.find(&topic).is_some() {
            self.take(admitted, header, &QueueKey { topic, queue_id: 0 }, batch);
        }
    }

    /// The checks, in Apache's order.
    fn admit(&self, peer: &Arc<Peer>, header: &PopMessage) -> Result<Admitted, Response> {
        let address = self.identity.address().ip();
        let now = Timestamp::from(self.clock.wall());
        let late = now.0.saturating_sub(header.born_time).saturating_sub(header.poll_time);
        if header.born_time != 0 && late > LATE {
            return Err(reply::pop_late(address));
        }
        if !self.live.is_readable() {
            return Err(reply::pop_forbidden_here(address));
        }
        if header.max_msg_nums > COUNT_MAX {
            return Err(reply::pop_too_many(address));
        }
        let (topic, queue_id) = (&header.topic, header.queue_id);
        let (topic, group) = self.readable(peer, topic, queue_id, &header.consumer_group)?;
        if self.watch.in_flight() >= limits::IN_FLIGHT_MAX {
            return Err(reply::too_much_in_flight());
        }
        let priority_factor = group.priority_factor;
        Ok(Admitted { topic, priority_factor, filter: self.filter(header)? })
    }

    fn filter(&self, header: &PopMessage) -> Result<QueueFilter, Response> {
        let now = Timestamp::from(self.clock.wall());
        let subscription = Arc::new(subscription(header, now)?);
        let filter = self.filters.of_pop(&subscription);
        filter.map_err(|_| reply::subscription_unparsable())
    }

    /// Topic and group, if the group may read that queue of it; any queue when it is negative.
    pub(super) fn readable(
        &self,
        peer: &Peer,
        topic_name: &str,
        queue_id: i32,
        group_name: &str,
    ) -> Result<(Topic, Group), Response> {
        let topic =
            self.topics.find(topic_name).ok_or_else(|| reply::pop_topic_missing(topic_name))?;
        if !topic.is_readable() {
            return Err(reply::pop_topic_forbidden(topic_name));
        }
        if queue_id >= topic.read_queues {
            let queues = topic.read_queues;
            return Err(reply::queue_out_of_range(queue_id, topic_name, queues, peer.remote()));
        }
        let now = Timestamp::from(self.clock.wall());
        let group = self
            .groups
            .find(group_name, self.live.auto_create_group(), now)
            .ok_or_else(|| reply::pull_group_missing(group_name))?;
        if !group.consume {
            return Err(reply::pop_group_forbidden(group_name));
        }
        Ok((topic, group))
    }
}

/// The queues of a topic in the order in which a pop goes through them.
fn visits(queues: i32, start: u64, ascending: bool) -> impl Iterator<Item = i32> {
    let (queues, start) = (i64::from(queues), i64::try_from(start).unwrap_or(0));
    (0..queues).map(move |step| {
        let step = if ascending { queues - 1 - step } else { step };
        i32::try_from((step + start).rem_euclid(queues)).unwrap_or(0)
    })
}

/// What the pop wants; everything when it says nothing.
fn subscription(header: &PopMessage, now: Timestamp) -> Result<Subscription, Response> {
    let text = header.expression.as_deref().filter(|text| !text.is_empty());
    let Some(text) = text else { return Ok(Subscription::all(&header.topic, now)) };
    match ExpressionType::parse(header.expression_type.as_deref()) {
        ExpressionType::Tag => Subscription::tags(&header.topic, text, now)
            .map_err(|_| reply::subscription_unparsable()),
        kind => Ok(Subscription {
            expression: text.into(),
            kind,
            ..Subscription::all(&header.topic, now)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_visited_from_the_highest_on_or_from_the_lowest() {
        let order = |start, ascending| visits(4, start, ascending).collect::<Vec<_>>();
        assert_eq!(order(0, true), [3, 2, 1, 0]);
        assert_eq!(order(0, false), [0, 1, 2, 3]);
        assert_eq!(order(98, true), [1, 0, 3, 2]);
        assert_eq!(order(98, false), [2, 3, 0, 1]);
    }
}
