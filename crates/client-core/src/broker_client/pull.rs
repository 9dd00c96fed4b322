//! Pulling messages of one queue: the call, and what becomes of the answer.
//!
//! Owns the second check of tags (brokers compare hashes only) and the unpacking of bodies and inner
//! batches. Nothing of an answer is ever passed over: what cannot be unpacked is delivered as it is
//! stored, and behind a damaged record the next pull goes on exactly there.

use std::time::Duration;

use bytes::{Buf, Bytes};
use rmq_message::record::{RecordError, RecordView};
use rmq_message::subscription::ExpressionType;
use rmq_message::{
    MessageQueue, MessageView, Properties, QueueOffset, Subscription, batch, property, sys_flag,
};
use rmq_remoting::command::RemotingCommand;
use rmq_remoting::protocol::pull::{PullMessage, PullResponse};
use rmq_remoting::{request_code, response_code};

use super::BrokerClient;
use crate::ClientError;
use crate::route::Replica;

/// First release of brokers that filter by SQL92: 4.1.0-SNAPSHOT.
const SQL92_VERSION: i32 = 232;

/// One pull.
#[doc(alias = "PullMessageRequestHeader")]
#[derive(Clone, Debug, PartialEq)]
pub struct PullCall<'a> {
    /// Group.
    pub group: &'a str,
    /// Queue.
    pub queue: &'a MessageQueue,
    /// First position wanted.
    pub offset: QueueOffset,
    /// What is wanted.
    pub subscription: &'a Subscription,
    /// Whether the request carries the expression; else the broker uses that of the heartbeat.
    #[doc(alias = "postSubscriptionWhenPull")]
    pub send_expression: bool,
    /// Most messages.
    pub max_messages: i32,
    /// Most bytes of them.
    pub max_bytes: i32,
    /// Progress to commit on the way; not sent to replicas.
    pub commit: Option<QueueOffset>,
    /// How long the broker may wait for messages; none: not at all.
    pub suspend: Option<Duration>,
    /// Time limit, longer than `suspend`.
    pub timeout: Duration,
    /// The broker id that the last answer suggested, 0 at first.
    pub broker_id: i64,
    /// Whether an application polls, which brokers serve under a request code of its own.
    #[doc(alias = "LITE_PULL_MESSAGE")]
    pub lite: bool,
}

/// What a pull found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PullStatus {
    /// Messages; after filtering there may be none left.
    #[doc(alias = "FOUND")]
    Found,
    /// The queue has no more.
    #[doc(alias = "NO_NEW_MSG")]
    NoNewMessage,
    /// It has more, but none that is wanted.
    #[doc(alias = "NO_MATCHED_MSG")]
    NoMatchedMessage,
    /// The position is none of the queue; `next` is one.
    #[doc(alias = "OFFSET_ILLEGAL")]
    OffsetIllegal,
}

impl PullStatus {
    fn of(code: i32) -> Option<Self> {
        match code {
            response_code::SUCCESS => Some(Self::Found),
            response_code::PULL_NOT_FOUND => Some(Self::NoNewMessage),
            response_code::PULL_RETRY_IMMEDIATELY => Some(Self::NoMatchedMessage),
            response_code::PULL_OFFSET_MOVED => Some(Self::OffsetIllegal),
            _ => None,
        }
    }
}

/// The answer to a pull.
#[doc(alias = "PullResult")]
#[derive(Clone, Debug, PartialEq)]
pub struct PullOutcome {
    /// What was found.
    pub status: PullStatus,
    /// Where to go on.
    pub next: QueueOffset,
    /// First position of the queue.
    pub min: QueueOffset,
    /// Position after the last message of the queue.
    pub max: QueueOffset,
    /// The broker id to ask next.
    #[doc(alias = "suggestWhichBrokerId")]
    pub broker_id: i64,
    /// Wanted messages in the order of the queue.
    pub messages: Vec<MessageView>,
    /// Messages that came and are not wanted: their tags only look alike.
    pub filtered: usize,
}

impl PullCall<'_> {
    fn to_command(&self, replica: &Replica) -> RemotingCommand {
        let commit = self.commit.filter(|_| replica.is_master());
        let mut flags = 0;
        for (set, flag) in [
            (commit.is_some(), sys_flag::pull::COMMIT_OFFSET),
            (self.suspend.is_some(), sys_flag::pull::SUSPEND),
            (self.send_expression, sys_flag::pull::SUBSCRIPTION),
            (self.lite, sys_flag::pull::LITE_PULL),
        ] {
            flags |= if set { flag } else { 0 };
        }
        let suspend = self.suspend.unwrap_or_default().as_millis();
        let mut command = PullMessage {
            consumer_group: self.group,
            topic: &self.queue.topic,
            queue_id: self.queue.queue_id,
            queue_offset: self.offset.0,
            max_msg_nums: self.max_messages,
            sys_flag: flags,
            commit_offset: commit.unwrap_or_default().0,
            suspend_timeout_millis: i64::try_from(suspend).unwrap_or(i64::MAX),
            subscription: self.send_expression.then_some(&self.subscription.expression),
            sub_version: self.subscription.version,
            expression_type: Some(self.subscription.kind.as_str()),
            max_msg_bytes: Some(self.max_bytes),
            request_source: None,
            proxy_forward_client_id: None,
            broker_name: Some(&self.queue.broker_name),
        }
        .to_command();
        if self.lite {
            command.code = request_code::LITE_PULL_MESSAGE;
        }
        command
    }
}

impl BrokerClient {
    /// Pulls once. Asks the replica `broker_id`, or another one of the same broker when it is not
    /// there.
    #[doc(alias = "pullMessage")]
    pub async fn pull(&self, call: &PullCall<'_>) -> Result<PullOutcome, ClientError> {
        let replica = match self.routes.replica(&call.queue.broker_name, call.broker_id, false) {
            Some(replica) => replica,
            None => self.replica_of(call.queue, call.broker_id).await?,
        };
        if call.subscription.kind == ExpressionType::Sql92 {
            let version = self.version(&replica.address);
            if version < SQL92_VERSION {
                let name = call.queue.broker_name.clone();
                return Err(ClientError::NoSql92 { name, version });
            }
        }
        let command = call.to_command(&replica);
        let request = command.code;
        let answer = self.wire.exchange(&replica.address, command, call.timeout).await?;
        let address = replica.address;
        let Some(status) = PullStatus::of(answer.code) else {
            let (code, remark) = (answer.code, answer.remark.unwrap_or_default());
            return Err(ClientError::Refused { address, request, code, remark });
        };
        let header: PullResponse = match answer.payload() {
            Ok(header) => header,
            Err(source) => return Err(ClientError::Malformed { address, request, source }),
        };
        if header.next_begin_offset < 0 {
            let offset = QueueOffset(header.next_begin_offset);
            return Err(ClientError::NoPosition { address, request, offset });
        }
        let mut outcome = PullOutcome {
            status,
            next: QueueOffset(header.next_begin_offset),
            min: QueueOffset(header.min_offset),
            max: QueueOffset(header.max_offset),
            broker_id: header.suggest_which_broker_id,
            messages: Vec::new(),
            filtered: 0,
        };
        if status == PullStatus::Found {
            let delta = header.offset_delta.unwrap_or(0);
            outcome.take(answer.body, call, delta, self.body_len_max).map_err(|source| {
                let queue = call.queue.to_string().into();
                ClientError::Damaged { address, queue, source }
            })?;
        }
        Ok(outcome)
    }
}

impl PullOutcome {
    /// Takes the messages of a body. Fails when already the first one is damaged.
    fn take(
        &mut self,
        mut records: Bytes,
        call: &PullCall<'_>,
        delta: i64,
        body_len_max: usize,
    ) -> Result<(), RecordError> {
        let bounds = (self.min.to_string(), self.max.to_string());
        let mut behind_last = None;
        while !records.is_empty() {
            let (mut view, len) = match decode(&records, body_len_max) {
                Ok(read) => read,
                Err(error) => {
                    let Some(next) = behind_last else { return Err(error) };
                    let next = self.next.min(next);
                    tracing::error!(queue = %call.queue, %error, %next, "damaged message in a pull");
                    self.next = next;
                    break;
                }
            };
            records.advance(len);
            view.queue_offset = view.queue_offset + delta;
            behind_last = Some(view.queue_offset + 1);
            let mut taken = |message: MessageView| {
                behind_last = behind_last.max(Some(message.queue_offset + 1));
                self.admit(message, call, &bounds);
            };
            match unwrapped(&view) {
                Some(parts) => parts.into_iter().for_each(taken),
                None => taken(view),
            }
        }
        Ok(())
    }

    /// Takes one message, if it is wanted.
    fn admit(&mut self, mut message: MessageView, call: &PullCall, bounds: &(String, String)) {
        if !call.subscription.admits_tag(message.tag()) {
            self.filtered += 1;
            return;
        }
        message.properties.set(property::MIN_OFFSET, &bounds.0);
        message.properties.set(property::MAX_OFFSET, &bounds.1);
        message.broker_name = call.queue.broker_name.clone();
        message.queue_id = call.queue.queue_id;
        self.messages.push(message);
    }
}

/// Where the system flags stand in a record.
const SYS_FLAG_AT: usize = 36;

/// Reads the record at the beginning, and tells its length. A body that cannot be unpacked stays
/// packed, with its flags: the listener may know what to do, and the message is not lost.
pub(super) fn decode(
    records: &Bytes,
    body_len_max: usize,
) -> Result<(MessageView, usize), RecordError> {
    let error = match MessageView::decode(records, body_len_max) {
        Ok(view) => {
            let len = view.stored_len;
            return Ok((view, len));
        }
        Err(error) => error,
    };
    let record = RecordView::parse(records)?;
    let (flags, len) = (record.sys_flag, record.total_len);
    let mut plain = records.slice(..len).to_vec();
    if let Some(field) = plain.get_mut(SYS_FLAG_AT..SYS_FLAG_AT + 4) {
        field.copy_from_slice(&(flags & !sys_flag::COMPRESSED).to_be_bytes());
    }
    let mut view = MessageView::decode(&plain.into(), body_len_max)
        .map_err(|_| RecordError::Lengths { total: len })?;
    tracing::warn!(id = view.offset_id(), %error, "delivered without unpacking its body");
    view.sys_flag = flags;
    Ok((view, len))
}

/// The messages of an inner batch; none when the message is none.
fn unwrapped(view: &MessageView) -> Option<Vec<MessageView>> {
    let both = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
    if view.sys_flag & both != both {
        return None;
    }
    let body = view.body.clone();
    let Ok(items) = batch::decode(&body) else {
        tracing::warn!(id = view.offset_id(), "delivered as it is: no inner batch");
        return None;
    };
    let part = |(index, item): (usize, batch::BatchItem<'_>)| {
        let mut part = view.clone();
        part.flag = item.flag;
        part.body = body.slice_ref(item.body);
        part.sys_flag &= !both;
        part.queue_offset = view.queue_offset + i64::try_from(index).unwrap_or(i64::MAX);
        part.properties = Properties::parse(&String::from_utf8_lossy(item.properties));
        for (name, value) in view.properties.iter() {
            if part.properties.get(name).is_none() {
                part.properties.set(name, value);
            }
        }
        part
    };
    Some(items.into_iter().enumerate().map(part).collect())
}

#[cfg(test)]
#[path = "pull_test.rs"]
mod tests;
