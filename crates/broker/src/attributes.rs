//! Attributes of topics and groups: which there are, what they may say, and how a request changes
//! them.
//!
//! The texts of the errors are those of Apache RocketMQ 5.5.0.

use std::collections::{BTreeMap, BTreeSet};

use rmq_message::CompactString;
use thiserror::Error;

/// What the messages of a topic are.
pub(crate) const MESSAGE_TYPE: &str = "message.type";
/// Percent of a group's pops that take the queues of a `PRIORITY` topic strictly one after the other.
pub(crate) const PRIORITY_FACTOR: &str = "priority.factor";

type Attributes = BTreeMap<CompactString, CompactString>;

/// Why attributes are refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum AttributeError {
    #[error("kv string format wrong.")]
    Name,
    #[error("add/alter attribute format is wrong: {key}")]
    AddFormat { key: CompactString },
    #[error("delete attribute format is wrong: {key}")]
    DeleteFormat { key: CompactString },
    #[error("key duplication: {key}")]
    Duplicate { key: CompactString },
    #[error("only add attribute is supported while creating topic. key: {key}")]
    OnlyAdd { key: CompactString },
    #[error("attempt to delete a nonexistent key: {key}")]
    Nonexistent { key: CompactString },
    #[error("wrong format key: {key}")]
    Sign { key: CompactString },
    #[error("unsupported key: {key}")]
    Unsupported { key: CompactString },
    #[error("attempt to update an unchangeable attribute. key: {key}")]
    Unchangeable { key: CompactString },
    #[error("value is not in set: [{set}]")]
    NotInSet { set: &'static str },
    #[error("value is not in range({min}, {max})")]
    NotInRange { min: i64, max: i64 },
    #[error("boolean attribute format is wrong.")]
    NotBool,
    /// Not Apache's: a kind of queue or cleaning that this store does not have.
    #[error("{key}={value} is not supported by this broker")]
    NotBuilt { key: CompactString, value: CompactString },
}

/// What an attribute may say.
enum Kind {
    /// One of the words; the first of the pair is how they are listed in an error.
    Words {
        listed: &'static str,
        built: &'static [&'static str],
        other: &'static [&'static str],
    },
    Range {
        min: i64,
        max: i64,
    },
    Bool,
    Text,
}

/// One of them.
pub(crate) struct Attribute {
    name: &'static str,
    changeable: bool,
    kind: Kind,
}

/// Those of topics.
pub(crate) static OF_TOPICS: [Attribute; 5] = [
    Attribute {
        name: "queue.type",
        changeable: false,
        kind: Kind::Words {
            listed: "BatchCQ, SimpleCQ",
            built: &["SimpleCQ"],
            other: &["BatchCQ"],
        },
    },
    Attribute {
        name: "cleanup.policy",
        changeable: false,
        kind: Kind::Words {
            listed: "COMPACTION, DELETE",
            built: &["DELETE"],
            other: &["COMPACTION"],
        },
    },
    Attribute {
        name: MESSAGE_TYPE,
        changeable: true,
        kind: Kind::Words {
            listed: "UNSPECIFIED, MIXED, TRANSACTION, PRIORITY, FIFO, DELAY, LITE, NORMAL",
            built: &[
                "UNSPECIFIED",
                "MIXED",
                "TRANSACTION",
                "PRIORITY",
                "FIFO",
                "DELAY",
                "LITE",
                "NORMAL",
            ],
            other: &[],
        },
    },
    Attribute {
        name: "reserve.time",
        changeable: true,
        kind: Kind::Range { min: -1, max: i64::MAX },
    },
    Attribute {
        name: "lite.topic.expiration",
        changeable: true,
        kind: Kind::Range { min: -1, max: 43_200 },
    },
];

/// Those of groups.
pub(crate) static OF_GROUPS: [Attribute; 8] = [
    group(PRIORITY_FACTOR, Kind::Range { min: 0, max: 100 }),
    group("lite.bind.topic", Kind::Text),
    group(
        "lite.sub.model",
        Kind::Words { listed: "Shared, Exclusive", built: &["Shared", "Exclusive"], other: &[] },
    ),
    group("lite.sub.reset.offset.exclusive", Kind::Bool),
    group("lite.sub.reset.offset.unsubscribe", Kind::Bool),
    group("lite.sub.client.quota", Kind::Range { min: -1, max: i64::MAX }),
    group("lite.sub.client.max.event.cnt", Kind::Range { min: 10, max: i64::MAX }),
    group("lite.sub.wildcard", Kind::Text),
];

const fn group(name: &'static str, kind: Kind) -> Attribute {
    Attribute { name, changeable: true, kind }
}

/// Reads `+name=value,-name`. Keys keep their sign.
pub(crate) fn parse(text: &str) -> Result<Attributes, AttributeError> {
    let mut changes = Attributes::new();
    for change in text.split(',').filter(|_| !text.is_empty()) {
        let (key, value) = match change.split_once('=') {
            Some((key, value)) => {
                // What stands behind a second `=` is dropped.
                let value = value.split('=').next().unwrap_or_default();
                if !key.contains('+') {
                    return Err(AttributeError::AddFormat { key: key.into() });
                }
                (key, value)
            }
            None if change.contains('-') => (change, ""),
            None => return Err(AttributeError::DeleteFormat { key: change.into() }),
        };
        if changes.insert(key.into(), value.into()).is_some() {
            return Err(AttributeError::Duplicate { key: key.into() });
        }
    }
    Ok(changes)
}

/// The attributes after a change; `current` is `None` for something that is being made.
pub(crate) fn apply(
    known: &[Attribute],
    current: Option<&Attributes>,
    changes: &Attributes,
) -> Result<Attributes, AttributeError> {
    let mut result = current.cloned().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for (key, value) in changes {
        let mut letters = key.chars();
        let sign = letters.next();
        let name = letters.as_str();
        if name.is_empty() || name.contains(['+', '-']) {
            return Err(AttributeError::Name);
        }
        let key = || CompactString::new(name);
        if !seen.insert(name) {
            return Err(AttributeError::Duplicate { key: key() });
        }
        match (sign, current) {
            (Some('+'), _) => {
                let attribute = named(known, name)?;
                if current.is_some() && !attribute.changeable {
                    return Err(AttributeError::Unchangeable { key: key() });
                }
                attribute.verify(value)?;
                result.insert(key(), value.clone());
            }
            (_, None) => return Err(AttributeError::OnlyAdd { key: key() }),
            (Some('-'), Some(current)) => {
                if !current.contains_key(name) {
                    return Err(AttributeError::Nonexistent { key: key() });
                }
                if !named(known, name)?.changeable {
                    return Err(AttributeError::Unchangeable { key: key() });
                }
                result.remove(name);
            }
            _ => return Err(AttributeError::Sign { key: key() }),
        }
    }
    Ok(result)
}

fn named<'a>(known: &'a [Attribute], name: &str) -> Result<&'a Attribute, AttributeError> {
    known
        .iter()
        .find(|attribute| attribute.name == name)
        .ok_or_else(|| AttributeError::Unsupported { key: name.into() })
}

impl Attribute {
    fn verify(&self, value: &str) -> Result<(), AttributeError> {
        match self.kind {
            Kind::Words { built, .. } if built.contains(&value) => Ok(()),
            Kind::Words { other, .. } if other.contains(&value) => {
                Err(AttributeError::NotBuilt { key: self.name.into(), value: value.into() })
            }
            Kind::Words { listed, .. } => Err(AttributeError::NotInSet { set: listed }),
            Kind::Range { min, max } => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                _ => Err(AttributeError::NotInRange { min, max }),
            },
            Kind::Bool if ["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)) => {
                Ok(())
            }
            Kind::Bool => Err(AttributeError::NotBool),
            Kind::Text => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(current: Option<&str>, text: &str) -> Result<Attributes, String> {
        let current = current.map(|text| apply(&OF_TOPICS, None, &parse(text).unwrap()).unwrap());
        parse(text)
            .and_then(|changes| apply(&OF_TOPICS, current.as_ref(), &changes))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn changes_are_merged_into_what_is_there() {
        let merged = changed(Some("+message.type=FIFO"), "+reserve.time=-1").unwrap();
        assert_eq!(merged.len(), 2);
        let removed = changed(Some("+message.type=FIFO"), "-message.type").unwrap();
        assert!(removed.is_empty());
    }

    #[test]
    fn refusals_read_as_apache_says_them() {
        for (current, text, why) in [
            (None, "+no.such=1", "unsupported key: no.such"),
            (
                None,
                "+message.type=WHAT",
                "value is not in set: [UNSPECIFIED, MIXED, TRANSACTION, PRIORITY, FIFO, DELAY, \
                 LITE, NORMAL]",
            ),
            (
                None,
                "-message.type",
                "only add attribute is supported while creating topic. key: message.type",
            ),
            (Some(""), "-message.type", "attempt to delete a nonexistent key: message.type"),
            (
                Some("+queue.type=SimpleCQ"),
                "-queue.type",
                "attempt to update an unchangeable attribute. key: queue.type",
            ),
            (None, "message.type=FIFO", "add/alter attribute format is wrong: message.type"),
            (None, "+reserve.time=x", "value is not in range(-1, 9223372036854775807)"),
        ] {
            assert_eq!(changed(current, text), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_the_store_cannot_do_is_refused() {
        for text in ["+queue.type=BatchCQ", "+cleanup.policy=COMPACTION"] {
            assert!(changed(None, text).unwrap_err().ends_with("not supported by this broker"));
        }
    }

    #[test]
    fn groups_have_attributes_of_their_own() {
        let changed = |text| {
            let changes = parse(text).unwrap();
            apply(&OF_GROUPS, None, &changes).map_err(|error| error.to_string())
        };
        let made = changed("+priority.factor=0,+lite.sub.wildcard=x").unwrap();
        assert_eq!(made.get(PRIORITY_FACTOR).map(CompactString::as_str), Some("0"));
        for (text, why) in [
            ("+priority.factor=101", "value is not in range(0, 100)"),
            ("+message.type=FIFO", "unsupported key: message.type"),
            ("+lite.sub.model=Own", "value is not in set: [Shared, Exclusive]"),
            ("+lite.sub.reset.offset.exclusive=1", "boolean attribute format is wrong."),
        ] {
            assert_eq!(changed(text), Err(why.to_owned()), "{text}");
        }
    }
}
