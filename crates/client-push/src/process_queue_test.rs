use proptest::prelude::*;

use super::*;
use crate::testing::message;

const NOW: Monotonic = Monotonic(Duration::from_secs(10));

fn filled(offsets: impl IntoIterator<Item = i64>) -> ProcessQueue {
    let mut queue = ProcessQueue::default();
    let messages: Vec<_> = offsets.into_iter().map(|offset| message("T", offset, b"ab")).collect();
    let next = messages.last().map_or(QueueOffset::ZERO, |last| last.queue_offset + 1);
    queue.put(messages, next);
    queue
}

fn offsets(batch: &Batch) -> Vec<QueueOffset> {
    batch.messages.iter().map(|message| message.queue_offset).collect()
}

#[test]
fn progress_never_passes_an_unfinished_message() {
    let mut queue = filled(0..4);
    let first = queue.take(1, NOW).unwrap();
    let rest = queue.take(9, NOW).unwrap();
    assert_eq!(queue.done(rest.ticket, offsets(&rest)), Some(QueueOffset(0)));
    assert_eq!(queue.done(first.ticket, offsets(&first)), Some(QueueOffset(4)));
    assert_eq!(queue.load(), Load::default());
}

#[test]
fn filtered_messages_advance_progress() {
    let mut queue = ProcessQueue::default();
    assert_eq!(queue.progress(), None);
    queue.put(vec![message("T", 3, b"x")], QueueOffset(50));
    assert_eq!(queue.progress(), Some(QueueOffset(3)));
    let batch = queue.take(1, NOW).unwrap();
    assert_eq!(queue.done(batch.ticket, offsets(&batch)), Some(QueueOffset(50)));
    queue.advance(QueueOffset(70));
    queue.advance(QueueOffset(60));
    assert_eq!(queue.progress(), Some(QueueOffset(70)));
}

#[test]
fn a_message_that_comes_twice_counts_once() {
    let mut queue = filled(0..3);
    assert_eq!(queue.put(vec![message("T", 2, b"ab"), message("T", 3, b"ab")], QueueOffset(4)), 1);
    assert_eq!(queue.load(), Load { count: 4, bytes: 8, span: 3 });
}

#[test]
fn an_old_ticket_changes_nothing() {
    let mut queue = filled(0..2);
    let old = queue.take(2, NOW).unwrap();
    queue.put_back(old.ticket, offsets(&old), true);
    let new = queue.take(2, NOW).unwrap();
    assert_eq!(new.messages[0].reconsume_times, 1);
    assert_eq!(queue.done(old.ticket, offsets(&old)), None);
    queue.put_back(old.ticket, offsets(&old), true);
    assert!(!queue.has_waiting());
    assert_eq!(queue.done(new.ticket, offsets(&new)), Some(QueueOffset(2)));
}

#[test]
fn what_is_put_back_comes_first_again() {
    let mut queue = filled(0..4);
    let batch = queue.take(2, NOW).unwrap();
    queue.put_back(batch.ticket, offsets(&batch), false);
    let again = queue.take(9, NOW).unwrap();
    assert_eq!(offsets(&again), (0..4).map(QueueOffset).collect::<Vec<_>>());
    assert_eq!(again.messages[0].reconsume_times, 0);
}

#[test]
fn only_the_first_message_can_be_overdue_and_only_once_taken() {
    let limit = Duration::from_secs(5);
    let mut queue = filled(0..2);
    assert!(queue.overdue(NOW + limit * 2, limit).is_none());
    let batch = queue.take(2, NOW).unwrap();
    assert!(queue.overdue(NOW + limit, limit).is_none());
    let (ticket, messages, index) = queue.overdue(NOW + limit * 2, limit).unwrap();
    assert_eq!((ticket, messages[index].queue_offset), (batch.ticket, QueueOffset(0)));
    assert_eq!(queue.done(ticket, [QueueOffset(0)]), Some(QueueOffset(1)));
    assert_eq!(queue.done(batch.ticket, [QueueOffset(0)]), None);
}

#[derive(Clone, Debug)]
enum Step {
    Put {
        gap: i64,
        count: i64,
        filtered: i64,
    },
    Take(usize),
    /// Finishes those messages of the oldest batch whose bit is set, puts the others back.
    End(u8),
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let put = (0..3i64, 1..6i64, 0..3i64).prop_map(|(gap, count, filtered)| Step::Put {
        gap,
        count,
        filtered,
    });
    let step = prop_oneof![
        4 => put,
        4 => (1..4usize).prop_map(Step::Take),
        4 => any::<u8>().prop_map(Step::End),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec(step, 0..60)
}

/// The same thing told slowly: a list of offsets, each waiting or taken.
#[derive(Default)]
struct Model {
    unfinished: Vec<(i64, bool)>,
    read_to: i64,
    batches: VecDeque<Batch>,
}

proptest! {
    #[test]
    fn it_agrees_with_the_model(steps in steps()) {
        let (mut queue, mut model) = (ProcessQueue::default(), Model::default());
        for step in steps {
            match step {
                Step::Put { gap, count, filtered } => {
                    let from = model.read_to + gap;
                    let messages = (from..from + count).map(|o| message("T", o, b"abc")).collect();
                    model.unfinished.extend((from..from + count).map(|o| (o, false)));
                    model.read_to = from + count + filtered;
                    prop_assert_eq!(queue.put(messages, QueueOffset(model.read_to)), usize::try_from(count).unwrap());
                }
                Step::Take(max) => {
                    let expected: Vec<i64> =
                        model.unfinished.iter().filter(|(_, taken)| !taken).map(|(o, _)| *o).take(max).collect();
                    let batch = queue.take(max, NOW);
                    let seen: Vec<i64> = batch.iter().flat_map(offsets).map(|o| o.0).collect();
                    prop_assert_eq!(&seen, &expected);
                    for (offset, taken) in &mut model.unfinished {
                        *taken |= expected.contains(offset);
                    }
                    model.batches.extend(batch);
                }
                Step::End(bits) => {
                    let Some(batch) = model.batches.pop_front() else { continue };
                    let (done, back): (Vec<_>, Vec<_>) = offsets(&batch)
                        .into_iter().enumerate().partition(|(i, _)| bits & (1 << i) != 0);
                    let done: Vec<_> = done.into_iter().map(|(_, o)| o).collect();
                    let back: Vec<_> = back.into_iter().map(|(_, o)| o).collect();
                    let held = model.unfinished.iter().any(|(o, _)| done.contains(&QueueOffset(*o)));
                    model.unfinished.retain(|(o, _)| !done.contains(&QueueOffset(*o)));
                    for (offset, taken) in &mut model.unfinished {
                        *taken &= !back.contains(&QueueOffset(*offset));
                    }
                    let progress = model.unfinished.first().map_or(model.read_to, |(o, _)| *o);
                    prop_assert_eq!(queue.done(batch.ticket, done), held.then_some(QueueOffset(progress)));
                    queue.put_back(batch.ticket, back, false);
                }
                Step::Clear => {
                    model.unfinished.clear();
                    queue.clear();
                }
            }
            let load = queue.load();
            prop_assert_eq!(load.count, model.unfinished.len());
            prop_assert_eq!(load.bytes, model.unfinished.len() * 3);
            let span = match (model.unfinished.first(), model.unfinished.last()) {
                (Some((first, _)), Some((last, _))) => last - first,
                _ => 0,
            };
            prop_assert_eq!(load.span, span);
            if let Some(progress) = queue.progress() {
                prop_assert!(model.unfinished.first().is_none_or(|(first, _)| progress.0 <= *first));
            }
        }
    }
}
