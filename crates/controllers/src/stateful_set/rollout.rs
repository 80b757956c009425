//! What is to be done now with the pods of a StatefulSet, and the status that tells of it. Pure.
//!
//! pkg/controller/statefulset/stateful_set_control.go (updateStatefulSet). In order: the pods that it shall have, from
//! the lowest; those that are too many, from the highest; then those of another revision, from the highest. Ordered,
//! each waits for the one before it to be available and for what ends to be gone; in parallel, none does. Law: a pod
//! that ends holds its name until it is gone, and nothing is made before that.

use std::collections::BTreeMap;
use std::time::Duration;

use api::{Object, tree};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::identity;
use super::retention::{Amended, Pair, Policy};
use crate::workload::pod::Seen;
use crate::workload::revisions::REVISION_HASH;
use crate::workload::share;

/// A revision's name, and the template that it keeps.
#[derive(Clone, Copy)]
pub struct Revision<'a> {
    pub name: &'a str,
    pub template: &'a Value,
}

/// One pod that is there.
pub struct Pod {
    pub object: Object,
    pub seen: Seen,
    pub ordinal: i64,
}

/// What the caches show.
pub struct Look<'a> {
    pub owner: &'a Object,
    pub set: &'a Value,
    pub current: Revision<'a>,
    pub update: Revision<'a>,
    /// How often somebody else had a revision's name.
    pub collisions: i64,
    pub pods: Vec<Pod>,
    /// The claim of a name.
    pub claim: &'a (dyn Fn(&str) -> Option<Object> + Sync),
    pub now: Timestamp,
}

pub struct Decision {
    /// Each is begun when the one before it is done.
    pub stages: Vec<Stage>,
    pub status: Value,
    /// When something will count that does not yet.
    pub recheck: Option<Duration>,
}

/// Steps one after the other; or, in a burst, many at once.
pub struct Stage {
    pub steps: Vec<Step>,
    pub is_burst: bool,
}

/// What is done about one pod: its claims first.
pub struct Step {
    pub pod: String,
    /// To be made.
    pub claims: Vec<Value>,
    /// In its way, since they end.
    pub ending: Vec<String>,
    /// With their new owners.
    pub amended: Vec<(Object, Amended)>,
    pub act: Act,
}

pub enum Act {
    Create(Value),
    /// The pod as it should be; None where only its claims were wrong.
    Update(Option<Value>),
    /// Nothing but its claims.
    Claims,
    Delete(Object),
}

/// The error is of a spec that nobody can follow.
pub fn decide(look: &Look<'_>) -> Result<Decision, String> {
    let set = look.set;
    let strategy = tree::text(set, "spec.updateStrategy.type");
    if strategy == "Recreate" {
        let meta = look.owner.meta();
        let (namespace, name) = (&meta.namespace, &meta.name);
        return Err(format!(
            "statefulset {namespace}/{name} uses Recreate strategy but feature gate StatefulSetRecreateStrategy is disabled"
        ));
    }
    let rolling = tree::at(set, "spec.updateStrategy.rollingUpdate");
    let unavailable = share(&rolling["maxUnavailable"], identity::replicas(set), false)?.max(1);
    let plan = Plan::of(look, unavailable);
    let (mut stages, mut replaced) = (Vec::new(), 0);
    if !look.owner.meta().is_deleting() {
        replaced = plan.stages(strategy, &mut stages);
    }
    stages.retain(|stage| !stage.steps.is_empty());
    let (status, recheck) = plan.status(replaced);
    Ok(Decision { stages, status, recheck })
}

struct Plan<'a> {
    look: &'a Look<'a>,
    policy: Policy,
    /// One of these after the other.
    is_ordered: bool,
    min_ready: i64,
    max_unavailable: i64,
    /// Those it shall have, by ordinal; None is to be made.
    slots: Vec<(i64, Option<&'a Pod>)>,
    /// Too many, the highest first.
    condemned: Vec<&'a Pod>,
}

/// Missing ones that are looked at together.
const AHEAD: i64 = 500;

impl<'a> Plan<'a> {
    fn of(look: &'a Look<'a>, max_unavailable: i64) -> Plan<'a> {
        let range = identity::range(look.set);
        let (kept, mut condemned): (Vec<&Pod>, Vec<&Pod>) =
            look.pods.iter().partition(|pod| range.contains(&pod.ordinal));
        condemned.sort_by_key(|pod| std::cmp::Reverse(pod.ordinal));
        // Of many that are missing the first are looked at: those that are made bring the next look.
        let seen = range.end.min(range.start.saturating_add(look.pods.len() as i64).saturating_add(AHEAD));
        let mut slots: BTreeMap<i64, Option<&Pod>> = (range.start..seen).map(|ordinal| (ordinal, None)).collect();
        slots.extend(kept.into_iter().map(|pod| (pod.ordinal, Some(pod))));
        Plan {
            look,
            policy: Policy::of(look.set),
            is_ordered: tree::text(look.set, "spec.podManagementPolicy") != "Parallel",
            min_ready: tree::int(look.set, "spec.minReadySeconds").unwrap_or(0),
            max_unavailable,
            slots: slots.into_iter().collect(),
            condemned,
        }
    }

    /// How many are deleted to be replaced.
    fn stages(&self, strategy: &str, stages: &mut Vec<Stage>) -> i64 {
        let is_burst = !self.is_ordered;
        let (mut steps, mut is_held) = (Vec::new(), false);
        for (ordinal, pod) in &self.slots {
            let (step, waits) = self.keep(*ordinal, *pod);
            steps.extend(step);
            if waits && self.is_ordered {
                is_held = true;
                break;
            }
        }
        stages.push(Stage { steps, is_burst });
        if is_held {
            return 0;
        }
        let owned = |pod: &&Pod| Some(self.claims_only(pod, self.amended(pod, true))).filter(|s| !s.amended.is_empty());
        stages.push(Stage { steps: self.condemned.iter().filter_map(owned).collect(), is_burst });
        if !self.condemned.is_empty() {
            let ends: Vec<Step> = match self.is_ordered {
                true => self.first_condemned().into_iter().collect(),
                false => self.condemned.iter().filter(|pod| !pod.ends()).map(|pod| delete(pod)).collect(),
            };
            stages.push(Stage { steps: ends, is_burst });
            // Scaling goes before updates.
            if self.is_ordered {
                return 0;
            }
        }
        if strategy == "OnDelete" {
            return 0;
        }
        let replaced: Vec<Step> = self.replaced().into_iter().map(delete).collect();
        let count = replaced.len() as i64;
        stages.push(Stage { steps: replaced, is_burst: false });
        count
    }

    /// What one of those that it shall have needs, and whether the ones after it wait for that.
    fn keep(&self, ordinal: i64, pod: Option<&Pod>) -> (Option<Step>, bool) {
        let Some(pod) = pod else { return (self.create(ordinal), true) };
        // However it ended: who evicted it, or which node went, is not told by that (Succeeded, too).
        if pod.seen.is_over() {
            return ((!pod.ends()).then(|| delete(pod)), true);
        }
        let mut step = self.claims_only(pod, self.amended(pod, false));
        let is_pending = pod.seen.status.phase == "Pending";
        if is_pending {
            (step.claims, step.ending) = self.missing(ordinal, pod.uid());
        }
        let waits = pod.ends() || !pod.is_running_ready() || !self.is_available(pod);
        if waits && self.is_ordered {
            return (Some(step).filter(|step| is_pending && step.has_work()), true);
        }
        let corrected = identity::corrected(self.look.set, &pod.object.value(), ordinal);
        if corrected.is_some() && !is_pending {
            (step.claims, step.ending) = self.missing(ordinal, pod.uid());
        }
        if corrected.is_some() || !is_pending && !step.amended.is_empty() {
            step.act = Act::Update(corrected);
        }
        (Some(step).filter(Step::has_work), false)
    }

    /// None: a claim of the pod before it has to go first.
    fn create(&self, ordinal: i64) -> Option<Step> {
        let name = format!("{}-{ordinal}", self.look.owner.meta().name);
        let pair = self.pair(&name, "", false);
        let claims: Vec<Object> = self.claims(ordinal).filter_map(|name| (self.look.claim)(&name)).collect();
        if claims.iter().any(|claim| self.policy.is_stale(claim, &pair)) {
            return None;
        }
        let amended = claims.into_iter().filter_map(|claim| {
            let amended = self.policy.amend(&claim, &pair)?;
            Some((claim, amended))
        });
        let amended = amended.collect();
        let (claims, ending) = self.missing(ordinal, "");
        let revision = self.revision_of(ordinal);
        let pod = identity::pod(self.look.owner, self.look.set, revision.template, revision.name, ordinal);
        Some(Step { pod: name, claims, ending, amended, act: Act::Create(pod) })
    }

    /// What lies below the partition stays at the current revision; without any, as many as are at it.
    fn revision_of(&self, ordinal: i64) -> Revision<'a> {
        let strategy = tree::at(self.look.set, "spec.updateStrategy");
        let count = match strategy["rollingUpdate"].is_null() {
            true if strategy["type"] == "RollingUpdate" => tree::int(self.look.set, "status.currentReplicas"),
            true => None,
            false => Some(self.partition()),
        };
        let start = identity::range(self.look.set).start;
        let stays = ordinal < start.saturating_add(count.unwrap_or(0));
        if stays { self.look.current } else { self.look.update }
    }

    fn partition(&self) -> i64 {
        tree::int(self.look.set, "spec.updateStrategy.rollingUpdate.partition").unwrap_or(0)
    }

    /// The highest of those that are too many, if nothing holds it: one that is not available only goes where no other
    /// is missing.
    fn first_condemned(&self) -> Option<Step> {
        let first = *self.condemned.first()?;
        let lowest_missing = self.condemned.iter().rev().find(|pod| self.is_unavailable(pod));
        let is_it = lowest_missing.is_some_and(|pod| pod.ordinal == first.ordinal);
        let is_well = first.is_running_ready() && self.is_available(first);
        (!first.ends() && (is_well || is_it)).then(|| delete(first))
    }

    /// Those of another revision that may go now, the highest first.
    fn replaced(&self) -> Vec<&'a Pod> {
        let is_missing = |pod: &Option<&Pod>| pod.is_none_or(|pod| self.is_unavailable(pod));
        let missing = self.slots.iter().filter(|(_, pod)| is_missing(pod)).count() as i64;
        let unseen = identity::replicas(self.look.set) - self.slots.len() as i64;
        let mut budget = self.max_unavailable - missing - unseen;
        let from = identity::range(self.look.set).start.saturating_add(self.partition());
        let old = self.slots.iter().rev().filter(|(ordinal, _)| *ordinal >= from).filter_map(|(_, pod)| *pod);
        let old = old.filter(|pod| pod.revision() != self.look.update.name && !pod.ends());
        if self.is_ordered {
            return old.take(usize::try_from(budget).unwrap_or(0)).collect();
        }
        // In parallel those that serve nobody go first, and cost nothing. Who has ended was deleted above.
        let (well, broken): (Vec<&Pod>, Vec<&Pod>) = old.partition(|pod| self.is_available(pod));
        let mut gone: Vec<&Pod> = broken.into_iter().filter(|pod| !pod.seen.is_over()).collect();
        for pod in well {
            if budget <= 0 {
                break;
            }
            budget -= 1;
            gone.push(pod);
        }
        gone
    }

    /// The claims that are not there, and the names of those that end.
    fn missing(&self, ordinal: i64, uid: &str) -> (Vec<Value>, Vec<String>) {
        let (mut missing, mut ending) = (Vec::new(), Vec::new());
        let name = format!("{}-{ordinal}", self.look.owner.meta().name);
        let owners = self.policy.references(&self.pair(&name, uid, false));
        for (_, mut claim) in identity::claims(self.look.set, ordinal) {
            let name = tree::text(&claim, "metadata.name").to_owned();
            match (self.look.claim)(&name) {
                Some(there) if there.meta().is_deleting() => ending.push(name),
                Some(_) => {}
                None => {
                    if !owners.is_empty() {
                        let mut all = tree::list(&claim, "metadata.ownerReferences").to_vec();
                        all.extend(owners.iter().cloned());
                        claim["metadata"]["ownerReferences"] = all.into();
                    }
                    missing.push(claim);
                }
            }
        }
        (missing, ending)
    }

    /// Its claims that have other owners than they should.
    fn amended(&self, pod: &Pod, is_condemned: bool) -> Vec<(Object, Amended)> {
        let pair = self.pair(&pod.object.meta().name, pod.uid(), is_condemned);
        let claims = self.claims(pod.ordinal).filter_map(|name| (self.look.claim)(&name));
        let amended = claims.filter_map(|claim| {
            let amended = self.policy.amend(&claim, &pair)?;
            Some((claim, amended))
        });
        amended.collect()
    }

    fn claims(&self, ordinal: i64) -> impl Iterator<Item = String> {
        let templates = tree::list(self.look.set, "spec.volumeClaimTemplates").iter();
        templates.map(move |template| identity::claim_name(self.look.set, template, ordinal))
    }

    fn pair<'p>(&'p self, pod: &'p str, pod_uid: &'p str, is_condemned: bool) -> Pair<'p> {
        Pair { set: self.look.owner.meta(), pod, pod_uid, is_condemned }
    }

    fn claims_only(&self, pod: &Pod, amended: Vec<(Object, Amended)>) -> Step {
        let name = pod.object.meta().name.clone();
        Step { pod: name, claims: Vec::new(), ending: Vec::new(), amended, act: Act::Claims }
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod.seen.available(self.min_ready, self.look.now).0
    }

    fn is_unavailable(&self, pod: &Pod) -> bool {
        !self.is_available(pod) || pod.ends()
    }

    /// Where so many are deleted to be replaced.
    fn status(&self, replaced: i64) -> (Value, Option<Duration>) {
        let (look, pods) = (self.look, &self.look.pods);
        let count = |is_it: &dyn Fn(&&Pod) -> bool| pods.iter().filter(is_it).count() as i64;
        let ready = count(&|pod| pod.is_running_ready());
        let available = count(&|pod| pod.is_running_ready() && self.is_available(pod));
        let of = |name: &str| count(&|pod| !pod.ends() && pod.revision() == name);
        let (mut current, mut name) = ((of(look.current.name) - replaced).max(0), look.current.name);
        let updated = of(look.update.name);
        let (all, wanted) = (pods.len() as i64, identity::replicas(look.set));
        // Whole: what it was updated to is what it is.
        if [updated, ready, all] == [wanted; 3] {
            (current, name) = (updated, look.update.name);
        }
        let mut status = json!({"replicas": all, "availableReplicas": available, "currentRevision": name,
            "updateRevision": look.update.name, "collisionCount": look.collisions});
        let generation = tree::int(look.set, "metadata.generation").unwrap_or(0);
        let counts = [
            ("observedGeneration", generation),
            ("readyReplicas", ready),
            ("currentReplicas", current),
            ("updatedReplicas", updated),
        ];
        for (field, count) in counts.into_iter().filter(|(_, count)| *count != 0) {
            status[field] = count.into();
        }
        let conditions = tree::at(look.set, "status.conditions");
        if conditions.is_array() {
            status["conditions"] = conditions.clone();
        }
        let recheck = (self.min_ready > 0 && ready != available).then(|| {
            let rests = pods.iter().filter_map(|pod| pod.seen.available(self.min_ready, look.now).1);
            rests.min().unwrap_or(Duration::from_secs(self.min_ready.unsigned_abs()))
        });
        (status, recheck)
    }
}

impl Pod {
    /// None for what is no pod of that set.
    pub fn of(set: &str, object: Object) -> Option<Pod> {
        let ordinal = identity::ordinal_in(set, &object.meta().name)?;
        let seen = Seen::of(&object);
        Some(Pod { object, seen, ordinal })
    }

    fn uid(&self) -> &str {
        &self.object.meta().uid
    }

    fn ends(&self) -> bool {
        self.object.meta().is_deleting()
    }

    pub fn revision(&self) -> &str {
        self.object.meta().labels.get(REVISION_HASH).map_or("", |revision| revision)
    }

    fn is_running_ready(&self) -> bool {
        self.seen.status.phase == "Running" && self.seen.is_ready()
    }
}

impl Step {
    fn has_work(&self) -> bool {
        let has_claims = !self.claims.is_empty() || !self.ending.is_empty() || !self.amended.is_empty();
        has_claims || !matches!(self.act, Act::Claims)
    }
}

fn delete(pod: &Pod) -> Step {
    let name = pod.object.meta().name.clone();
    let act = Act::Delete(pod.object.clone());
    Step { pod: name, claims: Vec::new(), ending: Vec::new(), amended: Vec::new(), act }
}
