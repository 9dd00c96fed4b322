//! What a popped and acknowledged message costs, beside a pulled one: the difference is what check
//! points and acks cost, and so the most that it could save to keep them in memory for a while.

#![expect(clippy::unwrap_used, reason = "a bench that panics has failed")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]
#![expect(clippy::print_stdout, reason = "this is what a bench is for")]

mod bed;

use std::time::{Duration, Instant};

use bytes::Bytes;
use rmq_message::sys_flag;
use rmq_remoting::protocol::pop::{AckMessage, BatchAck, BatchAckMessage, PopMessage, PopResponse};
use rmq_remoting::protocol::pull::PullMessage;
use rmq_remoting::{RemotingCommand, TypedRequest};
use rmq_store::FlushDiskType;

use bed::Bed;

const MESSAGES: i64 = 96_000;
const BATCH: i64 = 32;
const TOPIC: &str = "Popped";

/// How what was popped is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acks {
    None,
    OneByOne,
    Together,
}

fn pull(offset: i64) -> RemotingCommand {
    let pull = PullMessage {
        consumer_group: "pull",
        topic: TOPIC,
        queue_offset: offset,
        max_msg_nums: 32,
        sys_flag: sys_flag::pull::SUBSCRIPTION,
        subscription: Some("*"),
        expression_type: Some("TAG"),
        ..PullMessage::default()
    };
    pull.to_command()
}

async fn pulled(bed: &Bed) -> Duration {
    let start = Instant::now();
    for step in 0..MESSAGES / BATCH {
        assert_eq!(bed.ask(pull(step * BATCH)).await.code, 0);
    }
    start.elapsed()
}

async fn popped(bed: &Bed, group: &str, acks: Acks) -> Duration {
    let pop = PopMessage {
        consumer_group: group.into(),
        topic: TOPIC.into(),
        queue_id: 0,
        max_msg_nums: 32,
        invisible_time: 600_000,
        poll_time: 0,
        born_time: 0,
        init_mode: 0,
        expression_type: None,
        expression: None,
        order: None,
        attempt_id: None,
    };
    let start = Instant::now();
    let mut at = 0;
    while at < MESSAGES {
        let answer = bed.ask(pop.to_command()).await;
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
        let PopResponse { pop_time, revive_queue_id, .. } = answer.payload().unwrap();
        match acks {
            Acks::None => {}
            Acks::OneByOne => {
                for offset in at..at + BATCH {
                    let ack = AckMessage {
                        consumer_group: group.into(),
                        topic: TOPIC.into(),
                        queue_id: 0,
                        extra_info: format!(
                            "{at} {pop_time} 600000 {revive_queue_id} 0 DEFAULT_BROKER 0 {offset}"
                        )
                        .into(),
                        offset,
                    };
                    assert_eq!(bed.ask(ack.to_command()).await.code, 0);
                }
            }
            Acks::Together => {
                let ack = BatchAck {
                    bits: "/////w==".into(),
                    consumer_group: group.into(),
                    invisible_time: 600_000,
                    pop_time,
                    queue_id: 0,
                    retry: "0".into(),
                    revive_queue_id,
                    start_offset: at,
                    topic: TOPIC.into(),
                };
                let acks =
                    BatchAckMessage { acks: vec![ack], broker_name: "DEFAULT_BROKER".into() };
                assert_eq!(bed.ask(acks.to_command()).await.code, 0);
            }
        }
        at += BATCH;
    }
    start.elapsed()
}

fn say(what: &str, took: Duration) {
    let rate = f64::from(u32::try_from(MESSAGES).unwrap()) / took.as_secs_f64();
    println!("  {what:<32}{:>10.0} messages/s", rate);
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for flush in [FlushDiskType::Async, FlushDiskType::Sync] {
            println!("{flush:?}");
            let bed = Bed::make(flush);
            // A sync for each send would take minutes.
            for _ in 0..MESSAGES {
                bed.send(TOPIC, 0, Bytes::from_static(&[b'x'; 256]), "WAIT\u{1}false\u{2}").await;
            }
            say("pulled", pulled(&bed).await);
            say("popped", popped(&bed, "taken", Acks::None).await);
            say("popped, acknowledged together", popped(&bed, "batches", Acks::Together).await);
            if flush == FlushDiskType::Async {
                say(
                    "popped, acknowledged one by one",
                    popped(&bed, "single", Acks::OneByOne).await,
                );
            }
            bed.clear().await;
        }
    });
}
