//! Sees the broker register: an invoker in front of the broker's client that remembers which name
//! servers have taken it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rmq_remoting::{Endpoint, InvokeError, Invoker, RemotingCommand, request_code};
use rmq_runtime::{Clock, ClockExt as _};
use tokio::sync::watch;

/// An invoker that remembers successful registrations.
pub(crate) struct Watched {
    inner: Arc<dyn Invoker>,
    registered: watch::Sender<BTreeSet<Endpoint>>,
}

impl Watched {
    pub(crate) fn new(inner: Arc<dyn Invoker>) -> Arc<Self> {
        Arc::new(Self { inner, registered: watch::Sender::default() })
    }

    /// Waits until all of them have taken the broker. Returns those that have not.
    pub(crate) async fn wait(
        &self,
        clock: &dyn Clock,
        servers: &[Endpoint],
        patience: Duration,
    ) -> Vec<Endpoint> {
        let mut registered = self.registered.subscribe();
        let all = registered.wait_for(|known| servers.iter().all(|server| known.contains(server)));
        let _late = clock.timeout(patience, async { all.await.is_ok() }).await;
        let known = self.registered.borrow();
        servers.iter().filter(|server| !known.contains(*server)).cloned().collect()
    }
}

#[async_trait]
impl Invoker for Watched {
    async fn invoke(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        let registers = request.code == request_code::REGISTER_BROKER;
        let answer = self.inner.invoke(to, request, timeout).await?;
        if registers && answer.is_success() {
            self.registered.send_if_modified(|known| known.insert(to.clone()));
        }
        Ok(answer)
    }

    async fn oneway(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(), InvokeError> {
        self.inner.oneway(to, request, timeout).await
    }

    fn disconnect(&self, to: &Endpoint) {
        self.inner.disconnect(to);
    }
}
