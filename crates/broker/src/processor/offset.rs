//! Positions: progress of groups (14, 15, 43, 45) and ends of queues (29, 30, 31, 32).

use std::sync::Arc;

use rmq_message::record::RecordView;
use rmq_message::{QueueOffset, Timestamp};
use rmq_remoting::protocol::offset::{
    Boundary, EarliestStoreTime, MaxOffset, MinOffset, OffsetResponse, QueryConsumerOffset,
    SearchOffset, TimestampResponse, UpdateConsumerOffset,
};
use rmq_remoting::{FieldError, PayloadError, Peer, RemotingCommand, Reply, Response};
use rmq_runtime::{Clock, Tasks};
use rmq_store::{
    AdmitAll, MessageStore, QueueKey, ReadError, ReadOutcome, ReadRequest, ReadStatus,
};

use crate::cold::ColdReads;
use crate::consumer_registry::ConsumerRegistry;
use crate::delay::DelayProgress;
use crate::group_table::GroupTable;
use crate::offset_table::{Backward, Commit, OffsetTable, Place};
use crate::reply;
use crate::topic_table::TopicTable;

/// Serves positions.
pub(crate) struct OffsetRequests {
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) delays: Arc<DelayProgress>,
    pub(crate) consumers: Arc<ConsumerRegistry>,
    pub(crate) store: Arc<dyn MessageStore>,
    pub(crate) cold: Arc<ColdReads>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
}

impl OffsetRequests {
    /// Where a group stands (14).
    pub(crate) fn query(&self, request: &RemotingCommand) -> Reply {
        let asked: QueryConsumerOffset = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let place =
            Place { group: &asked.consumer_group, topic: &asked.topic, queue_id: asked.queue_id };
        if let Some(offset) = self.offsets.committed(place) {
            return Reply::Now(Response::of(&OffsetResponse { offset }));
        }
        if asked.set_zero_if_not_found == Some(false) {
            return Reply::Now(reply::no_progress_not_zero());
        }
        // A new group on a young queue starts with its first message; on an old one the client
        // decides.
        let queue = QueueKey::new(&asked.topic, asked.queue_id);
        self.cold.with_one(queue, QueueOffset::ZERO, |outcome| match outcome {
            Ok(outcome) if outcome.status == ReadStatus::Found && !outcome.suggest_replica => {
                Response::of(&OffsetResponse { offset: 0 })
            }
            Ok(_) => reply::no_progress(),
            Err(error) => reply::read_failed(&error),
        })
    }

    /// A group has come so far (15). Members say so oneway, again and again, also those that have
    /// lost a queue and do not know it yet: they set back nothing (INV-22, INV-25). Who waits for
    /// an answer means it.
    pub(crate) fn update(&self, peer: &Peer, request: &RemotingCommand) -> Response {
        answer(self.update_checked(peer, request))
    }

    fn update_checked(&self, peer: &Peer, request: &RemotingCommand) -> Result<Response, Response> {
        let said: UpdateConsumerOffset = request.payload().map_err(|error| match error {
            PayloadError::Field(FieldError::Missing { name: "topic" }) => reply::failed(error),
            error => reply::invalid(error),
        })?;
        if self.groups.peek(&said.consumer_group).is_none() {
            return Err(reply::commit_group_missing(&said.consumer_group));
        }
        let topic = self.topics.find(&said.topic);
        let topic = topic.ok_or_else(|| reply::commit_topic_missing(&said.topic))?;
        if !(0..topic.queues()).contains(&said.queue_id) {
            return Err(reply::invalid(format_args!(
                "queueId[{}] is illegal, topic:[{}]",
                said.queue_id, said.topic
            )));
        }
        let place =
            Place { group: &said.consumer_group, topic: &said.topic, queue_id: said.queue_id };
        let now = Timestamp::from(self.clock.wall());
        let by_the_way = request.is_oneway()
            && !self.consumers.may_set_back(&said.consumer_group, peer.id())
            && !self.is_beyond_the_end(place);
        let backward = if by_the_way { Backward::Ignored } else { Backward::Allowed };
        match self.offsets.commit(place, said.commit_offset, backward, now) {
            Commit::Done => Ok(Response::ok()),
            Commit::Reset => Ok(reply::commit_after_reset()),
            Commit::Refused => Err(reply::invalid(format_args!(
                "commitOffset[{}] is no position, or there is no room for it",
                said.commit_offset
            ))),
        }
    }

    /// Whether the group has come further than its queue goes: part of the log is lost, and whoever
    /// notices corrects it.
    fn is_beyond_the_end(&self, place: Place<'_>) -> bool {
        let end = self.store.offsets(&QueueKey::new(place.topic, place.queue_id)).end;
        self.offsets.committed(place).is_some_and(|known| known > end.0)
    }

    /// The position of a time (29).
    pub(crate) fn search(&self, request: &RemotingCommand) -> Reply {
        let asked: SearchOffset = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let (store, tasks) = (Arc::clone(&self.store), self.tasks.clone());
        let search = move || -> Result<QueueOffset, ReadError> {
            let boundary = match asked.boundary {
                Some(Boundary::Upper) => rmq_store::Boundary::Upper,
                Some(Boundary::Lower) | None => rmq_store::Boundary::Lower,
            };
            let queue = QueueKey::new(&asked.topic, asked.queue_id);
            store.offset_at(&queue, Timestamp(asked.timestamp), boundary)
        };
        blocking(tasks, move || match search() {
            Ok(offset) => Response::of(&OffsetResponse { offset: offset.0 }),
            Err(error) => reply::read_failed(&error),
        })
    }

    /// Where the next message will be (30).
    pub(crate) fn max(&self, request: &RemotingCommand) -> Response {
        answer(read::<MaxOffset>(request).map(|asked| {
            let range = self.store.offsets(&QueueKey::new(&asked.topic, asked.queue_id));
            Response::of(&OffsetResponse { offset: range.end.0 })
        }))
    }

    /// Where the first message is (31).
    pub(crate) fn min(&self, request: &RemotingCommand) -> Response {
        answer(read::<MinOffset>(request).map(|asked| {
            let range = self.store.offsets(&QueueKey::new(&asked.topic, asked.queue_id));
            Response::of(&OffsetResponse { offset: range.start.0 })
        }))
    }

    /// When the first message was stored (32).
    pub(crate) fn earliest(&self, request: &RemotingCommand) -> Reply {
        let asked: EarliestStoreTime = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let queue = QueueKey::new(&asked.topic, asked.queue_id);
        let start = self.store.offsets(&queue).start;
        self.cold.with_one(queue, start, |outcome| match outcome {
            Ok(outcome) => {
                let timestamp = first_time(&outcome).map_or(-1, |time| time.0);
                Response::of(&TimestampResponse { timestamp })
            }
            Err(error) => reply::read_failed(&error),
        })
    }

    /// The progress of all groups (43).
    pub(crate) fn all(&self) -> Response {
        Response::ok().with_body(self.offsets.document())
    }

    /// The progress of the delay levels (45).
    pub(crate) fn delays(&self) -> Response {
        Response::ok().with_body(self.delays.document())
    }
}

/// When the message at an offset was stored; `None` when there is none.
pub(crate) fn store_time(
    store: &dyn MessageStore,
    queue: &QueueKey,
    offset: QueueOffset,
) -> Result<Option<Timestamp>, ReadError> {
    let request = ReadRequest { queue, offset, count_max: 1, bytes_max: 1 };
    Ok(first_time(&store.read(&request, &AdmitAll)?))
}

fn first_time(outcome: &ReadOutcome) -> Option<Timestamp> {
    let record = outcome.records.first().and_then(|record| RecordView::parse(record).ok());
    record.map(|record| record.store_timestamp)
}

/// What the request says, or the answer that it cannot be read.
pub(crate) fn read<P: rmq_remoting::Payload>(request: &RemotingCommand) -> Result<P, Response> {
    request.payload().map_err(reply::failed)
}

/// Whichever it is.
pub(crate) fn answer(result: Result<Response, Response>) -> Response {
    result.unwrap_or_else(|refused| refused)
}

/// Answers from a thread that may block.
pub(crate) fn blocking(tasks: Tasks, serve: impl FnOnce() -> Response + Send + 'static) -> Reply {
    Reply::Later(Box::pin(async move {
        tasks.blocking(serve).await.unwrap_or_else(|| reply::failed("the request has failed"))
    }))
}
