//! Questions about replicas (905, 906, 907) to a broker that has none and no controller:
//! the answers of Apache RocketMQ 5.5 as it is when nothing of that is switched on.

use std::sync::Arc;

use rmq_message::PhysicalOffset;
use rmq_remoting::protocol::replica::{NotifyMinBroker, ReplicaAddresses};
use rmq_remoting::protocol::stats::ReplicaStatus;
use rmq_remoting::{RemotingCommand, Response};
use rmq_store::StoreAdmin;

use crate::identity::Identity;
use crate::processor::offset::{answer, read};

/// Serves them.
pub(crate) struct ReplicaAdmin {
    pub(crate) identity: Arc<Identity>,
    pub(crate) admin: Arc<dyn StoreAdmin>,
    /// End of the log when the broker was opened.
    pub(crate) opened_end: PhysicalOffset,
}

impl ReplicaAdmin {
    /// Another broker of this name is the lowest now (905): a master stays what it is.
    pub(crate) fn min_broker(&self, request: &RemotingCommand) -> Response {
        answer(read::<NotifyMinBroker>(request).map(|told| {
            tracing::info!(id = told.min_broker_id, "told of another lowest broker");
            Response::ok()
        }))
    }

    /// Where replicas find this broker (906). What one is told of another master changes nothing.
    pub(crate) fn addresses(&self, request: &RemotingCommand) -> Response {
        answer(read::<ReplicaAddresses>(request).map(|told| {
            if told.master_ha_address.is_some() || self.identity.id != 0 {
                return Response::ok();
            }
            Response::of(&ReplicaAddresses {
                master_ha_address: Some(self.identity.replica_address().to_string().into()),
                master_flush_offset: Some(self.opened_end.to_i64()),
                master_address: Some(self.identity.address().to_string().into()),
            })
        }))
    }

    /// The replicas of this broker (907): it is the master, and has none.
    pub(crate) fn status(&self) -> Response {
        let end = self.admin.status().max_physical;
        Response::of(&ReplicaStatus {
            master: true,
            master_commit_log_max_offset: end.to_i64(),
            ..ReplicaStatus::default()
        })
    }
}
