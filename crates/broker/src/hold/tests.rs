use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use rmq_runtime::system::SystemClock;
use rmq_runtime::{BoxFuture, OnFailure, Tasks};
use tokio::sync::watch;

use super::*;

fn at(millis: u64) -> Monotonic {
    Monotonic(Duration::from_millis(millis))
}

fn hold(service: &Arc<HoldService>, queue: &QueueKey, offset: i64, deadline: Monotonic) -> Hold {
    service.register(request(std::slice::from_ref(queue), offset, deadline)).unwrap()
}

fn request(queues: &[QueueKey], offset: i64, deadline: Monotonic) -> HoldRequest<'_> {
    HoldRequest { queues, offset: QueueOffset(offset), share: None, deadline, peer_id: 1 }
}

#[test]
fn of_those_who_share_one_wakes_and_hands_on_what_it_does_not_take() {
    let service = Arc::new(HoldService::default());
    let queues = [QueueKey::new("T", ANY_QUEUE), QueueKey::new("%RETRY%g_T", 0)];
    let register = |share| {
        service.register(HoldRequest { share: Some(share), ..request(&queues, -1, at(1000)) })
    };
    let (mut first, mut second) = (register("g").unwrap(), register("g").unwrap());
    let mut other = register("h").unwrap();
    assert_eq!(service.waiting(&queues[0], "g"), 2);
    service.arrived(&QueueKey::new("T", 3), QueueOffset(1));
    service.arrived(&queues[1], QueueOffset(1));
    assert_eq!(other.wake().now_or_never(), Some(Wake::Arrived));
    assert_eq!(second.wake().now_or_never(), None);
    assert_eq!(first.wake().now_or_never(), Some(Wake::Arrived));
    service.wake_next(&queues, "g");
    drop(first);
    assert_eq!(second.wake().now_or_never(), Some(Wake::Arrived));
}

#[test]
fn an_arrival_wakes_those_of_its_queue_that_it_concerns() {
    let service = Arc::new(HoldService::default());
    let (q0, q1) = (QueueKey::new("T", 0), QueueKey::new("T", 1));
    let mut behind = hold(&service, &q0, 5, at(1000));
    let mut ahead = hold(&service, &q0, 7, at(1000));
    let mut other = hold(&service, &q1, 0, at(1000));
    service.arrived(&q0, QueueOffset(6));
    assert_eq!(behind.wake().now_or_never(), Some(Wake::Arrived));
    assert_eq!(behind.wake().now_or_never(), None);
    assert_eq!(ahead.wake().now_or_never(), None);
    assert_eq!(other.wake().now_or_never(), None);
    behind.advance(QueueOffset(6));
    service.arrived(&q0, QueueOffset(6));
    assert_eq!(behind.wake().now_or_never(), None);
}

#[test]
fn an_arrival_before_the_first_look_is_not_lost() {
    let service = Arc::new(HoldService::default());
    let queue = QueueKey::new("T", 0);
    let mut held = hold(&service, &queue, 5, at(1000));
    service.arrived(&queue, QueueOffset(9));
    assert_eq!(held.wake().now_or_never(), Some(Wake::Arrived));
}

#[test]
fn a_dropped_hold_leaves_nothing_behind() {
    let service = Arc::new(HoldService::default());
    let queue = QueueKey::new("T", 0);
    drop(hold(&service, &queue, 5, at(1000)));
    let waiters = service.waiters.lock();
    assert_eq!((waiters.len(), waiters.next_deadline()), (0, None));
}

#[test]
fn a_connection_holds_a_bounded_number_of_pulls() {
    let service = Arc::new(HoldService::default());
    let queue = QueueKey::new("T", 0);
    let held: Vec<_> = (0..crate::limits::HOLDS_PER_CONNECTION_MAX)
        .map(|_| hold(&service, &queue, 5, at(1000)))
        .collect();
    let request = request(std::slice::from_ref(&queue), 0, at(1));
    assert!(service.register(request).is_none());
    assert!(service.register(HoldRequest { peer_id: 2, ..request }).is_some());
    drop(held);
    assert!(service.register(request).is_some());
}

#[tokio::test]
async fn time_ends_a_hold_exactly_and_closing_ends_all() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let (service, tasks) = (Arc::new(HoldService::default()), Tasks::new("test"));
    let run = Arc::clone(&service).run(Arc::clone(&clock), tasks.stop_token());
    tasks.spawn("hold", OnFailure::Unhealthy, run);
    let queue = QueueKey::new("T", 0);
    let begun = clock.monotonic();
    let mut long = hold(&service, &queue, 5, begun + Duration::from_secs(60));
    let mut short = hold(&service, &queue, 5, begun + Duration::from_millis(20));
    assert_eq!(short.wake().await, Wake::TimedOut);
    let took = clock.monotonic().since(begun);
    assert!(took >= Duration::from_millis(20) && took < Duration::from_secs(4), "{took:?}");
    tasks.request_stop();
    assert_eq!(long.wake().await, Wake::Closing);
    let mut late = hold(&service, &queue, 5, begun + Duration::from_secs(60));
    assert_eq!(late.wake().await, Wake::Closing);
    assert_eq!(service.held(), 3);
}

/// A clock that stands until it is moved.
struct HandClock(watch::Sender<Monotonic>);

impl Clock for HandClock {
    fn wall(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn monotonic(&self) -> Monotonic {
        *self.0.borrow()
    }
    fn sleep_until(&self, at: Monotonic) -> BoxFuture<'static, ()> {
        let mut moved = self.0.subscribe();
        Box::pin(async move {
            let _clock_is_gone = moved.wait_for(|now| *now >= at).await;
        })
    }
    fn utc_offset_ms(&self) -> i64 {
        0
    }
}

#[test]
fn every_five_seconds_all_look_whatever_arrivals_say() {
    let clock = Arc::new(HandClock(watch::Sender::new(at(0))));
    let (service, tasks) = (Arc::new(HoldService::default()), Tasks::new("test"));
    let run = Arc::clone(&service).run(Arc::clone(&clock) as _, tasks.stop_token());
    let mut run = Box::pin(run);
    let mut wait_until = |millis| {
        clock.0.send_replace(at(millis));
        assert!(run.as_mut().now_or_never().is_none(), "it watches on");
    };
    wait_until(0);
    let queue = QueueKey::new("T", 0);
    let mut held = hold(&service, &queue, 5, at(12_000));
    for (millis, woken) in [
        (4_999, None),
        (5_000, Some(Wake::Arrived)),
        (9_999, None),
        (10_000, Some(Wake::Arrived)),
        (11_999, None),
        (12_000, Some(Wake::TimedOut)),
    ] {
        wait_until(millis);
        assert_eq!(held.wake().now_or_never(), woken, "{millis}");
    }
}
