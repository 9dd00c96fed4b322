//! Message properties and their text form `name 0x01 value 0x02 …`.
//!
//! The reader follows Apache RocketMQ 5.5.0 (`MessageDecoder`): segments shorter than three
//! characters, without separator, with an empty name or an empty value are dropped; only the first
//! 0x01 of a segment separates; of two with one name the later wins. The writer ends every property
//! with 0x02.

use std::fmt;
use std::iter::once;
use std::ops::Range;

use compact_str::CompactString;
use memchr::{memchr, memchr_iter};

use crate::property::{NAME_VALUE_SEPARATOR, PROPERTY_SEPARATOR};

/// Properties that there is room for from the start.
const USUAL: usize = 10;
/// Bytes that there is room for beside a text that was read: a consumer adds what it knows.
const ROOM: usize = 64;

/// Properties of a message in the order in which they were set.
///
/// Names and values lie in one text, as they came: reading a message's properties takes two
/// allocations, however many they are.
#[derive(Clone, Default)]
pub struct Properties {
    text: String,
    entries: Vec<Entry>,
    /// Bytes of the text that belong to nothing any more.
    gone: usize,
}

/// Where in the text a property stands.
#[derive(Clone)]
struct Entry {
    name: Range<usize>,
    value: Range<usize>,
}

impl Properties {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Self {
        let mut own = String::with_capacity(text.len() + ROOM);
        own.push_str(text);
        let mut properties = Self { text: own, entries: Vec::with_capacity(USUAL), gone: 0 };
        let (bytes, mut from) = (text.as_bytes(), 0);
        for end in memchr_iter(PROPERTY_SEPARATOR, bytes).chain(once(bytes.len())) {
            let segment = bytes.get(from..end).unwrap_or_default();
            if let Some(len) = memchr(NAME_VALUE_SEPARATOR, segment) {
                let entry = Entry { name: from..from + len, value: from + len + 1..end };
                if !entry.name.is_empty() && !entry.value.is_empty() {
                    properties.put(entry);
                }
            }
            from = end + 1;
        }
        properties
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Sets `name`, replacing an earlier value in its place.
    pub fn set(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) {
        let entry = Entry { name: self.keep(name.as_ref()), value: self.keep(value.as_ref()) };
        self.put(entry);
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<CompactString> {
        let at = self.position(name)?;
        let entry = self.entries.remove(at);
        let value = CompactString::new(self.at(&entry.value));
        self.lose(entry.name.len() + entry.value.len());
        Some(value)
    }

    /// All properties in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (self.at(&entry.name), self.at(&entry.value)))
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
        let len = self.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut text = String::with_capacity(len);
        for (name, value) in self.iter() {
            text.push_str(name);
            text.push(char::from(NAME_VALUE_SEPARATOR));
            text.push_str(value);
            text.push(char::from(PROPERTY_SEPARATOR));
        }
        text
    }

    fn at(&self, place: &Range<usize>) -> &str {
        self.text.get(place.clone()).unwrap_or_default()
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|entry| self.at(&entry.name) == name)
    }

    fn keep(&mut self, text: &str) -> Range<usize> {
        let from = self.text.len();
        self.text.push_str(text);
        from..self.text.len()
    }

    fn put(&mut self, entry: Entry) {
        let at = self.position(self.at(&entry.name));
        match at.and_then(|at| self.entries.get_mut(at)) {
            Some(same) => {
                let old = std::mem::replace(&mut same.value, entry.value);
                self.lose(entry.name.len() + old.len());
            }
            None => self.entries.push(entry),
        }
    }

    /// So many bytes belong to nothing any more. The text never has more of them than of others.
    fn lose(&mut self, bytes: usize) {
        self.gone += bytes;
        if self.gone > self.text.len() / 2 {
            *self = self.iter().collect();
        }
    }
}

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Properties {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Properties {}

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
        let at = memchr(NAME_VALUE_SEPARATOR, segment)?;
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
        fn the_last_value_counts_and_the_first_place(steps in prop::collection::vec((0..6_u8, ".{0,40}", any::<bool>()), 0..60)) {
            let (mut properties, mut expected) = (Properties::new(), Vec::<(String, String)>::new());
            for (name, value, is_set) in steps {
                let name = name.to_string();
                let at = expected.iter().position(|(n, _)| *n == name);
                if is_set {
                    properties.set(&name, &value);
                    match at {
                        Some(at) => expected[at].1 = value,
                        None => expected.push((name, value)),
                    }
                } else {
                    let removed = properties.remove(&name).map(String::from);
                    prop_assert_eq!(removed, at.map(|at| expected.remove(at).1));
                }
                let seen: Vec<_> = properties.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                prop_assert_eq!(&seen, &expected);
                // However often they are set, old values do not pile up.
                let live: usize = expected.iter().map(|(n, v)| n.len() + v.len()).sum();
                prop_assert!(properties.text.len() <= 2 * live + 1);
            }
        }

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
