//! Requests that lack something are answered as Apache's 5.5.0 does, for every code that is served: `lacking.jsonl` was
//! recorded from one, a line for each code.

use std::collections::BTreeMap;

use bytes::Bytes;
use rmq_remoting::{RemotingCommand, response_code};
use serde::Deserialize;

use crate::fixture::{Fixture, ask, config, header};

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
    const BODIES: [&str; 3] = ["a broken body", "a list for a body", "an empty object for a body"];
    let an_empty_object = lack == BODIES[2];
    Some(match (code, lack) {
        // Numbers that do without are 0; what is no number is refused.
        (10, "without sysFlag" | "without bornTimestamp" | "without flag") => 0,
        (310 | 320, "without f" | "without g" | "without h") => 0,
        (11 | 361, "without maxMsgNums") => 0,
        // Without flags there is no subscription, and the group is not there.
        (11 | 361, "without sysFlag") => 24,
        (10, "blank defaultTopicQueueNums" | "x for defaultTopicQueueNums") => 1,
        (10, "blank reconsumeTimes" | "x for reconsumeTimes") => 1,
        (17, "without topicFilterType") => 0,
        // Apache fails at lists that are missing: there is nothing to do.
        (18 | 42 | 225 | 400, _) if an_empty_object => 0,
        (345, "without topic") => 0,
        // Apache takes no name for a name.
        (34 | 41, _) if an_empty_object => 29,
        (401, _) if an_empty_object => 17,
        (324, "without topic") | (325, "without b") => 1,
        (314, "without destGroup") | (353, "without topic") => 1,
        (314, "blank destGroup") => 26,
        (353, "blank topic") => 17,
        (200_053, "without consumerGroup" | "blank consumerGroup") => 26,
        // Apache says that it has made what nobody has described.
        (200, "no fields" | "no body") => 1,
        // A batch that cannot be read: a client that is told so does not send it again.
        (320, _) if BODIES.contains(&lack) => response_code::MESSAGE_ILLEGAL,
        // Settings that nobody knows, or that do not change at run time; names that are none.
        (25, "as it is") => 29,
        (25 | 2001, _) if BODIES.contains(&lack) => 29,
        // Concerns replicas, and is not even read.
        (1008, _) if BODIES.contains(&lack) => 0,
        _ => return None,
    })
}

#[tokio::test]
async fn what_is_lacking_is_answered_as_by_apache() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    prepare(&fixture).await;
    let mut differences = Vec::new();
    for line in include_str!("../golden/lacking.jsonl").lines() {
        let recorded: Recorded = serde_json::from_str(line).unwrap();
        for (lack, theirs) in &recorded.answers {
            // Who has said something about himself is gone before the next one asks.
            let ours = ask(&fixture.connect(), recorded.request(lack)).await;
            let decided = decided(recorded.code, lack);
            assert_ne!(decided, Some(*theirs), "{} {lack} is no difference", recorded.code);
            if ours.code != decided.unwrap_or(*theirs) {
                let (code, remark) = (recorded.code, &ours.remark);
                differences.push(format!("{code} {lack}: {theirs}, {} {remark:?}", ours.code));
            }
            let is_mute = ours.code == response_code::SYSTEM_ERROR && ours.remark().is_empty();
            assert!(!is_mute, "{} {lack}: a failure says why", recorded.code);
        }
    }
    assert_eq!(differences, Vec::<String>::new());
    fixture.stop().await;
}

/// What the recorded broker had: a topic with messages, groups, and some that go.
async fn prepare(fixture: &Fixture) {
    for topic in ["Ops", "GoneT"] {
        let mut create = RemotingCommand::request(17);
        for (name, value) in [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
        ] {
            create.fields.push(name, value);
        }
        assert_eq!(fixture.ask(create).await.code, response_code::SUCCESS);
    }
    for group in ["OpsGroup", "GoneG", "Other"] {
        let body = format!(r#"{{"groupName":"{group}"}}"#);
        let create = RemotingCommand::request(200).with_body(Bytes::from(body));
        assert_eq!(fixture.ask(create).await.code, response_code::SUCCESS);
    }
    for _ in 0..3 {
        let sent = fixture.ask(header("Ops", "").to_command(Bytes::from_static(b"m"))).await;
        assert_eq!(sent.code, response_code::SUCCESS);
    }
}
