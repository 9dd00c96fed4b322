//! Live producers: per group its clients, one for each connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use rmq_message::{CompactString, Timestamp};
use rmq_remoting::Peer;
use rmq_remoting::protocol::client::{ProducerConnectionList, ProducerRow, ProducerTable};
use rmq_runtime::Monotonic;

use crate::consumer_registry::Client;
use crate::limits;

/// The registry.
#[derive(Debug, Default)]
pub(crate) struct ProducerRegistry {
    state: RwLock<State>,
    /// Whose turn it is among the members of a group.
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    groups: HashMap<CompactString, BTreeMap<u64, Member>>,
    by_peer: HashMap<u64, Vec<CompactString>>,
    /// The connection over which a client was heard last.
    by_client: HashMap<CompactString, Arc<Peer>>,
    count: usize,
}

#[derive(Debug)]
struct Member {
    client: Client,
    seen: Monotonic,
    seen_wall: Timestamp,
}

impl ProducerRegistry {
    /// A producer is there, still or anew.
    pub(crate) fn join(&self, group: &str, client: Client, now: Monotonic, wall: Timestamp) {
        let peer_id = client.peer.id();
        let mut state = self.state.write();
        let State { groups, by_peer, by_client, count } = &mut *state;
        let names = by_peer.entry(peer_id).or_default();
        if !names.iter().any(|name| name == group) {
            if *count >= limits::MEMBERSHIPS_MAX || names.len() >= limits::GROUPS_PER_CONNECTION_MAX
            {
                tracing::warn!(group, "no more producers: a limit is reached");
                return;
            }
            names.push(group.into());
            *count += 1;
        }
        by_client.insert(client.id.clone(), Arc::clone(&client.peer));
        let member = Member { client, seen: now, seen_wall: wall };
        groups.entry(group.into()).or_default().insert(peer_id, member);
    }

    /// A producer leaves a group.
    pub(crate) fn leave(&self, group: &str, peer_id: u64) {
        self.state.write().remove(group, peer_id);
    }

    /// A connection has ended.
    pub(crate) fn closed(&self, peer_id: u64) {
        let mut state = self.state.write();
        for group in state.by_peer.get(&peer_id).cloned().unwrap_or_default() {
            state.remove(&group, peer_id);
        }
        state.by_peer.remove(&peer_id);
    }

    /// Takes out producers that were not heard of for so long. Their connections, to be closed.
    pub(crate) fn expire(&self, now: Monotonic, life: Duration) -> Vec<Arc<Peer>> {
        let mut state = self.state.write();
        let mut gone = Vec::new();
        for (group, members) in &state.groups {
            for member in members.values().filter(|member| now.since(member.seen) > life) {
                gone.push((group.clone(), Arc::clone(&member.client.peer)));
            }
        }
        for (group, peer) in &gone {
            state.remove(group, peer.id());
        }
        gone.into_iter().map(|(_, peer)| peer).collect()
    }

    /// One live member of a group after the other.
    pub(crate) fn any(&self, group: &str) -> Option<Arc<Peer>> {
        let state = self.state.read();
        let members = state.groups.get(group)?;
        let peers = members.values().map(|member| &member.client.peer);
        let live: Vec<_> = peers.filter(|peer| !peer.is_closed()).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(live.len())?;
        live.get(turn).map(|peer| Arc::clone(peer))
    }

    /// The connection of a client.
    pub(crate) fn client(&self, client_id: &str) -> Option<Arc<Peer>> {
        let peer = self.state.read().by_client.get(client_id).cloned();
        peer.filter(|peer| !peer.is_closed())
    }

    /// The connections of a group; `None` when nobody is there.
    pub(crate) fn describe(&self, group: &str) -> Option<ProducerConnectionList> {
        let state = self.state.read();
        let members = state.groups.get(group)?.values();
        Some(ProducerConnectionList {
            connection_set: members.map(|member| member.client.connection()).collect(),
        })
    }

    /// All producers.
    pub(crate) fn table(&self) -> ProducerTable {
        let state = self.state.read();
        let row = |member: &Member| ProducerRow {
            client_id: member.client.id.clone(),
            language: member.client.language,
            last_update_timestamp: member.seen_wall.0,
            remote_ip: format!("/{}", member.client.peer.remote()).into(),
            version: member.client.version,
        };
        let groups = state.groups.iter();
        let data =
            groups.map(|(group, members)| (group.clone(), members.values().map(row).collect()));
        ProducerTable { data: data.collect() }
    }
}

impl State {
    fn remove(&mut self, group: &str, peer_id: u64) {
        let Some(members) = self.groups.get_mut(group) else { return };
        let Some(member) = members.remove(&peer_id) else { return };
        if members.is_empty() {
            self.groups.remove(group);
        }
        let mut is_last = true;
        if let Some(names) = self.by_peer.get_mut(&peer_id) {
            names.retain(|name| name != group);
            is_last = names.is_empty();
        }
        let client = &member.client.id;
        if is_last && self.by_client.get(client).is_some_and(|peer| peer.id() == peer_id) {
            self.by_client.remove(client);
        }
        self.count = self.count.saturating_sub(1);
    }
}
