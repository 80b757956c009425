//! A difference of policies as one transaction: only what is not as before is touched.
//!
//! The order is that of what refers to what: sets, chains, rules, addresses, and the other way for what goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::plan::{self, EGRESS, INGRESS, ISOLATED, ITSELF};
use super::{Edits, Element, Name, SetEdit, Spec};
use crate::nft::{self, Batch};
use crate::rules::{Chain, Family, Step};

/// From `spec` to what it is after `edits`.
pub(super) fn batch(family: Family, table: &str, spec: &Spec, edits: &Edits) -> Batch {
    let mut batch = Batch::begin(family);
    let keys = |elements: &BTreeSet<Element>| -> Vec<Vec<u8>> {
        elements.iter().filter_map(|one| plan::element(family, one)).collect()
    };
    for (number, (name, edit)) in edits.sets.iter().enumerate() {
        match edit {
            SetEdit::Made(set) => batch.set(table, &plan::set(family, name, set), number as u32 + 1),
            SetEdit::Changed { added, removed } => {
                batch.keys(table, name, false, &keys(removed));
                batch.keys(table, name, true, &keys(added));
            }
            SetEdit::Gone => {}
        }
    }
    let mut old: BTreeSet<Name> = BTreeSet::new();
    let mut new: Vec<(Name, Vec<Vec<Step>>)> = Vec::new();
    for (name, edit) in &edits.policies {
        old.extend(spec.policies.get(name).iter().flat_map(|was| plan::chains_of(name, was)));
        new.extend(edit.iter().flat_map(|policy| plan::policy(family, name, policy)));
    }
    for (name, edit) in &edits.groups {
        old.extend(spec.groups.contains_key(name).then(|| name.clone()));
        new.extend(edit.iter().map(|group| (name.clone(), plan::group(group))));
    }
    // What leads to a chain that goes is taken out before it, and what will lead to a new one comes after it.
    old.iter().for_each(|name| batch.no_rules(table, name));
    for (name, _) in new.iter().filter(|(name, _)| !old.contains(name)) {
        batch.chain(table, &Chain { name: name.to_string().into(), base: None, rules: Vec::new() });
    }
    for (name, rules) in &new {
        batch.rules(table, name, rules);
    }
    by_address(&mut batch, family, table, INGRESS, &spec.ingress, &edits.ingress);
    by_address(&mut batch, family, table, EGRESS, &spec.egress, &edits.egress);
    isolated(&mut batch, family, table, spec, edits);
    let kept: BTreeSet<&Name> = new.iter().map(|(name, _)| name).collect();
    old.iter().filter(|name| !kept.contains(name)).for_each(|name| batch.no_chain(table, name));
    for (name, _) in edits.sets.iter().filter(|(_, edit)| **edit == SetEdit::Gone) {
        batch.no_set(table, name);
    }
    batch
}

/// The groups of addresses.
fn by_address(
    batch: &mut Batch,
    family: Family,
    table: &str,
    map: &str,
    was: &BTreeMap<IpAddr, Name>,
    edits: &BTreeMap<IpAddr, Option<Name>>,
) {
    let key = |address: &IpAddr| plan::octets(family, *address);
    let left: Vec<_> = edits.keys().filter(|address| was.contains_key(*address)).filter_map(key).collect();
    batch.keys(table, map, false, &left);
    let entered = edits.iter().filter_map(|(address, group)| Some((key(address)?, group.as_ref()?)));
    let entered: Vec<_> = entered.collect();
    batch.elements(table, map, true, entered.iter().map(|(key, group)| nft::Element::Goto(key, group)));
}

/// The addresses that are isolated at all.
fn isolated(batch: &mut Batch, family: Family, table: &str, spec: &Spec, edits: &Edits) {
    let after = |was: &BTreeMap<IpAddr, Name>, edits: &BTreeMap<IpAddr, Option<Name>>, address: &IpAddr| match edits
        .get(address)
    {
        Some(edit) => edit.is_some(),
        None => was.contains_key(address),
    };
    let (mut left, mut entered) = (Vec::new(), Vec::new());
    let touched: BTreeSet<&IpAddr> = edits.ingress.keys().chain(edits.egress.keys()).collect();
    for address in touched {
        let Some(key) = plan::octets(family, *address) else { continue };
        let was = spec.ingress.contains_key(address) || spec.egress.contains_key(address);
        let is = after(&spec.ingress, &edits.ingress, address) || after(&spec.egress, &edits.egress, address);
        match (was, is) {
            (true, false) => left.push(key),
            (false, true) => entered.push(key),
            _ => {}
        }
    }
    let twice = |keys: &[Vec<u8>]| keys.iter().map(|key| key.repeat(2)).collect::<Vec<_>>();
    for (with, keys) in [(false, left), (true, entered)] {
        batch.keys(table, ISOLATED, with, &keys);
        batch.keys(table, ITSELF, with, &twice(&keys));
    }
}
