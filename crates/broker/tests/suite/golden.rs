//! Recorded requests get the recorded answers.

use rmq_remoting::RemotingCommand;
use rmq_remoting::protocol::group::SubscriptionGroupConfig;
use rmq_remoting::protocol::topic::CreateTopic;

use crate::fixture::{Fixture, config, recorded};

/// Where Apache answers with the trace of an exception: only the code is the same.
const TRACES: [&str; 3] = ["ack-bad-handle", "handler-exception", "send-empty-body"];

const ERRORS: [&str; 55] = [
    "ack-bad-handle",
    "ack-bad-queue",
    "ack-no-message",
    "batch-ack-empty",
    "config-black-list",
    "consumer-connection-none",
    "consumer-list-none",
    "create-topic-bad-attribute",
    "create-topic-bad-name",
    "create-topic-bad-perm",
    "create-topic-mixed",
    "create-topic-system",
    "delete-system-topic",
    "group-config-none",
    "handler-exception",
    "offset-none",
    "offset-none-setzero",
    "offset-update-no-group",
    "offset-update-no-topic",
    "pop-bad-expression",
    "pop-late",
    "pop-no-topic",
    "pop-queue-out-of-range",
    "pop-too-many",
    "producer-connection-none",
    "pull-bad-group",
    "pull-empty-queue",
    "pull-empty-queue-offset",
    "pull-no-topic",
    "pull-none-matched",
    "pull-not-registered",
    "pull-offset-too-large",
    "pull-overflow-one",
    "pull-queue-out-of-range",
    "query-none",
    "reset-no-group",
    "reset-no-topic",
    "running-info-none",
    "send-back-no-group",
    "send-back-no-message",
    "send-bad-name",
    "send-batch-retry",
    "send-empty-body",
    "send-name-too-long",
    "send-no-topic",
    "send-not-allowed",
    "send-properties-too-long",
    "send-queue-out-of-range",
    "send-retry-no-group",
    "stats-none",
    "topic-config-none",
    "topic-stats-none",
    "unknown-code-broker",
    "view-garbage",
    "view-none",
];

/// A broker with what the recording one had: `JPlain` with seven messages in queue 0, `JCID`.
async fn like_the_recorded(dir: &tempfile::TempDir) -> Fixture {
    let fixture = Fixture::start(config(dir.path()));
    for (topic, queues) in [("JPlain", 2), ("VOne", 2), ("JOrder", 2), ("YPop", 1)] {
        let create = CreateTopic {
            topic: topic.into(),
            default_topic: "TBW102".into(),
            read_queue_nums: queues,
            write_queue_nums: queues,
            perm: 6,
            topic_filter_type: "SINGLE_TAG".into(),
            topic_sys_flag: None,
            order: false,
            attributes: None,
            force: None,
        };
        fixture.call(&create).await;
    }
    for number in 0..7 {
        fixture.send("JPlain", &format!("{number}"), "TAGS\u{1}tagA\u{2}").await;
    }
    for number in 0..6 {
        fixture.send("YPop", &format!("{number}"), "").await;
    }
    let group =
        SubscriptionGroupConfig { group_name: "JCID".into(), ..SubscriptionGroupConfig::default() };
    fixture.call(&group).await;
    fixture
}

/// Ports of the recording machine's clients are others than ours.
fn without_ports(remark: &str) -> String {
    let mut parts = remark.split("127.0.0.1:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + "127.0.0.1:" + part.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

fn fields(answer: &RemotingCommand) -> Vec<(String, String)> {
    let mut fields: Vec<_> =
        answer.fields.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    fields.sort();
    fields
}

#[tokio::test]
async fn refusals_have_the_codes_and_texts_of_apache() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = like_the_recorded(&dir).await;
    for name in ERRORS {
        let mut request = recorded(&format!("errors/{name}.req.bin"));
        if name.starts_with("pop-") && name != "pop-late" {
            request.fields.set("bornTime", "0");
        }
        let theirs = recorded(&format!("errors/{name}.res.bin"));
        let ours = fixture.ask(request).await;
        assert_eq!(ours.code, theirs.code, "{name}: {:?}", ours.remark);
        if TRACES.contains(&name) {
            continue;
        }
        assert_eq!(without_ports(ours.remark()), without_ports(theirs.remark()), "{name}");
        assert_eq!(fields(&ours), fields(&theirs), "{name}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn requests_of_apaches_client_get_the_recorded_kind_of_answer() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = like_the_recorded(&dir).await;
    for name in [
        "000010-send-message",
        "000017-update-and-create-topic.attributes",
        "000017-update-and-create-topic.attributes-code1",
        "000030-get-max-offset",
        "000031-get-min-offset",
        "000034-heart-beat.consumer",
        "000034-heart-beat.v2-consumer",
        "000035-unregister-client.consumer",
        "000041-lock-batch-mq",
        "000042-unlock-batch-mq",
        "000200-update-and-create-subscriptiongroup",
        "000310-send-message-v2",
        "000310-send-message-v2.compressed",
        "000310-send-message-v2.delaylevel",
        "000320-send-batch-message",
    ] {
        let theirs = recorded(&format!("json/{name}.res.bin"));
        let ours = fixture.ask(recorded(&format!("json/{name}.req.bin"))).await;
        assert_eq!(ours.code, theirs.code, "{name}: {:?}", ours.remark);
        assert_eq!(ours.remark(), theirs.remark(), "{name}");
        let names = |answer| fields(answer).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs), "{name}");
        for field in ["transactionId", "TRACE_ON", "MSG_REGION", "IS_SUB_CHANGE", "queueId"] {
            assert_eq!(ours.field(field), theirs.field(field), "{name}: {field}");
        }
        assert_eq!(ours.body, theirs.body, "{name}");
    }
    fixture.stop().await;
}
