//! Message properties and their text form `name 0x01 value 0x02 …`.
//!
//! The reader follows Apache RocketMQ 5.5.0 (`MessageDecoder`): segments shorter than three
//! characters, without separator, with an empty name or an empty value are dropped; only the first
//! 0x01 of a segment separates; of two with one name the later wins. The writer ends every property
//! with 0x02.

use compact_str::CompactString;

use crate::property::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};

/// Properties that there is room for from the start.
const USUAL: usize = 8;

/// Properties of a message in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    entries: Vec<(CompactString, CompactString)>,
}

impl Properties {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Self {
        let mut properties = Self { entries: Vec::with_capacity(USUAL) };
        for segment in text.split(char::from(PROPERTY_SEPARATOR)) {
            let Some((name, value)) = segment.split_once(char::from(NAME_VALUE_SEPARATOR)) else {
                continue;
            };
            if !name.is_empty() && !value.is_empty() {
                properties.set(name, value);
            }
        }
        properties
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Sets `name`, replacing an earlier value in its place.
    pub fn set(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        match self.entries.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = CompactString::new(value),
            None => self.entries.push((CompactString::new(name), CompactString::new(value))),
        }
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<CompactString> {
        let at = self.entries.iter().position(|(n, _)| n == name)?;
        Some(self.entries.remove(at).1)
    }

    /// All properties in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The text form.
    pub fn render(&self) -> String {
        let len = self.entries.iter().map(|(n, v)| n.len() + v.len() + 2).sum();
        let mut text = String::with_capacity(len);
        for (name, value) in &self.entries {
            text.push_str(name);
            text.push(char::from(NAME_VALUE_SEPARATOR));
            text.push_str(value);
            text.push(char::from(PROPERTY_SEPARATOR));
        }
        text
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Properties {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let mut properties = Self::new();
        for (name, value) in entries {
            properties.set(name, value);
        }
        properties
    }
}

/// Walks the text form without allocating; drops what [`Properties::parse`] drops, but keeps
/// duplicates.
pub fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|b| *b == PROPERTY_SEPARATOR).filter_map(|segment| {
        if segment.len() < 3 {
            return None;
        }
        let at = memchr::memchr(NAME_VALUE_SEPARATOR, segment)?;
        let (name, value) = (segment.get(..at)?, segment.get(at + 1..)?);
        (!name.is_empty() && !value.is_empty()).then_some((name, value))
    })
}

/// The value of `name` in the text form, the last one if there are several.
pub fn find<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    let value = pairs(text).filter(|(n, _)| *n == name.as_bytes()).last()?.1;
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reader_drops_what_apache_drops() {
        let text = "A\u{1}1\u{2}\u{1}x\u{2}B\u{1}\u{2}C\u{2}ab\u{2}D\u{1}a\u{1}b\u{2}A\u{1}2";
        let properties = Properties::parse(text);
        let seen: Vec<_> = properties.iter().collect();
        assert_eq!(seen, [("A", "2"), ("D", "a\u{1}b")]);
        assert_eq!(find(text.as_bytes(), "A"), Some("2"));
        assert_eq!(find(text.as_bytes(), "B"), None);
    }

    #[test]
    fn removed_properties_are_gone() {
        let mut properties: Properties = [("A", "1"), ("B", "2")].into_iter().collect();
        assert_eq!(properties.remove("A").as_deref(), Some("1"));
        assert_eq!(properties.remove("A"), None);
        assert_eq!(properties.render(), "B\u{1}2\u{2}");
    }

    proptest! {
        #[test]
        fn what_is_rendered_reads_back(entries in prop::collection::vec(("[a-zA-Z_]{1,12}", "[^\u{1}\u{2}]{1,20}"), 0..8)) {
            // Segments of one character each side are three long with the separator and survive.
            let properties: Properties = entries.into_iter().collect();
            prop_assert_eq!(Properties::parse(&properties.render()), properties);
        }

        #[test]
        fn any_text_parses(text in ".{0,200}") {
            let _parsed = Properties::parse(&text);
        }
    }
}
