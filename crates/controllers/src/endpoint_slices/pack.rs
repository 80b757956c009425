//! How endpoints are put into slices so that few are written. Pure.
//!
//! staging/src/k8s.io/endpointslice, reconcileByPortMapping: what is in a slice stays there; what is new goes into
//! slices that are written anyway, the fullest first, then into the one that it fills best, then into new ones.
//! Laws: no slice of more than `most`, none of the endpoints in two, no slice written that says what it said.

use std::collections::BTreeMap;

use super::slice::{Endpoint, Identity, Labels, Port, Slice};
use crate::services::Family;

/// What is to be done with slices.
#[derive(Debug, Default)]
pub struct Changes {
    pub create: Vec<Slice>,
    pub update: Vec<Slice>,
    pub delete: Vec<Slice>,
    pub keep: Vec<Slice>,
}

impl Changes {
    pub fn add(&mut self, more: Changes) {
        self.create.extend(more.create);
        self.update.extend(more.update);
        self.delete.extend(more.delete);
        self.keep.extend(more.keep);
    }

    /// Instead of one that goes and one that comes one is changed, if it is of the same family and may be.
    pub fn recycle(&mut self, may: impl Fn(&Slice) -> bool) {
        let gone = std::mem::take(&mut self.delete);
        for slice in gone {
            let heir = self.create.iter().rposition(|new| new.family == slice.family).filter(|_| may(&slice));
            match heir {
                Some(at) => self.update.push(Slice { found: slice.found, ..self.create.remove(at) }),
                None => self.delete.push(slice),
            }
        }
    }
}

/// Of slices of one family and one set of ports: `desired` are the endpoints, `labels` are those of the slices, and
/// whether one must be written for them.
pub fn pack(
    found: Vec<Slice>,
    desired: Vec<Endpoint>,
    (family, ports): (Family, &[Port]),
    labels: impl Fn(&Labels) -> (Labels, bool),
    most: usize,
) -> Changes {
    let mut desired: BTreeMap<Identity, Endpoint> = desired.into_iter().map(|one| (one.identity(), one)).collect();
    let (mut written, mut unchanged, mut delete) = (Vec::new(), Vec::new(), Vec::new());
    for mut slice in found {
        let (next, relabelled) = labels(&slice.labels);
        let (mut kept, mut changed) = (Vec::with_capacity(slice.endpoints.len()), false);
        for endpoint in &slice.endpoints {
            let Some(wanted) = desired.remove(&endpoint.identity()) else {
                changed = true;
                continue;
            };
            changed |= !wanted.says_as(endpoint);
            kept.push(wanted);
        }
        match () {
            () if changed && kept.is_empty() => delete.push(slice),
            () if changed => {
                slice.endpoints = kept;
                slice.labels = next;
                written.push(slice);
            }
            () if relabelled => {
                slice.labels = next;
                written.push(slice);
            }
            () => unchanged.push(slice),
        }
    }
    let mut rest: Vec<Endpoint> = desired.into_values().collect();
    written.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in &mut written {
        fill(slice, &mut rest, most);
    }
    let mut create = Vec::new();
    while !rest.is_empty() {
        match best(&unchanged, rest.len(), most) {
            Some(at) => {
                let mut slice = unchanged.remove(at);
                fill(&mut slice, &mut rest, most);
                written.push(slice);
            }
            None => {
                let mut slice = Slice::new(family, ports.to_vec(), Vec::new(), labels(&Labels::new()).0);
                fill(&mut slice, &mut rest, most);
                create.push(slice);
            }
        }
    }
    Changes { create, update: written, delete, keep: unchanged }
}

fn fill(slice: &mut Slice, rest: &mut Vec<Endpoint>, most: usize) {
    let room = most.saturating_sub(slice.endpoints.len()).min(rest.len());
    slice.endpoints.extend(rest.drain(..room));
}

/// The slice that is fullest with so many more; none where they fill one alone (getSliceToFill).
fn best(slices: &[Slice], more: usize, most: usize) -> Option<usize> {
    let room = |slice: &Slice| most.checked_sub(more + slice.endpoints.len());
    let fitting = slices.iter().enumerate().filter_map(|(at, slice)| Some((room(slice)?, at)));
    let (_, at) = fitting.filter(|_| more < most).filter(|(room, _)| *room < most).min()?;
    Some(at)
}

/// Slices by what their endpoints share.
pub fn by_ports(slices: Vec<Slice>) -> BTreeMap<Vec<Port>, Vec<Slice>> {
    let mut all: BTreeMap<Vec<Port>, Vec<Slice>> = BTreeMap::new();
    for slice in slices {
        all.entry(slice.ports.clone()).or_default().push(slice);
    }
    all
}
