//! Being told that there is something to pop (200054): as a pop, but nothing is taken.

use std::sync::Arc;
use std::time::Duration;

use rmq_message::{QueueOffset, Timestamp};
use rmq_remoting::protocol::pop::{Notification, NotificationResponse};
use rmq_remoting::{Peer, RemotingCommand, Reply, Response};
use rmq_store::QueueKey;

use super::offset::read;
use super::pop::PopRequests;
use crate::hold::{HoldRequest, Wake};
use crate::limits;
use crate::offset_table::Place;
use crate::reply;

/// Serves them.
pub(crate) struct NotificationRequests {
    pub(crate) pops: Arc<PopRequests>,
}

impl NotificationRequests {
    /// Serves one.
    pub(crate) fn process(self: &Arc<Self>, peer: &Arc<Peer>, request: &RemotingCommand) -> Reply {
        let header = match self.admit(peer, request) {
            Ok(header) => header,
            Err(refused) => return Reply::Now(refused),
        };
        if self.has_messages(&header) {
            return Reply::Now(answer(true, false));
        }
        let wait = self.wait(&header);
        if wait.is_zero() || request.is_oneway() {
            return Reply::Now(answer(false, false));
        }
        let (this, peer_id) = (Arc::clone(self), peer.id());
        Reply::Later(Box::pin(async move { this.hold(peer_id, &header, wait).await }))
    }

    fn admit(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Result<Notification, Response> {
        let header: Notification = read(request)?;
        let pops = &self.pops;
        if !pops.live.is_readable() {
            return Err(reply::pop_forbidden_here(pops.identity.address().ip()));
        }
        pops.readable(peer, &header.topic, header.queue_id, &header.consumer_group)?;
        Ok(header)
    }

    fn wait(&self, header: &Notification) -> Duration {
        self.pops.wait(header.born_time, header.poll_time)
    }

    async fn hold(&self, peer_id: u64, header: &Notification, wait: Duration) -> Response {
        let pops = &self.pops;
        let ordered = header.order == Some(true);
        let queues =
            pops.waits_for(&header.topic, &header.consumer_group, header.queue_id, ordered);
        let Some(mut hold) = pops.holds.register(HoldRequest {
            queues: &queues,
            offset: QueueOffset(-1),
            share: None,
            deadline: pops.clock.monotonic() + wait.min(limits::HOLD_MAX),
            peer_id,
        }) else {
            return answer(false, true);
        };
        loop {
            if self.has_messages(header) {
                return answer(true, false);
            }
            match hold.wake().await {
                Wake::Arrived => {}
                Wake::TimedOut | Wake::Closing => return answer(false, false),
            }
        }
    }

    fn has_messages(&self, header: &Notification) -> bool {
        let (topic, group) = (&header.topic, &header.consumer_group);
        let Some(found) = self.pops.topics.find(topic) else { return false };
        let queues = match header.queue_id {
            queue_id if queue_id >= 0 => queue_id..queue_id.saturating_add(1),
            _ => 0..found.read_queues,
        };
        let ordered = header.order == Some(true);
        let now = Timestamp::from(self.pops.clock.wall());
        let attempt = header.attempt_id.as_deref();
        let in_topic = queues.into_iter().any(|queue_id| {
            let place = Place { group, topic, queue_id };
            let blocked =
                ordered && self.pops.orders.blocked_until(place, attempt, now.0).is_some();
            !blocked && self.grows(place)
        });
        let retries = self.pops.retries.topics(topic, group);
        in_topic
            || (!ordered
                && retries
                    .into_iter()
                    .any(|topic| self.grows(Place { group, topic: &topic, queue_id: 0 })))
    }

    /// Whether there is more than the group has taken.
    fn grows(&self, place: Place<'_>) -> bool {
        let range = self.pops.store.offsets(&QueueKey::new(place.topic, place.queue_id));
        let from = self.pops.cursors.taken(place).unwrap_or(range.start.0);
        range.end.0 > from
    }
}

fn answer(has_msg: bool, polling_full: bool) -> Response {
    let response =
        Response::of(&NotificationResponse { has_msg, polling_full: Some(polling_full) });
    response.with_remark(reply::UNSET)
}
