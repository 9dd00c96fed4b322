//! The machine's network, through tokio.
#![expect(clippy::disallowed_types, reason = "this is the seam")]

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::net::{Listener, Net, Stream};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The machine's network.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemNet;

struct SystemStream {
    stream: TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
}

impl SystemStream {
    fn of(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        Ok(Self { stream, local, remote })
    }
}

#[async_trait]
impl Net for SystemNet {
    async fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(SystemStream::of(TcpStream::connect(to).await?)?))
    }

    async fn listen(&self, at: SocketAddr, shared: bool) -> io::Result<Box<dyn Listener>> {
        let listen = || {
            let socket = if at.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            socket.set_reuseaddr(true)?;
            #[cfg(unix)]
            socket.set_reuseport(shared)?;
            socket.bind(at)?;
            let listener = socket.listen(BACKLOG)?;
            let local = listener.local_addr()?;
            Ok(Box::new(SystemListener { listener, local }) as Box<dyn Listener>)
        };
        listen()
            .map_err(|e: io::Error| io::Error::new(e.kind(), format!("cannot listen on {at}: {e}")))
    }

    async fn resolve(&self, host_port: &str) -> io::Result<Vec<SocketAddr>> {
        match host_port.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => tokio::net::lookup_host(host_port).await.map(Iterator::collect),
        }
    }

    fn local_ips(&self) -> Vec<IpAddr> {
        let mut ips: Vec<IpAddr> = if_addrs::get_if_addrs()
            .unwrap_or_default()
            .iter()
            .map(if_addrs::Interface::ip)
            .collect();
        ips.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6()));
        ips
    }
}

struct SystemListener {
    listener: TcpListener,
    local: SocketAddr,
}

#[async_trait]
impl Listener for SystemListener {
    async fn accept(&mut self) -> io::Result<Box<dyn Stream>> {
        let (stream, _) = self.listener.accept().await?;
        Ok(Box::new(SystemStream::of(stream)?))
    }

    fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

impl Stream for SystemStream {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn remote_addr(&self) -> SocketAddr {
        self.remote
    }
}

impl AsyncRead for SystemStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for SystemStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_leaves_at_once() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let SystemStream { stream, .. } = SystemStream::of(stream).unwrap();
        assert!(stream.nodelay().unwrap());
    }
}
