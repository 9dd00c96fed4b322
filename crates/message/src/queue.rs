//! A queue of a topic on one broker.

use std::cmp::Ordering;
use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::java;

/// One queue of a topic: the unit of order, of assignment and of progress.
///
/// Sorted by topic, broker name and queue id with Java's string order, because all members of a
/// group must compute the same allocation from the same list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageQueue {
    /// Name of the broker that holds the queue.
    pub broker_name: CompactString,
    /// Number of the queue on that broker, from 0.
    pub queue_id: i32,
    /// Topic of the queue.
    pub topic: CompactString,
}

impl MessageQueue {
    /// A queue by its three parts.
    pub fn new(topic: impl AsRef<str>, broker_name: impl AsRef<str>, queue_id: i32) -> Self {
        Self {
            broker_name: CompactString::new(broker_name),
            queue_id,
            topic: CompactString::new(topic),
        }
    }

    /// The text by which Java's `toString` names the queue; the consistent-hash allocation hashes it.
    pub fn java_text(&self) -> String {
        format!(
            "MessageQueue [topic={}, brokerName={}, queueId={}]",
            self.topic, self.broker_name, self.queue_id
        )
    }
}

impl fmt::Display for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.broker_name, self.queue_id)
    }
}

impl Ord for MessageQueue {
    fn cmp(&self, other: &Self) -> Ordering {
        java::compare(&self.topic, &other.topic)
            .then_with(|| java::compare(&self.broker_name, &other.broker_name))
            .then(self.queue_id.cmp(&other.queue_id))
    }
}

impl PartialOrd for MessageQueue {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
