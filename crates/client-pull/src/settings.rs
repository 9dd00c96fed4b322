//! Settings under the names and with the values of Java's `DefaultLitePullConsumer`.

use std::time::Duration;

use rmq_client_core::protocol::MessageModel;
use rmq_message::{Timestamp, name};
use serde::{Deserialize, Serialize};

use crate::error::StartError;

/// Where a queue begins in which the group has no progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsumeFrom {
    /// At the end.
    #[default]
    #[serde(rename = "CONSUME_FROM_LAST_OFFSET")]
    LastOffset,
    /// At the beginning.
    #[serde(rename = "CONSUME_FROM_FIRST_OFFSET")]
    FirstOffset,
    /// At the first message stored at or after that time.
    Time(Timestamp),
}

/// Settings of a pull consumer. Times are milliseconds.
#[doc(alias = "DefaultLitePullConsumer")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PullSettings {
    /// Group; must be set.
    #[doc(alias = "consumerGroup")]
    #[serde(rename = "consumerGroup")]
    pub group: String,
    /// Whether members share the queues, or each has all of them.
    #[serde(skip)]
    pub message_model: MessageModel,
    /// Where a queue begins in which the group has no progress.
    pub consume_from_where: ConsumeFrom,
    /// Whether polls commit what earlier ones have handed out.
    pub auto_commit: bool,
    /// How often they do, at least 1000.
    #[serde(rename = "autoCommitIntervalMillis")]
    pub auto_commit_interval: u64,
    /// Messages of one pull, and of one poll.
    #[serde(rename = "pullBatchSize")]
    pub batch_size: i32,
    /// Messages of one queue that are held ahead.
    #[serde(rename = "pullThresholdForQueue")]
    pub queue_count_max: usize,
    /// MiB of one queue that are held ahead.
    #[serde(rename = "pullThresholdSizeForQueue")]
    pub queue_mib_max: usize,
    /// Messages of all queues that are held ahead.
    #[serde(rename = "pullThresholdForAll")]
    pub count_max: usize,
    /// How long brokers may wait for messages.
    #[serde(rename = "brokerSuspendMaxTimeMillis")]
    pub suspend: u64,
    /// Time limit of a pull; longer than that.
    #[serde(rename = "consumerTimeoutMillisWhenSuspend")]
    pub timeout: u64,
    /// How often routes are looked at for those who watch a topic.
    #[serde(rename = "topicMetadataCheckIntervalMillis")]
    pub watch_interval: u64,
}

impl Default for PullSettings {
    fn default() -> Self {
        Self {
            group: String::new(),
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFrom::LastOffset,
            auto_commit: true,
            auto_commit_interval: 5_000,
            batch_size: 10,
            queue_count_max: 1_000,
            queue_mib_max: 100,
            count_max: 10_000,
            suspend: 20_000,
            timeout: 30_000,
            watch_interval: 30_000,
        }
    }
}

impl PullSettings {
    /// Whether a consumer can work with these settings.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn validate(&self) -> Result<(), StartError> {
        name::validate_group(&self.group)?;
        let wrong = |setting, reason| Err(StartError::Setting { setting, reason });
        if self.group == name::DEFAULT_CONSUMER {
            return wrong("consumerGroup", "DEFAULT_CONSUMER stands for none; give a name");
        }
        if !(1..=1024).contains(&self.batch_size) {
            return wrong("pullBatchSize", "it must be 1 to 1024");
        }
        if self.queue_count_max == 0 || self.queue_mib_max == 0 || self.count_max == 0 {
            return wrong("pullThresholdForQueue", "nothing could ever be held");
        }
        if self.timeout < self.suspend {
            return wrong(
                "consumerTimeoutMillisWhenSuspend",
                "it must not be shorter than brokerSuspendMaxTimeMillis",
            );
        }
        if self.auto_commit_interval < 1_000 || self.watch_interval == 0 {
            return wrong("autoCommitIntervalMillis", "it must be at least 1000");
        }
        Ok(())
    }

    pub(crate) fn time_limit(&self) -> Duration {
        Duration::from_millis(self.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_the_names_of_java_and_wrong_ones_are_named() {
        let text = r#"{"consumerGroup":"g","pullBatchSize":32,"autoCommit":false}"#;
        let settings: PullSettings = serde_json::from_str(text).unwrap();
        assert!(settings.validate().is_ok() && !settings.auto_commit);
        assert!(PullSettings::default().validate().is_err(), "no group");
        let short = PullSettings { timeout: 1, ..settings };
        assert!(short.validate().unwrap_err().to_string().contains("TimeoutMillisWhenSuspend"));
    }
}
