//! Clients and their groups: heartbeats (34), good-byes (35), who is there (38), filters (46).

use std::sync::Arc;
use std::time::Duration;

use rmq_message::subscription::{Subscription, TAGS_MAX};
use rmq_message::{Timestamp, name, sys_flag};
use rmq_remoting::protocol::client::{ConsumerIds, ConsumerList, ConsumersChanged};
use rmq_remoting::protocol::heartbeat::{
    CheckClientConfig, ConsumerGroup, Heartbeat, HeartbeatResponse, TopicSubscription,
    UnregisterClient,
};
use rmq_remoting::{Peer, RemotingCommand, Response, TypedRequest};
use rmq_runtime::Clock;

use crate::config::Live;
use crate::consumer_registry::{Changed, Client, ConsumerRegistry, Joining};
use crate::filter::{Filters, Unfiltered};
use crate::filter_table::FilterTable;
use crate::group_table::GroupTable;
use crate::limits;
use crate::producer_registry::ProducerRegistry;
use crate::reply;
use crate::topic_table::TopicTable;

/// Serves clients.
pub(crate) struct ClientRequests {
    pub(crate) live: Arc<Live>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) consumers: Arc<ConsumerRegistry>,
    pub(crate) producers: Arc<ProducerRegistry>,
    pub(crate) filters: Arc<Filters>,
    pub(crate) filter_table: Arc<FilterTable>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl ClientRequests {
    /// A client is alive (34).
    pub(crate) fn heartbeat(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Response {
        let heartbeat = match request.payload::<Heartbeat>() {
            Ok(heartbeat) => heartbeat,
            Err(error) => return reply::failed(error),
        };
        if heartbeat.client_id.is_empty() || heartbeat.client_id.len() > limits::CLIENT_ID_MAX {
            return reply::invalid("the client id is empty or too long");
        }
        let client = Client {
            id: heartbeat.client_id,
            language: request.language,
            version: request.version,
            peer: Arc::clone(peer),
        };
        let first_kind = heartbeat.heartbeat_fingerprint == 0;
        let mut subscriptions_wanted = false;
        for group in heartbeat.consumer_data_set {
            let joining = Joining {
                client: client.clone(),
                group,
                fingerprint: heartbeat.heartbeat_fingerprint,
                without_subscriptions: heartbeat.without_sub && !first_kind,
            };
            subscriptions_wanted |= self.join(joining);
        }
        let (now, wall) = (self.clock.monotonic(), Timestamp::from(self.clock.wall()));
        for group in heartbeat.producer_data_set {
            if !group.group_name.is_empty() && group.group_name.len() <= name::RETRY_TOPIC_LEN_MAX {
                self.producers.join(&group.group_name, client.clone(), now, wall);
            }
        }
        Response::of(&HeartbeatResponse {
            supports_v2: Some(true),
            subscription_changed: Some(first_kind || subscriptions_wanted),
        })
    }

    /// Whether the client must send its subscriptions.
    fn join(&self, mut joining: Joining) -> bool {
        let wall = Timestamp::from(self.clock.wall());
        let group_name = joining.group.group_name.clone();
        let Some(group) = self.groups.find(&group_name, self.live.auto_create_group(), wall) else {
            return false;
        };
        let sys_flag = if joining.group.unit_mode { sys_flag::topic::UNIT_SUB } else { 0 };
        let retry = name::retry_topic(&group_name);
        self.topics.provide(&retry, group.retry_queues, sys_flag, wall);
        tame(&mut joining.group);
        if !joining.without_subscriptions {
            self.filter_table.subscribed(&group_name, &joining.group.subscription_data_set, wall);
        }
        let joined = self.consumers.join(joining, self.clock.monotonic());
        if joined.changed {
            self.tell(&self.consumers.changed(&group_name));
        }
        joined.subscriptions_wanted
    }

    /// A client leaves (35).
    pub(crate) fn unregister(&self, peer: &Arc<Peer>, request: &RemotingCommand) -> Response {
        let header = match request.payload::<UnregisterClient>() {
            Ok(header) => header,
            Err(error) => return reply::failed(error),
        };
        if let Some(group) = header.producer_group {
            self.producers.leave(&group, peer.id());
        }
        if let Some(group) = header.consumer_group
            && let Some(changed) = self.consumers.leave(&group, peer.id())
        {
            self.left(&changed);
        }
        Response::ok()
    }

    /// Who is in a group (38).
    pub(crate) fn list(&self, request: &RemotingCommand) -> Response {
        match request.payload::<ConsumerList>() {
            Ok(header) => match self.consumers.client_ids(&header.consumer_group) {
                Some(consumer_id_list) => Response::of(&ConsumerIds { consumer_id_list }),
                None => reply::no_consumer(&header.consumer_group),
            },
            Err(error) => reply::failed(error),
        }
    }

    /// Whether a filter can be served (46).
    pub(crate) fn check(&self, request: &RemotingCommand) -> Response {
        match request.payload::<Option<CheckClientConfig>>() {
            Ok(None) => Response::ok(),
            Ok(Some(check)) => {
                let subscription = Arc::new(Subscription::from(check.subscription_data));
                match self.filters.of(&subscription) {
                    Ok(_) | Err(Unfiltered::Unknown) => Response::ok(),
                    Err(Unfiltered::Unserved) => reply::filter_unserved(subscription.kind.as_str()),
                    Err(Unfiltered::Uncompilable(why)) => reply::filter_uncompilable(&why),
                }
            }
            Err(error) => reply::failed(error),
        }
    }

    /// A connection has ended.
    pub(crate) fn closed(&self, peer: &Arc<Peer>) {
        self.producers.closed(peer.id());
        for changed in self.consumers.closed(peer.id()) {
            self.left(&changed);
        }
    }

    /// Lets go of clients that were not heard of for so long.
    pub(crate) fn expire(&self, life: Duration) {
        let now = self.clock.monotonic();
        let (mut gone, changes) = self.consumers.expire(now, life);
        gone.extend(self.producers.expire(now, life));
        for peer in gone {
            tracing::info!(?peer, "no heartbeat for too long");
            peer.close();
        }
        for changed in changes {
            self.left(&changed);
        }
    }

    /// Somebody has left a group.
    fn left(&self, changed: &Changed) {
        if self.consumers.client_ids(&changed.group).is_none() {
            let now = Timestamp::from(self.clock.wall());
            self.filter_table.left(&changed.group, now);
        }
        self.tell(changed);
    }

    /// Tells the members of a group that it has changed.
    fn tell(&self, changed: &Changed) {
        let wanted = self.groups.peek(&changed.group).is_none_or(|group| group.notify);
        if !self.live.notify() || !wanted {
            return;
        }
        let notice = ConsumersChanged { consumer_group: changed.group.clone() }.to_command();
        for peer in &changed.peers {
            if let Err(error) = peer.oneway(notice.clone()) {
                tracing::debug!(%error, "a member was not told of a change");
            }
        }
    }
}

/// Leaves out subscriptions that nobody can have, so that they take no memory.
fn tame(group: &mut ConsumerGroup) {
    let sane = |subscription: &TopicSubscription| {
        name::validate_topic(&subscription.topic.replace('+', "_")).is_ok()
            && subscription.sub_string.len() <= limits::EXPRESSION_MAX
            && subscription.tags_set.len() <= TAGS_MAX
            && subscription.code_set.len() <= TAGS_MAX
            && subscription.tags_set.iter().all(|tag| tag.len() <= limits::EXPRESSION_MAX)
            && subscription.expression_type.len() <= limits::ECHO_MAX
    };
    group.subscription_data_set.truncate(limits::SUBSCRIPTIONS_MAX);
    group.subscription_data_set.retain(sane);
}
