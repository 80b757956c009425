//! The machine's own addresses, read from /proc: what the serving certificate must name.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Every address of every link in this network namespace, loopback first, without link-local ones.
pub fn local() -> Vec<IpAddr> {
    let trie = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let six = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut found: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    for address in fourth(&trie).into_iter().map(IpAddr::from).chain(sixth(&six).into_iter().map(IpAddr::from)) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The address under which others reach this machine: the first that is not loopback.
pub fn primary() -> IpAddr {
    let reaches_out = |a: &IpAddr| !a.is_loopback();
    local().into_iter().find(reaches_out).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// The host name, as the kernel has it.
pub fn hostname() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_string()
}

/// The first address of a range: what the `kubernetes` Service gets.
pub fn first_of(cidr: &str) -> Option<IpAddr> {
    nth_of(cidr, 1)
}

/// The tenth one: what the `kube-dns` Service gets (kubeadm, constants.GetDNSIP). None in a range without it.
pub fn tenth_of(cidr: &str) -> Option<IpAddr> {
    nth_of(cidr, 10).filter(|address| is_in(cidr, *address))
}

fn nth_of(cidr: &str, number: u32) -> Option<IpAddr> {
    let (address, _) = cidr.split_once('/')?;
    match address.parse().ok()? {
        IpAddr::V4(a) => Some(Ipv4Addr::from(u32::from(a).checked_add(number)?).into()),
        IpAddr::V6(a) => Some(Ipv6Addr::from(u128::from(a).checked_add(number.into())?).into()),
    }
}

/// The family of a range: `IPv4`, `IPv6`; empty if it is none.
pub fn family(cidr: &str) -> &'static str {
    match first_of(cidr) {
        Some(IpAddr::V4(_)) => "IPv4",
        Some(IpAddr::V6(_)) => "IPv6",
        None => "",
    }
}

/// Whether an address lies in a range.
pub fn is_in(cidr: &str, address: IpAddr) -> bool {
    let Some((first, bits)) = cidr.split_once('/') else { return false };
    let (Ok(first), Ok(bits)) = (first.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    // Of all bits, from the left, so that both families are one case; a shift by all of them is nothing left.
    let same = |a: u128, b: u128, rest: u32| (a ^ b).checked_shr(rest).unwrap_or(0) == 0;
    match (first.to_canonical(), address.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32u32.saturating_sub(bits)),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128u32.saturating_sub(bits)),
        _ => false,
    }
}

/// Whether the server connects to an address for a client: to none that is its own loopback, or next to it
/// (pkg/proxy/util IsProxyableIP), nor to what is no single machine's.
pub fn is_far(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(a) => {
            !(a.is_loopback() || a.is_link_local() || a.is_unspecified() || a.is_multicast() || a.is_broadcast())
        }
        IpAddr::V6(a) => !(a.is_loopback() || a.is_unicast_link_local() || a.is_unspecified() || a.is_multicast()),
    }
}

/// In the trie a leaf's address stands on one line, its scope and type on the next.
fn fourth(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = last
            && !address.is_loopback()
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

fn sixth(table: &str) -> Vec<Ipv6Addr> {
    let addresses = table.lines().filter_map(|line| u128::from_str_radix(line.split_whitespace().next()?, 16).ok());
    addresses.map(Ipv6Addr::from).filter(|a| !a.is_loopback() && a.segments()[0] & 0xffc0 != 0xfe80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_read_from_the_trie() {
        let trie = "  |-- 10.0.0.0\n   /24 link UNICAST\n  |-- 10.0.0.7\n   /32 host LOCAL\n  |-- 127.0.0.1\n   /32 host LOCAL\n  |-- 10.0.0.7\n   /32 host LOCAL\n";
        assert_eq!(fourth(trie), ["10.0.0.7".parse::<Ipv4Addr>().unwrap()]);
        assert_eq!(first_of("10.96.0.0/16"), Some("10.96.0.1".parse().unwrap()));
        assert_eq!(tenth_of("10.96.0.0/28"), Some("10.96.0.10".parse().unwrap()));
        assert_eq!(tenth_of("fd00:1::/112"), Some("fd00:1::a".parse().unwrap()));
        assert_eq!(tenth_of("10.96.0.0/29"), None);
    }

    #[test]
    fn a_range_has_its_addresses_and_no_others() {
        let has = |cidr: &str, address: &str| is_in(cidr, address.parse().unwrap());
        for address in ["10.96.0.0", "10.96.255.255", "::ffff:10.96.3.4"] {
            assert!(has("10.96.0.0/16", address), "{address}");
        }
        for address in ["10.97.0.0", "10.95.255.255", "a60::"] {
            assert!(!has("10.96.0.0/16", address), "{address}");
        }
        assert!(has("0.0.0.0/0", "192.0.2.1") && has("::/0", "2001:db8::1") && has("192.0.2.1/32", "192.0.2.1"));
        assert!(has("2001:db8:96::/112", "2001:db8:96::fffe") && !has("2001:db8:96::/112", "2001:db8:96::1:0"));
        assert!(!has("", "192.0.2.1") && !has("192.0.2.0", "192.0.2.0") && !has("x/8", "10.0.0.0"));
    }
}
