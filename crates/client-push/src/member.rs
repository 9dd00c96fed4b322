//! The consumer as its instance sees it: announced, balanced, and asked by brokers.
//!
//! The instance knows the consumer only weakly, so a consumer that is dropped without shutdown
//! takes nothing with it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use compact_str::CompactString;
use futures_util::FutureExt;
use rmq_client_core::protocol::{
    ConsumeRates, ConsumeType, ConsumerSnapshot, DirectOutcome, DirectResult, MessageModel,
    ProcessQueueSnapshot, snapshot_property,
};
use rmq_client_core::{GroupMember, MemberCommand, MemberHeartbeat, MemberReply};
use rmq_message::{MessageView, Subscription};

use crate::engine::{Engine, Listener};
use crate::listener::{ConsumeContext, ConsumeOutcome, Messages, OrderlyOutcome};
use crate::owned_queue::OwnedQueue;
use crate::pull_loop::restore_topic;
use crate::settings::ConsumeFrom;

/// The release of the protocol that clients announce.
const VERSION_NAME: &str = "V5_5_0";
const MIB: usize = 1024 * 1024;

/// See the module.
pub(crate) struct Member {
    group: Arc<str>,
    model: MessageModel,
    from_where: ConsumeFrom,
    unit_mode: bool,
    engine: Weak<Engine>,
}

impl Member {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self {
            group: Arc::clone(&engine.group),
            model: engine.settings.message_model,
            from_where: engine.settings.consume_from_where,
            unit_mode: engine.settings.unit_mode,
            engine: Arc::downgrade(engine),
        }
    }

    fn subscriptions(&self) -> Vec<Subscription> {
        self.engine.upgrade().map(|engine| engine.subscriptions.all()).unwrap_or_default()
    }
}

#[async_trait]
impl GroupMember for Member {
    fn group(&self) -> &str {
        &self.group
    }

    fn heartbeat(&self) -> MemberHeartbeat {
        MemberHeartbeat {
            consume_type: ConsumeType::Push,
            model: self.model,
            from_where: self.from_where.into(),
            subscriptions: self.subscriptions(),
            unit_mode: self.unit_mode,
        }
    }

    fn topics(&self) -> Vec<CompactString> {
        self.engine.upgrade().map(|engine| engine.subscriptions.topics()).unwrap_or_default()
    }

    async fn rebalance(&self) -> bool {
        match self.engine.upgrade() {
            Some(engine) => engine.rebalance().await,
            None => true,
        }
    }

    async fn persist_offsets(&self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.persist().await;
        }
    }

    fn reconnected(&self) {
        if let Some(engine) = self.engine.upgrade() {
            engine.assignment.doubt();
        }
    }

    async fn command(&self, command: MemberCommand) -> MemberReply {
        let Some(engine) = self.engine.upgrade() else { return MemberReply::Unsupported };
        match command {
            MemberCommand::ResetOffsets { topic, offsets } => {
                engine.reset(&topic, &offsets).await;
                MemberReply::Done
            }
            MemberCommand::Positions { topic } => {
                let mut positions = engine.progress.snapshot();
                positions.retain(|queue, _| queue.topic == topic);
                MemberReply::Positions(positions)
            }
            MemberCommand::Describe => MemberReply::Snapshot(Box::new(engine.describe().await)),
            MemberCommand::ConsumeDirectly { message } => {
                MemberReply::Outcome(engine.consume_directly(*message).await)
            }
            _ => MemberReply::Unsupported,
        }
    }
}

impl Engine {
    /// Has the listener consume one message outside of any queue.
    async fn consume_directly(&self, mut message: MessageView) -> DirectOutcome {
        let (group, queue) = (Arc::clone(&self.group), Arc::new(message.queue()));
        restore_topic(&self.group, self.namespace(), &mut message);
        let messages = Messages::from(vec![message]);
        let context = ConsumeContext::new(group, queue, Arc::default(), &messages);
        let mut auto_commit = true;
        let begun = self.now();
        let (answer, order) = match &self.parts.listener {
            Listener::Concurrent(listener) => {
                let answer = AssertUnwindSafe(listener.consume(&messages, &context)).catch_unwind();
                let result = answer.await.map(|outcome| match outcome {
                    ConsumeOutcome::Success | ConsumeOutcome::SuccessUpTo(_) => {
                        DirectResult::Success
                    }
                    ConsumeOutcome::RetryLater { .. } => DirectResult::Later,
                });
                (result, false)
            }
            Listener::Ordered(listener) => {
                let answer = AssertUnwindSafe(listener.consume(&messages, &context)).catch_unwind();
                let result = answer.await.map(|outcome| match outcome {
                    OrderlyOutcome::Success => DirectResult::Success,
                    OrderlyOutcome::Defer => {
                        auto_commit = false;
                        DirectResult::Success
                    }
                    OrderlyOutcome::Rollback { .. } => DirectResult::Rollback,
                    OrderlyOutcome::Suspend { .. } => DirectResult::Later,
                });
                (result, true)
            }
        };
        let spent = self.now().since(begun);
        DirectOutcome {
            auto_commit,
            remark: answer.is_err().then(|| "the listener panicked".to_owned()),
            consume_result: answer.unwrap_or(DirectResult::ThrowException),
            order,
            spent_time_mills: i64::try_from(spent.as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// What the consumer is doing, for operators.
    pub(crate) async fn describe(&self) -> ConsumerSnapshot {
        let mut mq_table = BTreeMap::new();
        for owned in self.assignment.queues() {
            let commit_offset = match self.progress.memory(&owned.queue) {
                Some(offset) => Some(offset),
                None => self.brokers().query_offset(&self.group, &owned.queue).await.ok().flatten(),
            };
            let snapshot = ProcessQueueSnapshot {
                commit_offset: commit_offset.map_or(-1, |offset| offset.0),
                ..self.describe_queue(&owned)
            };
            mq_table.insert((*owned.queue).clone(), snapshot);
        }
        ConsumerSnapshot {
            jstack: Some(self.instance.tasks().all_running().join("\n")),
            mq_pop_table: self.pops.snapshots(),
            mq_table,
            properties: self.properties(),
            status_table: self.rates(),
            subscription_set: self.subscriptions.all().iter().map(Into::into).collect(),
            ..ConsumerSnapshot::default()
        }
    }

    fn describe_queue(&self, owned: &OwnedQueue) -> ProcessQueueSnapshot {
        let load = owned.load();
        let (first, last) = owned.bounds().map_or((0, 0), |(first, last)| (first.0, last.0));
        let granted = owned.lease.as_ref().and_then(|lease| lease.last_grant());
        ProcessQueueSnapshot {
            cached_msg_count: i32::try_from(load.count).unwrap_or(i32::MAX),
            cached_msg_min_offset: first,
            cached_msg_max_offset: last,
            cached_msg_size_in_mib: i32::try_from(load.bytes / MIB).unwrap_or(i32::MAX),
            droped: !owned.is_open(),
            last_consume_timestamp: owned.last_consume.load(Ordering::Relaxed),
            last_lock_timestamp: granted.map_or(0, |time| time.0),
            last_pull_timestamp: owned.last_pull.load(Ordering::Relaxed),
            locked: owned.is_leased(self.now()),
            ..ProcessQueueSnapshot::default()
        }
    }

    /// Settings and facts as text.
    fn properties(&self) -> BTreeMap<CompactString, String> {
        let settings = serde_json::to_value(&self.settings).unwrap_or_default();
        let settings = settings.as_object().into_iter().flatten();
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut properties: BTreeMap<_, _> =
            settings.map(|(name, value)| (CompactString::from(name), text(value))).collect();
        let servers = self.instance.name_servers();
        let servers = servers.iter().map(|server| format!("{server};"));
        let strategy = self.parts.strategy.name().to_owned();
        for (name, value) in [
            ("allocateMessageQueueStrategy", strategy),
            (snapshot_property::NAMESRV_ADDR, servers.collect()),
            (snapshot_property::THREADPOOL_CORE_SIZE, self.concurrency().to_string()),
            (snapshot_property::CONSUME_ORDERLY, self.is_ordered().to_string()),
            (snapshot_property::CONSUME_TYPE, ConsumeType::Push.to_string()),
            (snapshot_property::CLIENT_VERSION, VERSION_NAME.to_owned()),
            (snapshot_property::START_TIMESTAMP, self.started.to_string()),
        ] {
            properties.insert(name.into(), value);
        }
        properties
    }

    fn rates(&self) -> BTreeMap<CompactString, ConsumeRates> {
        let rates = self.stats.rates().into_iter().map(|(topic, rates)| {
            let rates = ConsumeRates {
                consume_failed_msgs: i64::try_from(rates.failed_count).unwrap_or(i64::MAX),
                consume_failed_tps: rates.failed_tps,
                consume_ok_tps: rates.ok_tps,
                consume_rt: rates.consume_rt_ms,
                pull_rt: rates.pull_rt_ms,
                pull_tps: rates.pull_tps,
            };
            (topic, rates)
        });
        rates.collect()
    }
}
