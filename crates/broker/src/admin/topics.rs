//! Topics: 17, 18, 21, 215, 305, 351.

use std::sync::Arc;

use rmq_message::{CompactString, Timestamp, name};
use rmq_remoting::protocol::register::DataVersion;
use rmq_remoting::protocol::topic::{
    AllTopicConfigs, AllTopicConfigsResponse, CreateTopic, CreateTopics, DeleteTopic,
    GetTopicConfig, TopicConfig, TopicConfigs, TopicList,
};
use rmq_remoting::{RemotingCommand, Reply, Response};
use rmq_runtime::{Clock, ClockExt, Tasks};
use rmq_store::StoreAdmin;

use super::Page;
use crate::append::SAVE_WAIT;
use crate::attributes;
use crate::document::Document;
use crate::hold::HoldService;
use crate::offset_table::OffsetTable;
use crate::pop::order::OrderTable;
use crate::pop::receipt::Kind;
use crate::processor::offset::{answer, read};
use crate::queue_lock::LockTable;
use crate::registrar::Publication;
use crate::reply;
use crate::stats::Stats;
use crate::topic_table::{self, TopicTable};

/// Serves them.
pub(crate) struct TopicAdmin {
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) offsets: Arc<OffsetTable>,
    pub(crate) locks: Arc<LockTable>,
    pub(crate) holds: Arc<HoldService>,
    pub(crate) admin: Arc<dyn StoreAdmin>,
    pub(crate) publication: Arc<Publication>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) orders: Arc<OrderTable>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
}

impl TopicAdmin {
    /// Makes or alters a topic (17).
    pub(crate) fn create(&self, request: &RemotingCommand) -> Reply {
        let change = read::<CreateTopic>(request).and_then(|asked| {
            let attributes = attributes::parse(asked.attributes.as_deref().unwrap_or_default())
                .map_err(reply::failed)?;
            self.update(TopicConfig {
                attributes,
                order: asked.order,
                perm: asked.perm,
                read_queue_nums: asked.read_queue_nums,
                topic_filter_type: asked.topic_filter_type,
                topic_name: asked.topic,
                topic_sys_flag: asked.topic_sys_flag.unwrap_or(0),
                write_queue_nums: asked.write_queue_nums,
            })
        });
        self.when_published(change)
    }

    /// Makes or alters topics (18). Unlike with Apache RocketMQ one that is already there as it is
    /// asked for does not keep the others from being made.
    pub(crate) fn create_all(&self, request: &RemotingCommand) -> Reply {
        let change = read::<CreateTopics>(request).and_then(|asked| {
            for config in &asked.topic_config_list {
                check(config, &self.topics)?;
            }
            let mut last = None;
            for config in asked.topic_config_list {
                last = self.update(config)?.or(last);
            }
            Ok(last)
        });
        self.when_published(change)
    }

    fn update(&self, config: TopicConfig) -> Result<Option<u64>, Response> {
        check(&config, &self.topics)?;
        let now = Timestamp::from(self.clock.wall());
        self.topics.update(config, now).map_err(|error| match error {
            topic_table::UpdateError::Queues { .. } => reply::invalid(error),
            error => reply::failed(error),
        })
    }

    /// Answers when the change is saved, and name servers have had a moment to learn of it.
    fn when_published(&self, change: Result<Option<u64>, Response>) -> Reply {
        let change = match change {
            Ok(Some(change)) => change,
            Ok(None) => return Reply::Now(reply::unset()),
            Err(refused) => return Reply::Now(refused),
        };
        let saved = self.topics.changes().saved(change);
        let (clock, publication) = (Arc::clone(&self.clock), Arc::clone(&self.publication));
        Reply::Later(Box::pin(async move {
            match clock.timeout(SAVE_WAIT, saved).await {
                Ok(Ok(())) => {
                    publication.wait(change, &clock).await;
                    reply::unset()
                }
                Ok(Err(_)) | Err(_) => reply::unsaved(),
            }
        }))
    }

    /// Deletes a topic, and all that is known of it (215, INV-35).
    pub(crate) fn delete(&self, request: &RemotingCommand) -> Reply {
        let topic = match read::<DeleteTopic>(request) {
            Ok(asked) => asked.topic,
            Err(refused) => return Reply::Now(refused),
        };
        if topic.trim().is_empty() {
            return Reply::Now(reply::invalid("The specified topic is blank."));
        }
        if self.topics.is_system(&topic) {
            return Reply::Now(reply::system_topic(&topic));
        }
        let mut gone = self.pop_retries(&topic);
        gone.push(topic);
        let forgets: Vec<_> = gone.iter().map(|topic| self.forget(topic)).collect();
        Reply::Later(Box::pin(async move {
            for forget in forgets {
                if let Err(refused) = forget.await {
                    return refused;
                }
            }
            Response::ok()
        }))
    }

    /// The topics that hold what groups popped of this one and did not acknowledge.
    fn pop_retries(&self, topic: &str) -> Vec<CompactString> {
        let groups = self.offsets.groups_of(topic);
        let names = groups
            .iter()
            .flat_map(|group| [Kind::RetryV1, Kind::RetryV2].map(|kind| kind.topic(topic, group)));
        // By the older form of these names one may be the ordinary retry topic of another group.
        let is_of_group = |topic: &str| {
            let group = topic.strip_prefix(name::RETRY_PREFIX).unwrap_or(topic);
            !self.offsets.topics_of(group).is_empty()
        };
        names.filter(|name| self.topics.find(name).is_some() && !is_of_group(name)).collect()
    }

    /// Takes a topic out of every table at once; its queues are gone when the future is done.
    pub(crate) fn forget(
        &self,
        topic: &str,
    ) -> impl Future<Output = Result<(), Response>> + Send + 'static {
        let change = self.topics.remove(topic, Timestamp::from(self.clock.wall()));
        self.offsets.forget_topic(topic);
        self.locks.forget_topic(topic);
        self.stats.forget_topic(topic);
        self.orders.forget_topic(topic);
        self.holds.wake_topic(topic);
        let saved = change.map(|change| self.topics.changes().saved(change));
        let (admin, tasks) = (Arc::clone(&self.admin), self.tasks.clone());
        let (clock, topic) = (Arc::clone(&self.clock), topic.to_owned());
        async move {
            let deleted = tasks.blocking(move || admin.delete_topic(&topic)).await;
            match deleted {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(reply::failed(error)),
                None => return Err(reply::failed("the topic could not be deleted")),
            }
            match saved {
                None => Ok(()),
                Some(saved) => match clock.timeout(SAVE_WAIT, saved).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) | Err(_) => Err(reply::unsaved()),
                },
            }
        }
    }

    /// All topics, by pages (21).
    pub(crate) fn all(&self, request: &RemotingCommand) -> Response {
        answer(read::<AllTopicConfigs>(request).map(|asked| {
            let (data_version, mut table) = self.topics.snapshot();
            let total = i32::try_from(table.len()).unwrap_or(i32::MAX);
            let page = Page {
                first: asked.topic_seq,
                count: asked.max_topic_num,
                version: asked.data_version.as_deref(),
            };
            page.cut(&mut table, data_version);
            Response::of(&(
                AllTopicConfigsResponse { total_topic_num: Some(total) },
                TopicConfigs {
                    data_version,
                    mapping_data_version: Some(DataVersion::default()),
                    topic_config_table: table,
                },
            ))
        }))
    }

    /// One topic (351).
    pub(crate) fn get(&self, request: &RemotingCommand) -> Response {
        answer(read::<GetTopicConfig>(request).and_then(|asked| {
            let config = self.topics.get(&asked.topic);
            let config = config.ok_or_else(|| reply::no_topic(&asked.topic))?;
            Ok(Response::of(&config))
        }))
    }

    /// The topics of the system (305).
    pub(crate) fn system(&self) -> Response {
        Response::of(&TopicList { broker_addr: None, topic_list: self.topics.system_topics() })
    }

    /// Forgets queues of topics that there are no more (316).
    pub(crate) fn clean_unused(&self) -> Reply {
        let (topics, admin) = (Arc::clone(&self.topics), Arc::clone(&self.admin));
        crate::processor::offset::blocking(self.tasks.clone(), move || {
            let mut unused: Vec<_> = admin.queues().into_iter().map(|queue| queue.topic).collect();
            unused.retain(|topic| topics.find(topic).is_none() && !topics.is_system(topic));
            unused.sort_unstable();
            unused.dedup();
            for topic in unused {
                if let Err(error) = admin.delete_topic(&topic) {
                    return reply::failed(error);
                }
            }
            Response::ok()
        })
    }

    /// Removes what has expired (306).
    pub(crate) fn clean_expired(&self) -> Reply {
        let (admin, now) = (Arc::clone(&self.admin), Timestamp::from(self.clock.wall()));
        crate::processor::offset::blocking(self.tasks.clone(), move || match admin.expire(now) {
            Ok(_) => Response::ok(),
            Err(error) => reply::failed(error),
        })
    }
}

fn check(config: &TopicConfig, topics: &TopicTable) -> Result<(), Response> {
    let topic = &config.topic_name;
    name::validate_topic(topic).map_err(|error| reply::bad_topic_name(topic, &error))?;
    if topics.is_system(topic) {
        return Err(reply::system_topic(topic));
    }
    if !["SINGLE_TAG", "MULTI_TAG"].contains(&&*config.topic_filter_type) {
        let kind = crate::limits::echo(&config.topic_filter_type);
        return Err(reply::failed(format_args!("no topic filter type is called {kind}")));
    }
    if config.attributes.get("+message.type").is_some_and(|kind| kind == "MIXED") {
        return Err(reply::mixed_message_type());
    }
    Ok(())
}
