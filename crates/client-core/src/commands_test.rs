use futures_util::FutureExt;
use rmq_remoting::protocol::client::{DirectOutcome, DirectResult};
use rmq_remoting::typed::TypedRequest;
use std::time::Duration;

use super::*;
use crate::testing::{Counter, Stage, record};

fn answer(reply: Reply) -> Response {
    match reply {
        Reply::Now(response) => response,
        Reply::Later(future) => future.now_or_never().expect("the member answers at once"),
        Reply::None => panic!("there is no answer"),
    }
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_change_of_members_wakes_the_balance_at_once() {
    let stage = Stage::new(|_| {});
    let member = Counter::new("g");
    stage.instance.join(member.clone()).unwrap();
    let request = RemotingCommand::request(request_code::NOTIFY_CONSUMER_IDS_CHANGED);
    assert!(matches!(stage.door().serve(&request), Reply::None));
    crate::testing::settle().await;
    assert_eq!(*member.runs.lock(), 1);
}

#[tokio::test]
async fn a_reset_reaches_the_member_in_a_task_of_its_own() {
    let stage = Stage::new(|_| {});
    let member = Counter::new("g");
    *member.reply.lock() = Some(MemberReply::Done);
    stage.instance.join(member.clone()).unwrap();
    let mut request = RemotingCommand::request(request_code::RESET_CONSUMER_CLIENT_OFFSET)
        .with_body(r#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:12}}"#);
    for (name, value) in [("topic", "T"), ("group", "g"), ("timestamp", "1")] {
        request.fields.push(name, value);
    }
    assert!(matches!(stage.door().serve(&request), Reply::None));
    let _told = member.commanded.acquire().await.unwrap();
    let queue = rmq_message::MessageQueue::new("T", "b", 0);
    let offsets = [(queue, QueueOffset(12))].into();
    assert_eq!(
        *member.commands.lock(),
        [MemberCommand::ResetOffsets { topic: "T".into(), offsets }]
    );
}

#[tokio::test]
async fn positions_are_answered_with_queues_as_raw_keys() {
    let stage = Stage::new(|_| {});
    let status = |group: &str| {
        ClientStatus { topic: "T".into(), group: group.into(), client_addr: None }.to_command()
    };
    assert_eq!(
        text(&answer(stage.door().serve(&status("g")))),
        r#"{"consumerTable":{},"messageQueueTable":{}}"#
    );
    let member = Counter::new("g");
    let queue = rmq_message::MessageQueue::new("T", "b", 0);
    *member.reply.lock() = Some(MemberReply::Positions([(queue, QueueOffset(7))].into()));
    stage.instance.join(member).unwrap();
    assert_eq!(
        text(&answer(stage.door().serve(&status("g")))),
        r#"{"consumerTable":{},"messageQueueTable":{{"brokerName":"b","queueId":0,"topic":"T"}:7}}"#
    );
}

#[tokio::test]
async fn a_message_is_consumed_directly_and_the_outcome_goes_back() {
    let stage = Stage::new(|_| {});
    let member = Counter::new("g");
    let outcome = DirectOutcome { consume_result: DirectResult::Later, ..Default::default() };
    *member.reply.lock() = Some(MemberReply::Outcome(outcome));
    stage.instance.join(member.clone()).unwrap();
    let mut request = RemotingCommand::request(request_code::CONSUME_MESSAGE_DIRECTLY)
        .with_body(record(3, "TagA", b"hi", 0));
    request.fields.push("consumerGroup", "g");
    request.fields.push("brokerName", "broker-a");
    let response = answer(stage.door().serve(&request));
    assert!(text(&response).contains(r#""consumeResult":"CR_LATER""#));
    let commands = member.commands.lock();
    let [MemberCommand::ConsumeDirectly { message }] = commands.as_slice() else { panic!() };
    assert_eq!((&message.body[..], message.broker_name.as_str()), (&b"hi"[..], "broker-a"));
}

#[tokio::test]
async fn an_unknown_group_and_a_failing_member_are_errors_with_a_reason() {
    let stage = Stage::new(|_| {});
    let mut request = RemotingCommand::request(request_code::GET_CONSUMER_RUNNING_INFO);
    request.fields.push("consumerGroup", "g");
    request.fields.push("clientId", "x");
    let response = answer(stage.door().serve(&request));
    assert_eq!(response.code, response_code::SYSTEM_ERROR);
    assert_eq!(
        response.remark.as_deref(),
        Some("The Consumer Group <g> not exist in this consumer")
    );
    stage.instance.join(Counter::new("g")).unwrap();
    let response = answer(stage.door().serve(&request));
    assert_eq!(response.code, response_code::SYSTEM_ERROR, "a panic is not the connection's end");
}

#[tokio::test]
async fn requests_of_later_features_are_not_supported() {
    let stage = Stage::new(|_| {});
    let response = answer(stage.door().serve(&RemotingCommand::request(31_000)));
    assert_eq!(response.code, response_code::REQUEST_CODE_NOT_SUPPORTED);
}

#[tokio::test]
async fn a_new_connection_to_a_broker_brings_a_heartbeat_and_a_balance() {
    let stage = Stage::new(|_| {});
    let member = Counter::new("g");
    stage.instance.join(member.clone()).unwrap();
    stage.instance.refresh_route("T").await.unwrap();
    let beats = || stage.cluster.take_calls(request_code::HEART_BEAT);
    stage.door().signals.arrived(crate::testing::B0.parse().unwrap());
    crate::testing::settle().await;
    assert_eq!(beats(), [crate::testing::B0]);
    assert_eq!(*member.runs.lock(), 1);

    stage.door().signals.arrived("ns1:9876".parse().unwrap());
    crate::testing::settle().await;
    assert_eq!(beats(), Vec::<String>::new(), "a name server is no broker");
    stage.clock.advance(Duration::from_secs(1)).await;
    assert_eq!(beats().len(), 3, "the periodic one is not put off by connections");
}

#[tokio::test]
async fn a_broker_that_ends_every_connection_is_greeted_once_a_second() {
    let stage = Stage::new(|_| {});
    stage.instance.join(Counter::new("g")).unwrap();
    stage.instance.refresh_route("T").await.unwrap();
    stage.clock.advance(Duration::from_millis(1500)).await;
    stage.cluster.take_calls(request_code::HEART_BEAT);
    for _ in 0..30 {
        stage.door().signals.arrived(crate::testing::B0.parse().unwrap());
        stage.clock.advance(Duration::from_millis(100)).await;
    }
    let beats = stage.cluster.take_calls(request_code::HEART_BEAT).len();
    assert!((3..=4).contains(&beats), "{beats}");
}
