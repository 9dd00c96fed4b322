//! What the consumer wants, by topic, and which version of it brokers have heard.
//!
//! A subscription's version grows when its expression changes and, so that brokers refresh their
//! copy, each time the queues of the topic change. A pull names a version; a broker that knows only
//! an older one refuses it. So a version that merely grew is named in pulls once a heartbeat has
//! carried it, but a changed expression at once: no broker may filter by the old one (INV-30).

use std::collections::BTreeMap;
use std::sync::Arc;

use compact_str::CompactString;
use parking_lot::Mutex;
use rmq_message::{Subscription, Timestamp};
use tokio::sync::watch;

struct Entry {
    subscription: Subscription,
    /// The same with the version that pulls may name.
    pulled: Arc<Subscription>,
}

impl Entry {
    fn new(subscription: Subscription) -> Self {
        Self { pulled: Arc::new(subscription.clone()), subscription }
    }
}

/// See the module.
pub(crate) struct Subscriptions {
    entries: Mutex<BTreeMap<CompactString, Entry>>,
    /// Grows with each change of an expression: running pulls begin anew.
    changes: watch::Sender<u64>,
}

impl Subscriptions {
    pub(crate) fn new(subscriptions: impl IntoIterator<Item = Subscription>) -> Self {
        let entry = |wanted: Subscription| (wanted.topic.clone(), Entry::new(wanted));
        Self {
            entries: Mutex::new(subscriptions.into_iter().map(entry).collect()),
            changes: watch::Sender::new(0),
        }
    }

    pub(crate) fn topics(&self) -> Vec<CompactString> {
        self.entries.lock().keys().cloned().collect()
    }

    pub(crate) fn contains(&self, topic: &str) -> bool {
        self.entries.lock().contains_key(topic)
    }

    /// All, with the versions that the next heartbeat is to carry.
    pub(crate) fn all(&self) -> Vec<Subscription> {
        self.entries.lock().values().map(|entry| entry.subscription.clone()).collect()
    }

    /// The subscription of a topic with the version that a pull may name.
    pub(crate) fn for_pull(&self, topic: &str) -> Option<Arc<Subscription>> {
        self.entries.lock().get(topic).map(|entry| Arc::clone(&entry.pulled))
    }

    /// Sets what is wanted of a topic.
    pub(crate) fn set(&self, mut subscription: Subscription) {
        {
            let mut entries = self.entries.lock();
            if let Some(old) = entries.get(&subscription.topic) {
                subscription.version = subscription.version.max(old.subscription.version + 1);
            }
            entries.insert(subscription.topic.clone(), Entry::new(subscription));
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whether the topic was wanted.
    pub(crate) fn remove(&self, topic: &str) -> bool {
        let known = self.entries.lock().remove(topic).is_some();
        if known {
            self.changes.send_modify(|count| *count += 1);
        }
        known
    }

    /// The queues of a topic changed: the next heartbeat refreshes the brokers' copies.
    pub(crate) fn renew(&self, topic: &str, now: Timestamp) {
        if let Some(entry) = self.entries.lock().get_mut(topic) {
            entry.subscription.version = now.0.max(entry.subscription.version + 1);
        }
    }

    /// A heartbeat has carried these.
    pub(crate) fn announced(&self, carried: &[Subscription]) {
        let mut entries = self.entries.lock();
        for subscription in carried {
            if let Some(entry) = entries.get_mut(&subscription.topic)
                && entry.pulled.version < subscription.version
            {
                let (wanted, version) = (entry.subscription.clone(), subscription.version);
                entry.pulled = Arc::new(Subscription { version, ..wanted });
            }
        }
    }

    /// Tells when an expression changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(expression: &str, version: i64) -> Subscription {
        Subscription::tags("T", expression, Timestamp(version)).unwrap()
    }

    #[test]
    fn a_renewed_version_is_named_in_pulls_only_after_a_heartbeat() {
        let table = Subscriptions::new([tags("A", 10)]);
        table.renew("T", Timestamp(20));
        let carried = table.all();
        assert_eq!((carried[0].version, table.for_pull("T").unwrap().version), (20, 10));
        table.announced(&carried);
        assert_eq!(table.for_pull("T").unwrap().version, 20);
        table.renew("T", Timestamp(5));
        assert_eq!(table.all()[0].version, 21);
    }

    #[test]
    fn a_changed_expression_is_named_at_once_and_told() {
        let table = Subscriptions::new([tags("A", 10)]);
        let changes = table.changes();
        table.renew("T", Timestamp(20));
        table.set(tags("B", 15));
        let pull = table.for_pull("T").unwrap();
        assert_eq!((pull.version, pull.expression.as_str()), (21, "B"));
        assert!(changes.has_changed().unwrap());
        assert!(table.remove("T") && !table.remove("T") && table.for_pull("T").is_none());
    }
}
