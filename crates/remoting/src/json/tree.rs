//! A document as a tree, read with all the tolerance that peers are used to.

use std::borrow::Cow;

use super::{Error, scan};

/// Most values of one document. A value takes some 32 bytes here and may take two in the document.
pub(super) const NODES_MAX: usize = 1 << 20;

/// A value. Strings and numbers borrow from the document where they can.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    /// The digits as they stand.
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Node<'a>>),
    /// Keys are values too: texts, numbers, objects.
    Object(Vec<(Node<'a>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// Reads one value and nothing behind it.
    pub(crate) fn parse(text: &'a str, depth_max: usize) -> Result<Self, Error> {
        let mut parser = Parser { text, at: 0, depth: depth_max, nodes: NODES_MAX };
        let node = parser.value()?;
        parser.blanks()?;
        if parser.at < text.len() {
            return Err(parser.error("text after the end"));
        }
        Ok(node)
    }

    /// The value as the text of a field: strings as they are, `None` for null, anything else as its
    /// JSON text.
    pub(crate) fn as_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(digits) => Some(Cow::Borrowed(digits)),
            Self::Bool(true) => Some(Cow::Borrowed("true")),
            Self::Bool(false) => Some(Cow::Borrowed("false")),
            Self::Array(_) | Self::Object(_) => {
                let mut out = Vec::new();
                self.write(&mut out);
                String::from_utf8(out).ok().map(Cow::Owned)
            }
        }
    }

    /// The member of this name.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().rev().find(|(key, _)| key.as_text().as_deref() == Some(name)).map(|(_, v)| v)
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Self::Number(digits) => out.extend_from_slice(digits.as_bytes()),
            Self::Text(text) => {
                out.push(b'"');
                scan::push_escaped(text, out);
                out.push(b'"');
            }
            Self::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Object(members) => {
                out.push(b'{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    key.write(out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    /// Levels that may still be opened.
    depth: usize,
    /// Values that may still come.
    nodes: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Node<'a>, Error> {
        self.nodes = self.nodes.checked_sub(1).ok_or_else(|| self.error("too many values"))?;
        self.blanks()?;
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(quote @ (b'"' | b'\'')) => self.string(quote).map(Node::Text),
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => Ok(self.number()),
            Some(_) if self.word("null") => Ok(Node::Null),
            Some(_) if self.word("true") => Ok(Node::Bool(true)),
            Some(_) if self.word("false") => Ok(Node::Bool(false)),
            Some(_) => Err(self.error("no value")),
            None => Err(self.error("unexpected end")),
        }
    }

    fn nested(
        &mut self,
        read: fn(&mut Self) -> Result<Node<'a>, Error>,
    ) -> Result<Node<'a>, Error> {
        self.depth = self.depth.checked_sub(1).ok_or_else(|| self.error("nested too deep"))?;
        self.at += 1;
        let node = read(self);
        self.depth += 1;
        node
    }

    fn object(&mut self) -> Result<Node<'a>, Error> {
        let mut members = Vec::new();
        loop {
            self.blanks()?;
            if self.take(b'}') {
                return Ok(Node::Object(members));
            }
            let key = self.value()?;
            self.blanks()?;
            if !self.take(b':') {
                return Err(self.error("no colon behind a key"));
            }
            let value = self.value()?;
            members.push((key, value));
            self.separator(b'}')?;
        }
    }

    fn array(&mut self) -> Result<Node<'a>, Error> {
        let mut items = Vec::new();
        loop {
            self.blanks()?;
            if self.take(b']') {
                return Ok(Node::Array(items));
            }
            items.push(self.value()?);
            self.separator(b']')?;
        }
    }

    /// A comma, or the closing bracket ahead.
    fn separator(&mut self, close: u8) -> Result<(), Error> {
        self.blanks()?;
        if self.take(b',') || self.peek() == Some(close) {
            Ok(())
        } else {
            Err(self.error("neither a comma nor an end"))
        }
    }

    fn string(&mut self, quote: u8) -> Result<Cow<'a, str>, Error> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let len = memchr::memchr2(quote, b'\\', rest.as_bytes())
                .ok_or_else(|| self.error("a string without end"))?;
            let plain = rest.get(..len).unwrap_or_default();
            self.at += len;
            if !self.take(quote) {
                text.push_str(plain);
                self.at = self.escape(self.at + 1, &mut text)?;
            } else if text.is_empty() {
                return Ok(Cow::Borrowed(plain));
            } else {
                text.push_str(plain);
                return Ok(Cow::Owned(text));
            }
        }
    }

    /// Escapes of standard JSON and those of JavaScript.
    fn escape(&self, at: usize, out: &mut String) -> Result<usize, Error> {
        if let Some(end) = scan::escape(self.text, at, out) {
            return Ok(end);
        }
        let wrong = || Error::Syntax { reason: "no such escape", at };
        match self.text.as_bytes().get(at) {
            Some(b'\'') => out.push('\''),
            Some(b'v') => out.push('\x0b'),
            Some(digit @ b'0'..=b'7') => out.push(char::from(digit - b'0')),
            Some(b'x') => {
                let digits = self.text.get(at + 1..at + 3).ok_or_else(wrong)?;
                let code = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
                out.push(char::from(code));
                return Ok(at + 3);
            }
            _ => return Err(wrong()),
        }
        Ok(at + 1)
    }

    fn number(&mut self) -> Node<'a> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let len = rest
            .bytes()
            .take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .count();
        self.at += len;
        // A type suffix of other Java libraries says nothing new.
        let suffix = matches!(self.peek(), Some(b'L' | b'S' | b'B' | b'F' | b'D'));
        self.at += usize::from(suffix);
        Node::Number(rest.get(..len).unwrap_or_default())
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if found {
            self.at += word.len();
        }
        found
    }

    /// Skips blanks and comments.
    fn blanks(&mut self) -> Result<(), Error> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            if rest.starts_with("/*") {
                let end = rest.find("*/").ok_or_else(|| self.error("a comment without end"))?;
                self.at += end + 2;
            } else if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with(|c: char| c.is_ascii_whitespace() || c == '\u{feff}') {
                self.at += rest.chars().next().map_or(0, char::len_utf8);
            } else {
                return Ok(());
            }
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn error(&self, reason: &'static str) -> Error {
        Error::Syntax { reason, at: self.at }
    }
}
