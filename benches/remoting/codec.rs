//! What a frame costs to read and to write.

#![expect(clippy::unwrap_used, reason = "a bench that panics has failed")]
#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rmq_remoting::frame::{self, FrameLimits};
use rmq_remoting::protocol::pull::{PullMessage, PullResponse};
use rmq_remoting::protocol::send::{SendMessage, SendResponse};
use rmq_remoting::{HeaderEncoding, RemotingCommand, Response, request_code};

const PROPERTIES: &str = "KEYS\u{1}order-1234567\u{2}UNIQ_KEY\u{1}FD0000000000000000000000000000024\
    6E25FFD2B2769C116FD0000\u{2}WAIT\u{1}true\u{2}TAGS\u{1}tagA\u{2}";

fn send() -> RemotingCommand {
    let header = SendMessage {
        producer_group: "bench-producer",
        topic: "bench-topic",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 1,
        born_timestamp: 1_795_265_462_015,
        properties: PROPERTIES,
        broker_name: Some("broker-a"),
        ..SendMessage::default()
    };
    header.to_command(Bytes::from(vec![b'x'; 1024]))
}

fn pull() -> RemotingCommand {
    let header = PullMessage {
        consumer_group: "bench-consumer",
        topic: "bench-topic",
        queue_id: 1,
        queue_offset: 123_456_789,
        max_msg_nums: 32,
        sys_flag: 2,
        suspend_timeout_millis: 15_000,
        sub_version: 1_795_265_464_058,
        expression_type: Some("TAG"),
        max_msg_bytes: Some(262_144),
        broker_name: Some("broker-a"),
        ..PullMessage::default()
    };
    header.to_command()
}

fn frame_of(command: &RemotingCommand, encoding: HeaderEncoding) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode_whole(&RemotingCommand { encoding, ..command.clone() }, &mut out).unwrap();
    out
}

/// Reads many equal frames out of one buffer, as a connection does; reports the cost of one.
fn decode(
    bencher: &mut criterion::Bencher<'_>,
    one: &[u8],
    mut read: impl FnMut(&RemotingCommand),
) {
    let stream = one.repeat(64);
    let mut input = BytesMut::with_capacity(stream.len());
    bencher.iter_custom(|iterations| {
        let start = std::time::Instant::now();
        for _ in 0..iterations.div_ceil(64) {
            input.extend_from_slice(&stream);
            while let Some(command) = frame::decode(&mut input, &FrameLimits::SERVER).unwrap() {
                read(black_box(&command));
            }
        }
        start.elapsed()
    });
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    for (name, encoding) in [("json", HeaderEncoding::Json), ("binary", HeaderEncoding::Binary)] {
        let (send, pull) = (frame_of(&send(), encoding), frame_of(&pull(), encoding));
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("send/{name}"), |b| decode(b, &send, |_| ()));
        group.bench_function(format!("send to typed header/{name}"), |b| {
            decode(b, &send, |command| {
                black_box(SendMessage::from_fields(&command.fields).unwrap());
            });
        });
        group.bench_function(format!("pull to typed header/{name}"), |b| {
            decode(b, &pull, |command| {
                black_box(PullMessage::from_fields(&command.fields).unwrap());
            });
        });
    }
    let unusual = frame_of(&send(), HeaderEncoding::Json);
    let text =
        String::from_utf8(unusual[8..].to_vec()).unwrap().replace("\"code\":310", "\"code\":'1'");
    let unusual = [&unusual[..8], text.as_bytes()].concat();
    group.bench_function("send/unusual json", |b| decode(b, &unusual, |_| ()));
    group.finish();
}

fn writing(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    let sent = SendResponse {
        msg_id: "7F000002000055970000000000000000".into(),
        queue_id: 1,
        queue_offset: 123_456,
        transaction_id: Some("FD00000000000000000000000000000246E25FFD2B2769C116FD0000".into()),
        batch_uniq_id: None,
        recall_handle: None,
        region: Some("DefaultRegion".into()),
        trace_on: Some(true),
    };
    let pulled = PullResponse {
        suggest_which_broker_id: 0,
        next_begin_offset: 123_456_821,
        min_offset: 0,
        max_offset: 123_456_900,
        offset_delta: None,
        topic_sys_flag: Some(0),
        group_sys_flag: Some(0),
        forbidden_type: None,
    };
    let mut out = Vec::with_capacity(1 << 20);
    for (name, encoding) in [("json", HeaderEncoding::Json), ("binary", HeaderEncoding::Binary)] {
        group.bench_function(format!("send request/{name}"), |b| {
            let command = RemotingCommand { encoding, ..send() };
            b.iter(|| {
                out.clear();
                frame::encode_whole(black_box(&command), &mut out).unwrap();
            });
        });
        group.bench_function(format!("send answer/{name}"), |b| {
            let response = Response::of(&sent);
            b.iter(|| {
                out.clear();
                frame::encode_response(black_box(&response), 7, encoding, &mut out).unwrap();
            });
        });
    }
    group.bench_function("send answer with its fields/json", |b| {
        b.iter(|| {
            out.clear();
            let response = Response::of(black_box(&sent));
            frame::encode_response(&response, 7, HeaderEncoding::Json, &mut out).unwrap();
        });
    });
    group.bench_function("pull answer with its fields/json", |b| {
        b.iter(|| {
            out.clear();
            let response = Response::of(black_box(&pulled)).with_remark("FOUND");
            frame::encode_response(&response, 7, HeaderEncoding::Json, &mut out).unwrap();
        });
    });
    group.finish();
}

fn splitting(c: &mut Criterion) {
    let mut group = c.benchmark_group("split");
    let one = frame_of(&RemotingCommand::request(request_code::HEART_BEAT), HeaderEncoding::Binary);
    group.bench_function("smallest frame", |b| decode(b, &one, |_| ()));
    group.finish();
}

criterion_group!(benches, reading, writing, splitting);
criterion_main!(benches);
