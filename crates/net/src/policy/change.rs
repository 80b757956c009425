//! A difference of policies as one transaction: only what is not as before is touched.
//!
//! The order is that of what refers to what: sets, chains, rules, addresses, and the other way for what goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::plan::{self, EGRESS, INGRESS, ISOLATED, ITSELF};
use super::{Edits, Element, Name, SetEdit, Spec};
use crate::nft::Batch;
use crate::rules::{Chain, Family, Step};

type Keys = Vec<(Vec<u8>, Vec<u8>)>;

/// From `spec` to what it is after `edits`.
pub(super) fn batch(family: Family, table: &str, spec: &Spec, edits: &Edits) -> Batch {
    let mut batch = Batch::begin(family);
    let keys = |elements: &mut dyn Iterator<Item = &Element>| -> Keys {
        elements.filter_map(|one| Some((plan::element(family, one)?, Vec::new()))).collect()
    };
    for (number, (name, edit)) in edits.sets.iter().enumerate() {
        match edit {
            SetEdit::Made(set) => batch.set(table, &plan::set(family, name, set), number as u32 + 1),
            SetEdit::Changed { added, removed } => {
                batch.take_elements(table, name, &keys(&mut removed.iter()));
                batch.add_elements(table, name, &keys(&mut added.iter()), false);
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
        rules.iter().for_each(|rule| batch.rule(table, name, rule, b"", true));
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
    let left = edits.keys().filter(|address| was.contains_key(*address));
    let left: Keys = left.filter_map(|address| Some((key(address)?, Vec::new()))).collect();
    batch.take_elements(table, map, &left);
    let entered =
        edits.iter().filter_map(|(address, group)| Some((key(address)?, group.as_ref()?.as_bytes().to_vec())));
    batch.add_elements(table, map, &entered.collect::<Keys>(), true);
}

/// The addresses that are isolated at all.
fn isolated(batch: &mut Batch, family: Family, table: &str, spec: &Spec, edits: &Edits) {
    let after = |was: &BTreeMap<IpAddr, Name>, edits: &BTreeMap<IpAddr, Option<Name>>, address: &IpAddr| match edits
        .get(address)
    {
        Some(edit) => edit.is_some(),
        None => was.contains_key(address),
    };
    let (mut left, mut entered) = (Keys::new(), Keys::new());
    let touched: BTreeSet<&IpAddr> = edits.ingress.keys().chain(edits.egress.keys()).collect();
    for address in touched {
        let Some(key) = plan::octets(family, *address) else { continue };
        let was = spec.ingress.contains_key(address) || spec.egress.contains_key(address);
        let is = after(&spec.ingress, &edits.ingress, address) || after(&spec.egress, &edits.egress, address);
        match (was, is) {
            (true, false) => left.push((key, Vec::new())),
            (false, true) => entered.push((key, Vec::new())),
            _ => {}
        }
    }
    let twice = |keys: &Keys| keys.iter().map(|(key, none)| (key.repeat(2), none.clone())).collect::<Keys>();
    batch.take_elements(table, ISOLATED, &left);
    batch.take_elements(table, ITSELF, &twice(&left));
    batch.add_elements(table, ISOLATED, &entered, false);
    batch.add_elements(table, ITSELF, &twice(&entered), false);
}
