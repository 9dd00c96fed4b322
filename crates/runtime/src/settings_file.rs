//! Settings files (`broker.conf`, `namesrv.conf`): Java properties, read at the start, and changed
//! line by line when an operator changes a setting while the server runs.
//!
//! A line is `key=value`, `key:value` or `key value`; blank lines and those that begin with `#` or `!`
//! say nothing; a `\` at the end joins the next line; `\t \n \r \f \uXXXX` and `\` before any other
//! character stand for characters. Of a key that is written twice the last one counts.
//!
//! A change leaves comments, order and all other lines as they are, and replaces the file at once
//! with the former one kept beside it.

use std::io;
use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;

use parking_lot::Mutex;
use thiserror::Error;

use crate::{Disk, state_file};

/// One setting as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// Value, without blanks around it.
    pub value: String,
    /// Line, counted from 1.
    pub line: usize,
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: `\\u` wants four hexadecimal digits")]
pub struct SyntaxError {
    /// Line, counted from 1.
    pub line: usize,
}

/// Reads a file's text.
///
/// # Errors
/// [`SyntaxError`] names the line.
pub fn parse(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    let mut entries = Vec::new();
    for piece in pieces(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        if let Some(whole) = piece.setting {
            let line = piece.line;
            let (key, value) = split(&whole).ok_or(SyntaxError { line })?;
            entries.push(Entry { key, value, line });
        }
    }
    Ok(entries)
}

/// Changes settings in a file.
///
/// # Errors
/// When the file cannot be read or replaced, or is no settings file; it is as it was then.
pub fn change(disk: &dyn Disk, path: &Path, changes: &[(&str, &str)]) -> io::Result<()> {
    // Two servers of one process may share a file.
    static CHANGING: Mutex<()> = Mutex::new(());
    let _alone = CHANGING.lock();
    let bytes = disk.read(path)?;
    let invalid = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    let text = std::str::from_utf8(&bytes).map_err(|error| invalid(error.to_string()))?;
    let text = changed(text, changes).map_err(|error| invalid(error.to_string()))?;
    state_file::save(disk, path, text.as_bytes())
}

/// The text with some settings changed: each in the place of its last line, or at the end.
fn changed(text: &str, changes: &[(&str, &str)]) -> Result<String, SyntaxError> {
    let mut result = String::with_capacity(text.len() + 64);
    let last_lines: Vec<Option<usize>> = {
        let entries = parse(text)?;
        let last = |key: &str| entries.iter().rev().find(|e| e.key == key).map(|e| e.line);
        changes.iter().map(|(key, _)| last(key)).collect()
    };
    for piece in pieces(text) {
        let change = changes.iter().zip(&last_lines).find(|(_, at)| **at == Some(piece.line));
        match change {
            Some(((key, value), _)) => result.push_str(&line(key, value)),
            None => {
                result.push_str(piece.text);
                if !piece.text.ends_with('\n') {
                    result.push('\n');
                }
            }
        }
    }
    for ((key, value), _) in changes.iter().zip(&last_lines).filter(|(_, at)| at.is_none()) {
        result.push_str(&line(key, value));
    }
    Ok(result)
}

/// A setting as one line.
fn line(key: &str, value: &str) -> String {
    let mut line = String::with_capacity(key.len() + value.len() + 2);
    for letter in key.chars() {
        push_escaped(&mut line, letter, true);
    }
    line.push('=');
    for (at, letter) in value.chars().enumerate() {
        push_escaped(&mut line, letter, at == 0);
    }
    line.push('\n');
    line
}

fn push_escaped(line: &mut String, letter: char, blank_too: bool) {
    use std::fmt::Write as _;
    match letter {
        '\t' => line.push_str("\\t"),
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\x0c' => line.push_str("\\f"),
        '\\' | '=' | ':' | '#' | '!' => line.extend(['\\', letter]),
        ' ' if blank_too => line.push_str("\\ "),
        ' '..='~' => line.push(letter),
        other => {
            for unit in other.encode_utf16(&mut [0; 2]) {
                let _infallible = write!(line, "\\u{unit:04X}");
            }
        }
    }
}

/// One line of a file, with those that continue it.
struct Piece<'a> {
    /// As it stands there, line ends included.
    text: &'a str,
    /// What it sets, joined to one line; `None` for a comment or blank line.
    setting: Option<String>,
    /// Its first line, counted from 1.
    line: usize,
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    let mut at = 0;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let whole = rest;
        let line = at + 1;
        let mut take = || {
            let len = rest.find('\n').map_or(rest.len(), |end| end + 1);
            let (first, others) = rest.split_at(len);
            rest = others;
            at += 1;
            first.trim_end_matches(['\n', '\r'])
        };
        let first = take().trim_start();
        let mut setting = None;
        if !first.is_empty() && !first.starts_with(['#', '!']) {
            let mut joined = first.to_owned();
            while continues(&joined) {
                joined.pop();
                joined.push_str(take().trim_start());
            }
            setting = Some(joined);
        }
        let text = whole.get(..whole.len() - rest.len()).unwrap_or(whole);
        Some(Piece { text, setting, line })
    })
}

/// Whether a line ends with a `\` that is not escaped itself.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn split(line: &str) -> Option<(String, String)> {
    let mut chars = line.chars().peekable();
    let mut key = String::new();
    while let Some(next) = chars.next_if(|next| !next.is_whitespace() && !matches!(next, '=' | ':'))
    {
        key.push(unescaped(next, &mut chars)?);
    }
    let blank =
        |chars: &mut Peekable<Chars<'_>>| while chars.next_if(|c| c.is_whitespace()).is_some() {};
    blank(&mut chars);
    if chars.next_if(|next| matches!(next, '=' | ':')).is_some() {
        blank(&mut chars);
    }
    let mut value = String::new();
    while let Some(next) = chars.next() {
        value.push(unescaped(next, &mut chars)?);
    }
    value.truncate(value.trim_end().len());
    Some((key, value))
}

fn unescaped(first: char, rest: &mut Peekable<Chars<'_>>) -> Option<char> {
    if first != '\\' {
        return Some(first);
    }
    Some(match rest.next()? {
        't' => '\t',
        'n' => '\n',
        'r' => '\r',
        'f' => '\x0c',
        'u' => {
            let digits: String = rest.by_ref().take(4).collect();
            let well_formed = digits.len() == 4 && digits.bytes().all(|d| d.is_ascii_hexdigit());
            let code = u32::from_str_radix(&digits, 16).ok().filter(|_| well_formed)?;
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    #[test]
    fn every_form_of_a_line_is_read() {
        for (text, key, value) in [
            ("brokerName=a", "brokerName", "a"),
            ("  brokerName = a b  ", "brokerName", "a b"),
            ("brokerName:a", "brokerName", "a"),
            ("brokerName a=b", "brokerName", "a=b"),
            ("brokerName", "brokerName", ""),
            ("namesrvAddr=a:1;\\\n    b:2", "namesrvAddr", "a:1;b:2"),
            ("path=C\\:\\\\x\\ty\\u0041\\z", "path", "C:\\x\tyAz"),
            ("odd\\=key=1", "odd=key", "1"),
            ("last=x\\", "last", "x"),
            ("\u{feff}first=1\r", "first", "1"),
        ] {
            assert_eq!(pairs(text), [(key.to_owned(), value.to_owned())], "{text:?}");
        }
    }

    #[test]
    fn a_change_leaves_everything_else_as_it_is() {
        let text = "# mine\na = 1\n\nb=2\\\n  3\na=4\r\n#end";
        for (changes, expected) in [
            (&[("a", "5")][..], "# mine\na = 1\n\nb=2\\\n  3\na=5\n#end\n"),
            (&[("b", "x y")], "# mine\na = 1\n\nb=x y\na=4\r\n#end\n"),
            (&[("new", "1")], "# mine\na = 1\n\nb=2\\\n  3\na=4\r\n#end\nnew=1\n"),
        ] {
            assert_eq!(changed(text, changes).unwrap(), expected);
        }
    }

    #[test]
    fn whatever_is_written_reads_the_same() {
        for (key, value) in
            [("key", " a=b:\tc\\d\ne#!"), ("a b=c", ""), ("namé", "\u{20ac}"), ("k", "two words")]
        {
            let text = changed("x=1", &[(key, value)]).unwrap();
            assert_eq!(text.lines().count(), 2, "{text:?}");
            let entries = parse(&text).unwrap();
            assert_eq!((entries[1].key.as_str(), entries[1].value.as_str()), (key, value));
        }
    }

    #[test]
    fn a_changed_file_keeps_the_one_before_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = (crate::system::SystemDisk, dir.path().join("broker.conf"));
        disk.write(&path, b"a=1\n").unwrap();
        change(&disk, &path, &[("a", "2")]).unwrap();
        assert_eq!(&disk.read(&path).unwrap()[..], b"a=2\n");
        assert_eq!(&disk.read(&dir.path().join("broker.conf.bak")).unwrap()[..], b"a=1\n");
        assert!(change(&disk, &dir.path().join("none.conf"), &[("a", "2")]).is_err());
    }

    #[test]
    fn comments_and_blank_lines_count_as_lines_only() {
        let entries = parse("# one\n! two\n\n   \na=1\n #b=2\nc=\\\n  3\nd=4").unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.line)).collect();
        assert_eq!(seen, [("a", 5), ("c", 7), ("d", 9)]);
    }

    #[test]
    fn broken_escape_names_its_line() {
        assert_eq!(parse("a=1\nb=\\u00g0"), Err(SyntaxError { line: 2 }));
        assert_eq!(parse("a=\\u12"), Err(SyntaxError { line: 1 }));
    }
}
