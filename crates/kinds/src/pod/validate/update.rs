//! What may change in a pod that exists: images, deadline, more tolerations, fewer gates.
//!
//! A pod that is still gated may also be narrowed: more node selectors, more requirements.

use serde_json::Value;

use super::containers::image_spaces;
use crate::validate::at::{At, Errors};
use crate::validate::meta;
use api::names;
use api::tree;

const REQUIRED: &str = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub fn update(pod: &Value, old: &Value, errors: &mut Errors) {
    let (spec, was) = (At::root(pod).get("spec"), At::root(old).get("spec"));
    for list in ["containers", "initContainers"] {
        if spec.get(list).len() != was.get(list).len() {
            errors.push(spec.get(list).forbidden("pod updates may not add or remove containers"));
            return;
        }
        for container in spec.get(list).items() {
            if container.get("image").text().is_empty() {
                errors.push(container.get("image").required(""));
            }
            image_spaces(&container, errors);
        }
    }
    if !deadline(&spec.get("activeDeadlineSeconds"), &was.get("activeDeadlineSeconds"), errors) {
        return;
    }
    tolerations(&spec.get("tolerations"), &was.get("tolerations"), errors);
    for gate in spec.get("schedulingGates").items() {
        let name = gate.get("name");
        if !was.get("schedulingGates").items().any(|g| g.get("name").text() == name.text()) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", name.text());
            errors.push(name.forbidden(&detail));
        }
    }
    if spec.value == was.value {
        return;
    }
    let mut munged = spec.value.clone();
    for list in ["containers", "initContainers"] {
        for (index, container) in tree::each(&mut munged, list).enumerate() {
            tree::keep(container, &tree::list(was.value, list)[index], "image");
        }
    }
    for field in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        tree::keep(&mut munged, was.value, field);
    }
    if was.get("terminationGracePeriodSeconds").number() < 0 && spec.get("terminationGracePeriodSeconds").number() == 1
    {
        tree::keep(&mut munged, was.value, "terminationGracePeriodSeconds");
    }
    if !was.get("schedulingGates").is_empty() {
        narrow(&spec, &was, &mut munged, errors);
    }
    if munged != *was.value {
        let changes = difference(was.value, &munged);
        errors.push(spec.forbidden(&format!("pod updates may not change fields other than {UPDATABLE}\n{changes}")));
    }
}

/// Existing ephemeral containers stay as they are; new ones may be added.
pub fn ephemeral_containers(pod: &Value, old: &Value, errors: &mut Errors) {
    if tree::at(old, "metadata.annotations").get(super::annotations::MIRROR).is_some() {
        *errors = vec![api::FieldError::forbidden("", "static pods do not support ephemeral containers")];
        return;
    }
    let at = At::root(pod).get("spec").get("ephemeralContainers");
    for before in tree::list(old, "spec.ephemeralContainers") {
        let name = tree::text(before, "name");
        let now = tree::list(pod, "spec.ephemeralContainers").iter().find(|c| tree::text(c, "name") == name);
        match now {
            None => {
                errors.push(at.forbidden(&format!("existing ephemeral containers {name:?} may not be removed\n")));
            }
            Some(now) if now != before => {
                let changes = difference(before, now);
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n{changes}");
                errors.push(at.forbidden(&detail));
            }
            Some(_) => {}
        }
    }
}

/// False if upstream looks no further.
fn deadline(new: &At, old: &At, errors: &mut Errors) -> bool {
    let Some(seconds) = new.int() else {
        if old.has() {
            let detail = "must not update from a positive integer to nil value";
            errors.push(api::FieldError::invalid(&new.path(), &Value::Null, detail));
        }
        return true;
    };
    let complaints = names::within(seconds, 0, i32::MAX as i64);
    if !complaints.is_empty() {
        errors.extend(complaints.iter().map(|m| new.invalid(m)));
        return false;
    }
    if old.int().is_some_and(|before| before < seconds) {
        errors.push(new.invalid("must be less than or equal to previous value"));
        return false;
    }
    true
}

fn tolerations(new: &At, old: &At, errors: &mut Errors) {
    let without_seconds = |toleration: &Value| {
        let mut bare = toleration.clone();
        if let Some(map) = bare.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        bare
    };
    let now: Vec<Value> = new.items().map(|t| without_seconds(t.value)).collect();
    if old.items().any(|before| !now.contains(&without_seconds(before.value))) {
        errors.push(new.forbidden("existing toleration can not be modified except its tolerationSeconds"));
    }
}

/// What a gated pod may still change: its node selector and required node affinity, by additions.
fn narrow(spec: &At, was: &At, munged: &mut Value, errors: &mut Errors) {
    let (selector, before) = (spec.get("nodeSelector"), was.get("nodeSelector"));
    if selector.value != before.value {
        if before.entries().any(|(key, value)| selector.value.get(key) != Some(value.value)) {
            let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.push(selector.invalid(detail));
        }
        tree::keep(munged, was.value, "nodeSelector");
    }
    let affinity = spec.get("affinity").get("nodeAffinity");
    let affinity_before = was.get("affinity").get("nodeAffinity");
    if affinity.value == affinity_before.value {
        return;
    }
    let terms_at = affinity.get("requiredDuringSchedulingIgnoredDuringExecution").get("nodeSelectorTerms");
    let (terms, terms_before) = (tree::list(spec.value, REQUIRED), tree::list(was.value, REQUIRED));
    if !terms_before.is_empty() && terms.len() != terms_before.len() {
        errors.push(terms_at.invalid("no additions/deletions to non-empty NodeSelectorTerms list are allowed"));
    } else {
        for (index, (new, old)) in terms.iter().zip(terms_before).enumerate() {
            if !only_adds(new, old) {
                let detail = "only additions are allowed (no mutations or deletions)";
                errors.push(terms_at.index(index).invalid(detail));
            }
        }
    }
    match (munged.get_mut("affinity"), was.value.get("affinity")) {
        (Some(affinity), Some(old)) if affinity.is_object() => tree::keep(affinity, old, "nodeAffinity"),
        (Some(affinity), None) => {
            if let Some(map) = affinity.as_object_mut() {
                map.remove("nodeAffinity");
            }
            if affinity.as_object().is_some_and(|map| map.is_empty()) {
                tree::keep(munged, was.value, "affinity");
            }
        }
        _ => tree::keep(munged, was.value, "affinity"),
    }
}

fn only_adds(new: &Value, old: &Value) -> bool {
    let lists = ["matchExpressions", "matchFields"];
    let is_empty = |term: &Value| lists.iter().all(|list| tree::list(term, list).is_empty());
    if is_empty(old) && !is_empty(new) {
        return false;
    }
    lists.iter().all(|list| tree::list(new, list).starts_with(tree::list(old, list)))
}

/// The leaves that differ, one line each: `-` as it was, `+` as it would be.
pub fn difference(old: &Value, new: &Value) -> String {
    let mut lines = String::new();
    walk("", old, new, &mut lines);
    lines
}

fn walk(path: &str, old: &Value, new: &Value, lines: &mut String) {
    if old == new {
        return;
    }
    let join = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    match (old, new) {
        (Value::Object(before), Value::Object(after)) => {
            for (key, value) in before {
                walk(&join(key), value, after.get(key).unwrap_or(&Value::Null), lines);
            }
            for (key, value) in after.iter().filter(|(key, _)| !before.contains_key(*key)) {
                walk(&join(key), &Value::Null, value, lines);
            }
        }
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => {
            for (index, (a, b)) in before.iter().zip(after).enumerate() {
                walk(&format!("{path}[{index}]"), a, b, lines);
            }
        }
        _ => {
            for (sign, value) in [('-', old), ('+', new)] {
                if !value.is_null() {
                    lines.push_str(&format!("{sign} {path}: {value}\n"));
                }
            }
        }
    }
}

/// Metadata of a status write or a resize.
pub fn metadata(pod: &Value, old: &Value, errors: &mut Errors) {
    meta::update(&At::root(pod).get("metadata"), &At::root(old).get("metadata"), errors);
}
