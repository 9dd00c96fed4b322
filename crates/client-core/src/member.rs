//! What an instance asks of its consumers, and the table of all groups at an instance.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use parking_lot::Mutex;
use rmq_message::{CompactString, MessageQueue, MessageView, QueueOffset, Subscription};
use rmq_remoting::protocol::client::{ConsumerSnapshot, DirectOutcome};
use rmq_remoting::protocol::heartbeat::{
    ConsumeFromWhere, ConsumeType, ConsumerGroup, MessageModel, ProducerGroup,
};

use crate::ClientError;
use crate::check_back::CheckBack;
use crate::error::GroupKind;

/// A consumer as its instance sees it.
///
/// The methods are called from the instance's loops; a slow one delays other members' runs of the
/// same loop, and a panic is caught and logged.
#[doc(alias = "MQConsumerInner")]
#[async_trait]
pub trait GroupMember: Send + Sync + 'static {
    /// Group.
    fn group(&self) -> &str;

    /// What brokers are to know of the member, now.
    fn heartbeat(&self) -> MemberHeartbeat;

    /// Topics whose routes it needs, the retry topic included.
    fn topics(&self) -> Vec<CompactString>;

    /// Balances its queues; true when it holds just those that it should. False brings the next
    /// run after one second instead of twenty.
    async fn rebalance(&self) -> bool;

    /// Writes the progress of the queues that it holds. Failures are the member's to log.
    async fn persist_offsets(&self);

    /// There is a new connection to a broker, which may have forgotten this member in between and
    /// given its queues to others. Told before the broker hears of the member again.
    fn reconnected(&self) {}

    /// Serves a broker's request.
    async fn command(&self, command: MemberCommand) -> MemberReply;
}

/// A member's part of a heartbeat.
#[doc(alias = "ConsumerData")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberHeartbeat {
    /// How it gets its messages.
    pub consume_type: ConsumeType,
    /// Shared, or each for itself.
    pub model: MessageModel,
    /// Where the group begins without progress.
    pub from_where: ConsumeFromWhere,
    /// What it wants, the retry topic included.
    pub subscriptions: Vec<Subscription>,
    /// Whether it belongs to a unit.
    pub unit_mode: bool,
}

impl MemberHeartbeat {
    fn into_wire(self, group: &str) -> ConsumerGroup {
        ConsumerGroup {
            consume_from_where: self.from_where,
            consume_type: self.consume_type,
            group_name: group.into(),
            message_model: self.model,
            subscription_data_set: self.subscriptions.iter().map(Into::into).collect(),
            unit_mode: self.unit_mode,
        }
    }
}

/// What a broker asks of a member.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MemberCommand {
    /// Go on from these positions (220). Runs in a task of its own, so it may take its time;
    /// nobody waits for the reply.
    ResetOffsets {
        /// Topic.
        topic: CompactString,
        /// New position of each queue.
        offsets: BTreeMap<MessageQueue, QueueOffset>,
    },
    /// Tell the positions of a topic's queues (221): [`MemberReply::Positions`].
    Positions {
        /// Topic.
        topic: CompactString,
    },
    /// Tell what it is doing (307): [`MemberReply::Snapshot`].
    Describe,
    /// Consume one message now, outside of any queue (309): [`MemberReply::Outcome`].
    ConsumeDirectly {
        /// The message as it is stored; a retry topic is not yet replaced.
        message: Box<MessageView>,
    },
}

/// What a member answers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MemberReply {
    /// Done, nothing to say.
    Done,
    /// Positions in memory.
    Positions(BTreeMap<MessageQueue, QueueOffset>),
    /// What it is doing.
    Snapshot(Box<ConsumerSnapshot>),
    /// Outcome of a direct consumption.
    Outcome(DirectOutcome),
    /// This kind of member does not serve the command.
    Unsupported,
}

/// All groups of an instance.
#[derive(Default)]
pub(crate) struct Members {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    consumers: BTreeMap<CompactString, Arc<dyn GroupMember>>,
    producers: BTreeMap<CompactString, Option<Arc<dyn CheckBack>>>,
    /// Topics that producers have asked for.
    published: BTreeSet<CompactString>,
    closed: bool,
}

impl Members {
    pub(crate) fn join(
        &self,
        member: Arc<dyn GroupMember>,
        client_id: &str,
    ) -> Result<(), ClientError> {
        let mut table = self.table.lock();
        table.open(client_id)?;
        let group = CompactString::from(member.group());
        if table.consumers.contains_key(&group) {
            return Err(ClientError::DuplicateGroup { kind: GroupKind::Consumer, group });
        }
        table.consumers.insert(group, member);
        Ok(())
    }

    pub(crate) fn join_producer(&self, group: &str, client_id: &str) -> Result<(), ClientError> {
        let mut table = self.table.lock();
        table.open(client_id)?;
        let group = CompactString::from(group);
        if table.producers.contains_key(&group) {
            return Err(ClientError::DuplicateGroup { kind: GroupKind::Producer, group });
        }
        table.producers.insert(group, None);
        Ok(())
    }

    /// Who answers for the transactions of a producer that is in.
    pub(crate) fn answer_checks(&self, group: &str, check_back: Arc<dyn CheckBack>) {
        if let Some(known) = self.table.lock().producers.get_mut(group) {
            *known = Some(check_back);
        }
    }

    pub(crate) fn check_back(&self, group: &str) -> Option<Arc<dyn CheckBack>> {
        self.table.lock().producers.get(group).cloned().flatten()
    }

    /// Whether it was there.
    pub(crate) fn leave(&self, kind: GroupKind, group: &str) -> bool {
        let mut table = self.table.lock();
        match kind {
            GroupKind::Consumer => table.consumers.remove(group).is_some(),
            GroupKind::Producer => table.producers.remove(group).is_some(),
        }
    }

    /// Closes the table when nobody is in it; whether it is closed now.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut table = self.table.lock();
        table.closed |= table.consumers.is_empty() && table.producers.is_empty();
        table.closed
    }

    pub(crate) fn publish(&self, topic: &str) {
        let mut table = self.table.lock();
        if !table.published.contains(topic) {
            table.published.insert(topic.into());
        }
    }

    pub(crate) fn member(&self, group: &str) -> Option<Arc<dyn GroupMember>> {
        self.table.lock().consumers.get(group).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<dyn GroupMember>> {
        self.table.lock().consumers.values().cloned().collect()
    }

    /// Topics whose routes are needed.
    pub(crate) fn topics(&self) -> BTreeSet<CompactString> {
        let published = self.table.lock().published.clone();
        self.all().iter().flat_map(|member| member.topics()).chain(published).collect()
    }

    /// Both halves of a heartbeat.
    pub(crate) fn heartbeats(&self) -> (Vec<ConsumerGroup>, Vec<ProducerGroup>) {
        let producers: Vec<_> = self.table.lock().producers.keys().cloned().collect();
        let consumers =
            self.all().iter().map(|member| member.heartbeat().into_wire(member.group())).collect();
        let producers = producers.into_iter().map(|group_name| ProducerGroup { group_name });
        (consumers, producers.collect())
    }
}

impl Table {
    fn open(&self, client_id: &str) -> Result<(), ClientError> {
        if self.closed {
            return Err(ClientError::Closed { client_id: client_id.into() });
        }
        Ok(())
    }
}

/// What the future gives, or none when it panics: a member's failure must not end a loop that
/// serves others.
pub(crate) async fn guarded<T>(
    what: &str,
    group: &str,
    future: impl Future<Output = T>,
) -> Option<T> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(value) => Some(value),
        Err(_) => {
            tracing::error!(group, "{what} of a group member panicked");
            None
        }
    }
}
