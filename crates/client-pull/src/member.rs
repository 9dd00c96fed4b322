//! The consumer as its instance sees it. The instance knows it only weakly, so a consumer that is
//! dropped without shutdown takes nothing with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use rmq_client_core::protocol::{
    ConsumeFromWhere, ConsumeType, ConsumerSnapshot, MessageModel, ProcessQueueSnapshot,
    snapshot_property,
};
use rmq_client_core::{GroupMember, MemberCommand, MemberHeartbeat, MemberReply};
use rmq_message::CompactString;

use crate::engine::Engine;

/// The release of the protocol that clients announce.
const VERSION_NAME: &str = "V5_5_0";

/// See the module.
pub(crate) struct Member {
    group: String,
    model: MessageModel,
    engine: Weak<Engine>,
}

impl Member {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        let (group, model) = (engine.settings.group.clone(), engine.settings.message_model);
        Self { group, model, engine: Arc::downgrade(engine) }
    }
}

#[async_trait]
impl GroupMember for Member {
    fn group(&self) -> &str {
        &self.group
    }

    fn heartbeat(&self) -> MemberHeartbeat {
        let subscriptions = self.engine.upgrade().map(|engine| engine.subscriptions());
        MemberHeartbeat {
            consume_type: ConsumeType::Pull,
            model: self.model,
            // Whatever the settings say, as Java does.
            from_where: ConsumeFromWhere::LastOffset,
            subscriptions: subscriptions.unwrap_or_default(),
            unit_mode: false,
        }
    }

    fn topics(&self) -> Vec<CompactString> {
        let Some(engine) = self.engine.upgrade() else { return Vec::new() };
        let subscribed = engine.subscriptions().into_iter().map(|one| one.topic);
        let held = engine.held().into_iter().map(|held| held.queue.topic.clone());
        subscribed.chain(held).collect()
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

    async fn command(&self, command: MemberCommand) -> MemberReply {
        let Some(engine) = self.engine.upgrade() else { return MemberReply::Unsupported };
        match command {
            MemberCommand::ResetOffsets { offsets, .. } => {
                engine.reset(&offsets).await;
                MemberReply::Done
            }
            MemberCommand::Positions { topic } => {
                let mut positions = engine.progress.snapshot();
                positions.retain(|queue, _| queue.topic == topic);
                MemberReply::Positions(positions)
            }
            MemberCommand::Describe => MemberReply::Snapshot(Box::new(describe(&engine))),
            _ => MemberReply::Unsupported,
        }
    }
}

/// What the consumer is doing, for operators.
fn describe(engine: &Engine) -> ConsumerSnapshot {
    let mut mq_table = BTreeMap::new();
    for held in engine.held() {
        let committed = engine.progress.memory(&held.queue);
        let snapshot = ProcessQueueSnapshot {
            commit_offset: committed.map_or(-1, |offset| offset.0),
            cached_msg_count: i32::try_from(held.len()).unwrap_or(i32::MAX),
            ..ProcessQueueSnapshot::default()
        };
        mq_table.insert(held.queue.clone(), snapshot);
    }
    let properties = [
        (snapshot_property::CONSUME_TYPE, ConsumeType::Pull.to_string()),
        (snapshot_property::CLIENT_VERSION, VERSION_NAME.to_owned()),
    ];
    ConsumerSnapshot {
        jstack: Some(engine.tasks.running().join("\n")),
        mq_table,
        properties: properties.into_iter().map(|(name, text)| (name.into(), text)).collect(),
        subscription_set: engine.subscriptions().iter().map(Into::into).collect(),
        ..ConsumerSnapshot::default()
    }
}
