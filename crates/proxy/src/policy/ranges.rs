//! Ranges of addresses and ports: without what is left out, in order, and apart from each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The addresses of blocks, each without its exceptions: what one leaves out another may have.
pub(super) fn of_blocks(blocks: &[(IpNet, Vec<IpNet>)]) -> Vec<(IpAddr, IpAddr)> {
    let mut all = Vec::new();
    for (block, except) in blocks {
        let (is_v4, (first, last)) = (block.addr().is_ipv4(), ends(block));
        let out = except.iter().filter(|out| out.addr().is_ipv4() == is_v4).map(ends);
        let left = without((first, last), apart(out.collect()));
        all.extend(left.into_iter().map(|(first, last)| (!is_v4, first, last)));
    }
    let of = |v6: bool| {
        let one = all.iter().filter(|(other, ..)| *other == v6).map(|(_, first, last)| (*first, *last));
        apart(one.collect()).into_iter().map(move |(first, last)| (address(v6, first), address(v6, last)))
    };
    of(false).chain(of(true)).collect()
}

/// Ranges that neither meet nor touch, in order.
pub(super) fn apart(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut made: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ranges {
        match made.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => made.push((first, last)),
        }
    }
    made
}

fn without((mut first, last): (u128, u128), out: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    let mut left = Vec::new();
    for (start, end) in out {
        if start > last || end < first {
            continue;
        }
        if start > first {
            left.push((first, start - 1));
        }
        match end.checked_add(1) {
            Some(next) if next <= last => first = next,
            _ => return left,
        }
    }
    left.push((first, last));
    left
}

fn ends(range: &IpNet) -> (u128, u128) {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    };
    (number(range.network()), number(range.broadcast()))
}

fn address(v6: bool, number: u128) -> IpAddr {
    match v6 {
        true => Ipv6Addr::from(number).into(),
        false => Ipv4Addr::from(number as u32).into(),
    }
}
