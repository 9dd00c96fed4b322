//! `CONSISTENT_HASH`: a member that comes or goes moves few queues.

use std::collections::BTreeMap;

use md5::{Digest, Md5};
use rmq_message::MessageQueue;

use super::{AllocateError, AllocateStrategy, place};

/// Puts members on a ring of hashes, each at several places; a queue belongs to the next one.
#[doc(alias = "AllocateMessageQueueConsistentHash")]
#[derive(Clone, Copy, Debug)]
pub struct ConsistentHash {
    /// Places of each member.
    pub virtual_nodes: u32,
}

impl Default for ConsistentHash {
    fn default() -> Self {
        Self { virtual_nodes: 10 }
    }
}

/// The first four bytes of the MD5 hash.
fn hash(text: &str) -> u32 {
    let digest: [u8; 16] = Md5::digest(text.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    u32::from_be_bytes([a, b, c, d])
}

impl AllocateStrategy for ConsistentHash {
    fn name(&self) -> &str {
        "CONSISTENT_HASH"
    }

    fn allocate(
        &self,
        me: &str,
        queues: &[MessageQueue],
        members: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        if place(me, queues, members)?.is_none() {
            return Ok(Vec::new());
        }
        let mut ring = BTreeMap::new();
        let mut twins = 0u64;
        let mut before = None;
        for member in members {
            // Two processes with one id stand side by side; the second takes further places.
            twins = if before == Some(member) { twins + 1 } else { 0 };
            before = Some(member);
            for node in 0..self.virtual_nodes {
                let place = twins * u64::from(self.virtual_nodes) + u64::from(node);
                ring.insert(hash(&format!("{member}-{place}")), member.as_str());
            }
        }
        let owner = |queue: &MessageQueue| {
            let at = hash(&queue.java_text());
            ring.range(at..).next().or_else(|| ring.first_key_value()).map(|(_, member)| *member)
        };
        Ok(queues.iter().filter(|queue| owner(queue) == Some(me)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_those_of_java() {
        assert_eq!(hash("cidA-0"), 54_057_564);
        let members: Vec<String> =
            ["10.0.0.1@1#1", "10.0.0.2@2#2", "10.0.0.3@3#3"].map(ToOwned::to_owned).into();
        let expected = [
            ("broker-a", 0, 1_630_488_180, 3),
            ("broker-a", 1, 2_335_566_527, 3),
            ("broker-a", 2, 5_127_707, 1),
            ("broker-a", 3, 3_682_045_333, 2),
            ("broker-b", 0, 1_984_769_239, 3),
            ("broker-b", 1, 2_926_199_891, 1),
            ("broker-b", 2, 1_276_986_236, 3),
            ("broker-b", 3, 2_071_781_442, 3),
        ];
        let queues: Vec<_> =
            expected.iter().map(|(broker, id, ..)| MessageQueue::new("T", broker, *id)).collect();
        for (queue, (_, _, code, owner)) in queues.iter().zip(expected) {
            assert_eq!(hash(&queue.java_text()), code, "{queue}");
            for (number, me) in (1..).zip(&members) {
                let own = ConsistentHash::default().allocate(me, &queues, &members).unwrap();
                assert_eq!(own.contains(queue), number == owner, "{queue} and {me}");
            }
        }
    }
}
