//! Typed calls to brokers. Every call finds the broker's address by its name, asks the name servers
//! once when there is none, and has a time limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rmq_message::{CompactString, MessageQueue, QueueOffset, Subscription, Timestamp};
use rmq_remoting::invoker::Endpoint;
use rmq_remoting::protocol::client::ConsumerList;
use rmq_remoting::protocol::heartbeat::{CheckClientConfig, UnregisterClient};
use rmq_remoting::protocol::lock::{LockQueues, UnlockQueues};
use rmq_remoting::protocol::offset::{
    Boundary, MaxOffset, MinOffset, OffsetResponse, QueryConsumerOffset, SearchOffset,
    UpdateConsumerOffset,
};
use rmq_remoting::protocol::route::MASTER_ID;
use rmq_remoting::protocol::send_back::SendBack;
use rmq_remoting::response_code;
use rmq_remoting::typed::TypedRequest;

use crate::ClientError;
use crate::error::GroupKind;
use crate::route::{Replica, Routes};
use crate::wire::{Wire, named};

mod pop;
mod pull;
mod send;
mod transaction;

pub use pop::{PopCall, PopOutcome, Popped, Receipt};
pub use pull::{PullCall, PullOutcome, PullStatus};
pub use send::{SendCall, SendReceipt, SendStatus};

/// Time limit of calls about progress.
const OFFSET_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of sending back.
const SEND_BACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of questions about a queue.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(6);
/// Time limit of locks.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// Talks to brokers in the name of one client.
///
/// Every call fails with [`ClientError::BrokerNotExist`] when no address is known,
/// [`ClientError::Call`] without an answer, [`ClientError::Refused`] with the broker's reason, and
/// [`ClientError::Malformed`] when the answer cannot be read.
#[doc(alias = "MQClientAPIImpl")]
pub struct BrokerClient {
    wire: Wire,
    routes: Arc<Routes>,
    client_id: CompactString,
    timeout: Duration,
    body_len_max: usize,
    /// Releases that brokers announced in answers to heartbeats.
    versions: RwLock<BTreeMap<Endpoint, i32>>,
}

/// A message goes back to its broker for a later delivery.
#[doc(alias = "ConsumerSendMsgBackRequestHeader")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendBackCall<'a> {
    /// Group.
    pub group: &'a str,
    /// The message as it was pulled. Its broker name decides where it goes; when that is empty, its
    /// store host.
    pub message: &'a rmq_message::MessageView,
    /// 0: the usual one, −1: straight to the dead-letter topic, else that level.
    pub delay_level: i32,
    /// Deliveries before the dead-letter topic.
    pub max_reconsume_times: i32,
    /// Whether the client belongs to a unit.
    pub unit_mode: bool,
}

impl BrokerClient {
    pub(crate) fn new(
        wire: Wire,
        routes: Arc<Routes>,
        client_id: CompactString,
        timeout: Duration,
        body_len_max: usize,
    ) -> Self {
        Self { wire, routes, client_id, timeout, body_len_max, versions: RwLock::default() }
    }

    /// Committed position of a group. None when the broker says that there is none; every other
    /// failure is an error and never a number.
    #[doc(alias = "queryConsumerOffset")]
    pub async fn query_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<QueueOffset>, ClientError> {
        let request = QueryConsumerOffset {
            consumer_group: group.into(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            set_zero_if_not_found: None,
        };
        let to = self.keeper(queue).await?;
        match self.position(&to, queue, &request, OFFSET_TIMEOUT).await {
            Ok(offset) => Ok(Some(offset)),
            Err(error) if error.is_refused_with(response_code::QUERY_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Commits the position of a group without waiting for an answer.
    #[doc(alias = "updateConsumerOffsetOneway")]
    pub async fn update_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: QueueOffset,
    ) -> Result<(), ClientError> {
        let to = self.keeper(queue).await?;
        let command = named(&commit(group, queue, offset), Some(&queue.broker_name));
        self.wire.tell(&to, command, OFFSET_TIMEOUT).await
    }

    /// Commits the position of a group and waits until the broker has it.
    #[doc(alias = "updateConsumerOffset")]
    pub async fn commit_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: QueueOffset,
    ) -> Result<(), ClientError> {
        let to = self.keeper(queue).await?;
        let request = commit(group, queue, offset);
        self.wire.ask_broker(&to, &request, Some(&queue.broker_name), OFFSET_TIMEOUT).await
    }

    /// The position that the next message of a queue will get.
    #[doc(alias = "maxOffset")]
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        let request = MaxOffset {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            committed: Some(true),
        };
        self.position_at_master(queue, &request).await
    }

    /// The first position of a queue.
    #[doc(alias = "minOffset")]
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<QueueOffset, ClientError> {
        let request = MinOffset { topic: queue.topic.clone(), queue_id: queue.queue_id };
        self.position_at_master(queue, &request).await
    }

    /// The first position stored at or after a time, or with [`Boundary::Upper`] the last of equal
    /// ones.
    #[doc(alias = "searchOffset")]
    pub async fn search_offset(
        &self,
        queue: &MessageQueue,
        time: Timestamp,
        boundary: Boundary,
    ) -> Result<QueueOffset, ClientError> {
        let request = SearchOffset {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            timestamp: time.0,
            boundary: Some(boundary),
        };
        self.position_at_master(queue, &request).await
    }

    /// Gives a message back for a later delivery; success means that a copy is stored.
    #[doc(alias = "consumerSendMessageBack")]
    pub async fn send_back(&self, call: &SendBackCall<'_>) -> Result<(), ClientError> {
        let message = call.message;
        let broker = Some(message.broker_name.as_str()).filter(|name| !name.is_empty());
        let to = match broker {
            Some(name) => self.master(name, &message.topic).await?,
            None => message.store_host.into(),
        };
        let request = SendBack {
            offset: message.physical_offset.to_i64(),
            group: call.group.into(),
            delay_level: call.delay_level,
            origin_msg_id: Some(message.id().into()),
            origin_topic: Some(message.topic.clone()),
            unit_mode: Some(call.unit_mode),
            max_reconsume_times: Some(call.max_reconsume_times),
        };
        self.wire.ask_broker(&to, &request, broker, SEND_BACK_TIMEOUT).await
    }

    /// Takes or renews the locks of queues that one broker holds. Those that are ours now.
    #[doc(alias = "lockBatchMQ")]
    pub async fn lock_queues(
        &self,
        group: &str,
        broker_name: &str,
        queues: &[MessageQueue],
    ) -> Result<Vec<MessageQueue>, ClientError> {
        let to = self.master_of_queues(broker_name, queues).await?;
        let request = LockQueues {
            client_id: self.client_id.clone(),
            consumer_group: group.into(),
            mq_set: queues.to_vec(),
            only_this_broker: false,
        };
        Ok(self.wire.ask(&to, &request, LOCK_TIMEOUT).await?.lock_ok_mq_set)
    }

    /// Gives locks back, and waits for the answer when it matters that the next owner finds them
    /// free.
    #[doc(alias = "unlockBatchMQ")]
    pub async fn unlock_queues(
        &self,
        group: &str,
        broker_name: &str,
        queues: &[MessageQueue],
        wait: bool,
    ) -> Result<(), ClientError> {
        let to = self.master_of_queues(broker_name, queues).await?;
        let request = UnlockQueues {
            client_id: self.client_id.clone(),
            consumer_group: group.into(),
            mq_set: queues.to_vec(),
            only_this_broker: false,
        };
        if wait {
            self.wire.ask(&to, &request, LOCK_TIMEOUT).await
        } else {
            self.wire.tell(&to, request.to_command(), LOCK_TIMEOUT).await
        }
    }

    /// Has a broker check the filter of a subscription. Tag subscriptions need no check.
    #[doc(alias = "checkClientInBroker")]
    pub async fn check_client_config(
        &self,
        group: &str,
        subscription: &Subscription,
    ) -> Result<(), ClientError> {
        let to = self.any_broker_of(&subscription.topic).await?;
        let request = CheckClientConfig {
            client_id: self.client_id.clone(),
            group: group.into(),
            namespace: None,
            subscription_data: subscription.into(),
        };
        self.wire.ask(&to, &request, self.timeout).await
    }

    /// The members of a group as one broker of the topic knows them.
    #[doc(alias = "getConsumerIdListByGroup")]
    pub(crate) async fn consumer_ids(
        &self,
        topic: &str,
        group: &str,
    ) -> Result<Vec<String>, ClientError> {
        let to = self.any_broker_of(topic).await?;
        let request = ConsumerList { consumer_group: group.into() };
        let answer = self.wire.ask(&to, &request, self.timeout).await?;
        Ok(answer.consumer_id_list.into_iter().map(Into::into).collect())
    }

    /// Tells one broker that this client has left a group.
    #[doc(alias = "unregisterClient")]
    pub(crate) async fn unregister(
        &self,
        to: &Endpoint,
        kind: GroupKind,
        group: &str,
    ) -> Result<(), ClientError> {
        let of = |this: GroupKind| (kind == this).then(|| group.into());
        let request = UnregisterClient {
            client_id: self.client_id.clone(),
            producer_group: of(GroupKind::Producer),
            consumer_group: of(GroupKind::Consumer),
        };
        self.wire.ask(to, &request, self.timeout).await
    }

    /// The release that a broker announced, 0 when it has not yet.
    pub fn version(&self, address: &Endpoint) -> i32 {
        self.versions.read().get(address).copied().unwrap_or(0)
    }

    pub(crate) fn learn_version(&self, address: &Endpoint, version: i32) {
        self.versions.write().insert(address.clone(), version);
    }

    pub(crate) fn forget(&self, address: &Endpoint) {
        self.versions.write().remove(address);
    }

    async fn position_at_master<R>(
        &self,
        queue: &MessageQueue,
        request: &R,
    ) -> Result<QueueOffset, ClientError>
    where
        R: TypedRequest<Response = OffsetResponse> + Sync,
    {
        let to = self.master(&queue.broker_name, &queue.topic).await?;
        self.position(&to, queue, request, QUEUE_TIMEOUT).await
    }

    async fn position<R>(
        &self,
        to: &Endpoint,
        queue: &MessageQueue,
        request: &R,
        timeout: Duration,
    ) -> Result<QueueOffset, ClientError>
    where
        R: TypedRequest<Response = OffsetResponse> + Sync,
    {
        let answer = self.wire.ask_broker(to, request, Some(&queue.broker_name), timeout).await?;
        let offset = QueueOffset(answer.offset);
        if offset < QueueOffset::ZERO {
            let (address, request) = (to.clone(), R::CODE);
            return Err(ClientError::NoPosition { address, request, offset });
        }
        Ok(offset)
    }

    /// The master of a broker; the route of the topic is fetched once when it is not known.
    async fn master(&self, broker_name: &str, topic: &str) -> Result<Endpoint, ClientError> {
        if self.routes.master(broker_name).is_none() {
            self.refresh_quietly(topic).await;
        }
        let found = self.routes.master(broker_name);
        found
            .map(|replica| self.wire.door(replica.address))
            .ok_or_else(|| ClientError::BrokerNotExist { name: broker_name.into() })
    }

    /// Who keeps the progress of a queue.
    async fn keeper(&self, queue: &MessageQueue) -> Result<Endpoint, ClientError> {
        Ok(self.wire.door(self.replica_of(queue, MASTER_ID).await?.address))
    }

    async fn master_of_queues(
        &self,
        broker_name: &str,
        queues: &[MessageQueue],
    ) -> Result<Endpoint, ClientError> {
        let topic = queues.first().map_or("", |queue| queue.topic.as_str());
        self.master(broker_name, topic).await
    }

    /// The replica with that id; when it is not known even after a refresh, another one.
    async fn replica_of(&self, queue: &MessageQueue, id: i64) -> Result<Replica, ClientError> {
        if let Some(replica) = self.routes.replica(&queue.broker_name, id, true) {
            return Ok(replica);
        }
        self.refresh_quietly(&queue.topic).await;
        self.routes
            .replica(&queue.broker_name, id, false)
            .ok_or_else(|| ClientError::BrokerNotExist { name: queue.broker_name.clone() })
    }

    async fn any_broker_of(&self, topic: &str) -> Result<Endpoint, ClientError> {
        if let Some(address) = self.routes.any_broker_of(topic) {
            return Ok(self.wire.door(address));
        }
        self.routes.refresh(topic).await?;
        let found = self.routes.any_broker_of(topic).map(|address| self.wire.door(address));
        found.ok_or_else(|| ClientError::NoRoute { topic: topic.into() })
    }

    /// A refresh on the way to something else: that something tells what is missing.
    async fn refresh_quietly(&self, topic: &str) {
        if !topic.is_empty()
            && let Err(error) = self.routes.refresh(topic).await
        {
            tracing::debug!(topic, %error, "no fresh route");
        }
    }
}

impl std::fmt::Debug for BrokerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerClient").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

fn commit(group: &str, queue: &MessageQueue, offset: QueueOffset) -> UpdateConsumerOffset {
    UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: queue.topic.clone(),
        queue_id: queue.queue_id,
        commit_offset: offset.0,
    }
}
