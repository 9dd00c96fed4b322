//! Requests that are passed on to a client: 223, 307, 309.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rmq_message::id;
use rmq_remoting::protocol::client::{
    ClientStatus, ConsumeDirectly, ConsumerStatus, DescribeConsumer, GroupStatus,
};
use rmq_remoting::typed::read_answer;
use rmq_remoting::{InvokeError, RemotingCommand, Reply, Response, TypedRequest};

use crate::cold::ColdReads;
use crate::consumer_registry::{Client, ConsumerRegistry};
use crate::group_table::GroupTable;
use crate::identity::Identity;
use crate::processor::offset::read;
use crate::reply;
use crate::topic_table::TopicTable;

/// Longest wait for a client to describe itself or to consume.
const RELAY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a client's positions.
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// First release that tells its positions (V3_0_7_SNAPSHOT).
const STATUS_VERSION: i32 = 28;
/// First release that describes itself (V3_1_8_SNAPSHOT).
const DESCRIBE_VERSION: i32 = 62;

/// Serves them.
pub(crate) struct ClientAdmin {
    pub(crate) identity: Arc<Identity>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) consumers: Arc<ConsumerRegistry>,
    pub(crate) cold: Arc<ColdReads>,
}

impl ClientAdmin {
    /// What a client is doing (307).
    pub(crate) fn describe(&self, request: &RemotingCommand) -> Reply {
        let asked: DescribeConsumer = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        relay(&self.consumers, &asked.consumer_group, &asked.client_id, copy(request))
    }

    /// Has a client consume one message now (309).
    pub(crate) fn consume(&self, request: &RemotingCommand) -> Reply {
        let asked: ConsumeDirectly = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let mut passed = copy(request);
        passed.fields.set("brokerName", &self.identity.name);
        let topic = asked.topic.as_deref().and_then(|topic| self.topics.find(topic));
        let group = self.groups.peek(&asked.consumer_group);
        let flags = [
            ("topicSysFlag", topic.map(|topic| topic.sys_flag)),
            ("groupSysFlag", group.map(|group| group.sys_flag)),
        ];
        for (name, flag) in flags {
            if let Some(flag) = flag {
                passed.fields.set(name, &flag.to_string());
            }
        }
        // The id says where in this broker's log; its address is never dialled (HI-22).
        let at = asked.msg_id.as_deref().and_then(id::parse_offset_id).map(|(_, at)| at);
        let missing = "the message of that id is not on this broker";
        let Some(at) = at else { return Reply::Now(reply::failed(missing)) };
        let client_id = asked.client_id.unwrap_or_default();
        let consumers = Arc::clone(&self.consumers);
        self.cold.with_message(at, move |record| match record {
            Ok(record) => {
                passed.body = record;
                relay(&consumers, &asked.consumer_group, &client_id, passed)
            }
            Err(_) => Reply::Now(reply::failed(missing)),
        })
    }

    /// How far the clients of a group are (223).
    pub(crate) fn status(&self, request: &RemotingCommand) -> Reply {
        let asked: GroupStatus = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let mut clients = self.consumers.clients(&asked.group);
        if let Some(wanted) = asked.client_addr.filter(|wanted| !wanted.is_empty()) {
            clients.retain(|client| client.id == wanted);
        }
        if clients.is_empty() {
            return Reply::Now(reply::failed(format_args!(
                "No Any Consumer online in the consumer group: [{}]",
                crate::limits::echo(&asked.group)
            )));
        }
        if let Some(old) = clients.iter().find(|client| client.version < STATUS_VERSION) {
            return Reply::Now(reply::client_too_old(&old.id, old.version));
        }
        let question =
            ClientStatus { topic: asked.topic, group: asked.group, client_addr: None }.to_command();
        Reply::Later(Box::pin(async move {
            let ask = |client: Client| {
                let question = question.clone();
                async move {
                    let answer = client.peer.invoke(question, STATUS_TIMEOUT).await.ok()?;
                    let status = read_answer::<ConsumerStatus>(answer).ok()?;
                    Some((client.id, status.message_queue_table))
                }
            };
            let answers = join_all(clients.into_iter().map(ask)).await;
            let body = ConsumerStatus {
                consumer_table: answers.into_iter().flatten().collect(),
                ..ConsumerStatus::default()
            };
            reply::unset().with(&body)
        }))
    }
}

/// The request as it is passed on: all fields and the body, under a number of its own.
/// Asks a client, and answers what it answers.
fn relay(
    consumers: &ConsumerRegistry,
    group: &str,
    client_id: &str,
    request: RemotingCommand,
) -> Reply {
    let Some(client) = consumers.client(group, client_id) else {
        return Reply::Now(reply::client_offline(group, client_id));
    };
    if client.version < DESCRIBE_VERSION {
        return Reply::Now(reply::client_too_old(client_id, client.version));
    }
    let (group, client_id) = (group.to_owned(), client_id.to_owned());
    Reply::Later(Box::pin(async move {
        match client.peer.invoke(request, RELAY_TIMEOUT).await {
            Ok(answer) => Response::from(answer),
            Err(InvokeError::Timeout { .. }) => reply::client_timeout(&group, &client_id),
            Err(error) => reply::failed(error),
        }
    }))
}

fn copy(request: &RemotingCommand) -> RemotingCommand {
    let mut passed = RemotingCommand::request(request.code);
    passed.fields = request.fields.detached();
    passed.body.clone_from(&request.body);
    passed
}
