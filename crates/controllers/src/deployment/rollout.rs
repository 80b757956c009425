//! What is to be done for a Deployment now. Pure.
//!
//! pkg/controller/deployment/{sync,rolling,recreate}.go. Law: all its sets together never shall have more pods than
//! `replicas` and maxSurge, and none is scaled down below what `replicas` without maxUnavailable needs available.

use std::time::Duration;

use api::{Object, tree};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::annotations;
use super::numbers::Numbers;
use super::progress;
use super::set::Set;
use crate::workload::{controller_of, hash};

/// A label of each pod and set of a template.
pub const HASH: &str = "pod-template-hash";
const NAME_MAX: usize = 253;
/// As good as none.
const NO_LIMIT: i64 = i32::MAX as i64;

pub struct Decision {
    /// In this order.
    pub writes: Vec<Write>,
    /// With its status and its revision.
    pub deployment: Value,
    /// When it is to be asked whether it stands still.
    pub recheck: Option<Duration>,
}

pub enum Write {
    Create(Value),
    /// The whole set, and how it was scaled, for people.
    Update {
        set: Value,
        told: Option<String>,
    },
    Delete(Object),
}

/// What is decided on, while it is.
struct Look<'a> {
    owner: &'a Object,
    deployment: Value,
    numbers: Numbers,
    /// From old to new; a new one that is to be made is the last.
    sets: Vec<Set>,
    /// Which of them has the Deployment's template.
    new: Option<usize>,
    /// It is to be made.
    is_made: bool,
    deleted: Vec<usize>,
    now: Timestamp,
}

/// `sets` are its own. `has_pods` tells whether pods of a set have not ended.
pub fn decide(
    owner: &Object,
    mut sets: Vec<Set>,
    has_pods: &dyn Fn(&Set) -> bool,
    now: Timestamp,
) -> Result<Decision, String> {
    let deployment = owner.value();
    sets.sort_by(|a, b| a.age().cmp(&b.age()));
    let template = &deployment["spec"]["template"];
    let new = sets.iter().position(|set| is_alike(template, &set.value["spec"]["template"]));
    let numbers = Numbers::of(&deployment)?;
    let mut look = Look { owner, deployment, numbers, sets, new, is_made: false, deleted: Vec::new(), now };
    if owner.meta().is_deleting() {
        look.renew();
        return Ok(look.end(false));
    }
    progress::pause(&mut look.deployment, now);
    look.renew();
    // One that is recreated sets its sizes itself.
    let is_scaled = look.numbers.is_rolling && look.is_scaled_by_hand();
    if tree::flag(&look.deployment, "spec.paused") || is_scaled {
        look.scale();
        if tree::flag(&look.deployment, "spec.paused") {
            look.clean();
        }
        return Ok(look.end(false));
    }
    match look.numbers.is_rolling {
        true => look.roll(),
        false => look.recreate(has_pods),
    }
    Ok(look.end(true))
}

impl Look<'_> {
    /// What the newest set says of itself, and the Deployment of it.
    fn renew(&mut self) {
        let Some(new) = self.new else { return };
        let revision = self.revision();
        let seconds = self.deployment["spec"]["minReadySeconds"].clone();
        let set = &mut self.sets[new];
        annotations::renew(&mut set.value, &self.deployment, revision);
        if seconds.as_i64().unwrap_or(0) != tree::int(&set.value, "spec.minReadySeconds").unwrap_or(0) {
            set.value["spec"]["minReadySeconds"] = seconds;
        }
        let (name, revision) = (set.name().to_owned(), annotations::get(&set.value, annotations::REVISION).to_owned());
        annotations::set(&mut self.deployment, annotations::REVISION, &revision);
        progress::found(&mut self.deployment, &name, false, self.now);
    }

    /// The one after the latest of the old ones.
    fn revision(&self) -> i64 {
        let olds = self.sets.iter().enumerate().filter(|(at, _)| Some(*at) != self.new);
        olds.filter_map(|(_, set)| annotations::revision(&set.value)).max().unwrap_or(0).saturating_add(1)
    }

    fn make(&mut self) {
        let collisions = tree::int(&self.deployment, "status.collisionCount");
        let spec = &self.deployment["spec"];
        let hash = hash::of(&spec["template"], collisions);
        let mut template = spec["template"].clone();
        template["metadata"]["labels"][HASH] = json!(hash);
        let mut selector = spec["selector"].clone();
        selector["matchLabels"][HASH] = json!(hash);
        let meta = self.owner.meta();
        let mut name = meta.name.clone();
        name.truncate(NAME_MAX - 1 - hash.len());
        let mut value = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": format!("{name}-{hash}"), "namespace": meta.namespace,
                "labels": template["metadata"]["labels"], "ownerReferences": [controller_of(self.owner)]},
            "spec": {"replicas": 0, "selector": selector, "template": template}});
        if let Some(seconds) = tree::int(&self.deployment, "spec.minReadySeconds").filter(|seconds| *seconds != 0) {
            value["spec"]["minReadySeconds"] = seconds.into();
        }
        let revision = self.revision();
        annotations::renew(&mut value, &self.deployment, revision);
        let (desired, most) = (self.numbers.desired, self.numbers.most());
        let count = self.count_for_new(0);
        value["spec"]["replicas"] = count.into();
        annotations::set_sizes(&mut value, desired, most);
        annotations::set(&mut self.deployment, annotations::REVISION, &revision.to_string());
        let name = tree::text(&value, "metadata.name").to_owned();
        progress::found(&mut self.deployment, &name, true, self.now);
        self.sets.push(Set { object: self.owner.clone(), value, told: None });
        self.new = Some(self.sets.len() - 1);
        self.is_made = true;
    }

    /// How many the new one may have now, of which it has `own`.
    fn count_for_new(&self, own: i64) -> i64 {
        let desired = self.numbers.desired;
        if !self.numbers.is_rolling {
            return desired;
        }
        let room = self.numbers.most() - self.total();
        if room <= 0 { own } else { own + room.min(desired - own) }
    }

    fn total(&self) -> i64 {
        self.sets.iter().map(Set::replicas).sum()
    }

    fn scale_to(&mut self, at: usize, replicas: i64) -> bool {
        let (desired, most) = (self.numbers.desired, self.numbers.most());
        self.sets[at].scale(replicas, desired, most)
    }

    fn olds(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|at| Some(*at) != self.new).collect()
    }

    /// `replicas` was changed since a set was scaled.
    fn is_scaled_by_hand(&self) -> bool {
        let active = self.sets.iter().filter(|set| set.is_active());
        active.filter_map(|set| annotations::sizes(&set.value).0).any(|desired| desired != self.numbers.desired)
    }

    /// As many as there shall be, where no rollout goes on: by one set alone, or by all in proportion.
    fn scale(&mut self) {
        let desired = self.numbers.desired;
        let active: Vec<usize> = (0..self.sets.len()).filter(|at| self.sets[*at].is_active()).collect();
        let latest = self.new.or_else(|| self.olds().last().copied());
        let only = match active.as_slice() {
            [] => latest,
            [only] => Some(*only),
            _ => None,
        };
        if let Some(only) = only {
            self.scale_to(only, desired);
        } else if self.is_saturated() {
            let new = self.new;
            for at in active.into_iter().filter(|at| Some(*at) != new) {
                self.scale_to(at, 0);
            }
        } else if self.numbers.is_rolling && !active.is_empty() {
            self.proportion(active);
        }
    }

    /// The new one has all that there shall be.
    fn is_saturated(&self) -> bool {
        let desired = self.numbers.desired;
        self.new.is_some_and(|new| {
            let set = &self.sets[new];
            set.replicas() == desired && set.available() == desired && annotations::sizes(&set.value).0 == Some(desired)
        })
    }

    /// What comes or goes is shared by the sets' sizes, the largest first, which gets what is left over.
    fn proportion(&mut self, mut active: Vec<usize>) {
        let desired = self.numbers.desired;
        let allowed = if desired > 0 { self.numbers.most() } else { 0 };
        let more = allowed - active.iter().map(|at| self.sets[*at].replicas()).sum::<i64>();
        // Of sets of one size the newest grows first, and the oldest shrinks first.
        active.sort_by_key(|at| {
            let age = i64::try_from(*at).unwrap_or(0);
            (-self.sets[*at].replicas(), if more > 0 { -age } else { age })
        });
        let mut given = 0;
        let mut sizes: Vec<i64> = active.iter().map(|at| self.sets[*at].replicas()).collect();
        if more != 0 {
            for (size, at) in sizes.iter_mut().zip(&active) {
                let part = self.part(*at);
                let part = if more > 0 { part.min(more - given) } else { part.max(more - given) };
                let part = if more == given { 0 } else { part };
                *size += part;
                given += part;
            }
            if let Some(first) = sizes.first_mut() {
                *first = (*first + more - given).max(0);
            }
        }
        for (at, size) in active.into_iter().zip(sizes) {
            self.scale_to(at, size);
        }
    }

    /// By how much a set grows or shrinks with its Deployment.
    fn part(&self, at: usize) -> i64 {
        let own = self.sets[at].replicas();
        if self.numbers.desired == 0 {
            return -own;
        }
        let before = annotations::sizes(&self.sets[at].value).1.filter(|most| *most > 0);
        let before = before.unwrap_or_else(|| tree::int(&self.deployment, "status.replicas").unwrap_or(0));
        if before == 0 {
            return 0;
        }
        // Rounded to the nearest, halves away from zero.
        let (own, most, before) = (i128::from(own), i128::from(self.numbers.most()), i128::from(before));
        let part = (2 * own * most + before).div_euclid(2 * before) - own;
        i64::try_from(part).unwrap_or(i64::MAX)
    }

    fn roll(&mut self) {
        if self.new.is_none() {
            self.make();
        }
        let Some(new) = self.new else { return };
        let (own, desired) = (self.sets[new].replicas(), self.numbers.desired);
        let count = match own.cmp(&desired) {
            std::cmp::Ordering::Equal => own,
            std::cmp::Ordering::Greater => desired,
            std::cmp::Ordering::Less => self.count_for_new(own),
        };
        if own != count && self.scale_to(new, count) {
            return;
        }
        if !self.shrink(new) && progress::is_complete(&self.deployment, &self.numbers, &self.deployment["status"]) {
            self.clean();
        }
    }

    /// Takes from the old sets what is not needed: what is not available anyway first.
    fn shrink(&mut self, new: usize) -> bool {
        let olds: Vec<usize> = self.olds().into_iter().filter(|at| self.sets[*at].is_active()).collect();
        let least = self.numbers.desired - self.numbers.unavailable;
        let missing = self.sets[new].replicas() - self.sets[new].available();
        let surplus = self.total() - least - missing;
        if olds.is_empty() || surplus <= 0 {
            return false;
        }
        let mut taken = 0;
        for at in &olds {
            let set = &self.sets[*at];
            let sick = (set.replicas() - set.available()).clamp(0, surplus - taken);
            if sick > 0 {
                let rest = set.replicas() - sick;
                self.scale_to(*at, rest);
                taken += sick;
            }
        }
        // An old set may not have told yet what it gave up, and tell more available pods than it shall have: upstream, which
        // has no such bound, falls below what is promised then.
        let spare = (self.sets.iter().map(Set::available).sum::<i64>() - least).min(surplus - taken);
        let mut freed = 0;
        for at in &olds {
            let part = self.sets[*at].replicas().min(spare - freed);
            if part > 0 {
                let rest = self.sets[*at].replicas() - part;
                self.scale_to(*at, rest);
                freed += part;
            }
        }
        taken + freed > 0
    }

    fn recreate(&mut self, has_pods: &dyn Fn(&Set) -> bool) {
        let olds = self.olds();
        let mut is_shrunk = false;
        for at in &olds {
            if self.sets[*at].is_active() {
                is_shrunk |= self.scale_to(*at, 0);
            }
        }
        if is_shrunk || olds.iter().any(|at| self.sets[*at].actual() > 0 || has_pods(&self.sets[*at])) {
            return;
        }
        match self.new {
            None => self.make(),
            Some(new) if self.sets[new].replicas() != self.numbers.desired => {
                self.scale_to(new, self.numbers.desired);
            }
            Some(_) => {}
        }
        if progress::is_complete(&self.deployment, &self.numbers, &self.deployment["status"]) {
            self.clean();
        }
    }

    /// Old sets beyond the limit of history go, the oldest revisions first.
    fn clean(&mut self) {
        let limit = tree::int(&self.deployment, "spec.revisionHistoryLimit").filter(|limit| *limit != NO_LIMIT);
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { return };
        let mut olds = self.olds();
        olds.retain(|at| !self.sets[*at].object.meta().is_deleting());
        let surplus = olds.len().saturating_sub(limit);
        olds.sort_by_key(|at| (annotations::revision(&self.sets[*at].value).unwrap_or(0), *at));
        for at in olds.into_iter().take(surplus) {
            let set = &self.sets[at];
            let generation = |path| tree::int(&set.value, path).unwrap_or(0);
            let is_seen = generation("metadata.generation") <= generation("status.observedGeneration");
            if set.actual() == 0 && set.replicas() == 0 && is_seen {
                self.deleted.push(at);
            }
        }
    }

    /// What was decided, and the status of it.
    fn end(mut self, is_rollout: bool) -> Decision {
        let mut status = progress::counts(&self.deployment, &self.numbers, &self.sets, self.new, self.now);
        let recheck = match is_rollout {
            true => progress::judge(&self.deployment, &self.numbers, &self.sets, self.new, &mut status, self.now),
            false => None,
        };
        self.deployment["status"] = status;
        let mut writes = Vec::new();
        for (at, set) in self.sets.into_iter().enumerate() {
            if self.is_made && Some(at) == self.new {
                writes.push(Write::Create(set.value));
            } else if self.deleted.contains(&at) {
                writes.push(Write::Delete(set.object));
            } else if set.is_changed() {
                writes.push(Write::Update { set: set.value, told: set.told });
            }
        }
        // The new one first: what it takes over from stays until it is there.
        writes.sort_by_key(|write| match write {
            Write::Create(_) => 0,
            Write::Update { .. } => 1,
            Write::Delete(_) => 2,
        });
        Decision { writes, deployment: self.deployment, recheck }
    }
}

/// Templates that make the same pods: the hash of one is not the other's, and what is empty is as good as absent.
fn is_alike(one: &Value, other: &Value) -> bool {
    let (mut one, mut other) = (one.clone(), other.clone());
    for template in [&mut one, &mut other] {
        if let Some(labels) = tree::child(template, "metadata").and_then(|meta| tree::child(meta, "labels"))
            && let Some(labels) = labels.as_object_mut()
        {
            labels.remove(HASH);
        }
        prune(template);
    }
    one == other
}

/// Takes out what is empty, through and through.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, value| !is_empty(value));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

/// A map that is there and empty says something (`emptyDir: {}`).
fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}
