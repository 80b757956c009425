//! Events: what each of the two groups demands of one.
//!
//! Matches pkg/apis/core/validation/events.go. Paths are those of the stored form, as upstream's are
//! but for the reporting controller.

use api::{FieldError, names};
use serde_json::Value;

use crate::kind::{Context, Kind};
use crate::validate::at::{At, Errors};
use crate::validate::meta;

pub fn validate(_: &Kind, event: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    let at = At::root(event);
    let new_api = context.api_version.starts_with("events.k8s.io/");
    common(&at, new_api, &mut errors);
    match old {
        _ if !new_api => {
            // core/v1 judges little: of the metadata, what every kind's must be, and of a new event only if all
            // else is good (registry/rest/create.go BeforeCreate).
            let metadata = at.get("metadata");
            match old {
                None if !errors.is_empty() => {}
                None => meta::create_of_any_kind(&metadata, true, names::path_segment, &mut errors),
                Some(old) => meta::update_of_any_kind(&metadata, &At::root(old).get("metadata"), &mut errors),
            }
        }
        None => create(event, &mut errors),
        Some(old) => update(event, old, &mut errors),
    }
    errors
}

fn common(at: &At, new_api: bool, errors: &mut Errors) {
    let own = at.get("metadata").get("namespace").text();
    let involved = at.get("involvedObject").get("namespace");
    let has_time = !at.get("eventTime").text().is_empty();
    let fits = match involved.text() {
        "" if has_time => matches!(own, "default" | "kube-system"),
        "" => matches!(own, "" | "default"),
        text => has_time || text == own,
    };
    if !fits {
        errors.push(involved.invalid("does not match event.namespace"));
    }
    if !has_time {
        return;
    }
    let shown = if new_api { "reportingController" } else { "reportingComponent" };
    let controller = at.get(shown).with(at.get("reportingComponent").value);
    if controller.text().is_empty() {
        errors.push(controller.required(""));
    }
    errors.extend(names::qualified(controller.text()).iter().map(|m| controller.invalid(m)));
    for (field, limit, is_required) in
        [("reportingInstance", 128, true), ("action", 128, true), ("reason", 128, true), ("message", 1024, false)]
    {
        let part = at.get(field);
        if is_required && part.text().is_empty() {
            errors.push(part.required(""));
        }
        if part.text().len() > limit {
            errors.push(part.invalid_as("", &format!("can have at most {limit} characters")));
        }
    }
}

fn create(event: &Value, errors: &mut Errors) {
    let at = At::root(event);
    meta::create(&at.get("metadata"), true, names::dns_subdomain, errors);
    series(&at, errors);
    if at.get("eventTime").text().is_empty() {
        errors.push(at.get("eventTime").required(""));
    }
    let kind = at.get("type");
    if !matches!(kind.text(), "Normal" | "Warning") {
        errors.push(kind.invalid_as("", &format!("has invalid value: {}", kind.text())));
    }
    for field in ["firstTimestamp", "lastTimestamp"] {
        if !at.get(field).text().is_empty() {
            errors.push(at.get(field).invalid_as("", "needs to be unset"));
        }
    }
    if at.get("count").number() != 0 {
        errors.push(at.get("count").invalid_as("", "needs to be unset"));
    }
    let source = at.get("source");
    if ["component", "host"].iter().any(|field| !source.get(field).text().is_empty()) {
        errors.push(source.invalid_as("", "needs to be unset"));
    }
}

/// Only the series of an event goes on.
fn update(event: &Value, old: &Value, errors: &mut Errors) {
    let (at, was) = (At::root(event), At::root(old));
    meta::update(&at.get("metadata"), &was.get("metadata"), errors);
    if at.get("series").value != was.get("series").value {
        series(&at, errors);
    }
    for field in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingInstance",
    ] {
        let (now, before) = (at.get(field), was.get(field));
        if now.value != before.value {
            errors.push(now.invalid_shown(shown(&now), "field is immutable"));
        }
    }
    let controller = at.get("reportingController").with(at.get("reportingComponent").value);
    meta::immutable(&controller, &was.get("reportingComponent"), errors);
}

/// As upstream's own types are printed: ObjectReference, EventSource.
fn shown(at: &At) -> String {
    const REFERENCE: &[(&str, &str)] = &[
        ("Kind", "kind"),
        ("Namespace", "namespace"),
        ("Name", "name"),
        ("UID", "uid"),
        ("APIVersion", "apiVersion"),
        ("ResourceVersion", "resourceVersion"),
        ("FieldPath", "fieldPath"),
    ];
    const SOURCE: &[(&str, &str)] = &[("Component", "component"), ("Host", "host")];
    let fields = if at.path() == "source" { SOURCE } else { REFERENCE };
    match at.value {
        Value::Object(_) => {
            let field = |(go, name): &(&str, &'static str)| format!("{go:?}:{}", Value::from(at.get(name).text()));
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(","))
        }
        Value::Null if matches!(at.path().as_str(), "related" | "eventTime") => "null".into(),
        Value::Null => "\"\"".into(),
        other => other.to_string(),
    }
}

fn series(at: &At, errors: &mut Errors) {
    let series = at.get("series");
    if series.has() {
        if series.get("count").number() < 2 {
            errors.push(series.get("count").invalid_as("", "should be at least 2"));
        }
        if series.get("lastObservedTime").text().is_empty() {
            errors.push(series.get("lastObservedTime").required(""));
        }
    }
}
