//! Claims: what may be created, what may change, and what a status may say.
//!
//! Matches ValidatePersistentVolumeClaim, …Update and …StatusUpdate (pkg/apis/core/validation).

use api::quantity::Quantity;
use api::{FieldError, names, tree};
use serde_json::Value;

use crate::kind::{Context, Kind};
use crate::pod::validate::difference;
use crate::row::metadata;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::{meta, volume};

pub fn validate(kind: &Kind, claim: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, claim, old);
    let at = At::root(claim);
    if context.subresource == "status" {
        status(&at.get("status"), &mut errors);
        return errors;
    }
    spec(&at.get("spec"), old.map(|old| At::root(old).get("spec")), &mut errors);
    if let Some(old) = old {
        update(&at, &At::root(old), &mut errors);
    }
    errors
}

/// `old` is None for a new claim, and for what a StatefulSet makes its claims of.
pub(crate) fn spec(at: &At, old: Option<At>, errors: &mut Errors) {
    let modes = at.get("accessModes");
    if modes.is_empty() {
        errors.push(modes.required("at least 1 access mode is required"));
    }
    meta::label_selector(&at.get("selector"), errors);
    volume::access_modes(&modes, errors);
    let asked = at.get("resources").get("requests").get("storage");
    let shown = at.get("resources").key("storage").with(asked.value);
    match asked.has() {
        true => volume::positive(&shown, errors),
        false => errors.push(shown.required("")),
    }
    let (class, mode) = (at.get("storageClassName"), at.get("volumeMode"));
    if !class.text().is_empty() {
        volume::class(&class, errors);
    }
    if mode.has() && !volume::VOLUME_MODES.contains(&mode.text()) {
        errors.push(mode.not_supported(&volume::VOLUME_MODES));
    }
    data_sources(at, old, errors);
    let attributes = at.get("volumeAttributesClassName");
    if !attributes.text().is_empty() {
        volume::class(&attributes, errors);
    }
}

fn data_sources(at: &At, old: Option<At>, errors: &mut Errors) {
    let (source, reference) = (at.get("dataSource"), at.get("dataSourceRef"));
    // What an update finds need not be better.
    let lax = old.is_some_and(|old| ["dataSource", "dataSourceRef"].iter().any(|f| old.get(f).has_field("apiGroup")));
    for one in [&source, &reference].into_iter().filter(|one| one.has()) {
        data_source(one, lax, errors);
    }
    let namespace = reference.get("namespace");
    if !namespace.text().is_empty() {
        invalid_each(&namespace, names::dns_label(namespace.text()), errors);
    }
    // Upstream shows the path and not what stands there.
    let shown = Value::Object(serde_json::Map::new());
    match (source.has(), reference.has()) {
        (true, true) if !namespace.text().is_empty() => {
            errors.push(at.invalid_as(shown, "may not be specified when dataSourceRef.namespace is specified"));
        }
        (true, true) if ["apiGroup", "kind", "name"].iter().any(|f| source.get(f).value != reference.get(f).value) => {
            errors.push(at.invalid_as(shown, "must match dataSourceRef"));
        }
        _ => {}
    }
}

fn data_source(at: &At, lax: bool, errors: &mut Errors) {
    for field in ["name", "kind"].map(|field| at.get(field)).iter().filter(|field| field.text().is_empty()) {
        errors.push(field.required(""));
    }
    let (group, kind) = (at.get("apiGroup"), at.get("kind").text());
    match group.text() {
        "" if kind != "PersistentVolumeClaim" => {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(at.invalid_as(kind, why));
        }
        "" => {}
        _ if lax => {}
        name => invalid_each(&group, names::dns_subdomain(name), errors),
    }
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
