//! Who a client is in the eyes of brokers: `ip@instance[@unit]`.
//!
//! Brokers count members of a group by this text, and the allocation of queues is computed from it,
//! so two clients with one id consume the same queues twice.

use std::net::{IpAddr, Ipv4Addr};

use rmq_message::id::UniqueIds;
use rmq_message::{CompactString, Timestamp};
use rmq_runtime::World;

use crate::ClientConfig;

/// The instance name that stands for "none given".
pub const DEFAULT_INSTANCE: &str = "DEFAULT";

/// The id of a new client. `keep_name` leaves a missing instance name `DEFAULT` (broadcasting: the
/// offset file must be found again); otherwise it becomes process id and time.
pub(crate) fn make(world: &World, config: &ClientConfig, keep_name: bool) -> CompactString {
    let ip = config.client_ip.or_else(|| choose(&world.net.local_ips()));
    let host = match ip {
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        None => "127.0.0.1".to_owned(),
    };
    let name = config.instance_name.as_deref().unwrap_or(DEFAULT_INSTANCE);
    let name = if name == DEFAULT_INSTANCE && !keep_name {
        format!("{}#{}", std::process::id(), moment(world))
    } else {
        name.to_owned()
    };
    let unit = config.unit_name.as_deref().filter(|unit| !unit.trim().is_empty());
    match unit {
        Some(unit) => format!("{host}@{name}@{unit}").into(),
        None => format!("{host}@{name}").into(),
    }
}

/// Makes ids of messages and calls that nobody else gives: address, process, a random number, time,
/// counter.
pub fn unique_ids(world: &World) -> UniqueIds {
    let ip = world.net.local_ips().first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
    let maker = u32::try_from(world.entropy.next_u64() >> 32).unwrap_or(0);
    UniqueIds::new(ip, std::process::id(), maker, world.clock.utc_offset_ms())
}

/// Nanoseconds since 1970, moved by up to a second at random: clients of one process that start at
/// one moment must differ.
fn moment(world: &World) -> u64 {
    let now = Timestamp::from(world.clock.wall()).0.unsigned_abs();
    now.saturating_mul(1_000_000).saturating_add(world.entropy.below(1_000_000_000))
}

/// The first public IPv4 address, else the last private one, else a global IPv6 address, else any.
fn choose(ips: &[IpAddr]) -> Option<IpAddr> {
    let usable = || ips.iter().copied().filter(|ip| !ip.is_loopback());
    let is_private = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if ip.is_private());
    let is_global_v6 = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if !ip.is_unicast_link_local() && !ip.is_unique_local());
    usable()
        .find(|ip| ip.is_ipv4() && !is_private(ip))
        .or_else(|| usable().rfind(is_private))
        .or_else(|| usable().find(is_global_v6))
        .or_else(|| usable().find(IpAddr::is_ipv6))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_public_address_wins_then_the_last_private_one() {
        let chosen = |texts: &[&str]| choose(&ips(texts)).map(|ip| ip.to_string());
        let all = ["10.0.0.1", "192.168.1.1", "203.0.113.9", "203.0.113.10", "2001:db8::1"];
        assert_eq!(chosen(&all).as_deref(), Some("203.0.113.9"));
        assert_eq!(chosen(&all[..2]).as_deref(), Some("192.168.1.1"));
        assert_eq!(chosen(&["fe80::1", "2001:db8::1"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(chosen(&["fe80::1"]).as_deref(), Some("fe80::1"));
        assert_eq!(chosen(&["127.0.0.1"]), None);
    }

    #[test]
    fn only_a_missing_instance_name_becomes_process_and_time() {
        let world = World::system();
        let ip = Some("10.0.0.7".parse().unwrap());
        let config = ClientConfig { client_ip: ip, ..ClientConfig::default() };
        assert_eq!(make(&world, &config, true), "10.0.0.7@DEFAULT");
        let own = make(&world, &config, false);
        let prefix = format!("10.0.0.7@{}#", std::process::id());
        assert!(own.starts_with(&prefix), "{own}");
        assert_ne!(own, make(&world, &config, false));

        let named = ClientConfig {
            client_ip: Some("2001:db8::7".parse().unwrap()),
            instance_name: Some("a".into()),
            unit_name: Some("u".into()),
            ..ClientConfig::default()
        };
        assert_eq!(make(&world, &named, false), "[2001:db8::7]@a@u");
        let blank = ClientConfig { unit_name: Some("  ".into()), ..named };
        assert_eq!(make(&world, &blank, false), "[2001:db8::7]@a");
    }
}
