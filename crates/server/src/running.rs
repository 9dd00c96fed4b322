//! A server that runs: where it listens, whether it is well, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rmq_remoting::{Server, ServerHandle};
use rmq_runtime::{BoxFuture, Tasks, World};
use thiserror::Error;

/// Why a server did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another process listens there.
    #[error("{what} cannot listen on {at}: the port is in use by another process")]
    PortInUse {
        /// Which server.
        what: &'static str,
        /// Where.
        at: SocketAddr,
    },
    /// It cannot listen there for another reason.
    #[error("{what} cannot listen on {at}: {source}")]
    Listen {
        /// Which server.
        what: &'static str,
        /// Where.
        at: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The disk is full.
    #[error("the disk of {} is full: {problem}", dir.display())]
    DiskFull {
        /// Directory of the store.
        dir: PathBuf,
        /// What was to be written.
        problem: String,
    },
    /// The store does not open.
    #[error("the store does not open: {0}")]
    Store(rmq_store::OpenError),
    /// The broker does not start on its store.
    #[error("the broker does not start: {0}")]
    Broker(rmq_broker::OpenError),
    /// A bug.
    #[error("a task panicked; its message is in the log")]
    Panicked,
    /// The name server does not start.
    #[error("the name server does not start: {0}")]
    Namesrv(#[from] rmq_namesrv::OpenError),
    /// A setting with which no TLS is possible.
    #[error(transparent)]
    Tls(#[from] rmq_remoting::tls::TlsError),
}

/// How a server ends: everything in its order, within that time.
type End = Box<dyn FnOnce(Duration) -> BoxFuture<'static, Vec<String>> + Send>;

/// A server that runs. Dropping it leaves it running until its runtime ends; [`Running::stop`] is
/// the way out.
#[must_use = "a server that nobody stops loses what is not yet on disk"]
pub struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) tasks: Tasks,
    pub(crate) lines: Vec<String>,
    pub(crate) end: End,
}

impl Running {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What people may want to know of it, a line each.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Ready when a task has failed without which it cannot keep its promises: its name.
    /// Cancel-safe.
    pub async fn failed(&self) -> String {
        let mut failure = self.tasks.failure();
        match failure.wait_for(Option::is_some).await {
            Ok(name) => name.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops it in good order. Each step may take `grace`. Returns what did not end in time, or did
    /// not end well; nothing else is lost then than what a kill would lose.
    pub async fn stop(self, grace: Duration) -> Vec<String> {
        (self.end)(grace).await
    }
}

/// Says plainly when somebody else listens there.
///
/// Shards share their port, and would share it with another process as well: so this is asked with a
/// socket that shares nothing, and before a server listens.
pub(crate) async fn check_free(
    world: &World,
    what: &'static str,
    at: SocketAddr,
) -> Result<(), StartError> {
    if at.port() != 0 {
        drop(world.net.listen(at, false).await.map_err(|error| refused(what, at, error))?);
    }
    Ok(())
}

/// Listens with a server.
pub(crate) async fn listen(
    what: &'static str,
    at: SocketAddr,
    server: Server,
) -> Result<ServerHandle, StartError> {
    server.start().await.map_err(|error| refused(what, at, error))
}

fn refused(what: &'static str, at: SocketAddr, source: io::Error) -> StartError {
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { what, at },
        _ => StartError::Listen { what, at, source },
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("addr", &self.addr).field("tasks", &self.tasks).finish()
    }
}
