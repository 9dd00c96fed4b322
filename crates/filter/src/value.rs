//! Values, and how unlike ones are compared: numbers widen, and a text is read as the type of what
//! it is compared with.

use std::cmp::Ordering;

/// What a part of a condition comes to. Absent properties and unknown truths are no value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Truth(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(&'a str),
}

/// Why there is no answer at all: the whole condition then does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incomparable;

impl<'a> Value<'a> {
    pub(crate) fn negated(self) -> Option<Self> {
        match self {
            Self::Int(number) => Some(Self::Int(number.wrapping_neg())),
            Self::Long(number) => Some(Self::Long(number.wrapping_neg())),
            Self::Double(number) => Some(Self::Double(-number)),
            Self::Truth(_) | Self::Text(_) => None,
        }
    }

    /// The order of two values. Values that share no type are unequal, the left one less.
    pub(crate) fn compare(self, right: Self) -> Result<Ordering, Incomparable> {
        use Value::{Double, Int, Long, Text, Truth};
        Ok(match (self, right) {
            (Truth(left), Truth(right)) => left.cmp(&right),
            (Int(left), Int(right)) => left.cmp(&right),
            (Long(left), Long(right)) => left.cmp(&right),
            (Double(left), Double(right)) => left.total_cmp(&right),
            (Text(left), Text(right)) => left.encode_utf16().cmp(right.encode_utf16()),
            (Int(left), Long(right)) => i64::from(left).cmp(&right),
            (Long(left), Int(right)) => left.cmp(&i64::from(right)),
            (Double(left), Int(right)) => left.total_cmp(&f64::from(right)),
            (Int(left), Double(right)) => f64::from(left).total_cmp(&right),
            (Double(left), Long(right)) => left.total_cmp(&widen(right)),
            (Long(left), Double(right)) => widen(left).total_cmp(&right),
            (Text(left), Truth(right)) => left.eq_ignore_ascii_case("true").cmp(&right),
            (Text(left), Int(right)) => int(left)?.cmp(&right),
            (Text(left), Long(right)) => long(left)?.cmp(&right),
            (Text(left), Double(right)) => double(left)?.total_cmp(&right),
            (Int(left), Text(right)) => left.cmp(&int(right)?),
            (Long(left), Text(right)) => left.cmp(&long(right)?),
            (Double(left), Text(right)) => left.total_cmp(&double(right)?),
            (Truth(_), Text(_)) => return Err(Incomparable),
            (Truth(_), Int(_) | Long(_) | Double(_)) | (Int(_) | Long(_) | Double(_), Truth(_)) => {
                Ordering::Less
            }
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "as the original widens")]
fn widen(number: i64) -> f64 {
    number as f64
}

fn int(text: &str) -> Result<i32, Incomparable> {
    text.parse().map_err(|_| Incomparable)
}

fn long(text: &str) -> Result<i64, Incomparable> {
    text.parse().map_err(|_| Incomparable)
}

/// A decimal number as Java reads one; without the hexadecimal forms.
pub(crate) fn double(text: &str) -> Result<f64, Incomparable> {
    let text = text.trim_matches(|c| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    let number = match unsigned {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => f64::INFINITY,
        _ => {
            let digits = unsigned.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(unsigned);
            if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
                return Err(Incomparable);
            }
            digits.parse().map_err(|_| Incomparable)?
        }
    };
    Ok(if negative { -number } else { number })
}
