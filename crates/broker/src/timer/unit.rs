//! One entry of the timer log, 52 bytes, big-endian:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | 52 |
//! | 4 | 8 | position of the entry before it in the same tick, −1 for none |
//! | 12 | 4 | kind: sum of 1 (always), 2 (its tick is only a stop on the way), 4 (takes another message back) |
//! | 16 | 8 | tick in which it was entered, ms |
//! | 24 | 4 | ms from there to its own tick |
//! | 28 | 8 | position of the message in the commit log |
//! | 36 | 4 | bytes of the message |
//! | 40 | 4 | Java hash of the true topic |
//! | 44 | 8 | 0 |

use rmq_message::PhysicalOffset;

/// Bytes of an entry.
pub(super) const LEN: usize = 52;
/// The same as the entry itself says it.
const LEN_TOLD: i32 = 52;

const ALWAYS: i32 = 1;
const ROLL: i32 = 2;
const TAKES_BACK: i32 = 4;

/// An entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// The entry before it in the same tick.
    pub(super) before: Option<u64>,
    /// The message goes back to the timers when the tick comes.
    pub(super) rolls: bool,
    /// The message takes another one back.
    pub(super) takes_back: bool,
    /// When it was entered.
    pub(super) entered: i64,
    /// Its tick.
    pub(super) tick: i64,
    pub(super) message: PhysicalOffset,
    pub(super) len: i32,
    pub(super) topic_hash: i32,
}

impl Unit {
    pub(super) fn encode(&self) -> [u8; LEN] {
        let before = self.before.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1);
        let mut kind = ALWAYS;
        kind |= if self.rolls { ROLL } else { 0 };
        kind |= if self.takes_back { TAKES_BACK } else { 0 };
        // Ticks are at most a roll window apart.
        let delay = i32::try_from(self.tick.saturating_sub(self.entered)).unwrap_or(i32::MAX);
        let message = i64::try_from(self.message.0).unwrap_or(i64::MAX);
        let mut bytes = [0; LEN];
        let mut out = &mut bytes[..];
        {
            use bytes::BufMut;
            out.put_i32(LEN_TOLD);
            out.put_i64(before);
            out.put_i32(kind);
            out.put_i64(self.entered);
            out.put_i32(delay);
            out.put_i64(message);
            out.put_i32(self.len);
            out.put_i32(self.topic_hash);
        }
        bytes
    }

    /// The entry that stands there, if one does.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        use bytes::Buf;
        let len = bytes.try_get_i32().ok()?;
        let before = bytes.try_get_i64().ok()?;
        let kind = bytes.try_get_i32().ok()?;
        let entered = bytes.try_get_i64().ok()?;
        let delay = bytes.try_get_i32().ok()?;
        let message = bytes.try_get_i64().ok()?;
        let unit = Self {
            before: u64::try_from(before).ok(),
            rolls: kind & ROLL != 0,
            takes_back: kind & TAKES_BACK != 0,
            entered,
            tick: entered.checked_add(delay.into())?,
            message: PhysicalOffset(u64::try_from(message).ok()?),
            len: bytes.try_get_i32().ok()?,
            topic_hash: bytes.try_get_i32().ok()?,
        };
        (len == LEN_TOLD && kind & ALWAYS != 0 && unit.len > 0).then_some(unit)
    }
}
