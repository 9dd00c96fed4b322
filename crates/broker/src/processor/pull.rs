//! Pulls: 11, 361.
//!
//! A pull that finds nothing yet and may wait becomes a hold: it waits in the middle of its own
//! future and looks again, with all checks, when it is woken. A pull of what is on the disk only is
//! read beside the shards, a few at a time, so that none waits for the disk.

use std::sync::Arc;
use std::time::Duration;

use rmq_message::subscription::{ExpressionType, Subscription};
use rmq_message::{QueueOffset, Timestamp, sys_flag};
use rmq_remoting::protocol::heartbeat::MessageModel;
use rmq_remoting::protocol::pull::PullMessage;
use rmq_remoting::{Body, Peer, RemotingCommand, Reply, Response, response_code};
use rmq_runtime::{Clock, Monotonic};
use rmq_store::{MessageStore, QueueKey, ReadError, ReadOutcome, ReadRequest, ReadStatus};

use crate::cold::ColdReads;
use crate::config::Live;
use crate::consumer_registry::{ConsumerRegistry, Membership};
use crate::filter::{Filters, QueueFilter, Unfiltered};
use crate::group_table::{Group, GroupTable};
use crate::hold::{HoldRequest, HoldService, Wake};
use crate::identity::Identity;
use crate::limits;
use crate::offset_table::{Backward, OffsetTable, Place};
use crate::reply;
use crate::stats::{Count, Got, Stats};
use crate::topic_table::{Topic, TopicTable};

/// Most bytes of one answer; the store's own limits are far below.
const BYTES_MAX: usize = 128 << 20;

/// Serves pulls.
pub(crate) struct PullRequests {
    pub(crate) identity: Arc<Identity>,
    pub(crate) live: Arc<Live>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) consumers: Arc<ConsumerRegistry>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) holds: Arc<HoldService>,
    pub(crate) filters: Arc<Filters>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) stats: Arc<Stats>,
}

/// A pull that outlives its turn.
#[derive(Clone)]
struct Pull {
    peer: Arc<Peer>,
    request: Arc<RemotingCommand>,
}

/// A pull that may be served.
struct Admitted {
    topic: Topic,
    group: Group,
    filter: QueueFilter,
}

/// How a look at the queue ended.
enum Attempt {
    /// With an answer.
    Done(Response),
    /// With the word that the group was moved.
    Reset(Response),
    /// With nothing yet behind `next`; `response` says so.
    Empty { next: QueueOffset, response: Response },
    /// The messages are on the disk.
    Cold,
}

/// Nothing yet behind an offset, and the answer that says so.
type Nothing = (QueueOffset, Response);

/// Whether a look at a queue may wait for the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    Untouched,
    Awaited,
}

impl PullRequests {
    /// Serves one.
    pub(crate) fn process(self: &Arc<Self>, peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        let header = match PullMessage::from_fields(&request.fields) {
            Ok(header) => header,
            Err(error) => return Reply::Now(reply::failed(error)),
        };
        let first = match self.attempt(peer, &header, None, Disk::Untouched) {
            Ok(Attempt::Cold) => None,
            looked => match self.first(&header, looked) {
                Ok(response) => return Reply::Now(response),
                Err(nothing) => Some(nothing),
            },
        };
        let wait = if request.is_oneway() { Duration::ZERO } else { self.wait(&header) };
        let first = match first {
            Some((_, response)) if wait.is_zero() => return Reply::Now(response),
            first => first,
        };
        let pull = Pull { peer: Arc::clone(peer), request: Arc::new(request.detached()) };
        let (this, deadline) = (Arc::clone(self), self.clock.monotonic() + wait);
        Reply::Later(Box::pin(async move {
            match this.later(&pull, first, deadline).await {
                Ok(response) | Err(response) => response,
            }
        }))
    }

    /// What a first look means: an answer, or nothing yet.
    fn first(
        &self,
        header: &PullMessage<'_>,
        looked: Result<Attempt, Response>,
    ) -> Result<Response, Nothing> {
        match looked {
            Err(refused) => Ok(refused),
            // What rides on this pull is older than the reset.
            Ok(Attempt::Reset(response)) => Ok(response),
            Ok(Attempt::Done(response)) => {
                self.commit(header);
                Ok(response)
            }
            Ok(Attempt::Empty { next, response }) => {
                self.commit(header);
                Err((next, response))
            }
            Ok(Attempt::Cold) => Ok(reply::failed(ReadError::Cold)),
        }
    }

    /// Goes on with a pull that is not answered in its turn: reads from the disk unless a first
    /// look has found nothing yet, and then waits.
    async fn later(
        self: &Arc<Self>,
        pull: &Pull,
        first: Option<Nothing>,
        deadline: Monotonic,
    ) -> Result<Response, Response> {
        let header = PullMessage::from_fields(&pull.request.fields).map_err(reply::failed)?;
        let (next, nothing) = match first {
            Some(nothing) => nothing,
            None => match self.first(&header, self.attempt_cold(pull, None).await) {
                Ok(response) => return Ok(response),
                Err(nothing) => nothing,
            },
        };
        if self.clock.monotonic() >= deadline {
            return Ok(nothing);
        }
        let queue = QueueKey::new(header.topic, header.queue_id);
        let hold = HoldRequest {
            queues: std::slice::from_ref(&queue),
            offset: next,
            share: None,
            deadline,
            peer_id: pull.peer.id(),
        };
        self.hold(pull, &header, hold, nothing).await
    }

    /// The same look, beside the shards, when it is this pull's turn to use the disk.
    async fn attempt_cold(
        self: &Arc<Self>,
        pull: &Pull,
        from: Option<QueueOffset>,
    ) -> Result<Attempt, Response> {
        let (this, pull) = (Arc::clone(self), pull.clone());
        let looked = self.cold.aside(move |_| {
            let header = PullMessage::from_fields(&pull.request.fields).map_err(reply::failed)?;
            this.attempt(&pull.peer, &header, from, Disk::Awaited)
        });
        looked.await.unwrap_or_else(|error| Err(reply::read_failed(&error)))
    }

    /// How long the pull may be held.
    fn wait(&self, header: &PullMessage<'_>) -> Duration {
        let asked = u64::try_from(header.suspend_timeout_millis).unwrap_or(0);
        if header.sys_flag & sys_flag::pull::SUSPEND == 0 || asked == 0 {
            return Duration::ZERO;
        }
        let wait = if self.live.long_polling() {
            Duration::from_millis(asked)
        } else {
            self.live.short_polling()
        };
        wait.min(limits::HOLD_MAX)
    }

    async fn hold(
        self: &Arc<Self>,
        pull: &Pull,
        header: &PullMessage<'_>,
        request: HoldRequest<'_>,
        mut nothing: Response,
    ) -> Result<Response, Response> {
        let mut from = request.offset;
        let Some(mut hold) = self.holds.register(request) else {
            return Err(reply::too_many_holds());
        };
        // What has come between the first look and the registration woke nobody.
        let queue = QueueKey::new(header.topic, header.queue_id);
        let mut look = self.store.offsets(&queue).end > from;
        loop {
            if !look {
                match hold.wake().await {
                    Wake::Arrived => {}
                    Wake::TimedOut | Wake::Closing => return Ok(nothing),
                }
            }
            look = false;
            let looked = match self.attempt(&pull.peer, header, Some(from), Disk::Untouched)? {
                Attempt::Cold => self.attempt_cold(pull, Some(from)).await?,
                looked => looked,
            };
            match looked {
                Attempt::Done(response) | Attempt::Reset(response) => return Ok(response),
                Attempt::Cold => return Err(reply::failed(ReadError::Cold)),
                Attempt::Empty { next, response } => {
                    hold.advance(next);
                    from = next;
                    nothing = response;
                }
            }
        }
    }

    /// Checks the pull and looks at its queue; `from` is where a held pull has come to.
    fn attempt(
        &self,
        peer: &Arc<Peer>,
        header: &PullMessage<'_>,
        from: Option<QueueOffset>,
        disk: Disk,
    ) -> Result<Attempt, Response> {
        let admitted = self.admit(peer, header)?;
        let queue = QueueKey::new(header.topic, header.queue_id);
        let place =
            Place { group: header.consumer_group, topic: header.topic, queue_id: header.queue_id };
        if let Some(reset) = self.offsets.take_reset(place) {
            let range = self.store.offsets(&queue);
            let outcome = empty_outcome(QueueOffset(reset), range.start, range.end);
            let mut response = self.respond(&admitted, outcome);
            response.code = response_code::PULL_OFFSET_MOVED;
            return Ok(Attempt::Reset(response.with_remark("OFFSET_RESET")));
        }
        let offset = from.unwrap_or(QueueOffset(header.queue_offset));
        let count =
            usize::try_from(header.max_msg_nums).unwrap_or(0).clamp(1, self.live.pull_count_max());
        let bytes = header.max_msg_bytes.and_then(|max| usize::try_from(max).ok());
        let read = ReadRequest {
            queue: &queue,
            offset,
            count_max: count,
            bytes_max: bytes.filter(|max| *max > 0).unwrap_or(BYTES_MAX).min(BYTES_MAX),
        };
        let began = self.clock.monotonic();
        let outcome = match disk {
            Disk::Untouched => self.store.read_cached(&read, &admitted.filter),
            Disk::Awaited => self.store.read(&read, &admitted.filter),
        };
        let outcome = match outcome {
            Err(ReadError::Cold) => return Ok(Attempt::Cold),
            outcome => outcome.map_err(|error| reply::read_failed(&error))?,
        };
        let (status, next) = (outcome.status, outcome.next_offset);
        // A held pull has passed over messages that it does not want: the client must learn it.
        let passed = from.is_some_and(|from| from.0 != header.queue_offset);
        let status = match status {
            ReadStatus::OffsetOverflowOne if passed => ReadStatus::NoMatchedMessage,
            status => status,
        };
        let waits = match status {
            ReadStatus::NoMatchedMessage => from.is_some() && next >= outcome.max_offset,
            status => reply::read_code(status, offset.0) == response_code::PULL_NOT_FOUND,
        };
        match status {
            ReadStatus::Found => self.stats.got(&Got {
                topic: header.topic,
                group: header.consumer_group,
                queue_id: header.queue_id,
                count: outcome.count,
                bytes: outcome.bytes,
                took: Some(self.clock.monotonic().since(began)),
            }),
            _ => self.stats.add(Count::Miss, 1),
        }
        let mut response = self.respond(&admitted, outcome);
        response.code = reply::read_code(status, offset.0);
        let response = response.with_remark(reply::read_status(status));
        if waits {
            return Ok(Attempt::Empty { next, response });
        }
        self.offsets.note_pulled(place, next.0);
        Ok(Attempt::Done(response))
    }

    fn respond(&self, admitted: &Admitted, outcome: ReadOutcome) -> Response {
        let mut response = Response::ok();
        let fields = &mut response.fields;
        fields.push("suggestWhichBrokerId", "0");
        fields.push_int("nextBeginOffset", outcome.next_offset.0);
        fields.push_int("minOffset", outcome.min_offset.0);
        fields.push_int("maxOffset", outcome.max_offset.0);
        fields.push_int("topicSysFlag", admitted.topic.sys_flag);
        fields.push_int("groupSysFlag", admitted.group.sys_flag);
        response.body = outcome.records.into_iter().collect::<Body>();
        response
    }

    /// The checks, in Apache's order.
    fn admit(&self, peer: &Arc<Peer>, header: &PullMessage<'_>) -> Result<Admitted, Response> {
        let (group_name, topic_name) = (header.consumer_group, header.topic);
        if !self.live.is_readable() {
            return Err(reply::pull_forbidden_here(self.identity.address().ip()));
        }
        let now = Timestamp::from(self.clock.wall());
        let group = self
            .groups
            .find(group_name, self.live.auto_create_group(), now)
            .ok_or_else(|| reply::pull_group_missing(group_name))?;
        if !group.consume {
            return Err(reply::pull_group_forbidden(group_name));
        }
        let topic =
            self.topics.find(topic_name).ok_or_else(|| reply::pull_topic_missing(topic_name))?;
        if !topic.is_readable() {
            return Err(reply::pull_topic_forbidden(topic_name));
        }
        if !(0..topic.read_queues).contains(&header.queue_id) {
            let remote = peer.remote();
            return Err(reply::queue_out_of_range(
                header.queue_id,
                topic_name,
                topic.read_queues,
                remote,
            ));
        }
        let is_carried = header.sys_flag & sys_flag::pull::SUBSCRIPTION != 0;
        let subscription =
            if is_carried { carried(header)? } else { self.registered(peer, header, group)? };
        let filter = match self.filters.of(&subscription) {
            Ok(filter) => filter,
            Err(Unfiltered::Unserved) => {
                return Err(reply::filter_unserved(subscription.kind.as_str()));
            }
            // As Apache: a condition that a pull brings is not checked, one of a member is.
            Err(_) if is_carried => QueueFilter::Everything,
            Err(Unfiltered::Uncompilable(_) | Unfiltered::Unknown) => {
                return Err(reply::filter_missing());
            }
        };
        Ok(Admitted { topic, group, filter })
    }

    /// The subscription of the member that pulls.
    fn registered(
        &self,
        peer: &Arc<Peer>,
        header: &PullMessage<'_>,
        group: Group,
    ) -> Result<Arc<Subscription>, Response> {
        let (group_name, topic) = (header.consumer_group, header.topic);
        let (model, subscription) = match self.consumers.membership(group_name, topic, peer.id()) {
            Membership::NoGroup => return Err(reply::group_not_registered()),
            Membership::NoSubscription { model } => (model, None),
            Membership::Subscribed { model, subscription } => (model, Some(subscription)),
        };
        if !group.broadcast && model == MessageModel::Broadcasting {
            return Err(reply::broadcast_forbidden(group_name));
        }
        if !self.groups.may_read(group_name, topic) {
            return Err(reply::subscription_forbidden(group_name, topic));
        }
        let subscription = subscription.ok_or_else(reply::subscription_missing)?;
        if subscription.version >= header.sub_version {
            return Ok(subscription);
        }
        // The heartbeat with the newer version has not come yet; the pull may carry it.
        if header.subscription.is_none() {
            // Who gets everything misses nothing of what the newer one wants, and looks at the tags
            // itself. A Java client that balances anew may skip the heartbeat for half a minute.
            let by_tags = ExpressionType::parse(header.expression_type) == ExpressionType::Tag;
            if by_tags && subscription.is_all() {
                return Ok(subscription);
            }
            return Err(reply::subscription_not_latest());
        }
        let newer = carried(header)?;
        self.consumers.renew(group_name, peer.id(), &newer);
        Ok(newer)
    }

    /// Commits what rides on the pull.
    fn commit(&self, header: &PullMessage<'_>) {
        if header.sys_flag & sys_flag::pull::COMMIT_OFFSET == 0 {
            return;
        }
        let place =
            Place { group: header.consumer_group, topic: header.topic, queue_id: header.queue_id };
        let now = Timestamp::from(self.clock.wall());
        self.offsets.commit(place, header.commit_offset, Backward::Ignored, now);
    }
}

/// The subscription that the pull carries.
fn carried(header: &PullMessage<'_>) -> Result<Arc<Subscription>, Response> {
    let text = header.subscription.unwrap_or_default();
    let version = Timestamp(header.sub_version);
    let subscription = match ExpressionType::parse(header.expression_type) {
        ExpressionType::Tag => Subscription::tags(header.topic, text, version)
            .map_err(|_| reply::subscription_unparsable())?,
        kind => Subscription {
            expression: text.into(),
            kind,
            ..Subscription::all(header.topic, version)
        },
    };
    Ok(Arc::new(subscription))
}

fn empty_outcome(next: QueueOffset, min: QueueOffset, max: QueueOffset) -> ReadOutcome {
    ReadOutcome {
        status: ReadStatus::NoMatchedMessage,
        next_offset: next,
        min_offset: min,
        max_offset: max,
        records: Vec::new(),
        count: 0,
        bytes: 0,
        suggest_replica: false,
    }
}
