//! `AVG_BY_CIRCLE`: one queue each in turn.

use rmq_message::MessageQueue;

use super::{AllocateError, AllocateStrategy, place};

/// Deals queues like cards.
#[doc(alias = "AllocateMessageQueueAveragelyByCircle")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Circle;

impl AllocateStrategy for Circle {
    fn name(&self) -> &str {
        "AVG_BY_CIRCLE"
    }

    fn allocate(
        &self,
        me: &str,
        queues: &[MessageQueue],
        members: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        let Some(index) = place(me, queues, members)? else { return Ok(Vec::new()) };
        Ok(queues.iter().skip(index).step_by(members.len()).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::shares;
    use super::*;

    #[test]
    fn queues_are_dealt_in_turn() {
        assert_eq!(shares(&Circle, 7, 3), [vec![0, 3, 6], vec![1, 4], vec![2, 5]]);
        assert_eq!(shares(&Circle, 1, 2), [vec![0], vec![]]);
    }
}
