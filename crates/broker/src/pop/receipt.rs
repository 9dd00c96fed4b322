//! Receipts: `start popTime invisibleTime reviveQueue kind broker queue offset`, separated by
//! blanks (`ExtraInfoUtil`). Made by the client for what it has popped, or by the broker as the
//! property `POP_CK` of what comes from a retry topic.

use std::fmt;

use rmq_message::{CompactString, name};

/// Where a popped message comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The topic itself.
    Normal,
    /// `%RETRY%group_topic`.
    RetryV1,
    /// `%RETRY%group+topic`.
    RetryV2,
}

impl Kind {
    /// The kind of a topic by its name.
    pub(crate) fn of(topic: &str) -> Self {
        match (name::is_retry(topic), topic.contains('+')) {
            (false, _) => Self::Normal,
            (true, false) => Self::RetryV1,
            (true, true) => Self::RetryV2,
        }
    }

    /// Reads the word of the wire.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        match word {
            "0" => Some(Self::Normal),
            "1" => Some(Self::RetryV1),
            "2" => Some(Self::RetryV2),
            _ => None,
        }
    }

    /// The topic that a group really reads.
    pub(crate) fn topic(self, topic: &str, group: &str) -> CompactString {
        let separator = match self {
            Self::Normal => return CompactString::new(topic),
            Self::RetryV1 => '_',
            Self::RetryV2 => '+',
        };
        CompactString::from(format!("{}{group}{separator}{topic}", name::RETRY_PREFIX))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "0",
            Self::RetryV1 => "1",
            Self::RetryV2 => "2",
        })
    }
}

/// The topic whose retries a retry topic of the group holds.
pub(crate) fn normal_topic<'a>(topic: &'a str, group: &str) -> &'a str {
    let rest = topic.strip_prefix(name::RETRY_PREFIX).and_then(|rest| rest.strip_prefix(group));
    rest.and_then(|rest| rest.strip_prefix(['_', '+'])).unwrap_or(topic)
}

/// What a receipt says of the pop. Queue and offset stand in the request besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// First offset of the pop: names the check point.
    pub(crate) start: i64,
    /// When it was taken, ms since 1970.
    pub(crate) pop_time: i64,
    /// For how long, ms.
    pub(crate) invisible: i64,
    /// Queue of the revive topic, or [`ORDER_QUEUE`](super::ORDER_QUEUE).
    pub(crate) revive_queue: i32,
    pub(crate) kind: Kind,
    pub(crate) broker: CompactString,
}

impl Receipt {
    /// Reads the text; `None` when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        Some(Self {
            start: parts.next()?.parse().ok()?,
            pop_time: parts.next()?.parse().ok()?,
            invisible: parts.next()?.parse().ok()?,
            revive_queue: parts.next()?.parse().ok()?,
            kind: Kind::parse(parts.next()?)?,
            broker: CompactString::new(parts.next()?),
        })
    }

    /// When the message comes again, ms since 1970.
    pub(crate) fn due(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible)
    }

    /// The text for one message.
    pub(crate) fn render(&self, queue_id: i32, offset: i64) -> String {
        let Self { start, pop_time, invisible, revive_queue, kind, broker } = self;
        format!("{start} {pop_time} {invisible} {revive_queue} {kind} {broker} {queue_id} {offset}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_as_it_was_written() {
        let text = "0 1795265482715 10000 4 1 broker-a 0 7";
        let receipt = Receipt::parse(text).unwrap();
        assert_eq!(receipt.due(), 1_795_265_492_715);
        assert_eq!(receipt.render(0, 7), text);
        // A proxy's handle has a ninth part.
        assert_eq!(Receipt::parse(&format!("{text} 4711")), Some(receipt));
        for bad in ["", "zz", "0 1 2 3 4 b 0 0", "0 1 2 3", "x 1 2 3 0 b 0 0"] {
            assert_eq!(Receipt::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn retry_topics_are_named_after_group_and_topic() {
        for (kind, text) in [(Kind::RetryV1, "%RETRY%g_T"), (Kind::RetryV2, "%RETRY%g+T")] {
            assert_eq!(kind.topic("T", "g"), text);
            assert_eq!(Kind::of(text), kind);
            assert_eq!(normal_topic(text, "g"), "T");
        }
        assert_eq!(Kind::of("T"), Kind::Normal);
        assert_eq!(normal_topic("%RETRY%other_T", "g"), "%RETRY%other_T");
    }
}
