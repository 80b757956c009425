//! Claims: what may be created, what may change, and what a status may say.
//!
//! Matches ValidatePersistentVolumeClaim, …Update and …StatusUpdate (pkg/apis/core/validation).

use api::quantity::Quantity;
use api::{FieldError, names, tree};
use serde_json::Value;

use crate::kind::{Context, Kind};
use crate::pod::validate::difference;
use crate::row::metadata;
use crate::validate::at::{At, Errors};
use crate::validate::{claim, meta, volume};

pub fn validate(kind: &Kind, claim: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, claim, old);
    let at = At::root(claim);
    if context.subresource == "status" {
        status(&at.get("status"), &mut errors);
        return errors;
    }
    claim::spec(&at.get("spec"), old.map(|old| At::root(old).get("spec")), &mut errors);
    if let Some(old) = old {
        update(&at, &At::root(old), &mut errors);
    }
    errors
}

fn update(at: &At, was: &At, errors: &mut Errors) {
    let (spec, before) = (at.get("spec"), was.get("spec"));
    let attributes = spec.get("volumeAttributesClassName");
    unchanged(at, was, errors);
    let asked = |spec: &At| Quantity::of(tree::at(spec.value, "resources.requests.storage"));
    let has = Quantity::of(tree::at(was.value, "status.capacity.storage"));
    if asked(&spec) < asked(&before) && asked(&spec) <= has {
        let path = "spec.resources.requests.storage";
        errors.push(FieldError::forbidden(path, "field can not be less than status.capacity"));
    }
    meta::immutable(&at.get("volumeMode").with(spec.get("volumeMode").value), &before.get("volumeMode"), errors);
    let is_applied = tree::has(was.value, "status.currentVolumeAttributesClassName");
    if is_applied && attributes.value != before.get("volumeAttributesClassName").value && attributes.text().is_empty() {
        let what = if attributes.has() { "empty string" } else { "nil" };
        let why = "is forbidden when status.currentVolumeAttributesClassName is not nil";
        errors.push(attributes.forbidden(&format!("update to {what} {why}")));
    }
}

/// The spec stays as it is, but for a volume and a class that come once, and the size and the class of
/// attributes of a bound claim.
fn unchanged(at: &At, was: &At, errors: &mut Errors) {
    let (spec, before) = (at.get("spec"), was.get("spec"));
    let (mut now, mut old) = (spec.value.clone(), before.value.clone());
    if before.get("volumeName").text().is_empty() {
        tree::keep(&mut old, &now, "volumeName");
    }
    let note = |claim: &At| {
        claim.value["metadata"]["annotations"].get(volume::CLASS).and_then(Value::as_str).map(str::to_owned)
    };
    let (noted, noted_before) = (note(at), note(was));
    let class = spec.value.get("storageClassName").and_then(Value::as_str);
    let is_named_now = class.is_some() && !before.has_field("storageClassName");
    let is_as_noted = noted_before.is_some() && class == noted_before.as_deref();
    if is_named_now && is_as_noted && (noted.is_none() || noted == noted_before) {
        tree::keep(&mut now, &old, "storageClassName");
    } else {
        if noted.as_deref().unwrap_or_default() != noted_before.as_deref().unwrap_or_default() {
            let path = format!("metadata.annotations.{}", volume::CLASS);
            let shown = Value::from(noted.unwrap_or_default());
            errors.push(FieldError::invalid(&path, &shown, "field is immutable"));
        }
        if is_named_now && (noted_before.is_none() || is_as_noted) {
            tree::keep(&mut now, &old, "storageClassName");
        }
    }
    if tree::text(at.value, "status.phase") == "Bound" {
        let asked = tree::at(&old, "resources.requests").clone();
        if let Some(requests) = now.get_mut("resources").and_then(|resources| resources.get_mut("requests")) {
            tree::keep(requests, &asked, "storage");
        }
        tree::keep(&mut now, &old, "volumeAttributesClassName");
    }
    if now != old {
        const WHY: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                           bound claims";
        errors.push(spec.forbidden(&format!("{WHY}\n{}", difference(&old, &now))));
    }
}

fn status(at: &At, errors: &mut Errors) {
    for (name, _) in at.get("capacity").entries() {
        volume::resource(&at.get("capacity").key(name), errors);
    }
    const KNOWN: [&str; 5] = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let states = at.get("allocatedResourceStatuses");
    for (name, state) in states.entries() {
        resource_key(name, &states, errors);
        if !KNOWN.contains(&state.text()) {
            // Upstream shows the resource.
            errors.push(FieldError::not_supported(&states.path(), &Value::from(name.as_str()), &KNOWN));
        }
    }
    let allocated = at.get("allocatedResources");
    for (name, _) in allocated.entries() {
        if resource_key(name, &allocated, errors) {
            volume::resource(&allocated.key(name), errors);
        }
    }
}

/// `storage`, or what is nobody's; whether it is.
fn resource_key(name: &str, at: &At, errors: &mut Errors) -> bool {
    let complaints = names::qualified(name);
    errors.extend(complaints.iter().map(|m| at.invalid_as(name, m)));
    let is_native = complaints.is_empty() && (!name.contains('/') || name.contains("kubernetes.io/"));
    if is_native && name != "storage" {
        errors.push(FieldError::not_supported(&at.path(), &name.into(), &["storage"]));
        return false;
    }
    complaints.is_empty()
}
