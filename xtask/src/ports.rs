//! TCP ports of this machine: which are free, and who sits on the others.

use std::fs;
use std::net::TcpListener;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

/// Fails, naming the holder, if a port is still taken after a short wait (a cluster that was just killed needs a moment).
pub(crate) fn expect_free(ports: impl IntoIterator<Item = u16>, advice: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(2);
    for port in ports {
        while !is_free(port) {
            if Instant::now() > deadline {
                let by = holder(port).map_or_else(String::new, |who| format!(" by {who}"));
                bail!("port {port} is in use{by}; {advice}");
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    Ok(())
}

/// Hands out free ports below the range that the system takes outgoing ports from.
pub(crate) struct Ports {
    next: u16,
}

impl Ports {
    const RANGE: std::ops::Range<u16> = 20_000..32_000;

    /// Starts at a place that depends on the process, so that two runs seldom meet.
    pub(crate) fn new() -> Self {
        let offset = u16::try_from(process::id().wrapping_mul(40) % 11_000).unwrap_or(0);
        Self { next: Self::RANGE.start + offset }
    }

    /// A port `p` of which `p - 2` and `p + 1` are free as well: an Apache broker takes all three.
    pub(crate) fn take(&mut self) -> Result<u16> {
        for _ in 0..1000 {
            self.next += 4;
            if self.next + 1 >= Self::RANGE.end {
                self.next = Self::RANGE.start + 4;
            }
            if [self.next - 2, self.next, self.next + 1].into_iter().all(is_free) {
                return Ok(self.next);
            }
        }
        bail!("no free ports between {} and {}", Self::RANGE.start, Self::RANGE.end)
    }
}

/// The process that listens on a port, as far as this user may see it.
fn holder(port: u16) -> Option<String> {
    let socket = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .find_map(|table| listening_inode(table, port))?;
    let wanted = format!("socket:[{socket}]");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let id: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut open = fs::read_dir(process.path().join("fd")).ok()?.flatten();
        let holds = open.any(|file| {
            fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        });
        let name = fs::read_to_string(process.path().join("comm")).ok()?;
        holds.then(|| format!("process {id} ({})", name.trim()))
    })
}

fn listening_inode(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let local = format!(":{port:04X}");
    let table = fs::read_to_string(table).ok()?;
    table.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let found = words.get(1)?.ends_with(&local) && *words.get(3)? == LISTEN;
        found.then(|| words.get(9).copied().unwrap_or_default().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = expect_free([port], "try another").unwrap_err().to_string();
        assert!(
            error.contains(&format!("port {port} is in use by process {}", process::id())),
            "{error}"
        );
    }

    #[test]
    fn ports_are_handed_out_once() {
        let mut ports = Ports::new();
        assert_ne!(ports.take().unwrap(), ports.take().unwrap());
    }
}
