//! `AVG`: neighbouring queues, the first members get one more.

use rmq_message::MessageQueue;

use super::{AllocateError, AllocateStrategy, place};

/// Shares queues evenly in blocks; what every client does unless told otherwise.
#[doc(alias = "AllocateMessageQueueAveragely")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Average;

impl AllocateStrategy for Average {
    fn name(&self) -> &str {
        "AVG"
    }

    fn allocate(
        &self,
        me: &str,
        queues: &[MessageQueue],
        members: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        let Some(index) = place(me, queues, members)? else { return Ok(Vec::new()) };
        let (each, more) = (queues.len() / members.len(), queues.len() % members.len());
        let start = index * each + index.min(more);
        let count = each + usize::from(index < more);
        Ok(queues.iter().skip(start).take(count).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::shares;
    use super::*;

    #[test]
    fn shares_are_those_of_java() {
        let cases: [(i32, usize, &[&[i32]]); 7] = [
            (1, 2, &[&[0], &[]]),
            (4, 2, &[&[0, 1], &[2, 3]]),
            (3, 2, &[&[0, 1], &[2]]),
            (8, 3, &[&[0, 1, 2], &[3, 4, 5], &[6, 7]]),
            (5, 3, &[&[0, 1], &[2, 3], &[4]]),
            (4, 5, &[&[0], &[1], &[2], &[3], &[]]),
            (7, 4, &[&[0, 1], &[2, 3], &[4, 5], &[6]]),
        ];
        for (n, c, expected) in cases {
            assert_eq!(shares(&Average, n, c), expected, "{n} queues, {c} members");
        }
    }
}
