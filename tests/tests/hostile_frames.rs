//! Whatever bytes come, a broker closes that connection, or answers with an error, and serves others
//! (HI-01, HI-03 to HI-05).

use anyhow::{Context as _, Result, ensure};
use rmq_remoting::request_code;
use rmq_tests::target::{TOPIC, Target, noise};
use rmq_tests::wire::{frame, header};

/// A request that is as it should be.
fn good() -> Vec<u8> {
    let fields = [("topic", TOPIC.to_owned()), ("queueId", "0".to_owned())];
    frame(&header(request_code::GET_MAX_OFFSET, 1, &fields), b"")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_frames_end_their_own_connection_only() -> Result<()> {
    let mut target = Target::start().await?;
    for len in [1, 3, 4, 5, 8, 100, 4096, 70_000] {
        target.throw(&noise(len)).await.with_context(|| format!("{len} bytes of noise"))?;
    }
    target.throw(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n").await.context("HTTP")?;
    target.throw(&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]).await.context("TLS")?;
    target.still_serves().await?;

    // Cut anywhere, the request is not served; whole, it is.
    let good = good();
    for cut in 0..good.len() {
        let answers = target.throw(&good[..cut]).await.with_context(|| format!("cut at {cut}"))?;
        ensure!(answers.is_empty(), "cut at {cut}, yet answered with {answers:?}");
    }
    ensure!(target.throw(&good).await?.len() == 1, "the whole request has no answer");
    target.still_serves().await?;
    target.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lying_lengths_are_closed_at_once_and_cost_no_memory() -> Result<()> {
    let mut target = Target::start().await?;
    let before = target.cluster.broker_memory(0)?;
    let head = |frame: u32, header: u32| [frame.to_be_bytes(), header.to_be_bytes()].concat();
    let mut open = Vec::new();
    for (what, bytes) in [
        ("2 GiB", head(0x7FFF_FFFF, 100)),
        ("negative frame", head(0x8000_0000, 100)),
        ("header longer than the frame", head(20, 0x00FF_FFFF)),
        ("negative header", head(100, 0xFFFF_FFFF)),
        ("unknown encoding", head(100, 0x0900_0010)),
        ("frame shorter than its own header length", head(2, 0)),
        ("empty frame", head(0, 0)),
    ] {
        // Nothing follows, and the connection stays open: the broker is to close it by itself.
        let mut wire = target.dial().await?;
        wire.write(&bytes).await;
        wire.write(&[0; 128]).await;
        let answers = wire.read_to_end().await.context(what)?;
        ensure!(answers.iter().all(|answer| answer.code() != 0), "{what}: {answers:?}");
    }
    // The largest frame that may come is announced by many, and none of them sends it.
    for _ in 0..100 {
        let mut wire = target.dial().await?;
        wire.write(&head(15 << 20, 100)).await;
        wire.write(&[b' '; 64]).await;
        open.push(wire);
    }
    target.still_serves().await?;
    let grown = target.cluster.broker_memory(0)?.saturating_sub(before);
    ensure!(grown < 200 << 20, "announcements cost {} MiB", grown >> 20);
    drop(open);
    target.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_headers_are_refused() -> Result<()> {
    let mut target = Target::start().await?;
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let code = request_code::GET_MAX_OFFSET;
    let headers: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("null", b"null".to_vec()),
        ("array", b"[]".to_vec()),
        ("text", b"\"code\"".to_vec()),
        ("no code", b"{}".to_vec()),
        ("code of text", br#"{"code":"x"}"#.to_vec()),
        ("huge code", br#"{"code":99999999999999999999999999,"opaque":1}"#.to_vec()),
        ("fractional code", br#"{"code":1e400}"#.to_vec()),
        ("fields of numbers", format!(r#"{{"code":{code},"extFields":{{"topic":1}}}}"#).into()),
        ("fields of objects", format!(r#"{{"code":{code},"extFields":{{"topic":{{}}}}}}"#).into()),
        ("fields are an array", format!(r#"{{"code":{code},"extFields":[1,2]}}"#).into()),
        ("not UTF-8", b"{\"code\":30,\"remark\":\"\xFF\xFE\"}".to_vec()),
        ("lone surrogate", br#"{"code":30,"remark":"\uD800"}"#.to_vec()),
        ("deep arrays", deep("[", "]").into()),
        ("deep objects", deep(r#"{"a":"#, "}").into()),
        ("deep fields", format!(r#"{{"code":30,"extFields":{}}}"#, deep("[", "]")).into()),
        ("cut", br#"{"code":30,"extFields":{"topic":"#.to_vec()),
        ("many fields", {
            let fields: Vec<String> = (0..100_000).map(|i| format!(r#""f{i}":"v""#)).collect();
            format!(r#"{{"code":{code},"extFields":{{{}}}}}"#, fields.join(",")).into()
        }),
        ("one field many times", {
            let fields = vec![r#""topic":"v""#; 200_000].join(",");
            format!(r#"{{"code":{code},"extFields":{{{fields}}}}}"#).into()
        }),
    ];
    for (what, header) in &headers {
        let answers =
            target.throw(&frame(header, b"")).await.with_context(|| (*what).to_owned())?;
        ensure!(answers.iter().all(|answer| answer.code() != 0), "{what}: {answers:?}");
    }
    target.still_serves().await?;

    // Binary headers: code 2, language 1, version 2, opaque 4, flag 4, remark 4 + n, fields 4 + n.
    let binary = |tail: &[u8]| {
        let mut header = vec![0, 30, 0, 1, 201, 0, 0, 0, 7, 0, 0, 0, 0];
        header.extend_from_slice(tail);
        let mut bytes = frame(&header, b"");
        bytes[4] = 1;
        bytes
    };
    let fields = |bytes: &[u8]| {
        let mut tail = vec![0; 4];
        tail.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        tail.extend(bytes);
        tail
    };
    for (what, tail) in [
        ("nothing", vec![]),
        ("negative remark", vec![0xFF, 0xFF, 0xFF, 0xFF]),
        ("remark beyond the header", vec![0, 0, 0xFF, 0xFF, 1]),
        ("negative fields", vec![0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("fields beyond the header", vec![0, 0, 0, 0, 0, 0xFF, 0, 0, 1]),
        ("name beyond the fields", fields(&[0xFF, 0xFF, 1])),
        ("value beyond the fields", fields(&[0, 1, b'a', 0x7F, 0xFF, 0xFF, 0xFF, 1])),
        ("negative value", fields(&[0, 1, b'a', 0xFF, 0xFF, 0xFF, 0xFF])),
        ("names that are not UTF-8", fields(&[0, 1, 0xFF, 0, 0, 0, 1, 0xFE])),
        ("a million empty fields", fields(&vec![0; 6_000_000])),
    ] {
        let answers = target.throw(&binary(&tail)).await;
        // A binary request is answered in binary, which our reader refuses; so only the end counts.
        if let Err(error) = answers {
            ensure!(error.to_string().contains("JSON"), "{what}: {error:#}");
        }
    }
    target.stop().await
}
