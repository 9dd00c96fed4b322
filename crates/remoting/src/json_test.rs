use std::collections::BTreeMap;

use rmq_message::MessageQueue;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sample {
    absent: Option<String>,
    count: i32,
    flag: bool,
    nested: Option<Box<Sample>>,
    rate: f64,
    text: String,
    wide: i64,
}

fn read(text: &str) -> Sample {
    from_slice(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn tolerated_spellings_are_read() {
    let wanted = Sample { count: 6, flag: true, text: "a\"b".into(), ..Sample::default() };
    for text in [
        r#"{"count":6,"flag":true,"text":"a\"b"}"#,
        r#"{"count":"6","flag":"true","text":"a\"b"}"#,
        r#"{'count':06,'flag':1,'text':'a"b',}"#,
        r#"{/* one */"count":6.0, // two
            "flag":true,"text":'a\x22b',"unknown":[{"x":{}}],"wide":null,"rate":null}"#,
        r#"{"count":5,"count":6,"flag":true,"text":"a\u0022b"}"#,
        r#"{"count":6L,"flag":true,"text":"a\"b","nested":null}"#,
    ] {
        assert_eq!(read(text), wanted, "{text}");
    }
    assert_eq!(read(r#"{"text":5}"#).text, "5");
    assert_eq!(read(r#"{"text":{"a":1}}"#).text, r#"{"a":1}"#);
    assert_eq!(read("{\"text\":\"a\u{1}\tb\"}").text, "a\u{1}\tb");
    assert_eq!(read(r#"{"text":"\'\v\0"}"#).text, "'\u{b}\0");
    assert_eq!(read(r#"{"wide":-9223372036854775808}"#).wide, i64::MIN);
}

#[test]
fn documents_that_mean_nothing_are_refused() {
    for text in
        ["", "{", "[", "{a:1}", "{\"count\":}", "{\"count\":1}x", "{,}", "'", "/*", "{\"a\" 1}"]
    {
        assert!(from_slice::<Sample>(text.as_bytes()).is_err(), "{text}");
    }
    assert!(from_slice::<Sample>(br#"{"count":99999999999}"#).is_err());
    assert!(from_slice::<Sample>(br#"{"count":{}}"#).is_err());
    assert!(from_slice::<Sample>(b"{\"text\":\"\xff\"}").is_err());
}

#[test]
fn depth_and_width_are_limited() {
    let deep = format!("{{0:{}{}}}", "[".repeat(100), "]".repeat(100));
    assert!(from_slice::<BTreeMap<i32, serde_json::Value>>(deep.as_bytes()).is_err());
    let wide = format!("{{0:[{}]}}", "0,".repeat(tree::NODES_MAX));
    assert!(from_slice::<BTreeMap<i32, Vec<i32>>>(wide.as_bytes()).is_err());
}

#[test]
fn keys_that_are_numbers_or_objects_are_read() {
    let bare: BTreeMap<i64, String> = from_slice(br#"{0:"a",1:"b",-1:"c"}"#).unwrap();
    let quoted: BTreeMap<i64, String> = from_slice(br#"{"0":"a","1":"b","-1":"c"}"#).unwrap();
    assert_eq!((bare.len(), &bare), (3, &quoted));

    let wanted = BTreeMap::from([(MessageQueue::new("T", "b", 1), 5_i64)]);
    for text in [
        r#"{{"brokerName":"b","queueId":1,"topic":"T"}:5}"#,
        r#"{{"topic":"T","queueId":"1","brokerName":"b"}:"5"}"#,
        r#"{"{\"brokerName\":\"b\",\"queueId\":1,\"topic\":\"T\"}":5}"#,
    ] {
        let read: BTreeMap<MessageQueue, i64> = from_slice(text.as_bytes()).unwrap();
        assert_eq!(read, wanted, "{text}");
    }
}

#[test]
fn references_are_followed_within_limits() {
    let text = r#"{"nested":{"count":7},"text":"x","absent":null}"#;
    assert_eq!(read(text).nested.unwrap().count, 7);
    let list: BTreeMap<String, Vec<Sample>> =
        from_slice(br#"{"a":[{"count":1},{"$ref":"$.b[0]"}],"b":[{"count":2}]}"#).unwrap();
    assert_eq!(list["a"][1].count, 2);
    for wrong in [r#"{"nested":{"$ref":"$.none"}}"#, r#"{"nested":{"$ref":"$.nested"}}"#] {
        assert!(from_slice::<Sample>(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let to_itself = br#"{"nested":{"nested":{"$ref":"$"}}}"#;
    assert!(from_slice::<Sample>(to_itself).is_err());
}

#[test]
fn absent_members_are_left_out_and_keys_stand_as_they_are() {
    let sample = Sample { text: "a\u{1}\"/ü\n".into(), ..Sample::default() };
    let text = r#"{"count":0,"flag":false,"rate":0.0,"text":"a\u0001\"/ü\n","wide":0}"#;
    assert_eq!(to_bytes(&sample), text);
    let nested = Sample { nested: Some(Box::new(sample)), ..Sample::default() };
    let outer = r#"{"count":0,"flag":false,"nested":N,"rate":0.0,"text":"","wide":0}"#;
    assert_eq!(to_bytes(&nested), outer.replace('N', text));

    let queues = BTreeMap::from([
        (MessageQueue::new("T", "b", 0), BTreeMap::from([(3, Some("x")), (4, None)])),
        (MessageQueue::new("T", "b", 1), BTreeMap::new()),
    ]);
    let mq = |id| format!(r#"{{"brokerName":"b","queueId":{id},"topic":"T"}}"#);
    let text = format!(r#"{{{}:{{"3":"x"}},{}:{{}}}}"#, mq(0), mq(1));
    assert_eq!(to_bytes(&queues), text);
    assert_eq!(to_bytes_with(&queues, IntegerKeys::Bare), text.replace("\"3\"", "3"));
    assert_eq!(to_bytes(&[Some(1), None]), "[1,null]");
}

#[test]
fn doubles_are_written_as_java_does() {
    for (value, text) in [
        (0.0, "0.0"),
        (-1.0, "-1.0"),
        (0.8, "0.8"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (1e-7, "1.0E-7"),
        (9_999_999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (1.25e10, "1.25E10"),
        (f64::NAN, "null"),
    ] {
        assert_eq!(to_bytes(&[value]), format!("[{text}]"));
    }
}

#[test]
fn documents_are_laid_out_as_configuration_files() {
    #[derive(Serialize)]
    struct Document {
        empty: BTreeMap<i32, i32>,
        lists: BTreeMap<&'static str, Vec<&'static str>>,
        numbers: Vec<i32>,
        table: BTreeMap<i32, i32>,
    }
    let document = Document {
        empty: BTreeMap::new(),
        lists: BTreeMap::from([("a", vec!["x", "y"]), ("b", vec![])]),
        numbers: vec![1, 2],
        table: BTreeMap::from([(0, 5), (1, 6)]),
    };
    let text = "{\n\t\"empty\":{},\n\t\"lists\":{\n\t\t\"a\":[\n\t\t\t\"x\",\n\t\t\t\"y\"\n\t\t],\n\t\t\"b\":[]\n\t},\
                \n\t\"numbers\":[1,2],\n\t\"table\":{\n\t\t0:5,\n\t\t1:6\n\t}\n}";
    assert_eq!(to_document(&document), text);
}
