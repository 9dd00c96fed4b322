//! Append, settle, durable, arrivals.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use rmq_message::record::{NewRecord, RecordView};
use rmq_message::{PhysicalOffset, QueueOffset, Timestamp, sys_flag};
use rmq_store::{AppendError, ArrivalListener, MessageStore, QueueKey, ReadError, ReadStatus};
use tokio::sync::watch;

use crate::ground::{BODY_MAX, FILE, Ground, NOW, message, queue, with_properties};

pub(crate) async fn offsets_are_dense_and_records_lie_one_after_the_other(ground: impl Ground) {
    // INV-12
    let mut end = PhysicalOffset(0);
    for n in 0..60_u8 {
        ground.set_time(NOW + i64::from(n));
        let receipt = ground.send(&queue(i32::from(n % 3)), &[message(&[n; 100])]).await;
        assert_eq!(receipt.queue_offset, QueueOffset(i64::from(n / 3)));
        assert_eq!(receipt.store_timestamp, Timestamp(NOW + i64::from(n)));
        assert!(receipt.following.is_empty());
        // The next place, or the beginning of the next file.
        let at = receipt.physical_offset;
        assert!(at == end || at.0 == end.0.next_multiple_of(FILE), "{at} after {end}");
        end = receipt.end;
        let bytes = ground.store().message_at(at).unwrap();
        let record = RecordView::parse(&bytes).unwrap();
        assert_eq!((record.physical_offset, record.queue_offset), (at, receipt.queue_offset));
        assert_eq!(record.store_timestamp, receipt.store_timestamp);
        assert_eq!(record.body, [n; 100]);
    }
    for id in 0..3 {
        assert_eq!(ground.store().offsets(&queue(id)), QueueOffset(0)..QueueOffset(20));
    }
}

pub(crate) async fn a_batch_has_consecutive_offsets_in_its_queue(ground: impl Ground) {
    ground.send(&queue(0), &[message(&[0; 5_000])]).await;
    let bodies: Vec<_> = (0..10_u8).map(|n| vec![n; 1_200]).collect();
    let batch: Vec<_> = bodies.iter().map(|body| message(body)).collect();
    let receipt = ground.send(&queue(0), &batch).await;
    assert_eq!(receipt.queue_offset, QueueOffset(1));
    // It fits the first file no more, and is never torn apart.
    assert_eq!(receipt.physical_offset, PhysicalOffset(FILE));
    let places: Vec<_> = receipt.physical_offsets().collect();
    assert_eq!(places.len(), 10);
    for (body, at) in bodies.iter().zip(places) {
        let bytes = ground.store().message_at(at).unwrap();
        assert_eq!(RecordView::parse(&bytes).unwrap().body, body);
    }
    let offsets: Vec<_> =
        ground.contents(&queue(0)).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, (0..11).collect::<Vec<_>>());
}

pub(crate) async fn what_is_only_staged_is_seen_by_nobody(ground: impl Ground) {
    // INV-02
    let store = ground.store();
    let staged = store.append(&queue(0), &[message(b"x")]).unwrap();
    assert_eq!(store.offsets(&queue(0)), QueueOffset(0)..QueueOffset(0));
    assert_eq!(ground.read(&queue(0), 0, 1).status, ReadStatus::NoMessageInQueue);
    let nothing = store.message_at(staged.physical_offset);
    assert!(matches!(nothing, Err(ReadError::NotFound { .. })), "{nothing:?}");
    ground.acknowledge(staged.end).await;
    assert_eq!(store.offsets(&queue(0)), QueueOffset(0)..QueueOffset(1));
    assert_eq!(ground.contents(&queue(0)), [(0, b"x".to_vec())]);
    // Waiting for what has long been durable ends at once, and settling nothing harms nobody.
    ground.acknowledge(PhysicalOffset(0)).await;
    ground.acknowledge(staged.end).await;
}

pub(crate) async fn a_refused_append_takes_nothing_and_blocks_nothing(ground: impl Ground) {
    // RS-09, RS-18
    let store = ground.store();
    let refused = |queue: &QueueKey, records: &[NewRecord<'_>]| {
        store.append(queue, records).expect_err("has no form or no place")
    };
    let (orders, huge, long) = (queue(0), [0; BODY_MAX + 1], "x".repeat(40_000));
    let refusals = [
        refused(&orders, &[]),
        refused(&orders, &[message(&huge)]),
        refused(&orders, &[message(&huge[..BODY_MAX]); 3]),
        refused(&orders, &[with_properties(b"x", &long)]),
        refused(&orders, &[with_properties(b"x", "A\u{1}b\0\u{2}")]),
        refused(&QueueKey::new("../../x", 0), &[message(b"x")]),
        refused(&QueueKey::new("", 0), &[message(b"x")]),
        refused(&queue(-1), &[message(b"x")]),
    ];
    assert!(
        matches!(
            &refusals[..5],
            [
                AppendError::Empty,
                AppendError::TooLarge { max: BODY_MAX, .. },
                AppendError::TooLarge { .. },
                AppendError::Unfit(_),
                AppendError::ZeroByte,
            ]
        ),
        "{refusals:?}"
    );
    for refusal in &refusals[5..] {
        assert!(
            matches!(refusal, AppendError::Queue { .. } | AppendError::Unfit(_)),
            "{refusal:?}"
        );
    }
    let receipt = ground.send(&orders, &[message(b"good")]).await;
    assert_eq!(
        (receipt.queue_offset, receipt.physical_offset),
        (QueueOffset(0), PhysicalOffset(0))
    );
}

pub(crate) async fn half_and_rolled_back_messages_have_no_place_in_their_queue(
    ground: impl Ground,
) {
    let flags = [sys_flag::TRANSACTION_PREPARED, sys_flag::TRANSACTION_ROLLBACK];
    for sys_flag in flags.into_iter().chain([sys_flag::TRANSACTION_COMMIT]) {
        let receipt = ground.send(&queue(0), &[NewRecord { sys_flag, ..message(b"x") }]).await;
        assert_eq!(receipt.queue_offset, QueueOffset(0));
        let bytes = ground.store().message_at(receipt.physical_offset).unwrap();
        assert_eq!(RecordView::parse(&bytes).unwrap().sys_flag, sys_flag);
    }
    assert_eq!(ground.store().offsets(&queue(0)).end, QueueOffset(1));
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    ends: BTreeMap<QueueKey, QueueOffset>,
    /// What was told but could not be read, or was told before.
    wrongly: Vec<(QueueKey, QueueOffset)>,
}

struct Listener<S> {
    store: Weak<S>,
    told: watch::Sender<Told>,
}

impl<S: MessageStore> ArrivalListener for Listener<S> {
    fn arrived(&self, queue: &QueueKey, end: QueueOffset) {
        let readable = self.store.upgrade().is_some_and(|store| store.offsets(queue).end >= end);
        self.told.send_modify(|told| {
            let before = told.ends.insert(queue.clone(), end);
            if !readable || before >= Some(end) {
                told.wrongly.push((queue.clone(), end));
            }
        });
    }
}

pub(crate) async fn who_listens_is_told_of_what_can_be_read(ground: impl Ground) {
    let listen = || {
        let (told, seen) = watch::channel(Told::default());
        ground
            .store()
            .on_arrival(Arc::new(Listener { store: Arc::downgrade(ground.store()), told }));
        seen
    };
    let ends = |ends: &[(i32, i64)]| Told {
        ends: ends.iter().map(|(id, end)| (queue(*id), QueueOffset(*end))).collect(),
        wrongly: Vec::new(),
    };
    let mut first = listen();
    for id in [0, 1, 0] {
        ground.store().append(&queue(id), &[message(b"x")]).unwrap();
    }
    assert_eq!(*first.borrow(), ends(&[]), "nothing can be read yet");
    ground.send(&queue(0), &[message(b"x")]).await;
    let all = ends(&[(0, 3), (1, 1)]);
    first.wait_for(|told| *told == all).await.expect("the store has the listener");
    // A later listener replaces it.
    let mut second = listen();
    ground.send(&queue(1), &[message(b"x")]).await;
    second.wait_for(|told| *told == ends(&[(1, 2)])).await.expect("the store has the listener");
    assert_eq!(*first.borrow(), all);
}
