//! What brokers of one name tell each other: who is the lowest of them (905), where its replicas
//! connect to (906).

use compact_str::CompactString;

use super::declare::{conversation, header};

header! {
    /// The lowest live broker of a name is another one now (905, name server to broker).
    #[doc(alias = "NotifyMinBrokerIdChangeRequestHeader")]
    pub struct NotifyMinBroker {
        /// Its id.
        min_broker_id: i64 = "minBrokerId",
        /// Name of the brokers.
        broker_name: Option<CompactString> = "brokerName",
        /// Its address.
        min_broker_addr: Option<CompactString> = "minBrokerAddr",
        /// The one that is gone.
        offline_broker_addr: Option<CompactString> = "offlineBrokerAddr",
        /// Where replicas connect to.
        ha_broker_addr: Option<CompactString> = "haBrokerAddr",
    }

    /// Tells a broker the addresses of its master, or, with nothing in it, asks a master for its own
    /// (906); also the answer.
    #[doc(alias = "ExchangeHAInfoRequestHeader")]
    #[doc(alias = "ExchangeHAInfoResponseHeader")]
    #[derive(Default)]
    pub struct ReplicaAddresses {
        /// Where replicas connect to.
        master_ha_address: Option<CompactString> = "masterHaAddress",
        /// End of the master's log when it started.
        master_flush_offset: Option<i64> = "masterFlushOffset",
        /// The master.
        master_address: Option<CompactString> = "masterAddress",
    }
}

conversation! {
    NotifyMinBroker = NOTIFY_MIN_BROKER_ID_CHANGE => ();
    ReplicaAddresses = EXCHANGE_BROKER_HA_INFO => ReplicaAddresses;
}
