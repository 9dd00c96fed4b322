//! Namespaces of the first kind: names of topics and groups carry them, `ns%name`, and users never
//! see it. Those of the second kind ride on requests, see [`crate::hook`].

use rmq_message::{CompactString, name};

use crate::ClientConfig;

/// What names instances of the cloud product.
const INSTANCE: &str = "MQ_INST_";

/// A namespace, or none.
#[doc(alias = "NamespaceUtil")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace(CompactString);

impl Namespace {
    /// That of the settings, else the instance that the first name server's host names.
    pub fn of(config: &ClientConfig) -> Self {
        let given = config.namespace.as_deref().filter(|given| !given.trim().is_empty());
        let named = || config.namesrv.first().and_then(|address| instance(address));
        Self(given.or_else(named).unwrap_or_default().into())
    }

    /// The name as brokers know it. Names of the system stay as they are.
    #[doc(alias = "wrapNamespace")]
    pub fn wrap(&self, plain: &str) -> CompactString {
        let (prefix, rest) = split(plain);
        let is_shared =
            name::is_system_topic(plain) || plain.starts_with(name::SYSTEM_GROUP_PREFIX);
        if self.0.is_empty() || rest.is_empty() || is_shared || self.is_in(rest) {
            return plain.into();
        }
        format!("{prefix}{}%{rest}", self.0).into()
    }

    /// The name as users know it.
    #[doc(alias = "withoutNamespace")]
    pub fn strip(&self, wrapped: &str) -> CompactString {
        let (prefix, rest) = split(wrapped);
        match rest.strip_prefix(self.0.as_str()).and_then(|rest| rest.strip_prefix('%')) {
            Some(plain) if !self.0.is_empty() => format!("{prefix}{plain}").into(),
            _ => wrapped.into(),
        }
    }

    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    fn is_in(&self, rest: &str) -> bool {
        rest.strip_prefix(self.0.as_str()).is_some_and(|rest| rest.starts_with('%'))
    }
}

/// The mark of a retry or dead-letter topic, and what is behind it.
fn split(text: &str) -> (&str, &str) {
    let marks = [name::RETRY_PREFIX, name::DLQ_PREFIX];
    let marked = marks.into_iter().find_map(|mark| Some((mark, text.strip_prefix(mark)?)));
    marked.unwrap_or(("", text))
}

/// `MQ_INST_x_y` of `http://MQ_INST_x_y.host:port`.
fn instance(address: &str) -> Option<&str> {
    let host = address.rsplit("//").next().unwrap_or(address);
    let (instance, _) = host.split_once('.')?;
    let (first, second) = instance.strip_prefix(INSTANCE)?.split_once('_')?;
    let is_word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    (is_word(first) && is_word(second)).then_some(instance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_wrapped_once_and_come_back() {
        let namespace = Namespace("MQ_INST_1_2".into());
        for (plain, wrapped) in [
            ("Orders", "MQ_INST_1_2%Orders"),
            ("%RETRY%g", "%RETRY%MQ_INST_1_2%g"),
            ("%DLQ%g", "%DLQ%MQ_INST_1_2%g"),
            ("TBW102", "TBW102"),
            ("RMQ_SYS_TRACE_TOPIC", "RMQ_SYS_TRACE_TOPIC"),
            ("CID_RMQ_SYS_x", "CID_RMQ_SYS_x"),
            ("", ""),
        ] {
            assert_eq!(namespace.wrap(plain), wrapped);
            assert_eq!(namespace.wrap(wrapped), wrapped, "once");
            assert_eq!(namespace.strip(wrapped), plain);
        }
        assert_eq!(namespace.strip("other%Orders"), "other%Orders");
        assert_eq!(Namespace::default().wrap("Orders"), "Orders");
        assert_eq!(Namespace::default().strip("%Orders"), "%Orders");
    }

    #[test]
    fn an_endpoint_may_name_the_instance() {
        let of = |address: &str| Namespace::of(&ClientConfig::new(address)).wrap("T");
        assert_eq!(of("http://MQ_INST_12_ab.mq.example.com:80"), "MQ_INST_12_ab%T");
        assert_eq!(of("MQ_INST_12_ab.mq.example.com:80"), "MQ_INST_12_ab%T");
        assert_eq!(of("http://mq.example.com:80"), "T");
        let given = ClientConfig {
            namespace: Some("ns".into()),
            ..ClientConfig::new("http://MQ_INST_12_ab.mq.example.com:80")
        };
        assert_eq!(Namespace::of(&given).wrap("T"), "ns%T");
    }
}
