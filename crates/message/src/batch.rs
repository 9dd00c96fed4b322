//! The body of a batch send: items back to back, each with its own flag, body and properties.
//!
//! `total 4 | magic 4 = 0 | crc 4 = 0 | flag 4 | body length 4, body | properties length 2,
//! properties` (Apache RocketMQ 5.5.0, `common/MessageDecoder`).

use thiserror::Error;

use crate::property;

const FIXED_LEN: usize = 22;

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchItem<'a> {
    /// The user's flag.
    pub flag: i32,
    /// Body.
    pub body: &'a [u8],
    /// Properties as text.
    pub properties: &'a [u8],
}

/// Why bytes are no batch. `index` counts items from 0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// No item at all.
    #[error("the batch is empty")]
    Empty,
    /// An item's lengths do not fit the bytes that are there.
    #[error("item {index} of the batch does not fit its lengths")]
    Lengths {
        /// The item.
        index: usize,
    },
    /// An item too long to be written.
    #[error("an item of the batch is too long")]
    TooLong,
}

/// Appends an item.
pub fn encode(out: &mut Vec<u8>, item: BatchItem<'_>) -> Result<(), BatchError> {
    let total = FIXED_LEN + item.body.len() + item.properties.len();
    let (Ok(total), Ok(body_len), Ok(properties_len)) = (
        i32::try_from(total),
        i32::try_from(item.body.len()),
        i16::try_from(item.properties.len()),
    ) else {
        return Err(BatchError::TooLong);
    };
    debug_assert!(item.properties.len() <= property::LEN_MAX);
    out.extend_from_slice(&total.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&item.flag.to_be_bytes());
    out.extend_from_slice(&body_len.to_be_bytes());
    out.extend_from_slice(item.body);
    out.extend_from_slice(&properties_len.to_be_bytes());
    out.extend_from_slice(item.properties);
    Ok(())
}

/// Reads all items, or refuses the whole batch: nothing of a lying batch may be stored.
pub fn decode(bytes: &[u8]) -> Result<Vec<BatchItem<'_>>, BatchError> {
    let mut items = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (item, after) = split(rest).ok_or(BatchError::Lengths { index: items.len() })?;
        items.push(item);
        rest = after;
    }
    if items.is_empty() { Err(BatchError::Empty) } else { Ok(items) }
}

fn int(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn split(bytes: &[u8]) -> Option<(BatchItem<'_>, &[u8])> {
    let total = usize::try_from(int(bytes, 0)?).ok()?;
    let (item, after) = bytes.split_at_checked(total)?;
    let flag = int(item, 12)?;
    let body_len = usize::try_from(int(item, 16)?).ok()?;
    let (body, rest) = item.get(20..)?.split_at_checked(body_len)?;
    let (properties_len, properties) = rest.split_first_chunk::<2>()?;
    let properties_len = usize::try_from(i16::from_be_bytes(*properties_len)).ok()?;
    (properties.len() == properties_len).then_some((BatchItem { flag, body, properties }, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_those_of_apache() {
        let mut out = Vec::new();
        let item =
            BatchItem { flag: 0, body: b"hello", properties: b"KEYS\x01k\x02TAGS\x01tagA\x02" };
        encode(&mut out, item).unwrap();
        let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "0000002c0000000000000000000000000000000568656c6c6f00114b455953016b02544147530174616741\
             02"
        );
        assert_eq!(decode(&out), Ok(vec![item]));
    }

    #[test]
    fn a_lying_item_voids_the_batch() {
        let mut good = Vec::new();
        encode(&mut good, BatchItem { flag: 1, body: b"a", properties: b"" }).unwrap();
        let mut bad = good.clone();
        bad.extend_from_slice(&good);
        for at in good.len()..bad.len() {
            assert_eq!(decode(&bad[..at]).is_ok(), at == good.len());
        }
        bad[good.len() + 3] += 1;
        assert_eq!(decode(&bad), Err(BatchError::Lengths { index: 1 }));
        assert_eq!(decode(b""), Err(BatchError::Empty));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _seen = decode(&bytes);
        }
    }
}
