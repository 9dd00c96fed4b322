//! The connections of a server or a client that are alive, and how they are brought to an end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rmq_runtime::{Clock, ClockExt};
use tokio::sync::watch;

use crate::peer::Peer;

/// Connections that are alive.
#[derive(Clone)]
pub(crate) struct Live {
    table: Arc<Table>,
}

struct Table {
    peers: Mutex<HashMap<u64, Arc<Peer>>>,
    count: watch::Sender<usize>,
    max: usize,
}

impl Live {
    pub(crate) fn new(max: usize) -> Self {
        let (peers, count) = (Mutex::default(), watch::Sender::new(0));
        Self { table: Arc::new(Table { peers, count, max }) }
    }

    /// Enters a connection until the entry is dropped; `None` when there are too many.
    pub(crate) fn enter(&self, peer: &Arc<Peer>) -> Option<Entry> {
        let mut peers = self.table.peers.lock();
        if peers.len() >= self.table.max {
            return None;
        }
        peers.insert(peer.id(), Arc::clone(peer));
        self.table.count.send_replace(peers.len());
        Some(Entry { table: Arc::clone(&self.table), id: peer.id() })
    }

    pub(crate) fn len(&self) -> usize {
        *self.table.count.borrow()
    }

    /// Lets all finish what they have begun, and cuts off those that do not in time.
    pub(crate) async fn drain(&self, clock: &dyn Clock, grace: Duration) {
        for peer in self.all() {
            peer.drain();
        }
        let mut count = self.table.count.subscribe();
        let drained = clock.timeout(grace, count.wait_for(|count| *count == 0)).await.is_ok();
        if !drained {
            self.close();
        }
    }

    /// Cuts all off.
    pub(crate) fn close(&self) {
        for peer in self.all() {
            peer.close_because("this side stops");
        }
    }

    fn all(&self) -> Vec<Arc<Peer>> {
        self.table.peers.lock().values().cloned().collect()
    }
}

/// A connection's place among those alive.
pub(crate) struct Entry {
    table: Arc<Table>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut peers = self.table.peers.lock();
        peers.remove(&self.id);
        self.table.count.send_replace(peers.len());
    }
}
