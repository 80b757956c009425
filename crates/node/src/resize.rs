//! A pod's resources that were admitted, and new ones that are asked for: taken, deferred or refused.
//!
//! Until new resources are admitted the old ones stand in the pod's place, for plan, specs and report
//! alike; the pod's own resources just like its containers'. Upstream: kubelet/allocation (KEPs 1287
//! and 5419).

use crate::view as core;
use serde::Serialize;

use crate::observe::{Seen, is_running};
use crate::plan::resize::{Step, pod_fits, resizable, step};
use crate::pod::{self, Role};
use crate::progress::{Admitted, Pending, Resize};
use crate::promises::Promises;

/// What is new about a pod's resources.
pub enum Judgement {
    /// They are those that were admitted; true where other ones are asked for no more.
    Same {
        withdrawn: bool,
    },
    /// They are admitted now.
    Taken(Admitted),
    Waits(Pending),
}

/// What the pod asks for, judged by what there is on the node.
pub fn judge(pod: &core::Pod, admitted: &Admitted, resize: &Resize, promises: &Promises) -> Judgement {
    let now = resources(pod);
    let same_containers =
        now.containers.iter().all(|(name, now)| admitted.containers.get(name).is_none_or(|old| is_same(old, now)));
    if same_containers && is_same(&admitted.pod, &now.pod) {
        let withdrawn = resize.pending.is_some();
        if withdrawn {
            promises.withdraw(pod);
        }
        return Judgement::Same { withdrawn };
    }
    match promises.resize(pod) {
        Ok(()) => Judgement::Taken(now),
        Err(pending) => Judgement::Waits(pending),
    }
}

/// The pod and every running container have what they were promised.
pub fn is_completed(pod: &core::Pod, seen: &Seen) -> bool {
    let parts = pod::parts(pod);
    // What has not begun begins with it, and a step that is done needs it no more.
    let fits = |p: &pod::Part<'_>| match seen.latest_here(p.name()) {
        None => true,
        Some(c) if p.role == Role::Init && !is_running(c) => true,
        Some(c) => is_running(c) && step(pod, p, c) == Step::Nothing,
    };
    seen.current().is_some_and(|sandbox| pod_fits(pod, sandbox)) && parts.iter().filter(|p| resizable(p)).all(fits)
}

/// What was admitted before this agent: what the status says that the pod has, else the spec.
pub fn first(pod: &core::Pod) -> Admitted {
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

pub fn put_back(pod: &mut core::Pod, admitted: &Admitted) {
    let Some(spec) = &mut pod.spec else { return };
    spec.resources = admitted.pod.clone();
    for c in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        if let Some(old) = admitted.containers.get(&c.name) {
            c.resources = old.clone();
        }
    }
}

/// The message of an event of a resize (pkg/kubelet/events/resize.go).
pub fn told(pod: &core::Pod, what: &str, error: &str) -> String {
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
