//! Typed conversations: asked by one side, served by the other.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmq_remoting::json::{self, IntegerKeys};
use rmq_remoting::protocol::heartbeat::{
    ConsumeFromWhere, ConsumeType, Heartbeat, HeartbeatResponse, MessageModel, TopicSubscription,
};
use rmq_remoting::protocol::offset::{Boundary, OffsetResponse, QueryConsumerOffset, SearchOffset};
use rmq_remoting::protocol::register::{QueryDataVersion, QueryDataVersionResponse};
use rmq_remoting::protocol::route::{GetRoute, TopicRoute};
use rmq_remoting::protocol::send::SendMessage;
use rmq_remoting::{
    CallError, Endpoint, FieldError, Fields, LocalInvoker, Payload, PayloadError, Peer, Processor,
    RemotingCommand, Reply, Response, TypedRequest, call, response_code,
};
use rmq_runtime::World;

struct Desk;

impl Processor for Desk {
    fn process(&self, _peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        let answer = match request.code {
            QueryConsumerOffset::CODE => match QueryConsumerOffset::from_command(&request) {
                Ok(query) if query.topic == "known" => {
                    Response::of(&OffsetResponse { offset: i64::from(query.queue_id) })
                }
                Ok(_) => Response::error(response_code::QUERY_NOT_FOUND, "no progress yet"),
                Err(error) => Response::error(response_code::SYSTEM_ERROR, error.to_string()),
            },
            Heartbeat::CODE => match Heartbeat::from_command(&request) {
                Ok(heartbeat) => Response::of(&HeartbeatResponse {
                    supports_v2: Some(true),
                    subscription_changed: Some(heartbeat.consumer_data_set.len() == 1),
                }),
                Err(error) => Response::error(response_code::SYSTEM_ERROR, error.to_string()),
            },
            // A broken answer: the position is missing.
            SearchOffset::CODE => Response::ok(),
            code => Response::not_supported(code),
        };
        Reply::Now(answer)
    }
}

async fn ask<R: TypedRequest>(request: R) -> Result<R::Response, CallError> {
    let invoker = LocalInvoker::new(Arc::new(Desk), World::system().clock);
    let to: Endpoint = "anywhere:1".parse().unwrap();
    call(&invoker, &to, &request, Duration::from_secs(9)).await
}

fn query(topic: &str) -> QueryConsumerOffset {
    QueryConsumerOffset {
        consumer_group: "g".into(),
        topic: topic.into(),
        queue_id: 7,
        set_zero_if_not_found: None,
    }
}

#[tokio::test]
async fn call_answers_with_what_the_other_side_says() {
    assert_eq!(ask(query("known")).await.unwrap(), OffsetResponse { offset: 7 });
    let refused = ask(query("other")).await.unwrap_err();
    let CallError::Refused { code, remark } = refused else { panic!("{refused}") };
    assert_eq!((code, remark.as_str()), (22, "no progress yet"));
    let heartbeat = Heartbeat { consumer_data_set: vec![Default::default()], ..Default::default() };
    let answer = ask(heartbeat).await.unwrap();
    assert_eq!(answer.subscription_changed, Some(true));
}

#[tokio::test]
async fn answer_that_cannot_be_read_is_told_apart_from_a_refusal() {
    let search = SearchOffset {
        topic: "t".into(),
        queue_id: 0,
        timestamp: 5,
        boundary: Some(Boundary::Upper),
    };
    let error = ask(search).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answer cannot be read: the header field `offset` is missing"
    );
}

fn fields<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Fields {
    pairs.into_iter().collect()
}

#[test]
fn header_fields_are_required_optional_or_have_a_default() {
    let read = |fields: &Fields| SearchOffset::read(fields, &Bytes::new());
    let all =
        fields([("topic", "t"), ("queueId", "1"), ("timestamp", "5"), ("boundaryType", "upper")]);
    assert_eq!(read(&all).unwrap().boundary, Some(Boundary::Upper));
    let odd = fields([("topic", "t"), ("queueId", "1"), ("timestamp", "5"), ("boundaryType", "?")]);
    assert_eq!(read(&odd).unwrap().boundary, None, "unreadable options count as absent");
    let missing = read(&fields([("topic", "t"), ("timestamp", "5")])).unwrap_err();
    let PayloadError::Field(FieldError::Missing { name }) = missing else { panic!("{missing}") };
    assert_eq!(name, "queueId");
    let wrong = read(&fields([("topic", "t"), ("queueId", "1x"), ("timestamp", "5")]));
    assert!(wrong.unwrap_err().to_string().contains("`1x`"));

    let names = [("brokerName", "b"), ("brokerAddr", "a:1"), ("clusterName", "c")];
    let query = QueryDataVersion::read(&fields(names), &Bytes::new()).unwrap();
    assert_eq!(query.broker_id, 0);
    let answer = QueryDataVersionResponse::read(&Fields::new(), &Bytes::new()).unwrap();
    assert!(answer.changed, "whoever does not say counts as changed");
}

#[test]
fn send_header_needs_group_topic_and_queue() {
    let mut fields = fields([("a", "g"), ("b", "t"), ("e", "3"), ("zz", "?"), ("topicX", "?")]);
    let header = SendMessage::from_fields(&fields).unwrap();
    assert_eq!((header.queue_id, header.properties, header.broker_name), (3, "", None));
    fields.set("g", "soon");
    let error = SendMessage::from_fields(&fields).unwrap_err();
    assert_eq!(error, FieldError::Malformed { name: "bornTimestamp", text: "soon".into() });
    fields.set("g", "-9223372036854775808");
    assert_eq!(SendMessage::from_fields(&fields).unwrap().born_timestamp, i64::MIN);
    fields.set("e", "2147483648");
    assert!(SendMessage::from_fields(&fields).is_err());
    fields.remove("e");
    let error = SendMessage::from_fields(&fields).unwrap_err();
    assert_eq!(error, FieldError::Missing { name: "queueId" });
}

#[test]
fn empty_body_is_told_from_a_wrong_one() {
    let read = |body: &'static [u8]| Heartbeat::read(&Fields::new(), &Bytes::from_static(body));
    assert!(matches!(read(b""), Err(PayloadError::NoBody)));
    assert!(matches!(read(b"{"), Err(PayloadError::Body(_))));
    let nothing = Option::<Heartbeat>::read(&Fields::new(), &Bytes::new()).unwrap();
    assert_eq!(nothing, None);
}

#[test]
fn enums_are_read_by_name_and_by_number_and_never_refused() {
    let model = |text: &str| json::from_slice::<MessageModel>(text.as_bytes()).unwrap();
    assert_eq!(model("\"BROADCASTING\""), MessageModel::Broadcasting);
    assert_eq!((model("0"), model("1")), (MessageModel::Broadcasting, MessageModel::Clustering));
    assert_eq!((model("9"), model("null")), (MessageModel::Clustering, MessageModel::Clustering));
    assert_eq!(model("\"NOVEL\""), MessageModel::Clustering);
    assert_eq!(json::from_slice(b"1"), Ok(ConsumeType::Push));
    assert_eq!(json::from_slice(b"5"), Ok(ConsumeFromWhere::Timestamp));
}

#[test]
fn subscription_is_the_same_after_a_round_trip() {
    let text = r#"{"classFilterMode":false,"codeSet":[97,98],"expressionType":"TAG","subString":"a || b","subVersion":1,"tagsSet":["a","b"],"topic":"T"}"#;
    let wire: TopicSubscription = json::from_slice(text.as_bytes()).unwrap();
    let subscription: rmq_message::subscription::Subscription = wire.clone().into();
    assert_eq!(TopicSubscription::from(&subscription), wire);
    assert_eq!(json::to_bytes(&wire), text);
}

#[test]
fn route_is_standard_json_for_new_clients_and_those_that_ask() {
    let mut request = GetRoute { topic: "t".into(), accept_standard_json_only: None };
    assert_eq!(TopicRoute::keys_for(400, &request), IntegerKeys::Bare);
    assert_eq!(TopicRoute::keys_for(401, &request), IntegerKeys::Quoted);
    request.accept_standard_json_only = Some(true);
    assert_eq!(TopicRoute::keys_for(317, &request), IntegerKeys::Quoted);
}
