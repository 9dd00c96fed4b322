//! Requests that lack something are answered as Apache's 5.5.0 does, for every code that is served:
//! `lacking.jsonl` was recorded from one, a line for each code.

use std::collections::BTreeMap;

use bytes::Bytes;
use rmq_namesrv::NamesrvConfig;
use rmq_remoting::RemotingCommand;
use serde::Deserialize;

use crate::stage::Stage;

/// A request that lacks nothing, and the codes of Apache's answers by what was changed in it.
#[derive(Deserialize)]
struct Recorded {
    code: i32,
    fields: BTreeMap<String, String>,
    body: String,
    answers: Vec<(String, i32)>,
}

impl Recorded {
    /// The request with this lack.
    fn request(&self, lack: &str) -> RemotingCommand {
        let (mut fields, mut body) = (self.fields.clone(), &*self.body);
        match lack {
            "as it is" => {}
            "no fields" => (fields, body) = (BTreeMap::new(), ""),
            "no body" => body = "",
            "a broken body" => body = r#"{"a":"#,
            "a list for a body" => body = "[1]",
            "an empty object for a body" => body = "{}",
            of_a_field => match of_a_field.rsplit_once(' ').unwrap() {
                ("without", name) => drop(fields.remove(name).unwrap()),
                ("blank", name) => drop(fields.insert(name.to_owned(), String::new()).unwrap()),
                ("x for", name) => drop(fields.insert(name.to_owned(), "x".to_owned()).unwrap()),
                _ => panic!("{lack}"),
            },
        }
        let mut request = RemotingCommand::request(self.code);
        fields.iter().for_each(|(name, value)| request.fields.push(name, value));
        request.with_body(Bytes::copy_from_slice(body.as_bytes()))
    }
}

/// Where our answer has another code on purpose.
fn decided(code: i32, lack: &str) -> Option<i32> {
    Some(match (code, lack) {
        // A pair without a value is none.
        (100, "without value") => 1,
        // Apache takes no name for a name.
        (103, "without brokerName" | "without clusterName") => 1,
        (217, "no fields" | "without topic" | "blank topic" | "no body") => 1,
        // No name is the empty one here, and of that there is a pair.
        (101, "without namespace" | "without key") => 0,
        (219, "no fields" | "without namespace") => 0,
        // Settings that nobody knows.
        (318, "a broken body" | "a list for a body" | "an empty object for a body") => 29,
        // A list is as good as an object where only its numbers are asked for.
        (322, "a list for a body") => 0,
        _ => return None,
    })
}

#[tokio::test]
async fn what_is_lacking_is_answered_as_by_apache() {
    let stage = Stage::start(NamesrvConfig::default()).await;
    let topics =
        ["Ops", "GoneT"].map(|topic| format!(r#""{topic}":{{"topicName":"{topic}"}}"#)).join(",");
    let known = format!(r#"{{"topicConfigSerializeWrapper":{{"topicConfigTable":{{{topics}}}}}}}"#);
    assert!(
        stage
            .ask(of_broker(103, "broker-a", "127.0.0.1:9").with_body(Bytes::from(known)))
            .await
            .is_success()
    );
    let mut differences = Vec::new();
    for line in include_str!("../golden/lacking.jsonl").lines() {
        let recorded: Recorded = serde_json::from_str(line).unwrap();
        for (lack, theirs) in &recorded.answers {
            let ours = stage.ask(recorded.request(lack)).await;
            if recorded.code == 103 {
                // With the connection of one request the recorded broker went.
                assert!(stage.ask(of_broker(104, "broker-b", "127.0.0.1:1")).await.is_success());
            }
            let decided = decided(recorded.code, lack);
            assert_ne!(decided, Some(*theirs), "{} {lack} is no difference", recorded.code);
            if ours.code != decided.unwrap_or(*theirs) {
                let (code, remark) = (recorded.code, &ours.remark);
                differences.push(format!("{code} {lack}: {theirs}, {} {remark:?}", ours.code));
            }
            let is_mute = ours.code == 1 && ours.remark().is_empty();
            assert!(!is_mute, "{} {lack}: a failure says why", recorded.code);
        }
    }
    assert_eq!(differences, Vec::<String>::new());
}

/// A request of a broker about itself.
fn of_broker(code: i32, name: &str, address: &str) -> RemotingCommand {
    RemotingCommand::request(code)
        .with_field("brokerName", name)
        .with_field("brokerAddr", address)
        .with_field("clusterName", "DefaultCluster")
        .with_field("brokerId", "0")
}
