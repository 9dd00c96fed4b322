//! Consumption in order: the next batch of a queue is taken when the one before is done, and only
//! while the broker's lock on the queue is held.
//!
//! A listener may defer batches: they are handled, and finished or rolled back with a later one. A
//! failed batch stays at the head and the queue pauses. A message that has failed too often goes
//! to the retry topic as a message of its own, which the broker passes on to the dead letters.

use std::sync::Arc;
use std::time::Duration;

use rmq_message::QueueOffset;
use rmq_runtime::ClockExt;

use crate::engine::{AtWork, Engine};
use crate::listener::{OrderlyListener, OrderlyOutcome};
use crate::owned_queue::OwnedQueue;
use crate::process_queue::Batch;
use crate::queue_lease::RENEWAL;
use crate::send_back;

/// Wait before the first renewal of leases.
const FIRST_RENEWAL: Duration = Duration::from_secs(1);
/// Shortest and longest pause of a queue, ms.
const PAUSE_MS: (u64, u64) = (10, 30_000);

/// One batch of one queue.
pub(crate) async fn turn(
    engine: &Arc<Engine>,
    listener: &dyn OrderlyListener,
    queue: &Arc<OwnedQueue>,
    max: usize,
) {
    if !queue.is_leased(engine.now()) {
        engine.begin_anew(queue);
        return;
    }
    let Some(batch) = queue.take(max, engine.now(), &engine.line) else { return };
    let _at_work = AtWork(queue);
    let context = engine.context(queue, &batch.messages);
    let answer = listener.consume(&batch.messages, &context);
    let is_success = |outcome: &OrderlyOutcome| outcome.is_success();
    let (answer, took) = engine.observed(&queue.queue, &batch.messages, answer, is_success).await;
    let outcome = answer.unwrap_or_else(OrderlyOutcome::suspend);
    let count = batch.messages.len();
    queue.touch(engine.wall());
    let ok = if outcome.is_success() { count } else { 0 };
    queue.stats.consumed(ok, count - ok, took);
    if queue.is_retired() || !queue.is_leased(engine.now()) {
        tracing::debug!(queue = %queue.queue, count, "queue was lost, the outcome does not count");
        engine.begin_anew(queue);
        return;
    }
    settle(engine, queue, batch, outcome).await;
}

async fn settle(
    engine: &Arc<Engine>,
    queue: &Arc<OwnedQueue>,
    batch: Batch,
    outcome: OrderlyOutcome,
) {
    let offsets = |batch: &Batch| -> Vec<_> {
        batch.messages.iter().map(|message| message.queue_offset).collect()
    };
    match outcome {
        OrderlyOutcome::Success => {
            for done in queue.take_deferred().iter().chain([&batch]) {
                queue.done(done.ticket, offsets(done), &engine.progress);
            }
            queue.reschedule(&engine.line);
        }
        OrderlyOutcome::Defer => {
            queue.defer(batch);
            queue.reschedule(&engine.line);
        }
        OrderlyOutcome::Rollback { millis } => {
            for again in queue.take_deferred().iter().chain([&batch]) {
                queue.put_back(again.ticket, offsets(again), false, &engine.line);
            }
            pause(engine, queue, millis);
        }
        OrderlyOutcome::Suspend { millis } => {
            if keep_failed(engine, queue, &batch).await {
                pause(engine, queue, millis);
            } else {
                queue.reschedule(&engine.line);
            }
        }
    }
}

/// Takes out what has failed too often and puts the rest back; whether there is a rest.
async fn keep_failed(engine: &Engine, queue: &Arc<OwnedQueue>, batch: &Batch) -> bool {
    let max = engine.attempts_max();
    let (mut finished, mut rest): (Vec<QueueOffset>, Vec<QueueOffset>) = (Vec::new(), Vec::new());
    for message in &batch.messages {
        if !engine.is_clustering() || message.reconsume_times < max {
            rest.push(message.queue_offset);
            continue;
        }
        match send_back::send_retry(engine, message).await {
            Ok(()) => finished.push(message.queue_offset),
            Err(error) => {
                let offset = message.queue_offset;
                tracing::warn!(queue = %queue.queue, %offset, %error, "cannot give up a message, its queue pauses");
                rest.push(offset);
            }
        }
    }
    let stays = !rest.is_empty();
    queue.done(batch.ticket, finished, &engine.progress);
    queue.put_back(batch.ticket, rest, true, &engine.line);
    stays
}

fn pause(engine: &Arc<Engine>, queue: &Arc<OwnedQueue>, millis: Option<u64>) {
    let preset = engine.settings.suspend_current_queue_time_millis;
    let millis = millis.unwrap_or_else(|| u64::try_from(preset).unwrap_or(PAUSE_MS.0));
    let wait = Duration::from_millis(millis.clamp(PAUSE_MS.0, PAUSE_MS.1));
    let (shared, queue) = (Arc::clone(engine), Arc::clone(queue));
    engine.spawn("ConsumeMessageScheduledThread", async move {
        tokio::select! {
            biased;
            () = queue.revoked.cancelled() => {}
            () = shared.instance.world().clock.sleep(wait) => queue.reschedule(&shared.line),
        }
    });
}

/// Keeps the brokers' locks alive.
pub(crate) async fn renew_leases(engine: &Engine) {
    let clock = &engine.instance.world().clock;
    clock.sleep(FIRST_RENEWAL).await;
    loop {
        let queues: Vec<_> =
            engine.assignment.queues().into_iter().filter(|queue| queue.is_open()).collect();
        engine.lock(&queues).await;
        clock.sleep(RENEWAL).await;
    }
}
