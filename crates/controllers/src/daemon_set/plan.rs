//! What is to be made and ended for a DaemonSet now, and what its status tells. Pure.
//!
//! pkg/controller/daemon/{daemon_controller,update}.go. Laws: a node never shall have two pods but for one old and one
//! new while it surges; no pod that is available is ended for a newer one beyond maxUnavailable.

use std::collections::HashMap;
use std::time::Duration;

use api::{Object, tree};
use client::recorder::Type;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::eligible::{Eligible, Node};
use super::failed::Failed;
use super::pod::{self, Daemon, OnNodes};
use crate::workload::revisions::REVISION_HASH;
use crate::workload::share;

/// What one look sees.
pub struct Look<'a> {
    pub set: &'a Value,
    pub eligible: &'a Eligible,
    pub nodes: &'a [Node],
    pub on: &'a OnNodes,
    /// Of the newest template.
    pub hash: &'a str,
    pub now: Timestamp,
}

#[derive(Default)]
pub struct Plan {
    /// The nodes that get a pod.
    pub make: Vec<String>,
    pub end: Vec<Object>,
    /// Events: reason and text.
    pub told: Vec<(Type, &'static str, String)>,
    /// When a failed pod may go.
    pub recheck: Option<Duration>,
}

/// Every node has its pod, and no other has.
pub fn manage(look: &Look<'_>, failed: &mut Failed, instant: Instant) -> Plan {
    let mut plan = Plan::default();
    for node in look.nodes {
        let verdict = look.eligible.judge(node);
        match look.on.get(&node.name) {
            None if verdict.runs => plan.make.push(node.name.clone()),
            None => {}
            Some(pods) if verdict.stays => tend(look, node, pods, verdict.runs, &mut plan, (&mut *failed, instant)),
            Some(pods) => {
                plan.end.extend(pods.iter().filter(|pod| !pod.is_ending()).map(|pod| pod.object.clone()));
            }
        }
    }
    // Nobody will place them, nor collect them.
    let nodes = look.by_name();
    let lost = look.on.iter().filter(|(name, _)| !nodes.contains_key(name.as_str())).flat_map(|(_, pods)| pods);
    plan.end.extend(lost.filter(|pod| pod.seen.spec.node_name.is_empty()).map(|pod| pod.object.clone()));
    plan
}

/// One node that may have them.
fn tend(
    look: &Look<'_>,
    node: &Node,
    pods: &[Daemon],
    runs: bool,
    plan: &mut Plan,
    (failed, instant): (&mut Failed, Instant),
) {
    let mut running: Vec<&Daemon> = Vec::new();
    let mut waits = false;
    for pod in pods.iter().filter(|pod| !pod.is_ending()) {
        let meta = pod.object.meta();
        let name = format!("daemon pod {}/{} on node {}", meta.namespace, meta.name, node.name);
        match pod.seen.status.phase.as_str() {
            "Failed" => {
                let generation = tree::int(look.set, "metadata.generation").unwrap_or(0);
                let uid = tree::text(look.set, "metadata.uid");
                if let Some(rest) = failed.wait(uid, generation, &node.name, instant) {
                    plan.recheck = [plan.recheck, Some(rest)].into_iter().flatten().min();
                    waits = true;
                    continue;
                }
                plan.told.push((Type::Warning, "FailedDaemonPod", format!("Found failed {name}, will try to kill it")));
                plan.end.push(pod.object.clone());
            }
            "Succeeded" => {
                let told = format!("Found succeeded {name}, will try to delete it");
                plan.told.push((Type::Normal, "SucceededDaemonPod", told));
                plan.end.push(pod.object.clone());
            }
            _ => running.push(pod),
        }
    }
    if !surges(look.set) {
        plan.end.extend(running.iter().skip(1).map(|pod| pod.object.clone()));
        return;
    }
    // Upstream makes one beside a failed one that waits, again and again: here the node waits with it.
    if running.is_empty() && runs && !waits {
        plan.make.push(node.name.clone());
    }
    if running.len() <= 1 {
        return;
    }
    let (mut newest, mut old): (Option<&Daemon>, Option<&Daemon>) = (None, None);
    for pod in running {
        let is_newest = pod.object.meta().labels.get(REVISION_HASH).is_some_and(|hash| *hash == *look.hash);
        let place = if is_newest { &mut newest } else { &mut old };
        match place {
            None => *place = Some(pod),
            Some(_) => plan.end.push(pod.object.clone()),
        }
    }
    if let (Some(newest), Some(old)) = (newest, old)
        && (!old.seen.is_ready() || look.is_available(newest))
    {
        plan.end.push(old.object.clone());
    }
}

/// Old pods give way to new ones, as many at a time as the strategy allows.
pub fn roll(look: &Look<'_>) -> Result<Plan, String> {
    let desired = look.nodes.iter().filter(|node| look.eligible.judge(node).runs).count() as i64;
    let strategy = tree::at(look.set, "spec.updateStrategy.rollingUpdate");
    let mut unavailable = share(&strategy["maxUnavailable"], desired, true)?;
    let surge = share(&strategy["maxSurge"], desired, true)?;
    if desired > 0 && unavailable == 0 && surge == 0 {
        unavailable = 1;
    }
    match surge {
        0 => Ok(replace(look, unavailable)),
        surge => Ok(surge_over(look, surge, desired)),
    }
}

/// The one of the newest template and the one of an older; None where there are more of either.
type Pair<'a> = Option<(Option<&'a Daemon>, Option<&'a Daemon>)>;

fn pair<'a>(look: &Look<'_>, pods: &'a [Daemon]) -> Pair<'a> {
    let (mut newest, mut old) = (None, None);
    for pod in pods.iter().filter(|pod| !pod.is_ending()) {
        let place = if look.is_updated(pod) { &mut newest } else { &mut old };
        if place.replace(pod).is_some() {
            return None;
        }
    }
    Some((newest, old))
}

/// Ends old pods; the next look makes new ones.
fn replace(look: &Look<'_>, most: i64) -> Plan {
    let bare = look.nodes.iter().filter(|node| !look.on.contains_key(&node.name) && look.eligible.judge(node).runs);
    let mut missing = bare.count() as i64;
    let (mut end, mut candidates) = (Vec::new(), Vec::new());
    for pods in look.on.values() {
        match pair(look, pods) {
            Some((Some(newest), None)) => missing += i64::from(!look.is_available(newest)),
            Some((None, Some(old))) if look.is_available(old) => candidates.push(old.object.clone()),
            Some((None, Some(old))) => {
                end.push(old.object.clone());
                missing += 1;
            }
            // The core has to do with it first.
            _ => missing += 1,
        }
    }
    candidates.truncate(usize::try_from(most - missing).unwrap_or(0));
    end.append(&mut candidates);
    Plan { end, ..Plan::default() }
}

/// Makes new pods beside old ones, and ends an old one once the new one is available.
fn surge_over(look: &Look<'_>, most: i64, desired: i64) -> Plan {
    let nodes = look.by_name();
    let is_eligible = |name: &str| nodes.get(name).is_some_and(|node| look.eligible.judge(node).runs);
    let (mut make, mut end) = (Vec::new(), Vec::new());
    let (mut candidates, mut misplaced) = (Vec::new(), Vec::new());
    let (mut surging, mut available) = (0, 0);
    for (name, pods) in look.on {
        let Some((newest, old)) = pair(look, pods) else {
            surging += 1;
            continue;
        };
        available += i64::from(old.or(newest).is_some_and(|pod| look.is_available(pod)));
        let Some(old) = old else { continue };
        match newest {
            None if !nodes.contains_key(name.as_str()) => {}
            None if !look.is_available(old) && is_eligible(name) => make.push(name.clone()),
            None if !look.is_available(old) => end.push(old.object.clone()),
            None if is_eligible(name) => candidates.push(name.clone()),
            None => misplaced.push(old.object.clone()),
            Some(newest) if look.is_available(newest) => end.push(old.object.clone()),
            Some(_) => surging += 1,
        }
    }
    // A node that no longer is meant gives its pod up when enough others have theirs.
    misplaced.truncate(usize::try_from(available - desired).unwrap_or(0));
    end.append(&mut misplaced);
    candidates.truncate(usize::try_from(most - surging).unwrap_or(0));
    make.append(&mut candidates);
    Plan { make, end, ..Plan::default() }
}

/// The status, and when a pod that is ready will count as available.
pub fn status(look: &Look<'_>) -> (Value, Option<Duration>) {
    let (mut desired, mut current, mut misplaced, mut updated, mut ready, mut available) = (0, 0, 0, 0, 0, 0);
    for node in look.nodes {
        let oldest = look.on.get(&node.name).and_then(|pods| pods.first());
        if !look.eligible.judge(node).runs {
            misplaced += i64::from(oldest.is_some());
            continue;
        }
        desired += 1;
        let Some(pod) = oldest else { continue };
        current += 1;
        ready += i64::from(pod.seen.is_ready());
        available += i64::from(look.is_available(pod));
        updated += i64::from(look.is_updated(pod));
    }
    let mut status = look.set["status"].clone();
    let always = [
        ("currentNumberScheduled", current),
        ("desiredNumberScheduled", desired),
        ("numberMisscheduled", misplaced),
        ("numberReady", ready),
    ];
    for (field, count) in always {
        status[field] = count.into();
    }
    let others = [
        ("observedGeneration", tree::int(look.set, "metadata.generation").unwrap_or(0)),
        ("updatedNumberScheduled", updated),
        ("numberAvailable", available),
        ("numberUnavailable", desired - available),
    ];
    for (field, count) in others {
        if count != 0 {
            status[field] = count.into();
        } else if let Some(status) = status.as_object_mut() {
            status.remove(field);
        }
    }
    let rests = look.on.values().flatten().filter_map(|pod| pod.seen.available(look.min_ready(), look.now).1);
    (status, rests.min())
}

/// Whether a node may have two.
fn surges(set: &Value) -> bool {
    let strategy = tree::at(set, "spec.updateStrategy");
    strategy["type"] == "RollingUpdate"
        && share(&strategy["rollingUpdate"]["maxSurge"], 1, true).is_ok_and(|surge| surge > 0)
}

impl Look<'_> {
    fn by_name(&self) -> HashMap<&str, &Node> {
        self.nodes.iter().map(|node| (node.name.as_str(), node)).collect()
    }

    fn min_ready(&self) -> i64 {
        tree::int(self.set, "spec.minReadySeconds").unwrap_or(0)
    }

    fn is_available(&self, pod: &Daemon) -> bool {
        pod.seen.available(self.min_ready(), self.now).0
    }

    /// By the hash, or as it was told before there were revisions.
    fn is_updated(&self, pod: &Daemon) -> bool {
        let says = |label: &str, value: &str| pod.object.meta().labels.get(label).is_some_and(|own| *own == *value);
        (!self.hash.is_empty() && says(REVISION_HASH, self.hash))
            || pod::template_generation(self.set).is_some_and(|count| says(pod::TEMPLATE_GENERATION, &count))
    }
}
