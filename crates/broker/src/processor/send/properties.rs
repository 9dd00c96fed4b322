//! The properties of a message on its way in: what the broker must know of them, and what it adds.
//! Works on the text; no map is built.

use rmq_message::property::{self, NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};
use smallvec::SmallVec;
use thiserror::Error;

use crate::timer::Wish;

/// What the broker must know.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan<'a> {
    pub(super) tags: Option<&'a str>,
    pub(super) unique_id: Option<&'a str>,
    /// Delay level as the sender wrote it; 0 when there is none.
    pub(super) delay: i32,
    pub(super) transaction: bool,
    /// When the message is to be delivered, unless it has waited already.
    pub(super) wish: Wish<'a>,
    /// The message takes a timed one back.
    pub(super) takes_back: bool,
    /// The sender does not wait for the flush.
    pub(super) no_wait: bool,
    /// As the sender wrote it, whatever else the message is.
    pub(super) priority: Option<i32>,
    /// It is delayed, or in order with others of its sharding key: then it has no priority.
    is_special: bool,
    /// There is something that the broker leaves out in any case.
    strip: bool,
}

/// What the broker writes anew.
#[derive(Debug, Default)]
pub(super) struct Edits<'a> {
    /// The message has none of its own.
    pub(super) unique_id: Option<&'a str>,
    /// In place of what the sender wrote.
    pub(super) delay: Option<i32>,
    /// True topic and queue of a message that has to wait.
    pub(super) real: Option<(&'a str, i32)>,
    /// Of a half message, the id of its transaction.
    pub(super) transaction_id: Option<&'a str>,
    /// The tick in which it waits.
    pub(super) tick: Option<i64>,
    /// The message has a priority that counts for nothing.
    pub(super) no_priority: bool,
}

/// What the broker adds to every message.
#[derive(Debug)]
pub(super) struct Marks<'a> {
    pub(super) cluster: &'a str,
    pub(super) region: &'a str,
    pub(super) trace_on: &'a str,
}

/// A property that means something is no value of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the property {name} is no number")]
pub(super) struct PropertyError {
    name: &'static str,
}

impl<'a> Scan<'a> {
    /// Walks the text once. Of repeated names the last one counts.
    pub(super) fn of(text: &'a str) -> Result<Self, PropertyError> {
        let mut scan = Self::default();
        let mut has_waited = false;
        for segment in text.split(char::from(PROPERTY_SEPARATOR)) {
            let Some((name, value)) = pair(segment) else { continue };
            match name {
                property::TAGS => scan.tags = Some(value),
                property::UNIQ_KEY => scan.unique_id = Some(value),
                property::DELAY => {
                    scan.is_special = true;
                    scan.delay =
                        value.parse().map_err(|_| PropertyError { name: property::DELAY })?;
                }
                property::WAIT => scan.no_wait = value.eq_ignore_ascii_case("false"),
                property::TRANSACTION_PREPARED => {
                    scan.transaction = value.eq_ignore_ascii_case("true");
                }
                property::TIMER_DEL_UNIQKEY => scan.takes_back = true,
                property::TIMER_OUT_MS => has_waited = true,
                property::SHARDING_KEY => scan.is_special = true,
                property::PRIORITY => scan.priority = value.parse().ok(),
                name if scan.wish.take(name, value) => scan.is_special = true,
                name => scan.strip |= is_brokers(name),
            }
        }
        if has_waited {
            scan.wish = Wish::default();
        }
        Ok(scan)
    }

    /// The queue that a priority stands for, of so many; `Err` when the message is of a kind that
    /// has none, and the property must go.
    pub(super) fn priority_queue(&self, queues: i32) -> Result<Option<i32>, NoPriority> {
        let Some(priority) = self.priority.filter(|priority| *priority >= 0) else {
            return Ok(None);
        };
        if self.transaction || self.is_special {
            return Err(NoPriority);
        }
        Ok(Some(priority.min(queues.saturating_sub(1)).max(0)))
    }
}

/// A message of another kind has no priority.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoPriority;

/// Name and value, unless readers drop them.
fn pair(segment: &str) -> Option<(&str, &str)> {
    let (name, value) = segment.split_once(char::from(NAME_VALUE_SEPARATOR))?;
    (segment.len() >= 3 && !name.is_empty() && !value.is_empty()).then_some((name, value))
}

/// Names that only the broker writes.
fn is_brokers(name: &str) -> bool {
    matches!(
        name,
        property::POP_CK
            | property::CLUSTER
            | property::MSG_REGION
            | property::TRACE_ON
            | property::CRC32
    )
}

/// Appends the properties as they are to be stored.
pub(super) fn rewrite(
    text: &str,
    scan: &Scan<'_>,
    edits: &Edits<'_>,
    marks: &Marks<'_>,
    out: &mut SmallVec<[u8; 512]>,
) {
    if !scan.strip && edits.delay.is_none() && edits.real.is_none() && !edits.no_priority {
        out.extend_from_slice(text.as_bytes());
        if text.as_bytes().last().is_some_and(|last| *last != PROPERTY_SEPARATOR) {
            out.push(PROPERTY_SEPARATOR);
        }
    } else {
        for segment in text.split(char::from(PROPERTY_SEPARATOR)) {
            if pair(segment).is_some_and(|(name, _)| !is_replaced(name, edits)) {
                out.extend_from_slice(segment.as_bytes());
                out.push(PROPERTY_SEPARATOR);
            }
        }
    }
    let mut add = |name: &str, value: &str| {
        out.extend_from_slice(name.as_bytes());
        out.push(NAME_VALUE_SEPARATOR);
        out.extend_from_slice(value.as_bytes());
        out.push(PROPERTY_SEPARATOR);
    };
    if let Some(id) = edits.unique_id {
        add(property::UNIQ_KEY, id);
    }
    add(property::CLUSTER, marks.cluster);
    add(property::MSG_REGION, marks.region);
    add(property::TRACE_ON, marks.trace_on);
    if let Some(delay) = edits.delay {
        add(property::DELAY, &delay.to_string());
    }
    if let Some(id) = edits.transaction_id {
        add(property::TRANSACTION_ID, id);
    }
    if let Some((topic, queue_id)) = edits.real {
        add(property::REAL_TOPIC, topic);
        add(property::REAL_QUEUE_ID, &queue_id.to_string());
    }
    if let Some(tick) = edits.tick {
        add(property::TIMER_OUT_MS, &tick.to_string());
    }
}

fn is_replaced(name: &str, edits: &Edits<'_>) -> bool {
    match name {
        property::DELAY => edits.delay.is_some(),
        property::TRANSACTION_ID
        | property::TRANSACTION_CHECK_TIMES
        | property::TRANSACTION_PREPARED_QUEUE_OFFSET => edits.transaction_id.is_some(),
        property::REAL_TOPIC | property::REAL_QUEUE_ID => edits.real.is_some(),
        property::PRIORITY => edits.no_priority,
        // A delay level counts more, and says so.
        property::TIMER_DELAY_MS | property::TIMER_DELAY_SEC | property::TIMER_DELIVER_MS => {
            edits.real.is_some() && edits.tick.is_none()
        }
        name => is_brokers(name),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rmq_message::Properties;

    use super::*;

    const MARKS: Marks<'static> = Marks { cluster: "c", region: "r", trace_on: "true" };

    fn rewritten(text: &str, edits: &Edits<'_>) -> String {
        let mut out = SmallVec::new();
        rewrite(text, &Scan::of(text).unwrap(), edits, &MARKS, &mut out);
        String::from_utf8(out.into_vec()).unwrap()
    }

    #[test]
    fn the_common_case_is_the_text_and_the_marks() {
        assert_eq!(
            rewritten("TAGS\u{1}a\u{2}UNIQ_KEY\u{1}id", &Edits::default()),
            "TAGS\u{1}a\u{2}UNIQ_KEY\u{1}id\u{2}CLUSTER\u{1}c\u{2}MSG_REGION\u{1}r\u{2}\
             TRACE_ON\u{1}true\u{2}"
        );
        let added = Edits { unique_id: Some("new"), ..Edits::default() };
        assert!(rewritten("", &added).starts_with("UNIQ_KEY\u{1}new\u{2}CLUSTER"));
    }

    #[test]
    fn what_only_the_broker_writes_is_taken_out() {
        let text = "POP_CK\u{1}x\u{2}CLUSTER\u{1}evil\u{2}a\u{1}b\u{2}";
        let properties = Properties::parse(&rewritten(text, &Edits::default()));
        assert_eq!(properties.get("POP_CK"), None);
        assert_eq!(properties.get("CLUSTER"), Some("c"));
        assert_eq!(properties.get("a"), Some("b"));
    }

    #[test]
    fn a_delayed_message_remembers_where_it_belongs() {
        let text = "DELAY\u{1}99\u{2}TIMER_DELAY_MS\u{1}5\u{2}REAL_TOPIC\u{1}other\u{2}";
        let edits = Edits { delay: Some(18), real: Some(("T", 3)), ..Edits::default() };
        let properties = Properties::parse(&rewritten(text, &edits));
        for (name, value) in [("DELAY", "18"), ("REAL_TOPIC", "T"), ("REAL_QID", "3")] {
            assert_eq!(properties.get(name), Some(value));
        }
        assert_eq!(properties.get("TIMER_DELAY_MS"), None);
        assert!(Scan::of("DELAY\u{1}soon\u{2}").is_err());
    }

    #[test]
    fn a_priority_is_a_queue_unless_the_message_is_of_another_kind() {
        let queue = |text: &str| Scan::of(text).unwrap().priority_queue(4);
        assert_eq!(queue("_SYS_MSG_PRIORITY_\u{1}2\u{2}"), Ok(Some(2)));
        assert_eq!(queue("_SYS_MSG_PRIORITY_\u{1}900\u{2}"), Ok(Some(3)));
        for none in ["", "_SYS_MSG_PRIORITY_\u{1}-1\u{2}", "_SYS_MSG_PRIORITY_\u{1}high\u{2}"] {
            assert_eq!(queue(none), Ok(None), "{none}");
        }
        for other in
            ["DELAY\u{1}0", "TIMER_DELAY_SEC\u{1}1", "__SHARDINGKEY\u{1}k", "TRAN_MSG\u{1}true"]
        {
            let text = format!("_SYS_MSG_PRIORITY_\u{1}2\u{2}{other}\u{2}");
            assert_eq!(queue(&text), Err(NoPriority), "{other}");
            let without = Edits { no_priority: true, ..Edits::default() };
            assert!(!rewritten(&text, &without).contains("PRIORITY"));
        }
    }

    proptest! {
        #[test]
        fn nothing_else_is_lost_or_made(text in "[\u{1}\u{2}A-Z_a-z0-9 ü]{0,120}") {
            if let Ok(scan) = Scan::of(&text) {
                let mut out = SmallVec::new();
                rewrite(&text, &scan, &Edits::default(), &MARKS, &mut out);
                let mut ours = Properties::parse(std::str::from_utf8(&out).unwrap());
                let mut theirs = Properties::parse(&text);
                for name in ["CLUSTER", "MSG_REGION", "TRACE_ON", "POP_CK", "__CRC32#"] {
                    ours.remove(name);
                    theirs.remove(name);
                }
                prop_assert_eq!(ours, theirs);
            }
        }
    }
}
