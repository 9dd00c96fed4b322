//! The inner loops over JSON strings.

/// Where the string ends or its first escape stands: the index of the next `"` or `\`.
pub(crate) fn plain_end(text: &[u8], start: usize) -> Option<usize> {
    let rest = text.get(start..)?;
    // Most names and values are shorter than the set-up of a vector search.
    if let Some(head) = rest.first_chunk::<8>()
        && let Some(at) = first_special(u64::from_le_bytes(*head))
    {
        return Some(start + at);
    }
    memchr::memchr2(b'"', b'\\', rest).map(|at| start + at)
}

/// Index of the first byte of a little-endian word that is `"` or `\`.
fn first_special(word: u64) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    // The lowest marked byte is always a true one.
    let marks = zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5c));
    if marks == 0 { None } else { usize::try_from(marks.trailing_zeros() / 8).ok() }
}

/// Appends the text of the string that begins at `start`, behind its quote; answers the index
/// behind the closing quote. `None` at what standard JSON does not know.
pub(crate) fn unescape(text: &[u8], start: usize, out: &mut Vec<u8>) -> Option<usize> {
    let mut at = start;
    loop {
        let stop = at + memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        out.extend_from_slice(text.get(at..stop)?);
        if *text.get(stop)? == b'"' {
            return Some(stop + 1);
        }
        at = escape(text, stop + 1, out)?;
    }
}

/// Appends the character of an escape whose letter stands at `at`; answers the index behind it.
pub(crate) fn escape(text: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let plain = match *text.get(at)? {
        b'u' => {
            let (unit, at) = (hex(text, at + 1)?, at + 5);
            return Some(code_unit(text, unit, at, out));
        }
        byte @ (b'"' | b'\\' | b'/') => byte,
        b'b' => 0x08,
        b'f' => 0x0c,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    };
    out.push(plain);
    Some(at + 1)
}

/// Appends the character of a UTF-16 unit, of which a second may follow at `at`. Half a pair
/// becomes the replacement character.
fn code_unit(text: &[u8], unit: u16, at: usize, out: &mut Vec<u8>) -> usize {
    if let Ok(byte) = u8::try_from(unit)
        && byte.is_ascii()
    {
        out.push(byte);
        return at;
    }
    let second = match text.get(at..at + 2) {
        Some(b"\\u") => hex(text, at + 2),
        _ => None,
    };
    let units = [unit, second.unwrap_or_default()];
    let mut decoded = char::decode_utf16(units.into_iter().take(1 + usize::from(second.is_some())));
    let first = decoded.next().and_then(Result::ok);
    let taken_both = second.is_some() && decoded.next().is_none();
    let mut room = [0; 4];
    let character = first.unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut room).as_bytes());
    if taken_both { at + 6 } else { at }
}

fn hex(text: &[u8], at: usize) -> Option<u16> {
    text.get(at..at + 4)?.iter().try_fold(0, |unit, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

/// Appends text with quotes, backslashes and control characters escaped as other peers do it.
pub(crate) fn push_escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| is_escaped(*byte)) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, tail)) = tail.split_first() else { break };
        push_escape(byte, out);
        rest = tail;
    }
    out.extend_from_slice(rest);
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
