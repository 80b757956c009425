//! Addresses and ranges of them, as fields of any kind hold them.
//!
//! Matches apimachinery pkg/util/validation/ip.go, with StrictIPCIDRValidation.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use api::names;

use super::at::{At, Errors, invalid_each};

/// An address in its strict form: no leading zeros, not IPv4 within IPv6.
pub fn ip(at: &At, errors: &mut Errors) {
    match at.text().parse::<IpAddr>() {
        Ok(address) if is_mapped(address) => errors.push(at.invalid("must not be an IPv4-mapped IPv6 address")),
        Ok(_) => {}
        Err(_) if sloppy(at.text()).is_some() => errors.push(at.invalid("must not have leading 0s")),
        Err(_) => errors.push(at.invalid("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")),
    }
}

/// `ip` as newer fields have it: written in the one canonical way.
pub fn canonical_ip(at: &At, errors: &mut Errors) {
    canonical(at, ip, |text| Some(text.parse::<IpAddr>().ok()?.to_string()), errors);
}

/// An address range in its strict form: no leading zeros, no bits beyond the prefix.
pub fn cidr(at: &At, errors: &mut Errors) {
    let why = match Range::sloppy(at.text()) {
        None => "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        Some(_) if has_leading_zeros(at.text()) => "must not have leading 0s in IP or prefix length",
        Some(range) if is_mapped(range.address) => "must not have an IPv4-mapped IPv6 address",
        Some(range) if range.bits() != range.network() => "must not have bits set beyond the prefix length",
        Some(_) => return,
    };
    errors.push(at.invalid(why));
}

/// `cidr` as newer fields have it: written in the one canonical way.
pub fn canonical_cidr(at: &At, errors: &mut Errors) {
    canonical(at, cidr, |text| Some(Range::sloppy(text)?.to_string()), errors);
}

/// apimachinery util/validation GetWarningsForIP; the forms that its other line is about are refused.
pub fn ip_warnings(at: &At, out: &mut Vec<String>) {
    let Ok(address) = at.text().parse::<Ipv6Addr>() else { return };
    let preferred = address.to_string();
    if preferred != at.text() {
        let shown = at.text();
        out.push(format!(
            "{}: IPv6 address {shown:?} should be in RFC 5952 canonical format ({preferred:?})",
            at.path()
        ));
    }
}

/// What is told of a range that is good enough, but not as it should be written.
pub fn cidr_warnings(at: &At) -> Vec<String> {
    let (path, text) = (at.path(), at.text());
    let Some(range) = Range::sloppy(text) else { return Vec::new() };
    let mut warnings = Vec::new();
    if range.bits() != range.network() {
        let single = format!("{}/{}", range.address, width(range.address));
        warnings.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be {:?} or {single:?}?)",
            range.to_string()
        ));
    }
    if has_leading_zeros(text) || is_mapped(range.address) {
        warnings.push(format!("{path}: non-standard CIDR value {text:?} is invalid: use {:?}", range.to_string()));
    }
    let form = format!("{}/{}", range.address, range.length);
    if warnings.is_empty() && !range.is_ipv4() && form != text {
        warnings.push(format!("{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format ({form:?})"));
    }
    warnings
}

fn has_leading_zeros(cidr: &str) -> bool {
    cidr.split_once('/').is_some_and(|(address, length)| {
        address.parse::<IpAddr>().is_err() || (length.len() > 1 && length.starts_with('0'))
    })
}

/// An address and the length of its range, `10.9.8.7/24`, in the one canonical way (IsValidInterfaceAddress).
pub fn interface(at: &At, errors: &mut Errors) {
    let Some(Range { address, length }) = Range::sloppy(at.text()) else {
        return errors.push(at.invalid("must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"));
    };
    let length = if is_mapped(address) && length > 32 { length - 96 } else { length };
    let form = format!("{}/{length}", address.to_canonical());
    if form != at.text() {
        errors.push(at.invalid(&format!("must be in canonical form ({form:?})")));
    }
}

fn canonical(at: &At, rule: fn(&At, &mut Errors), form: fn(&str) -> Option<String>, errors: &mut Errors) {
    let before = errors.len();
    rule(at, errors);
    if let Some(form) = form(at.text()).filter(|form| errors.len() == before && form != at.text()) {
        errors.push(at.invalid(&format!("must be in canonical form ({form:?})")));
    }
}

/// A range of addresses, shown in its canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    address: IpAddr,
    length: u32,
}

impl Range {
    /// Of any text that upstream can read, strict or not.
    pub fn sloppy(text: &str) -> Option<Range> {
        let (address, length) = text.split_once('/')?;
        let address = sloppy(address)?;
        let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
        let length = length.parse().ok().filter(|length| digits && *length <= width(address))?;
        Some(Range { address, length })
    }

    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether it lies in the other and is smaller.
    pub fn is_strictly_within(&self, other: &Range) -> bool {
        let masked = Range { length: other.length, ..*self };
        self.is_ipv4() == other.is_ipv4() && self.length > other.length && masked.network() == other.network()
    }

    /// Whether services get addresses of it: a range of IPv6 that is too wide is none of theirs.
    fn is_given(&self) -> bool {
        self.is_ipv4() || self.length >= 64
    }

    /// How many addresses it spans; of such as none can be given of, 0 (utils net RangeSize).
    pub fn size(&self) -> u128 {
        match width(self.address) - self.length {
            host if host >= width(self.address) - 1 => 0,
            host => 1 << host,
        }
    }

    /// The first and last address that can be given, as numbers: not the network's own, nor that of IPv4 to all.
    pub fn given(&self) -> Option<(u128, u128)> {
        let last = self.network() + (1u128.unbounded_shl(width(self.address) - self.length)).wrapping_sub(1);
        let (first, last) = (self.network() + 1, last - u128::from(self.is_ipv4()));
        (self.is_given() && first <= last).then_some((first, last))
    }

    /// Whether an address is one that can be given (pkg/api/servicecidr PrefixContainsIP).
    pub fn gives(&self, address: IpAddr) -> bool {
        let other = Range { address, length: self.length };
        let is_between = |(first, last): (u128, u128)| (first..=last).contains(&other.bits());
        address.is_ipv4() == self.is_ipv4() && self.given().is_some_and(is_between)
    }

    /// The address of a number.
    pub fn address(&self, number: u128) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => IpAddr::V4((number as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(number.into()),
        }
    }

    pub fn network_address(&self) -> IpAddr {
        self.address(self.network())
    }

    fn bits(&self) -> u128 {
        match self.address {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        }
    }

    fn network(&self) -> u128 {
        let host = width(self.address) - self.length;
        self.bits().unbounded_shr(host).unbounded_shl(host)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network_address(), self.length)
    }
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// An address of which the parts may begin with zeros (k8s.io/utils net ParseIPSloppy).
fn sloppy(text: &str) -> Option<IpAddr> {
    let trimmed = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        part => part.to_owned(),
    };
    let strict = || text.split('.').map(trimmed).collect::<Vec<_>>().join(".");
    text.parse().ok().or_else(|| strict().parse().ok().filter(|_| !text.contains(':')))
}

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
