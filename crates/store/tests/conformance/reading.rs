//! Read and its statuses, filters, reading without waiting.

use rmq_message::QueueOffset;
use rmq_message::java;
use rmq_message::record::RecordView;
use rmq_store::{AdmitAll, MessageFilter, MessageStore, ReadRequest, ReadStatus};

use crate::ground::{Ground, message, queue, records, with_properties};

pub(crate) async fn reads_end_as_apache_says(ground: impl Ground) {
    let read = |offset| {
        let outcome = ground.read(&queue(0), offset, 32);
        (outcome.status, outcome.next_offset.0)
    };
    for offset in [0, 7, -1] {
        assert_eq!(read(offset), (ReadStatus::NoMessageInQueue, 0), "{offset}");
    }
    for n in 0..40_u8 {
        let receipt = ground.store().append(&queue(0), &[message(&[n])]).unwrap();
        ground.acknowledge(receipt.end).await;
    }
    for (offset, status, next) in [
        (0, ReadStatus::Found, 32),
        (39, ReadStatus::Found, 40),
        (40, ReadStatus::OffsetOverflowOne, 40),
        (41, ReadStatus::OffsetOverflowBadly, 40),
        (i64::MAX, ReadStatus::OffsetOverflowBadly, 40),
        (-1, ReadStatus::OffsetTooSmall, 0),
        (i64::MIN, ReadStatus::OffsetTooSmall, 0),
    ] {
        assert_eq!(read(offset), (status, next), "{offset}");
        let outcome = ground.read(&queue(0), offset, 32);
        assert_eq!((outcome.min_offset, outcome.max_offset), (QueueOffset(0), QueueOffset(40)));
        assert_eq!(outcome.count > 0, status == ReadStatus::Found);
    }
    let bodies: Vec<_> = (0..40_u8).map(|n| (i64::from(n), vec![n])).collect();
    assert_eq!(ground.contents(&queue(0)), bodies);
}

pub(crate) async fn a_read_keeps_within_its_bounds_but_returns_a_message(ground: impl Ground) {
    for _ in 0..3 {
        ground.send(&queue(0), &[message(&[1; 500])]).await;
    }
    let read = |count_max, bytes_max| {
        let (queue, offset) = (&queue(0), QueueOffset(0));
        let request = ReadRequest { queue, offset, count_max, bytes_max };
        let outcome = ground.store().read(&request, &AdmitAll).unwrap();
        assert_eq!(outcome.next_offset.0, i64::try_from(records(&outcome).len()).unwrap());
        outcome.count
    };
    assert_eq!((read(32, 1 << 20), read(2, 1 << 20), read(0, 1 << 20)), (3, 2, 1));
    assert_eq!((read(32, 1400), read(32, 10), read(0, 0)), (2, 1, 1));
}

struct Only {
    tag: i64,
    body: Option<&'static [u8]>,
}

impl MessageFilter for Only {
    fn admits_entry(&self, tags_code: i64) -> bool {
        tags_code == self.tag
    }
    fn reads_records(&self) -> bool {
        self.body.is_some()
    }
    fn admits_record(&self, record: &RecordView<'_>) -> bool {
        self.body.is_none_or(|body| record.body == body)
    }
}

pub(crate) async fn filtered_messages_advance_the_offset(ground: impl Ground) {
    // INV-29, RS-36
    let mut end = None;
    for n in 0..1_000_u32 {
        let tag = if n == 900 { "TAGS\u{1}rare\u{2}" } else { "TAGS\u{1}usual\u{2}" };
        let receipt = ground.store().append(&queue(0), &[with_properties(b"x", tag)]).unwrap();
        end = Some(receipt.end);
    }
    ground.acknowledge(end.unwrap()).await;
    let rare = java::hash("rare").into();
    // Where a look through the queue for this filter comes to, and what it finds on the way.
    let walk = |filter: &dyn MessageFilter| {
        let (mut next, mut found) = (0, Vec::new());
        while next < 1_000 {
            let outcome = ground.read_filtered(&queue(0), next, 32, filter);
            found.extend(records(&outcome).iter().map(|record| record.queue_offset.0));
            let status =
                if outcome.count > 0 { ReadStatus::Found } else { ReadStatus::NoMatchedMessage };
            assert_eq!(outcome.status, status);
            assert!(outcome.next_offset.0 > next, "it never stands still");
            next = outcome.next_offset.0;
        }
        assert_eq!(next, 1_000);
        found
    };
    assert_eq!(walk(&Only { tag: rare, body: None }), [900]);
    assert_eq!(walk(&Only { tag: rare, body: Some(b"x") }), [900]);
    assert_eq!(walk(&Only { tag: rare, body: Some(b"y") }), [0; 0]);
    assert_eq!(walk(&Only { tag: 1, body: None }), [0; 0]);
    assert_eq!(walk(&Only { tag: java::hash("usual").into(), body: None }).len(), 999);
}

pub(crate) async fn what_was_just_stored_is_read_without_waiting(ground: impl Ground) {
    for n in 0..20_u8 {
        ground.send(&queue(0), &[message(&[n; 200])]).await;
    }
    for offset in 0..21 {
        let (queue, offset) = (&queue(0), QueueOffset(offset));
        let request = ReadRequest { queue, offset, count_max: 32, bytes_max: 1 << 20 };
        let quick = ground.store().read_cached(&request, &AdmitAll).unwrap();
        let slow = ground.store().read(&request, &AdmitAll).unwrap();
        assert_eq!(quick.status, slow.status);
        assert_eq!((quick.next_offset, quick.count), (slow.next_offset, slow.count));
        assert_eq!(quick.records.concat(), slow.records.concat());
    }
}
