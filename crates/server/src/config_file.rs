//! The grammar of `broker.conf` and `namesrv.conf`: Java properties.
//!
//! A line is `key=value`, `key:value` or `key value`; blank lines and those that begin with `#` or `!`
//! say nothing; a `\` at the end joins the next line; `\t \n \r \f \uXXXX` and `\` before any other
//! character stand for characters. Of a key that is written twice the last one counts.

use std::iter::Peekable;
use std::str::Chars;

use thiserror::Error;

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
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut whole = first.to_owned();
        while continues(&whole) {
            whole.pop();
            let Some((_, next)) = lines.next() else { break };
            whole.push_str(next.trim_start());
        }
        let line = at + 1;
        let (key, value) = split(&whole).ok_or(SyntaxError { line })?;
        entries.push(Entry { key, value, line });
    }
    Ok(entries)
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
