//! Who of a group consumes which queues.
//!
//! Every member computes the same allocation from the same sorted lists, so the formulas, the names
//! and the order are part of the protocol: one member that computes otherwise loses queues or
//! consumes them twice.

use std::collections::BTreeSet;

use rmq_message::{MessageQueue, java};
use thiserror::Error;

mod average;
mod by_config;
mod circle;
mod consistent_hash;
mod machine_room;

pub use average::Average;
pub use by_config::ByConfig;
pub use circle::Circle;
pub use consistent_hash::ConsistentHash;
pub use machine_room::{MachineRoom, MachineRoomNearby};

/// A way to share queues among members.
#[doc(alias = "AllocateMessageQueueStrategy")]
pub trait AllocateStrategy: Send + Sync + 'static {
    /// Name by which brokers know it.
    fn name(&self) -> &str;

    /// The queues of member `me`. Both lists are sorted as [`allocate`] does.
    ///
    /// # Errors
    /// [`AllocateError`]: the member keeps what it has.
    fn allocate(
        &self,
        me: &str,
        queues: &[MessageQueue],
        members: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError>;
}

/// Why there is no allocation. Nobody may take it for "no queues".
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AllocateError {
    /// No own client id.
    #[error("currentCID is empty")]
    NoSelf,
    /// No queues.
    #[error("mqAll is null or mqAll empty")]
    NoQueues,
    /// No members.
    #[error("cidAll is null or cidAll empty")]
    NoMembers,
    /// A setting of the strategy is wrong.
    #[error("{strategy}: {reason}")]
    Setting {
        /// Name of the strategy.
        strategy: &'static str,
        /// What is wrong and what is right.
        reason: String,
    },
}

/// Sorts both lists as all members do, then asks the strategy.
///
/// # Errors
/// [`AllocateError`].
pub fn allocate(
    strategy: &dyn AllocateStrategy,
    me: &str,
    mut queues: Vec<MessageQueue>,
    mut members: Vec<String>,
) -> Result<BTreeSet<MessageQueue>, AllocateError> {
    queues.sort_unstable();
    members.sort_unstable_by(|a, b| java::compare(a, b));
    Ok(strategy.allocate(me, &queues, &members)?.into_iter().collect())
}

/// Own place among the members; none when the broker does not list us (then nothing is ours).
fn place(
    me: &str,
    queues: &[MessageQueue],
    members: &[String],
) -> Result<Option<usize>, AllocateError> {
    if me.is_empty() {
        return Err(AllocateError::NoSelf);
    }
    if queues.is_empty() {
        return Err(AllocateError::NoQueues);
    }
    if members.is_empty() {
        return Err(AllocateError::NoMembers);
    }
    Ok(members.iter().position(|member| member == me))
}

/// What to do to hold the wanted queues.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Give up, before anything is taken.
    pub revoke: Vec<MessageQueue>,
    /// Go on.
    pub keep: Vec<MessageQueue>,
    /// Take.
    pub assign: Vec<MessageQueue>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_settled(&self) -> bool {
        self.revoke.is_empty() && self.assign.is_empty()
    }
}

/// Compares what is held with what is wanted.
pub fn plan(owned: &BTreeSet<MessageQueue>, wanted: &BTreeSet<MessageQueue>) -> Plan {
    Plan {
        revoke: owned.difference(wanted).cloned().collect(),
        keep: owned.intersection(wanted).cloned().collect(),
        assign: wanted.difference(owned).cloned().collect(),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use rmq_message::MessageQueue;

    use super::AllocateStrategy;

    pub(crate) fn queues(count: i32) -> Vec<MessageQueue> {
        (0..count).map(|id| MessageQueue::new("T", "broker-a", id)).collect()
    }

    pub(crate) fn members(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("c{n:02}")).collect()
    }

    /// Indexes of the queues that each member gets.
    pub(crate) fn shares(strategy: &dyn AllocateStrategy, n: i32, c: usize) -> Vec<Vec<i32>> {
        let (queues, members) = (queues(n), members(c));
        members
            .iter()
            .map(|me| {
                let own = strategy.allocate(me, &queues, &members).unwrap();
                own.iter().map(|queue| queue.queue_id).collect()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{members, queues, shares};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_lists_are_errors_and_an_unlisted_member_gets_nothing() {
        let (queues, members) = (queues(4), members(2));
        for strategy in [&Average as &dyn AllocateStrategy, &Circle, &ConsistentHash::default()] {
            let allocate = |me: &str, q: &[_], m: &[_]| strategy.allocate(me, q, m);
            assert_eq!(allocate("", &queues, &members), Err(AllocateError::NoSelf));
            assert_eq!(allocate("c00", &[], &members), Err(AllocateError::NoQueues));
            assert_eq!(allocate("c00", &queues, &[]), Err(AllocateError::NoMembers));
            assert_eq!(allocate("stranger", &queues, &members), Ok(Vec::new()));
        }
        assert_eq!(AllocateError::NoSelf.to_string(), "currentCID is empty");
    }

    #[test]
    fn lists_are_sorted_before_they_are_shared() {
        let mut backwards = queues(4);
        backwards.reverse();
        let ids = vec!["b".to_owned(), "a".to_owned()];
        let own = allocate(&Average, "a", backwards, ids).unwrap();
        assert_eq!(own.into_iter().collect::<Vec<_>>(), queues(2));
    }

    #[test]
    fn a_plan_names_what_to_give_up_keep_and_take() {
        let set = |range: std::ops::Range<usize>| queues(4).drain(range).collect::<BTreeSet<_>>();
        let plan = plan(&set(0..3), &set(1..4));
        assert_eq!(plan.revoke, queues(1));
        assert_eq!(plan.keep, queues(3)[1..]);
        assert_eq!(plan.assign, queues(4)[3..]);
        assert!(!plan.is_settled() && super::plan(&set(0..2), &set(0..2)).is_settled());
    }

    proptest! {
        #[test]
        fn every_queue_has_exactly_one_owner(n in 1..40i32, c in 1..12usize) {
            for strategy in [&Average as &dyn AllocateStrategy, &Circle, &ConsistentHash::default()] {
                let mut all: Vec<i32> = shares(strategy, n, c).into_iter().flatten().collect();
                all.sort_unstable();
                prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
            }
        }
    }
}
