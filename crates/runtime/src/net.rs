//! Sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// This side.
    fn local_addr(&self) -> SocketAddr;
    /// The other side.
    fn remote_addr(&self) -> SocketAddr;
}

/// A listening socket.
#[async_trait]
pub trait Listener: Send {
    /// The next connection. Cancel-safe.
    async fn accept(&mut self) -> io::Result<Box<dyn Stream>>;
    /// Where it listens; the port is the true one when 0 was asked for.
    fn local_addr(&self) -> SocketAddr;
}

/// The network.
#[async_trait]
pub trait Net: Send + Sync + 'static {
    /// Dials. The caller bounds the time.
    async fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn Stream>>;
    /// Listens. With `shared` several listeners of this process may have the port, and the kernel
    /// spreads connections over them. Must be called on the runtime that will accept.
    async fn listen(&self, at: SocketAddr, shared: bool) -> io::Result<Box<dyn Listener>>;
    /// Addresses of `host:port`.
    async fn resolve(&self, host_port: &str) -> io::Result<Vec<SocketAddr>>;
    /// Addresses of this machine, loopback ones last.
    fn local_ips(&self) -> Vec<IpAddr>;
}
