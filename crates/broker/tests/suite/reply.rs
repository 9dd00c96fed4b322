//! Replies of request-reply exchanges.

use bytes::Bytes;
use rmq_remoting::protocol::heartbeat::{Heartbeat, ProducerGroup};
use rmq_remoting::protocol::send::{PushReply, SendMessage, SendResponse};
use rmq_remoting::{RemotingCommand, request_code, response_code};

use crate::fixture::{Fixture, bodies, config, header, payload, soon};
use crate::remote::remotes;

const TOPIC: &str = "DefaultCluster_REPLY_TOPIC";

fn reply(code: i32, properties: &str) -> RemotingCommand {
    let header = SendMessage { flag: 7, ..header(TOPIC, properties) };
    let mut command = header.to_command(Bytes::from_static(b"pong"));
    command.code = code;
    command
}

#[tokio::test]
async fn a_reply_is_brought_to_the_client_that_asked_and_a_copy_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    let [mut asker] = remotes(&fixture).await;
    let producer_data_set = vec![ProducerGroup { group_name: "GA".into() }];
    let client_id = "c@asker".into();
    asker.call(&Heartbeat { client_id, producer_data_set, ..Heartbeat::default() }).await;
    let properties = "REPLY_TO_CLIENT\u{1}c@asker\u{2}CORRELATION_ID\u{1}id\u{2}";
    for code in [request_code::SEND_REPLY_MESSAGE, request_code::SEND_REPLY_MESSAGE_V2] {
        let answer = fixture.ask(reply(code, properties)).await;
        assert_eq!(answer.code, response_code::SUCCESS, "{:?}", answer.remark);
        let sent: SendResponse = payload(&answer);
        assert!(sent.msg_id.starts_with("7F000002"), "{}", sent.msg_id);
        let pushed = soon(asker.heard.recv()).await.unwrap();
        assert_eq!(pushed.code, request_code::PUSH_REPLY_MESSAGE_TO_CLIENT);
        let (header, body) = pushed.payload::<(PushReply, Bytes)>().unwrap();
        assert_eq!((&*header.topic, header.flag, &body[..]), (TOPIC, 7, &b"pong"[..]));
        let properties = rmq_message::Properties::parse(&header.properties.unwrap());
        assert_eq!(properties.get("CORRELATION_ID"), Some("id"));
        assert!(properties.get("PUSH_REPLY_TIME").is_some());
        assert_eq!(header.store_host, "127.0.0.2:21911");
    }
    assert_eq!(bodies(&fixture.pull(TOPIC, 0, 0).await), ["pong", "pong"]);
    fixture.stop().await;
}

#[tokio::test]
async fn a_reply_to_nobody_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::start(config(dir.path()));
    for (properties, text) in [
        ("REPLY_TO_CLIENT\u{1}gone\u{2}", "channel of <gone> not found"),
        ("A\u{1}b\u{2}", "reply message properties[REPLY_TO_CLIENT] is null"),
    ] {
        let refused = fixture.ask(reply(request_code::SEND_REPLY_MESSAGE_V2, properties)).await;
        assert_eq!(refused.code, response_code::SYSTEM_ERROR);
        assert!(refused.remark.as_deref().unwrap().contains(text), "{:?}", refused.remark);
    }
    fixture.stop().await;
}
