//! A pool that load balancers have their addresses of: `192.0.2.0/28` or `192.0.2.10-192.0.2.20`.
//!
//! Of a range neither the network's own address nor that to all is given (IPv4), of two named addresses both.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// Addresses from one to another, both included, of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPool {
    first: IpAddr,
    last: IpAddr,
}

impl AddressPool {
    pub fn contains(&self, address: IpAddr) -> bool {
        // Addresses of different families are in the order of the families.
        address.is_ipv4() == self.first.is_ipv4() && (self.first..=self.last).contains(&address)
    }

    /// Whether they have an address in common.
    pub fn overlaps(&self, range: &IpNet) -> bool {
        self.first.is_ipv4() == range.addr().is_ipv4()
            && self.first <= range.broadcast()
            && range.network() <= self.last
    }

    /// In their order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let is_v4 = self.first.is_ipv4();
        (number(self.first)..=number(self.last)).map(move |number| match is_v4 {
            true => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
            false => IpAddr::V6(Ipv6Addr::from_bits(number)),
        })
    }
}

impl FromStr for AddressPool {
    type Err = String;

    fn from_str(text: &str) -> Result<AddressPool, String> {
        let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| format!("{text:?} is no address"));
        let (first, last) = match (text.parse::<IpNet>(), text.split_once('-')) {
            (Ok(range), _) => {
                let is_wide = range.addr().is_ipv4() && range.prefix_len() < 31;
                let hosts = AddressPool { first: range.network(), last: range.broadcast() };
                match is_wide {
                    true => (after(hosts.first, 1), after(hosts.last, -1)),
                    false => (hosts.first, hosts.last),
                }
            }
            (Err(_), Some((first, last))) => (address(first)?, address(last)?),
            (Err(_), None) => {
                let one =
                    address(text).map_err(|_| format!("{text:?} is no range: 192.0.2.0/28, 192.0.2.1-192.0.2.9"))?;
                (one, one)
            }
        };
        if first.is_ipv4() != last.is_ipv4() || first > last {
            return Err(format!("{text:?} ends before it begins"));
        }
        Ok(AddressPool { first, last })
    }
}

/// Of an address of IPv4 that is not at the end of all.
fn after(address: IpAddr, step: i32) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().wrapping_add_signed(step)).into(),
        other => other,
    }
}

impl fmt::Display for AddressPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_a_range_two_addresses_or_one() {
        for (text, then) in [
            ("192.0.2.0/28", Ok("192.0.2.1-192.0.2.14")),
            ("192.0.2.6/31", Ok("192.0.2.6-192.0.2.7")),
            ("192.0.2.7/32", Ok("192.0.2.7-192.0.2.7")),
            ("192.0.2.7", Ok("192.0.2.7-192.0.2.7")),
            ("192.0.2.10-192.0.2.20", Ok("192.0.2.10-192.0.2.20")),
            ("2001:db8::/126", Ok("2001:db8::-2001:db8::3")),
            ("192.0.2.9-192.0.2.1", Err("\"192.0.2.9-192.0.2.1\" ends before it begins")),
            ("192.0.2.9-2001:db8::", Err("\"192.0.2.9-2001:db8::\" ends before it begins")),
            ("x", Err("\"x\" is no range: 192.0.2.0/28, 192.0.2.1-192.0.2.9")),
        ] {
            let read = text.parse::<AddressPool>().map(|pool| pool.to_string());
            assert_eq!(read, then.map(String::from).map_err(String::from), "{text}");
        }
        let pool: AddressPool = "192.0.2.8-192.0.2.9".parse().unwrap();
        let all: Vec<IpAddr> = pool.addresses().collect();
        assert_eq!(all, ["192.0.2.8", "192.0.2.9"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        let has = |ip: &str| pool.contains(ip.parse().unwrap());
        let meets = |range: &str| pool.overlaps(&range.parse().unwrap());
        assert!(meets("192.0.2.0/24") && meets("192.0.2.9/32") && !meets("192.0.2.0/29") && !meets("2001:db8::/32"));
        assert!(has("192.0.2.8") && !has("192.0.2.7") && !has("192.0.2.10") && !has("2001:db8::"));
    }
}
