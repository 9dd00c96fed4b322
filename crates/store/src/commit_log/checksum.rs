//! The checksum of a whole record (INV-08): the property `__CRC32#` at the very end, ten digits,
//! the least significant first. It covers everything before it. Optional, because every consumer
//! sees it: `enabledAppendPropCRC` writes it, `forceVerifyPropCRC` makes recovery insist on it.

use rmq_message::{property, record};
use smallvec::SmallVec;

/// Properties of a record that is being made.
pub(super) type Text = SmallVec<[u8; 512]>;

const DIGITS: usize = 10;
/// Bytes of the property: name, separator, digits, end.
const LEN: usize = property::CRC32.len() + 1 + DIGITS + 1;

/// The properties with room for the checksum at their end, and without any that came with them.
pub(super) fn with_room(properties: &[u8]) -> Text {
    let (separator, end) = (property::NAME_VALUE_SEPARATOR, property::PROPERTY_SEPARATOR);
    let mut text = Text::with_capacity(properties.len() + LEN + 1);
    for segment in properties.split_inclusive(|byte| *byte == end) {
        let name = segment.split(|byte| *byte == separator).next();
        if name != Some(property::CRC32.as_bytes()) {
            text.extend_from_slice(segment);
        }
    }
    if text.last().is_some_and(|last| *last != end) {
        text.push(end);
    }
    text.extend_from_slice(property::CRC32.as_bytes());
    text.push(separator);
    text.extend_from_slice(&[b'0'; DIGITS]);
    text.push(end);
    text
}

fn digits(mut crc: u32) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in &mut digits {
        *digit += u8::try_from(crc % 10).unwrap_or(0);
        crc /= 10;
    }
    digits
}

/// Fills the room at the end of an encoded record.
pub(super) fn seal(encoded: &mut [u8]) {
    let Some((covered, room)) =
        encoded.len().checked_sub(LEN).and_then(|at| encoded.split_at_mut_checked(at))
    else {
        return;
    };
    if let Some(place) = room.get_mut(property::CRC32.len() + 1..LEN - 1) {
        place.copy_from_slice(&digits(record::crc(covered)));
    }
}

/// Whether a record ends with its checksum, and fits it.
pub(super) fn is_sealed(encoded: &[u8]) -> bool {
    let Some((covered, room)) =
        encoded.len().checked_sub(LEN).and_then(|at| encoded.split_at_checked(at))
    else {
        return false;
    };
    let mut expected = with_room(b"");
    if let Some(place) = expected.get_mut(property::CRC32.len() + 1..LEN - 1) {
        place.copy_from_slice(&digits(record::crc(covered)));
    }
    room == &expected[..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_written_backwards() {
        assert_eq!(&digits(123_456), b"6543210000");
        assert_eq!(&digits(0), b"0000000000");
    }

    #[test]
    fn what_came_with_the_message_is_replaced() {
        let text = with_room(b"A\x01b\x02__CRC32#\x01123\x02C\x01d");
        assert_eq!(&text[..], b"A\x01b\x02C\x01d\x02__CRC32#\x010000000000\x02");
        assert_eq!(&with_room(b"")[..], b"__CRC32#\x010000000000\x02");
        assert_eq!(with_room(b"A\x01b\x02").len(), 4 + 20);
    }
}
