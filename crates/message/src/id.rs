//! Message ids: where a message lies (offset id), and who it is (unique id).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::{PhysicalOffset, Timestamp};

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(*pair.first()?).to_digit(16)?;
        let low = char::from(*pair.get(1)?).to_digit(16)?;
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

fn ip_bytes(ip: IpAddr) -> ([u8; 16], usize) {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => {
            bytes[..4].copy_from_slice(&ip.octets());
            (bytes, 4)
        }
        IpAddr::V6(ip) => (ip.octets(), 16),
    }
}

/// The id of a stored message: host, port and position as upper-case hex, 32 characters (56 for
/// IPv6).
pub fn offset_id(store_host: SocketAddr, at: PhysicalOffset) -> String {
    let (ip, len) = ip_bytes(store_host.ip());
    let mut text = String::with_capacity(2 * len + 24);
    push_hex(&mut text, &ip[..len]);
    push_hex(&mut text, &u32::from(store_host.port()).to_be_bytes());
    push_hex(&mut text, &at.0.to_be_bytes());
    text
}

/// Reads an offset id.
pub fn parse_offset_id(id: &str) -> Option<(SocketAddr, PhysicalOffset)> {
    let (ip, rest) = if id.len() == 32 {
        let (ip, rest) = id.split_at_checked(8)?;
        (IpAddr::V4(Ipv4Addr::from(unhex::<4>(ip)?)), rest)
    } else {
        let (ip, rest) = id.split_at_checked(32)?;
        (IpAddr::V6(Ipv6Addr::from(unhex::<16>(ip)?)), rest)
    };
    let (port, at) = rest.split_at_checked(8)?;
    let port = u16::try_from(u32::from_be_bytes(unhex(port)?)).ok()?;
    let at = PhysicalOffset::from_i64(i64::from_be_bytes(unhex(at)?))?;
    Some((SocketAddr::new(ip, port), at))
}

/// Makes unique message ids: address, process, maker, time since the month began, counter.
#[derive(Debug)]
pub struct UniqueIds {
    prefix: String,
    utc_offset_ms: i64,
    counter: AtomicU16,
}

impl UniqueIds {
    /// `maker` tells several makers of one process apart; `utc_offset_ms` is the machine's time
    /// zone, because the month of an id is a local one.
    pub fn new(ip: IpAddr, process: u32, maker: u32, utc_offset_ms: i64) -> Self {
        let (bytes, len) = ip_bytes(ip);
        let mut prefix = hex(&bytes[..len]);
        let _infallible = write!(prefix, "{:04X}{maker:08X}", process & 0xFFFF);
        Self { prefix, utc_offset_ms, counter: AtomicU16::new(0) }
    }

    /// The next id: 32 characters (56 for an IPv6 address).
    pub fn next(&self, now: Timestamp) -> String {
        let since = since_month_start(now + self.utc_offset_ms);
        let count = self.counter.fetch_add(1, Ordering::Relaxed);
        let mut text = String::with_capacity(self.prefix.len() + 12);
        text.push_str(&self.prefix);
        push_hex(&mut text, &since.to_be_bytes());
        push_hex(&mut text, &count.to_be_bytes());
        text
    }
}

/// Milliseconds since the first of the month (less than 2^32).
fn since_month_start(local: Timestamp) -> u32 {
    const DAY_MS: i64 = 86_400_000;
    let days = local.0.div_euclid(DAY_MS);
    // Day of the month from days since 1970 (civil-from-days).
    let shifted = days + 719_468;
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5;
    u32::try_from(day * DAY_MS + local.0.rem_euclid(DAY_MS)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_ids_are_those_of_apache() {
        let host: SocketAddr = "10.0.0.1:10911".parse().unwrap();
        let id = offset_id(host, PhysicalOffset(1000));
        assert_eq!(id, "0A00000100002A9F00000000000003E8");
        assert_eq!(parse_offset_id(&id), Some((host, PhysicalOffset(1000))));
        let host: SocketAddr = "[2001:db8::7]:10911".parse().unwrap();
        assert_eq!(
            parse_offset_id(&offset_id(host, PhysicalOffset(5))),
            Some((host, PhysicalOffset(5)))
        );
    }

    #[test]
    fn texts_that_are_no_ids_are_refused() {
        for text in
            ["", "0A", "ZA00000100002A9F00000000000003E8", "0A000001000000010000000000000000FF"]
        {
            assert_eq!(parse_offset_id(text), None, "{text}");
        }
        assert_eq!(parse_offset_id("0A00000100002A9FFFFFFFFFFFFFFFFF"), None);
        assert_eq!(parse_offset_id("ä0000001000002A9F0000000000003E8"), None);
    }

    #[test]
    fn unique_ids_count_from_the_first_of_the_month() {
        assert_eq!(since_month_start(Timestamp(0)), 0);
        // 2024-02-29T12:00:00Z
        assert_eq!(since_month_start(Timestamp(1_709_208_000_000)), 28 * 86_400_000 + 43_200_000);
        // 2024-03-01T00:00:00Z
        assert_eq!(since_month_start(Timestamp(1_709_251_200_000)), 0);
        let ids = UniqueIds::new("10.1.2.3".parse().unwrap(), 0x1_2345, 7, 0);
        assert_eq!(ids.next(Timestamp(1)), "0A010203234500000007000000010000");
        assert_eq!(ids.next(Timestamp(1)), "0A010203234500000007000000010001");
    }
}
