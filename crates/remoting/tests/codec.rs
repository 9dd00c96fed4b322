//! The codec against anything: what is written is read again, at whatever byte it is cut, and no
//! bytes make it panic or allocate by what they claim.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rmq_remoting::frame::{self, FrameError, FrameLimits};
use rmq_remoting::{Fields, HeaderEncoding, Language, RemotingCommand};

fn decode(bytes: &[u8]) -> Result<Option<RemotingCommand>, FrameError> {
    frame::decode(&mut BytesMut::from(bytes), &FrameLimits::SERVER)
}

fn encode(command: &RemotingCommand) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode_whole(command, &mut out).unwrap();
    out
}

/// A frame of this header text and body.
fn json_frame(header: &str, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(4 + header.len() + body.len()).unwrap();
    let header_len = u32::try_from(header.len()).unwrap();
    [&len.to_be_bytes()[..], &header_len.to_be_bytes(), header.as_bytes(), body].concat()
}

fn command() -> impl Strategy<Value = RemotingCommand> {
    // Binary headers have no empty names and values.
    let text = prop_oneof![".{1,20}", "[a-zA-Z0-9]{1,40}", r#"[\x01\x02"\\/ü𝄞]{1,12}"#];
    let fields = prop::collection::vec((text.clone(), text.clone()), 0..20);
    (
        any::<i16>(),
        any::<i32>(),
        0..4,
        prop::option::of(text),
        fields,
        prop::collection::vec(any::<u8>(), 0..200),
        any::<bool>(),
    )
        .prop_map(|(code, opaque, flag, remark, fields, body, json)| RemotingCommand {
            code: i32::from(code),
            language: Language::Go,
            version: 317,
            opaque,
            flag,
            remark: remark.map(Into::into),
            fields: fields.iter().map(|(name, value)| (&name[..], &value[..])).collect(),
            body: Bytes::from(body),
            encoding: if json { HeaderEncoding::Json } else { HeaderEncoding::Binary },
        })
}

fn assert_same(left: &RemotingCommand, right: &RemotingCommand) {
    assert_eq!(left.fields, right.fields);
    assert_eq!((&left.remark, &left.body), (&right.remark, &right.body));
    assert_eq!((left.code, left.opaque, left.flag), (right.code, right.opaque, right.flag));
    assert_eq!(left.encoding, right.encoding);
    assert_eq!((left.language, left.version), (right.language, right.version));
}

proptest! {
    #[test]
    fn written_command_is_read_again(command in command()) {
        assert_same(&decode(&encode(&command)).unwrap().unwrap(), &command);
    }

    #[test]
    fn frames_are_found_wherever_the_stream_is_cut(
        commands in prop::collection::vec(command(), 1..4),
        step in 1_usize..50,
    ) {
        let stream = commands.iter().flat_map(encode).collect::<Vec<u8>>();
        let (mut input, mut read) = (BytesMut::new(), Vec::new());
        for part in stream.chunks(step) {
            input.extend_from_slice(part);
            while let Some(command) = frame::decode(&mut input, &FrameLimits::SERVER).unwrap() {
                read.push(command);
            }
        }
        prop_assert!(input.is_empty());
        prop_assert_eq!(read.len(), commands.len());
        for (read, sent) in read.iter().zip(&commands) {
            assert_same(read, sent);
        }
    }

    #[test]
    fn no_prefix_of_a_frame_is_a_frame(command in command()) {
        let bytes = encode(&command);
        for end in 0..bytes.len() {
            prop_assert!(matches!(decode(&bytes[..end]), Ok(None)), "cut at {}", end);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_but_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        kind in 0_u8..2,
    ) {
        let len = u32::try_from(bytes.len() + 4).unwrap().to_be_bytes();
        for header in [bytes.len() / 2, bytes.len()] {
            let header = u32::try_from(header).unwrap().to_be_bytes();
            let frame = [&len[..], &[kind], &header[1..], &bytes].concat();
            drop(decode(&frame));
        }
        drop(decode(&bytes));
    }

    #[test]
    fn changed_frames_never_panic(command in command(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encode(&command);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        drop(decode(&bytes));
    }

    #[test]
    fn any_text_is_read_as_a_body_or_refused(text in r#"[\[\]{}:,"'0-9a\\$ref.u/* \n-]{0,60}"#) {
        drop(rmq_remoting::json::from_slice::<serde_json::Value>(text.as_bytes()));
    }
}

/// HI-01, HI-03.
#[test]
fn lengths_that_lie_are_seen_before_anything_comes() {
    let refused = |bytes: &[u8]| decode(bytes).unwrap_err();
    assert!(matches!(refused(&[0x7f, 0xff, 0xff, 0xff]), FrameError::TooLong { .. }));
    assert!(matches!(refused(&[0xff, 0xff, 0xff, 0xff]), FrameError::TooLong { .. }));
    // One byte beyond 16 MiB, and just not.
    assert!(matches!(refused(&16_777_213_u32.to_be_bytes()), FrameError::TooLong { .. }));
    assert!(matches!(decode(&16_777_212_u32.to_be_bytes()), Ok(None)));
    let beyond = [0, 0, 0, 10, 0, 0, 0, 7];
    assert!(matches!(refused(&beyond), FrameError::HeaderBeyondFrame { header: 7, len: 10 }));
    let no_room_for_a_header = [0, 0, 0, 3, 0, 0, 0, 0];
    assert!(matches!(refused(&no_room_for_a_header), FrameError::HeaderBeyondFrame { .. }));
    let long = [0, 2, 0, 0, 0, 1, 0, 1];
    assert!(matches!(refused(&long), FrameError::HeaderTooLong { header: 65_537, .. }));
    let unknown = [0, 0, 0, 10, 2, 0, 0, 1];
    assert!(matches!(refused(&unknown), FrameError::UnknownEncoding { byte: 2 }));
    assert!(matches!(refused(&[0x16, 3, 1]), FrameError::Tls));
}

/// HI-04.
#[test]
fn binary_header_with_lying_lengths_is_refused() {
    let fixed = [0, 10, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    let header = |rest: &[u8]| {
        let header = [&fixed[..], rest].concat();
        let len = u32::try_from(header.len() + 4).unwrap().to_be_bytes();
        let header_len = (u32::try_from(header.len()).unwrap() | 1 << 24).to_be_bytes();
        decode(&[&len[..], &header_len, &header].concat())
    };
    let no_remark = [0, 0, 0, 0];
    let fields = |bytes: &[u8]| {
        let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        header(&[&no_remark[..], &len, bytes].concat())
    };
    assert!(fields(&[]).unwrap().unwrap().fields.is_empty());
    assert!(header(&[0xff, 0xff, 0xff, 0xff]).is_err(), "negative remark");
    assert!(header(&[0, 0, 0, 9]).is_err(), "remark beyond the header");
    assert!(header(&[0, 0, 0, 0, 0, 0, 0, 9]).is_err(), "fields beyond the header");
    assert!(header(&[0, 0, 0, 0, 0xff, 0, 0, 0]).is_err(), "negative fields");
    assert!(fields(&[0xff, 0xff]).is_err(), "negative name");
    assert!(fields(&[0, 1, b'a', 0xff, 0xff, 0xff, 0xff]).is_err(), "negative value");
    assert!(fields(&[0, 1, b'a', 0, 0, 0, 2, b'b']).is_err(), "value beyond the fields");
    assert!(fields(&[0, 1, 0xff, 0, 0, 0, 1, b'b']).is_err(), "no UTF-8");
    assert!(matches!(fields(&[0; 6 * 257]), Err(FrameError::TooManyFields { max: 256 })));
    let empty = fields(&[0; 6 * 256]).unwrap().unwrap();
    assert!(empty.fields.is_empty(), "empty names and values count as absent");
}

/// HI-05.
#[test]
fn json_header_that_is_deep_or_wide_is_refused() {
    let deep = format!("{{\"x\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    assert!(decode(&json_frame(&deep, b"")).is_err());
    let just = format!("{{\"x\":{}1{},\"code\":5}}", "[".repeat(31), "]".repeat(31));
    assert_eq!(decode(&json_frame(&just, b"")).unwrap().unwrap().code, 5);
    let members: Vec<String> = (0..257).map(|n| format!("\"{n}\":\"v\"")).collect();
    let wide = format!("{{\"code\":1,\"extFields\":{{{}}}}}", members.join(","));
    assert!(matches!(decode(&json_frame(&wide, b"")), Err(FrameError::TooManyFields { .. })));
    let unusual = wide.replace("\"code\":1", "\"code\":\"1\"");
    assert!(matches!(decode(&json_frame(&unusual, b"")), Err(FrameError::TooManyFields { .. })));
    let huge = format!("{{\"code\":{}}}", "9".repeat(1000));
    assert!(decode(&json_frame(&huge, b"")).is_err());
}

/// What other peers may write, and Java takes.
#[test]
fn unusual_headers_are_read() {
    let read = |header: &str| {
        decode(&json_frame(header, b""))
            .unwrap_or_else(|error| panic!("{header}: {error}"))
            .unwrap()
    };
    for header in [
        r#"{"code":"105","extFields":{"topic":"T","n":"5","b":"true"},"flag":0,"opaque":9}"#,
        r#"{"code":105,"extFields":{"topic":"T","n":5,"b":true},"flag":"0","opaque":"9","language":9}"#,
        r#"{"code":105,"extFields":{"topic":"T","n":5,"b":true,"gone":null},"opaque":9,"language":"COBOL"}"#,
        r#"{"code":105,"extFields":{"topic":"T","n":"5","b":"true"},"opaque":9,"language":99,"x":{"y":[1]}}"#,
        r#"{"serializeTypeCurrentRPC":0,"code":105,"extFields":{'topic':'T',"n":5,"b":true,},"opaque":9}"#,
        " {\t\"code\" : 105 , \"extFields\" : { \"topic\" : \"T\" , \"n\" : \"5\" , \"b\" : \"true\" } ,\n \"opaque\" : 9 } ",
        r#"{"\u0063ode":105,/* why not */"extFields":{"\u0074opic":"\u0054","n":"5","b":"true"},"opaque":9}"#,
    ] {
        let command = read(header);
        assert_eq!((command.code, command.opaque, command.flag), (105, 9, 0), "{header}");
        let fields = ["topic", "n", "b", "gone"].map(|name| command.field(name));
        assert_eq!(fields, [Some("T"), Some("5"), Some("true"), None], "{header}");
    }
    assert_eq!(read(r#"{"code":1,"language":9}"#).language, Language::Go);
    assert_eq!(read(r#"{"code":1,"language":"X"}"#).language, Language::Unknown);
    assert_eq!(
        read(r#"{"code":1,"extFields":{"o":{"a":[1,"b"]}}}"#).field("o"),
        Some(r#"{"a":[1,"b"]}"#)
    );
    assert_eq!(read(r#"{"code":1,"remark":null,"extFields":null}"#).remark, None);
    assert_eq!(read(r#"{"code":1,"remark":""}"#).remark.as_deref(), Some(""));
    let raw_control = "{\"code\":1,\"extFields\":{\"i\":\"A\u{1}b\u{2}\"}}";
    assert_eq!(read(raw_control).field("i"), Some("A\u{1}b\u{2}"));
    let escapes =
        read(r#"{"code":1,"extFields":{"i":"\u0001\"\\\/\b\f\n\r\t\u00fc\ud834\udd1e\ud834"}}"#);
    assert_eq!(escapes.field("i"), Some("\u{1}\"\\/\u{8}\u{c}\n\r\tü\u{1d11e}\u{fffd}"));
}

#[test]
fn headers_that_mean_nothing_are_refused() {
    for header in
        ["", "[]", "5", "{", "{\"code\":x}", "{\"code\":[1]}", "{\"extFields\":5}", "{} x"]
    {
        assert!(decode(&json_frame(header, b"")).is_err(), "{header}");
    }
    assert!(decode(&json_frame("{\"code\":99999999999}", b"")).is_err());
}

#[test]
fn field_that_comes_twice_counts_as_it_came_last() {
    let frame = json_frame(r#"{"code":1,"extFields":{"a":"1","b":"x","a":"2"}}"#, b"");
    let mut fields = decode(&frame).unwrap().unwrap().fields;
    assert_eq!((fields.get("a"), fields.len()), (Some("2"), 3));
    fields.set("a", "3");
    assert_eq!(fields.iter().collect::<Vec<_>>(), [("b", "x"), ("a", "3")]);
    assert!(!fields.remove("c"));
}

#[test]
fn fields_are_read_as_values() {
    let mut fields = Fields::new();
    fields.push_int("n", -5_i64);
    fields.push("flag", "TRUE");
    fields.push("text", "x y");
    fields.push_display("sum", 1.5);
    assert_eq!(fields.parse::<i32>("n"), Ok(Some(-5)));
    assert_eq!(fields.parse::<i32>("none"), Ok(None));
    assert!(fields.require::<i32>("none").is_err());
    assert!(fields.parse::<i64>("text").unwrap_err().to_string().contains("`text`"));
    assert!(fields.flag("flag") && !fields.flag("n") && !fields.flag("none"));
    assert_eq!(fields.get("sum"), Some("1.5"));
}

#[test]
fn code_that_does_not_fit_a_binary_header_is_refused_before_it_is_sent() {
    let mut request = RemotingCommand::request(200_050);
    request.encoding = HeaderEncoding::Binary;
    let mut out = vec![7];
    assert!(frame::encode_whole(&request, &mut out).is_err());
    assert_eq!(out, [7]);
    request.encoding = HeaderEncoding::Json;
    frame::encode_whole(&request, &mut out).unwrap();
    let long = RemotingCommand::request(10).with_body(vec![0; frame::FRAME_MAX]);
    assert!(frame::encode_whole(&long, &mut out).is_err());
}
