//! Queues for members (400), and whether they pull or pop (401, 402).

use std::sync::Arc;

use rmq_message::{MessageQueue, Timestamp, name};
use rmq_remoting::protocol::assignment::{
    Assignment, Assignments, QueryAssignment, RequestMode, SetRequestMode,
};
use rmq_remoting::protocol::heartbeat::MessageModel;
use rmq_remoting::{RemotingCommand, Reply, Response};
use rmq_runtime::Clock;

use super::offset::read;
use crate::append::when_saved;
use crate::assignment::modes::RequestModes;
use crate::assignment::routes::RouteView;
use crate::assignment::share::{Strategy, share};
use crate::config::Live;
use crate::consumer_registry::ConsumerRegistry;
use crate::document::Document;
use crate::group_table::GroupTable;
use crate::reply;
use crate::topic_table::TopicTable;

/// Serves them.
pub(crate) struct AssignmentRequests {
    pub(crate) live: Arc<Live>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) consumers: Arc<ConsumerRegistry>,
    pub(crate) modes: Arc<RequestModes>,
    pub(crate) routes: Arc<RouteView>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl AssignmentRequests {
    /// The queues of a member (400). Without an answer it keeps what it has.
    pub(crate) fn query(self: &Arc<Self>, request: &RemotingCommand) -> Reply {
        let asked: QueryAssignment = match read(request) {
            Ok(asked) => asked,
            Err(refused) => return Reply::Now(refused),
        };
        let this = Arc::clone(self);
        Reply::Later(Box::pin(async move {
            let mode = this.mode(&asked);
            let queues = this.share(&asked, &mode).await;
            let of = |queue| Assignment {
                attachments: None,
                message_queue: Some(queue),
                mode: mode.mode,
            };
            let message_queue_assignments =
                queues.map(|queues| queues.into_iter().map(of).collect());
            Response::of(&Assignments { message_queue_assignments })
        }))
    }

    /// Pull unless something else was set; retry topics are always pulled.
    fn mode(&self, asked: &QueryAssignment) -> SetRequestMode {
        let set = self.modes.find(&asked.topic, &asked.consumer_group);
        set.unwrap_or_else(|| SetRequestMode {
            consumer_group: asked.consumer_group.clone(),
            mode: RequestMode::Pull,
            pop_share_queue_num: 0,
            topic: asked.topic.clone(),
        })
    }

    async fn share(
        &self,
        asked: &QueryAssignment,
        mode: &SetRequestMode,
    ) -> Option<Vec<MessageQueue>> {
        let queues = self.routes.queues(&asked.topic).await?;
        if asked.message_model == MessageModel::Broadcasting {
            return Some(queues);
        }
        let members = self.consumers.client_ids(&asked.consumer_group)?;
        let strategy = Strategy::parse(&asked.strategy_name)?;
        share(strategy, mode, &asked.client_id, queues, members)
    }

    /// Sets pull or pop for a group on a topic (401).
    pub(crate) fn set(&self, request: &RemotingCommand) -> Reply {
        self.set_checked(request).unwrap_or_else(Reply::Now)
    }

    fn set_checked(&self, request: &RemotingCommand) -> Result<Reply, Response> {
        let asked: SetRequestMode = read(request)?;
        if name::is_retry(&asked.topic) {
            return Err(reply::retry_mode());
        }
        self.topics.find(&asked.topic).ok_or_else(|| reply::mode_topic_missing(&asked.topic))?;
        let now = Timestamp::from(self.clock.wall());
        let auto_create = self.live.auto_create_group();
        let group = self.groups.find(&asked.consumer_group, auto_create, now);
        group.ok_or_else(reply::mode_group_missing)?;
        let change = self.modes.set(asked).ok_or_else(reply::too_many_modes)?;
        let saved = self.modes.changes().saved(change);
        Ok(when_saved(&self.clock, saved, Response::ok()))
    }

    /// All that was set (402).
    pub(crate) fn all(&self) -> Response {
        Response::ok().with_body(self.modes.document())
    }
}
