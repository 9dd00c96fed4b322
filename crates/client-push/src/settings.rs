//! Settings of a push consumer: values with the names, defaults and ranges of Apache RocketMQ's
//! `DefaultMQPushConsumer`, so that a configuration carries over.

use std::time::Duration;

use rmq_client_core::FAQ_SUFFIX as FAQ;
use rmq_client_core::protocol::{ConsumeFromWhere, MessageModel};
use rmq_message::Timestamp;
use rmq_message::name::{self, NameError};
use serde::{Deserialize, Serialize};

/// Where consumption of a queue begins when the group has no progress in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsumeFrom {
    /// At the end: only messages that are stored from now on. A broker may answer 0 for a young
    /// topic, so that a new group sees everything there.
    #[default]
    #[serde(
        rename = "CONSUME_FROM_LAST_OFFSET",
        alias = "CONSUME_FROM_LAST_OFFSET_AND_FROM_MIN_WHEN_BOOT_FIRST",
        alias = "CONSUME_FROM_MIN_OFFSET",
        alias = "CONSUME_FROM_MAX_OFFSET"
    )]
    LastOffset,
    /// At the beginning.
    #[serde(rename = "CONSUME_FROM_FIRST_OFFSET")]
    FirstOffset,
    /// At [`PushSettings::consume_timestamp`].
    #[serde(rename = "CONSUME_FROM_TIMESTAMP")]
    Timestamp,
}

impl From<ConsumeFrom> for ConsumeFromWhere {
    fn from(from: ConsumeFrom) -> Self {
        match from {
            ConsumeFrom::LastOffset => Self::LastOffset,
            ConsumeFrom::FirstOffset => Self::FirstOffset,
            ConsumeFrom::Timestamp => Self::Timestamp,
        }
    }
}

/// See the module. Deserialized from RocketMQ's camelCase names; an unknown name is an error.
///
/// ```
/// use rmq_client_push::{ConsumeFrom, PushSettings};
///
/// let settings = PushSettings {
///     consumer_group: "billing".into(),
///     consume_from_where: ConsumeFrom::FirstOffset,
///     max_reconsume_times: 5,
///     ..PushSettings::default()
/// };
/// settings.validate()?;
/// # Ok::<(), rmq_client_push::SettingsError>(())
/// ```
#[doc(alias = "DefaultMQPushConsumer")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PushSettings {
    /// Group; has no usable default.
    pub consumer_group: String,
    /// Who of the group gets a message.
    pub message_model: MessageModel,
    /// Where a queue without progress begins.
    pub consume_from_where: ConsumeFrom,
    /// `yyyyMMddHHmmss` in local time; `None` is half an hour ago.
    pub consume_timestamp: Option<String>,
    /// Calls of the listener that may run at once, 1..=1000.
    pub consume_thread_min: u32,
    /// Not below the former; has no other effect, as in the original.
    pub consume_thread_max: u32,
    /// Distance between the first and the last unfinished message of a queue, 1..=65535.
    pub consume_concurrently_max_span: u32,
    /// Messages held per queue, 1..=65535.
    pub pull_threshold_for_queue: u32,
    /// Messages held in all queues together, 1..=6553500, or −1 for no such bound.
    pub pull_threshold_for_topic: i32,
    /// MiB of bodies held per queue, 1..=1024.
    pub pull_threshold_size_for_queue: u32,
    /// MiB of bodies held in all queues together, 1..=102400, or −1 for no such bound.
    pub pull_threshold_size_for_topic: i32,
    /// Pause between pulls that brought messages, ms, 0..=65535.
    pub pull_interval: u32,
    /// Messages per call of the listener, 1..=1024.
    pub consume_message_batch_max_size: u32,
    /// Messages asked for per pull, 1..=1024; brokers cap it too.
    pub pull_batch_size: u32,
    /// Bytes asked for per pull.
    pub pull_batch_size_in_bytes: i32,
    /// Whether each pull carries the expression.
    pub post_subscription_when_pull: bool,
    /// Whether the client belongs to a unit.
    pub unit_mode: bool,
    /// Retries after which a message goes to the dead-letter topic; −1 is 16, or no bound in
    /// ordered consumption.
    pub max_reconsume_times: i32,
    /// Pause of an ordered queue after a failure, ms; brought into 10..=30000 at use.
    pub suspend_current_queue_time_millis: i64,
    /// Minutes after which a message that its listener still has is given back to the broker, 1 to a
    /// year. The original has no bounds here.
    pub consume_timeout: u64,
    /// Pause after a pull that failed, ms.
    pub pull_time_delay_mills_when_exception: u64,
    /// Wait before the first pull of a new queue, ms, so that its former owner's last commit counts.
    pub first_pull_delay_millis: u64,
    /// Whether members compute who consumes what. Otherwise a broker says it, and whether messages
    /// are pulled or popped (`mqadmin setConsumeMode`). Ordered and broadcasting consumers always
    /// compute.
    pub client_rebalance: bool,
    /// How long popped messages are hidden from others, ms, 5000..=300000. Listeners must be quicker.
    pub pop_invisible_time: u64,
    /// Messages asked for per pop, 1..=32.
    pub pop_batch_nums: u32,
    /// Popped messages that may be unsettled per queue.
    pub pop_threshold_for_queue: u32,
    /// How long a queue that goes to another member waits for running listeners, ms. What they
    /// finish in that time is not delivered twice. Ordered queues wait 500 ms at least.
    pub revoke_grace_millis: u64,
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            consumer_group: name::DEFAULT_CONSUMER.to_owned(),
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFrom::LastOffset,
            consume_timestamp: None,
            consume_thread_min: 20,
            consume_thread_max: 20,
            consume_concurrently_max_span: 2000,
            pull_threshold_for_queue: 1000,
            pull_threshold_for_topic: -1,
            pull_threshold_size_for_queue: 100,
            pull_threshold_size_for_topic: -1,
            pull_interval: 0,
            consume_message_batch_max_size: 1,
            pull_batch_size: 32,
            pull_batch_size_in_bytes: 256 * 1024,
            post_subscription_when_pull: false,
            unit_mode: false,
            max_reconsume_times: -1,
            suspend_current_queue_time_millis: 1000,
            consume_timeout: 15,
            pull_time_delay_mills_when_exception: 1000,
            first_pull_delay_millis: 500,
            client_rebalance: true,
            pop_invisible_time: 60_000,
            pop_batch_nums: 32,
            pop_threshold_for_queue: 96,
            revoke_grace_millis: 400,
        }
    }
}

/// Longest `consumeTimeout`: a year, in minutes.
const CONSUME_TIMEOUT_MAX: i64 = 365 * 24 * 60;

/// A setting that cannot be used. Texts are those of Apache RocketMQ's client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The group's name.
    #[error(transparent)]
    Group(#[from] NameError),
    /// The group was not named.
    #[error(
        "consumerGroup can not equal {}, please specify another one.{FAQ}",
        name::DEFAULT_CONSUMER
    )]
    DefaultGroup,
    /// The time to begin at.
    #[error(
        "consumeTimestamp is invalid, the valid format is yyyyMMddHHmmss,but received {text} {FAQ}"
    )]
    Timestamp {
        /// What was given.
        text: String,
    },
    /// No listener was given.
    #[error("messageListener is null{FAQ}")]
    NoListener,
    /// A number outside its range.
    #[error("{name} Out of range [{min}, {max}]{FAQ}")]
    OutOfRange {
        /// The setting, by its RocketMQ name.
        name: &'static str,
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// The two bounds of concurrency contradict each other.
    #[error("consumeThreadMin ({min}) is larger than consumeThreadMax ({max})")]
    Threads {
        /// `consumeThreadMin`.
        min: u32,
        /// `consumeThreadMax`.
        max: u32,
    },
}

fn within(name: &'static str, value: i64, min: i64, max: i64) -> Result<(), SettingsError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(SettingsError::OutOfRange { name, min, max })
    }
}

/// A bound that −1 switches off.
fn within_or_off(name: &'static str, value: i32, max: i64) -> Result<(), SettingsError> {
    if value == -1 { Ok(()) } else { within(name, i64::from(value), 1, max) }
}

impl PushSettings {
    /// Checks everything, in the order of the original.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), SettingsError> {
        self.validate_with(true)
    }

    /// As [`Self::validate`], in the place where the original also looks for the listener.
    pub(crate) fn validate_with(&self, has_listener: bool) -> Result<(), SettingsError> {
        name::validate_group(&self.consumer_group)?;
        if self.consumer_group == name::DEFAULT_CONSUMER {
            return Err(SettingsError::DefaultGroup);
        }
        if let Some(text) = &self.consume_timestamp
            && civil_ms(text).is_none()
        {
            return Err(SettingsError::Timestamp { text: text.clone() });
        }
        if !has_listener {
            return Err(SettingsError::NoListener);
        }
        within("consumeThreadMin", self.consume_thread_min.into(), 1, 1000)?;
        within("consumeThreadMax", self.consume_thread_max.into(), 1, 1000)?;
        if self.consume_thread_min > self.consume_thread_max {
            let (min, max) = (self.consume_thread_min, self.consume_thread_max);
            return Err(SettingsError::Threads { min, max });
        }
        let span = self.consume_concurrently_max_span;
        within("consumeConcurrentlyMaxSpan", span.into(), 1, 65535)?;
        within("pullThresholdForQueue", self.pull_threshold_for_queue.into(), 1, 65535)?;
        within_or_off("pullThresholdForTopic", self.pull_threshold_for_topic, 6_553_500)?;
        within("pullThresholdSizeForQueue", self.pull_threshold_size_for_queue.into(), 1, 1024)?;
        within_or_off("pullThresholdSizeForTopic", self.pull_threshold_size_for_topic, 102_400)?;
        within("pullInterval", self.pull_interval.into(), 0, 65535)?;
        let batch = self.consume_message_batch_max_size;
        within("consumeMessageBatchMaxSize", batch.into(), 1, 1024)?;
        within("pullBatchSize", self.pull_batch_size.into(), 1, 1024)?;
        let invisible = i64::try_from(self.pop_invisible_time).unwrap_or(i64::MAX);
        within("popInvisibleTime", invisible, 5000, 300_000)?;
        within("popBatchNums", self.pop_batch_nums.into(), 1, 32)?;
        let minutes = i64::try_from(self.consume_timeout).unwrap_or(i64::MAX);
        within("consumeTimeout", minutes, 1, CONSUME_TIMEOUT_MAX)
    }

    /// The moment of [`ConsumeFrom::Timestamp`].
    pub(crate) fn begin(&self, now: Timestamp, utc_offset_ms: i64) -> Timestamp {
        let local = self.consume_timestamp.as_deref().and_then(civil_ms);
        local.map_or(now + -30 * 60 * 1000, |ms| Timestamp(ms) + -utc_offset_ms)
    }

    pub(crate) fn consume_timeout(&self) -> Duration {
        Duration::from_secs(self.consume_timeout.saturating_mul(60))
    }
}

/// Milliseconds since 1970 of a `yyyyMMddHHmmss` text, as if it were UTC.
fn civil_ms(text: &str) -> Option<i64> {
    if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, len: usize| text.get(from..from + len)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 2)?, part(6, 2)?);
    let (hour, minute, second) = (part(8, 2)?, part(10, 2)?, part(12, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of = |month: i64| match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=days_of(month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days from 0000-03-01, with the leap day at the end of the year.
    let shifted = if month <= 2 { year - 1 } else { year };
    let month_index = (month + 9) % 12;
    let days = 365 * shifted + shifted.div_euclid(4) - shifted.div_euclid(100)
        + shifted.div_euclid(400)
        + (153 * month_index + 2) / 5
        + (day - 1)
        - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> PushSettings {
        PushSettings { consumer_group: "g".into(), ..PushSettings::default() }
    }

    fn refused(change: impl FnOnce(&mut PushSettings)) -> String {
        let mut settings = settings();
        change(&mut settings);
        settings.validate().unwrap_err().to_string()
    }

    #[test]
    fn what_is_refused_says_what_the_original_says() {
        settings().validate().unwrap();
        let range =
            |name: &str, min: i64, max: i64| format!("{name} Out of range [{min}, {max}]{FAQ}");
        assert_eq!(refused(|s| s.consumer_group = " ".into()), "the specified group is blank");
        assert_eq!(
            refused(|s| s.consumer_group = "DEFAULT_CONSUMER".into()),
            format!(
                "consumerGroup can not equal DEFAULT_CONSUMER, please specify another one.{FAQ}"
            )
        );
        assert_eq!(
            refused(|s| s.consume_timestamp = Some("2024".into())),
            format!(
                "consumeTimestamp is invalid, the valid format is yyyyMMddHHmmss,but received 2024 {FAQ}"
            )
        );
        let silent = settings().validate_with(false).unwrap_err().to_string();
        assert_eq!(silent, format!("messageListener is null{FAQ}"));
        assert_eq!(refused(|s| s.consume_thread_min = 0), range("consumeThreadMin", 1, 1000));
        assert_eq!(refused(|s| s.consume_thread_max = 1001), range("consumeThreadMax", 1, 1000));
        assert_eq!(
            refused(|s| s.consume_thread_min = 21),
            "consumeThreadMin (21) is larger than consumeThreadMax (20)"
        );
        assert_eq!(
            refused(|s| s.consume_concurrently_max_span = 65536),
            range("consumeConcurrentlyMaxSpan", 1, 65535)
        );
        assert_eq!(
            refused(|s| s.pull_threshold_for_queue = 0),
            range("pullThresholdForQueue", 1, 65535)
        );
        assert_eq!(
            refused(|s| s.pull_threshold_for_topic = 0),
            range("pullThresholdForTopic", 1, 6_553_500)
        );
        assert_eq!(
            refused(|s| s.pull_threshold_size_for_queue = 1025),
            range("pullThresholdSizeForQueue", 1, 1024)
        );
        assert_eq!(
            refused(|s| s.pull_threshold_size_for_topic = 102_401),
            range("pullThresholdSizeForTopic", 1, 102_400)
        );
        assert_eq!(refused(|s| s.pull_interval = 65536), range("pullInterval", 0, 65535));
        assert_eq!(
            refused(|s| s.consume_message_batch_max_size = 0),
            range("consumeMessageBatchMaxSize", 1, 1024)
        );
        assert_eq!(refused(|s| s.consume_timeout = 0), range("consumeTimeout", 1, 525_600));
        assert_eq!(refused(|s| s.pull_batch_size = 1025), range("pullBatchSize", 1, 1024));
        assert_eq!(
            refused(|s| s.pop_invisible_time = 4999),
            range("popInvisibleTime", 5000, 300_000)
        );
        assert_eq!(refused(|s| s.pop_batch_nums = 33), range("popBatchNums", 1, 32));
    }

    #[test]
    fn the_first_wrong_setting_is_named() {
        assert_eq!(
            refused(|s| (s.pull_batch_size, s.consume_thread_min) = (0, 0)),
            format!("consumeThreadMin Out of range [1, 1000]{FAQ}")
        );
    }

    #[test]
    fn civil_times_are_read_strictly() {
        for (text, expected) in [
            ("19700101000000", Some(0)),
            ("20240229120000", Some(1_709_208_000_000)),
            ("19991231235959", Some(946_684_799_000)),
            ("20230229120000", None),
            ("20240132000000", None),
            ("20240101240000", None),
            ("2024010100000", None),
            ("2024-01-010000", None),
        ] {
            assert_eq!(civil_ms(text), expected, "{text}");
        }
        let with = PushSettings { consume_timestamp: Some("19700101010000".into()), ..settings() };
        assert_eq!(with.begin(Timestamp(7), 3_600_000), Timestamp(0));
        assert_eq!(settings().begin(Timestamp(1_800_000), 3_600_000), Timestamp(0));
    }
}
