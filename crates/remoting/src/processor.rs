//! The serving side of a connection: what becomes of the requests that a peer sends.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::command::{RemotingCommand, Response};
use crate::peer::Peer;

/// Serves the requests of peers. Servers and clients have one alike: brokers send requests to
/// clients too.
///
/// All methods run on the task of the connection and must not block.
pub trait Processor: Send + Sync + 'static {
    /// Serves one request. It runs to completion in the connection's own turn, or hands back a
    /// future.
    fn process(&self, peer: &Arc<Peer>, request: RemotingCommand) -> Reply;

    /// Called once after all requests of one read were processed and before any [`Reply::Now`] of
    /// that turn goes out. A broker writes its staged records here.
    ///
    /// # Errors
    /// [`Unsettled`] closes the connection and drops those replies, so that the peer sees an
    /// unknown outcome and never a false success.
    fn settle(&self) -> Result<(), Unsettled> {
        Ok(())
    }

    /// A peer has connected; nothing of it was processed yet.
    fn connected(&self, _peer: &Arc<Peer>) {}

    /// The connection has ended; nothing of it will be processed any more.
    fn closed(&self, _peer: &Arc<Peer>) {}
}

/// What becomes of one request.
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the hot one; it goes straight into the output buffer"
)]
pub enum Reply {
    /// The answer is ready.
    Now(Response),
    /// The answer comes later. The future lives in the task of the connection and dies with it.
    Later(BoxFuture<'static, Response>),
    /// There will be no answer.
    None,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Now(response)
    }
}

/// The outcome of a turn is not known; its replies must not be sent.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the requests of this turn could not be settled: {reason}")]
pub struct Unsettled {
    /// Text for the log.
    pub reason: String,
}

/// Answers every request with "not supported".
#[derive(Debug, Clone, Copy, Default)]
pub struct Unsupported;

impl Processor for Unsupported {
    fn process(&self, _peer: &Arc<Peer>, request: RemotingCommand) -> Reply {
        Reply::Now(Response::not_supported(request.code))
    }
}
