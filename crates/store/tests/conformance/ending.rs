//! Ends and what is there after them: stops, crashes, deleted topics, expired files.

use rmq_message::record::RecordView;
use rmq_message::{QueueOffset, Timestamp};
use rmq_store::{
    AppendError, AppendReceipt, Boundary, MessageStore, QueueKey, ReadError, ReadStatus, StoreAdmin,
};

use crate::ground::{End, FILE, Ground, NOW, message, queue, records};

/// Sends, ends and opens again; all is where it was, and goes on there.
async fn outlives(mut ground: impl Ground, end: End) {
    let mut sent: Vec<(u8, AppendReceipt)> = Vec::new();
    for round in 0..3_u8 {
        for n in round * 40..round * 40 + 40 {
            ground.set_time(NOW + i64::from(n) * 10);
            let receipt = ground.send(&queue(i32::from(n % 2)), &[message(&[n; 300])]).await;
            assert_eq!(receipt.queue_offset.0, i64::from(n / 2), "offsets go on");
            sent.push((n, receipt));
        }
        ground.reopen(end).await;
        for (n, receipt) in &sent {
            let (key, offset) = (queue(i32::from(n % 2)), receipt.queue_offset.0);
            let outcome = ground.read(&key, offset, 1);
            let read = records(&outcome)[0];
            assert_eq!((read.body, read.queue_offset.0), (&[*n; 300][..], offset));
            assert_eq!(read.physical_offset, receipt.physical_offset);
            assert_eq!(read.store_timestamp, receipt.store_timestamp);
            let bytes = ground.store().message_at(receipt.physical_offset).unwrap();
            assert_eq!(RecordView::parse(&bytes).unwrap().body, read.body);
            let found = ground.store().offset_at(&key, read.store_timestamp, Boundary::Lower);
            assert_eq!(found.unwrap().0, offset);
        }
        assert_eq!(ground.store().offsets(&queue(0)).end.0, i64::from(round + 1) * 20);
    }
}

pub(crate) async fn a_clean_stop_keeps_everything(ground: impl Ground) {
    outlives(ground, End::Stop).await;
}

pub(crate) async fn a_crash_keeps_what_was_acknowledged(ground: impl Ground) {
    // INV-01, INV-04
    outlives(ground, End::Crash).await;
}

pub(crate) async fn a_stopped_store_takes_nothing_more(ground: impl Ground) {
    ground.store().append(&queue(0), &[message(b"staged only")]).unwrap();
    ground.stop().await;
    let refused = ground.store().append(&queue(0), &[message(b"x")]);
    assert!(matches!(refused, Err(AppendError::Stopped)), "{refused:?}");
    assert_eq!(ground.contents(&queue(0)), [(0, b"staged only".to_vec())]);
}

pub(crate) async fn a_deleted_topic_begins_anew_and_the_others_stay(mut ground: impl Ground) {
    // INV-35, RS-37
    let other = QueueKey::new("Other", 0);
    for n in 0..30_u8 {
        for key in [&queue(0), &queue(1), &other] {
            ground.send(key, &[message(&[n])]).await;
        }
    }
    assert_eq!(ground.store().queues(), [queue(0), queue(1), other.clone()]);
    assert_eq!(ground.store().delete_topic("Orders").unwrap(), 2);
    assert_eq!(ground.store().delete_topic("Orders").unwrap(), 0);
    for round in 0..3 {
        assert_eq!(ground.store().offsets(&queue(0)).end, QueueOffset(round));
        assert_eq!(ground.store().offsets(&queue(1)), QueueOffset(0)..QueueOffset(0));
        assert_eq!(ground.contents(&other).len(), 30);
        let receipt = ground.send(&queue(0), &[message(b"new")]).await;
        assert_eq!(receipt.queue_offset, QueueOffset(round));
        ground.reopen(if round == 0 { End::Crash } else { End::Stop }).await;
    }
}

pub(crate) async fn expired_files_go_from_the_oldest_and_offsets_go_on(mut ground: impl Ground) {
    // INV-09, INV-10
    let first = ground.send(&queue(0), &[message(&[0; 3_000])]).await;
    ground.send(&queue(1), &[message(b"old")]).await;
    for n in 1..30_u8 {
        ground.send(&queue(0), &[message(&[n; 3_000])]).await;
    }
    assert_eq!(ground.store().expire(Timestamp(NOW)).unwrap().log_files, 0, "nothing is old");
    // Midnight of a day on which everything is old.
    let midnight = Timestamp((NOW / 86_400_000 + 3_650) * 86_400_000);
    let held = ground.read(&queue(0), 0, 1);
    assert!(ground.store().expire(midnight).unwrap().log_files > 1);
    assert_eq!(records(&held)[0].body, [0; 3_000], "what was read stays");
    let (min, range) = (ground.store().status().min_physical, ground.store().offsets(&queue(0)));
    assert!(min.0 >= 2 * FILE && range.start.0 > 0 && range.end.0 == 30, "{min} {range:?}");
    for end in [None, Some(End::Stop), Some(End::Crash)] {
        if let Some(end) = end {
            ground.reopen(end).await;
        }
        let store = ground.store();
        assert_eq!((store.offsets(&queue(0)), store.status().min_physical), (range.clone(), min));
        let oldest = ground.read(&queue(0), range.start.0, 1);
        assert_eq!(records(&oldest)[0].physical_offset, min);
        let gone = ground.read(&queue(0), 0, 1);
        assert_eq!((gone.status, gone.next_offset), (ReadStatus::OffsetTooSmall, range.start));
        let nothing = store.message_at(first.physical_offset);
        assert!(matches!(nothing, Err(ReadError::NotFound { .. })), "{nothing:?}");
        assert_eq!(store.offset_at(&queue(0), Timestamp(0), Boundary::Lower).unwrap(), range.start);
        // All messages of a queue gone: it is empty, and its offsets go on.
        assert_eq!(store.offsets(&queue(1)), QueueOffset(1)..QueueOffset(1));
    }
    assert_eq!(ground.send(&queue(1), &[message(b"new")]).await.queue_offset, QueueOffset(1));
    assert_eq!(ground.contents(&queue(0)).len() as i64, range.end.0 - range.start.0);
}

pub(crate) async fn a_store_tells_where_it_stands(ground: impl Ground) {
    let status = ground.store().status();
    assert_eq!((status.max_physical.0, status.staged_end.0, status.queues), (0, 0, 0));
    assert_eq!(ground.store().queues(), []);
    ground.set_time(NOW + 5);
    let sent = ground.send(&queue(3), &[message(b"x")]).await;
    let staged = ground.store().append(&queue(1), &[message(b"y")]).unwrap();
    let status = ground.store().status();
    assert_eq!((status.min_physical, status.max_physical), (sent.physical_offset, sent.end));
    assert_eq!((status.staged_end, status.last_timestamp), (staged.end, Timestamp(NOW + 5)));
    ground.acknowledge(staged.end).await;
    let status = ground.store().status();
    assert_eq!((status.max_physical, status.queues), (staged.end, 2));
    assert_eq!(ground.store().queues(), [queue(1), queue(3)]);
    let health = ground.store().health();
    assert!(health.writable && health.reason.is_none(), "{health:?}");
}
