//! Who owns which field of a pod: what a write may not change is put back before anything else.
//!
//! Matches pkg/registry/core/pod/strategy.go: a client never sets the status of a new pod, a status
//! write never changes the spec, `resize` and `ephemeralcontainers` change only their part of it, and
//! the generation counts changes of the spec (KEP-5067), whatever the client sent.

use serde_json::{Value, json};

use super::{app_armor, born, defaults, disabled};
use crate::kind::{Context, Kind};
use api::pod::Demands;
use api::tree;

pub fn prepare(_: &Kind, pod: &mut Value, old: Option<&Value>, context: &Context) {
    // Generation and QoS class look at the defaulted spec; defaulting twice changes nothing.
    defaults::default(pod);
    disabled::drop_disabled(pod, old);
    match (old, context.subresource.as_str()) {
        (None, _) => create(pod, context),
        (Some(old), "status") => status(pod, old),
        (Some(old), "ephemeralcontainers") => part(pod, old, |new, spec| tree::keep(spec, new, "ephemeralContainers")),
        (Some(old), "resize") => resize(pod, old),
        (Some(old), _) => update(pod, old),
    }
}

fn create(pod: &mut Value, context: &Context) {
    app_armor::fill(pod);
    defaults::pod_level_resources(pod);
    pod["status"] = born(Demands::of(pod).qos_class());
    set_generation(pod, 1);
    if !tree::list(pod, "spec.schedulingGates").is_empty() {
        pod["status"]["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null,
            "lastTransitionTime": context.now,
        }]);
    }
    match_label_keys(pod);
}

fn update(pod: &mut Value, old: &Value) {
    keep_pod_level(pod, old);
    count(pod, old);
}

/// A client that does not know the pod's own resources does not mean to remove them.
fn keep_pod_level(pod: &mut Value, old: &Value) {
    if !tree::has(pod, "spec.resources")
        && let Some(spec) = tree::child(pod, "spec")
    {
        tree::keep(spec, tree::at(old, "spec"), "resources");
    }
}

/// Owners and the deletion's time stand as they were; so do fields that a client does not know.
fn status(pod: &mut Value, old: &Value) {
    if let Some(metadata) = tree::child(pod, "metadata") {
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "generation"] {
            tree::keep(metadata, tree::at(old, "metadata"), field);
        }
    }
    let was = tree::at(old, "status");
    let Some(status) = tree::child(pod, "status") else { return };
    for field in
        ["qosClass", "resourceClaimStatuses", "extendedResourceClaimStatus", "nodeAllocatableResourceClaimStatuses"]
    {
        if tree::at(status, field).is_null() || tree::at(status, field) == "" {
            tree::keep(status, was, field);
        }
    }
    keep_generation(status, was);
    // Several conditions may have one type: the n-th of a type keeps the n-th's value.
    let mut before: Vec<&Value> = tree::list(was, "conditions").iter().collect();
    for condition in tree::each(status, "conditions") {
        let same = before.iter().position(|c| tree::text(c, "type") == tree::text(condition, "type"));
        if let Some(index) = same {
            keep_generation(condition, before.remove(index));
        }
    }
}

/// An `observedGeneration` of zero or none keeps its old value.
fn keep_generation(new: &mut Value, old: &Value) {
    if tree::int(new, "observedGeneration").unwrap_or(0) == 0 && tree::has(old, "observedGeneration") {
        tree::keep(new, old, "observedGeneration");
    }
}

/// Only cpu and memory of containers, their resize policies and the pod's own resources are taken.
fn resize(pod: &mut Value, old: &Value) {
    let same_shape = ["spec.containers", "spec.initContainers"]
        .iter()
        .all(|path| tree::list(pod, path).len() == tree::list(old, path).len());
    // Of another shape validation says what is wrong.
    if same_shape {
        resize_part(pod, old);
    }
    keep_pod_level(pod, old);
    defaults::pod_level_resources(pod);
    count(pod, old);
}

fn resize_part(pod: &mut Value, old: &Value) {
    part(pod, old, |new, spec| {
        tree::keep(spec, new, "resources");
        for field in ["containers", "initContainers"] {
            for (index, container) in tree::each(spec, field).enumerate() {
                let sent = &tree::list(new, field)[index];
                if tree::text(sent, "name") != tree::text(container, "name") {
                    // Renamed: left in, so that validation refuses it.
                    *container = sent.clone();
                    continue;
                }
                tree::keep(container, sent, "resources");
                tree::keep(container, sent, "resizePolicy");
            }
        }
    });
}

/// Everything as it was, metadata too, but one part of the spec.
fn part(pod: &mut Value, old: &Value, take: impl FnOnce(&Value, &mut Value)) {
    let sent = tree::at(pod, "spec").clone();
    let mut spec = tree::at(old, "spec").clone();
    take(&sent, &mut spec);
    pod["spec"] = spec;
    if let Some(metadata) = tree::child(pod, "metadata") {
        for field in [
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "ownerReferences",
            "finalizers",
            "labels",
            "annotations",
        ] {
            tree::keep(metadata, tree::at(old, "metadata"), field);
        }
    }
    count(pod, old);
}

fn count(pod: &mut Value, old: &Value) {
    let before = tree::int(old, "metadata.generation").unwrap_or(0);
    set_generation(pod, before + i64::from(tree::at(pod, "spec") != tree::at(old, "spec")));
}

fn set_generation(pod: &mut Value, generation: i64) {
    if let Some(metadata) = tree::child(pod, "metadata") {
        metadata["generation"] = json!(generation);
    }
}

/// The values of `matchLabelKeys` are taken from the pod's own labels when it is created, as further
/// requirements of the term's selector (strategy.go, mutatePodAffinity and its neighbour).
fn match_label_keys(pod: &mut Value) {
    let labels = tree::at(pod, "metadata.labels").clone();
    let Some(spec) = pod.get_mut("spec") else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|a| a.get_mut(kind)) else { continue };
        for term in tree::each(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            add_requirements(term, &labels, &[("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")]);
        }
        for weighted in tree::each(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                add_requirements(term, &labels, &[("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")]);
            }
        }
    }
    for constraint in tree::each(spec, "topologySpreadConstraints") {
        add_requirements(constraint, &labels, &[("matchLabelKeys", "In")]);
    }
}

fn add_requirements(term: &mut Value, labels: &Value, fields: &[(&str, &str)]) {
    if !tree::has(term, "labelSelector") {
        return;
    }
    for (field, operator) in fields {
        let keys: Vec<Value> = tree::list(term, field).to_vec();
        for key in keys.iter().filter_map(Value::as_str) {
            let Some(value) = labels.get(key) else { continue };
            let requirement = json!({"key": key, "operator": operator, "values": [value]});
            let selector = &mut term["labelSelector"];
            match selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
                Some(list) => list.push(requirement),
                None => selector["matchExpressions"] = json!([requirement]),
            }
        }
    }
}
