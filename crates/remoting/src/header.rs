//! Headers: what a frame says besides its body, in two encodings.

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

/// Reads a header into a command that has nothing yet but its encoding.
pub(crate) fn decode(
    command: &mut RemotingCommand,
    text: &[u8],
    fields_max: usize,
) -> Result<(), FrameError> {
    match command.encoding {
        HeaderEncoding::Json => json::decode(command, text, fields_max),
        HeaderEncoding::Binary => binary::decode(command, text, fields_max),
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
