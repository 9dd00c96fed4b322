//! String rules of the Java platform that reached the protocol: hashes of tags and index keys, and
//! the order by which group members sort themselves.

use std::cmp::Ordering;

/// `String.hashCode`: `h = 31 * h + unit` over UTF-16 units, wrapping.
pub fn hash(text: &str) -> i32 {
    hash_more(0, text)
}

/// Continues [`hash`] of a prefix with the text that follows it.
pub fn hash_more(prefix: i32, text: &str) -> i32 {
    if text.is_ascii() {
        return text.bytes().fold(prefix, |h, b| h.wrapping_mul(31).wrapping_add(i32::from(b)));
    }
    text.encode_utf16().fold(prefix, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// `String.compareTo`: by UTF-16 units, then by length.
pub fn compare(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        return a.cmp(b);
    }
    a.encode_utf16().cmp(b.encode_utf16())
}

/// `String.trim`: strips every character up to U+0020 on both sides.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        for (text, expected) in [
            ("", 0),
            ("a", 97),
            ("*", 42),
            ("TagA", 2_598_919),
            ("TagB", 2_598_920),
            ("order-paid", 710_106_603),
            ("标签", 857_175),
            ("😈", 1_772_907),
            ("polygenelubricants", i32::MIN),
            ("tagA", 3_552_231),
        ] {
            assert_eq!(hash(text), expected, "{text}");
        }
        assert_eq!(hash_more(hash("Topic"), "Test#k1"), hash("TopicTest#k1"));
    }

    #[test]
    fn order_follows_utf16_units() {
        assert_eq!(compare("a", "b"), Ordering::Less);
        assert_eq!(compare("ab", "a"), Ordering::Greater);
        // In UTF-8 the supplementary character sorts last, in UTF-16 its surrogate sorts first.
        assert_eq!(compare("\u{1F608}", "\u{FF5E}"), Ordering::Less);
        assert_eq!("\u{1F608}".cmp("\u{FF5E}"), Ordering::Greater);
    }

    #[test]
    fn trim_strips_controls_and_blanks_only() {
        assert_eq!(trim(" \t\u{1}a b\u{0} "), "a b");
        assert_eq!(trim("\u{a0}a"), "\u{a0}a");
    }
}
