//! The list of name servers: one is kept while it answers, then the next is tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use rmq_message::{CompactString, name};
use rmq_remoting::invoker::Endpoint;
use rmq_remoting::protocol::route::{GetRoute, TopicRoute};
use rmq_remoting::response_code;
use rmq_runtime::Entropy;

use crate::ClientError;
use crate::wire::Wire;

pub(crate) struct NameServers {
    list: RwLock<Arc<[Endpoint]>>,
    /// Index of the one that answered last.
    chosen: AtomicUsize,
    wire: Wire,
    timeout: Duration,
}

impl NameServers {
    pub(crate) fn new(
        list: Vec<Endpoint>,
        wire: Wire,
        timeout: Duration,
        entropy: &dyn Entropy,
    ) -> Self {
        let first = entropy.below(u64::try_from(list.len()).unwrap_or(0));
        let chosen = AtomicUsize::new(usize::try_from(first).unwrap_or(0));
        Self { list: RwLock::new(list.into()), chosen, wire, timeout }
    }

    /// The addresses as configured or found.
    pub(crate) fn list(&self) -> Arc<[Endpoint]> {
        Arc::clone(&self.list.read())
    }

    /// From now on these are asked.
    pub(crate) fn replace(&self, list: Vec<Endpoint>) {
        let mut current = self.list.write();
        if **current != *list {
            tracing::info!(old = ?current, new = ?list, "name servers changed");
            *current = list.into();
        }
    }

    /// The route of a topic, from the first server that answers.
    pub(crate) async fn route(&self, topic: &str) -> Result<TopicRoute, ClientError> {
        let request = GetRoute { topic: topic.into(), accept_standard_json_only: Some(true) };
        let first = self.chosen.load(Ordering::Relaxed);
        let mut last_error = ClientError::NoNameServer;
        let list = self.list();
        for turn in 0..list.len() {
            let index = first.wrapping_add(turn) % list.len();
            let Some(server) = list.get(index) else { continue };
            match self.wire.ask(server, &request, self.timeout).await {
                Ok(route) => {
                    self.chosen.store(index, Ordering::Relaxed);
                    return Ok(route);
                }
                Err(error) if error.is_refused_with(response_code::TOPIC_NOT_EXIST) => {
                    self.chosen.store(index, Ordering::Relaxed);
                    return Err(ClientError::NoRoute { topic: CompactString::from(topic) });
                }
                Err(error) => {
                    if !name::is_retry(topic) && topic != name::AUTO_CREATE_TOPIC {
                        tracing::warn!(%server, topic, %error, "no route from this name server");
                    }
                    last_error = error;
                }
            }
        }
        Err(last_error)
    }
}
