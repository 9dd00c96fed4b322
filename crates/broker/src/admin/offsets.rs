//! Progress as an operator moves it: 222, 314.

use std::collections::BTreeMap;
use std::sync::Arc;

use rmq_message::{MessageQueue, Timestamp};
use rmq_remoting::protocol::offset::{CloneGroupOffset, ResetOffset, ResetOffsets};
use rmq_remoting::{RemotingCommand, Reply, Response};
use rmq_runtime::{Clock, Tasks};
use rmq_store::{Boundary, MessageStore, QueueKey};

use crate::group_table::GroupTable;
use crate::hold::HoldService;
use crate::identity::Identity;
use crate::offset_table::{OffsetTable, Place};
use crate::processor::offset::{answer, blocking, read};
use crate::reply;
use crate::topic_table::{Topic, TopicTable};

/// Serves them.
#[derive(Clone)]
pub(crate) struct OffsetAdmin {
    pub(crate) identity: Arc<Identity>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) holds: Arc<HoldService>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
}

impl OffsetAdmin {
    /// Moves a group (222). Its members learn it by their next pull.
    pub(crate) fn reset(&self, request: &RemotingCommand) -> Reply {
        let asked: ResetOffset = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let Some(topic) = self.topics.find(&asked.topic) else {
            return Reply::Now(reply::reset_topic_missing(&asked.topic));
        };
        if self.groups.peek(&asked.group).is_none() {
            return Reply::Now(reply::reset_group_missing(&asked.group));
        }
        let this = self.clone();
        blocking(self.tasks.clone(), move || answer(this.reset_queues(&asked, topic)))
    }

    fn reset_queues(&self, asked: &ResetOffset, topic: Topic) -> Result<Response, Response> {
        let ids = match asked.queue_id {
            ..=-1 => 0..topic.read_queues,
            id if id < topic.queues() => id..id.saturating_add(1),
            id => {
                return Err(reply::invalid(format_args!(
                    "queueId[{id}] is illegal, topic:[{}]",
                    asked.topic
                )));
            }
        };
        if ids.is_empty() {
            return Err(reply::failed("No queues to reset."));
        }
        let mut targets = BTreeMap::new();
        for queue_id in ids {
            targets.insert(queue_id, self.target(asked, queue_id)?);
        }
        let now = Timestamp::from(self.clock.wall());
        let mut body = ResetOffsets::default();
        for (queue_id, offset) in targets {
            let place = Place { group: &asked.group, topic: &asked.topic, queue_id };
            self.offsets.reset(place, offset, now);
            let queue = MessageQueue::new(&asked.topic, &self.identity.name, queue_id);
            body.offset_table.insert(queue, offset);
        }
        self.holds.wake_topic(&asked.topic);
        tracing::info!(group = %asked.group, topic = %asked.topic, "progress is reset");
        Ok(Response::of(&body))
    }

    fn target(&self, asked: &ResetOffset, queue_id: i32) -> Result<i64, Response> {
        let queue = QueueKey::new(&asked.topic, queue_id);
        let range = self.store.offsets(&queue);
        let (min, max) = (range.start.0, range.end.0);
        match asked.offset {
            Some(offset) if offset != -1 && asked.queue_id >= 0 => {
                if (min..=max.saturating_add(1)).contains(&offset) {
                    Ok(offset)
                } else {
                    Err(reply::reset_out_of_range(offset, min, max))
                }
            }
            _ if asked.timestamp < 0 => Ok(max),
            _ => {
                let time = Timestamp(asked.timestamp);
                let found = self.store.offset_at(&queue, time, Boundary::Lower);
                found.map(|offset| offset.0).map_err(|error| reply::read_failed(&error))
            }
        }
    }

    /// Copies the progress of a group (314).
    pub(crate) fn clone_group(&self, request: &RemotingCommand) -> Response {
        answer(read::<CloneGroupOffset>(request).and_then(|asked| {
            let topics = match asked.topic.filter(|topic| !topic.trim().is_empty()) {
                Some(topic) => vec![topic],
                None => self.offsets.topics_of(&asked.src_group),
            };
            if self.groups.peek(&asked.dest_group).is_none() {
                return Err(reply::reset_group_missing(&asked.dest_group));
            }
            let now = Timestamp::from(self.clock.wall());
            for topic in topics {
                if self.topics.find(&topic).is_some() {
                    self.offsets.copy(&asked.src_group, &asked.dest_group, &topic, now);
                }
            }
            Ok(Response::ok())
        }))
    }
}
