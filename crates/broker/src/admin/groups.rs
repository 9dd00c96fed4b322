//! Consumer groups: 200, 201, 207, 225, 352, 353.

use std::sync::Arc;

use rmq_message::{Timestamp, name};
use rmq_remoting::protocol::group::{
    AllGroupConfigs, AllGroupConfigsResponse, CreateGroups, DeleteGroup, GetGroupConfig,
    GroupForbidden, GroupReadable, SubscriptionGroupConfig,
};
use rmq_remoting::{RemotingCommand, Reply, Response};
use rmq_runtime::{Clock, ClockExt};

use super::Page;
use super::topics::TopicAdmin;
use crate::append::{SAVE_WAIT, when_saved};
use crate::config::Live;
use crate::document::Document;
use crate::group_table::{GroupTable, UpdateError};
use crate::offset_table::OffsetTable;
use crate::pop::order::OrderTable;
use crate::processor::offset::{answer, read};
use crate::queue_lock::LockTable;
use crate::reply;
use crate::stats::Stats;
use crate::topic_table::TopicTable;

/// Serves them.
pub(crate) struct GroupAdmin {
    pub(crate) live: Arc<Live>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) orders: Arc<OrderTable>,
    /// Deletes the retry topic of a deleted group.
    pub(crate) topic_admin: Arc<TopicAdmin>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl GroupAdmin {
    /// Makes or alters a group (200).
    pub(crate) fn create(&self, request: &RemotingCommand) -> Reply {
        let change =
            read::<SubscriptionGroupConfig>(request).and_then(|config| self.update(config));
        self.when_saved(change)
    }

    /// Makes or alters groups (225).
    pub(crate) fn create_all(&self, request: &RemotingCommand) -> Reply {
        let change = read::<CreateGroups>(request).and_then(|asked| {
            let mut last = None;
            for config in asked.group_config_list {
                last = self.update(config)?.or(last);
            }
            Ok(last)
        });
        self.when_saved(change)
    }

    fn update(&self, config: SubscriptionGroupConfig) -> Result<Option<u64>, Response> {
        let now = Timestamp::from(self.clock.wall());
        let group = config.group_name.clone();
        self.groups.update(config, now).map_err(|error| match error {
            UpdateError::Name(error) => reply::bad_group_name(&group, &error),
            error @ UpdateError::TooLarge => reply::invalid(error),
            error @ (UpdateError::TooMany | UpdateError::Attribute(_)) => reply::failed(error),
        })
    }

    fn when_saved(&self, change: Result<Option<u64>, Response>) -> Reply {
        match change {
            Ok(Some(change)) => {
                when_saved(&self.clock, self.groups.changes().saved(change), Response::ok())
            }
            Ok(None) => Reply::Now(Response::ok()),
            Err(refused) => Reply::Now(refused),
        }
    }

    /// Deletes a group and all that is known of it, its retry topic too (207, INV-35).
    pub(crate) fn delete(&self, request: &RemotingCommand) -> Reply {
        let group = match read::<DeleteGroup>(request) {
            Ok(asked) => asked.group_name,
            Err(refused) => return Reply::Now(refused),
        };
        let change = self.groups.remove(&group, Timestamp::from(self.clock.wall()));
        self.offsets.forget_group(&group);
        self.locks.forget_group(&group);
        self.stats.forget_group(&group);
        self.orders.forget_group(&group);
        let retry = name::retry_topic(&group);
        let forget = self.topics.find(&retry).map(|_| self.topic_admin.forget(&retry));
        let saved = change.map(|change| self.groups.changes().saved(change));
        let clock = Arc::clone(&self.clock);
        Reply::Later(Box::pin(async move {
            if let Some(forget) = forget
                && let Err(refused) = forget.await
            {
                return refused;
            }
            match saved {
                None => Response::ok(),
                Some(saved) => match clock.timeout(SAVE_WAIT, saved).await {
                    Ok(Ok(())) => Response::ok(),
                    Ok(Err(_)) | Err(_) => reply::unsaved(),
                },
            }
        }))
    }

    /// All groups, by pages (201).
    pub(crate) fn all(&self, request: &RemotingCommand) -> Response {
        answer(read::<AllGroupConfigs>(request).map(|asked| {
            let mut configs = self.groups.snapshot();
            let total = i32::try_from(configs.subscription_group_table.len());
            let page = Page {
                first: asked.group_seq,
                count: asked.max_group_num,
                version: asked.data_version.as_deref(),
            };
            page.cut(&mut configs.subscription_group_table, configs.data_version);
            let total = Some(total.unwrap_or(i32::MAX));
            Response::of(&(AllGroupConfigsResponse { total_group_num: total }, configs))
        }))
    }

    /// One group; asking makes it (352).
    pub(crate) fn get(&self, request: &RemotingCommand) -> Response {
        answer(read::<GetGroupConfig>(request).and_then(|asked| {
            let now = Timestamp::from(self.clock.wall());
            self.groups.find(&asked.group, self.live.auto_create_group(), now);
            let config = self.groups.get(&asked.group).ok_or_else(reply::no_group)?;
            Ok(Response::of(&config))
        }))
    }

    /// Forbids, allows or tells whether a group may read a topic (353).
    pub(crate) fn forbid(&self, request: &RemotingCommand) -> Response {
        answer(read::<GroupForbidden>(request).and_then(|asked| {
            let GroupForbidden { group, topic, readable } = asked;
            if let Some(readable) = readable {
                // Only what is there, so that the table stays bounded.
                if readable || self.groups.peek(&group).is_some() {
                    self.topics.find(&topic).ok_or_else(|| reply::no_topic(&topic))?;
                    let now = Timestamp::from(self.clock.wall());
                    self.groups.set_readable(&group, &topic, readable, now);
                } else {
                    return Err(reply::no_group());
                }
            }
            let readable = self.groups.may_read(&group, &topic);
            Ok(Response::of(&GroupReadable { group, readable, topic }))
        }))
    }
}
