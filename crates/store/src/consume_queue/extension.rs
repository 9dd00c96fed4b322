//! Extension of a consume queue (`enableConsumeQueueExt`): what an entry's tags code stands for when
//! it is an address. Apache RocketMQ 5.5, `store/ConsumeQueueExt`.
//!
//! | bytes | field of a unit |
//! |---|---|
//! | 2 | its size |
//! | 8 | tags code |
//! | 8 | store time |
//! | 2, n | length of the filters' bit map, and the map |
//!
//! Units lie back to back in files of one length; a size of -1 ends a file. An address is the
//! position from the beginning of the queue's extension plus the smallest number there is, so that
//! it never clashes with the hash of a tag.

use rmq_message::Timestamp;

/// Greatest tags code that is an address.
const ADDRESS_MAX: i64 = i32::MIN as i64 - 1;

/// Whether a tags code is the address of a unit.
pub(crate) fn is_address(tags_code: i64) -> bool {
    tags_code <= ADDRESS_MAX
}

/// Position that an address stands for.
pub(crate) fn position(address: i64) -> u64 {
    address.wrapping_sub(i64::MIN).unsigned_abs()
}

/// Address of a position; `None` beyond what addresses reach.
pub(crate) fn address(position: u64) -> Option<i64> {
    let address = i64::MIN.checked_add(i64::try_from(position).ok()?)?;
    is_address(address).then_some(address)
}

/// A unit without its bit map, of which nobody but the filters that wrote it knows the meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExtensionUnit {
    pub(crate) tags_code: i64,
    pub(crate) store_timestamp: Timestamp,
}

impl ExtensionUnit {
    /// Bytes of a unit without a bit map.
    pub(crate) const LEN_MIN: usize = 20;

    /// Reads the unit at the beginning, which may hold a bit map; `None` when there is none.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk::<2>()?;
        let (tags_code, rest) = rest.split_first_chunk::<8>()?;
        let (time, rest) = rest.split_first_chunk::<8>()?;
        let bit_map = usize::try_from(i16::from_be_bytes(*rest.first_chunk()?)).ok()?;
        let size = usize::try_from(i16::from_be_bytes(*size)).ok()?;
        (size == Self::LEN_MIN.checked_add(bit_map)?).then(|| Self {
            tags_code: i64::from_be_bytes(*tags_code),
            store_timestamp: Timestamp(i64::from_be_bytes(*time)),
        })
    }

    /// The unit without a bit map.
    pub(crate) fn encode(&self) -> [u8; Self::LEN_MIN] {
        let mut bytes = [0; Self::LEN_MIN];
        bytes[1] = 20;
        bytes[2..10].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.store_timestamp.0.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_apache() {
        assert_eq!(address(0), Some(i64::MIN));
        assert_eq!(address(20), Some(i64::MIN + 20));
        assert_eq!(position(i64::MIN + 20), 20);
        assert!(is_address(-2_147_483_649) && !is_address(i64::from(i32::MIN)) && !is_address(0));
        assert_eq!(address(u64::MAX), None);
    }

    #[test]
    fn units_are_read_with_and_without_a_bit_map() {
        let unit = ExtensionUnit { tags_code: -5, store_timestamp: Timestamp(7) };
        let mut bytes = unit.encode().to_vec();
        assert_eq!(ExtensionUnit::decode(&bytes), Some(unit));
        bytes[1] = 22;
        assert_eq!(ExtensionUnit::decode(&bytes), None, "sizes differ");
        bytes[19] = 2;
        assert_eq!(ExtensionUnit::decode(&bytes), Some(unit));
        assert_eq!(ExtensionUnit::decode(&[0xFF; 20]), None);
        assert_eq!(ExtensionUnit::decode(&[0; 19]), None);
    }
}
