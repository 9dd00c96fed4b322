//! An invoker without a network: requests go to a processor of this process, but through the codec,
//! so that what works here works over a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use rmq_runtime::{Clock, ClockExt};

use crate::command::{RemotingCommand, Response};
use crate::frame::{self, FrameLimits};
use crate::invoker::{Endpoint, InvokeError, Invoker};
use crate::limits::Limits;
use crate::output::Output;
use crate::peer::{Addresses, Peer, PeerLimits};
use crate::processor::{Processor, Reply};

/// Sends requests to a processor of this process, whatever the address says.
pub struct LocalInvoker {
    processor: Arc<dyn Processor>,
    clock: Arc<dyn Clock>,
    /// Whom the processor sees. It takes no requests.
    peer: Arc<Peer>,
}

impl LocalInvoker {
    /// An invoker of this processor.
    pub fn new(processor: Arc<dyn Processor>, clock: Arc<dyn Clock>) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let peer = Peer::new(
            Addresses { local: nowhere, remote: nowhere },
            nowhere.into(),
            Arc::clone(&clock),
            PeerLimits { in_flight: 0, bytes: Limits::CLIENT.outbox_max },
        );
        processor.connected(&peer);
        Self { processor, clock, peer }
    }

    fn process(&self, request: &RemotingCommand) -> Result<Reply, InvokeError> {
        let reply = self.processor.process(&self.peer, over_the_wire(request)?);
        match self.processor.settle() {
            Ok(()) => Ok(reply),
            Err(error) => Err(self.closed(&error.reason)),
        }
    }

    fn closed(&self, reason: &str) -> InvokeError {
        InvokeError::Closed { to: self.peer.endpoint().clone(), reason: reason.into() }
    }
}

impl Drop for LocalInvoker {
    fn drop(&mut self) {
        self.peer.close();
        self.processor.closed(&self.peer);
    }
}

#[async_trait]
impl Invoker for LocalInvoker {
    async fn invoke(
        &self,
        to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, InvokeError> {
        let unanswered = InvokeError::Timeout { to: to.clone(), code: request.code, timeout };
        let response = match self.process(&request)? {
            Reply::Now(response) => response,
            Reply::Later(future) => {
                self.clock.timeout(timeout, future).await.map_err(|_| unanswered)?
            }
            Reply::None => {
                self.clock.sleep(timeout).await;
                return Err(unanswered);
            }
        };
        Ok(answer_over_the_wire(&response, &request))
    }

    async fn oneway(
        &self,
        _to: &Endpoint,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(), InvokeError> {
        if let Reply::Later(future) = self.process(&request.oneway())? {
            // Nobody waits for the answer; the work itself is to be done.
            drop(self.clock.timeout(timeout, future).await);
        }
        Ok(())
    }

    fn disconnect(&self, _to: &Endpoint) {}
}

/// The request as the other side of a socket would see it.
fn over_the_wire(request: &RemotingCommand) -> Result<RemotingCommand, InvokeError> {
    let mut bytes = Vec::new();
    frame::encode_whole(request, &mut bytes)
        .map_err(|source| InvokeError::Encode { code: request.code, source })?;
    Ok(decoded(bytes))
}

fn answer_over_the_wire(response: &Response, request: &RemotingCommand) -> RemotingCommand {
    let mut output = Output::default();
    output.push_response(response, request.opaque, request.encoding);
    decoded(output.into_vec())
}

fn decoded(bytes: Vec<u8>) -> RemotingCommand {
    let mut input = BytesMut::from(bytes.as_slice());
    frame::decode(&mut input, &FrameLimits::CLIENT)
        .ok()
        .flatten()
        .expect("what was just encoded can be decoded")
}
