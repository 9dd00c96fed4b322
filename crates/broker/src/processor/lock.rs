//! Queue locks of orderly consumers: 41, 42.

use std::sync::Arc;

use rmq_message::name;
use rmq_remoting::protocol::lock::{LockQueues, LockedQueues, UnlockQueues};
use rmq_remoting::{RemotingCommand, Reply, Response};
use rmq_runtime::Clock;

use crate::append::when_saved;
use crate::document::Document;
use crate::limits;
use crate::queue_lock::LockTable;
use crate::reply;
use crate::topic_table::TopicTable;

/// Serves locks.
pub(crate) struct LockRequests {
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl LockRequests {
    /// Takes or renews locks (41). A new owner is noted on disk before it is told.
    pub(crate) fn lock(&self, request: &RemotingCommand) -> Reply {
        let mut asked = match request.payload::<LockQueues>() {
            Ok(asked) => asked,
            Err(error) => return Reply::Now(reply::failed(error)),
        };
        if let Err(refused) = check(&asked.consumer_group, &asked.client_id) {
            return Reply::Now(refused);
        }
        // What is not there cannot be locked, so that the table stays bounded.
        asked.mq_set.retain(|queue| {
            queue.broker_name.len() <= name::RETRY_TOPIC_LEN_MAX
                && self
                    .topics
                    .find(&queue.topic)
                    .is_some_and(|topic| (0..topic.queues()).contains(&queue.queue_id))
        });
        let now = self.clock.monotonic();
        let granted = self.locks.lock(&asked.consumer_group, &asked.client_id, asked.mq_set, now);
        let response = Response::of(&LockedQueues { lock_ok_mq_set: granted.queues });
        match granted.change {
            Some(change) => when_saved(&self.clock, self.locks.changes().saved(change), response),
            None => Reply::Now(response),
        }
    }

    /// Gives locks back (42).
    pub(crate) fn unlock(&self, request: &RemotingCommand) -> Response {
        match request.payload::<UnlockQueues>() {
            Ok(asked) => {
                self.locks.unlock(&asked.consumer_group, &asked.client_id, &asked.mq_set);
                Response::ok()
            }
            Err(error) => reply::failed(error),
        }
    }
}

fn check(group: &str, client_id: &str) -> Result<(), Response> {
    name::validate_group(group).map_err(|error| reply::bad_group_name(group, &error))?;
    if client_id.is_empty() || client_id.len() > limits::CLIENT_ID_MAX {
        return Err(reply::invalid("the client id is empty or too long"));
    }
    Ok(())
}
