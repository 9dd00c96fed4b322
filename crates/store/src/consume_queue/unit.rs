//! An entry of a consume queue: physical offset 8, size 4, tags code 8.

/// Bytes of an entry.
pub(crate) const UNIT_LEN: usize = 20;
/// Size in an entry that stands for no message: it fills the file before a queue's first.
const BLANK_SIZE: u32 = 0x7FFF_FFFF;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) physical: u64,
    pub(crate) size: u32,
    pub(crate) tags_code: i64,
}

impl Unit {
    pub(crate) const BLANK: Self = Self { physical: 0, size: BLANK_SIZE, tags_code: 0 };

    pub(crate) fn encode(self) -> [u8; UNIT_LEN] {
        let mut bytes = [0; UNIT_LEN];
        bytes[..8].copy_from_slice(&self.physical.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_be_bytes());
        bytes[12..].copy_from_slice(&self.tags_code.to_be_bytes());
        bytes
    }

    /// Reads an entry; `None` where no entry has been written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (physical, rest) = bytes.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let physical = u64::try_from(i64::from_be_bytes(*physical)).ok()?;
        let size = u32::try_from(i32::from_be_bytes(*size)).ok().filter(|size| *size > 0)?;
        Some(Self { physical, size, tags_code: i64::from_be_bytes(*rest.first_chunk()?) })
    }

    pub(crate) fn is_blank(self) -> bool {
        self.size == BLANK_SIZE && self.physical == 0
    }

    /// First byte after the record.
    pub(crate) fn end(self) -> u64 {
        self.physical.saturating_add(u64::from(self.size))
    }
}

/// Entries that lie back to back; ends at the first that is none.
pub(crate) fn units(bytes: &[u8]) -> impl Iterator<Item = Unit> {
    bytes.chunks_exact(UNIT_LEN).map_while(Unit::decode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_apache() {
        let unit = Unit { physical: 1000, size: 0x65, tags_code: 97 };
        let hex: String = unit.encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "00000000000003e8000000650000000000000061");
        assert_eq!(Unit::decode(&unit.encode()), Some(unit));
        assert_eq!(unit.end(), 1101);
        assert!(Unit::BLANK.is_blank());
    }

    #[test]
    fn what_was_never_written_is_no_entry() {
        assert_eq!(Unit::decode(&[0; 20]), None);
        assert_eq!(Unit::decode(&[0xFF; 20]), None);
        assert_eq!(Unit::decode(&[1; 19]), None);
    }
}
