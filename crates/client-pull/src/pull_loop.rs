//! One task for each held queue: find where to begin, then pull ahead while there is room.

use std::sync::Arc;
use std::time::Duration;

use rmq_client_core::protocol::Boundary;
use rmq_client_core::{ClientError, PullCall, PullOutcome, PullStatus};
use rmq_message::{QueueOffset, Subscription};
use rmq_runtime::ClockExt;

use crate::engine::Engine;
use crate::held_queue::{HeldQueue, Room, Turn};
use crate::settings::ConsumeFrom;

/// Bytes of one pull.
const PULL_BYTES: i32 = 4 << 20;
/// Wait of a loop without room before it looks again.
const FULL_WAIT: Duration = Duration::from_millis(50);
/// Wait after a failure.
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// Wait when the broker is busy, and after an answer that brought nothing at once.
const BUSY_WAIT: Duration = Duration::from_millis(20);
const MIB: usize = 1 << 20;

/// Pulls until the queue is given up.
pub(crate) async fn run(engine: Arc<Engine>, queue: Arc<HeldQueue>) {
    tokio::select! {
        biased;
        () = queue.revoked.cancelled() => {}
        () = pull(&engine, &queue) => {}
    }
}

async fn pull(engine: &Engine, queue: &HeldQueue) {
    let (mut next, mut broker_id) = (None, 0);
    loop {
        let room = engine.room();
        let Turn::Pull { epoch, from } = queue.turn(room) else {
            pause(engine, queue, FULL_WAIT).await;
            continue;
        };
        next = from.or(next);
        let at = match next {
            Some(at) => at,
            None => match begin(engine, queue).await {
                Ok(at) => at,
                Err(error) => {
                    tracing::warn!(queue = %queue.queue, %error, "not known where to begin");
                    pause(engine, queue, RETRY_WAIT).await;
                    continue;
                }
            },
        };
        next = Some(at);
        let outcome = tokio::select! {
            biased;
            () = sought(queue, epoch) => continue,
            outcome = once(engine, queue, at, broker_id) => outcome,
        };
        match outcome {
            Ok(outcome) => {
                broker_id = outcome.broker_id;
                let (status, brought) = (outcome.status, !outcome.messages.is_empty());
                let then = outcome.next;
                if status == PullStatus::OffsetIllegal {
                    tracing::warn!(queue = %queue.queue, %at, to = %then, "no such position");
                }
                if queue.put(epoch, engine.told(outcome.messages)) {
                    next = Some(then);
                    engine.arrived.notify_waiters();
                    if !brought && then == at {
                        pause(engine, queue, BUSY_WAIT).await;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(queue = %queue.queue, %error, "pull failed");
                queue.again(epoch, Some(at));
                pause(engine, queue, RETRY_WAIT).await;
            }
        }
    }
}

/// Waits for that time, or until something is different.
async fn pause(engine: &Engine, queue: &HeldQueue, time: Duration) {
    tokio::select! {
        biased;
        () = queue.changed.notified() => {}
        () = engine.clock().sleep(time) => {}
    }
}

/// Ready when a seek has made the pull of that epoch void. Cancel-safe.
async fn sought(queue: &HeldQueue, epoch: u64) {
    while queue.is_current(epoch) {
        queue.changed.notified().await;
    }
}

async fn once(
    engine: &Engine,
    queue: &HeldQueue,
    at: QueueOffset,
    broker_id: i64,
) -> Result<PullOutcome, ClientError> {
    let subscription = engine.subscription(&queue.queue.topic);
    // Brokers compare no version with a subscription that comes along.
    let subscription = Subscription { version: 0, ..subscription };
    let call = PullCall {
        group: &engine.settings.group,
        queue: &queue.queue,
        offset: at,
        subscription: &subscription,
        send_expression: true,
        max_messages: engine.settings.batch_size,
        max_bytes: PULL_BYTES,
        commit: None,
        suspend: Some(Duration::from_millis(engine.settings.suspend)),
        timeout: engine.settings.time_limit(),
        broker_id,
        lite: true,
    };
    engine.instance.brokers().pull(&call).await
}

/// Where the group stopped, else by the rule of the settings. Unknown is an error, never a number.
async fn begin(engine: &Engine, queue: &HeldQueue) -> Result<QueueOffset, ClientError> {
    let queue = &queue.queue;
    if let Some(offset) = engine.progress.read(queue).await? {
        return Ok(offset);
    }
    let brokers = engine.instance.brokers();
    match engine.settings.consume_from_where {
        ConsumeFrom::FirstOffset => brokers.min_offset(queue).await,
        ConsumeFrom::LastOffset => brokers.max_offset(queue).await,
        ConsumeFrom::Time(time) => brokers.search_offset(queue, time, Boundary::Lower).await,
    }
}

impl Engine {
    /// What one queue may hold while all share the bound of all.
    fn room(&self) -> Room {
        let settings = &self.settings;
        let is_full = self.held_ahead() >= settings.count_max;
        Room {
            count_max: if is_full { 0 } else { settings.queue_count_max },
            bytes_max: settings.queue_mib_max.saturating_mul(MIB),
        }
    }
}
