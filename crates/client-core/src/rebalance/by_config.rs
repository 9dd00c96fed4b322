//! `CONFIG`: as somebody has decided.

use rmq_message::MessageQueue;

use super::{AllocateError, AllocateStrategy};

/// A fixed list, whatever the members are.
#[doc(alias = "AllocateMessageQueueByConfig")]
#[derive(Clone, Debug, Default)]
pub struct ByConfig {
    /// The queues of this member.
    pub queues: Vec<MessageQueue>,
}

impl AllocateStrategy for ByConfig {
    fn name(&self) -> &str {
        "CONFIG"
    }

    fn allocate(
        &self,
        _me: &str,
        _queues: &[MessageQueue],
        _members: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        Ok(self.queues.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::queues;
    use super::*;

    #[test]
    fn the_list_is_taken_as_it_is() {
        let strategy = ByConfig { queues: queues(2) };
        assert_eq!(strategy.allocate("x", &[], &[]), Ok(queues(2)));
    }
}
