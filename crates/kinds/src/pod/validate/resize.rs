//! `pods/resize`: only cpu and memory move, nothing is removed, and the QoS class stays.

use serde_json::{Map, Value, json};

use crate::validate::at::{At, Errors};
use api::pod::Demands;
use api::tree;

pub fn resize(pod: &Value, old: &Value, errors: &mut Errors) {
    if tree::at(old, "metadata.annotations").get(super::annotations::MIRROR).is_some() {
        *errors = vec![api::FieldError::forbidden("", "static pods cannot be resized")];
        return;
    }
    let spec = At::root(pod).get("spec");
    let was = tree::at(old, "spec");
    if tree::text(old, "status.qosClass") != Demands::of(pod).qos_class() {
        let shown = tree::text(pod, "status.qosClass");
        errors.push(spec.invalid_as(shown, "Pod QOS Class may not change as a result of resizing"));
    }
    let running = tree::list(old, "status.containerStatuses").iter().find(|c| tree::has(c, "state.running"));
    if running.is_some_and(|c| !tree::has(c, "resources")) {
        errors.push(spec.forbidden("Pod running on node without support for resize"));
    }
    pod_level(&spec, was, errors);
    if !same_order(&spec, was, errors) {
        return;
    }
    for list in ["initContainers", "containers"] {
        for (index, container) in spec.get(list).items().enumerate() {
            let before = &tree::list(was, list)[index];
            let at = container.get("resources");
            for (field, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
                if removed(at.get(field).value, tree::at(before, &format!("resources.{field}"))) {
                    errors.push(at.get(field).forbidden(&format!("{what} cannot be removed")));
                }
            }
            only_compute(&spec, &container, before, list == "initContainers", errors);
        }
    }
    if spec.get("volumes").value != tree::at(was, "volumes") {
        let detail = "volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes feature gate \
                      is disabled";
        errors.push(spec.get("volumes").forbidden(detail));
    }
    if errors.is_empty() && strip(spec.value) != strip(was) {
        errors.push(spec.forbidden("only cpu and memory resources are mutable"));
    }
}

fn pod_level(spec: &At, was: &Value, errors: &mut Errors) {
    let at = spec.get("resources");
    let before = tree::at(was, "resources");
    if before.is_null() && !at.has() {
        return;
    }
    if !before.is_null() && !at.has() {
        errors.push(at.forbidden("pod-level resources cannot be removed"));
        return;
    }
    for (field, what) in [("requests", "pod-level resource requests"), ("limits", "pod-level resource limits")] {
        if removed(at.get(field).value, tree::at(before, field)) {
            errors.push(at.get(field).forbidden(&format!("{what} cannot be removed")));
        }
    }
    if without_compute(at.value) != without_compute(before) {
        errors.push(spec.forbidden("only cpu and memory resources are mutable at pod-level"));
    }
}

fn same_order(spec: &At, was: &Value, errors: &mut Errors) -> bool {
    let before = errors.len();
    for list in ["containers", "initContainers"] {
        let (now, old) = (spec.get(list), tree::list(was, list));
        if now.len() != old.len() {
            errors.push(now.forbidden(&format!("{list} may not be added or removed on resize")));
            continue;
        }
        for (container, old) in now.items().zip(old) {
            if container.get("name").text() != tree::text(old, "name") {
                let detail = format!("{list} may not be renamed or reordered on resize");
                errors.push(container.get("name").forbidden(&detail));
            }
        }
    }
    errors.len() == before
}

fn only_compute(spec: &At, container: &At, before: &Value, is_init: bool, errors: &mut Errors) {
    let bare = |container: &Value| {
        let mut bare = container.clone();
        if let Some(map) = bare.as_object_mut() {
            let resources = map.remove("resources").unwrap_or(Value::Null);
            map.insert("resources".into(), without_compute(&resources));
        }
        bare
    };
    if bare(container.value) != bare(before) {
        errors.push(match is_init {
            true => container.forbidden("only cpu and memory resources for init or sidecar containers are mutable"),
            false => spec.forbidden("only cpu and memory resources are mutable"),
        });
    }
    let is_sidecar = container.get("restartPolicy").text() == "Always";
    let restarts = |policy: At| policy.get("restartPolicy").text() == "RestartContainer";
    if is_init && !is_sidecar && container.value != before && container.get("resizePolicy").items().any(restarts) {
        let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        errors.push(container.forbidden(detail));
    }
}

/// The spec without what was judged already.
fn strip(spec: &Value) -> Value {
    let mut bare = spec.clone();
    if let Some(map) = bare.as_object_mut() {
        for field in ["containers", "initContainers", "resources", "volumes"] {
            map.remove(field);
        }
    }
    bare
}

/// Requirements without cpu and memory; empty lists count as none.
fn without_compute(resources: &Value) -> Value {
    let mut bare = Map::new();
    for (key, value) in resources.as_object().into_iter().flatten() {
        match value {
            Value::Object(list) if key != "claims" => {
                let rest: Map<String, Value> = list
                    .iter()
                    .filter(|(k, _)| !matches!(k.as_str(), "cpu" | "memory"))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                if !rest.is_empty() {
                    bare.insert(key.clone(), Value::Object(rest));
                }
            }
            other => {
                bare.insert(key.clone(), json!(other));
            }
        }
    }
    Value::Object(bare)
}

fn removed(new: &Value, old: &Value) -> bool {
    old.as_object().into_iter().flatten().any(|(name, _)| new.get(name).is_none())
}
