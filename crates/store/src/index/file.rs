//! One index file: a hash table from `topic#key` to positions in the log.
//!
//! Header of 40 bytes, then slots of 4, then items of 20.
//!
//! | header | at | | item | at |
//! |---|---|---|---|---|
//! | first and last store time | 0, 8 | | key hash, 31 bits | 0 |
//! | first and last position | 16, 24 | | position in the log | 4 |
//! | used slots | 32 | | seconds since the first store time | 12 |
//! | number of the next item, from 1 | 36 | | item before in the same slot | 16 |
//!
//! A slot holds the number of its youngest item, 0 for none. Numbers in a chain only fall.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rmq_message::Timestamp;
use rmq_runtime::DiskFile;

const HEADER_LEN: u64 = 40;
const SLOT_LEN: u64 = 4;
const ITEM_LEN: usize = 20;
/// Items that are written together.
const PENDING: usize = 64 << 10;
/// Slots that are written together: 4 KiB.
const PAGE: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) begin: Timestamp,
    pub(crate) end: Timestamp,
    pub(crate) begin_at: i64,
    pub(crate) end_at: i64,
    pub(crate) used_slots: i32,
    /// Number of the next item; items count from 1.
    pub(crate) next: u32,
}

impl Header {
    /// A new file; one that follows another begins where that ended.
    pub(super) fn new(before: Option<&Header>) -> Self {
        let (end, end_at) = before.map_or((Timestamp(0), 0), |it| (it.end, it.end_at));
        Self { begin: end, end, begin_at: end_at, end_at, used_slots: 0, next: 1 }
    }

    pub(crate) fn decode(bytes: &[u8; 40]) -> Self {
        let long = |at: usize| {
            let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| i64::from_be_bytes(*bytes))
        };
        let [used_slots, next] = [32, 36].map(|at: usize| {
            let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| i32::from_be_bytes(*bytes))
        });
        Self {
            begin: Timestamp(long(0)),
            end: Timestamp(long(8)),
            begin_at: long(16),
            end_at: long(24),
            used_slots,
            next: u32::try_from(next).unwrap_or(0),
        }
    }

    fn encode(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let longs = [self.begin.0, self.end.0, self.begin_at, self.end_at];
        for (place, long) in bytes.chunks_exact_mut(8).zip(longs) {
            place.copy_from_slice(&long.to_be_bytes());
        }
        bytes[32..36].copy_from_slice(&self.used_slots.to_be_bytes());
        bytes[36..].copy_from_slice(&self.next.to_be_bytes());
        bytes
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) hash: u32,
    pub(crate) at: i64,
    pub(crate) seconds: i32,
    pub(crate) before: u32,
}

impl Item {
    /// Bytes of an item.
    pub(crate) const LEN: usize = ITEM_LEN;

    fn encode(self) -> [u8; ITEM_LEN] {
        let mut bytes = [0; ITEM_LEN];
        bytes[..4].copy_from_slice(&self.hash.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.at.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[16..].copy_from_slice(&self.before.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (hash, rest) = bytes.split_first_chunk::<4>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (seconds, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            hash: u32::from_be_bytes(*hash),
            at: i64::from_be_bytes(*at),
            seconds: i32::from_be_bytes(*seconds),
            before: u32::from_be_bytes(*rest.first_chunk()?),
        })
    }
}

/// Slots and items of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) slots: u32,
    pub(crate) items: u32,
}

impl Geometry {
    pub(crate) fn file_len(self) -> u64 {
        self.item_at(self.items)
    }

    pub(crate) fn slot_at(slot: u32) -> u64 {
        HEADER_LEN + SLOT_LEN * u64::from(slot)
    }

    pub(crate) fn item_at(self, number: u32) -> u64 {
        Self::slot_at(self.slots) + ITEM_LEN as u64 * u64::from(number)
    }
}

/// The part of the file that is being filled, in RAM.
struct Fresh {
    slots: Vec<u32>,
    /// Which pages of slots have changed.
    changed: Vec<bool>,
    /// Items that are not written yet, from number `pending_from` on.
    pending: Vec<u8>,
    pending_from: u32,
}

pub(super) struct IndexFile {
    pub(super) path: PathBuf,
    geometry: Geometry,
    file: Arc<dyn DiskFile>,
    pub(super) header: Header,
    /// Only of the youngest file, from its first new item on.
    fresh: Option<Fresh>,
    /// A sync has failed: nobody knows what of the file is on the disk (INV-03).
    lost: bool,
}

impl IndexFile {
    pub(super) fn new(
        path: PathBuf,
        file: Arc<dyn DiskFile>,
        geometry: Geometry,
        header: Header,
    ) -> Self {
        Self { path, geometry, file, header, fresh: None, lost: false }
    }

    /// An existing file; `None` when its header makes no sense.
    pub(super) fn load(
        path: PathBuf,
        file: Arc<dyn DiskFile>,
        geometry: Geometry,
    ) -> io::Result<Option<Self>> {
        let mut bytes = [0; 40];
        file.read_at(0, &mut bytes)?;
        let header = Header::decode(&bytes);
        let sane = (1..=geometry.items).contains(&header.next)
            && (0..=header.end_at).contains(&header.begin_at);
        Ok(sane.then(|| Self::new(path, file, geometry, header)))
    }

    pub(super) fn is_full(&self) -> bool {
        self.header.next >= self.geometry.items
    }

    /// Whether it has no item.
    pub(super) fn is_empty(&self) -> bool {
        self.header.next <= 1
    }

    fn slot_of(&self, hash: u32) -> u32 {
        hash % self.geometry.slots
    }

    /// Adds an item. The file must not be full.
    pub(super) fn put(&mut self, hash: u32, at: i64, stored: Timestamp) -> io::Result<()> {
        let slot = self.slot_of(hash);
        let number = self.header.next;
        let began = self.header.begin;
        let fresh = match &mut self.fresh {
            Some(fresh) => fresh,
            none => none.insert(load_slots(&*self.file, self.geometry, number)?),
        };
        let place = slot as usize;
        let Some(youngest) = fresh.slots.get_mut(place) else { return Ok(()) };
        let before = if *youngest < number { *youngest } else { 0 };
        *youngest = number;
        if let Some(changed) = fresh.changed.get_mut(place / PAGE) {
            *changed = true;
        }
        let seconds = if began.0 <= 0 { 0 } else { ((stored - began) / 1000).max(0) };
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        fresh.pending.extend_from_slice(&Item { hash, at, seconds, before }.encode());
        if number <= 1 {
            self.header.begin = stored;
            self.header.begin_at = at;
        }
        if before == 0 {
            self.header.used_slots = self.header.used_slots.saturating_add(1);
        }
        self.header.next = number + 1;
        self.header.end = stored;
        self.header.end_at = at;
        if fresh.pending.len() >= PENDING { self.write_items() } else { Ok(()) }
    }

    fn write_items(&mut self) -> io::Result<()> {
        let Some(fresh) = &mut self.fresh else { return Ok(()) };
        if !fresh.pending.is_empty() {
            self.file.write_at(self.geometry.item_at(fresh.pending_from), &fresh.pending)?;
            fresh.pending_from = self.header.next;
            fresh.pending.clear();
        }
        Ok(())
    }

    /// Writes everything and syncs it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.fresh.is_none() {
            return Ok(());
        }
        if self.lost {
            // The next start makes it anew.
            return Err(io::Error::other(format!("a sync of {} has failed", self.path.display())));
        }
        self.write_items()?;
        if let Some(fresh) = &mut self.fresh {
            let pages = fresh.slots.chunks(PAGE).zip(&mut fresh.changed).enumerate();
            for (page, (slots, changed)) in pages.filter(|(_, (_, changed))| **changed) {
                let bytes: Vec<u8> = slots.iter().flat_map(|slot| slot.to_be_bytes()).collect();
                let at = HEADER_LEN + SLOT_LEN * (page * PAGE) as u64;
                self.file.write_at(at, &bytes)?;
                *changed = false;
            }
        }
        self.file.write_at(0, &self.header.encode())?;
        let synced = self.file.sync();
        self.lost = synced.is_err();
        synced
    }

    /// Gives back the RAM; what is not flushed is lost.
    pub(super) fn rest(&mut self) {
        self.fresh = None;
    }

    fn slot(&self, slot: u32) -> io::Result<u32> {
        if let Some(fresh) = &self.fresh {
            return Ok(fresh.slots.get(slot as usize).copied().unwrap_or(0));
        }
        let mut bytes = [0; 4];
        self.file.read_at(Geometry::slot_at(slot), &mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn item(&self, number: u32) -> io::Result<Option<Item>> {
        if let Some(fresh) = &self.fresh
            && let Some(index) = number.checked_sub(fresh.pending_from)
        {
            let bytes = fresh.pending.get(index as usize * ITEM_LEN..);
            return Ok(bytes.and_then(Item::decode));
        }
        let mut bytes = [0; ITEM_LEN];
        self.file.read_at(self.geometry.item_at(number), &mut bytes)?;
        Ok(Item::decode(&bytes))
    }

    /// Walks the positions of a hash from the youngest on: those that may have been stored between
    /// two times. Ends early when `visit` says so.
    pub(super) fn walk(
        &self,
        hash: u32,
        (begin, end): (Timestamp, Timestamp),
        mut visit: impl FnMut(u64) -> io::Result<std::ops::ControlFlow<()>>,
    ) -> io::Result<()> {
        let mut number = self.slot(self.slot_of(hash))?;
        // Falling numbers: a damaged chain cannot be a circle.
        let mut bound = self.header.next;
        while (1..bound).contains(&number) {
            bound = number;
            let Some(item) = self.item(number)? else { break };
            number = item.before;
            // Items know seconds only; the record itself decides.
            let earliest = self.header.begin + i64::from(item.seconds) * 1000;
            if earliest + 1000 < begin {
                break;
            }
            if item.hash == hash
                && earliest <= end
                && let Ok(at) = u64::try_from(item.at)
                && visit(at)?.is_break()
            {
                break;
            }
        }
        Ok(())
    }
}

fn load_slots(file: &dyn DiskFile, geometry: Geometry, next: u32) -> io::Result<Fresh> {
    let count = geometry.slots as usize;
    // Untouched parts of a zeroed vector take no memory, so only what is not zero is copied.
    let mut slots = vec![0_u32; count];
    let mut bytes = vec![0; PAGE * 4];
    if next > 1 {
        for (page, slots) in slots.chunks_mut(PAGE).enumerate() {
            let Some(bytes) = bytes.get_mut(..slots.len() * 4) else { break };
            file.read_at(HEADER_LEN + SLOT_LEN * (page * PAGE) as u64, bytes)?;
            if bytes.iter().any(|byte| *byte != 0) {
                for (slot, bytes) in slots.iter_mut().zip(bytes.chunks_exact(4)) {
                    *slot = bytes.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                }
            }
        }
    }
    let changed = vec![false; count.div_ceil(PAGE)];
    Ok(Fresh { slots, changed, pending: Vec::new(), pending_from: next })
}
