//! Addresses and ranges of them, as fields of any kind hold them.

use std::net::IpAddr;

use api::names;

use super::at::{At, Errors, invalid_each};

/// An address in its strict form: no leading zeros, not IPv4 within IPv6.
pub fn ip(at: &At, errors: &mut Errors) {
    match at.text().parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            errors.push(at.invalid("must not be an IPv4-mapped IPv6 address"));
        }
        Ok(_) => {}
        Err(_) => errors.push(at.invalid("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")),
    }
}

/// An address range in its strict form: no bits beyond the prefix.
pub fn cidr(at: &At, errors: &mut Errors) {
    let Some((address, length)) = at.text().split_once('/') else {
        errors.push(at.invalid(CIDR));
        return;
    };
    let (Ok(address), Ok(length)) = (address.parse::<IpAddr>(), length.parse::<u32>()) else {
        errors.push(at.invalid(CIDR));
        return;
    };
    let (bits, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    if length > width {
        errors.push(at.invalid(CIDR));
    } else if length < width && bits.unbounded_shl(128 - (width - length)) != 0 {
        errors.push(at.invalid("must not have bits set beyond the prefix length"));
    }
}

const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A DNS name of a host, and not its address.
pub fn host_name(at: &At, errors: &mut Errors) {
    invalid_each(at, names::dns_subdomain(at.text()), errors);
    no_address(at, errors);
}

/// A host by name.
pub fn no_address(at: &At, errors: &mut Errors) {
    if at.text().parse::<IpAddr>().is_ok() {
        errors.push(at.invalid("must be a DNS name, not an IP address"));
    }
}

/// An address that traffic can be sent to.
pub fn usable(at: &At, errors: &mut Errors) {
    let Ok(address) = at.text().parse::<IpAddr>() else {
        errors.push(at.invalid("must be a valid IP address"));
        return;
    };
    if address.is_unspecified() {
        errors.push(at.invalid(&format!("may not be unspecified ({})", at.text())));
    }
    if address.is_loopback() {
        errors.push(at.invalid("may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    let (unicast, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.segments()[0] & 0xffc0 == 0xfe80, v6.segments()[0] & 0xff0f == 0xff02),
    };
    if unicast {
        errors.push(at.invalid("may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
    if multicast {
        errors.push(at.invalid("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"));
    }
}
