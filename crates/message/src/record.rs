//! The stored record: one message as it lies in the commit log, in a reply to a pull, and in
//! whatever replicates the log. Apache RocketMQ 5.5.0, `store/MessageExtEncoder`.
//!
//! Big-endian. Positions are those of IPv4 hosts (an IPv6 host is 12 bytes longer).
//!
//! | field | bytes | at |
//! |---|---|---|
//! | total size | 4 | 0 |
//! | magic: [`MAGIC_V1`], [`MAGIC_V2`] | 4 | 4 |
//! | body CRC-32, 31 bits | 4 | 8 |
//! | queue id | 4 | 12 |
//! | flag | 4 | 16 |
//! | queue offset | 8 | 20 |
//! | physical offset | 8 | 28 |
//! | system flags | 4 | 36 |
//! | born time | 8 | 40 |
//! | born host: address 4 or 16, port 4 | 8 or 20 | 48 |
//! | store time | 8 | 56 |
//! | store host | 8 or 20 | 64 |
//! | reconsume times | 4 | 72 |
//! | prepared transaction offset | 8 | 76 |
//! | body length, body | 4 + n | 84 |
//! | topic length, topic | 1 (V1) or 2 (V2) + n | |
//! | properties length, properties | 2 + n | |
//!
//! A file of the log ends with a blank: its remaining size (4 bytes) and [`MAGIC_BLANK`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::{PhysicalOffset, QueueOffset, Timestamp, name, property, sys_flag};

/// Magic of a record whose topic length takes one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Magic of a record whose topic length takes two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Magic of the blank that ends a file.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// Bytes of the blank that are written; the rest of the file keeps what it had.
pub const BLANK_LEN: usize = 8;
/// Bytes of a record without hosts, body, topic and properties, V1.
const FIXED_LEN: usize = 75;
/// Smallest record: V1, IPv4 hosts, all else empty.
pub const LEN_MIN: usize = FIXED_LEN + 16;

const AT_QUEUE_OFFSET: usize = 20;
const AT_BORN_HOST: usize = 48;
/// Most bytes before the body: both hosts are IPv6.
const FIXED_MAX: usize = 88 + 24;

/// A message on its way into the log: everything but what the log itself gives (offsets, store
/// time).
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Queue number.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// System flags; the host bits are set by [`NewRecord::encode`].
    pub sys_flag: i32,
    /// When the producer made it.
    pub born_timestamp: Timestamp,
    /// Where it came from.
    pub born_host: SocketAddr,
    /// The broker that stores it.
    pub store_host: SocketAddr,
    /// Earlier attempts.
    pub reconsume_times: i32,
    /// Position of the half message of a committed transaction.
    pub prepared_transaction_offset: i64,
    /// Body as the producer sent it.
    pub body: &'a [u8],
    /// Properties as text.
    pub properties: &'a [u8],
    /// What the queue entry holds of the tag: its Java hash, or a delivery time in the schedule
    /// topic. Not part of the record.
    pub tags_code: i64,
}

/// What the log gives a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Position in its queue.
    pub queue_offset: QueueOffset,
    /// Position in the log.
    pub physical_offset: PhysicalOffset,
    /// When it was stored.
    pub store_timestamp: Timestamp,
}

/// Why a message has no record form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// Topic longer than 255 characters.
    #[error("topic of {len} bytes is longer than {max}")]
    TopicTooLong {
        /// Its bytes.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// Properties longer than 32,767 bytes.
    #[error("properties of {len} bytes are longer than {max}", max = property::LEN_MAX)]
    PropertiesTooLong {
        /// Their bytes.
        len: usize,
    },
    /// Record longer than 2 GiB.
    #[error("body of {len} bytes is too long")]
    BodyTooLong {
        /// Its bytes.
        len: usize,
    },
}

/// CRC-32 as records hold it: 31 bits.
pub fn crc(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) & 0x7FFF_FFFF
}

fn host_len(host: SocketAddr) -> usize {
    if host.is_ipv4() { 8 } else { 20 }
}

/// The part of a record before its body, while it is put together.
struct Fixed {
    bytes: [u8; FIXED_MAX],
    len: usize,
}

impl Fixed {
    fn new() -> Self {
        Self { bytes: [0; FIXED_MAX], len: 0 }
    }

    fn put<const N: usize>(&mut self, field: [u8; N]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + N) {
            place.copy_from_slice(&field);
            self.len += N;
        }
    }

    fn put_host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(ip.octets()),
            IpAddr::V6(ip) => self.put(ip.octets()),
        }
        self.put(u32::from(host.port()).to_be_bytes());
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl NewRecord<'_> {
    fn is_v2(&self) -> bool {
        self.topic.len() > name::TOPIC_LEN_MAX
    }

    /// Bytes of the record, or why there is none.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        if self.topic.len() > name::RETRY_TOPIC_LEN_MAX {
            return Err(EncodeError::TopicTooLong {
                len: self.topic.len(),
                max: name::RETRY_TOPIC_LEN_MAX,
            });
        }
        if self.properties.len() > property::LEN_MAX {
            return Err(EncodeError::PropertiesTooLong { len: self.properties.len() });
        }
        if self.body.len() > (i32::MAX / 2) as usize {
            return Err(EncodeError::BodyTooLong { len: self.body.len() });
        }
        Ok(FIXED_LEN
            + usize::from(self.is_v2())
            + host_len(self.born_host)
            + host_len(self.store_host)
            + self.body.len()
            + self.topic.len()
            + self.properties.len())
    }

    /// Appends the record to `out`. `len` is [`Self::encoded_len`] and `body_crc` [`crc`] of the
    /// body, both computed outside the append lock.
    #[expect(clippy::cast_possible_truncation, reason = "encoded_len has bounded every length")]
    pub fn encode(&self, out: &mut Vec<u8>, len: usize, body_crc: u32, at: Placement) {
        let v2 = self.is_v2();
        let mut sys_flag = self.sys_flag & !(sys_flag::BORN_HOST_V6 | sys_flag::STORE_HOST_V6);
        if self.born_host.is_ipv6() {
            sys_flag |= sys_flag::BORN_HOST_V6;
        }
        if self.store_host.is_ipv6() {
            sys_flag |= sys_flag::STORE_HOST_V6;
        }
        // The fixed part is put together beside the buffer: one copy instead of fifteen.
        let mut head = Fixed::new();
        head.put((len as u32).to_be_bytes());
        head.put((if v2 { MAGIC_V2 } else { MAGIC_V1 }).to_be_bytes());
        head.put(body_crc.to_be_bytes());
        head.put(self.queue_id.to_be_bytes());
        head.put(self.flag.to_be_bytes());
        head.put(at.queue_offset.0.to_be_bytes());
        head.put(at.physical_offset.0.to_be_bytes());
        head.put(sys_flag.to_be_bytes());
        head.put(self.born_timestamp.0.to_be_bytes());
        head.put_host(self.born_host);
        head.put(at.store_timestamp.0.to_be_bytes());
        head.put_host(self.store_host);
        head.put(self.reconsume_times.to_be_bytes());
        head.put(self.prepared_transaction_offset.to_be_bytes());
        head.put((self.body.len() as u32).to_be_bytes());
        out.reserve(len);
        out.extend_from_slice(head.bytes());
        out.extend_from_slice(self.body);
        if v2 {
            out.extend_from_slice(&(self.topic.len() as u16).to_be_bytes());
        } else {
            out.push(self.topic.len() as u8);
        }
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&(self.properties.len() as u16).to_be_bytes());
        out.extend_from_slice(self.properties);
    }
}

/// Appends the blank that ends a file with `remaining` bytes left.
pub fn encode_blank(out: &mut Vec<u8>, remaining: u32) {
    out.extend_from_slice(&remaining.to_be_bytes());
    out.extend_from_slice(&MAGIC_BLANK.to_be_bytes());
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes end before the record does.
    #[error("the record needs {needed} bytes and {have} are there")]
    Short {
        /// Bytes the record says it has, at least.
        needed: usize,
        /// Bytes that are there.
        have: usize,
    },
    /// No magic of a record.
    #[error("{magic:#010x} is no magic of a record")]
    Magic {
        /// What stands in its place.
        magic: u32,
    },
    /// The parts do not add up to the total size, or a length is negative.
    #[error("the parts of the record do not add up to its {total} bytes")]
    Lengths {
        /// Total size that it says it has.
        total: usize,
    },
    /// The topic is no UTF-8.
    #[error("the topic is not UTF-8")]
    Topic,
    /// The body does not fit its checksum.
    #[error("the body does not fit its checksum")]
    Checksum,
}

/// What stands at a place in the log, by its first eight bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// A record of that many bytes.
    Record(usize),
    /// The end of a file: that many bytes to the next.
    Blank(usize),
}

/// Reads the first eight bytes of what stands at a place in the log.
pub fn head(bytes: &[u8]) -> Result<Head, RecordError> {
    let mut r = Reader(bytes);
    let (Some(total), Some(magic)) = (r.u32(), r.u32()) else {
        return Err(RecordError::Short { needed: 8, have: bytes.len() });
    };
    let total = total as usize;
    match magic {
        MAGIC_V1 | MAGIC_V2 if (LEN_MIN..=i32::MAX as usize).contains(&total) => {
            Ok(Head::Record(total))
        }
        MAGIC_V1 | MAGIC_V2 => Err(RecordError::Lengths { total }),
        MAGIC_BLANK if total >= BLANK_LEN => Ok(Head::Blank(total)),
        magic => Err(RecordError::Magic { magic }),
    }
}

/// A record read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Bytes of the whole record.
    pub total_len: usize,
    /// Checksum of the body, 31 bits.
    pub body_crc: u32,
    /// Queue number.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// Position in the queue.
    pub queue_offset: QueueOffset,
    /// Position in the log as the record says it; negative ones are refused.
    pub physical_offset: PhysicalOffset,
    /// System flags.
    pub sys_flag: i32,
    /// When the producer made it.
    pub born_timestamp: Timestamp,
    /// Where it came from.
    pub born_host: SocketAddr,
    /// When it was stored.
    pub store_timestamp: Timestamp,
    /// Where it was stored.
    pub store_host: SocketAddr,
    /// Earlier attempts.
    pub reconsume_times: i32,
    /// Position of the half message of a committed transaction.
    pub prepared_transaction_offset: i64,
    /// Body.
    pub body: &'a [u8],
    /// Topic.
    pub topic: &'a str,
    /// Properties as text.
    pub properties: &'a [u8],
    /// Where the body starts in the record.
    pub body_at: usize,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }
    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }
    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }
    fn host(&mut self, v6: bool) -> Option<SocketAddr> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))
        };
        // Ports take four bytes; what does not fit a port is none.
        let port = u16::try_from(self.i32()?).unwrap_or(0);
        Some(SocketAddr::new(ip, port))
    }
}

impl<'a> RecordView<'a> {
    /// Reads the record at the beginning of `bytes`, which may hold more. Lengths are checked
    /// against each other; the checksum is not ([`Self::verify`]).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let total = match head(bytes)? {
            Head::Record(total) => total,
            Head::Blank(_) => return Err(RecordError::Magic { magic: MAGIC_BLANK }),
        };
        let Some(bytes) = bytes.get(..total) else {
            return Err(RecordError::Short { needed: total, have: bytes.len() });
        };
        Self::parts(bytes, total)
            .ok_or(RecordError::Lengths { total })?
            .map_err(|_| RecordError::Topic)
    }

    fn parts(bytes: &'a [u8], total_len: usize) -> Option<Result<Self, std::str::Utf8Error>> {
        let mut r = Reader(bytes);
        let _total = r.u32()?;
        let v2 = r.u32()? == MAGIC_V2;
        let body_crc = r.u32()?;
        let queue_id = r.i32()?;
        let flag = r.i32()?;
        let queue_offset = QueueOffset(r.i64()?);
        let physical_offset = PhysicalOffset::from_i64(r.i64()?)?;
        let sys_flag = r.i32()?;
        let born_timestamp = Timestamp(r.i64()?);
        let born_host = r.host(sys_flag & sys_flag::BORN_HOST_V6 != 0)?;
        let store_timestamp = Timestamp(r.i64()?);
        let store_host = r.host(sys_flag & sys_flag::STORE_HOST_V6 != 0)?;
        let reconsume_times = r.i32()?;
        let prepared_transaction_offset = r.i64()?;
        let body_len = usize::try_from(r.i32()?).ok()?;
        let body_at = total_len - r.0.len();
        let body = r.take(body_len)?;
        let topic_len = if v2 { usize::from(r.u16()?) } else { usize::from(r.u8()?) };
        let topic = r.take(topic_len)?;
        let properties_len = usize::from(r.u16()?);
        let properties = r.take(properties_len)?;
        if !r.0.is_empty() {
            return None;
        }
        Some(std::str::from_utf8(topic).map(|topic| Self {
            total_len,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
            body_at,
        }))
    }

    /// Checks the body against its checksum.
    pub fn verify(&self) -> Result<(), RecordError> {
        if crc(self.body) == self.body_crc { Ok(()) } else { Err(RecordError::Checksum) }
    }

    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        crate::properties::find(self.properties, name)
    }

    /// The record as one that could be appended again.
    pub fn to_new(&self, tags_code: i64) -> NewRecord<'a> {
        NewRecord {
            topic: self.topic,
            queue_id: self.queue_id,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_timestamp: self.born_timestamp,
            born_host: self.born_host,
            store_host: self.store_host,
            reconsume_times: self.reconsume_times,
            prepared_transaction_offset: self.prepared_transaction_offset,
            body: self.body,
            properties: self.properties,
            tags_code,
        }
    }
}

/// Reads only the store time of a record, for searches by time.
pub fn store_timestamp(record: &[u8]) -> Option<Timestamp> {
    let sys_flag = i32::from_be_bytes(*record.get(36..)?.first_chunk()?);
    let host = if sys_flag & sys_flag::BORN_HOST_V6 != 0 { 20 } else { 8 };
    Some(Timestamp(i64::from_be_bytes(*record.get(AT_BORN_HOST + host..)?.first_chunk()?)))
}

/// Reads only the queue offset of a record.
pub fn queue_offset(record: &[u8]) -> Option<QueueOffset> {
    Some(QueueOffset(i64::from_be_bytes(*record.get(AT_QUEUE_OFFSET..)?.first_chunk()?)))
}

/// Walks records that lie back to back, as a reply to a pull holds them. Ends at the first bytes
/// that are no record.
pub fn walk(bytes: &[u8]) -> impl Iterator<Item = Result<RecordView<'_>, RecordError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let record = RecordView::parse(rest);
        rest = match &record {
            Ok(view) => rest.get(view.total_len..).unwrap_or_default(),
            Err(_) => &[],
        };
        Some(record)
    })
}

#[cfg(test)]
#[path = "record_test.rs"]
mod tests;
