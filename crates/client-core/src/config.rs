//! Settings that every kind of client shares.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use rmq_remoting::invoker::Endpoint;
use rmq_remoting::tls::ClientTls;
use serde::{Deserialize, Deserializer, Serialize};

use crate::ClientError;

/// Settings of a client. Keys are those of the Java client; times are milliseconds there.
///
/// ```
/// use rmq_client_core::ClientConfig;
/// let config = ClientConfig::new("10.0.0.1:9876;10.0.0.2:9876");
/// assert_eq!(config.namesrv, ["10.0.0.1:9876", "10.0.0.2:9876"]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Name servers, `host:port`. In text form separated by `;`. When empty, the environment
    /// variable `NAMESRV_ADDR` is used.
    #[doc(alias = "namesrvAddr")]
    #[serde(rename = "namesrvAddr", deserialize_with = "addresses", serialize_with = "joined")]
    pub namesrv: Vec<String>,
    /// Tells clients of one machine apart; none: process id and start time (consumers in
    /// broadcasting keep `DEFAULT`, so that their offset file is found again).
    #[doc(alias = "instanceName")]
    pub instance_name: Option<String>,
    /// Suffix of the client id.
    #[doc(alias = "unitName")]
    pub unit_name: Option<String>,
    /// First part of the client id; none: chosen among the machine's addresses.
    #[doc(alias = "clientIP")]
    #[serde(rename = "clientIP")]
    pub client_ip: Option<IpAddr>,
    /// How often routes are fetched.
    #[doc(alias = "pollNameServerInterval")]
    #[serde(rename = "pollNameServerInterval", with = "millis")]
    pub route_interval: Duration,
    /// How often brokers hear of this client; they forget it after 120 s of silence.
    #[doc(alias = "heartbeatBrokerInterval")]
    #[serde(rename = "heartbeatBrokerInterval", with = "millis")]
    pub heartbeat_interval: Duration,
    /// How often progress is written.
    #[doc(alias = "persistConsumerOffsetInterval")]
    #[serde(rename = "persistConsumerOffsetInterval", with = "millis")]
    pub persist_interval: Duration,
    /// How often queues are balanced without a cause.
    #[doc(alias = "rocketmq.client.rebalance.waitInterval")]
    #[serde(with = "millis")]
    pub rebalance_interval: Duration,
    /// Shortest time between two runs, and the period while queues are not balanced.
    #[doc(alias = "rocketmq.client.rebalance.minInterval")]
    #[serde(with = "millis")]
    pub rebalance_min_interval: Duration,
    /// Time limit of route, heartbeat, member list and farewell.
    #[doc(alias = "mqClientApiTimeout")]
    #[serde(rename = "mqClientApiTimeout", with = "millis")]
    pub api_timeout: Duration,
    /// Leaves subscriptions that did not change out of heartbeats.
    #[doc(alias = "useHeartbeatV2")]
    #[serde(rename = "useHeartbeatV2")]
    pub heartbeat_v2: bool,
    /// Sends binary instead of JSON headers; every Apache server reads both.
    #[doc(alias = "rocketmq.serialize.type")]
    pub binary_headers: bool,
    /// Whether the client belongs to a unit.
    #[doc(alias = "unitMode")]
    pub unit_mode: bool,
    /// Domain of a server that tells the name servers over HTTP, `host` or `host:port`; asked when
    /// there are no addresses, ten seconds later, and every two minutes from then on. Who has
    /// addresses never asks it.
    #[doc(alias = "rocketmq.namesrv.domain")]
    pub namesrv_domain: Option<String>,
    /// Last part of the path of that question.
    #[doc(alias = "rocketmq.namesrv.domain.subgroup")]
    pub namesrv_domain_subgroup: String,
    /// Names of topics and groups carry it, `ns%name`; users do not see it. An endpoint
    /// `http://MQ_INST_x_y.host:port` names one too.
    pub namespace: Option<String>,
    /// Requests carry it, names stay as they are.
    #[doc(alias = "namespaceV2")]
    #[serde(rename = "namespaceV2")]
    pub namespace_v2: Option<String>,
    /// Zone of this client, which its requests carry.
    #[doc(alias = "rocketmq.zone")]
    pub zone_name: Option<String>,
    /// Has name servers leave brokers of other zones out of routes.
    #[doc(alias = "rocketmq.zone.mode")]
    pub zone_mode: bool,
    /// Uses the brokers' second port, two below the first, for everything but pulls and heartbeats.
    #[doc(alias = "com.rocketmq.sendMessageWithVIPChannel")]
    pub vip_channel_enabled: bool,
    /// Whether what is sent and consumed is traced.
    pub enable_trace: bool,
    /// Topic of traces; none: `RMQ_SYS_TRACE_TOPIC`.
    #[doc(alias = "customizedTraceTopic")]
    pub trace_topic: Option<String>,
    /// Whose servers these are, which decides where traces go and how they look.
    #[doc(alias = "setAccessChannel")]
    pub access_channel: AccessChannel,
    /// Longest body after decompression, in bytes. A longer one is delivered as it is stored.
    pub body_len_max: usize,
    /// Directory of offset files of broadcasting consumers; none: `~/.rocketmq_offsets`.
    #[doc(alias = "rocketmq.client.localOffsetStoreDir")]
    pub local_offset_store_dir: Option<PathBuf>,
    /// TLS: `useTLS`, and Java's properties `tls.client.…` as further keys.
    #[doc(alias = "useTLS")]
    #[serde(flatten)]
    pub tls: ClientTls,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            namesrv: Vec::new(),
            instance_name: None,
            unit_name: None,
            client_ip: None,
            route_interval: Duration::from_secs(30),
            heartbeat_interval: Duration::from_secs(30),
            persist_interval: Duration::from_secs(5),
            rebalance_interval: Duration::from_secs(20),
            rebalance_min_interval: Duration::from_secs(1),
            api_timeout: Duration::from_secs(3),
            heartbeat_v2: false,
            binary_headers: false,
            unit_mode: false,
            namesrv_domain: None,
            namesrv_domain_subgroup: "nsaddr".to_owned(),
            namespace: None,
            namespace_v2: None,
            zone_name: None,
            zone_mode: false,
            vip_channel_enabled: false,
            enable_trace: false,
            trace_topic: None,
            access_channel: AccessChannel::Local,
            body_len_max: 16 << 20,
            local_offset_store_dir: None,
            tls: ClientTls::default(),
        }
    }
}

/// Whose servers a client is connected to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AccessChannel {
    /// One's own.
    #[default]
    Local,
    /// Those of a cloud, which keeps traces by region.
    Cloud,
}

/// Longest silence after which brokers surely still know a client.
const HEARTBEAT_MAX: Duration = Duration::from_secs(110);

impl ClientConfig {
    /// The usual settings with these name servers, separated by `;`.
    pub fn new(namesrv: &str) -> Self {
        Self { namesrv: split_addresses(namesrv), ..Self::default() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`ClientError::Config`] for the first wrong one.
    pub fn validate(&self) -> Result<(), ClientError> {
        self.endpoints()?;
        let wrong =
            |setting, reason: &str| Err(ClientError::Config { setting, reason: reason.to_owned() });
        for (setting, interval) in [
            ("pollNameServerInterval", self.route_interval),
            ("heartbeatBrokerInterval", self.heartbeat_interval),
            ("persistConsumerOffsetInterval", self.persist_interval),
            ("rebalanceInterval", self.rebalance_interval),
            ("mqClientApiTimeout", self.api_timeout),
        ] {
            if interval.is_zero() {
                return wrong(setting, "it must be longer than 0 ms");
            }
        }
        if self.heartbeat_interval > HEARTBEAT_MAX {
            return wrong(
                "heartbeatBrokerInterval",
                "brokers forget clients after 120 s; use less than 110 s",
            );
        }
        if self.rebalance_min_interval > self.rebalance_interval {
            return wrong("rebalanceMinInterval", "it must not be longer than rebalanceInterval");
        }
        for (setting, namespace) in
            [("namespace", &self.namespace), ("namespaceV2", &self.namespace_v2)]
        {
            if namespace.as_deref().is_some_and(|text| !rmq_message::name::is_legal(text)) {
                return wrong(setting, "it may have letters, digits, `%`, `|`, `-` and `_` only");
            }
        }
        if self.instance_name.as_deref().is_some_and(|name| name.trim().is_empty()) {
            return wrong("instanceName", "it is blank; leave it out or give a name");
        }
        Ok(())
    }

    /// Without name servers, those of the environment are taken.
    pub(crate) fn find_name_servers(&mut self, variable: impl Fn(&str) -> Option<String>) {
        if self.namesrv.is_empty() {
            let found = variable("NAMESRV_ADDR").unwrap_or_default();
            self.namesrv = split_addresses(&found);
        }
    }

    /// The name servers as addresses.
    ///
    /// # Errors
    /// [`ClientError::Config`] when one is no `host:port`.
    pub fn endpoints(&self) -> Result<Vec<Endpoint>, ClientError> {
        let read = |text: &String| {
            text.parse().map_err(|e: rmq_remoting::invoker::EndpointError| ClientError::Config {
                setting: "namesrvAddr",
                reason: e.to_string(),
            })
        };
        self.namesrv.iter().map(read).collect()
    }
}

/// Splits name servers separated by `;`.
pub fn split_addresses(text: &str) -> Vec<String> {
    text.split(';').map(str::trim).filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        List(Vec<String>),
    }
    Ok(match Form::deserialize(deserializer)? {
        Form::Text(text) => split_addresses(&text),
        Form::List(list) => list.iter().flat_map(|text| split_addresses(text)).collect(),
    })
}

fn joined<S: serde::Serializer>(list: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&list.join(";"))
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_the_environment_count_when_there_are_no_others() {
        let variable = |name: &str| (name == "NAMESRV_ADDR").then(|| "a:1;b:2".to_owned());
        let mut without = ClientConfig::default();
        without.find_name_servers(variable);
        assert_eq!(without.namesrv, ["a:1", "b:2"]);
        let mut with = ClientConfig::new("own:9876");
        with.find_name_servers(variable);
        assert_eq!(with.namesrv, ["own:9876"]);
    }

    #[test]
    fn keys_are_those_of_java_and_unknown_ones_are_refused() {
        let config: ClientConfig = serde_json::from_str(
            r#"{"namesrvAddr":"a:1; b:2;","clientIP":"10.0.0.7","heartbeatBrokerInterval":15000,
                "accessChannel":"CLOUD"}"#,
        )
        .unwrap();
        assert_eq!(config.access_channel, AccessChannel::Cloud);
        assert_eq!(config.namesrv, ["a:1", "b:2"]);
        assert_eq!(config.heartbeat_interval, Duration::from_secs(15));
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ClientConfig>(&text).unwrap(), config);
        assert!(serde_json::from_str::<ClientConfig>(r#"{"nameserver":"a:1"}"#).is_err());
        for text in [r#"{"useTLS":"maybe"}"#, r#"{"useTLS":true,"tls.client.trust":"/ca"}"#] {
            assert!(serde_json::from_str::<ClientConfig>(text).is_err(), "{text}");
        }
        let text = r#"{"useTLS":true,"tls.client.trustCertPath":"/ca.pem","unitMode":true}"#;
        let config: ClientConfig = serde_json::from_str(text).unwrap();
        assert!(config.tls.enable && config.unit_mode);
        assert_eq!(config.tls.trust_cert_path.as_deref(), Some("/ca.pem".as_ref()));
    }

    #[test]
    fn wrong_settings_are_named() {
        let said = |config: ClientConfig| config.validate().unwrap_err().to_string();
        assert!(ClientConfig::new("a:1").validate().is_ok());
        assert!(said(ClientConfig::new("nonsense")).contains("namesrvAddr"));
        let zero = ClientConfig { route_interval: Duration::ZERO, ..ClientConfig::default() };
        assert!(said(zero).contains("pollNameServerInterval"));
        let slow =
            ClientConfig { heartbeat_interval: Duration::from_secs(200), ..Default::default() };
        assert!(said(slow).contains("120 s"));
    }
}
