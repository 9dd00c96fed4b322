//! Positions and times as types of their own, so that one is never taken for another.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// A position in the commit log, in bytes from its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PhysicalOffset(pub u64);

/// A position in one queue, in messages from its beginning. Negative values appear on the wire
/// with a meaning of their own ("none"), so the type is signed as the protocol's is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct QueueOffset(pub i64);

/// Milliseconds since 1970-01-01 UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl PhysicalOffset {
    /// The value as the signed number that files and the wire hold.
    pub fn to_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// Reads the signed number of files and the wire; a negative one is no position.
    pub fn from_i64(value: i64) -> Option<Self> {
        u64::try_from(value).ok().map(Self)
    }
}

impl Add<u64> for PhysicalOffset {
    type Output = Self;
    fn add(self, len: u64) -> Self {
        Self(self.0.saturating_add(len))
    }
}

impl Sub for PhysicalOffset {
    type Output = u64;
    /// Bytes between two positions, 0 when `other` lies behind.
    fn sub(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

impl QueueOffset {
    /// The first position of a queue.
    pub const ZERO: Self = Self(0);
}

impl Add<i64> for QueueOffset {
    type Output = Self;
    fn add(self, count: i64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl Sub for QueueOffset {
    type Output = i64;
    fn sub(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

impl Add<i64> for Timestamp {
    type Output = Self;
    fn add(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl Sub for Timestamp {
    type Output = i64;
    /// Milliseconds between two times; negative when `other` is later.
    fn sub(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Err(before) => {
                Self(i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms))
            }
        }
    }
}

macro_rules! displays_its_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
displays_its_number!(PhysicalOffset, QueueOffset, Timestamp);
