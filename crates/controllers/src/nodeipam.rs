//! Each node gets its ranges of pod addresses, one of each family, once.
//!
//! pkg/controller/nodeipam (ipam/range_allocator.go, ipam/cidrset): `spec.podCIDRs` are cut from the
//! cluster's ranges; no two nodes are ever given the same. One node after the other, and what was written is
//! held before it is seen: a write whose answer was lost is made again with the same ranges. A freed range
//! is given last; a node that comes back gets what it had, if nobody else has it by then. (Both are
//! forgotten when the server ends.)

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use api::resource::NODES;
use api::{Object, Reason, Status};
use client::reconcile::{self, Requeue};
use client::recorder::Type;
use client::{Key, PatchKind};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;

use crate::Parts;

/// As upstream (cidrset clusterSubnetMaxDiff): more are not counted out.
const BITS_MAX: u8 = 16;

/// A range of the cluster, and how large a node's part of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRange {
    cluster: IpNet,
    /// Bits of a node's prefix.
    mask: u8,
}

impl NodeRange {
    /// Errors say what does not fit; who asks knows the flags.
    pub fn new(cluster: IpNet, mask: u8) -> Result<NodeRange, String> {
        let (least, most) = (cluster.prefix_len(), cluster.max_prefix_len() - 2);
        if mask < least || mask > most {
            return Err(format!("/{mask} is no part of {cluster} with room for a pod: from /{least} to /{most}"));
        }
        if mask - least > BITS_MAX {
            return Err(format!("/{mask} cuts {cluster} into too many parts: /{} at most", least + BITS_MAX));
        }
        Ok(NodeRange { cluster: cluster.trunc(), mask })
    }

    fn count(&self) -> u128 {
        1 << (self.mask - self.cluster.prefix_len())
    }

    /// Addresses of a part, as a power of two.
    fn shift(&self) -> u8 {
        self.cluster.max_prefix_len() - self.mask
    }

    fn part(&self, number: u128) -> IpNet {
        let first = bits(self.cluster.network()) + (number << self.shift());
        let address = match self.cluster {
            IpNet::V4(_) => IpAddr::from(Ipv4Addr::from(first as u32)),
            IpNet::V6(_) => Ipv6Addr::from(first).into(),
        };
        IpNet::new(address, self.mask).expect("the mask is of the family")
    }

    /// Which parts a range has addresses of.
    fn touched_by(&self, range: &IpNet) -> Option<RangeInclusive<u128>> {
        if range.max_prefix_len() != self.cluster.max_prefix_len() {
            return None;
        }
        let first = bits(range.network()).max(bits(self.cluster.network()));
        let last = bits(range.broadcast()).min(bits(self.cluster.broadcast()));
        let number = |address: u128| (address - bits(self.cluster.network())) >> self.shift();
        (first <= last).then(|| number(first)..=number(last))
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

pub async fn run(parts: Arc<Parts>) {
    if parts.config.node_ranges.is_empty() {
        return std::future::pending().await;
    }
    let nodes = parts.cache(&NODES);
    nodes.synced().await;
    let mut ledger = Ledger::of(&parts.config.node_ranges);
    ledger.hold("", parts.config.service_range.into_iter().collect());
    for node in nodes.list() {
        ledger.note(&node.meta().name, Some(ranges_of(&node)));
    }
    let ledger = Arc::new(Mutex::new(ledger));
    let work = |key: Key| {
        let (parts, ledger) = (parts.clone(), ledger.clone());
        async move { keep(&parts, &ledger, &key).await }
    };
    // Each sees in the ledger what the ones before were given; that it is durable, thousands need not wait for in turn.
    reconcile::run(nodes.subscribe().keys(), 16, work).await;
}

async fn keep(parts: &Parts, ledger: &Mutex<Ledger>, key: &Key) -> Result<Requeue, Status> {
    let ledger = || ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let node = parts.cache(&NODES).get("", &key.name);
    ledger().note(&key.name, node.as_ref().map(ranges_of));
    let waiting = match node {
        Some(node) => vec![node],
        // What it had may be what others wait for.
        None => {
            let names: Vec<String> = ledger().waiting.iter().cloned().collect();
            names.iter().filter_map(|name| parts.cache(&NODES).get("", name)).collect()
        }
    };
    let mut result = Ok(Requeue::Done);
    for node in waiting.iter().filter(|node| ranges_of(node).is_empty()) {
        let name = &node.meta().name;
        let (ranges, is_new) = ledger().give(name);
        let Some(ranges) = ranges else {
            if is_new {
                let message = format!("Node {name} status is now: CIDRNotAvailable");
                parts.recorder.event(node, "", Type::Normal, "CIDRNotAvailable", message);
            }
            continue;
        };
        let patch = json!({"metadata": {"uid": node.meta().uid},
            "spec": {"podCIDR": ranges[0].to_string(), "podCIDRs": ranges}});
        match parts.client.patch(&NODES, "", name, "", PatchKind::Merge, &patch).await {
            Ok(written) => parts.cache(&NODES).reached(written.revision()).await,
            // It is gone, or another of its name: that change comes, or came while this waited.
            Err(status) if matches!(status.reason, Reason::NotFound | Reason::Conflict) => {
                if parts.cache(&NODES).get("", name).is_none() {
                    ledger().note(name, None);
                } else if status.reason == Reason::Conflict {
                    result = Err(status);
                }
            }
            Err(status) => {
                let message = format!("Node {name} status is now: CIDRAssignmentFailed");
                parts.recorder.event(node, "", Type::Normal, "CIDRAssignmentFailed", message);
                result = Err(status);
            }
        }
    }
    result
}

/// Which node has which part.
#[derive(Debug, Default)]
struct Ledger {
    ranges: Vec<Shared>,
    /// By node: what it has, or was given and does not show yet.
    held: BTreeMap<String, Vec<IpNet>>,
    /// What nodes had that are gone.
    former: BTreeMap<String, Vec<IpNet>>,
    /// Nodes for which there was nothing left.
    waiting: std::collections::BTreeSet<String>,
}

/// A range of the cluster, and how many hold each part of it: two, where an earlier version gave it twice.
#[derive(Debug)]
struct Shared {
    range: NodeRange,
    holders: BTreeMap<u128, usize>,
    /// Where the search goes on.
    next: u128,
}

impl Ledger {
    fn of(ranges: &[NodeRange]) -> Ledger {
        let shared = |range: &NodeRange| Shared { range: *range, holders: BTreeMap::new(), next: 0 };
        Ledger { ranges: ranges.iter().map(shared).collect(), ..Ledger::default() }
    }

    /// What a node shows; None: it is gone.
    fn note(&mut self, node: &str, shown: Option<Vec<IpNet>>) {
        match shown {
            // What it was given may not be seen yet.
            Some(ranges) if ranges.is_empty() => {}
            Some(ranges) => {
                self.waiting.remove(node);
                self.release(node);
                self.hold(node, ranges);
            }
            None => {
                self.waiting.remove(node);
                if let Some(ranges) = self.release(node) {
                    self.former.insert(node.into(), ranges);
                }
            }
        }
    }

    /// What a node is to have; None: nothing is left, and whether that is new.
    fn give(&mut self, node: &str) -> (Option<Vec<IpNet>>, bool) {
        if let Some(held) = self.held.get(node) {
            return (Some(held.clone()), false);
        }
        let former =
            self.former.get(node).filter(|ranges| self.are_parts(ranges) && ranges.iter().all(|r| self.is_free(r)));
        let found = match former {
            Some(ranges) => Some(ranges.clone()),
            None => self.ranges.iter_mut().map(Shared::find).collect(),
        };
        let Some(ranges) = found else { return (None, self.waiting.insert(node.into())) };
        self.former.retain(|_, former| !former.iter().any(|range| ranges.contains(range)));
        self.hold(node, ranges.clone());
        (Some(ranges), true)
    }

    /// One of each of the cluster's ranges, as `find` gives them.
    fn are_parts(&self, ranges: &[IpNet]) -> bool {
        let is_part = |(shared, range): (&Shared, &IpNet)| {
            let parts = shared.range.touched_by(range);
            parts.is_some_and(|mut parts| parts.next().is_some_and(|part| shared.range.part(part) == *range))
        };
        ranges.len() == self.ranges.len() && self.ranges.iter().zip(ranges).all(is_part)
    }

    fn is_free(&self, range: &IpNet) -> bool {
        let mut touched = self.ranges.iter().filter_map(|shared| Some((shared, shared.range.touched_by(range)?)));
        touched.all(|(shared, mut parts)| parts.all(|part| !shared.holders.contains_key(&part)))
    }

    fn hold(&mut self, node: &str, ranges: Vec<IpNet>) {
        self.count(&ranges, |holders, part| *holders.entry(part).or_default() += 1);
        self.held.insert(node.into(), ranges);
    }

    fn release(&mut self, node: &str) -> Option<Vec<IpNet>> {
        let ranges = self.held.remove(node)?;
        self.count(&ranges, |holders, part| match holders.get_mut(&part) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(holders.remove(&part)),
        });
        Some(ranges)
    }

    fn count(&mut self, ranges: &[IpNet], mut each: impl FnMut(&mut BTreeMap<u128, usize>, u128)) {
        for shared in &mut self.ranges {
            for part in ranges.iter().filter_map(|range| shared.range.touched_by(range)).flatten() {
                each(&mut shared.holders, part);
            }
        }
    }
}

impl Shared {
    /// The next part that nobody holds.
    fn find(&mut self) -> Option<IpNet> {
        let count = self.range.count();
        let part = (0..count).map(|step| (self.next + step) % count).find(|part| !self.holders.contains_key(part))?;
        self.next = part + 1;
        Some(self.range.part(part))
    }
}

fn ranges_of(node: &Object) -> Vec<IpNet> {
    #[derive(Deserialize)]
    struct Ranged {
        #[serde(default)]
        spec: Spec,
    }
    #[derive(Deserialize, Default)]
    struct Spec {
        #[serde(default, rename = "podCIDRs")]
        ranges: Vec<String>,
    }
    let ranges = node.view::<Ranged>().map(|node| node.spec.ranges).unwrap_or_default();
    ranges.iter().filter_map(|range| range.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
