//! Consumer groups on brokers (200, 201, 207, 225, 352, 353).

use std::collections::BTreeMap;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::declare::{conversation, header, json_body, wire_enum};
use super::register::DataVersion;

/// Settings of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionGroupConfig {
    /// Attributes.
    pub attributes: BTreeMap<CompactString, CompactString>,
    /// Broker id to read from.
    pub broker_id: i64,
    /// Whether broadcast consumption is allowed.
    pub consume_broadcast_enable: bool,
    /// Whether consumption is allowed.
    pub consume_enable: bool,
    /// Whether a group without progress may begin at the beginning.
    pub consume_from_min_enable: bool,
    /// Whether messages are consumed in order (pop).
    pub consume_message_orderly: bool,
    /// Minutes before a consumption counts as lost.
    pub consume_timeout_minute: i32,
    /// Group.
    pub group_name: CompactString,
    /// When messages come again.
    pub group_retry_policy: GroupRetryPolicy,
    /// Unit bits.
    pub group_sys_flag: i32,
    /// Whether members are told of changes.
    pub notify_consumer_ids_changed_enable: bool,
    /// Deliveries before a message is given up.
    pub retry_max_times: i32,
    /// Queues of the retry topic.
    pub retry_queue_nums: i32,
    /// Subscriptions that members must have.
    pub subscription_data_set: Option<Vec<RequiredSubscription>>,
    /// Broker id to read from when the group is slow.
    pub which_broker_when_consume_slowly: i64,
}

impl Default for SubscriptionGroupConfig {
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            broker_id: 0,
            consume_broadcast_enable: true,
            consume_enable: true,
            consume_from_min_enable: true,
            consume_message_orderly: false,
            consume_timeout_minute: 15,
            group_name: CompactString::default(),
            group_retry_policy: GroupRetryPolicy::default(),
            group_sys_flag: 0,
            notify_consumer_ids_changed_enable: true,
            retry_max_times: 16,
            retry_queue_nums: 1,
            subscription_data_set: None,
            which_broker_when_consume_slowly: 1,
        }
    }
}

/// When messages come again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupRetryPolicy {
    /// Steps of the customized policy.
    pub customized_retry_policy: Option<CustomizedRetryPolicy>,
    /// Formula of the exponential policy.
    pub exponential_retry_policy: Option<ExponentialRetryPolicy>,
    /// Which one applies.
    #[serde(rename = "type")]
    pub kind: RetryPolicyKind,
}

wire_enum! {
    /// Kinds of retry policies.
    #[doc(alias = "GroupRetryPolicyType")]
    pub enum RetryPolicyKind {
        /// A formula.
        Exponential = "EXPONENTIAL",
        /// Steps.
        #[default]
        Customized = "CUSTOMIZED",
    }
}

/// Retry after these steps.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CustomizedRetryPolicy {
    /// Ms before each delivery.
    pub next: Vec<i64>,
}

/// Retry after `initial · multiplierⁿ`, at most `max`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExponentialRetryPolicy {
    /// Ms.
    pub initial: i64,
    /// Ms.
    pub max: i64,
    /// Factor.
    pub multiplier: i64,
}

impl Default for ExponentialRetryPolicy {
    fn default() -> Self {
        Self { initial: 5_000, max: 7_200_000, multiplier: 2 }
    }
}

/// A subscription that members must have.
#[doc(alias = "SimpleSubscriptionData")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequiredSubscription {
    /// Expression.
    pub expression: CompactString,
    /// `TAG` or `SQL92`.
    pub expression_type: CompactString,
    /// Topic.
    pub topic: CompactString,
    /// Version.
    pub version: i64,
}

/// Settings of many groups (225).
#[doc(alias = "SubscriptionGroupList")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateGroups {
    /// Groups.
    pub group_config_list: Vec<SubscriptionGroupConfig>,
}

/// Groups of a broker (answer to 201), and the document in which it keeps them.
#[doc(alias = "SubscriptionGroupWrapper")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupConfigs {
    /// Version of the table.
    pub data_version: DataVersion,
    /// Forbidden bits by group and topic.
    pub forbidden_table: BTreeMap<CompactString, BTreeMap<CompactString, i32>>,
    /// By group.
    pub subscription_group_table: BTreeMap<CompactString, SubscriptionGroupConfig>,
}

header! {
    /// Asks for all groups of a broker, by pages (201). Old clients send no field and get all.
    #[doc(alias = "GetAllSubscriptionGroupRequestHeader")]
    pub struct AllGroupConfigs {
        /// First row of the page.
        group_seq: Option<i32> = "groupSeq",
        /// Version of the earlier pages, as JSON text.
        data_version: Option<CompactString> = "dataVersion",
        /// Rows of a page.
        max_group_num: Option<i32> = "maxGroupNum",
    }

    /// Answer to a page.
    pub struct AllGroupConfigsResponse {
        /// Rows in all.
        total_group_num: Option<i32> = "totalGroupNum",
    }

    /// Asks for the settings of a group (352); code 26 when there is none.
    #[doc(alias = "GetSubscriptionGroupConfigRequestHeader")]
    pub struct GetGroupConfig {
        /// Group.
        group: CompactString = "group",
    }

    /// Removes a group (207).
    #[doc(alias = "DeleteSubscriptionGroupRequestHeader")]
    pub struct DeleteGroup {
        /// Group.
        group_name: CompactString = "groupName",
        /// Whether its progress goes too.
        clean_offset: Option<bool> = "cleanOffset",
    }

    /// Forbids or allows a group to read a topic (353); without `readable` only asks.
    #[doc(alias = "UpdateGroupForbiddenRequestHeader")]
    pub struct GroupForbidden {
        /// Group.
        group: CompactString = "group",
        /// Topic.
        topic: CompactString = "topic",
        /// Whether it may.
        readable: Option<bool> = "readable",
    }
}

/// Whether a group may read a topic (answer to 353).
#[doc(alias = "GroupForbidden")]
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupReadable {
    /// Group.
    pub group: CompactString,
    /// Whether it may.
    pub readable: bool,
    /// Topic.
    pub topic: CompactString,
}

json_body!(SubscriptionGroupConfig, CreateGroups, GroupConfigs, GroupReadable);

conversation! {
    SubscriptionGroupConfig = UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => ();
    CreateGroups = UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => ();
    AllGroupConfigs = GET_ALL_SUBSCRIPTIONGROUP_CONFIG => (AllGroupConfigsResponse, GroupConfigs);
    GetGroupConfig = GET_SUBSCRIPTIONGROUP_CONFIG => SubscriptionGroupConfig;
    DeleteGroup = DELETE_SUBSCRIPTIONGROUP => ();
    GroupForbidden = UPDATE_AND_GET_GROUP_FORBIDDEN => GroupReadable;
}
