//! Settings of a producer, under the names and with the values that Java's producer has.

use std::time::Duration;

use rmq_message::compression::Codec;
use rmq_message::name;
use serde::{Deserialize, Serialize};

use crate::error::StartError;

/// Settings of a producer. Read and written under Java's names (`sendMsgTimeout`, times in ms).
#[doc(alias = "DefaultMQProducer")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProducerConfig {
    /// Group of the producer. Must be set: the default, `DEFAULT_PRODUCER`, is refused.
    #[doc(alias = "producerGroup")]
    #[serde(rename = "producerGroup")]
    pub group: String,
    /// Topic whose settings a new topic inherits.
    #[doc(alias = "createTopicKey")]
    pub create_topic_key: String,
    /// Queues that a new topic gets, at most as many as the template topic has.
    #[doc(alias = "defaultTopicQueueNums")]
    pub default_topic_queue_nums: u32,
    /// Time for a send, all tries together.
    #[doc(alias = "sendMsgTimeout")]
    #[serde(rename = "sendMsgTimeout", with = "millis")]
    pub timeout: Duration,
    /// Time for one try while another is left; `None`: all that is left. Without it a broker that
    /// does not answer uses up the whole time, and no other one is asked.
    #[doc(alias = "sendMsgMaxTimeoutPerRequest")]
    #[serde(rename = "sendMsgMaxTimeoutPerRequest", with = "optional_millis")]
    pub try_timeout: Option<Duration>,
    /// Tries after the first.
    #[doc(alias("retryTimesWhenSendFailed", "retryTimesWhenSendAsyncFailed"))]
    #[serde(rename = "retryTimesWhenSendFailed")]
    pub retries: u32,
    /// Whether a message that is stored, but not flushed or replicated in time, is sent again to
    /// another broker. It is then there twice.
    #[doc(alias = "retryAnotherBrokerWhenNotStoreOK")]
    #[serde(rename = "retryAnotherBrokerWhenNotStoreOK")]
    pub retry_when_not_safe: bool,
    /// Response codes after which another broker is asked.
    #[doc(alias = "retryResponseCodes")]
    #[serde(rename = "retryResponseCodes")]
    pub retry_codes: Vec<i32>,
    /// Bodies of at least so many bytes are compressed, those of batches never.
    #[doc(alias = "compressMsgBodyOverHowmuch")]
    #[serde(rename = "compressMsgBodyOverHowmuch")]
    pub compress_from: usize,
    /// How they are compressed: `ZLIB`, `LZ4` or `ZSTD`.
    #[doc(alias = "rocketmq.message.compressType")]
    #[serde(rename = "compressType", with = "codec")]
    pub codec: Codec,
    /// How hard, from 0 to 9.
    #[doc(alias = "rocketmq.message.compressLevel")]
    pub compress_level: u32,
    /// Bytes that a body may have before it is compressed.
    #[doc(alias = "maxMessageSize")]
    #[serde(rename = "maxMessageSize")]
    pub body_len_max: usize,
    /// Sends that may be under way at once; further ones wait for their turn.
    #[doc(alias = "backPressureForAsyncSendNum")]
    #[serde(rename = "backPressureForAsyncSendNum")]
    pub in_flight_max: u32,
    /// Bytes of bodies that may be under way at once; further sends wait for their turn.
    #[doc(alias = "backPressureForAsyncSendSize")]
    #[serde(rename = "backPressureForAsyncSendSize")]
    pub in_flight_bytes_max: u32,
    /// Whether brokers that were slow or failed are avoided for a while.
    #[doc(alias = "sendLatencyEnable")]
    #[serde(rename = "sendLatencyEnable")]
    pub avoid_slow_brokers: bool,
    /// Latencies, in ms, from which on a broker is avoided, ascending,
    #[doc(alias = "latencyMax")]
    pub latency_max: Vec<u64>,
    /// and for how long, in ms.
    #[doc(alias = "notAvailableDuration")]
    pub not_available_duration: Vec<u64>,
    /// The latency as which a failure counts.
    #[serde(with = "millis")]
    pub failure_latency: Duration,
    /// Whether brokers that failed are probed until they answer.
    #[doc(alias = "startDetectorEnable")]
    #[serde(rename = "startDetectorEnable")]
    pub detector: bool,
    /// Time for a probe.
    #[serde(with = "millis")]
    pub detect_timeout: Duration,
    /// Between two probes of a broker.
    #[serde(with = "millis")]
    pub detect_interval: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            group: name::DEFAULT_PRODUCER.to_owned(),
            create_topic_key: name::AUTO_CREATE_TOPIC.to_owned(),
            default_topic_queue_nums: 4,
            timeout: Duration::from_secs(3),
            try_timeout: None,
            retries: 2,
            retry_when_not_safe: false,
            // TOPIC_NOT_EXIST, SERVICE_NOT_AVAILABLE, SYSTEM_ERROR, SYSTEM_BUSY, NO_PERMISSION,
            // NO_BUYER_ID, NOT_IN_CURRENT_UNIT, GO_AWAY
            retry_codes: vec![17, 14, 1, 2, 16, 204, 205, 1500],
            compress_from: 4096,
            codec: Codec::Zlib,
            compress_level: 5,
            body_len_max: 4 << 20,
            in_flight_max: 1024,
            in_flight_bytes_max: 100 << 20,
            avoid_slow_brokers: false,
            latency_max: vec![50, 100, 550, 1_800, 3_000, 5_000, 15_000],
            not_available_duration: vec![0, 0, 2_000, 5_000, 6_000, 10_000, 30_000],
            failure_latency: Duration::from_secs(10),
            detector: false,
            detect_timeout: Duration::from_millis(200),
            detect_interval: Duration::from_secs(2),
        }
    }
}

impl ProducerConfig {
    /// Whether a producer can work with these settings.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn validate(&self) -> Result<(), StartError> {
        name::validate_group(&self.group)?;
        if self.group == name::DEFAULT_PRODUCER {
            return Err(StartError::DefaultGroup);
        }
        let wrong = |setting, reason| Err(StartError::Setting { setting, reason });
        if self.default_topic_queue_nums == 0 {
            return wrong("defaultTopicQueueNums", "a topic needs a queue");
        }
        if self.timeout.is_zero() || self.try_timeout.is_some_and(|limit| limit.is_zero()) {
            return wrong("sendMsgTimeout", "no send can end in no time");
        }
        if self.in_flight_max == 0 {
            return wrong("backPressureForAsyncSendNum", "no send could ever begin");
        }
        if self.in_flight_bytes_max == 0 {
            return wrong("backPressureForAsyncSendSize", "no send could ever begin");
        }
        if self.latency_max.len() != self.not_available_duration.len() {
            return wrong("notAvailableDuration", "each latency of latencyMax has one");
        }
        if !self.latency_max.is_sorted() {
            return wrong("latencyMax", "latencies ascend");
        }
        if self.compress_level > 9 {
            return wrong("compressLevel", "levels are 0 to 9");
        }
        Ok(())
    }
}

mod millis {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

/// -1 stands for none.
mod optional_millis {
    use super::{Deserialize, Duration};

    pub(super) fn serialize<S: serde::Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let ms = time.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        serializer.serialize_i64(ms)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(u64::try_from(i64::deserialize(deserializer)?).ok().map(Duration::from_millis))
    }
}

mod codec {
    use super::{Codec, Deserialize};

    pub(super) fn serialize<S: serde::Serializer>(
        codec: &Codec,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match codec {
            Codec::Lz4 => "LZ4",
            Codec::Zstd => "ZSTD",
            Codec::Zlib => "ZLIB",
        })
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Codec, D::Error> {
        let word = String::deserialize(deserializer)?;
        match word.to_ascii_uppercase().as_str() {
            "LZ4" => Ok(Codec::Lz4),
            "ZSTD" => Ok(Codec::Zstd),
            "ZLIB" => Ok(Codec::Zlib),
            _ => Err(serde::de::Error::custom(format!("`{word}` is none of ZLIB, LZ4 and ZSTD"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(group: &str) -> Result<(), String> {
        let config = ProducerConfig { group: group.to_owned(), ..ProducerConfig::default() };
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn a_group_of_ones_own_is_required() {
        assert_eq!(group("orders"), Ok(()));
        assert_eq!(
            group("DEFAULT_PRODUCER").unwrap_err(),
            "producerGroup can not equal DEFAULT_PRODUCER, please specify another one."
        );
        assert_eq!(group("").unwrap_err(), "the specified group is blank");
        assert!(group("a b").unwrap_err().contains("illegal characters"));
        assert!(group(&"g".repeat(121)).unwrap_err().contains("group max length: 120"));
    }

    #[test]
    fn settings_have_the_names_of_java() {
        let text = r#"{"producerGroup":"g","sendMsgTimeout":500,"retryTimesWhenSendFailed":0,
            "sendMsgMaxTimeoutPerRequest":-1,"compressType":"lz4"}"#;
        let config: ProducerConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.timeout, config.retries), (Duration::from_millis(500), 0));
        assert_eq!((config.try_timeout, config.codec), (None, Codec::Lz4));
        let again = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(config, again);
        assert!(serde_json::from_str::<ProducerConfig>(r#"{"sendTimeout":1}"#).is_err());
    }
}
