//! What a consumer wants of a topic: everything, some tags, or what an SQL92 expression admits.

use std::collections::BTreeSet;

use compact_str::CompactString;
use thiserror::Error;

use crate::{Timestamp, java};

/// Most tags of one expression.
pub const TAGS_MAX: usize = 256;

/// How an expression is to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExpressionType {
    /// Tags separated by `||`.
    #[default]
    Tag,
    /// An SQL92 condition over properties, evaluated by the broker.
    Sql92,
    /// A type this program does not know; a broker refuses or passes it on.
    Other(CompactString),
}

impl ExpressionType {
    /// The word of the protocol.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag => "TAG",
            Self::Sql92 => "SQL92",
            Self::Other(word) => word,
        }
    }

    /// Reads the word of the protocol; nothing or blanks mean tags.
    pub fn parse(word: Option<&str>) -> Self {
        match word.map(str::trim) {
            None | Some("" | "TAG") => Self::Tag,
            Some("SQL92") => Self::Sql92,
            Some(other) => Self::Other(CompactString::new(other)),
        }
    }
}

/// A topic with the expression that chooses among its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The topic.
    pub topic: CompactString,
    /// The expression as it was given; `*` for everything.
    pub expression: CompactString,
    /// How to read it.
    pub kind: ExpressionType,
    /// Tags of a tag expression; empty for everything.
    pub tags: BTreeSet<CompactString>,
    /// Java hashes of [`Self::tags`].
    pub codes: BTreeSet<i32>,
    /// Grows with each change of the subscription (ms of the moment it was made).
    pub version: i64,
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubscriptionError {
    /// Nothing but separators.
    #[error("subString split error")]
    OnlySeparators,
    /// Blanks only: it would match nothing.
    #[error("the expression is blank, use * for everything")]
    Blank,
    /// Too many tags.
    #[error("the expression has {count} tags, at most {TAGS_MAX} are allowed")]
    TooManyTags {
        /// How many it has.
        count: usize,
    },
    /// An SQL92 subscription without text.
    #[error("Expression can't be null! SQL92")]
    NoExpression,
}

/// The expression that admits everything.
pub const ALL: &str = "*";

impl Subscription {
    /// Everything of a topic.
    pub fn all(topic: &str, version: Timestamp) -> Self {
        Self {
            topic: CompactString::new(topic),
            expression: CompactString::const_new(ALL),
            kind: ExpressionType::Tag,
            tags: BTreeSet::new(),
            codes: BTreeSet::new(),
            version: version.0,
        }
    }

    /// Tags separated by `||`; nothing and `*` mean everything.
    pub fn tags(
        topic: &str,
        expression: &str,
        version: Timestamp,
    ) -> Result<Self, SubscriptionError> {
        let mut subscription = Self::all(topic, version);
        if expression.is_empty() || expression == ALL {
            return Ok(subscription);
        }
        if java::trim(expression).is_empty() {
            return Err(SubscriptionError::Blank);
        }
        for tag in expression.split("||").map(java::trim).filter(|tag| !tag.is_empty()) {
            subscription.codes.insert(java::hash(tag));
            subscription.tags.insert(CompactString::new(tag));
        }
        if subscription.tags.is_empty() {
            return Err(SubscriptionError::OnlySeparators);
        }
        if subscription.tags.len() > TAGS_MAX {
            return Err(SubscriptionError::TooManyTags { count: subscription.tags.len() });
        }
        subscription.expression = CompactString::new(expression);
        Ok(subscription)
    }

    /// An SQL92 condition, evaluated by the broker.
    pub fn sql(
        topic: &str,
        expression: &str,
        version: Timestamp,
    ) -> Result<Self, SubscriptionError> {
        if expression.is_empty() {
            return Err(SubscriptionError::NoExpression);
        }
        let mut subscription = Self::all(topic, version);
        subscription.expression = CompactString::new(expression);
        subscription.kind = ExpressionType::Sql92;
        Ok(subscription)
    }

    /// Whether everything is wanted.
    pub fn is_all(&self) -> bool {
        self.kind == ExpressionType::Tag && self.codes.is_empty()
    }

    /// What a broker can tell from the tag hash of a queue entry: only its low 32 bits count, and
    /// two tags may share a hash, so a client compares the text again ([`Self::admits_tag`]).
    #[expect(clippy::cast_possible_truncation, reason = "only the low 32 bits count")]
    pub fn admits_code(&self, tags_code: i64) -> bool {
        self.kind != ExpressionType::Tag
            || self.codes.is_empty()
            || self.codes.contains(&(tags_code as i32))
    }

    /// Whether a message with this tag is wanted.
    pub fn admits_tag(&self, tag: Option<&str>) -> bool {
        self.kind != ExpressionType::Tag
            || self.tags.is_empty()
            || tag.is_some_and(|tag| self.tags.contains(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_trimmed_and_hashed() {
        let s = Subscription::tags("T", " TagA ||  || TagB", Timestamp(1)).unwrap();
        assert_eq!(s.tags.iter().map(|t| t.as_str()).collect::<Vec<_>>(), ["TagA", "TagB"]);
        assert_eq!(s.codes.iter().copied().collect::<Vec<_>>(), [2_598_919, 2_598_920]);
        assert_eq!(s.expression, " TagA ||  || TagB");
        assert!(s.admits_tag(Some("TagA")) && !s.admits_tag(Some("TagC")) && !s.admits_tag(None));
        let one = Subscription::tags("T", "A|B", Timestamp(1)).unwrap();
        assert_eq!(one.tags.iter().map(|t| t.as_str()).collect::<Vec<_>>(), ["A|B"]);
    }

    #[test]
    fn everything_needs_no_tag() {
        for text in ["", "*"] {
            let s = Subscription::tags("T", text, Timestamp(1)).unwrap();
            assert!(s.is_all() && s.admits_tag(None) && s.admits_code(7));
            assert_eq!(s.expression, "*");
        }
    }

    #[test]
    fn expressions_without_a_tag_are_refused() {
        let tags = |text| Subscription::tags("T", text, Timestamp(1));
        assert_eq!(tags("||"), Err(SubscriptionError::OnlySeparators));
        assert_eq!(tags("  "), Err(SubscriptionError::Blank));
        let many = (0..300).map(|i| format!("t{i}")).collect::<Vec<_>>().join("||");
        assert_eq!(tags(&many), Err(SubscriptionError::TooManyTags { count: 300 }));
    }

    #[test]
    fn equal_hashes_pass_the_broker_and_stop_at_the_client() {
        let s = Subscription::tags("T", "Aa", Timestamp(1)).unwrap();
        assert!(s.admits_code(i64::from(java::hash("BB"))));
        assert!(!s.admits_tag(Some("BB")));
        assert!(s.admits_code(i64::from(java::hash("Aa")) | (7 << 32)));
    }
}
