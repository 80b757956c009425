//! What the server gives a service, and nobody else may have then: addresses and ports of nodes. Pure.
//!
//! Matches pkg/registry/core/service/{storage/alloc.go, ipallocator, portallocator}. What is given out is taken
//! from the upper part of a range first, so that who asks for one by name finds it free in the lower part.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use api::{FieldError, tree};
use serde_json::{Value, json};

use super::{checks_health, families, takes_node_ports};
use crate::validate::address::Range;

/// What no two services share; a port of nodes is one service's whatever its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holding {
    Address(IpAddr),
    Port(u16),
}

/// Ports of nodes that services may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

/// What there is to give, as one decision sees it.
pub struct Supply<'a> {
    /// Those that are ready, of the cluster's family.
    pub ranges: &'a [Range],
    pub ports: PortRange,
    /// Whether somebody has it.
    pub is_taken: &'a dyn Fn(Holding) -> bool,
    /// Takes it for this write; false: somebody has it, or is about to.
    pub reserve: &'a mut dyn FnMut(Holding) -> bool,
    /// Any number below one that is not 0.
    pub random: &'a mut dyn FnMut(u64) -> u64,
    pub dry_run: bool,
}

/// Why a service gets nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    Invalid(FieldError),
    /// An internal error to upstream.
    Internal(String),
    /// Upstream has no kind of error for it.
    Unknown(String),
}

const FULL: &str = "range is full";
const TAKEN: &str = "provided IP is already allocated";
const PORT_TAKEN: &str = "provided port is already allocated";
/// What a dry run shows for a port; each further one is the next.
const DRY_PORT: i64 = 32769;

/// What a service holds.
pub fn holdings(service: &Value) -> BTreeSet<Holding> {
    let spec = tree::at(service, "spec");
    let mut held = BTreeSet::new();
    if tree::text(spec, "type") != "ExternalName" {
        let addresses = tree::list(spec, "clusterIPs").iter().filter_map(|ip| ip.as_str()?.parse().ok());
        held.extend(addresses.map(Holding::Address));
    }
    let port = |number: Option<i64>| number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0).map(Holding::Port);
    if takes_node_ports(spec) {
        held.extend(tree::list(spec, "ports").iter().filter_map(|one| port(tree::int(one, "nodePort"))));
    }
    if checks_health(spec) {
        held.extend(port(tree::int(spec, "healthCheckNodePort")));
    }
    held
}

/// Gives a new or changed service what it lacks. Its families are settled by now.
pub fn assign(service: &mut Value, old: Option<&Value>, supply: &mut Supply) -> Result<(), Refusal> {
    let was = old.map(|old| tree::at(old, "spec"));
    let name = tree::text(service, "metadata.name").to_owned();
    let Some(spec) = service.get_mut("spec").filter(|spec| spec.is_object()) else { return Ok(()) };
    let gets_address = match was {
        None => true,
        Some(was) if families::stays_preferred(spec, was) => false,
        // One that was stored before addresses were given gets its own with the first change.
        Some(was) => tree::text(was, "type") == "ExternalName" || tree::list(was, "clusterIPs").is_empty(),
    };
    if gets_address {
        addresses(spec, &name, supply)?;
    }
    let mut ports = Ports { supply, taken: Vec::new() };
    match was {
        _ if !takes_node_ports(spec) => {}
        None => ports.of_new(spec)?,
        Some(was) => ports.of_changed(spec, was)?,
    }
    if checks_health(spec) && !was.is_some_and(checks_health) {
        ports.of_health_check(spec)?;
    }
    Ok(())
}

/// One of each of its families.
fn addresses(spec: &mut Value, name: &str, supply: &mut Supply) -> Result<(), Refusal> {
    let mut ips: Vec<Value> = tree::list(spec, "clusterIPs").to_vec();
    if tree::text(spec, "type") == "ExternalName" || ips.first().is_some_and(|ip| ip == "None") {
        return Ok(());
    }
    let count = tree::list(spec, "ipFamilies").len();
    let shown = ips.clone();
    let refused = |shown: &[Value], detail: String| {
        Refusal::Invalid(FieldError::invalid("spec.clusterIPs", &json!(shown), &detail))
    };
    for index in 0..count {
        match ips.get(index).and_then(Value::as_str).filter(|ip| !ip.is_empty()) {
            Some(ip) => {
                claimed(ip, supply).map_err(|why| refused(&shown, format!("failed to allocate IP {ip}: {why}")))?
            }
            None => {
                let mut shown = shown.clone();
                shown.resize(count, json!(""));
                ips.truncate(index);
                ips.push(json!(given(supply).map_err(|why| match why {
                    FULL => Refusal::Internal(format!("failed to allocate a serviceIP for Service {name:?}: {FULL}")),
                    why => refused(&shown, format!("failed to allocate IP: {why}")),
                })?));
            }
        }
    }
    if let Some(first) = ips.first() {
        spec["clusterIP"] = first.clone();
        spec["clusterIPs"] = Value::Array(ips);
    }
    Ok(())
}

/// Whether an address that is asked for can be had.
fn claimed(ip: &str, supply: &Supply) -> Result<(), String> {
    let address: IpAddr = ip.parse().map_err(|_| "it cannot be read".to_owned())?;
    match supply.ranges.first() {
        // A dry run asks any one range, and nobody whether it is taken.
        Some(range) if supply.dry_run => match range.gives(address) {
            true => Ok(()),
            false => {
                Err(format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"))
            }
        },
        _ if !supply.ranges.iter().any(|range| range.gives(address)) => {
            Err("the provided network does not match the current range".into())
        }
        _ if (supply.is_taken)(Holding::Address(address)) => Err(TAKEN.into()),
        _ => Ok(()),
    }
}

/// Any address that is free.
fn given(supply: &mut Supply) -> Result<String, &'static str> {
    if supply.dry_run {
        return supply.ranges.first().map(|range| range.network_address().to_string()).ok_or("allocator not ready");
    }
    for range in supply.ranges {
        let Some((first, last)) = range.given() else { continue };
        let offset = band(range.size(), 16, 16, 256).min(last - first);
        let mut take = |number: u128| (supply.reserve)(Holding::Address(range.address(number)));
        let found = search(first + offset, last, supply.random, &mut take)
            .or_else(|| search(first, (first + offset).checked_sub(1)?, supply.random, &mut take));
        if let Some(number) = found {
            return Ok(range.address(number).to_string());
        }
    }
    Err(FULL)
}

/// How many at the start of a range are kept for who asks for one by name (KEP-3070, calculateRangeOffset).
fn band(size: u128, step: u128, least: u128, most: u128) -> u128 {
    if size <= least { 0 } else { (size / step).clamp(least, most) }
}

/// The first from anywhere between two that can be taken, both included.
fn search(
    first: u128,
    last: u128,
    random: &mut dyn FnMut(u64) -> u64,
    take: &mut dyn FnMut(u128) -> bool,
) -> Option<u128> {
    let count = last.checked_sub(first)? + 1;
    let start = u128::from(random(u64::try_from(count).unwrap_or(u64::MAX)));
    (0..count).map(|step| first + (start + step) % count).find(|number| take(*number))
}

/// What a service takes of the ports of nodes.
struct Ports<'s, 'a> {
    supply: &'s mut Supply<'a>,
    /// By this write.
    taken: Vec<i64>,
}

impl Ports<'_, '_> {
    /// Ports of the same number share the port of nodes (initNodePorts).
    fn of_new(&mut self, spec: &mut Value) -> Result<(), Refusal> {
        let allocates = allocates(spec);
        let asked: Vec<(i64, i64)> = tree::list(spec, "ports").iter().map(numbers).collect();
        let mut by_number: Vec<(i64, i64)> = Vec::new();
        for (index, port) in tree::each(spec, "ports").enumerate() {
            let (number, node_port) = numbers(port);
            if node_port == 0 && !allocates {
                continue;
            }
            let shared = by_number.iter().find(|(known, _)| *known == number).map(|(_, shared)| *shared);
            match shared {
                None => {
                    let wanted = asked.iter().find(|(known, node_port)| *known == number && *node_port != 0);
                    let got = match wanted {
                        Some((_, wanted)) => self.claim(*wanted).map_err(|why| invalid(index, *wanted, &why))?,
                        None => self.give().map_err(not_given)?,
                    };
                    port["nodePort"] = json!(got);
                    by_number.push((number, got));
                }
                Some(shared) if node_port == 0 => port["nodePort"] = json!(shared),
                Some(shared) if node_port == shared => {}
                Some(_) => drop(self.claim(node_port).map_err(|why| invalid(index, node_port, &why))?),
            }
        }
        Ok(())
    }

    /// What it had it keeps (updateNodePorts).
    fn of_changed(&mut self, spec: &mut Value, was: &Value) -> Result<(), Refusal> {
        let allocates = allocates(spec);
        let had: Vec<i64> = tree::list(was, "ports").iter().map(|port| numbers(port).1).filter(|n| *n != 0).collect();
        let mut seen: Vec<(String, i64)> = Vec::new();
        for (index, port) in tree::each(spec, "ports").enumerate() {
            let protocol = tree::text(port, "protocol").to_owned();
            let node_port = match numbers(port).1 {
                0 if !allocates => continue,
                0 => {
                    let given = self.give().map_err(not_given)?;
                    port["nodePort"] = json!(given);
                    given
                }
                known if had.contains(&known) && takes_node_ports(was) || self.taken.contains(&known) => known,
                asked => self.claim(asked).map_err(|why| invalid(index, asked, &why))?,
            };
            let one = (protocol, node_port);
            if seen.contains(&one) {
                return Err(Refusal::Unknown(format!("duplicate nodePort: {{{} {node_port}}}", one.0)));
            }
            seen.push(one);
        }
        Ok(())
    }

    fn of_health_check(&mut self, spec: &mut Value) -> Result<(), Refusal> {
        match tree::int(spec, "healthCheckNodePort").unwrap_or(0) {
            0 => {
                let given = self.give();
                spec["healthCheckNodePort"] = json!(given.map_err(|why| {
                    Refusal::Internal(format!("failed to allocate a HealthCheck NodePort 0: {why}"))
                })?);
            }
            asked => drop(self.claim(asked).map_err(|why| {
                Refusal::Internal(format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"))
            })?),
        }
        Ok(())
    }

    fn claim(&mut self, asked: i64) -> Result<i64, String> {
        let range = self.supply.ports;
        let port = u16::try_from(asked).ok().filter(|port| range.contains(*port));
        // A dry run asks only who has it.
        if port.is_none() && !self.supply.dry_run {
            return Err(format!("provided port is not in the valid range. The range of valid ports is {range}"));
        }
        if self.taken.contains(&asked) || port.is_some_and(|port| (self.supply.is_taken)(Holding::Port(port))) {
            return Err(PORT_TAKEN.into());
        }
        self.taken.push(asked);
        Ok(asked)
    }

    fn give(&mut self) -> Result<i64, String> {
        let given = match self.supply.dry_run {
            true => self.taken.iter().max().map_or(DRY_PORT, |last| last + 1),
            false => {
                let range = self.supply.ports;
                let (first, last) = (u128::from(range.first), u128::from(range.last));
                let offset = band(last + 1 - first, 32, 16, 128);
                let taken = &self.taken;
                let reserve = &mut *self.supply.reserve;
                let mut take = |number: u128| {
                    let port = u16::try_from(number).expect("of a range of ports");
                    !taken.contains(&i64::from(port)) && reserve(Holding::Port(port))
                };
                let random = &mut *self.supply.random;
                let found = search(first + offset, last, random, &mut take)
                    .or_else(|| search(first, (first + offset).checked_sub(1)?, random, &mut take));
                i64::try_from(found.ok_or(FULL)?).expect("of a range of ports")
            }
        };
        self.taken.push(given);
        Ok(given)
    }
}

/// The port's own number and that of nodes; 0: none.
fn numbers(port: &Value) -> (i64, i64) {
    (tree::int(port, "port").unwrap_or(0), tree::int(port, "nodePort").unwrap_or(0))
}

fn allocates(spec: &Value) -> bool {
    tree::text(spec, "type") == "NodePort" || tree::flag(spec, "allocateLoadBalancerNodePorts")
}

fn invalid(index: usize, port: i64, why: &str) -> Refusal {
    Refusal::Invalid(FieldError::invalid(&format!("spec.ports[{index}].nodePort"), &json!(port), why))
}

fn not_given(why: String) -> Refusal {
    Refusal::Internal(format!("failed to allocate a nodePort: {why}"))
}

impl Default for PortRange {
    fn default() -> PortRange {
        PortRange { first: 30000, last: 32767 }
    }
}

impl PortRange {
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = String;

    /// `30000-32767`, `30000+100` or one port (apimachinery util/net ParsePortRange).
    fn from_str(text: &str) -> Result<PortRange, String> {
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| format!("{text:?} is no port"));
        let (first, last) = match (text.split_once('-'), text.split_once('+')) {
            (Some((first, last)), _) => (number(first)?, number(last)?),
            (None, Some((first, more))) => {
                let (first, more) = (number(first)?, number(more)?);
                (first, first.checked_add(more).ok_or_else(|| format!("{text:?} goes beyond port 65535"))?)
            }
            (None, None) => (number(text)?, number(text)?),
        };
        match first {
            0 => Err("port 0 is no port of a node".into()),
            _ if first > last => Err(format!("{text:?} ends before it begins")),
            _ => Ok(PortRange { first, last }),
        }
    }
}

#[cfg(test)]
mod tests;
