//! Doors that only one crate may open: sockets and `unsafe` belong to `rmq-runtime`.

use super::finding;
use super::source::{SourceFile, is_word};

const RUNTIME: &str = "crates/runtime/src/";
const UNSAFE_ROOM: &str = "crates/runtime/src/system";
/// Addresses are values and may go everywhere.
const ADDRESSES: &[&str] = &[
    "SocketAddr",
    "SocketAddrV4",
    "SocketAddrV6",
    "IpAddr",
    "Ipv4Addr",
    "Ipv6Addr",
    "AddrParseError",
];

/// One finding for each crossing.
pub(super) fn check(file: &SourceFile) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in file.product() {
        if !file.path.starts_with(RUNTIME) {
            for net in ["std::net", "tokio::net"] {
                if line.split(net).skip(1).any(|after| !only_addresses(after)) {
                    findings.push(finding(
                        file,
                        number,
                        &format!("`{net}`: sockets are reached through rmq_runtime::Net"),
                    ));
                }
            }
        }
        if !file.path.starts_with(UNSAFE_ROOM)
            && line.split(|c| !is_word(c)).any(|word| word == "unsafe")
        {
            findings.push(finding(file, number, &format!("`unsafe` lives in {UNSAFE_ROOM} only")));
        }
    }
    findings
}

/// What follows `std::net` up to the end of the path or the braces names addresses only.
fn only_addresses(after: &str) -> bool {
    let Some(path) = after.strip_prefix("::") else { return false };
    let names = match path.strip_prefix('{') {
        Some(list) => list.split('}').next().unwrap_or_default(),
        None => path.split(|c| !is_word(c)).next().unwrap_or_default(),
    };
    names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .all(|name| ADDRESSES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check(&SourceFile::new(path.to_owned(), text)).len()
    }

    #[test]
    fn sockets_are_found_and_addresses_are_not() {
        assert_eq!(
            findings(
                "crates/broker/src/a.rs",
                "use std::net::{IpAddr, SocketAddr};\nfn a(b: std::net::SocketAddr) {}"
            ),
            0
        );
        assert_eq!(
            findings(
                "crates/broker/src/a.rs",
                "use std::net::{IpAddr, TcpStream};\nuse tokio::net::TcpListener;\nuse std::net;"
            ),
            3
        );
        assert_eq!(findings("crates/runtime/src/system/net.rs", "use tokio::net::TcpListener;"), 0);
    }

    #[test]
    fn unsafe_is_found_outside_its_room_only() {
        assert_eq!(
            findings("crates/store/src/a.rs", "unsafe { a() }\n// unsafe\n#[expect(unsafe_code)]"),
            1
        );
        assert_eq!(findings("crates/runtime/src/system/mmap.rs", "unsafe { a() }"), 0);
    }
}
