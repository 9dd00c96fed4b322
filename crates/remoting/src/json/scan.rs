//! The inner loops over JSON strings.

/// Where the string ends or its first escape stands: the index of the next `"` or `\`.
#[inline]
pub(crate) fn plain_end(text: &str, start: usize) -> Option<usize> {
    let rest = text.as_bytes().get(start..)?;
    // Most names and values are shorter than it pays to set up a vector search for.
    let (words, _) = rest.as_chunks::<8>();
    for (index, word) in words.iter().take(4).enumerate() {
        let marks = quotes(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(start + index * 8 + lowest(marks));
        }
    }
    memchr::memchr2(b'"', b'\\', rest).map(|at| start + at)
}

const ONES: u64 = u64::MAX / 255;
const HIGHS: u64 = ONES << 7;

/// Marks the zero bytes of a word by their highest bit; the lowest mark is always a true one.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// Index of the lowest marked byte.
fn lowest(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8
}

/// Marks the bytes that are `"` or `\`.
fn quotes(word: u64) -> u64 {
    zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5c))
}

/// Marks the bytes that are control characters.
fn controls(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & HIGHS
}

/// Appends the text of the string that begins at `start`, behind its quote; answers the index
/// behind the closing quote. `None` at what standard JSON does not know.
pub(crate) fn unescape(text: &str, start: usize, out: &mut String) -> Option<usize> {
    let mut at = start;
    loop {
        let stop = plain_end(text, at)?;
        out.push_str(text.get(at..stop)?);
        if text.as_bytes().get(stop) == Some(&b'"') {
            return Some(stop + 1);
        }
        at = match text.as_bytes().get(stop + 1..stop + 6) {
            // The separators of message properties.
            Some(b"u0001") => push_control('\x01', stop, out),
            Some(b"u0002") => push_control('\x02', stop, out),
            _ => escape(text, stop + 1, out)?,
        };
    }
}

fn push_control(control: char, escape: usize, out: &mut String) -> usize {
    out.push(control);
    escape + 6
}

/// Appends the character of an escape whose letter stands at `at`; answers the index behind it.
pub(crate) fn escape(text: &str, at: usize, out: &mut String) -> Option<usize> {
    let plain = match *text.as_bytes().get(at)? {
        b'u' => {
            let (unit, at) = (hex(text, at + 1)?, at + 5);
            return Some(code_unit(text, unit, at, out));
        }
        byte @ (b'"' | b'\\' | b'/') => char::from(byte),
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return None,
    };
    out.push(plain);
    Some(at + 1)
}

/// Appends the character of a UTF-16 unit, of which a second may follow at `at`. Half a pair
/// becomes the replacement character.
fn code_unit(text: &str, unit: u16, at: usize, out: &mut String) -> usize {
    if let Some(character) = char::from_u32(u32::from(unit)) {
        out.push(character);
        return at;
    }
    let second = match text.as_bytes().get(at..at + 2) {
        Some(b"\\u") => hex(text, at + 2),
        _ => None,
    };
    let pair = second.and_then(|second| char::decode_utf16([unit, second]).next()?.ok());
    out.push(pair.unwrap_or(char::REPLACEMENT_CHARACTER));
    if pair.is_some() { at + 6 } else { at }
}

fn hex(text: &str, at: usize) -> Option<u16> {
    let digits: &[u8; 4] = text.as_bytes().get(at..)?.first_chunk()?;
    let mut unit = 0;
    for digit in digits {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        unit = unit << 4 | u16::from(value);
    }
    Some(unit)
}

/// Appends text with quotes, backslashes and control characters escaped as other peers do it.
pub(crate) fn push_escaped(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(at) = first_escaped(rest) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, tail)) = tail.split_first() else { break };
        push_escape(byte, out);
        rest = tail;
    }
    out.extend_from_slice(rest);
}

fn first_escaped(text: &[u8]) -> Option<usize> {
    let (words, tail) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let marks = quotes(word) | controls(word);
        if marks != 0 {
            return Some(index * 8 + lowest(marks));
        }
    }
    let at = tail.iter().position(|byte| is_escaped(*byte))?;
    Some(words.len() * 8 + at)
}

/// Whether nothing in the text has to be escaped.
pub(crate) fn is_plain(text: &[u8]) -> bool {
    // Looks at every byte, which lets the compiler look at many at once.
    !text.iter().fold(false, |found, byte| found | is_escaped(*byte))
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}
