//! A build without TLS: neither side of a handshake can be made.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rmq_runtime::{Clock, Stream, World};

use super::{ClientTls, ServerTls, TlsError, TlsMode};
use crate::invoker::Endpoint;

const ABSENT: &str = "this build speaks no TLS; build it with the cargo feature `tls`";

/// Accepts TLS connections, in builds that have TLS.
#[derive(Debug)]
pub enum Acceptor {}

/// Makes connections TLS, in builds that have TLS.
#[derive(Debug)]
pub enum Connector {}

impl Acceptor {
    /// None: who only permits TLS can do without.
    pub(super) fn new(settings: &ServerTls, _world: &World) -> Result<Option<Arc<Self>>, TlsError> {
        match settings.mode {
            TlsMode::Enforcing => Err(TlsError::new("tls.server.mode", ABSENT)),
            TlsMode::Disabled | TlsMode::Permissive => Ok(None),
        }
    }

    pub(crate) fn admits_plain(&self) -> bool {
        match *self {}
    }

    pub(crate) fn refresh(&self, _world: &World) {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "has the form of the real one")]
    pub(crate) async fn accept(
        &self,
        _stream: Box<dyn Stream>,
        _first: BytesMut,
        _clock: &dyn Clock,
    ) -> io::Result<Box<dyn Stream>> {
        match *self {}
    }
}

impl Connector {
    pub(super) fn new(_settings: &ClientTls, _world: &World) -> Result<Self, TlsError> {
        Err(TlsError::new("useTLS", ABSENT))
    }

    #[expect(clippy::unused_async, reason = "has the form of the real one")]
    pub(crate) async fn connect(
        &self,
        _to: &Endpoint,
        _stream: Box<dyn Stream>,
    ) -> io::Result<Box<dyn Stream>> {
        match *self {}
    }
}
