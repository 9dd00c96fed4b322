//! Finding out what this consumer should own, and who hears of it when that is something else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use rmq_client_core::ClientError;
use rmq_client_core::rebalance;
use rmq_message::MessageQueue;

use super::difference;
use crate::engine::Engine;
use crate::flow_control::Limits;

/// Runs in which a retry topic without a route counts as not balanced: brokers make it at the first
/// heartbeat, and name servers hear of it a moment later.
const RETRY_MISSES_MAX: u32 = 10;

impl Engine {
    /// Balances all topics; whether everything is as it should be.
    pub(crate) async fn rebalance(self: &Arc<Self>) -> bool {
        if *self.paused.borrow() {
            return false;
        }
        let _turn = self.assignment.turn.lock().await;
        let mut balanced = true;
        for topic in self.subscriptions.topics() {
            if self.is_stopping() {
                return true;
            }
            balanced &= self.balance(&topic).await;
        }
        for topic in self.strays() {
            self.apply_pops(&topic, &BTreeSet::new());
            balanced &= self.apply(&topic, &BTreeSet::new()).await;
        }
        balanced
    }

    /// Topics that are owned but no longer subscribed.
    fn strays(&self) -> BTreeSet<String> {
        let names = self.assignment.names().into_iter().chain(self.pops.names());
        let topics = names.map(|queue| queue.topic.to_string());
        topics.filter(|topic| !self.subscriptions.contains(topic)).collect()
    }

    async fn balance(self: &Arc<Self>, topic: &str) -> bool {
        let queues = match self.instance.subscribe_queues(topic).await {
            Ok(queues) => queues,
            Err(error) => return self.without_route(topic, &error),
        };
        if self.is_assigned_by_brokers() {
            return self.balance_by_broker(topic).await;
        }
        if !self.is_clustering() {
            return self.apply(topic, &queues.iter().cloned().collect()).await;
        }
        let Some(members) = self.members(topic).await else { return false };
        let me = self.instance.client_id();
        let listed = members.iter().any(|member| member == me);
        if !listed {
            tracing::warn!(topic, group = %self.group, "the broker does not list this client as a member, its queues go to others");
        }
        match rebalance::allocate(self.parts.strategy.as_ref(), me, queues.to_vec(), members) {
            Ok(wanted) => self.apply(topic, &wanted).await && listed,
            Err(error) => {
                tracing::warn!(topic, group = %self.group, %error, "cannot share the queues, keeping what is there");
                false
            }
        }
    }

    /// The members of the group. A broker that does not list this one, maybe because it was
    /// restarted, hears of it and is asked again.
    async fn members(&self, topic: &str) -> Option<Vec<String>> {
        let members = self.instance.consumer_ids(topic, &self.group).await?;
        if members.iter().any(|member| member == self.instance.client_id()) {
            return Some(members);
        }
        self.announce().await;
        self.instance.consumer_ids(topic, &self.group).await
    }

    /// A topic without a route keeps its queues; it is found when its route is.
    fn without_route(&self, topic: &str, error: &ClientError) -> bool {
        if self.is_own_retry(topic) {
            tracing::debug!(topic, %error, "no route of the retry topic yet");
            return self.assignment.retry_misses.fetch_add(1, Ordering::Relaxed)
                >= RETRY_MISSES_MAX;
        }
        tracing::warn!(topic, %error, "no route of a subscribed topic");
        true
    }

    /// Makes the owned queues of a topic those that are wanted.
    pub(crate) async fn apply(
        self: &Arc<Self>,
        topic: &str,
        wanted: &BTreeSet<MessageQueue>,
    ) -> bool {
        let mut owned = self.assignment.queues();
        owned.retain(|owned| owned.queue.topic == topic);
        let (leaving, assign) = difference(owned, wanted);
        if leaving.is_empty() && assign.is_empty() {
            return true;
        }
        let revoked = join_all(leaving.iter().map(|owned| self.revoke(owned))).await;
        let mut complete = revoked.iter().all(|done| *done);
        for queue in assign {
            complete &= self.assign(queue, None);
        }
        self.queues_changed(topic).await;
        complete
    }

    /// The queues of a topic are others now: brokers refresh the subscription, and whoever wants to
    /// know is told.
    pub(crate) async fn queues_changed(&self, topic: &str) {
        let count = self.assignment.queues().len();
        *self.assignment.limits.lock() = Limits::of(&self.settings, count, self.is_ordered());
        let mine: Vec<_> =
            self.all_queues().into_iter().filter(|queue| queue.topic == topic).collect();
        tracing::info!(topic, group = %self.group, count = mine.len(), "assignment changed");
        if let Some(listener) = &self.parts.assignment_listener {
            listener(topic, &mine);
        }
        self.subscriptions.renew(topic, self.wall());
        self.announce().await;
    }

    /// The queues that it consumes, pulled and popped.
    pub(crate) fn all_queues(&self) -> BTreeSet<MessageQueue> {
        let mut queues = self.assignment.open();
        queues.append(&mut self.pops.names());
        queues
    }

    /// Tells brokers what is subscribed; pulls name the new versions when they know them.
    pub(crate) async fn announce(&self) {
        self.instance.subscriptions_changed();
        let carried = self.subscriptions.all();
        if self.instance.heartbeat().await {
            self.subscriptions.announced(&carried);
        }
    }
}
