//! Who may talk with whom, as a plain value, and the part of it that is in force.
//!
//! Addresses stand in sets, and in a map from each isolated address to the group of rules that it is held
//! to: who comes or goes changes elements only. A connection is judged by its ends, at each of its packets,
//! either way: by the address that began it, as it is before masquerading, and by the one that it leads to,
//! behind any service or host port. So what is forbidden now ends now, and what answers is never judged by
//! itself. What the host itself sends to its pods is not looked at.
//!
//! Laws: a spec that is changed step by step equals the one made anew, and so do the kernel's rules; a
//! change is in force as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::nft::Netfilter;
use crate::rules::Family;
use crate::spec::Error;

/// A difference as one transaction.
mod change;
/// The whole table.
mod plan;

/// What a set, a policy or a group is called: at most 255 bytes of what nft takes for a name.
pub type Name = Arc<str>;

/// The families in which pods have addresses.
const FAMILIES: [Family; 1] = [Family::V4];

/// Everything that is to hold. Whatever is named is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spec {
    pub sets: BTreeMap<Name, Set>,
    pub policies: BTreeMap<Name, Policy>,
    /// Each the policies that hold for the same addresses: what one of them allows is allowed.
    pub groups: BTreeMap<Name, Vec<Name>>,
    /// Addresses of this node's pods and the group that says who may begin to talk with them.
    pub ingress: BTreeMap<IpAddr, Name>,
    /// … and with whom they may begin to talk.
    pub egress: BTreeMap<IpAddr, Name>,
}

/// Addresses, or ports of addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    /// Whether each element has a port.
    pub of_ports: bool,
    pub elements: BTreeSet<Element>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    pub address: IpAddr,
    /// Protocol number and port.
    pub port: Option<(u8, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    Ingress,
    Egress,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub direction: Direction,
    /// Any of them is enough.
    pub rules: Vec<Allow>,
}

/// Both must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allow {
    /// Who is at the other end; None: whoever it is.
    pub peers: Option<Peers>,
    /// What the connection leads to; None: anything.
    pub ports: Option<Ports>,
}

/// Any of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Peers {
    /// Of addresses.
    pub set: Option<Name>,
    /// First and last address of each range; sorted, apart from each other.
    pub ranges: Vec<(IpAddr, IpAddr)>,
}

/// Any of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ports {
    /// By protocol number, the first and last of each range (sorted, apart from each other); None: all of it.
    pub numbers: BTreeMap<u8, Option<Vec<(u16, u16)>>>,
    /// Sets of ports.
    pub named: Vec<Name>,
}

/// What becomes of a spec: each name once, with what it is afterwards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Edits {
    pub sets: BTreeMap<Name, SetEdit>,
    pub policies: BTreeMap<Name, Option<Policy>>,
    pub groups: BTreeMap<Name, Option<Vec<Name>>>,
    pub ingress: BTreeMap<IpAddr, Option<Name>>,
    pub egress: BTreeMap<IpAddr, Option<Name>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SetEdit {
    Made(Set),
    Gone,
    /// Elements that were not there, and such that were.
    Changed {
        added: BTreeSet<Element>,
        removed: BTreeSet<Element>,
    },
}

/// What the network is asked for.
#[derive(Clone, Debug)]
pub enum Change {
    /// Whatever was in force before.
    Anew(Box<Spec>),
    /// After an `Anew`.
    Edits(Edits),
}

impl Spec {
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The spec after these edits.
    pub fn edit(&mut self, edits: Edits) {
        for (name, edit) in edits.sets {
            match edit {
                SetEdit::Made(set) => drop(self.sets.insert(name, set)),
                SetEdit::Gone => drop(self.sets.remove(&name)),
                SetEdit::Changed { added, removed } => {
                    let Some(set) = self.sets.get_mut(&name) else { continue };
                    for element in &removed {
                        set.elements.remove(element);
                    }
                    set.elements.extend(added);
                }
            }
        }
        put(&mut self.policies, edits.policies);
        put(&mut self.groups, edits.groups);
        put(&mut self.ingress, edits.ingress);
        put(&mut self.egress, edits.egress);
    }
}

fn put<K: Ord, V>(all: &mut BTreeMap<K, V>, edits: BTreeMap<K, Option<V>>) {
    for (key, edit) in edits {
        match edit {
            Some(value) => drop(all.insert(key, value)),
            None => drop(all.remove(&key)),
        }
    }
}

impl Edits {
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
            && self.policies.is_empty()
            && self.groups.is_empty()
            && self.ingress.is_empty()
            && self.egress.is_empty()
    }
}

/// What of it the kernel has.
pub(crate) struct InForce {
    table: String,
    /// None: nobody has said anything yet; what an earlier run left stays as it is.
    spec: Option<Spec>,
}

impl InForce {
    pub fn of(table: &str) -> InForce {
        InForce { table: format!("{table}-policy"), spec: None }
    }

    /// Puts a change in force. An error: ask for everything anew.
    pub fn change(&mut self, netfilter: &Netfilter, change: Change) -> Result<(), Error> {
        let edits = match change {
            Change::Anew(spec) => {
                self.spec = Some(*spec);
                return self.apply(netfilter);
            }
            Change::Edits(edits) => edits,
        };
        let nothing = || Error::Failed("no policies are in force that could be changed".into());
        let spec = self.spec.as_mut().ok_or_else(nothing)?;
        let was_empty = spec.is_empty();
        let batches = FAMILIES.map(|family| change::batch(family, &self.table, spec, &edits));
        spec.edit(edits);
        if was_empty || spec.is_empty() {
            return self.apply(netfilter);
        }
        let doing = format!("changing the policies of table {}", self.table);
        let changed = batches.into_iter().try_for_each(|batch| netfilter.change(batch, &self.table, &doing));
        changed.or_else(|error| {
            tracing::warn!(%error, "the rules of policies are not as they were: they are made anew");
            self.apply(netfilter)
        })
    }

    /// Makes anew what somebody took away.
    pub fn restore(&self, netfilter: &Netfilter) {
        let wanted = self.spec.as_ref().is_some_and(|spec| !spec.is_empty());
        let missing = || FAMILIES.iter().any(|family| matches!(netfilter.has(*family, &self.table), Ok(false)));
        if !wanted || !missing() {
            return;
        }
        tracing::warn!("somebody took the rules of policies away: they are made anew");
        if let Err(error) = self.apply(netfilter) {
            tracing::error!(%error, "the rules of policies cannot be made anew");
        }
    }

    pub fn close(&mut self, netfilter: &Netfilter) -> Result<(), Error> {
        self.spec = None;
        FAMILIES.iter().try_for_each(|family| netfilter.remove(*family, &self.table))
    }

    /// Where there is no policy there is no table: no packet pays for it.
    fn apply(&self, netfilter: &Netfilter) -> Result<(), Error> {
        let spec = self.spec.as_ref().filter(|spec| !spec.is_empty());
        FAMILIES.iter().try_for_each(|family| match spec {
            Some(spec) => netfilter.apply(&plan::plan(*family, &self.table, spec)),
            None => netfilter.remove(*family, &self.table),
        })
    }
}

#[cfg(test)]
impl InForce {
    /// The transaction of these edits.
    pub fn edits(&self, edits: &Edits) -> crate::nft::Batch {
        change::batch(FAMILIES[0], &self.table, self.spec.as_ref().expect("it was told"), edits)
    }

    /// Somebody else has put this in force.
    pub fn assume(&mut self, spec: Spec) {
        self.spec = Some(spec);
    }
}
