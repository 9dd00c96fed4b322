//! Pulling messages of one queue (11, and 361 for the lite consumer).

use super::declare::header;
use crate::command::RemotingCommand;
use crate::fields::{FieldError, Fields, int};
use crate::request_code;

/// Asks for messages of one queue. Borrows its text; a broker that holds the request must copy what
/// it needs.
#[doc(alias = "PullMessageRequestHeader")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PullMessage<'a> {
    /// Group.
    pub consumer_group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// Queue.
    pub queue_id: i32,
    /// First position wanted.
    pub queue_offset: i64,
    /// Most messages wanted.
    pub max_msg_nums: i32,
    /// Bits of [`rmq_message::sys_flag`]'s pull flags: commit, suspend, subscription, class filter,
    /// lite.
    pub sys_flag: i32,
    /// Progress to store, when the flag says so.
    pub commit_offset: i64,
    /// How long the broker may hold the request, ms.
    pub suspend_timeout_millis: i64,
    /// Expression, when the flag says so.
    pub subscription: Option<&'a str>,
    /// Version of the subscription.
    pub sub_version: i64,
    /// `TAG` or `SQL92`.
    pub expression_type: Option<&'a str>,
    /// Most bytes wanted.
    pub max_msg_bytes: Option<i32>,
    /// Who asks: client or proxy.
    pub request_source: Option<i32>,
    /// Client behind a proxy; misspelt on the wire.
    pub proxy_forward_client_id: Option<&'a str>,
    /// Name of the broker that is meant.
    pub broker_name: Option<&'a str>,
}

impl<'a> PullMessage<'a> {
    /// Reads the fields in one pass.
    ///
    /// # Errors
    /// [`FieldError`] when group, topic, queue or position is missing, or a number is none.
    pub fn from_fields(fields: &'a Fields) -> Result<Self, FieldError> {
        let mut header = Self::default();
        let (mut group, mut topic, mut queue, mut offset) = (None, None, None, None);
        for (name, value) in fields.iter() {
            match name {
                "consumerGroup" => group = Some(value),
                "topic" => topic = Some(value),
                "queueId" => queue = Some(int("queueId", value)?),
                "queueOffset" => offset = Some(int("queueOffset", value)?),
                "maxMsgNums" => header.max_msg_nums = int("maxMsgNums", value)?,
                "sysFlag" => header.sys_flag = int("sysFlag", value)?,
                "commitOffset" => header.commit_offset = int("commitOffset", value)?,
                "suspendTimeoutMillis" => {
                    header.suspend_timeout_millis = int("suspendTimeoutMillis", value)?
                }
                "subscription" => header.subscription = Some(value),
                "subVersion" => header.sub_version = int("subVersion", value)?,
                "expressionType" => header.expression_type = Some(value),
                "maxMsgBytes" => header.max_msg_bytes = Some(int("maxMsgBytes", value)?),
                "requestSource" => header.request_source = Some(int("requestSource", value)?),
                "proxyFrowardClientId" => header.proxy_forward_client_id = Some(value),
                "bname" => header.broker_name = Some(value),
                _ => {}
            }
        }
        header.consumer_group = group.ok_or(FieldError::Missing { name: "consumerGroup" })?;
        header.topic = topic.ok_or(FieldError::Missing { name: "topic" })?;
        header.queue_id = queue.ok_or(FieldError::Missing { name: "queueId" })?;
        header.queue_offset = offset.ok_or(FieldError::Missing { name: "queueOffset" })?;
        Ok(header)
    }

    /// Appends the fields.
    pub fn write(&self, fields: &mut Fields) {
        fields.push("consumerGroup", self.consumer_group);
        fields.push("topic", self.topic);
        fields.push_int("queueId", self.queue_id);
        fields.push_int("queueOffset", self.queue_offset);
        fields.push_int("maxMsgNums", self.max_msg_nums);
        fields.push_int("sysFlag", self.sys_flag);
        fields.push_int("commitOffset", self.commit_offset);
        fields.push_int("suspendTimeoutMillis", self.suspend_timeout_millis);
        push_some("subscription", self.subscription, fields);
        fields.push_int("subVersion", self.sub_version);
        push_some("expressionType", self.expression_type, fields);
        if let Some(max) = self.max_msg_bytes {
            fields.push_int("maxMsgBytes", max);
        }
        if let Some(source) = self.request_source {
            fields.push_int("requestSource", source);
        }
        push_some("proxyFrowardClientId", self.proxy_forward_client_id, fields);
        push_some("bname", self.broker_name, fields);
    }

    /// The command of a pull. The answer's fields read as [`PullResponse`] with the codes 0, 19, 20
    /// and 21; its body is the stored messages.
    pub fn to_command(&self) -> RemotingCommand {
        let mut command = RemotingCommand::request(request_code::PULL_MESSAGE);
        self.write(&mut command.fields);
        command
    }
}

fn push_some(name: &str, value: Option<&str>, fields: &mut Fields) {
    if let Some(value) = value {
        fields.push(name, value);
    }
}

header! {
    /// Answer to a pull: where to go on.
    #[doc(alias = "PullMessageResponseHeader")]
    pub struct PullResponse {
        /// Broker to ask next: 0 for the master.
        suggest_which_broker_id: i64 = "suggestWhichBrokerId" or 0,
        /// First position of the next pull.
        next_begin_offset: i64 = "nextBeginOffset",
        /// First position of the queue.
        min_offset: i64 = "minOffset",
        /// Position after the last message of the queue.
        max_offset: i64 = "maxOffset",
        /// Difference between logical and real positions (static topics).
        offset_delta: Option<i64> = "offsetDelta",
        /// System flag of the topic.
        topic_sys_flag: Option<i32> = "topicSysFlag",
        /// System flag of the group.
        group_sys_flag: Option<i32> = "groupSysFlag",
        /// Why reading is forbidden.
        forbidden_type: Option<i32> = "forbiddenType",
    }
}
