use super::*;
use crate::java;
use proptest::prelude::*;

fn golden() -> NewRecord<'static> {
    NewRecord {
        topic: "T",
        queue_id: 3,
        flag: 0,
        sys_flag: 0,
        born_timestamp: Timestamp(1_700_000_000_000),
        born_host: "1.2.3.4:5678".parse().unwrap(),
        store_host: "10.0.0.1:10911".parse().unwrap(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"hi",
        properties: b"TAGS\x01a\x02",
        tags_code: i64::from(java::hash("a")),
    }
}

fn place() -> Placement {
    Placement {
        queue_offset: QueueOffset(9),
        physical_offset: PhysicalOffset(1000),
        store_timestamp: Timestamp(1_700_000_000_001),
    }
}

fn encode(record: &NewRecord<'_>) -> Vec<u8> {
    let len = record.encoded_len().unwrap();
    let mut out = Vec::new();
    record.encode(&mut out, len, crc(record.body), place());
    assert_eq!(out.len(), len);
    out
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| b.is_ascii_hexdigit()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn bytes_are_those_of_apache() {
    let expected = hex(
        "00000065 daa320a7 58932aac 00000003 00000000 0000000000000009 00000000000003e8 00000000
         0000018bcfe56800 01020304 0000162e 0000018bcfe56801 0a000001 00002a9f 00000000 0000000000000000
         00000002 6869 01 54 0007 54414753016102",
    );
    assert_eq!(encode(&golden()), expected);
}

#[test]
fn a_record_reads_back() {
    let bytes = encode(&golden());
    let view = RecordView::parse(&bytes).unwrap();
    view.verify().unwrap();
    assert_eq!((view.topic, view.body, view.queue_id), ("T", &b"hi"[..], 3));
    assert_eq!(view.physical_offset, PhysicalOffset(1000));
    assert_eq!(view.property("TAGS"), Some("a"));
    assert_eq!(view.born_host, golden().born_host);
    assert_eq!(&bytes[view.body_at..view.body_at + 2], b"hi");
    assert_eq!(store_timestamp(&bytes), Some(view.store_timestamp));
    assert_eq!(queue_offset(&bytes), Some(QueueOffset(9)));
}

#[test]
fn long_topics_make_version_2_and_long_hosts_set_their_bits() {
    let topic = name::retry_topic(&"g".repeat(160));
    let record =
        NewRecord { topic: &topic, born_host: "[2001:db8::1]:80".parse().unwrap(), ..golden() };
    let bytes = encode(&record);
    assert_eq!(bytes[4..8], MAGIC_V2.to_be_bytes());
    let view = RecordView::parse(&bytes).unwrap();
    assert_eq!(view.topic, topic);
    assert_eq!(view.sys_flag, sys_flag::BORN_HOST_V6);
    assert_eq!(view.born_host, record.born_host);
    assert_eq!(store_timestamp(&bytes), Some(view.store_timestamp));
}

#[test]
fn what_does_not_fit_has_no_record() {
    let long = vec![b'x'; 40_000];
    let record = NewRecord { properties: &long, ..golden() };
    assert_eq!(record.encoded_len(), Err(EncodeError::PropertiesTooLong { len: 40_000 }));
    let topic = "t".repeat(256);
    let record = NewRecord { topic: &topic, ..golden() };
    assert!(matches!(record.encoded_len(), Err(EncodeError::TopicTooLong { .. })));
}

#[test]
fn the_end_of_a_file_is_no_record() {
    let mut blank = Vec::new();
    encode_blank(&mut blank, 467);
    assert_eq!(head(&blank), Ok(Head::Blank(467)));
    assert_eq!(RecordView::parse(&blank), Err(RecordError::Magic { magic: MAGIC_BLANK }));
    assert!(matches!(head(&[0; 16]), Err(RecordError::Magic { magic: 0 })));
}

#[test]
fn every_cut_is_noticed() {
    let bytes = encode(&golden());
    for len in 0..bytes.len() {
        assert!(matches!(RecordView::parse(&bytes[..len]), Err(RecordError::Short { .. })));
    }
}

proptest! {
    #[test]
    fn flipped_bits_never_panic_and_never_change_a_body_unseen(at in 0usize..101, bit in 0u8..8) {
        let mut bytes = encode(&golden());
        bytes[at] ^= 1 << bit;
        if let Ok(view) = RecordView::parse(&bytes)
            && view.verify().is_ok()
        {
            prop_assert_eq!(view.body, b"hi");
        }
    }

    #[test]
    fn any_bytes_parse_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut framed = Vec::new();
        framed.extend_from_slice(&u32::try_from(bytes.len() + 8).unwrap().to_be_bytes());
        framed.extend_from_slice(&MAGIC_V2.to_be_bytes());
        framed.extend_from_slice(&bytes);
        for record in walk(&framed) {
            let _seen = record.map(|view| view.verify());
        }
    }
}
