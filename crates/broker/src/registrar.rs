//! Keeps this broker registered at its name servers: everything, every 30 s and soon after a topic
//! has changed. One loop for each name server, so that a slow one delays no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use rmq_message::{CompactString, Timestamp};
use rmq_remoting::protocol::kv::KvTable;
use rmq_remoting::protocol::register::{
    DataVersion, RegisterBody, RegisterBroker, RegisterResponse, UnregisterBroker,
};
use rmq_remoting::protocol::topic::{TopicConfigs, perm};
use rmq_remoting::typed::{self, CallError};
use rmq_remoting::{Endpoint, Invoker, Payload, RemotingCommand, json, request_code};
use rmq_runtime::{Clock, ClockExt, OnFailure, Tasks, Watermark};

use crate::config::Live;
use crate::document::Document;
use crate::identity::Identity;
use crate::topic_table::TopicTable;

/// Wait after a registration that failed.
const RETRY: Duration = Duration::from_secs(2);
/// Between two registrations that changes have caused.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest wait for a good-bye.
const UNREGISTER_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait of an operator's request for its change to be registered.
const PUBLISH_WAIT: Duration = Duration::from_secs(2);

/// Up to which change the name servers know the topics: as far as the quickest of them.
#[derive(Debug)]
pub(crate) struct Publication {
    done: Arc<Watermark>,
    active: AtomicBool,
}

impl Publication {
    pub(crate) fn new() -> Self {
        Self { done: Watermark::new(0), active: AtomicBool::new(false) }
    }

    /// Waits a moment for a change of the topics to be registered, if there is a name server.
    pub(crate) async fn wait(&self, change: u64, clock: &Arc<dyn Clock>) {
        if self.active.load(Ordering::Relaxed) {
            let _late = clock.timeout(PUBLISH_WAIT, self.done.reached(change)).await;
        }
    }
}

/// Registers.
pub(crate) struct Registrar {
    pub(crate) identity: Arc<Identity>,
    pub(crate) live: Arc<Live>,
    pub(crate) topics: Arc<TopicTable>,
    pub(crate) publication: Arc<Publication>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) servers: Vec<Endpoint>,
    pub(crate) period: Duration,
    pub(crate) timeout: Duration,
}

impl Registrar {
    /// Starts to register at every name server.
    pub(crate) fn start(self: &Arc<Self>, invoker: &Arc<dyn Invoker>) {
        self.publication.active.store(!self.servers.is_empty(), Ordering::Relaxed);
        for server in &self.servers {
            let run = Arc::clone(self).run(server.clone(), Arc::clone(invoker));
            self.tasks.spawn(server.as_str(), OnFailure::Unhealthy, run);
        }
    }

    /// Keeps the broker registered at one name server until it is time to stop.
    async fn run(self: Arc<Self>, server: Endpoint, invoker: Arc<dyn Invoker>) {
        let stop = self.tasks.stop_token();
        let mut changed = self.topics.changes().watch();
        let mut healthy = true;
        loop {
            changed.mark_unchanged();
            let change = self.topics.changes().made();
            let outcome = tokio::select! {
                biased;
                () = stop.requested() => return,
                outcome = self.register(&server, &*invoker) => outcome,
            };
            let wait = match outcome {
                Ok(()) => {
                    self.publication.done.advance(change);
                    healthy = true;
                    self.period
                }
                Err(error) => {
                    if std::mem::replace(&mut healthy, false) {
                        tracing::warn!(%server, %error, "the name server does not take this broker");
                    }
                    RETRY
                }
            };
            tokio::select! {
                biased;
                () = stop.requested() => return,
                () = self.clock.sleep(wait) => {}
                _ = changed.changed(), if healthy => self.clock.sleep(PAUSE).await,
            }
        }
    }

    async fn register(&self, server: &Endpoint, invoker: &dyn Invoker) -> Result<(), CallError> {
        let answer = invoker.invoke(server, self.request(), self.timeout).await?;
        let (_, ordered) = typed::read_answer::<(RegisterResponse, Option<KvTable>)>(answer)?;
        if let Some(ordered) = ordered {
            let now = Timestamp::from(self.clock.wall());
            self.topics.mark_ordered(ordered.table.keys(), now);
        }
        Ok(())
    }

    fn request(&self) -> RemotingCommand {
        let (data_version, mut topics) = self.topics.snapshot();
        let permission = self.live.permission();
        if permission & (perm::READ | perm::WRITE) != perm::READ | perm::WRITE {
            for config in topics.values_mut() {
                config.perm &= permission;
            }
        }
        let body = json::to_bytes(&RegisterBody {
            filter_server_list: Vec::new(),
            topic_config_serialize_wrapper: TopicConfigs {
                data_version,
                mapping_data_version: Some(DataVersion::default()),
                topic_config_table: topics,
            },
        });
        let header = RegisterBroker {
            broker_name: self.identity.name.clone(),
            broker_addr: CompactString::from(self.identity.address().to_string()),
            cluster_name: self.identity.cluster.clone(),
            ha_server_addr: CompactString::from(self.identity.replica_address().to_string()),
            broker_id: self.identity.id,
            heartbeat_timeout_millis: None,
            enable_acting_master: Some(false),
            compressed: false,
            body_crc32: i32::try_from(crc32fast::hash(&body) & 0x7FFF_FFFF).unwrap_or(0),
            zone_name: self.identity.zone.clone(),
        };
        let mut request = RemotingCommand::request(request_code::REGISTER_BROKER);
        header.write(&mut request.fields, &mut Bytes::new());
        request.with_body(body)
    }

    /// Registers no more, and says good-bye to all name servers.
    pub(crate) async fn stop(&self, invoker: &dyn Invoker) {
        self.publication.active.store(false, Ordering::Relaxed);
        for straggler in self.tasks.stop(&*self.clock, UNREGISTER_TIMEOUT).await {
            tracing::warn!(straggler, "a registration has not ended");
        }
        let request = UnregisterBroker {
            broker_name: self.identity.name.clone(),
            broker_addr: CompactString::from(self.identity.address().to_string()),
            cluster_name: self.identity.cluster.clone(),
            broker_id: self.identity.id,
        };
        let request = &request;
        join_all(self.servers.iter().map(|server| async move {
            let done = typed::call(invoker, server, request, UNREGISTER_TIMEOUT).await;
            if let Err(error) = done {
                tracing::warn!(%server, %error, "the name server was not told good-bye");
            }
        }))
        .await;
    }
}
