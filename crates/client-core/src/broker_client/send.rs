//! Sending one message or one batch to one queue, once. Choosing and trying again is the producer's.

use std::time::Duration;

use bytes::Bytes;
use rmq_message::{CompactString, Message, MessageQueue, QueueOffset, Timestamp, name, property};
use rmq_remoting::command::RemotingCommand;
use rmq_remoting::protocol::send::{SendMessage, SendResponse};
use rmq_remoting::{request_code, response_code};

use super::BrokerClient;
use crate::ClientError;

/// Queues that a topic gets when its first send creates it.
const DEFAULT_TOPIC_QUEUES: i32 = 4;

/// One try to store a message in a queue.
#[doc(alias = "SendMessageRequestHeader")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendCall<'a> {
    /// Group of the producer.
    pub group: &'a str,
    /// Where it is to go.
    pub queue: &'a MessageQueue,
    /// Body, compressed or a batch if the flags say so.
    pub body: Bytes,
    /// Properties as text.
    pub properties: String,
    /// The user's flag.
    pub flag: i32,
    /// Bits of [`rmq_message::sys_flag`].
    pub sys_flag: i32,
    /// When the message was made.
    pub born: Timestamp,
    /// Topic whose settings a new topic inherits.
    #[doc(alias = "createTopicKey")]
    pub default_topic: &'a str,
    /// Queues that a new topic gets.
    #[doc(alias = "defaultTopicQueueNums")]
    pub default_topic_queues: i32,
    /// Earlier deliveries, for messages that go to a retry topic.
    pub reconsume_times: i32,
    /// Deliveries before the dead-letter topic, for messages that go to a retry topic.
    pub max_reconsume_times: Option<i32>,
    /// Whether the client belongs to a unit.
    pub unit_mode: bool,
    /// Whether the body is a batch.
    pub batch: bool,
    /// Whether it answers a request.
    pub reply: bool,
    /// Unique id of the message; of a batch, all ids joined by commas.
    pub id: String,
}

impl<'a> SendCall<'a> {
    /// A plain send of a message as it is. For a retry topic the attempt counts move from the
    /// properties to the header, where brokers look for them.
    pub fn new(
        group: &'a str,
        queue: &'a MessageQueue,
        message: &Message,
        born: Timestamp,
    ) -> Self {
        let mut properties = message.properties.clone();
        let (mut reconsume_times, mut max_reconsume_times) = (0, None);
        if name::is_retry(&queue.topic) {
            let mut take = |name| properties.remove(name).and_then(|text| text.parse().ok());
            reconsume_times = take(property::RECONSUME_TIME).unwrap_or(0);
            max_reconsume_times = take(property::MAX_RECONSUME_TIMES);
        }
        Self {
            group,
            queue,
            body: message.body.clone(),
            id: properties.get(property::UNIQ_KEY).unwrap_or_default().to_owned(),
            properties: properties.render(),
            flag: message.flag,
            sys_flag: 0,
            born,
            default_topic: name::AUTO_CREATE_TOPIC,
            default_topic_queues: DEFAULT_TOPIC_QUEUES,
            reconsume_times,
            max_reconsume_times,
            unit_mode: false,
            batch: false,
            reply: false,
        }
    }

    fn to_command(&self) -> RemotingCommand {
        let header = SendMessage {
            producer_group: self.group,
            topic: &self.queue.topic,
            default_topic: self.default_topic,
            default_topic_queue_nums: self.default_topic_queues,
            queue_id: self.queue.queue_id,
            sys_flag: self.sys_flag,
            born_timestamp: self.born.0,
            flag: self.flag,
            properties: &self.properties,
            reconsume_times: self.reconsume_times,
            unit_mode: self.unit_mode,
            max_reconsume_times: self.max_reconsume_times,
            batch: self.batch,
            broker_name: Some(&self.queue.broker_name),
        };
        let mut command = header.to_command(self.body.clone());
        if self.reply {
            command.code = request_code::SEND_REPLY_MESSAGE_V2;
        }
        command
    }
}

/// How well a message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SendStatus {
    /// As the broker's settings demand.
    #[doc(alias = "SEND_OK")]
    Ok,
    /// Stored, but the disk did not confirm it in time.
    #[doc(alias = "FLUSH_DISK_TIMEOUT")]
    FlushDiskTimeout,
    /// Stored, but the replicas did not confirm it in time.
    #[doc(alias = "FLUSH_SLAVE_TIMEOUT")]
    FlushReplicaTimeout,
    /// Stored, but there is no replica to confirm it.
    #[doc(alias = "SLAVE_NOT_AVAILABLE")]
    ReplicaNotAvailable,
}

impl SendStatus {
    fn of(code: i32) -> Option<Self> {
        match code {
            response_code::SUCCESS => Some(Self::Ok),
            response_code::FLUSH_DISK_TIMEOUT => Some(Self::FlushDiskTimeout),
            response_code::FLUSH_SLAVE_TIMEOUT => Some(Self::FlushReplicaTimeout),
            response_code::SLAVE_NOT_AVAILABLE => Some(Self::ReplicaNotAvailable),
            _ => None,
        }
    }
}

/// Proof that a broker has stored a message.
#[doc(alias = "SendResult")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendReceipt {
    /// How well.
    pub status: SendStatus,
    /// Unique id of the message; of a batch, all ids joined by commas.
    #[doc(alias = "msgId")]
    pub id: String,
    /// Id made of the broker's address and the position in its log; of a batch, all joined.
    #[doc(alias = "offsetMsgId")]
    pub offset_id: String,
    /// The queue that took it.
    pub queue: MessageQueue,
    /// Its position there; of a batch, that of the first message.
    pub queue_offset: QueueOffset,
    /// Id of the transaction.
    pub transaction_id: Option<CompactString>,
    /// Ticket to recall a timed message.
    pub recall_handle: Option<CompactString>,
    /// Region of the broker.
    pub region: CompactString,
    /// Whether the broker wants the message traced.
    pub trace_on: bool,
}

/// Region of brokers that name none.
const DEFAULT_REGION: &str = "DefaultRegion";

impl BrokerClient {
    /// Stores a message. Tried once; after [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) it may
    /// or may not be stored.
    #[doc(alias = "sendMessage")]
    pub async fn send(
        &self,
        call: &SendCall<'_>,
        timeout: Duration,
    ) -> Result<SendReceipt, ClientError> {
        let to = self.master(&call.queue.broker_name, &call.queue.topic).await?;
        let command = call.to_command();
        let request = command.code;
        let answer = self.wire.exchange(&to, command, timeout).await?;
        let Some(status) = SendStatus::of(answer.code) else {
            let (code, remark) = (answer.code, answer.remark.unwrap_or_default());
            return Err(ClientError::Refused { address: to, request, code, remark });
        };
        let stored: SendResponse = answer.payload().map_err(|source| ClientError::Malformed {
            address: to,
            request,
            source,
        })?;
        Ok(SendReceipt {
            status,
            id: stored.batch_uniq_id.map_or_else(|| call.id.clone(), Into::into),
            offset_id: stored.msg_id.into(),
            queue: MessageQueue { queue_id: stored.queue_id, ..call.queue.clone() },
            queue_offset: QueueOffset(stored.queue_offset),
            transaction_id: stored.transaction_id,
            recall_handle: stored.recall_handle,
            region: stored.region.unwrap_or(CompactString::const_new(DEFAULT_REGION)),
            trace_on: stored.trace_on != Some(false),
        })
    }

    /// Hands a message to the connection; nobody tells whether it was stored. The timeout bounds
    /// connecting.
    #[doc(alias = "sendOneway")]
    pub async fn send_oneway(
        &self,
        call: &SendCall<'_>,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        let to = self.master(&call.queue.broker_name, &call.queue.topic).await?;
        self.wire.tell(&to, call.to_command(), timeout).await
    }
}
