//! Frames: where one ends and the next begins.
//!
//! | offset | size | content |
//! |---|---|---|
//! | 0 | 4 | bytes that follow: 4 + header + body |
//! | 4 | 1 | header encoding: 0 JSON, 1 binary |
//! | 5 | 3 | length of the header |
//! | 8 | | header, then body |
//!
//! Nothing is ever allocated because a frame says how long it is (HI-01, HI-03): a frame is looked
//! at only when all its bytes have come, and its lengths are checked as soon as they are there.

use bytes::{Buf, BytesMut};

use crate::command::{HeaderEncoding, RemotingCommand, Response, VERSION};
use crate::header::{self, Head};
use crate::language::Language;

/// Longest frame that any peer takes, with its length field, in bytes.
pub const FRAME_MAX: usize = 16 << 20;

/// First byte of a TLS connection; as the first byte of a frame it would mean 352 MiB.
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;

/// Bytes before the header.
const PREFIX: usize = 8;

/// How large a received frame may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of a frame, with its length field.
    pub frame_max: usize,
    /// Bytes of a header.
    pub header_max: usize,
    /// Extension fields of a header.
    pub fields_max: usize,
}

impl FrameLimits {
    /// What a server takes from clients.
    pub const SERVER: Self = Self { frame_max: FRAME_MAX, header_max: 64 << 10, fields_max: 256 };

    /// What a client takes from the servers it chose; the answer to a large batch has a large
    /// header.
    pub const CLIENT: Self = Self { frame_max: FRAME_MAX, header_max: 4 << 20, fields_max: 256 };
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self::SERVER
    }
}

/// Lengths of the frame at the front of a buffer.
#[derive(Clone, Copy)]
struct Prefix {
    encoding: HeaderEncoding,
    header: usize,
    body: usize,
}

/// Takes the next whole frame off the front of `input`; `None` when there is none yet.
///
/// # Errors
/// [`FrameError`]: the stream cannot be read any further and must be closed.
pub fn decode(
    input: &mut BytesMut,
    limits: &FrameLimits,
) -> Result<Option<RemotingCommand>, FrameError> {
    let Some(prefix) = read_prefix(input, limits)? else { return Ok(None) };
    let whole = PREFIX + prefix.header + prefix.body;
    if input.len() < whole {
        return Ok(None);
    }
    let text = input.get(PREFIX..PREFIX + prefix.header).unwrap_or_default();
    let mut command = RemotingCommand::received(prefix.encoding);
    header::decode(&mut command, text, limits.fields_max)?;
    input.advance(PREFIX + prefix.header);
    if prefix.body > 0 {
        command.body = input.split_to(prefix.body).freeze();
    }
    Ok(Some(command))
}

/// How far the frame at the front of a buffer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Not even its header is whole.
    Beginning,
    /// Its header is whole; so many bytes of the body are missing, if any.
    Header {
        /// Bytes.
        missing: usize,
    },
}

/// How far the first frame of the buffer has come. The lengths were checked by [`decode`] before.
pub(crate) fn arrived(input: &[u8], limits: &FrameLimits) -> Arrived {
    match read_prefix(input, limits) {
        Ok(Some(prefix)) if input.len() >= PREFIX + prefix.header => Arrived::Header {
            missing: (PREFIX + prefix.header + prefix.body).saturating_sub(input.len()),
        },
        _ => Arrived::Beginning,
    }
}

/// Reads the lengths as far as they have come; what is wrong is told as early as it is seen.
fn read_prefix(input: &[u8], limits: &FrameLimits) -> Result<Option<Prefix>, FrameError> {
    if input.first() == Some(&TLS_HANDSHAKE) {
        return Err(FrameError::Tls);
    }
    let Some((len, rest)) = input.split_first_chunk() else { return Ok(None) };
    let len = to_usize(u32::from_be_bytes(*len));
    if len.saturating_add(4) > limits.frame_max {
        return Err(FrameError::TooLong { len, max: limits.frame_max });
    }
    let Some((&[encoding, high, middle, low], _)) = rest.split_first_chunk() else {
        return Ok(None);
    };
    let encoding = match encoding {
        0 => HeaderEncoding::Json,
        1 => HeaderEncoding::Binary,
        byte => return Err(FrameError::UnknownEncoding { byte }),
    };
    let header = to_usize(u32::from_be_bytes([0, high, middle, low]));
    let Some(body) = len.checked_sub(4).and_then(|rest| rest.checked_sub(header)) else {
        return Err(FrameError::HeaderBeyondFrame { header, len });
    };
    if header > limits.header_max {
        return Err(FrameError::HeaderTooLong { header, max: limits.header_max });
    }
    Ok(Some(Prefix { encoding, header, body }))
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// Appends the frame of a command, without its body; the caller lets the body follow.
pub(crate) fn encode_command(
    command: &RemotingCommand,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let head = Head {
        code: command.code,
        language: command.language,
        version: command.version,
        opaque: command.opaque,
        flag: command.flag,
        remark: command.remark.as_deref(),
        fields: &command.fields,
    };
    encode(&head, command.encoding, command.body.len(), out)
}

/// Appends the frame of a response, without its body; the caller lets the body follow.
///
/// # Errors
/// [`EncodeError`]; nothing was appended.
pub fn encode_response(
    response: &Response,
    opaque: i32,
    encoding: HeaderEncoding,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let head = Head {
        code: response.code,
        language: Language::Rust,
        version: VERSION,
        opaque,
        flag: 1,
        remark: response.remark.as_deref(),
        fields: &response.fields,
    };
    encode(&head, encoding, response.body.len(), out)
}

/// Appends the whole frame of a command.
///
/// # Errors
/// [`EncodeError`]; nothing was appended.
pub fn encode_whole(command: &RemotingCommand, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    encode_command(command, out)?;
    out.extend_from_slice(&command.body);
    Ok(())
}

fn encode(
    head: &Head<'_>,
    encoding: HeaderEncoding,
    body: usize,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    let written = header::encode(head, encoding, out).and_then(|()| {
        let header = out.len() - start - PREFIX;
        let whole = PREFIX + header + body;
        if whole > FRAME_MAX {
            return Err(EncodeError::TooLong { len: whole });
        }
        let len = u32::try_from(whole - 4).expect("a frame is at most 16 MiB");
        let header = u32::try_from(header).expect("a header is shorter than its frame");
        let kind = match encoding {
            HeaderEncoding::Json => 0,
            HeaderEncoding::Binary => 1 << 24,
        };
        let prefix = (u64::from(len) << 32) | u64::from(header | kind);
        if let Some(place) = out.get_mut(start..start + PREFIX) {
            place.copy_from_slice(&prefix.to_be_bytes());
        }
        Ok(())
    });
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// What is wrong with the bytes of a peer. The connection must be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The peer speaks TLS, which is switched off here.
    #[error("the other side speaks TLS; only plain connections are served here")]
    Tls,
    /// The frame says that it is longer than allowed.
    #[error("a frame of {len} bytes is longer than {max}")]
    TooLong {
        /// Bytes after the length field.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The header is longer than its frame.
    #[error("a header of {header} bytes does not fit into a frame of {len}")]
    HeaderBeyondFrame {
        /// Bytes of the header.
        header: usize,
        /// Bytes after the length field.
        len: usize,
    },
    /// The header is longer than allowed.
    #[error("a header of {header} bytes is longer than {max}")]
    HeaderTooLong {
        /// Bytes of the header.
        header: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The header is neither JSON nor binary.
    #[error("unknown header encoding {byte}")]
    UnknownEncoding {
        /// The byte that says it.
        byte: u8,
    },
    /// The header has more fields than allowed.
    #[error("more than {max} header fields")]
    TooManyFields {
        /// Fields allowed.
        max: usize,
    },
    /// The header cannot be read.
    #[error("malformed header: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Why a command cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Longer than any peer takes.
    #[error("{len} bytes are longer than a frame may be")]
    TooLong {
        /// Bytes of the frame.
        len: usize,
    },
    /// The code does not fit the 16 bits of a binary header.
    #[error("code {code} does not fit a binary header; use JSON")]
    Code {
        /// Request or response code.
        code: i32,
    },
    /// A text does not fit its length field.
    #[error("a field name of {len} bytes does not fit a binary header")]
    Name {
        /// Bytes of the name.
        len: usize,
    },
}
