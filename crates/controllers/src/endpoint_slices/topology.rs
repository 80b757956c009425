//! Whose traffic an endpoint is for, by the annotation `service.kubernetes.io/topology-mode`. Pure but for what it knows.
//!
//! staging/src/k8s.io/endpointslice/topologycache: each zone gets endpoints by its share of the nodes' CPU, its own
//! first; where a zone would have to bear a fifth more than its share, or too little is known, nobody hints.

use std::collections::{BTreeMap, BTreeSet};

use api::quantity::Quantity;
use api::{Object, tree};
use client::Key;

use super::hints::{remove, written};
use super::pack::Changes;
use super::slice::{Hints, Named, Slice};
use crate::services::Family;

pub const ZONE: &str = "topology.kubernetes.io/zone";
/// How much more than its share an endpoint may bear.
const OVERLOAD: f64 = 0.2;
/// On these nodes no capacity is counted.
const EXCLUDED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// How many endpoints each zone has.
type Counts = BTreeMap<String, i64>;

/// What is known of nodes, and of the Services whose endpoints hint.
#[derive(Default)]
pub struct Topology {
    nodes: BTreeMap<String, Node>,
    /// Of the CPU of all nodes, by zone; None where too little is known.
    shares: Option<BTreeMap<String, f64>>,
    hinted: BTreeMap<Key, BTreeMap<Family, Counts>>,
    /// Services of which it was said that they hint.
    told: BTreeSet<Key>,
}

/// What counts of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub zone: String,
    milli_cpu: i64,
    is_ready: bool,
    is_excluded: bool,
}

/// What is said of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub is_warning: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Told {
    fn disabled(message: &str, family: Family) -> Told {
        let message = format!("{message}, addressType: {}", family.as_str());
        Told { is_warning: true, reason: "TopologyAwareHintsDisabled", message }
    }
}

impl Node {
    pub fn of(object: &Object) -> Node {
        let (value, labels) = (object.value(), &object.meta().labels);
        let ready = tree::list(&value, "status.conditions").iter().find(|condition| condition["type"] == "Ready");
        Node {
            zone: labels.get(ZONE).unwrap_or_default().to_owned(),
            milli_cpu: Quantity::of(tree::at(&value, "status.allocatable.cpu")).milli_value(),
            is_ready: ready.is_some_and(|condition| condition["status"] == "True"),
            is_excluded: EXCLUDED.iter().any(|label| labels.contains_key(label)),
        }
    }
}

/// How many endpoints a zone shall have.
#[derive(Clone, Copy, Debug)]
struct Allocation {
    most: i64,
    desired: f64,
}

impl Topology {
    /// What a node is now, None: gone; what it was before. The Services whose endpoints do not suit the nodes any more
    /// are `overloaded` afterwards.
    pub fn set(&mut self, name: &str, node: Option<Node>) -> Option<Node> {
        let before = match node.clone() {
            Some(node) => self.nodes.insert(name.to_owned(), node),
            None => self.nodes.remove(name),
        };
        if before != node {
            self.shares = shares(self.nodes.values());
        }
        before
    }

    pub fn zone(&self, node: &str) -> Option<String> {
        self.nodes.get(node).map(|node| node.zone.clone())
    }

    /// Services of which a zone has too few endpoints for its share (GetOverloadedServices).
    pub fn overloaded(&self) -> Vec<Key> {
        let is_overloaded = |counts: &Counts| match &self.shares {
            _ if counts.is_empty() => false,
            None => true,
            Some(shares) => {
                let all: i64 = counts.values().sum();
                shares.iter().any(|(zone, share)| counts.get(zone).is_none_or(|own| *own < least(all, *share)))
            }
        };
        let overloaded = self.hinted.iter().filter(|(_, families)| families.values().any(is_overloaded));
        overloaded.map(|(service, _)| service.clone()).collect()
    }

    /// The Service does not hint by zones' shares; whether it did.
    pub fn forget(&mut self, service: &Key, family: Family) -> bool {
        if let Some(families) = self.hinted.get_mut(service) {
            families.remove(&family);
            if families.is_empty() {
                self.hinted.remove(service);
            }
        }
        self.told.remove(service)
    }

    /// It is not annotated, or not any more: what is to be said of that.
    pub fn leave(&mut self, service: &Key, family: Family) -> Option<Told> {
        self.forget(service, family).then(|| Told::disabled("Topology Aware Hints has been disabled", family))
    }

    /// Ready endpoints hint by the shares of the zones; what is to be said of it (AddHints).
    pub fn apply(&mut self, service: &Key, family: Family, changes: &mut Changes) -> Option<Told> {
        match self.hint(changes) {
            Ok(counts) => {
                self.hinted.entry(service.clone()).or_default().insert(family, counts);
                let message = format!("Topology Aware Hints has been enabled, addressType: {}", family.as_str());
                let told = Told { is_warning: false, reason: "TopologyAwareHintsEnabled", message };
                self.told.insert(service.clone()).then_some(told)
            }
            Err(why) => {
                self.forget(service, family);
                remove(changes);
                Some(Told::disabled(&why, family))
            }
        }
    }

    fn hint(&self, changes: &mut Changes) -> Result<Counts, String> {
        let slices = [&changes.create, &changes.update, &changes.keep].into_iter().flatten();
        let ready = slices.flat_map(|slice| &slice.endpoints).filter(|endpoint| endpoint.is_ready()).count();
        let allocations = self.allocations(i64::try_from(ready).unwrap_or(i64::MAX))?;
        let mut counts = Counts::new();
        let unsuited = |slice: &mut Slice| match counted(slice, &counts, &allocations) {
            Some(own) => {
                own.into_iter().for_each(|(zone, own)| *counts.entry(zone).or_default() += own);
                false
            }
            None => true,
        };
        let unsuited: Vec<Slice> = changes.keep.extract_if(.., unsuited).collect();
        changes.update.extend(unsuited);
        for endpoint in written(changes) {
            if !endpoint.is_ready() {
                endpoint.hints = None;
                continue;
            }
            let zone = endpoint.zone.clone().filter(|zone| !zone.is_empty());
            let zone = zone.ok_or("One or more endpoints do not have a zone specified")?;
            *counts.entry(zone.clone()).or_default() += 1;
            endpoint.hints = Some(for_zone(zone));
        }
        let (mut giving, mut receiving) = exchange(&allocations, &counts);
        for endpoint in written(changes).filter(|endpoint| endpoint.is_ready()) {
            let Some(zone) = &endpoint.zone else { continue };
            let (Some(gives), Some(mut takes)) = (giving.get_mut(zone), receiving.first_entry()) else { continue };
            *gives -= 1;
            *takes.get_mut() -= 1;
            *counts.entry(zone.clone()).or_default() -= 1;
            *counts.entry(takes.key().clone()).or_default() += 1;
            endpoint.hints = Some(for_zone(takes.key().clone()));
            if *takes.get() == 0 {
                takes.remove();
            }
            giving.retain(|_, left| *left > 0);
        }
        match counts.is_empty() {
            true => Err("No hints allocated for zones".into()),
            false => Ok(counts),
        }
    }

    /// By zone (getAllocations); an error says why there is none.
    fn allocations(&self, endpoints: i64) -> Result<BTreeMap<String, Allocation>, String> {
        let shares = self
            .shares
            .as_ref()
            .ok_or("Insufficient Node information: allocatable CPU or zone not specified on one or more nodes")?;
        let many = |what: &str| format!("{what} ({endpoints} endpoints, {} zones)", shares.len());
        if shares.len() as i64 > endpoints {
            return Err(many("Insufficient number of endpoints"));
        }
        let minima: BTreeMap<&String, i64> =
            shares.iter().map(|(zone, share)| (zone, least(endpoints, *share))).collect();
        let rest = endpoints - minima.values().sum::<i64>();
        if rest < 0 {
            return Err(many(
                "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold",
            ));
        }
        let allocation = |(zone, least): (&String, i64)| {
            let desired = (shares[zone] * endpoints as f64).max(least as f64);
            (zone.clone(), Allocation { most: least + rest, desired })
        };
        Ok(minima.into_iter().map(allocation).collect())
    }
}

/// Of so many endpoints the fewest that a zone of this share can do with.
fn least(endpoints: i64, share: f64) -> i64 {
    (endpoints as f64 * share * (1.0 / (1.0 + OVERLOAD))).ceil() as i64
}

/// Of all zones' CPU (SetNodes).
fn shares<'a>(nodes: impl Iterator<Item = &'a Node>) -> Option<BTreeMap<String, f64>> {
    let mut zones: BTreeMap<String, i64> = BTreeMap::new();
    for node in nodes.filter(|node| node.is_ready && !node.is_excluded) {
        if node.zone.is_empty() || node.milli_cpu == 0 {
            return None;
        }
        *zones.entry(node.zone.clone()).or_default() += node.milli_cpu;
    }
    let all: i64 = zones.values().sum();
    (zones.len() >= 2).then(|| zones.into_iter().map(|(zone, own)| (zone, own as f64 / all as f64)).collect())
}

fn for_zone(name: String) -> Hints {
    Hints { for_zones: vec![Named { name }], for_nodes: Vec::new() }
}

/// What an unchanged slice hints at, beside `counts` of others; None: it must be written (getHintsByZone).
fn counted(slice: &Slice, counts: &Counts, allocations: &BTreeMap<String, Allocation>) -> Option<Counts> {
    let mut own = Counts::new();
    for endpoint in slice.endpoints.iter().filter(|endpoint| endpoint.is_ready()) {
        let hints = endpoint.hints.as_ref().filter(|hints| !hints.for_zones.is_empty())?;
        for zone in &hints.for_zones {
            allocations.get(&zone.name)?;
            *own.entry(zone.name.clone()).or_default() += 1;
        }
    }
    let fits = |(zone, count): (&String, &i64)| count + counts.get(zone).unwrap_or(&0) <= allocations[zone].most;
    own.iter().all(fits).then_some(own)
}

/// How many endpoints zones give, and how many others get (getGivingAndReceivingZones).
fn exchange(allocations: &BTreeMap<String, Allocation>, counts: &Counts) -> (Counts, Counts) {
    let over = |zone: &String| *counts.get(zone).unwrap_or(&0) as f64 - allocations[zone].desired;
    let over: Vec<(&String, f64)> = allocations.keys().map(|zone| (zone, over(zone))).collect();
    let mut gives: Vec<(&String, f64)> = over.iter().filter(|(_, over)| *over > 0.0).copied().collect();
    let mut takes: Vec<(&String, f64)> =
        over.iter().filter(|(_, over)| *over < 0.0).map(|(z, over)| (*z, -over)).collect();
    let (mut giving, mut receiving) = (Counts::new(), Counts::new());
    // Each turn takes one from what is left, so it ends.
    while let (Some(gives), Some(takes)) = (most(&mut gives), most(&mut takes)) {
        if gives.1 < 0.5 || takes.1 < 0.5 || (gives.1 < 1.0 && takes.1 < 1.0) {
            break;
        }
        for (side, one) in [(&mut giving, gives), (&mut receiving, takes)] {
            *side.entry(one.0.clone()).or_default() += 1;
            one.1 -= 1.0;
        }
    }
    (giving, receiving)
}

/// The first of the greatest.
fn most<'a, 'b>(zones: &'a mut [(&'b String, f64)]) -> Option<&'a mut (&'b String, f64)> {
    zones.iter_mut().min_by(|a, b| b.1.total_cmp(&a.1))
}
