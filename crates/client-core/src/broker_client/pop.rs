//! Popping: a broker hides the messages that it hands out for a while. Each is acknowledged or
//! hidden longer by its receipt; what is neither comes again, to whoever asks then.
//!
//! A receipt is the text that brokers know as extra info (Apache RocketMQ 5.5, `ExtraInfoUtil`):
//!
//! ```text
//! first-offset popped-ms invisible-ms revive-queue retry broker queue offset
//! ```
//!
//! `retry` says from which topic the message came: 0 the topic itself, 1 and 2 its retry topic in
//! the older and the newer spelling.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Buf;
use rmq_message::{
    CompactString, MessageQueue, MessageView, Subscription, Timestamp, name, property,
};
use rmq_remoting::protocol::assignment::{Assignment, QueryAssignment};
use rmq_remoting::protocol::heartbeat::MessageModel;
use rmq_remoting::protocol::pop::{AckMessage, ChangeInvisibleTime, PopMessage, PopResponse};
use rmq_remoting::protocol::route::MASTER_ID;
use rmq_remoting::response_code;
use rmq_remoting::typed::TypedRequest;

use super::BrokerClient;
use super::pull::decode;
use crate::ClientError;
use crate::wire::named;

/// Time limit of acknowledgements.
const ACK_TIMEOUT: Duration = Duration::from_secs(3);

/// One pop.
#[doc(alias = "PopMessageRequestHeader")]
#[derive(Clone, Debug, PartialEq)]
pub struct PopCall<'a> {
    /// Group.
    pub group: &'a str,
    /// Queue; with id −1 any of its broker.
    pub queue: &'a MessageQueue,
    /// What is wanted.
    pub subscription: &'a Subscription,
    /// Most messages.
    pub max_messages: i32,
    /// How long the messages are hidden from others.
    pub invisible: Duration,
    /// How long the broker may wait for messages.
    pub poll: Duration,
    /// Time limit, longer than `poll`.
    pub timeout: Duration,
    /// Whether a group without progress begins at the beginning.
    pub from_start: bool,
    /// Now.
    pub born: Timestamp,
}

/// The answer to a pop.
#[doc(alias = "PopResult")]
#[derive(Clone, Debug, PartialEq)]
pub enum PopOutcome {
    /// Messages, and receipts of those that only look as if they were wanted.
    Found {
        /// Wanted ones.
        popped: Vec<Popped>,
        /// To be acknowledged at once.
        unwanted: Vec<Receipt>,
    },
    /// There is nothing now.
    #[doc(alias = "POLLING_NOT_FOUND")]
    Nothing,
    /// The broker has too many who wait.
    #[doc(alias = "POLLING_FULL")]
    Full,
}

/// A message that is hidden from others.
#[derive(Clone, Debug, PartialEq)]
pub struct Popped {
    /// The message, under the topic in which it lies.
    pub message: MessageView,
    /// By which it is acknowledged.
    pub receipt: Receipt,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    text: CompactString,
    topic: CompactString,
    queue: MessageQueue,
    offset: i64,
    popped: Timestamp,
    invisible: Duration,
}

impl Receipt {
    /// Reads the text of a message of `topic`; none when it is no receipt.
    pub fn parse(text: &str, group: &str, topic: &str) -> Option<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [_, popped, invisible, _, retry, broker, queue_id, offset] = words.as_slice() else {
            return None;
        };
        let lies_in: CompactString = match *retry {
            "0" => topic.into(),
            "1" => format!("{}{group}_{topic}", name::RETRY_PREFIX).into(),
            "2" => format!("{}{group}+{topic}", name::RETRY_PREFIX).into(),
            _ => return None,
        };
        Some(Self {
            text: text.into(),
            queue: MessageQueue::new(&lies_in, broker, queue_id.parse().ok()?),
            topic: lies_in,
            offset: offset.parse().ok()?,
            popped: Timestamp(popped.parse().ok()?),
            invisible: Duration::from_millis(invisible.parse().ok()?),
        })
    }

    /// Whether others may have the message already.
    pub fn is_over(&self, now: Timestamp) -> bool {
        let invisible = i64::try_from(self.invisible.as_millis()).unwrap_or(i64::MAX);
        now.0.saturating_sub(self.popped.0) >= invisible
    }
}

impl BrokerClient {
    /// The queues that a broker wants this member to consume, and how. None: it cannot tell.
    #[doc(alias = "queryAssignment")]
    pub async fn query_assignment(
        &self,
        topic: &str,
        group: &str,
        strategy: &str,
        model: MessageModel,
    ) -> Result<Option<Vec<Assignment>>, ClientError> {
        let to = self.any_broker_of(topic).await?;
        let request = QueryAssignment {
            client_id: self.client_id.clone(),
            consumer_group: group.into(),
            message_model: model,
            strategy_name: strategy.into(),
            topic: topic.into(),
        };
        Ok(self.wire.ask(&to, &request, self.timeout).await?.message_queue_assignments)
    }

    /// Pops once.
    #[doc(alias = "popMessageAsync")]
    pub async fn pop(&self, call: &PopCall<'_>) -> Result<PopOutcome, ClientError> {
        let address = self.replica_of(call.queue, MASTER_ID).await?.address;
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let request = PopMessage {
            consumer_group: call.group.into(),
            topic: call.queue.topic.clone(),
            queue_id: call.queue.queue_id,
            max_msg_nums: call.max_messages,
            invisible_time: millis(call.invisible),
            poll_time: millis(call.poll),
            born_time: call.born.0,
            init_mode: i32::from(!call.from_start),
            expression_type: Some(call.subscription.kind.as_str().into()),
            expression: Some(call.subscription.expression.clone()),
            order: Some(false),
            attempt_id: None,
        };
        let command = named(&request, Some(&call.queue.broker_name));
        let request = PopMessage::CODE;
        let answer = self.wire.exchange(&address, command, call.timeout).await?;
        match answer.code {
            response_code::SUCCESS => {}
            response_code::POLLING_FULL => return Ok(PopOutcome::Full),
            response_code::POLLING_TIMEOUT | response_code::PULL_NOT_FOUND => {
                return Ok(PopOutcome::Nothing);
            }
            code => {
                let remark = answer.remark.unwrap_or_default();
                return Err(ClientError::Refused { address, request, code, remark });
            }
        }
        let header: PopResponse = match answer.payload() {
            Ok(header) => header,
            Err(source) => return Err(ClientError::Malformed { address, request, source }),
        };
        let mut records = answer.body;
        let starts = starts(header.start_offset_info.as_deref().unwrap_or_default());
        let (mut popped, mut unwanted) = (Vec::new(), Vec::new());
        while !records.is_empty() {
            let (mut message, len) = match decode(&records, self.body_len_max) {
                Ok(read) => read,
                // What lies behind cannot be read either; it becomes visible again.
                Err(error) => {
                    tracing::error!(queue = %call.queue, %error, "damaged message in a pop");
                    break;
                }
            };
            records.advance(len);
            message.broker_name = call.queue.broker_name.clone();
            let text = match message.properties.get(property::POP_CK) {
                Some(text) => text.to_owned(),
                None => receipt_of(&message, &header, &starts),
            };
            let Some(receipt) = Receipt::parse(&text, call.group, &call.queue.topic) else {
                tracing::error!(queue = %call.queue, text, "a popped message has no readable receipt, it comes again");
                continue;
            };
            if !call.subscription.admits_tag(message.tag()) {
                unwanted.push(receipt);
                continue;
            }
            message.properties.set(property::POP_CK, &text);
            if message.properties.get(property::FIRST_POP_TIME).is_none() {
                message.properties.set(property::FIRST_POP_TIME, header.pop_time.to_string());
            }
            popped.push(Popped { message, receipt });
        }
        Ok(PopOutcome::Found { popped, unwanted })
    }

    /// The message is done.
    #[doc(alias = "ackMessageAsync")]
    pub async fn ack(&self, group: &str, receipt: &Receipt) -> Result<(), ClientError> {
        let to = self.replica_of(&receipt.queue, MASTER_ID).await?.address;
        let request = AckMessage {
            consumer_group: group.into(),
            topic: receipt.topic.clone(),
            queue_id: receipt.queue.queue_id,
            extra_info: receipt.text.clone(),
            offset: receipt.offset,
        };
        self.wire.ask_broker(&to, &request, Some(&receipt.queue.broker_name), ACK_TIMEOUT).await
    }

    /// The message comes again after that time.
    #[doc(alias = "changeInvisibleTimeAsync")]
    pub async fn hide(
        &self,
        group: &str,
        receipt: &Receipt,
        time: Duration,
    ) -> Result<(), ClientError> {
        let to = self.replica_of(&receipt.queue, MASTER_ID).await?.address;
        let request = ChangeInvisibleTime {
            consumer_group: group.into(),
            topic: receipt.topic.clone(),
            queue_id: receipt.queue.queue_id,
            extra_info: receipt.text.clone(),
            offset: receipt.offset,
            invisible_time: i64::try_from(time.as_millis()).unwrap_or(i64::MAX),
            suspend: None,
        };
        let broker = Some(receipt.queue.broker_name.as_str());
        self.wire.ask_broker(&to, &request, broker, ACK_TIMEOUT).await.map(drop)
    }
}

/// First offsets by kind of topic and queue, from `0 3 17;1 0 4`.
fn starts(text: &str) -> BTreeMap<(&str, &str), &str> {
    let mut starts = BTreeMap::new();
    for part in text.split(';') {
        let mut words = part.split(' ');
        if let (Some(retry), Some(queue), Some(offset)) = (words.next(), words.next(), words.next())
        {
            starts.insert((retry, queue), offset);
        }
    }
    starts
}

/// The receipt of a message whose broker left it out.
fn receipt_of(
    message: &MessageView,
    header: &PopResponse,
    starts: &BTreeMap<(&str, &str), &str>,
) -> String {
    let retry = match message.topic.strip_prefix(name::RETRY_PREFIX) {
        None => "0",
        Some(rest) if rest.contains('+') => "2",
        Some(_) => "1",
    };
    let (queue_id, offset) = (message.queue_id.to_string(), message.queue_offset.0.to_string());
    let first = starts.get(&(retry, queue_id.as_str())).copied().unwrap_or(&offset);
    let (popped, invisible) = (header.pop_time, header.invisible_time);
    let (revive, broker) = (header.revive_queue_id, &message.broker_name);
    format!("{first} {popped} {invisible} {revive} {retry} {broker} {queue_id} {offset}")
}

#[cfg(test)]
mod tests {
    use rmq_remoting::request_code;

    use super::*;
    use crate::testing::{A0, Stage, record, refusal};

    fn queue() -> MessageQueue {
        MessageQueue::new("T", "broker-a", -1)
    }

    async fn pop(stage: &Stage, expression: &str) -> PopOutcome {
        let subscription = Subscription::tags("T", expression, Timestamp(77)).unwrap();
        let call = PopCall {
            group: "g",
            queue: &queue(),
            subscription: &subscription,
            max_messages: 32,
            invisible: Duration::from_secs(60),
            poll: Duration::from_secs(15),
            timeout: Duration::from_secs(25),
            from_start: false,
            born: Timestamp(5),
        };
        stage.instance.brokers().pop(&call).await.unwrap()
    }

    #[tokio::test]
    async fn a_popped_message_has_a_receipt_by_which_it_is_acknowledged_or_hidden() {
        let stage = Stage::new(|_| {});
        let mut answer = refusal(0)
            .with_field("popTime", "1000")
            .with_field("invisibleTime", "60000")
            .with_field("reviveQid", "3")
            .with_field("restNum", "0")
            .with_field("startOffsetInfo", "0 9 17;1 0 4")
            .with_field("msgOffsetInfo", "0 9 18");
        answer.body = [record(18, "TagA", b"m", 0), record(19, "TagB", b"m", 0)].concat().into();
        stage.cluster.script(request_code::POP_MESSAGE, answer);
        let PopOutcome::Found { popped, unwanted } = pop(&stage, "TagA").await else { panic!() };
        let request = stage.cluster.last(request_code::POP_MESSAGE).unwrap();
        for (name, value) in [
            ("queueId", "-1"),
            ("initMode", "1"),
            ("exp", "TagA"),
            ("expType", "TAG"),
            ("order", "false"),
            ("invisibleTime", "60000"),
            ("pollTime", "15000"),
        ] {
            assert_eq!(request.field(name), Some(value));
        }
        let [one] = &popped[..] else { panic!("{popped:?}") };
        let text = "17 1000 60000 3 0 broker-a 9 18";
        assert_eq!(one.message.properties.get(property::POP_CK), Some(text));
        assert_eq!(one.message.properties.get(property::FIRST_POP_TIME), Some("1000"));
        assert!(!one.receipt.is_over(Timestamp(60_999)) && one.receipt.is_over(Timestamp(61_000)));
        assert_eq!(unwanted.len(), 1);

        let brokers = stage.instance.brokers();
        brokers.ack("g", &one.receipt).await.unwrap();
        let request = stage.cluster.last(request_code::ACK_MESSAGE).unwrap();
        let fields: Vec<_> = request.fields.iter().collect();
        let expected = [
            ("consumerGroup", "g"),
            ("topic", "T"),
            ("queueId", "9"),
            ("extraInfo", text),
            ("offset", "18"),
            ("bname", "broker-a"),
        ];
        assert_eq!(fields, expected);
        let hidden = refusal(0)
            .with_field("popTime", "1")
            .with_field("invisibleTime", "2")
            .with_field("reviveQid", "3");
        stage.cluster.script(request_code::CHANGE_MESSAGE_INVISIBLETIME, hidden);
        brokers.hide("g", &one.receipt, Duration::from_secs(10)).await.unwrap();
        let request = stage.cluster.last(request_code::CHANGE_MESSAGE_INVISIBLETIME).unwrap();
        assert_eq!(request.field("invisibleTime"), Some("10000"));
        assert_eq!(stage.cluster.take_calls(request_code::ACK_MESSAGE), [A0]);
    }

    #[tokio::test]
    async fn a_pop_may_find_nothing_or_too_many_who_wait() {
        let stage = Stage::new(|_| {});
        for (code, expected) in [
            (response_code::POLLING_FULL, PopOutcome::Full),
            (response_code::POLLING_TIMEOUT, PopOutcome::Nothing),
            (response_code::PULL_NOT_FOUND, PopOutcome::Nothing),
        ] {
            stage.cluster.script(request_code::POP_MESSAGE, refusal(code));
            assert_eq!(pop(&stage, "*").await, expected);
        }
    }

    #[test]
    fn a_receipt_names_the_topic_in_which_its_message_lies() {
        let topic = |retry: &str| {
            let text = format!("1 2 3 4 {retry} b 5 6");
            Receipt::parse(&text, "g", "T").map(|receipt| receipt.topic.to_string())
        };
        assert_eq!(topic("0").as_deref(), Some("T"));
        assert_eq!(topic("1").as_deref(), Some("%RETRY%g_T"));
        assert_eq!(topic("2").as_deref(), Some("%RETRY%g+T"));
        for wrong in ["1 2 3 4 7 b 5 6", "1 2 3 4 0 b 5", "1 x 3 4 0 b 5 6", ""] {
            assert_eq!(Receipt::parse(wrong, "g", "T"), None);
        }
    }
}
