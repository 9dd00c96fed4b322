//! A broker without replicas, controller, RocksDB and limits for old messages answers operators as
//! Apache's 5.5.0 does in its default settings: `plain-broker.jsonl` was recorded from one.

use std::collections::BTreeMap;

use bytes::Bytes;
use rmq_broker::BrokerConfig;
use rmq_remoting::{RemotingCommand, json, request_code, response_code};
use serde::Deserialize;
use serde_json::Value;

use crate::fixture::{Fixture, config};

#[derive(Deserialize)]
struct Exchange {
    request: Part,
    answer: Part,
}

#[derive(Deserialize)]
struct Part {
    code: i32,
    #[serde(default)]
    remark: String,
    fields: BTreeMap<String, String>,
    body: String,
}

fn asked(code: i32, fields: &[(&str, &str)], body: &str) -> RemotingCommand {
    let mut request = RemotingCommand::request(code);
    fields.iter().for_each(|(name, value)| request.fields.push(name, value));
    request.with_body(Bytes::copy_from_slice(body.as_bytes()))
}

/// What does not depend on the moment.
fn lasting(body: &[u8]) -> Option<Value> {
    let mut value: Value = json::from_slice(body).ok()?;
    value.as_object_mut()?.remove("dataVersion");
    Some(value)
}

#[tokio::test]
async fn operators_get_the_recorded_answers() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for line in include_str!("../golden/plain-broker.jsonl").lines() {
        let Exchange { request, answer } = serde_json::from_str(line).unwrap();
        let fields: Vec<_> =
            request.fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        let ours = fixture.ask(asked(request.code, &fields, &request.body)).await;
        assert_eq!(ours.code, answer.code, "{line}\n{:?}", ours.remark);
        if ours.code == response_code::REQUEST_CODE_NOT_SUPPORTED {
            // Ours may say why.
            assert!(ours.remark().starts_with(&answer.remark), "{line}");
            continue;
        }
        // Where Apache answers with the trace of an exception, ours says what is wrong.
        if !answer.remark.starts_with("java.") {
            assert_eq!(ours.remark(), answer.remark, "{line}");
        }
        let theirs: BTreeMap<_, _> = answer.fields.into_iter().collect();
        let ours_fields: BTreeMap<_, _> = ours
            .fields
            .iter()
            .map(|(name, value)| (name.to_owned(), value.replace("127.0.0.2:219", "127.0.0.1:229")))
            .collect();
        assert_eq!(ours_fields, theirs, "{line}");
        if !answer.body.is_empty() {
            assert_eq!(lasting(&ours.body), lasting(answer.body.as_bytes()), "{line}");
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn limits_that_make_no_sense_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let limit = request_code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG;
    for (body, why) in [
        ("good=1\nbad=many\n", "the limit of bad is a number of bytes, not many"),
        ("good=1\nno!group=1\n", "illegal characters"),
    ] {
        let refused = fixture.ask(asked(limit, &[], body)).await;
        assert_eq!(refused.code, response_code::INVALID_PARAMETER, "{body}");
        assert!(refused.remark().contains(why), "{:?}", refused.remark);
    }
    let show = asked(request_code::GET_COLD_DATA_FLOW_CTR_INFO, &[], "");
    let shown = lasting(&fixture.ask(show).await.body).unwrap();
    assert_eq!(shown["configTable"], Value::Object(serde_json::Map::new()));
    let mode = asked(request_code::SET_COMMITLOG_READ_MODE, &[("READ_AHEAD_MODE", "1")], "");
    assert_eq!(fixture.ask(mode).await.code, response_code::INVALID_PARAMETER);
    fixture.stop().await;
}

#[tokio::test]
async fn a_broker_that_times_nothing_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let off = BrokerConfig { timer_wheel_enable: false, ..config(dir.path()) };
    let fixture = Fixture::start(off);
    for (code, answer, why) in [
        (request_code::GET_TIMER_CHECK_POINT, 1, "The checkpoint is null"),
        (request_code::GET_TIMER_METRICS, 1, "The timer message store is null"),
        (request_code::SWITCH_TIMER_ENGINE, 29, "broker timerWheelEnable is false"),
    ] {
        let refused = fixture.ask(asked(code, &[], "")).await;
        assert_eq!((refused.code, refused.remark()), (answer, why));
    }
    fixture.stop().await;
}
