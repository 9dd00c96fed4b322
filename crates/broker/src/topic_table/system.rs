//! The topics that a broker has from its start.

use std::collections::HashMap;

use rmq_message::{CompactString, name};
use rmq_remoting::protocol::topic::{TopicConfig, perm};

use crate::config::BrokerConfig;
use crate::limits;

const READ_WRITE: i32 = perm::READ | perm::WRITE;

/// They, for this broker.
pub(super) fn topics(config: &BrokerConfig) -> Vec<TopicConfig> {
    let (cluster, broker) = (&config.broker_cluster_name, &config.broker_name);
    let named = |enabled| if enabled { READ_WRITE | perm::INHERIT } else { perm::INHERIT };
    let mut topics = vec![
        row(name::SELF_TEST_TOPIC, 1, READ_WRITE),
        row(name::BENCHMARK_TOPIC, 1024, READ_WRITE),
        row(cluster, 16, named(config.cluster_topic_enable)),
        row(broker, 1, named(config.broker_topic_enable)),
        row(name::OFFSET_MOVED_TOPIC, 1, READ_WRITE),
        row(name::SCHEDULE_TOPIC, schedule_queues(config), READ_WRITE),
        row(&format!("{cluster}_{}", name::REPLY_SUFFIX), 1, READ_WRITE),
        row(&format!("{}{cluster}", name::REVIVE_PREFIX), config.revive_queue_num, READ_WRITE),
        row(&format!("{}{broker}", name::SYNC_MEMBER_PREFIX), 1, perm::INHERIT),
        row(name::HALF_TOPIC, 1, READ_WRITE),
        row(name::OP_HALF_TOPIC, 1, READ_WRITE),
        row(name::ROCKSDB_HALF_TOPIC, 1, READ_WRITE),
        row(name::ROCKSDB_OP_HALF_TOPIC, 1, READ_WRITE),
        row(name::TIMER_TOPIC, 1, READ_WRITE),
    ];
    if config.auto_create_topic_enable {
        let queues = config.default_topic_queue_nums;
        topics.push(row(name::AUTO_CREATE_TOPIC, queues, READ_WRITE | perm::INHERIT));
    }
    if config.trace_topic_enable {
        topics.push(row(&config.msg_trace_topic_name, 1, READ_WRITE));
    }
    topics
}

/// Takes the inherit bit from a template topic that an earlier start has left.
pub(super) fn withdraw(configs: &mut HashMap<CompactString, TopicConfig>, config: &BrokerConfig) {
    if !config.auto_create_topic_enable
        && let Some(template) = configs.get_mut(name::AUTO_CREATE_TOPIC)
    {
        template.perm &= !perm::INHERIT;
    }
}

fn schedule_queues(config: &BrokerConfig) -> i32 {
    let levels = crate::delay::Levels::parse(&config.message_delay_level);
    let levels = levels.map_or(0, |levels| levels.count());
    i32::try_from(levels).unwrap_or(limits::QUEUES_MAX).max(18)
}

fn row(topic: &str, queues: i32, perm: i32) -> TopicConfig {
    TopicConfig { perm, ..super::plain(topic, queues) }
}
