//! A pod's resources that were admitted, and new ones that are asked for: taken, deferred or refused.
//!
//! Until new resources are admitted the old ones stand in the pod's place, for plan, specs and report
//! alike; the pod's own resources just like its containers'. Upstream: kubelet/allocation (KEPs 1287
//! and 5419).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::view::api::core::v1 as core;
use client::recorder::Type;
use serde::Serialize;

use crate::actor::Actor;
use crate::observe::is_running;
use crate::plan::resize::{Step, pod_fits, resizable, step};
use crate::pod::{self, Role};

/// What the pod as a whole and its containers (by name) may have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admitted {
    pod: Option<core::ResourceRequirements>,
    containers: BTreeMap<String, Option<core::ResourceRequirements>>,
}

impl Actor {
    /// Judges new resources; what is not admitted is put back in this view of the pod.
    pub(crate) fn resize(&mut self, pod: &mut Arc<core::Pod>) {
        if !self.memory.admitted || self.memory.refused.is_some() || self.memory.ending.is_some() {
            return;
        }
        let admitted = self.admitted.get_or_insert_with(|| first(pod)).clone();
        let now = resources(pod);
        let same_containers =
            now.containers.iter().all(|(name, now)| admitted.containers.get(name).is_none_or(|old| is_same(old, now)));
        if same_containers && is_same(&admitted.pod, &now.pod) {
            if self.memory.resize.pending.take().is_some() {
                // It is asked for no more, though it may have been promised since.
                self.shared.ledger().enter(pod, &self.shared.offer());
                self.shared.freed.send_modify(|n| *n += 1);
            }
            return self.note_progress(pod);
        }
        let verdict = self.shared.ledger().resize(pod, &self.shared.offer());
        match verdict {
            Ok(()) => {
                self.admitted = Some(now);
                self.memory.resize.pending = None;
                self.memory.resize.in_progress = Some(String::new());
                self.memory.resize.retry_at = None;
                self.shared.freed.send_modify(|n| *n += 1);
                self.event(None, Type::Normal, "ResizeStarted", &told(pod, "started", ""));
            }
            Err(waiting) => {
                if self.memory.resize.pending.as_ref().is_none_or(|p| p.reason() != waiting.reason()) {
                    let reason = format!("Resize{}", waiting.reason());
                    let message = told(pod, waiting.reason(), waiting.message());
                    self.event(None, Type::Warning, &reason, &message);
                }
                self.memory.resize.pending = Some(waiting);
                put_back(Arc::make_mut(pod), &admitted);
            }
        }
    }

    /// A resize is over once the pod and every running container have what they were promised.
    fn note_progress(&mut self, pod: &core::Pod) {
        if self.memory.resize.in_progress.is_none() {
            return;
        }
        let parts = pod::parts(pod);
        // What has not begun begins with it, and a step that is done needs it no more.
        let fits = |p: &pod::Part<'_>| match self.seen.latest_here(p.name()) {
            None => true,
            Some(c) if p.role == Role::Init && !is_running(c) => true,
            Some(c) => is_running(c) && step(pod, p, c) == Step::Nothing,
        };
        let done = self.seen.current().is_some_and(|sandbox| pod_fits(pod, sandbox))
            && parts.iter().filter(|p| resizable(p)).all(fits);
        if done {
            self.memory.resize.in_progress = None;
            self.event(None, Type::Normal, "ResizeCompleted", &told(pod, "completed", ""));
        }
    }
}

/// What was admitted before this agent: what the status says that the pod has, else the spec.
fn first(pod: &core::Pod) -> Admitted {
    let mut all = resources(pod);
    for (name, resources) in &mut all.containers {
        let given = pod::old_status(pod, name).and_then(|s| s.resources.clone());
        if given.is_some() {
            *resources = given;
        }
    }
    let given = pod.status.as_ref().and_then(|s| s.resources.clone());
    if all.pod.is_some() && given.is_some() {
        all.pod = given;
    }
    all
}

fn resources(pod: &core::Pod) -> Admitted {
    let parts = pod::parts(pod);
    let resized = parts.iter().filter(|p| resizable(p));
    Admitted {
        pod: pod.spec.as_ref().and_then(|s| s.resources.clone()),
        containers: resized.map(|p| (p.name().to_owned(), p.spec.resources.clone())).collect(),
    }
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
    spec.resources = admitted.pod.clone();
    for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        if let Some(old) = admitted.containers.get(&c.name) {
            c.resources = old.clone();
        }
    }
}

/// The message of an event of a resize (pkg/kubelet/events/resize.go).
pub(crate) fn told(pod: &core::Pod, what: &str, error: &str) -> String {
    #[derive(Serialize)]
    struct One<'a> {
        name: &'a str,
        resources: core::ResourceRequirements,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct All<'a> {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        init_containers: Vec<One<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        containers: Vec<One<'a>>,
        generation: i64,
        #[serde(skip_serializing_if = "str::is_empty")]
        error: &'a str,
    }
    let one = |c| -> One<'_> {
        let c: &core::Container = c;
        One { name: &c.name, resources: c.resources.clone().unwrap_or_default() }
    };
    let spec = pod.spec.as_ref();
    let all = All {
        init_containers: spec.into_iter().flat_map(|s| s.init_containers.iter().flatten()).map(one).collect(),
        containers: spec.into_iter().flat_map(|s| &s.containers).map(one).collect(),
        generation: pod.metadata.generation.unwrap_or(0),
        error,
    };
    let all = serde_json::to_string(&all).unwrap_or_default();
    format!("Pod resize {what}: {all}")
}
