//! What a claim of a volume asks for: its own, a pod's, or that of a StatefulSet.

use api::names;
use serde_json::Value;

use super::at::{At, Errors, invalid_each};
use super::{meta, volume};

/// `old` is None for a new claim, and for what a StatefulSet makes its claims of.
pub fn spec(at: &At, old: Option<At>, errors: &mut Errors) {
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
