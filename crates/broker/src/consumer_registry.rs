//! Live consumers: per group its members, one for each connection, and what they subscribe to.
//!
//! A member is filtered by its own subscription only (INV-30). The registry never talks to anybody:
//! it answers which groups have changed, and whoever asked tells their members.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rmq_message::CompactString;
use rmq_message::subscription::Subscription;
use rmq_remoting::protocol::client::{Connection, ConsumerConnectionList};
use rmq_remoting::protocol::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerGroup, MessageModel, TopicSubscription,
};
use rmq_remoting::{Language, Peer};
use rmq_runtime::Monotonic;

use crate::limits;

/// The registry.
#[derive(Debug, Default)]
pub(crate) struct ConsumerRegistry {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: HashMap<CompactString, Members>,
    by_peer: HashMap<u64, Vec<CompactString>>,
    count: usize,
    /// Bytes of all subscriptions.
    weight: usize,
}

type Subscriptions = BTreeMap<CompactString, Arc<Subscription>>;

#[derive(Debug)]
struct Members {
    model: MessageModel,
    kind: ConsumeType,
    from: ConsumeFromWhere,
    /// By connection, so mostly in the order in which they came; ids in answers follow it.
    members: BTreeMap<u64, Member>,
}

#[derive(Debug)]
struct Member {
    client: Client,
    seen: Monotonic,
    fingerprint: i32,
    subscriptions: Subscriptions,
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: CompactString,
    pub(crate) language: Language,
    pub(crate) version: i32,
    pub(crate) peer: Arc<Peer>,
}

impl Client {
    pub(crate) fn connection(&self) -> Connection {
        Connection {
            client_addr: self.peer.remote().to_string().into(),
            client_id: self.id.clone(),
            language: self.language,
            version: self.version,
        }
    }
}

/// A heartbeat's news of one group.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) client: Client,
    pub(crate) group: ConsumerGroup,
    /// Hash of the subscriptions; 0 with the first kind of heartbeat.
    pub(crate) fingerprint: i32,
    /// Whether the subscriptions are left out because the broker should know them.
    pub(crate) without_subscriptions: bool,
}

/// What a heartbeat has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The group has another member or other topics: its members want to know.
    pub(crate) changed: bool,
    /// The subscriptions are not known: the client must send them.
    pub(crate) subscriptions_wanted: bool,
}

/// What a pulling member may read, or why not.
#[derive(Clone, Debug)]
pub(crate) enum Membership {
    /// Nobody of the group is there.
    NoGroup,
    /// The topic is not subscribed.
    NoSubscription {
        model: MessageModel,
    },
    Subscribed {
        model: MessageModel,
        subscription: Arc<Subscription>,
    },
}

/// A group with members that should be told of a change.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) group: CompactString,
    pub(crate) peers: Vec<Arc<Peer>>,
}

impl ConsumerRegistry {
    /// A member is there, still or anew.
    pub(crate) fn join(&self, joining: Joining, now: Monotonic) -> Joined {
        let Joining { client, group, fingerprint, without_subscriptions } = joining;
        let peer_id = client.peer.id();
        let mut state = self.state.write();
        let State { groups, by_peer, count, weight } = &mut *state;
        let fresh = subscriptions_of(group.subscription_data_set);
        if weight.saturating_add(weight_of(&fresh)) > limits::SUBSCRIPTION_BYTES_MAX {
            tracing::warn!(group = %group.group_name, "no more subscriptions: a limit is reached");
            return Joined::default();
        }
        let is_member =
            by_peer.get(&peer_id).is_some_and(|names| names.contains(&group.group_name));
        if !is_member {
            let names = by_peer.entry(peer_id).or_default();
            if *count >= limits::MEMBERSHIPS_MAX || names.len() >= limits::GROUPS_PER_CONNECTION_MAX
            {
                tracing::warn!(group = %group.group_name, "no more members: a limit is reached");
                return Joined::default();
            }
            names.push(group.group_name.clone());
            *count += 1;
        }
        let members = groups.entry(group.group_name.clone()).or_insert_with(|| Members {
            model: group.message_model,
            kind: group.consume_type,
            from: group.consume_from_where,
            members: BTreeMap::new(),
        });
        members.model = group.message_model;
        members.kind = group.consume_type;
        members.from = group.consume_from_where;
        let Some(member) = members.members.get_mut(&peer_id) else {
            *weight += weight_of(&fresh);
            let member = Member { client, seen: now, fingerprint, subscriptions: fresh };
            members.members.insert(peer_id, member);
            return Joined { changed: true, subscriptions_wanted: without_subscriptions };
        };
        member.seen = now;
        if without_subscriptions {
            let known = member.fingerprint == fingerprint;
            return Joined { changed: false, subscriptions_wanted: !known };
        }
        member.client = client;
        member.fingerprint = fingerprint;
        let topics_changed = !fresh.keys().eq(member.subscriptions.keys());
        let known = std::mem::replace(&mut member.subscriptions, fresh);
        for (topic, subscription) in &mut member.subscriptions {
            // An older version never replaces a newer one.
            if let Some(known) = known.get(topic)
                && known.version > subscription.version
            {
                *subscription = Arc::clone(known);
            }
        }
        *weight = weight.saturating_sub(weight_of(&known)) + weight_of(&member.subscriptions);
        Joined { changed: topics_changed, subscriptions_wanted: false }
    }

    /// What a connection may read of a topic as a member of the group. A connection that is no
    /// member itself (a proxy's, a tool's) reads as the group's first member that subscribes.
    pub(crate) fn membership(&self, group: &str, topic: &str, peer_id: u64) -> Membership {
        let state = self.state.read();
        let Some(members) = state.groups.get(group) else { return Membership::NoGroup };
        let subscription = match members.members.get(&peer_id) {
            Some(member) => member.subscriptions.get(topic),
            None => members.members.values().find_map(|member| member.subscriptions.get(topic)),
        };
        match subscription {
            Some(subscription) => Membership::Subscribed {
                model: members.model,
                subscription: Arc::clone(subscription),
            },
            None => Membership::NoSubscription { model: members.model },
        }
    }

    /// Takes a newer version of a subscription that a pull carries in place of the known one.
    pub(crate) fn renew(&self, group: &str, peer_id: u64, subscription: &Arc<Subscription>) {
        let mut state = self.state.write();
        let members = state.groups.get_mut(group);
        let member = members.and_then(|members| members.members.get_mut(&peer_id));
        let known = member.and_then(|member| member.subscriptions.get_mut(&subscription.topic));
        if let Some(known) = known.filter(|known| known.version < subscription.version) {
            *known = Arc::clone(subscription);
        }
    }

    /// A client leaves a group. The group, if it has changed by that.
    pub(crate) fn leave(&self, group: &str, peer_id: u64) -> Option<Changed> {
        let mut state = self.state.write();
        state.remove(group, peer_id).then(|| state.changed(group))
    }

    /// A connection has ended. The groups that have changed by that.
    pub(crate) fn closed(&self, peer_id: u64) -> Vec<Changed> {
        let mut state = self.state.write();
        let groups = state.by_peer.get(&peer_id).cloned().unwrap_or_default();
        let left: Vec<_> =
            groups.into_iter().filter(|group| state.remove(group, peer_id)).collect();
        left.iter().map(|group| state.changed(group)).collect()
    }

    /// Takes out members that were not heard of for so long. Their connections, to be closed, and
    /// the groups that have changed.
    pub(crate) fn expire(&self, now: Monotonic, life: Duration) -> (Vec<Arc<Peer>>, Vec<Changed>) {
        let mut state = self.state.write();
        let mut gone = Vec::new();
        for (group, members) in &state.groups {
            for member in members.members.values().filter(|member| now.since(member.seen) > life) {
                gone.push((group.clone(), Arc::clone(&member.client.peer)));
            }
        }
        let left: Vec<_> =
            gone.iter().filter(|(group, peer)| state.remove(group, peer.id())).collect();
        let changed = left.iter().map(|(group, _)| state.changed(group)).collect();
        (gone.into_iter().map(|(_, peer)| peer).collect(), changed)
    }

    /// The group's connections.
    pub(crate) fn changed(&self, group: &str) -> Changed {
        self.state.read().changed(group)
    }

    /// The client ids of the group in the order in which they came; `None` when nobody is there.
    pub(crate) fn client_ids(&self, group: &str) -> Option<Vec<CompactString>> {
        let state = self.state.read();
        let members = state.groups.get(group)?;
        Some(members.members.values().map(|member| member.client.id.clone()).collect())
    }

    /// Whether what a connection says of the group's progress by the way, without waiting for an
    /// answer, may set it back: not when it is no member any more, and not in a group of push
    /// consumers, of which two have a queue for a moment when it changes hands.
    pub(crate) fn may_set_back(&self, group: &str, peer_id: u64) -> bool {
        let state = self.state.read();
        state.groups.get(group).is_none_or(|members| {
            members.kind == ConsumeType::Pull && members.members.contains_key(&peer_id)
        })
    }

    /// The clients of the group.
    pub(crate) fn clients(&self, group: &str) -> Vec<Client> {
        let state = self.state.read();
        let members =
            state.groups.get(group).into_iter().flat_map(|members| members.members.values());
        members.map(|member| member.client.clone()).collect()
    }

    /// One client of the group.
    pub(crate) fn client(&self, group: &str, client_id: &str) -> Option<Client> {
        let state = self.state.read();
        let members = &state.groups.get(group)?.members;
        let member = members.values().find(|member| member.client.id == client_id)?;
        Some(member.client.clone())
    }

    /// Connections and subscriptions of the group; `None` when nobody is there.
    pub(crate) fn describe(&self, group: &str) -> Option<ConsumerConnectionList> {
        let state = self.state.read();
        let members = state.groups.get(group)?;
        let mut subscription_table = BTreeMap::new();
        for (topic, subscription) in members.members.values().flat_map(|m| &m.subscriptions) {
            let row: &mut TopicSubscription = subscription_table.entry(topic.clone()).or_default();
            if subscription.version >= row.sub_version {
                *row = TopicSubscription::from(&**subscription);
            }
        }
        Some(ConsumerConnectionList {
            connection_set: members.members.values().map(|m| m.client.connection()).collect(),
            consume_from_where: members.from,
            consume_type: members.kind,
            message_model: members.model,
            subscription_table,
        })
    }

    /// The subscription of the group to a topic.
    pub(crate) fn subscription(&self, group: &str, topic: &str) -> Option<Arc<Subscription>> {
        let state = self.state.read();
        let mut members = state.groups.get(group)?.members.values();
        members.find_map(|member| member.subscriptions.get(topic).cloned())
    }

    /// The groups with a member that subscribes to the topic.
    pub(crate) fn groups_of(&self, topic: &str) -> Vec<CompactString> {
        let state = self.state.read();
        let subscribes = |members: &Members| {
            members.members.values().any(|member| member.subscriptions.contains_key(topic))
        };
        let groups = state.groups.iter().filter(|(_, members)| subscribes(members));
        groups.map(|(group, _)| group.clone()).collect()
    }
}

impl State {
    fn remove(&mut self, group: &str, peer_id: u64) -> bool {
        let Some(members) = self.groups.get_mut(group) else { return false };
        let Some(member) = members.members.remove(&peer_id) else { return false };
        self.weight = self.weight.saturating_sub(weight_of(&member.subscriptions));
        if members.members.is_empty() {
            self.groups.remove(group);
        }
        if let Some(names) = self.by_peer.get_mut(&peer_id) {
            names.retain(|name| name != group);
            if names.is_empty() {
                self.by_peer.remove(&peer_id);
            }
        }
        self.count = self.count.saturating_sub(1);
        true
    }

    /// Nobody is told in a group of which every member reads everything.
    fn changed(&self, group: &str) -> Changed {
        let members = self.groups.get(group);
        let told = members.filter(|members| members.model != MessageModel::Broadcasting);
        let peers = told.into_iter().flat_map(|members| members.members.values());
        Changed {
            group: group.into(),
            peers: peers.map(|member| Arc::clone(&member.client.peer)).collect(),
        }
    }
}

fn subscriptions_of(wire: Vec<TopicSubscription>) -> Subscriptions {
    wire.into_iter()
        .take(limits::SUBSCRIPTIONS_MAX)
        .map(|subscription| (subscription.topic.clone(), Arc::new(subscription.into())))
        .collect()
}

/// Bytes that peers have made the registry hold, roughly.
fn weight_of(subscriptions: &Subscriptions) -> usize {
    subscriptions
        .values()
        .map(|s| 128 + s.topic.len() + s.expression.len() + 64 * (s.tags.len() + s.codes.len()))
        .sum()
}
