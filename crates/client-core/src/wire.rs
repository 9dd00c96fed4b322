//! One place through which every request of a client leaves.

use std::sync::Arc;
use std::time::Duration;

use rmq_remoting::command::RemotingCommand;
use rmq_remoting::invoker::{Endpoint, Invoker};
use rmq_remoting::typed::{TypedRequest, read_answer};

use crate::ClientError;

/// The way to servers.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) invoker: Arc<dyn Invoker>,
    /// Whether brokers have a second port for everything but pulls and heartbeats.
    pub(crate) vip: bool,
}

impl Wire {
    /// The port of a broker for what is neither pull nor heartbeat.
    #[doc(alias = "brokerVIPChannel")]
    pub(crate) fn door(&self, broker: Endpoint) -> Endpoint {
        if !self.vip {
            return broker;
        }
        let port = broker.port().checked_sub(2);
        let second = port.and_then(|port| Endpoint::new(broker.host(), port).ok());
        second.unwrap_or(broker)
    }

    /// Asks and takes whatever is answered.
    pub(crate) async fn exchange(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, ClientError> {
        let answer = self.invoker.invoke(to, request, timeout).await;
        answer.map_err(|source| ClientError::Call { address: to.clone(), source })
    }

    /// Asks; any code but success is an error.
    pub(crate) async fn ask<R: TypedRequest>(
        &self,
        to: &Endpoint,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, ClientError> {
        self.ask_broker(to, request, None, timeout).await
    }

    /// Asks a broker by the name under which the client knows it.
    pub(crate) async fn ask_broker<R: TypedRequest>(
        &self,
        to: &Endpoint,
        request: &R,
        broker_name: Option<&str>,
        timeout: Duration,
    ) -> Result<R::Response, ClientError> {
        let answer = self.exchange(to, named(request, broker_name), timeout).await?;
        read_answer(answer).map_err(|error| ClientError::of_call(to, R::CODE, error))
    }

    /// Tells a broker something and wants no answer.
    pub(crate) async fn tell(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(), ClientError> {
        let told = self.invoker.oneway(to, request.oneway(), timeout).await;
        told.map_err(|source| ClientError::Call { address: to.clone(), source })
    }
}

/// The command of a request, with the field by which proxies and brokers of static topics know
/// which broker is meant.
pub(crate) fn named<R: TypedRequest>(request: &R, broker_name: Option<&str>) -> RemotingCommand {
    let mut command = request.to_command();
    if let Some(name) = broker_name {
        command.fields.push("bname", name);
    }
    command
}
