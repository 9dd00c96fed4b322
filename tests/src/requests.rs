//! A network that counts the requests that go out through it, by code.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use parking_lot::Mutex;
use rmq_runtime::{Listener, Net, Stream, World};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Requests so far, by code.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Mutex<BTreeMap<i64, usize>>>);

impl Requests {
    /// The world with a network that counts here. Only JSON headers are understood.
    pub fn watch(&self, world: &World) -> World {
        let net = CountingNet { net: Arc::clone(&world.net), requests: self.clone() };
        World { net: Arc::new(net), ..world.clone() }
    }

    /// How many requests of that code went out.
    pub fn count(&self, code: i32) -> usize {
        self.0.lock().get(&i64::from(code)).copied().unwrap_or(0)
    }
}

struct CountingNet {
    net: Arc<dyn Net>,
    requests: Requests,
}

#[async_trait]
impl Net for CountingNet {
    async fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        let stream = self.net.connect(to).await?;
        let frames = Frames { requests: self.requests.clone(), pending: Vec::new() };
        Ok(Box::new(CountingStream { stream, frames }))
    }

    async fn listen(&self, at: SocketAddr, shared: bool) -> io::Result<Box<dyn Listener>> {
        self.net.listen(at, shared).await
    }

    async fn resolve(&self, host_port: &str) -> io::Result<Vec<SocketAddr>> {
        self.net.resolve(host_port).await
    }

    fn local_ips(&self) -> Vec<IpAddr> {
        self.net.local_ips()
    }
}

struct CountingStream {
    stream: Box<dyn Stream>,
    frames: Frames,
}

impl Stream for CountingStream {
    fn local_addr(&self) -> SocketAddr {
        self.stream.local_addr()
    }

    fn remote_addr(&self) -> SocketAddr {
        self.stream.remote_addr()
    }
}

impl AsyncRead for CountingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for CountingStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(len)) = written {
            self.frames.pass(&bytes[..len]);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Finds the frames in what passes.
struct Frames {
    requests: Requests,
    pending: Vec<u8>,
}

impl Frames {
    fn pass(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        while let Some((frame, len)) = first(&self.pending) {
            if let Some(code) = code_of(frame) {
                *self.requests.0.lock().entry(code).or_default() += 1;
            }
            self.pending.drain(..len);
        }
    }
}

/// The first frame without its length, and its length with it.
fn first(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    Some((rest.get(..len)?, len + 4))
}

fn code_of(frame: &[u8]) -> Option<i64> {
    let (marked, rest) = frame.split_first_chunk::<4>()?;
    let header = rest.get(..usize::try_from(u32::from_be_bytes(*marked) & 0xFF_FFFF).ok()?)?;
    let header: serde_json::Value = serde_json::from_slice(header).ok()?;
    let is_response = header.get("flag")?.as_i64()? & 1 == 1;
    if is_response { None } else { header.get("code")?.as_i64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_however_they_are_cut() {
        let header = br#"{"code":11,"flag":0}"#;
        let len = u32::try_from(header.len()).unwrap();
        let mut frame = Vec::new();
        frame.extend((4 + len + 3).to_be_bytes());
        frame.extend(len.to_be_bytes());
        frame.extend(header);
        frame.extend(b"abc");
        let stream = frame.repeat(3);
        for cut in 0..stream.len() {
            let requests = Requests::default();
            let mut frames = Frames { requests: requests.clone(), pending: Vec::new() };
            frames.pass(&stream[..cut]);
            frames.pass(&stream[cut..]);
            assert_eq!(requests.count(11), 3);
        }
    }
}
