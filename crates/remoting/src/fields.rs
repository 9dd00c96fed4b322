//! The extension fields of a header: an ordered list of names and texts, cheap to read and cheap to
//! build.
//!
//! All text lies in one string: of a received header its own text, with what had to be unescaped
//! behind it; of a header of ours one piece after the other. So fields cost one allocation, and
//! hold nothing of the connection that they came from.

use std::fmt::{self, Write as _};
use std::ops::Range;

use compact_str::CompactString;
use smallvec::SmallVec;

use crate::json::scan;

/// Bytes that the text takes at its first push: enough for the answer to a send.
const TEXT_CAPACITY: usize = 192;

/// Names and values in the order of the wire.
///
/// A name may occur twice when a peer says so; reading takes the last one, as every RocketMQ peer
/// does.
#[derive(Clone, Default)]
pub struct Fields {
    text: String,
    entries: SmallVec<[Entry; 16]>,
}

#[derive(Clone, Copy)]
struct Entry {
    name: Span,
    value: Span,
}

/// A piece of the text.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many fields there are, repeated names counted each time.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&str> {
        let entry = self.entries.iter().rev().find(|entry| self.piece(entry.name) == name)?;
        Some(self.piece(entry.value))
    }

    /// Whether the field is there, also when it is empty.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The value of a field, which must be there.
    ///
    /// # Errors
    /// [`FieldError::Missing`].
    pub fn required(&self, name: &'static str) -> Result<&str, FieldError> {
        self.get(name).ok_or(FieldError::Missing { name })
    }

    /// The value of a field read as `T`; `None` when the field is absent.
    ///
    /// # Errors
    /// [`FieldError::Malformed`] when the text is no `T`.
    pub fn parse<T: FieldValue>(&self, name: &'static str) -> Result<Option<T>, FieldError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        T::parse(text).map(Some).ok_or_else(|| FieldError::malformed(name, text))
    }

    /// The value of a field read as `T`, which must be there.
    ///
    /// # Errors
    /// [`FieldError`] when the field is absent or no `T`.
    pub fn require<T: FieldValue>(&self, name: &'static str) -> Result<T, FieldError> {
        self.parse(name)?.ok_or(FieldError::Missing { name })
    }

    /// Whether the field is there and says `true` in any letter case.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// All fields in the order of the wire.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.entries.iter().map(|entry| (self.piece(entry.name), self.piece(entry.value)))
    }

    /// Appends a field.
    pub fn push(&mut self, name: &str, value: &str) {
        let name = self.push_piece(name);
        let value = self.push_piece(value);
        self.entries.push(Entry { name, value });
    }

    /// Appends a field whose value is a whole number.
    pub fn push_int(&mut self, name: &str, value: impl itoa::Integer) {
        self.push(name, itoa::Buffer::new().format(value));
    }

    /// Appends a field with the text of `value`.
    pub fn push_display(&mut self, name: &str, value: impl fmt::Display) {
        let name = self.push_piece(name);
        let start = self.text.len();
        write!(self.text, "{value}").expect("writing to a string cannot fail");
        self.entries.push(Entry { name, value: span(start..self.text.len()) });
    }

    /// Sets a field: takes the place of every field of this name, or is appended.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.push(name, value);
    }

    /// Removes every field of this name. Whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        let Self { text, entries } = self;
        entries.retain(|entry| piece(text, entry.name) != name);
        entries.len() != before
    }

    /// A copy that has nothing of the header around the fields.
    #[must_use]
    pub fn detached(&self) -> Self {
        self.iter().collect()
    }

    /// Fields of a header whose text this is; their places are pushed next.
    pub(crate) fn within(text: String) -> Self {
        Self { text, entries: SmallVec::new() }
    }

    /// Appends a field by its places in the text.
    pub(crate) fn push_places(&mut self, name: Range<usize>, value: Range<usize>) {
        self.entries.push(Entry { name: span(name), value: span(value) });
    }

    /// Appends a field of a JSON header by the places of its name, and of its value as it was
    /// written. Answers the place behind the value; `None` when it is no standard string.
    pub(crate) fn push_unescaped(
        &mut self,
        header: &str,
        name: Range<usize>,
        start: usize,
    ) -> Option<usize> {
        let from = self.text.len();
        let end = scan::unescape(header, start, &mut self.text)?;
        self.push_places(name, from..self.text.len());
        Some(end)
    }

    /// Appends the fields as members of a JSON object.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        // Of our own text nothing is to be escaped, as a rule; then it is looked at only once.
        let plain = scan::is_plain(self.text.as_bytes());
        let push = |text: &str, out: &mut Vec<u8>| {
            if plain {
                out.extend_from_slice(text.as_bytes());
            } else {
                scan::push_escaped(text, out);
            }
        };
        for (index, (name, value)) in self.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.push(b'"');
            push(name, out);
            out.extend_from_slice(b"\":\"");
            push(value, out);
            out.push(b'"');
        }
    }

    fn push_piece(&mut self, text: &str) -> Span {
        if self.text.capacity() == 0 {
            self.text.reserve(TEXT_CAPACITY.max(text.len()));
        }
        let start = self.text.len();
        self.text.push_str(text);
        span(start..self.text.len())
    }

    fn piece(&self, span: Span) -> &str {
        piece(&self.text, span)
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Equal when the same names and values come in the same order.
impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl<'a> FromIterator<(&'a str, &'a str)> for Fields {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(iter: I) -> Self {
        let mut fields = Self::new();
        for (name, value) in iter {
            fields.push(name, value);
        }
        fields
    }
}

fn piece(text: &str, span: Span) -> &str {
    let start = span.start as usize;
    text.get(start..start + span.len as usize).expect("spans are made of places in this very text")
}

fn span(places: Range<usize>) -> Span {
    let small = |place| u32::try_from(place).expect("a header is far below 4 GiB");
    Span { start: small(places.start), len: small(places.len()) }
}

/// A value that travels as the text of one field.
pub trait FieldValue: Sized {
    /// Reads the text; `None` when it means nothing.
    fn parse(text: &str) -> Option<Self>;
    /// Appends the field.
    fn push(&self, name: &'static str, fields: &mut Fields);
}

macro_rules! int_value {
    ($($int:ty),*) => {$(
        impl FieldValue for $int {
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn push(&self, name: &'static str, fields: &mut Fields) {
                fields.push_int(name, *self);
            }
        }
    )*};
}
int_value!(i32, i64, u32, u64);

impl FieldValue for bool {
    fn parse(text: &str) -> Option<Self> {
        Some(text.eq_ignore_ascii_case("true"))
    }
    fn push(&self, name: &'static str, fields: &mut Fields) {
        fields.push(name, if *self { "true" } else { "false" });
    }
}

impl FieldValue for CompactString {
    fn parse(text: &str) -> Option<Self> {
        Some(text.into())
    }
    fn push(&self, name: &'static str, fields: &mut Fields) {
        fields.push(name, self);
    }
}

/// Reads a whole number for the headers that go over their fields by themselves.
pub(crate) fn int<T: FieldValue + TryFrom<i64>>(
    name: &'static str,
    text: &str,
) -> Result<T, FieldError> {
    let short = short_int(text.as_bytes()).and_then(|int| T::try_from(int).ok());
    short.or_else(|| T::parse(text)).ok_or_else(|| FieldError::malformed(name, text))
}

/// The number of up to 18 digits without sign; `None` at anything else.
fn short_int(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0, |number: i64, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + i64::from(digit))
    })
}

/// Why the fields of a request or an answer could not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FieldError {
    /// A field that cannot be done without is absent.
    #[error("the header field `{name}` is missing")]
    Missing {
        /// Name on the wire.
        name: &'static str,
    },
    /// The text of a field is no value of its type.
    #[error("the header field `{name}` cannot be read from `{text}`")]
    Malformed {
        /// Name on the wire.
        name: &'static str,
        /// Beginning of the text that came.
        text: CompactString,
    },
}

impl FieldError {
    pub(crate) fn malformed(name: &'static str, text: &str) -> Self {
        Self::Malformed { name, text: text.chars().take(64).collect() }
    }
}
