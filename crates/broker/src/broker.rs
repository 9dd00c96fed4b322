//! The broker: its parts, built once, its own work, and the way of a request to the part that
//! serves it.

mod administration;
mod parts;
mod requests;
mod work;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rmq_remoting::{Invoker, Peer, Processor, RemotingCommand, Reply, Unsettled};
use rmq_runtime::{Tasks, World};
use rmq_store::{MessageStore, StoreAdmin};
use thiserror::Error;

use crate::config::{BrokerConfig, ConfigError};
use crate::identity::Identity;
use crate::timer::Timers;
use administration::Administration;
use parts::Parts;
use requests::Requests;
use work::Work;

/// Why a broker does not open.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A table in the directory `config` of the store cannot be read.
    #[error("{0}; restore the file from its .bak or a copy, or remove it to start without it")]
    Table(#[from] std::io::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] rmq_store::ReadError),
}

/// A broker over a message store: serves requests and does its work in time. Built by
/// [`Broker::open`], at work after [`Broker::start`].
pub struct Broker {
    identity: Arc<Identity>,
    store: Arc<dyn MessageStore>,
    requests: Requests,
    administration: Administration,
    work: Arc<Work>,
}

impl Broker {
    /// Builds a broker over an opened store and reads its tables. Blocks; needs a runtime around
    /// it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open<S: MessageStore + StoreAdmin>(
        world: &World,
        tasks: &Tasks,
        config: BrokerConfig,
        store: Arc<S>,
    ) -> Result<Arc<Self>, OpenError> {
        let admin: Arc<dyn StoreAdmin> = Arc::clone(&store) as _;
        let parts = Parts::open(world, tasks.child("broker"), config, store, admin)?;
        let requests = Requests::new(&parts);
        let timers = parts.timers()?;
        let administration = Administration::new(&parts, timers.as_ref().map(Timers::board));
        let work = Arc::new(Work::new(&parts, Arc::clone(&requests.clients), timers));
        let Parts { identity, store, .. } = parts;
        Ok(Arc::new(Self { identity, store, requests, administration, work }))
    }

    /// Sets the address that clients and name servers are told, and that stored messages carry:
    /// `brokerIP1` with the port that was bound. Before requests are served; the first call counts.
    pub fn advertise(&self, address: SocketAddr) {
        self.identity.advertise(address);
    }

    /// The address that clients and name servers are told.
    pub fn address(&self) -> SocketAddr {
        self.identity.address()
    }

    /// Sets what request 26 shows of settings that are not the broker's own, such as its store's.
    /// The first call counts.
    pub fn show_settings(&self, settings: BTreeMap<String, String>) {
        self.administration.show_settings(settings);
    }

    /// Starts the broker's own work: saving tables, waking held pulls, delivering delayed messages,
    /// letting go of clients that are gone, and registering at the name servers through `invoker`.
    /// Needs a runtime around it, on which that work then runs.
    pub fn start(&self, invoker: Arc<dyn Invoker>) {
        self.work.start(invoker);
    }

    /// Says good-bye to the name servers, and registers no more. What comes first when a broker
    /// stops.
    pub async fn unregister(&self) {
        self.work.unregister().await;
    }

    /// Answers all held pulls; later ones are not held.
    pub fn release_holds(&self) {
        self.work.release_holds();
    }

    /// Stops: says good-bye to the name servers, answers held pulls, ends the broker's tasks, saves
    /// its tables. The store stays open. Returns the names of tasks that did not end in time.
    pub async fn stop(&self) -> Vec<String> {
        self.unregister().await;
        self.release_holds();
        self.work.stop().await
    }
}

impl Processor for Broker {
    fn process(&self, peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        self.requests
            .process(peer, request)
            .unwrap_or_else(|request| self.administration.process(&request))
    }

    fn settle(&self) -> Result<(), Unsettled> {
        self.store.settle().map_err(|error| Unsettled { reason: error.to_string() })
    }

    fn closed(&self, peer: &Arc<Peer>) {
        self.requests.clients.closed(peer);
    }
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("address", &self.address()).finish_non_exhaustive()
    }
}
