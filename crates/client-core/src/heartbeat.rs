//! Telling brokers that this client lives, what it produces and what it consumes.
//!
//! A heartbeat that is asked for while another is under way is sent after it, once for all who
//! asked: what changed a moment ago must go out, since brokers refuse pulls of a subscription that
//! is newer than theirs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::Mutex;
use rmq_message::{CompactString, java};
use rmq_remoting::invoker::Endpoint;
use rmq_remoting::json;
use rmq_remoting::protocol::heartbeat::{Heartbeat, HeartbeatResponse};
use rmq_remoting::typed::{TypedRequest, read_answer};
use tokio::sync::{RwLock, RwLockWriteGuard};

use crate::ClientError;
use crate::broker_client::BrokerClient;
use crate::member::Members;
use crate::route::Routes;
use crate::wire::Wire;

/// Brokers that are told at the same time.
const AT_ONCE: usize = 32;

pub(crate) struct Heartbeats {
    pub(crate) client_id: CompactString,
    pub(crate) wire: Wire,
    pub(crate) routes: Arc<Routes>,
    pub(crate) brokers: Arc<BrokerClient>,
    pub(crate) members: Arc<Members>,
    pub(crate) timeout: Duration,
    pub(crate) v2: bool,
    pub(crate) round: Round,
}

/// Rounds are numbered; one that begins serves all who asked before.
#[derive(Default)]
pub(crate) struct Round {
    asked: AtomicU64,
    /// The last round that was done, and whether it sent anything.
    done: tokio::sync::Mutex<(u64, bool)>,
    seen: Mutex<Seen>,
    /// Shared by heartbeats on their way. A farewell takes it alone: a heartbeat from before that
    /// arrives after it would make a member of who has left, for two minutes.
    on_the_way: RwLock<()>,
}

/// What brokers that understand the second form have heard.
#[derive(Default)]
struct Seen {
    /// Counts the changes of subscriptions: what was sent before one says nothing after it.
    epoch: u64,
    fingerprints: BTreeMap<Endpoint, Option<i32>>,
}

/// One heartbeat, and when it was composed.
struct Beat {
    full: Heartbeat,
    epoch: u64,
}

impl Heartbeats {
    /// Tells every broker. False when there is nothing to tell or nobody to be told.
    pub(crate) async fn send_all(&self) -> bool {
        let ticket = self.round.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut done = self.round.done.lock().await;
        if done.0 >= ticket {
            return done.1;
        }
        let _on_the_way = self.round.on_the_way.read().await;
        let covers = self.round.asked.load(Ordering::Acquire);
        let sent = match self.heartbeat() {
            None => false,
            Some(beat) => {
                let masters_only = beat.full.consumer_data_set.is_empty();
                let targets = self.routes.addresses(masters_only);
                let sent = !targets.is_empty();
                stream::iter(targets)
                    .for_each_concurrent(AT_ONCE, |to| {
                        let beat = &beat;
                        async move {
                            self.send_logged(&to, beat).await;
                        }
                    })
                    .await;
                sent
            }
        };
        *done = (covers, sent);
        sent
    }

    /// Tells one broker that was just connected: everything, since it may have been restarted and
    /// know nothing. Whether it has understood.
    pub(crate) async fn greet(&self, to: &Endpoint) -> bool {
        self.round.seen.lock().fingerprints.remove(to);
        let _on_the_way = self.round.on_the_way.read().await;
        match self.heartbeat() {
            Some(beat) => self.send_logged(to, &beat).await,
            None => false,
        }
    }

    /// No heartbeat is on its way while the guard lives.
    pub(crate) async fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.round.on_the_way.write().await
    }

    /// The next heartbeats carry all subscriptions again.
    pub(crate) fn forget_fingerprints(&self) {
        let mut seen = self.round.seen.lock();
        seen.epoch += 1;
        seen.fingerprints.values_mut().for_each(|heard| *heard = None);
    }

    pub(crate) fn forget(&self, address: &Endpoint) {
        self.round.seen.lock().fingerprints.remove(address);
        self.brokers.forget(address);
    }

    fn heartbeat(&self) -> Option<Beat> {
        let epoch = self.round.seen.lock().epoch;
        let (consumers, producers) = self.members.heartbeats();
        if consumers.is_empty() && producers.is_empty() {
            return None;
        }
        let mut full = Heartbeat {
            client_id: self.client_id.clone(),
            consumer_data_set: consumers,
            producer_data_set: producers,
            ..Heartbeat::default()
        };
        if self.v2 {
            full.heartbeat_fingerprint = fingerprint(&full);
        }
        Some(Beat { full, epoch })
    }

    async fn send_logged(&self, to: &Endpoint, beat: &Beat) -> bool {
        let sent = self.send(to, beat).await;
        if let Err(error) = &sent {
            tracing::warn!(broker = %to, %error, "heartbeat failed");
        }
        sent.is_ok()
    }

    async fn send(&self, to: &Endpoint, beat: &Beat) -> Result<(), ClientError> {
        let current = Some(beat.full.heartbeat_fingerprint);
        let heard = self.round.seen.lock().fingerprints.get(to).copied().flatten();
        let is_light = self.v2 && heard == current;
        let request =
            if is_light { light(&beat.full).to_command() } else { beat.full.to_command() };
        let answer = self.wire.exchange(to, request, self.timeout).await?;
        let version = answer.version;
        let answer: HeartbeatResponse = read_answer(answer)
            .map_err(|error| ClientError::of_call(to, Heartbeat::CODE, error))?;
        self.brokers.learn_version(to, version);
        if self.v2 {
            let changed = answer.subscription_changed == Some(true);
            let mut seen = self.round.seen.lock();
            if is_light && changed {
                seen.fingerprints.insert(to.clone(), None);
            } else if !is_light && answer.supports_v2 == Some(true) && seen.epoch == beat.epoch {
                let heard = if changed { None } else { current };
                seen.fingerprints.insert(to.clone(), heard);
            }
        }
        Ok(())
    }
}

/// The same without subscriptions.
fn light(heartbeat: &Heartbeat) -> Heartbeat {
    let mut light = Heartbeat { without_sub: true, ..heartbeat.clone() };
    for group in &mut light.consumer_data_set {
        group.subscription_data_set.clear();
    }
    light
}

/// A hash of what is subscribed, never 0: that would mean the first form.
fn fingerprint(heartbeat: &Heartbeat) -> i32 {
    let mut plain = Heartbeat { client_id: CompactString::default(), ..heartbeat.clone() };
    for group in &mut plain.consumer_data_set {
        for subscription in &mut group.subscription_data_set {
            subscription.sub_version = 0;
        }
    }
    match java::hash(&String::from_utf8_lossy(&json::to_bytes(&plain))) {
        0 => 1,
        hash => hash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_that_of_the_java_client() {
        let frame = include_bytes!("../tests/golden/000034-heart-beat.v2-consumer.req.bin");
        let start = frame.windows(11).position(|at| at == b"{\"clientID\"").unwrap();
        let sent: Heartbeat = json::from_slice(&frame[start..]).unwrap();
        let plain = Heartbeat { heartbeat_fingerprint: 0, ..sent.clone() };
        assert_eq!(fingerprint(&plain), sent.heartbeat_fingerprint);
        assert_ne!(sent.heartbeat_fingerprint, 0);
    }
}
