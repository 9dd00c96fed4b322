//! A world without a network.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use rmq_runtime::{Listener, Net, Stream, World};

use crate::{SimClock, SimDisk, SimEntropy};

/// A world of that clock and disk, with chance from a seed. Its network refuses everything.
pub fn world(clock: &Arc<SimClock>, disk: &SimDisk, seed: u64) -> World {
    World {
        clock: clock.clone(),
        disk: Arc::new(disk.clone()),
        net: Arc::new(NoNet),
        entropy: Arc::new(SimEntropy::new(seed)),
    }
}

struct NoNet;

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this world has no network"))
}

#[async_trait]
impl Net for NoNet {
    async fn connect(&self, _to: SocketAddr) -> io::Result<Box<dyn Stream>> {
        refused()
    }

    async fn listen(&self, _at: SocketAddr, _shared: bool) -> io::Result<Box<dyn Listener>> {
        refused()
    }

    async fn resolve(&self, _host_port: &str) -> io::Result<Vec<SocketAddr>> {
        refused()
    }

    fn local_ips(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}
