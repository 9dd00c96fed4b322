//! Who has fallen silent or lost the connection, and the loop that looks.

use rmq_remoting::protocol::register::DataVersion;
use rmq_runtime::Monotonic;

use crate::registration::LowestChanged;
use crate::route_table::{BrokerKey, RouteTable};

/// A broker process that was taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// Broker.
    pub broker: String,
    /// `ip:port`.
    pub address: String,
    /// The connection that it had registered on.
    pub connection: u64,
    /// The lowest replica is another one now.
    pub lowest: Option<LowestChanged>,
}

impl RouteTable {
    /// A known broker process was heard of. Returns the version of its topics.
    pub fn heard(&mut self, cluster: &str, address: &str, now: Monotonic) -> Option<DataVersion> {
        let live = self.live.get_mut(&BrokerKey::new(cluster, address))?;
        live.heard = now;
        Some(live.version)
    }

    /// Takes away who was silent for longer than agreed.
    pub fn expire(&mut self, now: Monotonic) -> Vec<Departure> {
        self.depart(|live| now.since(live.heard) > live.timeout)
    }

    /// Takes away who had registered on a connection that is closed now.
    pub fn disconnected(&mut self, connection: u64) -> Vec<Departure> {
        self.depart(|live| live.connection == connection)
    }

    fn depart(&mut self, leaves: impl Fn(&crate::route_table::Live) -> bool) -> Vec<Departure> {
        let leaving: Vec<_> = self
            .live
            .iter()
            .filter(|(_, live)| leaves(live))
            .map(|(key, live)| (key.clone(), live.broker.clone(), live.connection))
            .collect();
        leaving
            .into_iter()
            .map(|(key, broker, connection)| Departure {
                lowest: self.unregister(&key.cluster, &broker, &key.address),
                broker: broker.into(),
                address: key.address.into(),
                connection,
            })
            .collect()
    }
}
