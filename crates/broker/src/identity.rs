//! Who this broker is, in names and addresses.

use std::net::SocketAddr;
use std::sync::OnceLock;

use rmq_message::CompactString;

use crate::config::BrokerConfig;

/// Names and addresses of this broker.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) cluster: CompactString,
    pub(crate) name: CompactString,
    pub(crate) id: i64,
    pub(crate) region: CompactString,
    pub(crate) zone: Option<CompactString>,
    pub(crate) trace_on: bool,
    configured: SocketAddr,
    advertised: OnceLock<SocketAddr>,
}

impl Identity {
    pub(crate) fn new(config: &BrokerConfig) -> Self {
        Self {
            cluster: config.broker_cluster_name.clone(),
            name: config.broker_name.clone(),
            id: config.broker_id,
            region: config.region_id.clone(),
            zone: config.zone_name.clone(),
            trace_on: config.trace_on,
            configured: SocketAddr::new(config.broker_ip1, config.listen_port),
            advertised: OnceLock::new(),
        }
    }

    /// Sets the address that is told to others; the first one stays.
    pub(crate) fn advertise(&self, address: SocketAddr) {
        self.advertised.get_or_init(|| address);
    }

    /// The address that is told to others, and that stored messages carry.
    pub(crate) fn address(&self) -> SocketAddr {
        self.advertised.get().copied().unwrap_or(self.configured)
    }

    /// Where replicas would connect to, by Apache's default the next port.
    pub(crate) fn replica_address(&self) -> SocketAddr {
        let mut address = self.address();
        address.set_port(address.port().saturating_add(1));
        address
    }

    /// `true` or `false`, as the field says it.
    pub(crate) fn trace_text(&self) -> &'static str {
        if self.trace_on { "true" } else { "false" }
    }
}
