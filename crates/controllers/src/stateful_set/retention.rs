//! Whether claims go with their pod or their set: what their owner references say. Pure.
//!
//! persistentVolumeClaimRetentionPolicy: whenDeleted makes the set their owner, whenScaled the pod, as soon as it is
//! one too many (pkg/controller/statefulset/stateful_set_utils.go: isClaimOwnerUpToDate and what it uses). Law: claims
//! that somebody else's controller has, or a namesake of before, are not taken.

use api::object::OwnerReference;
use api::{Meta, Object, tree};
use serde_json::{Value, json};

/// What the set says of its claims.
#[derive(Clone, Copy, Default)]
pub struct Policy {
    pub goes_with_set: bool,
    pub goes_with_pod: bool,
}

/// Of whom the claims are: the set, and the pod (without uid, if it is not there yet).
pub struct Pair<'a> {
    pub set: &'a Meta,
    pub pod: &'a str,
    pub pod_uid: &'a str,
    /// It is one too many.
    pub is_condemned: bool,
}

/// How a claim has to change.
#[derive(Debug, PartialEq, Eq)]
pub struct Amended {
    /// All of its owner references, as they shall be.
    pub references: Value,
    /// Somebody else manages it, which people are told.
    pub is_foreign: bool,
}

impl Policy {
    pub fn of(set: &Value) -> Policy {
        let of = |field: &str| tree::at(set, "spec.persistentVolumeClaimRetentionPolicy")[field] == "Delete";
        Policy { goes_with_set: of("whenDeleted"), goes_with_pod: of("whenScaled") }
    }

    /// Whose it shall be: the set's, the pod's.
    fn owners(self, is_condemned: bool) -> (bool, bool) {
        (self.goes_with_set && !(self.goes_with_pod && is_condemned), self.goes_with_pod && is_condemned)
    }

    /// What a new claim says.
    pub fn references(self, pair: &Pair<'_>) -> Vec<Value> {
        let (of_set, of_pod) = self.owners(pair.is_condemned);
        let mut references = Vec::new();
        if of_pod && !pair.pod_uid.is_empty() {
            references.push(reference("v1", "Pod", pair.pod, pair.pod_uid));
        }
        if of_set {
            references.push(reference("apps/v1", "StatefulSet", &pair.set.name, &pair.set.uid));
        }
        references
    }

    /// None: it is as it should be, or is not to be touched.
    pub fn amend(self, claim: &Object, pair: &Pair<'_>) -> Option<Amended> {
        let references = &claim.meta().owner_references;
        let uid_in_place = |is_it: &dyn Fn(&OwnerReference) -> bool| references.iter().find(|owner| is_it(owner));
        let is_stale = uid_in_place(&|owner| pair.is_set(owner)).is_some_and(|owner| owner.uid != pair.set.uid)
            || uid_in_place(&|owner| pair.is_pod(owner)).is_some_and(|owner| owner.uid != pair.pod_uid);
        if is_stale {
            return None;
        }
        let has = |uid: &str| !uid.is_empty() && references.iter().any(|owner| owner.uid == uid);
        let (has_set, has_pod) = (has(&pair.set.uid), has(pair.pod_uid));
        let is_foreign =
            (self.goes_with_set || self.goes_with_pod) && references.iter().any(|owner| pair.is_other(owner));
        let is_ours = |owner: &OwnerReference| owner.uid == pair.set.uid || owner.uid == pair.pod_uid;
        let is_half = references.iter().any(|owner| is_ours(owner) && !owner.controller);
        let is_right = match is_foreign {
            true => !has_set && !has_pod,
            false => !is_half && (has_set, has_pod) == self.owners(pair.is_condemned),
        };
        if is_right {
            return None;
        }
        let value = claim.value();
        let mut rest: Vec<Value> = tree::list(&value, "metadata.ownerReferences").to_vec();
        rest.retain(|owner| {
            let is = |kind: &str, version: &str, name: &str| {
                owner["kind"] == kind && owner["apiVersion"] == version && owner["name"] == name
            };
            !is("StatefulSet", "apps/v1", &pair.set.name) && !is("Pod", "v1", pair.pod)
        });
        if !is_foreign {
            rest.extend(self.references(pair));
        }
        Some(Amended { references: rest.into(), is_foreign })
    }

    /// It is to go with a pod of before, and holds the place of the next (PodClaimIsStale).
    pub fn is_stale(self, claim: &Object, pair: &Pair<'_>) -> bool {
        let of_pod = claim.meta().owner_references.iter().find(|owner| pair.is_pod(owner));
        self.goes_with_pod && of_pod.is_some_and(|owner| owner.uid != pair.pod_uid)
    }
}

impl Pair<'_> {
    fn is_set(&self, owner: &OwnerReference) -> bool {
        owner.kind == "StatefulSet" && owner.api_version == "apps/v1" && owner.name == self.set.name
    }

    fn is_pod(&self, owner: &OwnerReference) -> bool {
        owner.kind == "Pod" && owner.api_version == "v1" && owner.name == self.pod
    }

    /// Somebody who manages it, and is neither.
    fn is_other(&self, owner: &OwnerReference) -> bool {
        if self.is_set(owner) {
            return owner.uid != self.set.uid;
        }
        if self.is_pod(owner) {
            return owner.uid != self.pod_uid;
        }
        owner.controller
    }
}

fn reference(version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": version, "kind": kind, "name": name, "uid": uid,
        "controller": true, "blockOwnerDeletion": true})
}
