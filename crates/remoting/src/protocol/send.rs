//! Sending: one message (10, 310), a batch (320), a reply (324, 325), and its delivery to the
//! asking client (326).

use bytes::Bytes;
use compact_str::CompactString;

use super::declare::{conversation, header};
use crate::command::RemotingCommand;
use crate::fields::{FieldError, FieldValue, Fields, int};
use crate::request_code;

/// Response field: region of the broker that took the message.
pub const MSG_REGION: &str = "MSG_REGION";
/// Response field: whether the broker wants the message traced.
pub const TRACE_ON: &str = "TRACE_ON";

/// Header of a message to be stored; the body of the command is the body of the message.
///
/// Borrows its text, since this is the header that a broker reads most.
#[doc(alias("SendMessageRequestHeader", "SendMessageRequestHeaderV2"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendMessage<'a> {
    /// Group of the producer.
    pub producer_group: &'a str,
    /// Topic.
    pub topic: &'a str,
    /// Topic whose settings a new topic inherits.
    pub default_topic: &'a str,
    /// Queues that a new topic gets.
    pub default_topic_queue_nums: i32,
    /// Queue; negative when the broker is to choose.
    pub queue_id: i32,
    /// Bits of [`rmq_message::sys_flag`].
    pub sys_flag: i32,
    /// When the message was made, ms since 1970.
    pub born_timestamp: i64,
    /// The user's flag.
    pub flag: i32,
    /// Properties as text.
    pub properties: &'a str,
    /// How often the message was delivered before.
    pub reconsume_times: i32,
    /// Whether the topic belongs to a unit.
    pub unit_mode: bool,
    /// Deliveries before the message is given up; `None`: as the group says.
    pub max_reconsume_times: Option<i32>,
    /// Whether the body is a batch.
    pub batch: bool,
    /// Name of the broker that is meant.
    pub broker_name: Option<&'a str>,
}

impl<'a> SendMessage<'a> {
    /// Reads long names and one-letter names alike, in one pass.
    ///
    /// # Errors
    /// [`FieldError`] when group, topic or queue is missing, or a number is none.
    pub fn from_fields(fields: &'a Fields) -> Result<Self, FieldError> {
        let mut header = Self::default();
        let (mut topic, mut queue) = (None, None);
        for (name, value) in fields.iter() {
            let letter = match name.as_bytes() {
                [letter] => *letter,
                _ => letter_of(name),
            };
            match letter {
                b'a' => header.producer_group = value,
                b'b' => topic = Some(value),
                b'c' => header.default_topic = value,
                b'd' => header.default_topic_queue_nums = int("defaultTopicQueueNums", value)?,
                b'e' => queue = Some(int("queueId", value)?),
                b'f' => header.sys_flag = int("sysFlag", value)?,
                b'g' => header.born_timestamp = int("bornTimestamp", value)?,
                b'h' => header.flag = int("flag", value)?,
                b'i' => header.properties = value,
                b'j' => header.reconsume_times = int("reconsumeTimes", value)?,
                b'k' => header.unit_mode = is_true(value),
                b'l' => header.max_reconsume_times = Some(int("maxReconsumeTimes", value)?),
                b'm' => header.batch = is_true(value),
                b'n' => header.broker_name = Some(value),
                _ => {}
            }
        }
        header.topic = topic.ok_or(FieldError::Missing { name: "topic" })?;
        header.queue_id = queue.ok_or(FieldError::Missing { name: "queueId" })?;
        Ok(header)
    }

    /// Appends the fields under their one-letter names.
    pub fn write(&self, fields: &mut Fields) {
        fields.push("a", self.producer_group);
        fields.push("b", self.topic);
        fields.push("c", self.default_topic);
        fields.push_int("d", self.default_topic_queue_nums);
        fields.push_int("e", self.queue_id);
        fields.push_int("f", self.sys_flag);
        fields.push_int("g", self.born_timestamp);
        fields.push_int("h", self.flag);
        fields.push("i", self.properties);
        fields.push_int("j", self.reconsume_times);
        self.unit_mode.push("k", fields);
        if let Some(max) = self.max_reconsume_times {
            fields.push_int("l", max);
        }
        self.batch.push("m", fields);
        if let Some(name) = self.broker_name {
            fields.push("n", name);
        }
    }

    /// The command that sends this header and `body`: code 320 for a batch, 310 otherwise. The
    /// answer reads as [`SendResponse`].
    pub fn to_command(&self, body: Bytes) -> RemotingCommand {
        let code = if self.batch {
            request_code::SEND_BATCH_MESSAGE
        } else {
            request_code::SEND_MESSAGE_V2
        };
        let mut command = RemotingCommand::request(code).with_body(body);
        self.write(&mut command.fields);
        command
    }
}

/// The short name of a field; 0 for names of other headers.
fn letter_of(name: &str) -> u8 {
    match name {
        "producerGroup" => b'a',
        "topic" => b'b',
        "defaultTopic" => b'c',
        "defaultTopicQueueNums" => b'd',
        "queueId" => b'e',
        "sysFlag" => b'f',
        "bornTimestamp" => b'g',
        "flag" => b'h',
        "properties" => b'i',
        "reconsumeTimes" => b'j',
        "unitMode" => b'k',
        "maxReconsumeTimes" => b'l',
        "batch" => b'm',
        "bname" => b'n',
        _ => 0,
    }
}

fn is_true(value: &str) -> bool {
    value.eq_ignore_ascii_case("true")
}

header! {
    /// Answer to a send: where the message went. Carried by the codes 0, 10, 11 and 12 alike.
    #[doc(alias = "SendMessageResponseHeader")]
    pub struct SendResponse {
        /// Offset message id; of a batch, all ids joined by commas.
        msg_id: CompactString = "msgId",
        /// Queue that took the message.
        queue_id: i32 = "queueId",
        /// Position in the queue; of a batch, of its first message.
        queue_offset: i64 = "queueOffset",
        /// Id of the transaction: the unique id of the message.
        transaction_id: Option<CompactString> = "transactionId",
        /// Id of a batch stored as one.
        batch_uniq_id: Option<CompactString> = "batchUniqId",
        /// Ticket to recall a timed message.
        recall_handle: Option<CompactString> = "recallHandle",
        /// Region of the broker.
        region: Option<CompactString> = "MSG_REGION",
        /// Whether the broker wants the message traced.
        trace_on: Option<bool> = "TRACE_ON",
    }

    /// A reply brought to the client that asked (326, broker to client); the body is the reply's.
    #[doc(alias = "ReplyMessageRequestHeader")]
    pub struct PushReply {
        /// Group of the replying producer.
        producer_group: CompactString = "producerGroup",
        /// Topic of the reply.
        topic: CompactString = "topic",
        /// Template topic.
        default_topic: CompactString = "defaultTopic" or "",
        /// Queues of a new topic.
        default_topic_queue_nums: i32 = "defaultTopicQueueNums" or 0,
        /// Queue.
        queue_id: i32 = "queueId",
        /// System flag.
        sys_flag: i32 = "sysFlag" or 0,
        /// When the reply was made, ms.
        born_timestamp: i64 = "bornTimestamp" or 0,
        /// The user's flag.
        flag: i32 = "flag" or 0,
        /// Properties as text.
        properties: Option<CompactString> = "properties",
        /// Deliveries before.
        reconsume_times: Option<i32> = "reconsumeTimes",
        /// Whether the topic belongs to a unit.
        unit_mode: bool = "unitMode" or false,
        /// Where the reply was made, `ip:port`.
        born_host: CompactString = "bornHost" or "",
        /// Broker that brings it, `ip:port`.
        store_host: CompactString = "storeHost" or "",
        /// When the broker got it, ms.
        store_timestamp: i64 = "storeTimestamp" or 0,
    }

    /// Takes back a timed message that is not yet delivered (370).
    #[doc(alias = "RecallMessageRequestHeader")]
    pub struct RecallMessage {
        /// Group of the producer.
        producer_group: Option<CompactString> = "producerGroup",
        /// Topic.
        topic: CompactString = "topic",
        /// Ticket from the send.
        recall_handle: CompactString = "recallHandle",
    }

    /// Answer to a recall.
    pub struct RecallResponse {
        /// Id of the recalled message.
        msg_id: CompactString = "msgId",
        /// Region of the broker.
        region: Option<CompactString> = "MSG_REGION",
    }
}

conversation! {
    (PushReply, Bytes) = PUSH_REPLY_MESSAGE_TO_CLIENT => ();
    RecallMessage = RECALL_MESSAGE => RecallResponse;
}
