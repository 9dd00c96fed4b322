//! Heartbeats of clients (34), their good-bye (35) and the check of a filter (46).

use std::collections::BTreeSet;

use compact_str::CompactString;
use rmq_message::subscription::{ExpressionType, Subscription};
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body, wire_enum};

/// All groups of one client.
#[doc(alias = "HeartbeatData")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// Client id.
    #[serde(rename = "clientID")]
    pub client_id: CompactString,
    /// Its consumer groups.
    pub consumer_data_set: Vec<ConsumerGroup>,
    /// Hash of the subscriptions; 0: not used.
    pub heartbeat_fingerprint: i32,
    /// Its producer groups.
    pub producer_data_set: Vec<ProducerGroup>,
    /// Whether the subscriptions are left out, since they are unchanged.
    pub without_sub: bool,
}

/// Membership in a producer group.
#[doc(alias = "ProducerData")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProducerGroup {
    /// Group.
    pub group_name: CompactString,
}

/// Membership in a consumer group.
#[doc(alias = "ConsumerData")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerGroup {
    /// Where a group without progress begins.
    pub consume_from_where: ConsumeFromWhere,
    /// How it gets its messages.
    pub consume_type: ConsumeType,
    /// Group.
    pub group_name: CompactString,
    /// Shared or each for itself.
    pub message_model: MessageModel,
    /// Its subscriptions.
    pub subscription_data_set: Vec<TopicSubscription>,
    /// Whether the client belongs to a unit.
    pub unit_mode: bool,
}

/// A subscription as it travels; [`Subscription`] is what the program works with.
#[doc(alias = "SubscriptionData")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicSubscription {
    /// Whether a class filters.
    pub class_filter_mode: bool,
    /// Java hashes of the tags.
    pub code_set: BTreeSet<i32>,
    /// `TAG` or `SQL92`.
    pub expression_type: CompactString,
    /// Expression.
    pub sub_string: CompactString,
    /// Version, ms since 1970.
    pub sub_version: i64,
    /// Tags.
    pub tags_set: BTreeSet<CompactString>,
    /// Topic.
    pub topic: CompactString,
}

impl From<&Subscription> for TopicSubscription {
    fn from(subscription: &Subscription) -> Self {
        Self {
            class_filter_mode: false,
            code_set: subscription.codes.clone(),
            expression_type: subscription.kind.as_str().into(),
            sub_string: subscription.expression.clone(),
            sub_version: subscription.version,
            tags_set: subscription.tags.clone(),
            topic: subscription.topic.clone(),
        }
    }
}

impl From<TopicSubscription> for Subscription {
    fn from(wire: TopicSubscription) -> Self {
        Self {
            topic: wire.topic,
            expression: wire.sub_string,
            kind: ExpressionType::parse(Some(&wire.expression_type)),
            tags: wire.tags_set,
            codes: wire.code_set,
            version: wire.sub_version,
        }
    }
}

wire_enum! {
    /// How a consumer gets its messages.
    pub enum ConsumeType {
        /// It pulls by itself.
        Pull = "CONSUME_ACTIVELY",
        /// It pushes them to a listener.
        #[default]
        Push = "CONSUME_PASSIVELY",
        /// The broker hands them out one by one.
        Pop = "CONSUME_POP",
    }

    /// Who of a group gets a message.
    pub enum MessageModel {
        /// Every member.
        Broadcasting = "BROADCASTING",
        /// One member.
        #[default]
        Clustering = "CLUSTERING",
    }

    /// Where a group without progress begins.
    pub enum ConsumeFromWhere {
        /// At the end.
        #[default]
        LastOffset = "CONSUME_FROM_LAST_OFFSET",
        /// Deprecated spelling of the end.
        LastOffsetAndFromMinWhenBootFirst = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        /// Deprecated spelling of the beginning.
        MinOffset = "CONSUME_FROM_MIN_OFFSET",
        /// Deprecated spelling of the end.
        MaxOffset = "CONSUME_FROM_MAX_OFFSET",
        /// At the beginning.
        FirstOffset = "CONSUME_FROM_FIRST_OFFSET",
        /// At a time.
        Timestamp = "CONSUME_FROM_TIMESTAMP",
    }
}

/// Asks a broker to check the filter of a subscription (46).
#[doc(alias = "CheckClientRequestBody")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckClientConfig {
    /// Client id.
    pub client_id: CompactString,
    /// Group.
    pub group: CompactString,
    /// Namespace.
    pub namespace: Option<CompactString>,
    /// Subscription.
    pub subscription_data: TopicSubscription,
}

header! {
    /// Answer to a heartbeat. Another broker may leave both out.
    pub struct HeartbeatResponse {
        /// Whether the broker understands heartbeats without subscriptions.
        supports_v2: Option<bool> = "IS_SUPPORT_HEART_BEAT_V2",
        /// Whether the broker needs the subscriptions again.
        subscription_changed: Option<bool> = "IS_SUB_CHANGE",
    }

    /// A client leaves a group (35).
    #[doc(alias = "UnregisterClientRequestHeader")]
    pub struct UnregisterClient {
        /// Client id.
        client_id: CompactString = "clientID" or "",
        /// Producer group that it leaves.
        producer_group: Option<CompactString> = "producerGroup",
        /// Consumer group that it leaves.
        consumer_group: Option<CompactString> = "consumerGroup",
    }
}

json_body!(Heartbeat, CheckClientConfig);

conversation! {
    Heartbeat = HEART_BEAT => HeartbeatResponse;
    UnregisterClient = UNREGISTER_CLIENT => ();
    CheckClientConfig = CHECK_CLIENT_CONFIG => ();
}
