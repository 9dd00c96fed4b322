//! What brokers ask of clients, and who answers.
//!
//! | code | request | what happens |
//! |---|---|---|
//! | 40 | the members of a group changed | all groups are balanced soon |
//! | 220 | positions are reset | the member is told in a task of its own; no answer |
//! | 221 | positions of a topic | the member answers |
//! | 307 | what a consumer is doing | the member answers |
//! | 309 | consume one message now | the member answers |
//! | 39 | how a transaction has ended | its producer is asked in a task of its own; answered by 37 |
//! | 326 | a reply | whoever waits for it gets it |
//! | others | | not supported (3) |

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rmq_message::compression::{Codec, CodecError};
use rmq_message::{
    CompactString, MessageView, PhysicalOffset, Properties, QueueOffset, Timestamp, property,
    sys_flag,
};
use rmq_remoting::command::{RemotingCommand, Response};
use rmq_remoting::invoker::Endpoint;
use rmq_remoting::peer::Peer;
use rmq_remoting::processor::{Processor, Reply};
use rmq_remoting::protocol::client::{
    ClientStatus, ConsumeDirectly, ConsumerStatus, DescribeConsumer, ResetClientOffset,
};
use rmq_remoting::protocol::offset::ResetOffsets;
use rmq_remoting::protocol::send::PushReply;
use rmq_remoting::protocol::transaction::CheckTransaction;
use rmq_remoting::{request_code, response_code};
use rmq_runtime::{OnFailure, Tasks};
use tokio::sync::{Notify, Semaphore};

use crate::check_back::TransactionQuestion;
use crate::member::{GroupMember, MemberCommand, MemberReply, Members, guarded};
use crate::replies::Replies;

/// Resets of one client that may be under way.
const RESETS_MAX: usize = 16;
/// Questions about transactions that may be under way; further ones are asked again by the broker.
const CHECKS_MAX: usize = 2_000;

/// Serves the requests that brokers send to a client, and notes who has connected.
#[doc(alias = "ClientRemotingProcessor")]
pub struct Door {
    members: Arc<Members>,
    signals: Arc<Signals>,
    tasks: Tasks,
    replies: Arc<Replies>,
    resets: Arc<Semaphore>,
    checks: Arc<Semaphore>,
    body_len_max: usize,
}

/// What wakes the loops of an instance. A signal that comes while its loop is busy is kept, many
/// count as one.
#[derive(Default)]
pub(crate) struct Signals {
    /// Queues should be balanced.
    pub(crate) rebalance: Notify,
    /// There are new connections.
    pub(crate) connected: Notify,
    arrivals: Mutex<BTreeSet<Endpoint>>,
}

impl Signals {
    pub(crate) fn arrived(&self, address: Endpoint) {
        self.arrivals.lock().insert(address);
        self.connected.notify_one();
    }

    pub(crate) fn take_arrivals(&self) -> BTreeSet<Endpoint> {
        std::mem::take(&mut self.arrivals.lock())
    }
}

impl Door {
    pub(crate) fn new(
        members: Arc<Members>,
        signals: Arc<Signals>,
        tasks: Tasks,
        replies: Arc<Replies>,
        body_len_max: usize,
    ) -> Arc<Self> {
        let resets = Arc::new(Semaphore::new(RESETS_MAX));
        let checks = Arc::new(Semaphore::new(CHECKS_MAX));
        Arc::new(Self { members, signals, tasks, replies, resets, checks, body_len_max })
    }

    /// Serves one request.
    pub(crate) fn serve(&self, request: &RemotingCommand) -> Reply {
        match request.code {
            request_code::NOTIFY_CONSUMER_IDS_CHANGED => {
                self.signals.rebalance.notify_one();
                Reply::None
            }
            request_code::RESET_CONSUMER_CLIENT_OFFSET => {
                self.reset(request);
                Reply::None
            }
            request_code::GET_CONSUMER_STATUS_FROM_CLIENT => self.positions(request),
            request_code::GET_CONSUMER_RUNNING_INFO => self.describe(request),
            request_code::CONSUME_MESSAGE_DIRECTLY => self.consume_directly(request),
            request_code::PUSH_REPLY_MESSAGE_TO_CLIENT => self.reply(request).into(),
            code => Response::not_supported(code).into(),
        }
    }

    fn reset(&self, request: &RemotingCommand) {
        let (header, table): (ResetClientOffset, ResetOffsets) = match request.payload() {
            Ok(read) => read,
            Err(error) => return tracing::warn!(%error, "a reset of positions cannot be read"),
        };
        let Some(member) = self.members.member(&header.group) else {
            return tracing::info!(group = %header.group, "a reset of positions for no group of ours");
        };
        let Ok(permit) = Arc::clone(&self.resets).try_acquire_owned() else {
            return tracing::warn!(group = %header.group, "too many resets of positions at once");
        };
        let offsets = table.offset_table.into_iter().map(|(queue, at)| (queue, QueueOffset(at)));
        let command =
            MemberCommand::ResetOffsets { topic: header.topic, offsets: offsets.collect() };
        self.tasks.spawn("reset offsets", OnFailure::Log, async move {
            let _reply = member.command(command).await;
            drop(permit);
        });
    }

    fn positions(&self, request: &RemotingCommand) -> Reply {
        let header: ClientStatus = match request.payload() {
            Ok(header) => header,
            Err(error) => {
                return Response::error(response_code::SYSTEM_ERROR, error.to_string()).into();
            }
        };
        let answer = |table: BTreeMap<_, QueueOffset>| {
            let message_queue_table = table.into_iter().map(|(queue, at)| (queue, at.0)).collect();
            Response::of(&ConsumerStatus { message_queue_table, ..ConsumerStatus::default() })
        };
        let Some(member) = self.members.member(&header.group) else {
            return answer(BTreeMap::new()).into();
        };
        ask(member, MemberCommand::Positions { topic: header.topic }, move |reply| match reply {
            MemberReply::Positions(table) => Some(answer(table)),
            _ => None,
        })
    }

    fn describe(&self, request: &RemotingCommand) -> Reply {
        let header: DescribeConsumer = match request.payload() {
            Ok(header) => header,
            Err(error) => {
                return Response::error(response_code::SYSTEM_ERROR, error.to_string()).into();
            }
        };
        let Some(member) = self.members.member(&header.consumer_group) else {
            return unknown(&header.consumer_group).into();
        };
        ask(member, MemberCommand::Describe, |reply| match reply {
            MemberReply::Snapshot(snapshot) => Some(Response::of(snapshot.as_ref())),
            _ => None,
        })
    }

    fn consume_directly(&self, request: &RemotingCommand) -> Reply {
        let header: ConsumeDirectly = match request.payload() {
            Ok(header) => header,
            Err(error) => {
                return Response::error(response_code::SYSTEM_ERROR, error.to_string()).into();
            }
        };
        let Some(member) = self.members.member(&header.consumer_group) else {
            return unknown(&header.consumer_group).into();
        };
        let mut message = match MessageView::decode(&request.body, self.body_len_max) {
            Ok(message) => Box::new(message),
            Err(error) => {
                return Response::error(response_code::SYSTEM_ERROR, error.to_string()).into();
            }
        };
        message.broker_name = header.broker_name.unwrap_or_default();
        ask(member, MemberCommand::ConsumeDirectly { message }, |reply| match reply {
            MemberReply::Outcome(outcome) => Some(Response::of(&outcome)),
            _ => None,
        })
    }
}

impl Door {
    fn check(&self, from: &Endpoint, request: &RemotingCommand) {
        let (header, body): (CheckTransaction, Bytes) = match request.payload() {
            Ok(read) => read,
            Err(error) => {
                return tracing::warn!(%error, "a question about a transaction cannot be read");
            }
        };
        let message = match MessageView::decode(&body, self.body_len_max) {
            Ok(message) => message,
            Err(error) => return tracing::warn!(%error, "a half message cannot be read"),
        };
        let group = message.properties.get(property::PRODUCER_GROUP).unwrap_or_default();
        let Some(check_back) = self.members.check_back(group) else {
            return tracing::info!(group, "a question about a transaction of no producer of ours");
        };
        let Ok(permit) = Arc::clone(&self.checks).try_acquire_owned() else {
            return tracing::warn!(group, "too many questions about transactions at once");
        };
        let question = TransactionQuestion { message, from: from.clone(), header };
        self.tasks.spawn("check transaction", OnFailure::Log, async move {
            check_back.check(question).await;
            drop(permit);
        });
    }

    fn reply(&self, request: &RemotingCommand) -> Response {
        let read = request.payload::<(PushReply, Bytes)>().map_err(|error| error.to_string());
        let reply = read.and_then(|(header, body)| {
            let sys_flag = header.sys_flag;
            let plain = reply_body(sys_flag, body, self.body_len_max);
            Ok(reply_message(header, plain.map_err(|error| error.to_string())?))
        });
        match reply {
            Ok(reply) => {
                let id = reply.properties.get(property::CORRELATION_ID).unwrap_or_default();
                let id = id.to_owned();
                if !self.replies.arrived(&id, reply) {
                    tracing::warn!(id, "a reply that nobody waits for");
                }
                Response::ok()
            }
            Err(error) => {
                tracing::warn!(error, "a reply cannot be read");
                Response::error(response_code::SYSTEM_ERROR, "process reply message fail")
            }
        }
    }
}

fn reply_body(sys_flag: i32, body: Bytes, len_max: usize) -> Result<Bytes, CodecError> {
    if sys_flag & sys_flag::COMPRESSED == 0 {
        return Ok(body);
    }
    Ok(Codec::of(sys_flag)?.decompress(&body, len_max)?.into())
}

fn reply_message(header: PushReply, body: Bytes) -> MessageView {
    let host = |text: &str| text.parse().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
    MessageView {
        topic: header.topic,
        flag: header.flag,
        properties: Properties::parse(header.properties.as_deref().unwrap_or_default()),
        broker_name: CompactString::default(),
        queue_id: header.queue_id,
        queue_offset: QueueOffset::ZERO,
        physical_offset: PhysicalOffset(0),
        sys_flag: header.sys_flag & !sys_flag::COMPRESSED,
        reconsume_times: header.reconsume_times.unwrap_or(0),
        born_timestamp: Timestamp(header.born_timestamp),
        born_host: host(&header.born_host),
        store_timestamp: Timestamp(header.store_timestamp),
        store_host: host(&header.store_host),
        prepared_transaction_offset: 0,
        stored_len: body.len(),
        body,
    }
}

impl Processor for Door {
    fn process(&self, peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        if request.code == request_code::CHECK_TRANSACTION_STATE {
            self.check(peer.endpoint(), &request);
            return Reply::None;
        }
        self.serve(&request)
    }

    fn connected(&self, peer: &Arc<Peer>) {
        self.signals.arrived(peer.endpoint().clone());
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

fn unknown(group: &CompactString) -> Response {
    let text = format!("The Consumer Group <{group}> not exist in this consumer");
    Response::error(response_code::SYSTEM_ERROR, text)
}

/// Has the member answer; a reply of another kind means that it does not serve the command.
fn ask(
    member: Arc<dyn GroupMember>,
    command: MemberCommand,
    answer: impl FnOnce(MemberReply) -> Option<Response> + Send + 'static,
) -> Reply {
    Reply::Later(Box::pin(async move {
        let reply = guarded("command", member.group(), member.command(command)).await;
        reply.and_then(answer).unwrap_or_else(|| {
            let text = format!("The Consumer Group <{}> cannot serve this", member.group());
            Response::error(response_code::SYSTEM_ERROR, text)
        })
    }))
}

#[cfg(test)]
#[path = "commands_test.rs"]
mod tests;
