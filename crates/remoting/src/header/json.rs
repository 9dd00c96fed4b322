//! The JSON header: an object of a few known names.
//!
//! A quick scanner reads what every ordinary peer writes. At anything unusual (escaped names,
//! numbers as text, nested values, unknown names, comments) it gives up, and the tolerant reader of
//! [`crate::json`] takes the whole header: what is legal but odd costs time, never the connection.

use std::ops::Range;

use bytes::Bytes;
use compact_str::CompactString;

use super::{Head, malformed};
use crate::command::{HeaderEncoding, RemotingCommand};
use crate::fields::Fields;
use crate::frame::FrameError;
use crate::json::scan::{self, push_escaped};
use crate::json::tree::Node;
use crate::language::Language;

/// Most nested values of a header.
const DEPTH_MAX: usize = 32;

pub(super) fn decode(text: Bytes, fields_max: usize) -> Result<RemotingCommand, FrameError> {
    if std::str::from_utf8(&text).is_err() {
        return Err(malformed("text is not UTF-8"));
    }
    let command = Scanner::new(&text).command();
    let command = match command {
        Some(command) => command,
        None => decode_unusual(text, fields_max)?,
    };
    if command.fields.len() > fields_max {
        return Err(FrameError::TooManyFields { max: fields_max });
    }
    Ok(command)
}

/// A header of which nothing is known yet.
fn empty(fields: Fields) -> RemotingCommand {
    RemotingCommand {
        code: 0,
        language: Language::Unknown,
        version: 0,
        opaque: 0,
        flag: 0,
        remark: None,
        fields,
        body: Bytes::new(),
        encoding: HeaderEncoding::Json,
    }
}

/// Reads what ordinary peers write; every method answers `None` at anything else.
struct Scanner<'a> {
    text: &'a Bytes,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a Bytes) -> Self {
        Self { text, at: 0 }
    }

    fn command(mut self) -> Option<RemotingCommand> {
        let mut command = empty(Fields::of_header(self.text.clone()));
        self.token(b'{')?;
        loop {
            let name = self.plain()?;
            self.token(b':')?;
            match self.text.get(name)? {
                b"code" => command.code = self.int()?,
                b"extFields" => self.fields(&mut command.fields)?,
                b"flag" => command.flag = self.int()?,
                b"language" => {
                    let name = self.plain()?;
                    command.language = Language::from_name(self.text.get(name)?);
                }
                b"opaque" => command.opaque = self.int()?,
                b"remark" => command.remark = Some(self.remark()?),
                b"serializeTypeCurrentRPC" => {
                    self.plain()?;
                }
                b"version" => command.version = self.int()?,
                _ => return None,
            }
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        (self.at == self.text.len()).then_some(command)
    }

    /// The object of extension fields.
    fn fields(&mut self, fields: &mut Fields) -> Option<()> {
        self.token(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let name = self.plain()?;
            self.token(b':')?;
            self.token(b'"')?;
            let start = self.at;
            let end = scan::plain_end(self.text, start)?;
            if *self.text.get(end)? == b'"' {
                fields.push_ranges(name, start..end);
                self.at = end + 1;
            } else {
                self.at = fields.push_unescaped(name, start)?;
            }
            match self.next()? {
                b',' => {}
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A string without escapes.
    fn plain(&mut self) -> Option<Range<usize>> {
        self.token(b'"')?;
        let start = self.at;
        let end = scan::plain_end(self.text, start)?;
        self.at = end + 1;
        (*self.text.get(end)? == b'"').then_some(start..end)
    }

    fn remark(&mut self) -> Option<CompactString> {
        self.token(b'"')?;
        let mut remark = Vec::new();
        self.at = scan::unescape(self.text, self.at, &mut remark)?;
        CompactString::from_utf8(remark).ok()
    }

    fn int(&mut self) -> Option<i32> {
        let rest = self.text.get(self.at..)?;
        let len = rest.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
        self.at += len;
        std::str::from_utf8(rest.get(..len)?).ok()?.parse().ok()
    }

    fn token(&mut self, expected: u8) -> Option<()> {
        (self.next()? == expected).then_some(())
    }

    /// The next byte, which is taken.
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }
}

/// Reads whatever a Java server would read.
fn decode_unusual(text: Bytes, fields_max: usize) -> Result<RemotingCommand, FrameError> {
    let Ok(root) = Node::parse(&text, DEPTH_MAX) else { return Err(malformed("no JSON")) };
    let Node::Object(members) = root else { return Err(malformed("no JSON object")) };
    let mut command = empty(Fields::new());
    for (name, value) in members {
        let Some(name) = name.as_text() else { continue };
        match &*name {
            "code" => command.code = int(&value)?,
            "flag" => command.flag = int(&value)?,
            "opaque" => command.opaque = int(&value)?,
            "version" => command.version = int(&value)?,
            "language" => command.language = language(&value),
            "remark" => command.remark = value.as_text().map(CompactString::from),
            "extFields" => command.fields = fields(value, fields_max)?,
            _ => {}
        }
    }
    Ok(command)
}

fn fields(value: Node<'_>, fields_max: usize) -> Result<Fields, FrameError> {
    let members = match value {
        Node::Null => return Ok(Fields::new()),
        Node::Object(members) if members.len() > fields_max => {
            return Err(FrameError::TooManyFields { max: fields_max });
        }
        Node::Object(members) => members,
        _ => return Err(malformed("extFields is no object")),
    };
    let mut fields = Fields::new();
    for (name, value) in members {
        if let (Some(name), Some(value)) = (name.as_text(), value.as_text()) {
            fields.push(&name, &value);
        }
    }
    Ok(fields)
}

/// A number, or the text of one; null counts as 0.
fn int(value: &Node<'_>) -> Result<i32, FrameError> {
    match value.as_text() {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| malformed("no number where one belongs")),
    }
}

fn language(value: &Node<'_>) -> Language {
    let name = value.as_text().unwrap_or_default();
    match name.parse() {
        Ok(code) => Language::from_code(code),
        Err(_) => Language::from_name(name.as_bytes()),
    }
}

pub(super) fn encode(head: &Head<'_>, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"{\"code\":");
    out.extend_from_slice(digits.format(head.code).as_bytes());
    if !head.fields.is_empty() {
        let mut open: &[u8] = b",\"extFields\":{\"";
        for (name, value) in head.fields.iter_bytes() {
            out.extend_from_slice(open);
            push_escaped(name, out);
            out.extend_from_slice(b"\":\"");
            push_escaped(value, out);
            open = b"\",\"";
        }
        out.extend_from_slice(b"\"}");
    }
    out.extend_from_slice(b",\"flag\":");
    out.extend_from_slice(digits.format(head.flag).as_bytes());
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(head.language.name().as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    out.extend_from_slice(digits.format(head.opaque).as_bytes());
    if let Some(remark) = head.remark {
        out.extend_from_slice(b",\"remark\":\"");
        push_escaped(remark.as_bytes(), out);
        out.push(b'"');
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.extend_from_slice(digits.format(head.version).as_bytes());
    out.push(b'}');
}
