//! Consumption without order: one batch of one queue for one call of the listener.
//!
//! What the listener failed goes back to the broker first; only when the broker has the copy is the
//! message finished here, and only then may progress pass it (INV-20, INV-31). A copy that could not
//! be made leaves the message where it is, and the listener gets it again after five seconds.

use std::sync::Arc;
use std::time::Duration;

use rmq_message::{MessageView, QueueOffset};
use rmq_runtime::{ClockExt, canary};

use crate::engine::{AtWork, Engine};
use crate::listener::{ConsumeOutcome, MessageListener};
use crate::owned_queue::OwnedQueue;
use crate::process_queue::{Batch, Ticket};
use crate::send_back;

/// Wait before messages that could not be sent back are consumed again.
const AGAIN: Duration = Duration::from_secs(5);
/// Overdue messages of one queue that one run gives back.
const OVERDUE_MAX: usize = 16;
/// Delay level of overdue messages.
const OVERDUE_LEVEL: i32 = 3;

/// One batch of one queue.
pub(crate) async fn turn(
    engine: &Arc<Engine>,
    listener: &dyn MessageListener,
    queue: &Arc<OwnedQueue>,
    max: usize,
) {
    let Some(batch) = queue.take(max, engine.now(), &engine.line) else { return };
    let _at_work = AtWork(queue);
    let count = batch.messages.len();
    let context = engine.context(queue, &batch.messages);
    let answer = listener.consume(&batch.messages, &context);
    let is_success = |outcome: &ConsumeOutcome| outcome.done_of(count) == count;
    let (answer, took) = engine.observed(&queue.queue, &batch.messages, answer, is_success).await;
    let outcome = answer.unwrap_or_else(ConsumeOutcome::later);
    queue.touch(engine.wall());
    let done = outcome.done_of(count);
    queue.stats.consumed(done, count - done, took);
    if queue.is_retired() {
        tracing::debug!(queue = %queue.queue, count, "queue was revoked, the outcome does not count");
        return;
    }
    settle(engine, queue, &batch, done, outcome).await;
}

/// Sends back what failed, then counts what is finished.
async fn settle(
    engine: &Arc<Engine>,
    queue: &Arc<OwnedQueue>,
    batch: &Batch,
    done: usize,
    outcome: ConsumeOutcome,
) {
    let offsets = batch.messages.iter().map(|message| message.queue_offset);
    if done == batch.messages.len() {
        queue.done(batch.ticket, offsets, &engine.progress);
        return;
    }
    let mut finished: Vec<QueueOffset> = offsets.take(done).collect();
    let mut again = Vec::new();
    for message in batch.messages.iter().skip(done) {
        if !engine.is_clustering() {
            let offset = message.queue_offset;
            tracing::warn!(queue = %queue.queue, %offset, "failed message is dropped, broadcasting has no retry");
            finished.push(offset);
        } else if queue.holds(batch.ticket, message.queue_offset) {
            if give_back(engine, message, outcome.delay_level()).await
                || canary("INV-31 a message is finished although there is no copy")
            {
                finished.push(message.queue_offset);
            } else {
                again.push(message.queue_offset);
            }
        }
    }
    queue.done(batch.ticket, finished, &engine.progress);
    if !again.is_empty() {
        consume_again(engine, queue, batch.ticket, again);
    }
}

/// Whether the broker has the copy.
async fn give_back(engine: &Engine, message: &MessageView, delay_level: i32) -> bool {
    match send_back::send_back(engine, message, delay_level).await {
        Ok(()) => true,
        Err(error) => {
            let (queue, offset) = (message.queue(), message.queue_offset);
            tracing::warn!(%queue, %offset, %error, "cannot send a failed message back, it is consumed again here");
            false
        }
    }
}

fn consume_again(
    engine: &Arc<Engine>,
    queue: &Arc<OwnedQueue>,
    ticket: Ticket,
    offsets: Vec<QueueOffset>,
) {
    let (shared, queue) = (Arc::clone(engine), Arc::clone(queue));
    engine.spawn("ConsumeMessageScheduledThread", async move {
        tokio::select! {
            biased;
            () = queue.revoked.cancelled() => {}
            () = shared.instance.world().clock.sleep(AGAIN) => {
                queue.put_back(ticket, offsets, true, &shared.line);
            }
        }
    });
}

/// Gives messages back that their listeners have had for too long, so that they do not hold up
/// progress for ever.
pub(crate) async fn clean(engine: &Engine) {
    let limit = engine.settings.consume_timeout();
    loop {
        engine.instance.world().clock.sleep(limit).await;
        for queue in engine.assignment.queues() {
            clean_queue(engine, &queue, limit).await;
        }
    }
}

async fn clean_queue(engine: &Engine, queue: &OwnedQueue, limit: Duration) {
    for _ in 0..OVERDUE_MAX {
        let Some((ticket, messages, index)) = queue.overdue(engine.now(), limit) else { return };
        let Some(message) = messages.get(index) else { return };
        let offset = message.queue_offset;
        if engine.is_clustering() && !give_back(engine, message, OVERDUE_LEVEL).await {
            return;
        }
        tracing::warn!(queue = %queue.queue, %offset, "listener has had a message for too long, it is given back");
        queue.done(ticket, [offset], &engine.progress);
    }
}
