//! The JSON header: an object of a few known names.
//!
//! A quick scanner reads what every ordinary peer writes. At anything unusual (escaped names,
//! numbers as text, nested values, unknown names, comments) it gives up, and the tolerant reader of
//! [`crate::json`] takes the whole header: what is legal but odd costs time, never the connection.

use std::ops::Range;

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

pub(super) fn decode(
    command: &mut RemotingCommand,
    text: &[u8],
    fields_max: usize,
) -> Result<(), FrameError> {
    let text = std::str::from_utf8(text).map_err(|_| malformed("text is not UTF-8"))?;
    if (Scanner { text, at: 0 }).header(command).is_none() {
        *command = RemotingCommand::received(HeaderEncoding::Json);
        read_unusual(command, text, fields_max)?;
    }
    if command.fields.len() > fields_max {
        return Err(FrameError::TooManyFields { max: fields_max });
    }
    Ok(())
}

/// Reads what ordinary peers write; every method answers `None` at anything else.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn header(&mut self, command: &mut RemotingCommand) -> Option<()> {
        self.token(b'{')?;
        loop {
            let name = self.plain()?;
            self.token(b':')?;
            match self.text.get(name)? {
                "code" => command.code = self.int()?,
                "extFields" => self.fields(&mut command.fields)?,
                "flag" => command.flag = self.int()?,
                "language" => {
                    let name = self.plain()?;
                    command.language = Language::from_name(self.text.get(name)?);
                }
                "opaque" => command.opaque = self.int()?,
                "remark" => command.remark = Some(self.remark()?),
                "serializeTypeCurrentRPC" => {
                    self.plain()?;
                }
                "version" => command.version = self.int()?,
                _ => return None,
            }
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        (self.at == self.text.len()).then_some(())
    }

    /// The object of extension fields.
    fn fields(&mut self, fields: &mut Fields) -> Option<()> {
        // Room for the header as it is, and behind it for what it means; that is never longer.
        let mut text = String::with_capacity(2 * self.text.len());
        text.push_str(self.text);
        *fields = Fields::within(text);
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
            if self.byte(end)? == b'"' {
                fields.push_places(name, start..end);
                self.at = end + 1;
            } else {
                self.at = fields.push_unescaped(self.text, name, start)?;
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
        (self.byte(end)? == b'"').then_some(start..end)
    }

    fn remark(&mut self) -> Option<CompactString> {
        self.token(b'"')?;
        let mut remark = String::new();
        self.at = scan::unescape(self.text, self.at, &mut remark)?;
        Some(remark.into())
    }

    fn int(&mut self) -> Option<i32> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let (start, mut value) = (self.at, 0_i64);
        while let Some(digit) = self.peek().map(|byte| byte.wrapping_sub(b'0'))
            && digit < 10
            && self.at - start < 10
        {
            value = value * 10 + i64::from(digit);
            self.at += 1;
        }
        if self.at == start {
            return None;
        }
        i32::try_from(if negative { -value } else { value }).ok()
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
        self.byte(self.at)
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }
}

/// Reads whatever a Java server would read.
fn read_unusual(
    command: &mut RemotingCommand,
    text: &str,
    fields_max: usize,
) -> Result<(), FrameError> {
    let Ok(root) = Node::parse(text, DEPTH_MAX) else { return Err(malformed("no JSON")) };
    let Node::Object(members) = root else { return Err(malformed("no JSON object")) };
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
    Ok(())
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
        Err(_) => Language::from_name(&name),
    }
}

pub(super) fn encode(head: &Head<'_>, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"{\"code\":");
    out.extend_from_slice(digits.format(head.code).as_bytes());
    if !head.fields.is_empty() {
        out.extend_from_slice(b",\"extFields\":{");
        head.fields.write_json(out);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"flag\":");
    out.extend_from_slice(digits.format(head.flag).as_bytes());
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(head.language.name().as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    out.extend_from_slice(digits.format(head.opaque).as_bytes());
    if let Some(remark) = head.remark {
        out.extend_from_slice(b",\"remark\":\"");
        push_escaped(remark, out);
        out.push(b'"');
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    out.extend_from_slice(digits.format(head.version).as_bytes());
    out.push(b'}');
}
