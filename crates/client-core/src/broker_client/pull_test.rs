use rmq_message::batch::{BatchItem, encode};
use rmq_message::compression::Codec;
use rmq_message::{Message, Timestamp};
use rmq_remoting::request_code;

use super::*;
use crate::protocol::Boundary;
use crate::testing::{A0, A1, B0, Stage, record, refusal, route};
use crate::{ErrorKind, SendBackCall, SendCall, SendStatus};

const PULL: i32 = request_code::PULL_MESSAGE;

fn queue() -> MessageQueue {
    MessageQueue::new("T", "broker-a", 1)
}

fn call<'a>(queue: &'a MessageQueue, subscription: &'a Subscription) -> PullCall<'a> {
    PullCall {
        group: "g",
        queue,
        offset: QueueOffset(10),
        subscription,
        send_expression: false,
        max_messages: 32,
        max_bytes: 262_144,
        commit: Some(QueueOffset(8)),
        suspend: Some(Duration::from_secs(15)),
        timeout: Duration::from_secs(30),
        broker_id: 0,
        lite: false,
    }
}

fn found(code: i32, next: &str, records: &[Bytes]) -> RemotingCommand {
    let mut answer = refusal(code).with_body(records.concat());
    let fields = [
        ("suggestWhichBrokerId", "1"),
        ("nextBeginOffset", next),
        ("minOffset", "3"),
        ("maxOffset", "99"),
    ];
    for (name, value) in fields {
        answer.fields.push(name, value);
    }
    answer
}

fn tag_a() -> Subscription {
    Subscription::tags("T", "TagA", Timestamp(77)).unwrap()
}

/// Pulls once and gets that answer.
async fn pulled(answer: RemotingCommand) -> Result<PullOutcome, ClientError> {
    let stage = Stage::new(|_| {});
    stage.cluster.script(PULL, answer);
    stage.instance.brokers().pull(&call(&queue(), &tag_a())).await
}

#[tokio::test]
async fn a_pull_says_what_the_java_client_says() {
    let stage = Stage::new(|_| {});
    stage.cluster.script(PULL, found(19, "10", &[]));
    let (queue, subscription) = (queue(), tag_a());
    let mut call = call(&queue, &subscription);
    stage.instance.brokers().pull(&call).await.unwrap();
    let request = stage.cluster.last(PULL).unwrap();
    let fields: Vec<_> = request.fields.iter().collect();
    assert_eq!(
        fields,
        [
            ("consumerGroup", "g"),
            ("topic", "T"),
            ("queueId", "1"),
            ("queueOffset", "10"),
            ("maxMsgNums", "32"),
            ("sysFlag", "3"),
            ("commitOffset", "8"),
            ("suspendTimeoutMillis", "15000"),
            ("subVersion", "77"),
            ("expressionType", "TAG"),
            ("maxMsgBytes", "262144"),
            ("bname", "broker-a"),
        ]
    );
    assert_eq!(stage.cluster.take_calls(PULL), [A0]);

    call.broker_id = 1;
    call.send_expression = true;
    stage.instance.brokers().pull(&call).await.unwrap();
    let request = stage.cluster.last(PULL).unwrap();
    assert_eq!(request.field("sysFlag"), Some("6"), "no commit at a replica");
    assert_eq!(request.field("commitOffset"), Some("0"));
    assert_eq!(request.field("subscription"), Some("TagA"));
    assert_eq!(stage.cluster.take_calls(PULL), [A1]);

    (call.broker_id, call.lite) = (0, true);
    let lite = request_code::LITE_PULL_MESSAGE;
    stage.cluster.script(lite, found(19, "10", &[]));
    stage.instance.brokers().pull(&call).await.unwrap();
    assert_eq!(stage.cluster.last(lite).unwrap().field("sysFlag"), Some("23"), "an application");
}

#[tokio::test]
async fn a_broker_that_no_route_names_is_looked_up_once_and_then_said_not_to_exist() {
    let stage = Stage::new(|_| {});
    stage.cluster.script(PULL, found(19, "10", &[]));
    let (queue, subscription) = (MessageQueue::new("T", "broker-x", 1), tag_a());
    let call = call(&queue, &subscription);
    let error = stage.instance.brokers().pull(&call).await.unwrap_err();
    assert!(error.to_string().starts_with("The broker[broker-x] not exist"), "{error}");
    let lookups = stage.cluster.take_calls(request_code::GET_ROUTEINFO_BY_TOPIC);
    assert_eq!(lookups.len(), 1);
    stage.cluster.routes.lock().insert("T".into(), route(2, &[("broker-x", &[(0, B0)])]));
    stage.instance.brokers().pull(&call).await.unwrap();
    assert_eq!(stage.cluster.take_calls(PULL), [B0]);
}

#[tokio::test]
async fn messages_are_checked_by_their_tag_text_and_completed() {
    let packed = Codec::Lz4.compress(b"packed", 5).unwrap();
    let records = [
        record(10, "TagA", &packed, Codec::Lz4.flags()),
        record(11, "TagB", b"x", 0),
        record(12, "", b"x", 0),
    ];
    let answer = found(0, "13", &records).with_field("offsetDelta", "-4");
    let outcome = pulled(answer).await.unwrap();
    assert_eq!((outcome.status, outcome.next), (PullStatus::Found, QueueOffset(13)));
    assert_eq!((outcome.min, outcome.max), (QueueOffset(3), QueueOffset(99)));
    assert_eq!((outcome.broker_id, outcome.filtered), (1, 2));
    let [message] = outcome.messages.as_slice() else { panic!("{outcome:?}") };
    assert_eq!(&message.body[..], b"packed");
    assert_eq!(message.id(), "ID10");
    assert_eq!((message.broker_name.as_str(), message.queue_id), ("broker-a", 1));
    assert_eq!(message.queue_offset, QueueOffset(6));
    assert_eq!(message.properties.get("MIN_OFFSET"), Some("3"));
    assert_eq!(message.properties.get("MAX_OFFSET"), Some("99"));
}

#[tokio::test]
async fn a_fully_filtered_answer_still_advances() {
    let outcome = pulled(found(0, "12", &[record(10, "TagB", b"x", 0)])).await.unwrap();
    assert_eq!((outcome.next, outcome.messages.len()), (QueueOffset(12), 0));
}

#[tokio::test]
async fn codes_become_statuses_and_others_errors() {
    for (code, status) in [
        (19, PullStatus::NoNewMessage),
        (20, PullStatus::NoMatchedMessage),
        (21, PullStatus::OffsetIllegal),
    ] {
        assert_eq!(pulled(found(code, "12", &[])).await.unwrap().status, status);
    }
    let error = pulled(refusal(response_code::SUBSCRIPTION_NOT_LATEST)).await.unwrap_err();
    assert!(error.is_refused_with(25) && error.kind() == ErrorKind::Retry);
}

#[tokio::test]
async fn an_answer_without_a_position_is_an_error_and_not_zero() {
    assert!(matches!(pulled(refusal(21)).await, Err(ClientError::Malformed { .. })));
    assert!(matches!(pulled(found(21, "-1", &[])).await, Err(ClientError::NoPosition { .. })));
}

#[tokio::test]
async fn behind_a_damaged_message_the_next_pull_goes_on_there() {
    let torn = record(12, "TagA", b"x", 0).slice(..50);
    let records = [record(10, "TagA", b"x", 0), record(11, "TagB", b"x", 0), torn.clone()];
    let outcome = pulled(found(0, "13", &records)).await.unwrap();
    assert_eq!((outcome.next, outcome.messages.len()), (QueueOffset(12), 1));
    assert!(matches!(pulled(found(0, "13", &[torn])).await, Err(ClientError::Damaged { .. })));
}

proptest::proptest! {
    #[test]
    fn damage_anywhere_harms_nobody_and_never_leads_beyond_the_answer(
        at in 0..400usize,
        byte in proptest::prelude::any::<u8>(),
        cut in 0..500usize,
    ) {
        let records: Vec<Bytes> = (10..13).map(|n| record(n, "TagA", b"body", 0)).collect();
        let mut body = records.concat();
        if let Some(place) = body.get_mut(at) {
            *place = byte;
        }
        body.truncate(cut);
        let (queue, subscription) = (queue(), Subscription::all("T", Timestamp(1)));
        let mut outcome = PullOutcome {
            status: PullStatus::Found,
            next: QueueOffset(13),
            min: QueueOffset(0),
            max: QueueOffset(13),
            broker_id: 0,
            messages: Vec::new(),
            filtered: 0,
        };
        if outcome.take(body.into(), &call(&queue, &subscription), 0, 1 << 20).is_ok() {
            assert!(outcome.next <= QueueOffset(13));
        }
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_unpacked_is_delivered_as_it_is() {
    let flags = Codec::Zlib.flags();
    let outcome = pulled(found(0, "11", &[record(10, "TagA", b"no zlib", flags)])).await.unwrap();
    let [message] = outcome.messages.as_slice() else { panic!("{outcome:?}") };
    assert_eq!((&message.body[..], message.sys_flag), (&b"no zlib"[..], flags));
}

#[tokio::test]
async fn an_inner_batch_becomes_its_messages() {
    let mut body = Vec::new();
    for (body_of, properties) in
        [("a", "TAGS\u{1}TagA\u{2}"), ("b", ""), ("c", "TAGS\u{1}TagC\u{2}")]
    {
        let item =
            BatchItem { flag: 1, body: body_of.as_bytes(), properties: properties.as_bytes() };
        encode(&mut body, item).unwrap();
    }
    let flags = sys_flag::INNER_BATCH | sys_flag::NEED_UNWRAP;
    let outcome = pulled(found(0, "13", &[record(10, "TagA", &body, flags)])).await.unwrap();
    let seen: Vec<_> =
        outcome.messages.iter().map(|m| (&m.body[..], m.queue_offset.0, m.sys_flag)).collect();
    assert_eq!(seen, [(&b"a"[..], 10, 0), (&b"b"[..], 11, 0)]);
    assert_eq!(outcome.messages[1].properties.get("UNIQ_KEY"), Some("ID10"), "of the outer one");
}

#[tokio::test]
async fn sql_needs_a_broker_that_is_known_to_filter_by_it() {
    let stage = Stage::new(|_| {});
    stage.cluster.script(PULL, found(19, "10", &[]));
    let subscription = Subscription { kind: ExpressionType::Sql92, ..tag_a() };
    let queue = queue();
    let call = call(&queue, &subscription);
    let brokers = stage.instance.brokers();
    let error = brokers.pull(&call).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "The broker[broker-a, 0] does not upgrade to support for filter message by SQL92"
    );
    brokers.learn_version(&A0.parse().unwrap(), 513);
    brokers.pull(&call).await.unwrap();
    assert_eq!(stage.cluster.last(PULL).unwrap().field("expressionType"), Some("SQL92"));
}

#[tokio::test]
async fn a_send_names_everything_in_letters_and_reads_its_receipt() {
    let stage = Stage::new(|_| {});
    let code = request_code::SEND_MESSAGE_V2;
    let mut stored = refusal(12);
    for (name, value) in
        [("msgId", "0A"), ("queueId", "1"), ("queueOffset", "42"), ("TRACE_ON", "false")]
    {
        stored.fields.push(name, value);
    }
    stage.cluster.script(code, stored);
    let message = Message::new("T", "hi").with_property("UNIQ_KEY", "u1").with_tag("TagA");
    let queue = queue();
    let send = SendCall::new("p", &queue, &message, Timestamp(5));
    let timeout = Duration::from_secs(3);
    let receipt = stage.instance.brokers().send(&send, timeout).await.unwrap();
    assert_eq!(receipt.status, SendStatus::FlushReplicaTimeout);
    assert_eq!((receipt.id.as_str(), receipt.offset_id.as_str()), ("u1", "0A"));
    assert_eq!((receipt.queue_offset, &receipt.queue), (QueueOffset(42), &queue));
    assert_eq!((receipt.region.as_str(), receipt.trace_on), ("DefaultRegion", false));
    let request = stage.cluster.last(code).unwrap();
    let letters: Vec<_> = request.fields.iter().map(|(name, _)| name).collect();
    assert_eq!(letters.concat(), "abcdefghijkmn");
    assert_eq!(request.field("i"), Some("UNIQ_KEY\u{1}u1\u{2}TAGS\u{1}TagA\u{2}"));

    stage.cluster.script(code, refusal(response_code::MESSAGE_ILLEGAL));
    let error = stage.instance.brokers().send(&send, timeout).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Rejected, 13));
    stage.instance.brokers().send_oneway(&send, timeout).await.unwrap();
    assert!(stage.cluster.last(code).unwrap().is_oneway());
}

#[test]
fn attempt_counts_move_to_the_header_for_retry_topics_only() {
    let message = Message::new("x", "hi")
        .with_property("RECONSUME_TIME", "3")
        .with_property("MAX_RECONSUME_TIMES", "16");
    let retry = MessageQueue::new("%RETRY%g", "broker-a", 0);
    let call = SendCall::new("p", &retry, &message, Timestamp(5));
    assert_eq!((call.reconsume_times, call.max_reconsume_times), (3, Some(16)));
    assert_eq!(call.properties, "");
    let queue = queue();
    let call = SendCall::new("p", &queue, &message, Timestamp(5));
    assert_eq!((call.reconsume_times, call.max_reconsume_times), (0, None));
    assert!(call.properties.contains("RECONSUME_TIME"));
}

#[tokio::test]
async fn a_message_goes_back_to_the_master_of_its_broker() {
    let stage = Stage::new(|_| {});
    let mut message = MessageView::decode(&record(10, "TagA", b"x", 0), 100).unwrap();
    message.broker_name = "broker-b".into();
    fn back(message: &MessageView) -> SendBackCall<'_> {
        SendBackCall {
            group: "g",
            message,
            delay_level: 0,
            max_reconsume_times: 16,
            unit_mode: false,
        }
    }
    let code = request_code::CONSUMER_SEND_MSG_BACK;
    stage.instance.brokers().send_back(&back(&message)).await.unwrap();
    let request = stage.cluster.last(code).unwrap();
    let mut fields: Vec<_> = request.fields.iter().collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            ("bname", "broker-b"),
            ("delayLevel", "0"),
            ("group", "g"),
            ("maxReconsumeTimes", "16"),
            ("offset", "1010"),
            ("originMsgId", "ID10"),
            ("originTopic", "T"),
            ("unitMode", "false"),
        ]
    );
    message.broker_name = Default::default();
    stage.instance.brokers().send_back(&back(&message)).await.unwrap();
    assert_eq!(stage.cluster.take_calls(code), [B0, "10.0.0.1:10911"]);
}

#[tokio::test]
async fn locks_and_questions_about_a_queue_go_to_the_master() {
    let stage = Stage::new(|_| {});
    let (brokers, queue) = (stage.instance.brokers(), queue());
    let locked = brokers.lock_queues("g", "broker-a", std::slice::from_ref(&queue)).await.unwrap();
    assert_eq!(locked, std::slice::from_ref(&queue));
    let request = stage.cluster.last(request_code::LOCK_BATCH_MQ).unwrap();
    assert_eq!(
        std::str::from_utf8(&request.body).unwrap(),
        "{\"clientId\":\"10.0.0.7@test\",\"consumerGroup\":\"g\",\"mqSet\":[{\"brokerName\":\
         \"broker-a\",\"queueId\":1,\"topic\":\"T\"}],\"onlyThisBroker\":false}"
    );
    brokers.unlock_queues("g", "broker-a", &locked, false).await.unwrap();
    assert!(stage.cluster.last(request_code::UNLOCK_BATCH_MQ).unwrap().is_oneway());

    stage.cluster.script(request_code::GET_MAX_OFFSET, refusal(0).with_field("offset", "9"));
    assert_eq!(brokers.max_offset(&queue).await.unwrap(), QueueOffset(9));
    assert_eq!(stage.cluster.take_calls(request_code::GET_MAX_OFFSET), [A0]);
    stage
        .cluster
        .script(request_code::SEARCH_OFFSET_BY_TIMESTAMP, refusal(0).with_field("offset", "-1"));
    let error = brokers.search_offset(&queue, Timestamp(1), Boundary::Lower).await.unwrap_err();
    assert!(matches!(error, ClientError::NoPosition { .. }), "{error}");
    let nowhere = MessageQueue::new("T", "broker-x", 0);
    let error = brokers.min_offset(&nowhere).await.unwrap_err();
    assert!(error.to_string().starts_with("The broker[broker-x] not exist"), "{error}");
}

#[tokio::test]
async fn the_second_port_serves_everything_but_pulls_and_heartbeats() {
    let usual = Stage::new(|_| {});
    let asked_for = Stage::new(|config| config.vip_channel_enabled = true);
    for (stage, door) in [(usual, A0), (asked_for, "10.0.1.1:10909")] {
        let (brokers, queue, subscription) = (stage.instance.brokers(), queue(), tag_a());
        stage.cluster.script(PULL, found(19, "10", &[]));
        brokers.pull(&call(&queue, &subscription)).await.unwrap();
        assert_eq!(stage.cluster.take_calls(PULL), [A0]);
        brokers.commit_offset("g", &queue, QueueOffset(1)).await.unwrap();
        assert_eq!(stage.cluster.take_calls(request_code::UPDATE_CONSUMER_OFFSET), [door]);
        brokers.lock_queues("g", "broker-a", &[queue]).await.unwrap();
        assert_eq!(stage.cluster.take_calls(request_code::LOCK_BATCH_MQ), [door]);
    }
}
