//! The binary header, which RocketMQ calls `ROCKETMQ`.
//!
//! | size | content |
//! |---|---|
//! | 2 | code, signed |
//! | 1 | language |
//! | 2 | version |
//! | 4 | opaque |
//! | 4 | flag |
//! | 4 + n | remark with its length |
//! | 4 + m | extension fields with their length in all; each: 2 + name, 4 + value |
//!
//! An empty name or value counts as absent.

use std::ops::Range;

use bytes::Bytes;
use compact_str::CompactString;

use super::{Head, malformed};
use crate::command::{HeaderEncoding, RemotingCommand};
use crate::fields::Fields;
use crate::frame::{EncodeError, FrameError};
use crate::language::Language;

pub(super) fn decode(text: Bytes, fields_max: usize) -> Result<RemotingCommand, FrameError> {
    let mut reader = Reader { bytes: &text, at: 0 };
    let code = i16::from_be_bytes(reader.array()?);
    let [language] = reader.array()?;
    let version = i16::from_be_bytes(reader.array()?);
    let opaque = i32::from_be_bytes(reader.array()?);
    let flag = i32::from_be_bytes(reader.array()?);
    let remark = reader.long_text()?;
    let remark = match text.get(remark).unwrap_or_default() {
        [] => None,
        remark => Some(CompactString::from_utf8(remark).map_err(|_| NOT_UTF8)?),
    };
    let fields = read_fields(&text, reader.long_text()?, fields_max)?;
    Ok(RemotingCommand {
        code: i32::from(code),
        language: Language::from_code(language),
        version: i32::from(version),
        opaque,
        flag,
        remark,
        fields,
        body: Bytes::new(),
        encoding: HeaderEncoding::Binary,
    })
}

const NOT_UTF8: FrameError = FrameError::Malformed { reason: "text is not UTF-8" };

fn read_fields(text: &Bytes, place: Range<usize>, fields_max: usize) -> Result<Fields, FrameError> {
    let Some(bytes) = text.get(..place.end) else { return Err(malformed("cut short")) };
    // Lengths are small numbers: when every byte is ASCII, every text between them is.
    let ascii = bytes.get(place.start..).is_some_and(<[u8]>::is_ascii);
    let check = |range: &Range<usize>| {
        ascii || bytes.get(range.clone()).is_some_and(|part| std::str::from_utf8(part).is_ok())
    };
    let mut reader = Reader { bytes, at: place.start };
    let mut fields = Fields::of_header(text.clone());
    let mut count = 0;
    while reader.at < bytes.len() {
        count += 1;
        if count > fields_max {
            return Err(FrameError::TooManyFields { max: fields_max });
        }
        let name = reader.short_text()?;
        let value = reader.long_text()?;
        if !check(&name) || !check(&value) {
            return Err(NOT_UTF8);
        }
        if !name.is_empty() && !value.is_empty() {
            fields.push_ranges(name, value);
        }
    }
    Ok(fields)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let chunk = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk);
        self.at += N;
        chunk.copied().ok_or(malformed("cut short"))
    }

    /// A text behind two bytes of length.
    fn short_text(&mut self) -> Result<Range<usize>, FrameError> {
        let len = i16::from_be_bytes(self.array()?);
        self.text(usize::try_from(len).map_err(|_| malformed("negative length"))?)
    }

    /// A text behind four bytes of length.
    fn long_text(&mut self) -> Result<Range<usize>, FrameError> {
        let len = i32::from_be_bytes(self.array()?);
        self.text(usize::try_from(len).map_err(|_| malformed("negative length"))?)
    }

    fn text(&mut self, len: usize) -> Result<Range<usize>, FrameError> {
        let start = self.at;
        if len > self.bytes.len().saturating_sub(start) {
            return Err(malformed("a length goes beyond its header"));
        }
        self.at = start + len;
        Ok(start..self.at)
    }
}

pub(super) fn encode(head: &Head<'_>, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let code = i16::try_from(head.code).map_err(|_| EncodeError::Code { code: head.code })?;
    let version = i16::try_from(head.version).unwrap_or(i16::MAX);
    out.extend_from_slice(&code.to_be_bytes());
    out.push(head.language.code().unwrap_or(OTHER));
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&head.opaque.to_be_bytes());
    out.extend_from_slice(&head.flag.to_be_bytes());
    push_long(head.remark.unwrap_or_default().as_bytes(), out)?;
    let place = out.len();
    out.extend_from_slice(&[0; 4]);
    for (name, value) in head.fields.iter_bytes() {
        let len = i16::try_from(name.len()).map_err(|_| EncodeError::Name { len: name.len() })?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(name);
        push_long(value, out)?;
    }
    let len = length(out.len() - place - 4)?;
    if let Some(place) = out.get_mut(place..place + 4) {
        place.copy_from_slice(&len.to_be_bytes());
    }
    Ok(())
}

const OTHER: u8 = 7;

fn push_long(text: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(&length(text.len())?.to_be_bytes());
    out.extend_from_slice(text);
    Ok(())
}

fn length(len: usize) -> Result<i32, EncodeError> {
    i32::try_from(len).map_err(|_| EncodeError::TooLong { len })
}
