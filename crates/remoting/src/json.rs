//! JSON as RocketMQ's peers write and read it, which is not quite JSON.
//!
//! Their library writes the keys of maps as they are: `{0:"a"}`, and
//! `{{"brokerName":"b","queueId":0,"topic":"t"}:5}`. So there is a reader that takes this and
//! more, and a writer that makes it. Both work on serde types: a `BTreeMap<MessageQueue, i64>`
//! needs nothing special.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use write::IntegerKeys;

mod read;
pub(crate) mod scan;
pub(crate) mod tree;
mod write;

/// Most nested values of a body.
const DEPTH_MAX: usize = 64;

/// Reads a document: standard JSON quickly, and what other peers write besides.
///
/// Taken as well: bare integer keys, objects as keys, single quotes, trailing commas, comments,
/// raw control characters, numbers as text and text as numbers, `null` for anything that has a
/// default, `{"$ref":"$.path"}`.
///
/// # Errors
/// [`Error`] when it is no such document, or not of this type.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    // A reference is good JSON, but means something else.
    let plain = memchr::memmem::find(text, b"\"$ref\"").is_none();
    if plain && let Ok(value) = serde_json::from_slice(text) {
        return Ok(value);
    }
    let text = std::str::from_utf8(text)
        .map_err(|error| Error::Syntax { reason: "no UTF-8", at: error.valid_up_to() })?;
    let root = tree::Node::parse(text, DEPTH_MAX)?;
    read::from_node(&root)
}

/// Writes a document without blanks. Integer keys are quoted, keys that are objects stand as they
/// are, members that are `None` are left out.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Bytes {
    to_bytes_with(value, IntegerKeys::Quoted)
}

/// Writes a document, with a choice for integer keys.
pub fn to_bytes_with<T: Serialize + ?Sized>(value: &T, keys: IntegerKeys) -> Bytes {
    write::to_vec(value, keys, write::Layout::Compact).into()
}

/// Writes a document for people, as RocketMQ lays out its configuration files: one member a line,
/// indented by tabs, integer keys bare.
pub fn to_document<T: Serialize + ?Sized>(value: &T) -> String {
    let text = write::to_vec(value, IntegerKeys::Bare, write::Layout::Lines);
    String::from_utf8(text).expect("the writer copies text and writes ASCII")
}

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no JSON, even in a wide sense.
    #[error("{reason} at byte {at}")]
    Syntax {
        /// What is wrong.
        reason: &'static str,
        /// Where.
        at: usize,
    },
    /// It is not of the type that was asked for.
    #[error("{reason}")]
    Type {
        /// What does not fit.
        reason: String,
    },
}

impl serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Type { reason: message.to_string() }
    }
}

impl serde::ser::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Type { reason: message.to_string() }
    }
}

#[cfg(test)]
#[path = "json_test.rs"]
mod tests;
