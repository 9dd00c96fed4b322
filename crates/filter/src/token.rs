//! Text to tokens, one at a time and only as far as somebody asks: what follows a complete condition
//! is never looked at.

use crate::CompileError;

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'t> {
    And,
    Or,
    Not,
    Between,
    In,
    Is,
    Null,
    True,
    False,
    Contains,
    StartsWith,
    EndsWith,
    Equal,
    Unequal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Open,
    Close,
    Comma,
    Plus,
    Minus,
    /// Digits, maybe with an `L` behind.
    Integer(&'t str),
    Decimal(&'t str),
    /// What stands between the quotes, quotes inside still doubled.
    Text(&'t str),
    Name(&'t str),
    End,
}

impl Token<'_> {
    /// The token as a message of a refusal shows it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Integer(text) | Self::Decimal(text) | Self::Name(text) => format!("\"{text}\""),
            Self::Text(text) => format!("\"'{text}'\""),
            Self::End => "the end".into(),
            other => format!("{other:?}").to_uppercase(),
        }
    }
}

const WORDS: [(&str, Token<'static>); 12] = [
    ("NOT", Token::Not),
    ("AND", Token::And),
    ("OR", Token::Or),
    ("BETWEEN", Token::Between),
    ("IN", Token::In),
    ("TRUE", Token::True),
    ("FALSE", Token::False),
    ("NULL", Token::Null),
    ("IS", Token::Is),
    ("CONTAINS", Token::Contains),
    ("STARTSWITH", Token::StartsWith),
    ("ENDSWITH", Token::EndsWith),
];

/// The tokens of a text.
#[derive(Clone, Debug)]
pub(crate) struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Tokens<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token and where it begins.
    pub(crate) fn take(&mut self) -> Result<(usize, Token<'t>), CompileError> {
        self.skip();
        let at = self.at;
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok((at, Token::End)) };
        let (token, len) = match first {
            '0'..='9' | '.' => number(rest),
            '\'' => quoted(rest),
            'a'..='z' | 'A'..='Z' | '_' | '$' => Some(word(rest)),
            _ => symbol(rest),
        }
        .ok_or(CompileError::Token { at, found: first })?;
        self.at = at + len;
        Ok((at, token))
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Passes over blanks and comments. A comment without its end is none.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let blank =
                rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{c}']).len();
            let comment = if blank > 0 {
                0
            } else if rest.starts_with("--") {
                line_comment(rest)
            } else if let Some(inside) = rest.strip_prefix("/*") {
                inside.find("*/").map_or(0, |end| end + 4)
            } else {
                0
            };
            if blank + comment == 0 {
                return;
            }
            self.at += blank + comment;
        }
    }
}

/// Bytes of the comment that ends with its line.
fn line_comment(rest: &str) -> usize {
    let Some(end) = rest.find(['\n', '\r']) else { return 0 };
    let line = rest.get(end..).unwrap_or_default();
    end + if line.starts_with("\r\n") { 2 } else { 1 }
}

fn symbol(rest: &str) -> Option<(Token<'_>, usize)> {
    const SYMBOLS: [(&str, Token<'static>); 11] = [
        ("<>", Token::Unequal),
        (">=", Token::GreaterOrEqual),
        ("<=", Token::LessOrEqual),
        ("=", Token::Equal),
        (">", Token::Greater),
        ("<", Token::Less),
        ("(", Token::Open),
        (")", Token::Close),
        (",", Token::Comma),
        ("+", Token::Plus),
        ("-", Token::Minus),
    ];
    let found = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol));
    found.map(|(symbol, token)| (*token, symbol.len()))
}

fn word(rest: &str) -> (Token<'_>, usize) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    let name = rest.split(|c| !is_part(c)).next().unwrap_or_default();
    let keyword = WORDS.iter().find(|(word, _)| name.eq_ignore_ascii_case(word));
    (keyword.map_or(Token::Name(name), |(_, token)| *token), name.len())
}

/// The longest text in quotes that begins here. Without an end it is what ends with the first quote
/// of the last doubled one.
fn quoted(rest: &str) -> Option<(Token<'_>, usize)> {
    let mut doubled = None;
    let mut end = 1;
    let end = loop {
        let Some(quote) = rest.get(end..)?.find('\'') else { break doubled? };
        end += quote + 1;
        if !rest.get(end..)?.starts_with('\'') {
            break end;
        }
        doubled = Some(end);
        end += 1;
    };
    Some((Token::Text(rest.get(1..end - 1)?), end))
}

/// The longest number that begins here: `0`, `12`, `12L`, `1.5`, `1.`, `.5`, `1E5`. A number has no
/// leading zeros unless it is a decimal one.
fn number(rest: &str) -> Option<(Token<'_>, usize)> {
    let whole = digits(rest);
    let behind = rest.get(whole..)?;
    let fraction = behind.strip_prefix('.').map(digits);
    let mantissa = match fraction {
        Some(0) if whole == 0 => return None,
        Some(len) => whole + 1 + len,
        None => whole,
    };
    let exponent = exponent(rest.get(mantissa..)?);
    if fraction.is_some() || exponent > 0 {
        let len = mantissa + exponent;
        return Some((Token::Decimal(rest.get(..len)?), len));
    }
    let len = if rest.starts_with('0') { 1 } else { whole };
    let suffix = usize::from(rest.get(len..)?.starts_with(['l', 'L']));
    let len = len + suffix;
    Some((Token::Integer(rest.get(..len)?), len))
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn exponent(text: &str) -> usize {
    let Some(behind) = text.strip_prefix(['e', 'E']) else { return 0 };
    let sign = usize::from(behind.starts_with(['+', '-']));
    match digits(behind.get(sign..).unwrap_or_default()) {
        0 => 0,
        len => 1 + sign + len,
    }
}
