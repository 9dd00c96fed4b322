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

use compact_str::CompactString;
use smallvec::SmallVec;

use super::{Head, malformed};
use crate::command::RemotingCommand;
use crate::fields::Fields;
use crate::frame::{EncodeError, FrameError};
use crate::language::Language;

pub(super) fn decode(
    command: &mut RemotingCommand,
    bytes: &[u8],
    fields_max: usize,
) -> Result<(), FrameError> {
    let mut reader = Reader { bytes, at: 0 };
    command.code = i32::from(i16::from_be_bytes(reader.array()?));
    let [language] = reader.array()?;
    command.language = Language::from_code(language);
    command.version = i32::from(i16::from_be_bytes(reader.array()?));
    command.opaque = i32::from_be_bytes(reader.array()?);
    command.flag = i32::from_be_bytes(reader.array()?);
    let remark = bytes.get(reader.long_text()?).unwrap_or_default();
    if !remark.is_empty() {
        command.remark = Some(CompactString::from_utf8(remark).map_err(|_| NOT_UTF8)?);
    }
    let fields = bytes.get(reader.long_text()?).unwrap_or_default();
    read_fields(&mut command.fields, fields, fields_max)
}

const NOT_UTF8: FrameError = FrameError::Malformed { reason: "text is not UTF-8" };

fn read_fields(fields: &mut Fields, bytes: &[u8], fields_max: usize) -> Result<(), FrameError> {
    // With its lengths blanked the block is nothing but text, and is checked as a whole.
    let mut text = bytes.to_vec();
    let mut places = SmallVec::<[_; 16]>::new();
    let mut reader = Reader { bytes, at: 0 };
    while reader.at < bytes.len() {
        if places.len() == fields_max {
            return Err(FrameError::TooManyFields { max: fields_max });
        }
        let start = reader.at;
        let name = reader.short_text()?;
        let between = reader.at;
        let value = reader.long_text()?;
        for blank in [start..name.start, between..value.start] {
            text.get_mut(blank).unwrap_or_default().fill(0);
        }
        places.push((name, value));
    }
    *fields = Fields::within(String::from_utf8(text).map_err(|_| NOT_UTF8)?);
    for (name, value) in places {
        if !name.is_empty() && !value.is_empty() {
            fields.push_places(name, value);
        }
    }
    Ok(())
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
    for (name, value) in head.fields.iter() {
        let len = i16::try_from(name.len()).map_err(|_| EncodeError::Name { len: name.len() })?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        push_long(value.as_bytes(), out)?;
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
