//! Where consumption of a queue begins: where the group stopped, else by the rule of the settings.
//!
//! An unknown position is never replaced by a number (INV-23): every failure is an error, and the
//! caller asks again.

use rmq_client_core::ClientError;
use rmq_client_core::protocol::Boundary;
use rmq_message::{MessageQueue, QueueOffset};

use crate::engine::Engine;
use crate::settings::ConsumeFrom;
use rmq_runtime::canary;

/// A known position to begin at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) offset: QueueOffset,
    /// Whether it is the group's progress rather than a rule's answer.
    pub(crate) stored: bool,
}

/// The rule for a queue in which the group has no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Zero,
    End,
    Time,
}

impl Rule {
    /// Retries are never skipped, but for the quirk of the original with a time, which members of
    /// one group must share.
    fn of(from: ConsumeFrom, retry: bool) -> Self {
        match (from, retry) {
            (ConsumeFrom::LastOffset, false) | (ConsumeFrom::Timestamp, true) => Self::End,
            (ConsumeFrom::Timestamp, false) => Self::Time,
            (ConsumeFrom::FirstOffset, _) | (ConsumeFrom::LastOffset, true) => Self::Zero,
        }
    }
}

pub(crate) async fn start_offset(
    engine: &Engine,
    queue: &MessageQueue,
) -> Result<Start, ClientError> {
    match engine.progress.read(queue).await {
        Ok(Some(offset)) => return Ok(Start { offset, stored: true }),
        Err(_) if canary("INV-23 an unknown position is 0") => {}
        Ok(None) => {}
        Err(error) => return Err(error),
    }
    let retry = rmq_message::name::is_retry(&queue.topic);
    let offset = match Rule::of(engine.settings.consume_from_where, retry) {
        Rule::Zero => QueueOffset::ZERO,
        Rule::End => engine.brokers().max_offset(queue).await?,
        Rule::Time => {
            let utc_offset_ms = engine.instance.world().clock.utc_offset_ms();
            let time = engine.settings.begin(engine.started, utc_offset_ms);
            engine.brokers().search_offset(queue, time, Boundary::Lower).await?
        }
    };
    Ok(Start { offset, stored: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_begin_at_the_beginning_and_new_topics_by_the_setting() {
        for (from, retry, rule) in [
            (ConsumeFrom::LastOffset, false, Rule::End),
            (ConsumeFrom::LastOffset, true, Rule::Zero),
            (ConsumeFrom::FirstOffset, false, Rule::Zero),
            (ConsumeFrom::FirstOffset, true, Rule::Zero),
            (ConsumeFrom::Timestamp, false, Rule::Time),
            (ConsumeFrom::Timestamp, true, Rule::End),
        ] {
            assert_eq!(Rule::of(from, retry), rule, "{from:?} {retry}");
        }
    }
}
