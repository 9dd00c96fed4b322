//! Whatever a peer sends, the broker answers and lives.

use bytes::Bytes;
use proptest::prelude::*;
use rmq_remoting::{Invoker, RemotingCommand, request_code};

use crate::fixture::{Fixture, config, nowhere};

const NAMES: [&str; 45] = [
    "a",
    "b",
    "c",
    "d",
    "e",
    "f",
    "g",
    "h",
    "i",
    "j",
    "k",
    "l",
    "m",
    "n",
    "topic",
    "queueId",
    "producerGroup",
    "consumerGroup",
    "group",
    "groupName",
    "queueOffset",
    "maxMsgNums",
    "maxMsgBytes",
    "sysFlag",
    "commitOffset",
    "subscription",
    "subVersion",
    "expressionType",
    "offset",
    "delayLevel",
    "timestamp",
    "boundaryType",
    "key",
    "maxNum",
    "beginTimestamp",
    "endTimestamp",
    "clientID",
    "clientId",
    "msgId",
    "readQueueNums",
    "writeQueueNums",
    "perm",
    "attributes",
    "srcGroup",
    "destGroup",
];

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("Orders".to_owned()),
        Just("GC".to_owned()),
        Just("%RETRY%GC".to_owned()),
        Just("TBW102".to_owned()),
        Just("true".to_owned()),
        Just("../../x".to_owned()),
        Just(String::new()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<i32>().prop_map(|number| number.to_string()),
        (-2..9i32).prop_map(|number| number.to_string()),
        ".{0,40}",
        "(DELAY|TAGS|WAIT|TRAN_MSG|UNIQ_KEY)\u{1}[a-z0-9-]{0,5}\u{2}",
        "[+-](message.type|x)=[A-Z]{0,5}",
    ]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..300),
        "[{}\\[\\]\":,a-zA-Z0-9 =\n]{0,200}".prop_map(String::into_bytes),
        Just(br#"{"clientID":"x","consumerDataSet":[{"groupName":"GC"}]}"#.to_vec()),
        Just(br#"{"clientId":"x","consumerGroup":"GC","mqSet":[{"queueId":-9}]}"#.to_vec()),
        Just(br#"{"topicConfigList":[{"topicName":"Z","readQueueNums":2147483647}]}"#.to_vec()),
    ]
}

fn request() -> impl Strategy<Value = RemotingCommand> {
    let codes: Vec<i32> = request_code::ALL.iter().map(|row| row.code).collect();
    let fields = prop::collection::vec((prop::sample::select(&NAMES[..]), value()), 0..12);
    (prop::sample::select(codes), fields, body()).prop_map(|(code, fields, body)| {
        let mut request = RemotingCommand::request(code);
        for (name, value) in fields {
            request.fields.push(name, &value);
        }
        request.body = Bytes::from(body);
        request
    })
}

/// Every request with whole headers of senders and pullers, filled at random.
fn whole() -> impl Strategy<Value = RemotingCommand> {
    (request(), prop::collection::vec(value(), NAMES.len())).prop_map(|(mut request, values)| {
        for (name, value) in NAMES.iter().zip(values) {
            request.fields.push(name, &value);
        }
        request
    })
}

#[test]
fn any_request_is_answered_without_a_panic() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let fixture = {
        let _inside = runtime.enter();
        Fixture::start(config(dir.path()))
    };
    let connection = fixture.connect();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&prop_oneof![request(), whole()], |request| {
        // A pull may be held: its end is not waited for.
        let wait = std::time::Duration::from_millis(20);
        let code = request.code;
        if let Ok(answer) = runtime.block_on(connection.invoke(&nowhere(), request, wait)) {
            prop_assert!(answer.is_response(), "{code}");
        }
        Ok(())
    });
    outcome.unwrap();
    let failure = fixture.tasks.failure().borrow().clone();
    assert_eq!(failure, None);
    drop(connection);
    runtime.block_on(fixture.stop());
}
