//! Headers: what a frame says besides its body, in two encodings.

use bytes::Bytes;

use crate::command::{HeaderEncoding, RemotingCommand};
use crate::fields::Fields;
use crate::frame::{EncodeError, FrameError};
use crate::language::Language;

mod binary;
mod json;

/// A header that is to be written.
pub(crate) struct Head<'a> {
    pub(crate) code: i32,
    pub(crate) language: Language,
    pub(crate) version: i32,
    pub(crate) opaque: i32,
    pub(crate) flag: i32,
    pub(crate) remark: Option<&'a str>,
    pub(crate) fields: &'a Fields,
}

/// Reads a header; the body of the command is still empty.
pub(crate) fn decode(
    encoding: HeaderEncoding,
    text: Bytes,
    fields_max: usize,
) -> Result<RemotingCommand, FrameError> {
    match encoding {
        HeaderEncoding::Json => json::decode(text, fields_max),
        HeaderEncoding::Binary => binary::decode(text, fields_max),
    }
}

/// Appends a header. On an error the end of `out` is garbage.
pub(crate) fn encode(
    head: &Head<'_>,
    encoding: HeaderEncoding,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    match encoding {
        HeaderEncoding::Json => {
            json::encode(head, out);
            Ok(())
        }
        HeaderEncoding::Binary => binary::encode(head, out),
    }
}

fn malformed(reason: &'static str) -> FrameError {
    FrameError::Malformed { reason }
}
