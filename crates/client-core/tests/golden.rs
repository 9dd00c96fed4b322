//! Our requests against those that the Java client 5.5.0 sent, and the answers that Apache brokers
//! gave to them.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use rmq_client_core::protocol::{Boundary, Endpoint, InvokeError, Invoker};
use rmq_client_core::{
    ClientConfig, ClientInstance, PullCall, PullStatus, SendBackCall, SendCall, SendStatus,
};
use rmq_message::batch::{self, BatchItem};
use rmq_message::{
    Message, MessageQueue, MessageView, PhysicalOffset, Properties, QueueOffset, Subscription,
    Timestamp, subscription::ExpressionType,
};
use rmq_remoting::command::RemotingCommand;
use rmq_remoting::frame::{FrameLimits, decode};
use rmq_runtime::World;

/// A recorded request and its answer.
type Exchange = (&'static [u8], &'static [u8]);

macro_rules! recorded {
    ($name:literal) => {
        (
            include_bytes!(concat!("golden/", $name, ".req.bin")).as_slice(),
            include_bytes!(concat!("golden/", $name, ".res.bin")).as_slice(),
        )
    };
}

const ROUTE: Exchange = recorded!("000105-get-routeinfo-by-topic");
const TIMEOUT: Duration = Duration::from_secs(3);

fn read(frame: &[u8]) -> RemotingCommand {
    decode(&mut BytesMut::from(frame), &FrameLimits::CLIENT).unwrap().unwrap()
}

/// Fields whose presence does not depend on the call: what a client of another kind adds, and what
/// we add to be spared loose JSON.
fn fields(command: &RemotingCommand) -> BTreeMap<&str, &str> {
    let extra = ["ReqT", "acceptStandardJsonOnly"];
    command.fields.iter().filter(|(name, _)| !extra.contains(name)).collect()
}

/// Answers requests that are equal to recorded ones.
struct Replay(Vec<Exchange>);

impl Replay {
    fn take(&self, request: &RemotingCommand) -> RemotingCommand {
        let of_code = |frame: &[u8]| read(frame).code == request.code;
        let Some((asked, answer)) = self.0.iter().find(|(asked, _)| of_code(asked)) else {
            panic!("request {} is not expected", request.code);
        };
        let asked = read(asked);
        assert_eq!(fields(request), fields(&asked), "request {}", request.code);
        assert_eq!(request.body, asked.body, "request {}", request.code);
        assert_eq!(request.is_oneway(), asked.is_oneway(), "request {}", request.code);
        if answer.is_empty() { RemotingCommand::response(0) } else { read(answer) }
    }
}

#[async_trait]
impl Invoker for Replay {
    async fn invoke(
        &self,
        _to: &Endpoint,
        request: RemotingCommand,
        _timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        Ok(self.take(&request))
    }

    async fn oneway(
        &self,
        _to: &Endpoint,
        request: RemotingCommand,
        _timeout: Duration,
    ) -> Result<(), InvokeError> {
        self.take(&request);
        Ok(())
    }

    fn disconnect(&self, _to: &Endpoint) {}
}

/// A client of that instance name that knows the route of `JPlain`, and hence broker-a.
async fn client(name: &str, exchanges: &[Exchange]) -> Arc<ClientInstance> {
    let config = ClientConfig {
        client_ip: Some("192.0.2.2".parse().unwrap()),
        instance_name: Some(name.to_owned()),
        ..ClientConfig::new("ns:9876")
    };
    let replay = Arc::new(Replay([&[ROUTE], exchanges].concat()));
    let instance =
        ClientInstance::start_over(World::system(), config, false, |_, _, _| replay).unwrap();
    assert!(instance.refresh_route("JPlain").await.unwrap());
    instance
}

fn queue(topic: &str, id: i32) -> MessageQueue {
    MessageQueue::new(topic, "broker-a", id)
}

#[tokio::test]
async fn routes() {
    let client = client("x", &[]).await;
    let queues = client.subscribe_queues("JPlain").await.unwrap();
    assert_eq!(*queues, [queue("JPlain", 0), queue("JPlain", 1)]);
    assert_eq!(client.publish_queues("JPlain", None).await.unwrap().queues, *queues);
}

#[tokio::test]
async fn sending_one() {
    let client = client("x", &[recorded!("000310-send-message-v2")]).await;
    let unique = "FD00000000000000000000000000000246E25FFD2B2769C116FD0000";
    let mut message = Message::new("JPlain", "hello");
    message.flag = 5;
    message.properties = [
        ("colour", "blue"),
        ("KEYS", "key1 key2"),
        ("UNIQ_KEY", unique),
        ("WAIT", "true"),
        ("TAGS", "tagA"),
    ]
    .into_iter()
    .collect();
    let queue = queue("JPlain", 1);
    let call = SendCall::new("JPID", &queue, &message, Timestamp(1_795_265_462_015));
    let receipt = client.brokers().send(&call, TIMEOUT).await.unwrap();
    assert_eq!(receipt.status, SendStatus::Ok);
    assert_eq!((receipt.id.as_str(), receipt.queue_offset), (unique, QueueOffset(0)));
    assert_eq!(receipt.offset_id, "7F000002000055970000000000000000");
    assert!(receipt.trace_on);
}

#[tokio::test]
async fn sending_a_batch() {
    let client = client("x", &[recorded!("000320-send-batch-message")]).await;
    let asked = read(recorded!("000320-send-batch-message").0);
    let items: Vec<BatchItem<'_>> = batch::decode(&asked.body).unwrap();
    let mut body = Vec::new();
    for item in items {
        batch::encode(&mut body, item).unwrap();
    }
    let mut message = Message::new("JPlain", body);
    message.properties = Properties::parse(asked.field("i").unwrap());
    let queue = queue("JPlain", 0);
    let mut call = SendCall::new("JPID", &queue, &message, Timestamp(1_795_265_462_445));
    call.batch = true;
    let receipt = client.brokers().send(&call, TIMEOUT).await.unwrap();
    assert_eq!(receipt.queue_offset, QueueOffset(2));
    assert_eq!(receipt.offset_id.split(',').count(), 3);
}

#[tokio::test]
async fn questions_about_positions() {
    let client = client(
        "x",
        &[
            recorded!("000014-query-consumer-offset"),
            recorded!("000029-search-offset-by-timestamp"),
            recorded!("000038-get-consumer-list-by-group"),
            (include_bytes!("golden/000015-update-consumer-offset.oneway.req.bin"), b""),
        ],
    )
    .await;
    let (brokers, queue) = (client.brokers(), queue("JPlain", 1));
    assert_eq!(brokers.query_offset("JCID", &queue).await.unwrap(), Some(QueueOffset(0)));
    brokers.update_offset("JCID", &queue, QueueOffset(3)).await.unwrap();
    let time = Timestamp(1_795_265_418_096);
    let found = brokers.search_offset(&queue, time, Boundary::Lower).await.unwrap();
    assert_eq!(found, QueueOffset(0));
    assert_eq!(client.consumer_ids("JPlain", "JCID").await.unwrap(), ["192.0.2.2@Jc1"]);
}

#[tokio::test]
async fn a_position_that_was_never_committed_and_the_end_of_a_queue() {
    let exchanges =
        [recorded!("000014-query-consumer-offset.code22"), recorded!("000030-get-max-offset")];
    let client = client("x", &exchanges).await;
    let never = client.brokers().query_offset("JCIDR", &queue("JReq", 1)).await.unwrap();
    assert_eq!(never, None);
    let sync = queue("DefaultHeartBeatSyncerTopic", 0);
    assert_eq!(client.brokers().max_offset(&sync).await.unwrap(), QueueOffset(0));
}

#[tokio::test]
async fn locks() {
    let exchanges = [recorded!("000041-lock-batch-mq"), recorded!("000042-unlock-batch-mq")];
    let client = client("Jco", &exchanges).await;
    let (brokers, one) = (client.brokers(), [queue("JOrder", 1)]);
    assert_eq!(brokers.lock_queues("JCIDO", "broker-a", &one).await.unwrap(), one);
    let both = [queue("JOrder", 1), queue("JOrder", 0)];
    brokers.unlock_queues("JCIDO", "broker-a", &both, true).await.unwrap();
}

#[tokio::test]
async fn the_check_of_a_filter() {
    let client = client("Jcs", &[recorded!("000046-check-client-config")]).await;
    let mut subscription = Subscription::all("JPlain", Timestamp(1_795_265_463_548));
    subscription.kind = ExpressionType::Sql92;
    subscription.expression = "colour = 'blue'".into();
    client.brokers().check_client_config("JCIDS", &subscription).await.unwrap();
}

fn pull<'a>(queue: &'a MessageQueue, subscription: &'a Subscription, offset: i64) -> PullCall<'a> {
    PullCall {
        group: "JCID",
        queue,
        offset: QueueOffset(offset),
        subscription,
        send_expression: false,
        max_messages: 32,
        max_bytes: 262_144,
        commit: None,
        suspend: Some(Duration::from_secs(15)),
        timeout: TIMEOUT,
        broker_id: 0,
        lite: false,
    }
}

#[tokio::test]
async fn a_pull_that_commits() {
    let client = client("x", &[recorded!("000011-pull-message.commit")]).await;
    let subscription = Subscription::all("JPlain", Timestamp(1_795_265_474_766));
    let queue = queue("JPlain", 0);
    let commit = Some(QueueOffset(5));
    let call = PullCall { commit, ..pull(&queue, &subscription, 6) };
    let outcome = client.brokers().pull(&call).await.unwrap();
    assert_eq!((outcome.status, outcome.next), (PullStatus::Found, QueueOffset(7)));
    let [message] = outcome.messages.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((&message.body[..], message.tag()), (&b"more3"[..], Some("tagA")));
    assert_eq!(message.properties.get("MAX_OFFSET"), Some("7"));
}

#[tokio::test]
async fn pulls_that_are_moved_or_refused() {
    let moved = client("x", &[recorded!("000011-pull-message.code21")]).await;
    let subscription = Subscription::all("JPlain", Timestamp(1_795_265_495_819));
    let queue = queue("JPlain", 1);
    let outcome = moved.brokers().pull(&pull(&queue, &subscription, 0)).await.unwrap();
    assert_eq!((outcome.status, outcome.next), (PullStatus::OffsetIllegal, QueueOffset(0)));

    let refused = client("x", &[recorded!("000011-pull-message.commit-code25")]).await;
    let subscription = Subscription::all("JPlain", Timestamp(1_795_265_475_713));
    let commit = Some(QueueOffset(3));
    let call = PullCall { commit, ..pull(&queue, &subscription, 3) };
    let error = refused.brokers().pull(&call).await.unwrap_err();
    assert!(error.is_refused_with(25));
    assert!(error.to_string().contains("the consumer's subscription not latest"), "{error}");
}

#[tokio::test]
async fn a_message_that_goes_back() {
    let client = client("x", &[recorded!("000036-consumer-send-msg-back")]).await;
    let pulled = read(include_bytes!("golden/000011-pull-message.withsub.res.bin"));
    let second = rmq_message::record::walk(&pulled.body).nth(1).unwrap().unwrap();
    let record = pulled.body.slice(pulled.body.len() - second.total_len..);
    let mut message = MessageView::decode(&record, 1 << 20).unwrap();
    assert!(message.body.len() > second.body.len(), "the body was unpacked");
    message.broker_name = "broker-a".into();
    message.physical_offset = PhysicalOffset(2465);
    let unique = "FD00000000000000000000000000000246E25FFD2B2769C118AD0008";
    message.properties.set("UNIQ_KEY", unique);
    let call = SendBackCall {
        group: "JCID",
        message: &message,
        delay_level: 1,
        max_reconsume_times: 16,
        unit_mode: false,
    };
    client.brokers().send_back(&call).await.unwrap();
}
