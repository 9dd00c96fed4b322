//! The bytes of one file: as written, as synced, and every state of a sector in between.

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use crate::SimEntropy;
use rmq_runtime::Entropy;

/// What a device writes whole, or at worst tears.
const SECTOR: usize = 512;
/// What moves whole even in a torn sector: no bus and no memory moves less.
const GRAIN: usize = 64;

/// One file. Its length is synced like its bytes; sectors reach the device in any order.
#[derive(Clone)]
pub(super) struct Content {
    live: Vec<u8>,
    synced: Vec<u8>,
    /// By number of the sector: what it held after each write since the last sync.
    unsynced: BTreeMap<usize, Vec<Box<[u8]>>>,
    /// Lengths it was given since the last sync.
    lens: Vec<usize>,
    /// What was synced before it was cut since the last sync.
    before_cut: Option<Vec<u8>>,
    pub(super) modified: SystemTime,
}

impl Content {
    /// A file of zeros, of which nothing is synced.
    pub(super) fn new(len: usize, modified: SystemTime) -> Self {
        Self {
            live: vec![0; len],
            synced: Vec::new(),
            unsynced: BTreeMap::new(),
            lens: vec![len],
            before_cut: None,
            modified,
        }
    }

    /// A file of which all is synced.
    pub(super) fn settled(bytes: Vec<u8>, modified: SystemTime) -> Self {
        let mut content = Self::new(0, modified);
        content.live.clone_from(&bytes);
        content.synced = bytes;
        content.forget_unsynced();
        content
    }

    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn slice(&self, at: u64, len: usize) -> io::Result<&[u8]> {
        let range = usize::try_from(at).ok().and_then(|at| Some(at..at.checked_add(len)?));
        let slice = range.and_then(|range| self.live.get(range));
        slice.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.slice(at, bytes.len())?;
        let Ok(at) = usize::try_from(at) else { return Ok(()) };
        let end = at + bytes.len();
        if let Some(place) = self.live.get_mut(at..end) {
            place.copy_from_slice(bytes);
        }
        for sector in at / SECTOR..end.div_ceil(SECTOR) {
            let to = ((sector + 1) * SECTOR).min(self.live.len());
            let now = self.live.get(sector * SECTOR..to).unwrap_or_default();
            self.unsynced.entry(sector).or_default().push(now.into());
        }
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.synced.len() {
            // Either nothing of the cut is on the device, or what grows there again is zero.
            self.before_cut.get_or_insert_with(|| self.synced.clone());
            self.synced.truncate(len);
        }
        self.live.resize(len, 0);
        self.unsynced.retain(|sector, _| sector * SECTOR < len);
        self.lens.push(len);
    }

    pub(super) fn sync(&mut self) {
        self.synced.resize(self.live.len(), 0);
        // Only these: what a failed sync has forgotten stays as it is on the device.
        for sector in self.unsynced.keys() {
            let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.live.len());
            if let (Some(place), Some(bytes)) =
                (self.synced.get_mut(range.clone()), self.live.get(range))
            {
                place.copy_from_slice(bytes);
            }
        }
        self.forget_unsynced();
    }

    fn forget_unsynced(&mut self) {
        self.unsynced.clear();
        self.lens.clear();
        self.before_cut = None;
    }

    /// A sync that fails: some of what was written is on the device, and the kernel takes the rest
    /// for clean. It can still be read, until the power fails.
    pub(super) fn fail_sync(&mut self, chance: &SimEntropy) {
        // A length is in the journal and stays to be written.
        let len = self.synced.len();
        let chosen = Self { lens: Vec::new(), before_cut: None, ..self.clone() };
        self.synced = chosen.after_power_loss(chance);
        self.synced.resize(len, 0);
        self.unsynced.clear();
    }

    /// What the device holds when the power fails now.
    pub(super) fn after_power_loss(&self, chance: &SimEntropy) -> Vec<u8> {
        if let Some(before) = &self.before_cut
            && chance.one_in(3)
        {
            return before.clone();
        }
        let len = match chance.place(self.lens.len() + 1) {
            0 => self.synced.len(),
            n => self.lens.get(n - 1).copied().unwrap_or_default(),
        };
        let mut bytes = self.synced.clone();
        bytes.resize(len, 0);
        // Of some crashes almost everything or almost nothing arrives.
        let kept_of_8 = chance.below(9);
        for (sector, versions) in &self.unsynced {
            let Some(place) = bytes.get_mut(sector * SECTOR..) else { break };
            if chance.below(8) >= kept_of_8 {
                continue;
            }
            let newest = versions.len() - 1;
            let version = if chance.one_in(2) { newest } else { chance.place(versions.len()) };
            if chance.one_in(8) {
                // Torn: the front of one state, the back of the one before.
                if let Some(before) = version.checked_sub(1).and_then(|it| versions.get(it)) {
                    overlay(place, before);
                }
                let whole = versions.get(version).map_or(&[][..], |it| it);
                let torn_at = chance.place(SECTOR / GRAIN) * GRAIN;
                overlay(place, whole.get(..torn_at.min(whole.len())).unwrap_or_default());
            } else {
                overlay(place, versions.get(version).map_or(&[][..], |it| it));
            }
        }
        bytes
    }
}

fn overlay(place: &mut [u8], bytes: &[u8]) {
    for (place, byte) in place.iter_mut().zip(bytes) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(content: &Content) -> Vec<Vec<u8>> {
        let mut all: Vec<_> =
            (0..2000).map(|seed| content.after_power_loss(&SimEntropy::new(seed))).collect();
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn every_sector_is_old_new_or_torn_on_its_own() {
        let mut content = Content::settled(vec![1; 3 * SECTOR], SystemTime::UNIX_EPOCH);
        content.write(0, &[2; 2 * SECTOR]).unwrap();
        let all = outcomes(&content);
        let sector = |bytes: &[u8], n: usize| bytes[n * SECTOR..(n + 1) * SECTOR].to_vec();
        for (first, second) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            assert!(
                all.iter().any(|bytes| sector(bytes, 0) == [first; SECTOR]
                    && sector(bytes, 1) == [second; SECTOR])
            );
        }
        let torn = |bytes: &[u8]| bytes.contains(&1) && bytes.contains(&2);
        assert!(all.iter().any(|bytes| torn(&sector(bytes, 0))));
        for bytes in &all {
            // New in front, old behind, and what was not written never changes.
            assert!(sector(bytes, 0).is_sorted_by(|a, b| a >= b));
            assert_eq!(sector(bytes, 2), [1; SECTOR]);
        }
        content.sync();
        assert_eq!(outcomes(&content), [content.live().to_vec()]);
    }

    #[test]
    fn states_in_between_can_be_what_is_left() {
        let mut content = Content::settled(vec![0; SECTOR], SystemTime::UNIX_EPOCH);
        content.write(0, b"a").unwrap();
        content.write(1, b"b").unwrap();
        let fronts: Vec<_> = outcomes(&content).iter().map(|it| it[..2].to_vec()).collect();
        for front in [b"\0\0", b"a\0", b"ab"] {
            assert!(fronts.contains(&front.to_vec()), "{fronts:?}");
        }
        assert!(!fronts.contains(&b"\0b".to_vec()));
    }

    #[test]
    fn a_length_is_not_durable_before_a_sync() {
        let mut content = Content::new(SECTOR, SystemTime::UNIX_EPOCH);
        let lens: Vec<_> = outcomes(&content).iter().map(Vec::len).collect();
        assert_eq!(lens, [0, SECTOR]);
        content.sync();
        content.set_len(10);
        content.set_len(20);
        let mut lens: Vec<_> = outcomes(&content).iter().map(Vec::len).collect();
        lens.sort_unstable();
        assert_eq!(lens, [10, 20, SECTOR]);
    }

    #[test]
    fn a_failed_sync_is_forgotten_by_the_next() {
        let mut content = Content::settled(vec![0; 8 * SECTOR], SystemTime::UNIX_EPOCH);
        content.write(0, &[7; 8 * SECTOR]).unwrap();
        content.fail_sync(&SimEntropy::new(3));
        assert_eq!(content.live(), [7; 8 * SECTOR]);
        let left = outcomes(&content);
        assert_eq!(left.len(), 1);
        assert_ne!(left[0], content.live());
    }
}
