//! A pod's resources that were admitted, and new ones that are asked for: taken, deferred or refused.
//!
//! Until new resources are admitted the old ones stand in the pod's place, for plan, specs and report
//! alike. Upstream: kubelet/allocation (KEP 1287).

use std::collections::BTreeMap;

use api::view::api::core::v1 as core;
use client::recorder::Type;
use serde_json::json;

use crate::actor::Actor;
use crate::observe::is_running;
use crate::plan::resize::{Step, step};
use crate::pod::{self, Role};

/// By container name.
pub type Admitted = BTreeMap<String, Option<core::ResourceRequirements>>;

impl Actor {
    /// Judges new resources; what is not admitted is put back in this view of the pod.
    pub(crate) fn resize(&mut self, pod: &mut core::Pod) {
        if !self.memory.admitted || self.memory.refused.is_some() || self.memory.ending.is_some() {
            return;
        }
        if self.admitted.is_none() {
            self.admitted = Some(first(pod));
        }
        let admitted = self.admitted.clone().unwrap_or_default();
        let same = resources(pod).iter().all(|(name, now)| admitted.get(name).is_none_or(|old| is_same(old, now)));
        if same {
            self.memory.resize.pending = None;
            return self.note_progress(pod);
        }
        let verdict = self.shared.ledger().resize(pod, &self.shared.offer());
        match verdict {
            Ok(()) => {
                self.admitted = Some(resources(pod));
                self.memory.resize.pending = None;
                self.memory.resize.in_progress = Some(String::new());
                self.shared.freed.send_modify(|n| *n += 1);
                self.event(None, Type::Normal, "ResizeStarted", &format!("Pod resize started: {}", told(pod)));
            }
            Err(waiting) => {
                if self.memory.resize.pending.as_ref().is_none_or(|p| p.reason != waiting.reason) {
                    let reason = format!("Resize{}", waiting.reason);
                    self.event(None, Type::Warning, &reason, &waiting.message);
                }
                self.memory.resize.pending = Some(waiting);
                put_back(pod, &admitted);
            }
        }
    }

    /// A resize is over once every running container has what it was promised.
    fn note_progress(&mut self, pod: &core::Pod) {
        if self.memory.resize.in_progress.is_none() {
            return;
        }
        let parts = pod::parts(pod);
        let done = parts
            .iter()
            .filter(|p| matches!(p.role, Role::Regular | Role::Sidecar))
            .all(|p| self.seen.latest_here(p.name()).is_some_and(|c| is_running(c) && step(p, c) == Step::Nothing));
        if done {
            self.memory.resize.in_progress = None;
            self.event(None, Type::Normal, "ResizeCompleted", &format!("Pod resize completed: {}", told(pod)));
        }
    }
}

/// What was admitted before this agent: what a running container is said to have, else the spec.
fn first(pod: &core::Pod) -> Admitted {
    let mut all = resources(pod);
    for (name, resources) in &mut all {
        let given = pod::old_status(pod, name).and_then(|s| s.resources.clone());
        if given.is_some() {
            *resources = given;
        }
    }
    all
}

fn resources(pod: &core::Pod) -> Admitted {
    let parts = pod::parts(pod);
    let resized = parts.iter().filter(|p| matches!(p.role, Role::Regular | Role::Sidecar));
    resized.map(|p| (p.name().to_owned(), p.spec.resources.clone())).collect()
}

/// CPU and memory, the only resources that can be resized.
fn is_same(a: &Option<core::ResourceRequirements>, b: &Option<core::ResourceRequirements>) -> bool {
    let of = |r: &Option<core::ResourceRequirements>, limits: bool, name: &str| {
        let list = r.as_ref().and_then(|r| if limits { r.limits.as_ref() } else { r.requests.as_ref() });
        list.map_or(0, |l| pod::milli(l, name))
    };
    ["cpu", "memory"].iter().all(|name| [true, false].iter().all(|l| of(a, *l, name) == of(b, *l, name)))
}

fn put_back(pod: &mut core::Pod, admitted: &Admitted) {
    let Some(spec) = &mut pod.spec else { return };
    for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        if let Some(old) = admitted.get(&c.name) {
            c.resources = old.clone();
        }
    }
}

fn told(pod: &core::Pod) -> serde_json::Value {
    let containers: Vec<_> = resources(pod)
        .into_iter()
        .map(|(name, resources)| json!({"name": name, "resources": resources.unwrap_or_default()}))
        .collect();
    json!({"containers": containers, "generation": pod.metadata.generation})
}
