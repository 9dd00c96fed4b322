//! Messages by time, by position, by key.

use rmq_message::record::RecordView;
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp};
use rmq_store::{Boundary, KeyKind, KeyQuery, MessageStore, QueueKey, ReadError};

use crate::ground::{Ground, NOW, message, queue, with_properties};

pub(crate) async fn an_offset_is_found_by_the_time_of_its_message(ground: impl Ground) {
    for n in 0..120_i64 {
        // Runs of three at 0, 10, 20, …
        ground.set_time(NOW + n / 3 * 10);
        ground.send(&queue(0), &[message(b"x")]).await;
    }
    let at = |id, time: i64, boundary| {
        ground.store().offset_at(&queue(id), Timestamp(time), boundary).unwrap().0
    };
    for (time, lower, upper) in
        [(-5, 0, 0), (0, 0, 2), (5, 3, 2), (10, 3, 5), (390, 117, 119), (391, 120, 119)]
    {
        assert_eq!(at(0, NOW + time, Boundary::Lower), lower, "{time}");
        assert_eq!(at(0, NOW + time, Boundary::Upper), upper, "{time}");
    }
    // Inside the queue's offsets, whatever is asked.
    for boundary in [Boundary::Lower, Boundary::Upper] {
        for time in [i64::MIN, -1, 0, i64::MAX] {
            assert!((0..=120).contains(&at(0, time, boundary)), "{time}");
            assert_eq!(at(9, time, boundary), 0, "a queue that has never been");
        }
    }
}

pub(crate) async fn only_the_start_of_a_record_is_a_message(ground: impl Ground) {
    // HI-22
    let inner = ground.send(&queue(0), &[message(b"inner")]).await;
    let bytes = ground.store().message_at(inner.physical_offset).unwrap();
    // A body that looks like a record, at another place than it says.
    let outer = ground.send(&queue(0), &[message(&bytes)]).await;
    for at in 0..outer.end.0 + 100 {
        match ground.store().message_at(PhysicalOffset(at)) {
            Ok(bytes) => {
                let record = RecordView::parse(&bytes).unwrap();
                assert!(at == 0 || at == outer.physical_offset.0, "{at}");
                assert_eq!(record.physical_offset.0, at);
            }
            Err(ReadError::NotFound { at: told }) => assert_eq!(told.0, at),
            Err(other) => panic!("{at}: {other}"),
        }
    }
    assert!(ground.store().message_at(outer.physical_offset).is_ok());
    for at in [1 << 40, i64::MAX.unsigned_abs(), u64::MAX] {
        let nothing = ground.store().message_at(PhysicalOffset(at));
        assert!(matches!(nothing, Err(ReadError::NotFound { .. })), "{nothing:?}");
    }
}

/// Queue offsets of what is found.
fn find(ground: &impl Ground, query: &KeyQuery<'_>) -> Vec<i64> {
    let found = ground.store().query(query).unwrap();
    found.records.iter().map(|bytes| RecordView::parse(bytes).unwrap().queue_offset.0).collect()
}

fn any_time<'a>(key: &'a str, kind: KeyKind) -> KeyQuery<'a> {
    let (begin, end) = (Timestamp(0), Timestamp(i64::MAX));
    KeyQuery { topic: "Orders", key, kind, begin, end, count_max: 32 }
}

pub(crate) async fn messages_are_found_by_key_unique_id_and_tag(mut ground: impl Ground) {
    for n in 0..30 {
        let tag = if n % 10 == 0 { "tens" } else { "rest" };
        let text =
            format!("TAGS\u{1}{tag}\u{2}UNIQ_KEY\u{1}u{n}\u{2}KEYS\u{1}k{} also{n}\u{2}", n % 3);
        ground.send(&queue(0), &[with_properties(b"x", &text)]).await;
    }
    for end in [None, Some(crate::ground::End::Stop), Some(crate::ground::End::Crash)] {
        if let Some(end) = end {
            ground.reopen(end).await;
        }
        // What is visible is found at once, however far the index was.
        let find = |key, kind| find(&ground, &any_time(key, kind));
        assert_eq!(find("k1", KeyKind::Key), (1..30).step_by(3).collect::<Vec<_>>(), "{end:?}");
        assert_eq!((find("also7", KeyKind::Key), find("u29", KeyKind::Key)), (vec![7], vec![29]));
        assert_eq!(find("tens", KeyKind::Tag), [0, 10, 20]);
        assert_eq!(find("none", KeyKind::Key), [0; 0]);
        assert_eq!(find("tens", KeyKind::Key), [0; 0], "a tag is no key");
        assert_eq!(find("k1", KeyKind::Tag), [0; 0], "a key is no tag");
    }
}

pub(crate) async fn a_query_keeps_to_topic_time_and_count(ground: impl Ground) {
    let property = "KEYS\u{1}k\u{2}";
    for n in 0..20 {
        ground.set_time(NOW + n * 1_000);
        ground.send(&queue(0), &[with_properties(b"x", property)]).await;
    }
    ground.send(&QueueKey::new("Other", 0), &[with_properties(b"x", property)]).await;
    let all = any_time("k", KeyKind::Key);
    let (begin, end) = (Timestamp(NOW + 5_000), Timestamp(NOW + 8_000));
    assert_eq!(find(&ground, &KeyQuery { begin, end, ..all }), [5, 6, 7, 8]);
    assert_eq!(find(&ground, &KeyQuery { begin: end, end: begin, ..all }), [0; 0]);
    assert_eq!(find(&ground, &KeyQuery { count_max: 2, ..all }), [18, 19], "the youngest");
    assert_eq!(find(&ground, &KeyQuery { count_max: 0, ..all }), [0; 0]);
    assert_eq!(find(&ground, &KeyQuery { topic: "Other", ..all }), [0]);
    assert_eq!(find(&ground, &KeyQuery { topic: "None", ..all }), [0; 0]);
    assert_eq!(find(&ground, &all).len(), 20);
    assert_eq!(ground.store().offsets(&queue(0)).end, QueueOffset(20));
}
