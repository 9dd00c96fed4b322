//! The extension fields of a header: an ordered list of names and texts, cheap to read and cheap to build.
//!
//! A received header keeps its bytes and only remembers where each name and value lies. What had to
//! be unescaped, and what is pushed by ourselves, goes into one side text. So decoding allocates
//! nothing, or that one text.

use std::fmt;
use std::io::Write as _;
use std::ops::Range;

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

use crate::json::scan;

/// Bytes that the side string takes at its first push: enough for the answer to a send.
const SIDE_CAPACITY: usize = 192;

/// Names and values in the order of the wire.
///
/// A name may occur twice when a peer says so; reading takes the last one, as every RocketMQ peer does.
#[derive(Clone, Default)]
pub struct Fields {
    /// Text of the received header; its whole content has been checked to be UTF-8.
    text: Bytes,
    /// Text of our own: unescaped values, and everything pushed.
    side: Vec<u8>,
    entries: SmallVec<[Entry; 16]>,
}

#[derive(Clone, Copy)]
struct Entry {
    name: Span,
    value: Span,
}

/// A piece of `text`, or of `side` when the highest bit of `len` is set.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

const SIDE: u32 = 1 << 31;

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
        self.raw(name).map(as_text)
    }

    /// Whether the field is there, also when it is empty.
    pub fn contains(&self, name: &str) -> bool {
        self.raw(name).is_some()
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
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let text = as_text(raw);
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
        self.raw(name).is_some_and(|raw| raw.eq_ignore_ascii_case(b"true"))
    }

    /// All fields in the order of the wire.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.entries
            .iter()
            .map(|entry| (as_text(self.bytes(entry.name)), as_text(self.bytes(entry.value))))
    }

    /// All fields as bytes, which are known to be UTF-8; saves the check where the text is only compared or parsed.
    pub(crate) fn iter_bytes(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.entries.iter().map(|entry| (self.bytes(entry.name), self.bytes(entry.value)))
    }

    /// Appends a field.
    pub fn push(&mut self, name: &str, value: &str) {
        let name = self.push_side(name);
        let value = self.push_side(value);
        self.entries.push(Entry { name, value });
    }

    /// Appends a field whose value is a whole number.
    pub fn push_int(&mut self, name: &str, value: impl itoa::Integer) {
        self.push(name, itoa::Buffer::new().format(value));
    }

    /// Appends a field with the text of `value`.
    pub fn push_display(&mut self, name: &str, value: impl fmt::Display) {
        let name = self.push_side(name);
        let start = self.side.len();
        write!(self.side, "{value}").expect("writing to memory cannot fail");
        let value = side_span(start..self.side.len());
        self.entries.push(Entry { name, value });
    }

    /// Sets a field: takes the place of every field of this name, or is appended.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.push(name, value);
    }

    /// Removes every field of this name. Whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.entries.len();
        let Self { text, side, entries } = self;
        entries.retain(|entry| resolve(text, side, entry.name) != name.as_bytes());
        entries.len() != before
    }

    /// A copy that holds no part of the connection's read buffer; for requests that are kept for long.
    #[must_use]
    pub fn detached(&self) -> Self {
        let mut copy = Self {
            text: Bytes::new(),
            side: Vec::with_capacity(self.text.len()),
            entries: SmallVec::new(),
        };
        for (name, value) in self.iter() {
            copy.push(name, value);
        }
        copy
    }

    /// Starts the fields of a received header whose whole text is known to be UTF-8.
    pub(crate) fn of_header(text: Bytes) -> Self {
        Self { text, side: Vec::new(), entries: SmallVec::new() }
    }

    /// Appends a field by its places in the header.
    pub(crate) fn push_ranges(&mut self, name: Range<usize>, value: Range<usize>) {
        self.entries.push(Entry { name: span(name, 0), value: span(value, 0) });
    }

    /// Appends a field whose value is the JSON string that begins at `start` of the header, behind
    /// its quote. Answers the place behind the string; `None` when it is no standard string.
    pub(crate) fn push_unescaped(&mut self, name: Range<usize>, start: usize) -> Option<usize> {
        let from = self.side.len();
        let end = scan::unescape(&self.text, start, &mut self.side)?;
        let value = side_span(from..self.side.len());
        self.entries.push(Entry { name: span(name, 0), value });
        Some(end)
    }

    fn push_side(&mut self, text: &str) -> Span {
        if self.side.capacity() == 0 {
            self.side.reserve(SIDE_CAPACITY.max(text.len()));
        }
        let start = self.side.len();
        self.side.extend_from_slice(text.as_bytes());
        side_span(start..self.side.len())
    }

    fn raw(&self, name: &str) -> Option<&[u8]> {
        self.entries
            .iter()
            .rev()
            .find(|entry| self.bytes(entry.name) == name.as_bytes())
            .map(|entry| self.bytes(entry.value))
    }

    fn bytes(&self, span: Span) -> &[u8] {
        resolve(&self.text, &self.side, span)
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
        self.iter_bytes().eq(other.iter_bytes())
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

fn resolve<'a>(text: &'a Bytes, side: &'a [u8], span: Span) -> &'a [u8] {
    let start = span.start as usize;
    let end = start + (span.len & !SIDE) as usize;
    let source = if span.len & SIDE == 0 { text.as_ref() } else { side };
    source.get(start..end).expect("spans are made from ranges of this very text")
}

fn side_span(range: Range<usize>) -> Span {
    span(range, SIDE)
}

fn span(range: Range<usize>, side: u32) -> Span {
    let start = u32::try_from(range.start).expect("a header is far below 2 GiB");
    let len = u32::try_from(range.len()).expect("a header is far below 2 GiB");
    Span { start, len: len | side }
}

/// Text of a piece. It was checked when the header was decoded, and is checked again, since that is
/// cheaper than unsafe code is to prove.
pub(crate) fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("decoded headers are UTF-8 and pieces end at ASCII")
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

/// Reads one value for the headers that go over their fields by themselves.
pub(crate) fn read<T: FieldValue>(name: &'static str, value: &[u8]) -> Result<T, FieldError> {
    let text = as_text(value);
    T::parse(text).ok_or_else(|| FieldError::malformed(name, text))
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
