//! Namespaces, nodes, leases, priority classes and runtime classes.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::{At, Errors, invalid_each};
use super::pod::{cidr, placement, requirements_below, resources};
use super::{meta, names};
use crate::FieldError;
use crate::kind::Context;

pub fn validate_lease(lease: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(lease, old, true, names::dns_subdomain, &mut errors);
    let spec = At::root(lease).get("spec");
    let (duration, changes) = (spec.get("leaseDurationSeconds"), spec.get("leaseTransitions"));
    if duration.int().is_some_and(|seconds| seconds <= 0) {
        errors.push(duration.invalid("must be greater than 0"));
    }
    if changes.int().is_some_and(|count| count < 0) {
        errors.push(changes.invalid("must be greater than or equal to 0"));
    }
    for field in ["strategy", "preferredHolder"] {
        if spec.has_field(field) {
            let detail = "not supported by this release: leaders are not elected by the server";
            errors.push(spec.get(field).forbidden(detail));
        }
    }
    errors
}

pub fn validate_namespace(space: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(space, old, false, names::dns_label, &mut errors);
    let at = At::root(space);
    let finalizers = at.get("spec").get("finalizers");
    match context.subresource.as_str() {
        "status" => {
            let phase = at.get("status").get("Phase").with(at.get("status").get("phase").value);
            let deleting = at.get("metadata").has_field("deletionTimestamp");
            match (deleting, phase.text()) {
                (false, "Active") | (true, "Terminating") => {}
                (false, _) => errors.push(phase.invalid("may only be 'Active' if `deletionTimestamp` is empty")),
                (true, _) => {
                    errors.push(phase.invalid("may only be 'Terminating' if `deletionTimestamp` is not empty"))
                }
            }
        }
        sub => {
            for item in finalizers.items() {
                let shown = if sub == "finalize" { item.clone() } else { finalizers.with(item.value) };
                let name = item.text();
                errors.extend(names::qualified(name).iter().map(|m| shown.invalid(m)));
                if !name.contains('/') && !meta::is_standard_finalizer(name) {
                    errors.push(shown.invalid(meta::NOT_A_FINALIZER));
                }
            }
        }
    }
    errors
}

pub fn validate_node(node: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(node, old, false, names::dns_subdomain, &mut errors);
    let at = At::root(node);
    let (spec, status) = (at.get("spec"), at.get("status"));
    taints(&spec.get("taints"), &at.get("metadata").get("taints"), &mut errors);
    for list in ["capacity", "allocatable"] {
        for (name, amount) in status.get(list).entries() {
            let shown = format!("status.{list}.{name}");
            let mut found = Errors::new();
            resources::quantity(name, &amount, &mut found);
            errors.extend(found.into_iter().map(|e| FieldError { field: shown.clone(), ..e }));
        }
    }
    let ranges = spec.get("podCIDRs");
    for range in ranges.items() {
        cidr(&range, &mut errors);
    }
    one_of_each_family(&ranges, &mut errors);
    if let Some(old) = old {
        node_update(&at, &At::root(old), &mut errors);
    }
    errors
}

fn node_update(at: &At, old: &At, errors: &mut Errors) {
    let addresses = at.get("status").get("addresses");
    let mut seen = BTreeSet::new();
    for address in addresses.items().filter(|a| !seen.insert(a.value.to_string())) {
        errors.push(address.duplicate());
    }
    let (ranges, before) = (at.get("spec").get("podCIDRs"), old.get("spec").get("podCIDRs"));
    if !before.is_empty() && ranges.value != before.value {
        errors.push(ranges.forbidden("node updates may not change podCIDR except from \"\" to valid"));
    }
    let (external, before) = (at.get("spec").get("externalID"), old.get("spec").get("externalID"));
    if external.text() != before.text() {
        errors.push(external.forbidden("may not be updated"));
    }
    let (id, before) = (at.get("spec").get("providerID"), old.get("spec").get("providerID"));
    match (before.text(), id.text()) {
        ("", _) => {}
        (_, "") => errors.push(id.invalid_as(Value::Null, "field cannot be cleared once set")),
        (before, now) if before != now => {
            errors.push(id.invalid_as(Value::Null, "field cannot be modified once set"));
        }
        _ => {}
    }
}

pub fn node_warnings(node: &Value, _: Option<&Value>) -> Vec<String> {
    let spec = At::root(node).get("spec");
    let mut out = Vec::new();
    if spec.has_field("configSource") {
        out.push("spec.configSource: the feature is removed".into());
    }
    if !spec.get("externalID").text().is_empty() {
        out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
    }
    out
}

/// Upstream shows the taints of a node below its metadata.
fn taints(at: &At, shown: &At, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, taint) in at.items().enumerate() {
        let place = shown.index(index).with(taint.value);
        let (key, value, effect) = (place.get("key"), place.get("value"), place.get("effect"));
        invalid_each(&key, names::qualified(key.text()), errors);
        let complaints = names::label_value(value.text());
        if !complaints.is_empty() {
            errors.push(value.invalid(&complaints.join(";")));
        }
        match effect.text() {
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            "" => errors.push(effect.required("")),
            _ => errors.push(effect.not_supported(&["NoSchedule", "PreferNoSchedule", "NoExecute"])),
        }
        if !seen.insert((key.text(), effect.text())) {
            let mut error = place.duplicate();
            error.value = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":null}}",
                shown_text(&key),
                shown_text(&value),
                shown_text(&effect)
            );
            error.detail = "taints must be unique by key and effect pair".into();
            errors.push(error);
        }
    }
}

/// A text as upstream shows it inside one of its own types.
fn shown_text(at: &At) -> String {
    Value::from(at.text()).to_string()
}

fn one_of_each_family(ranges: &At, errors: &mut Errors) {
    let families: Vec<bool> = ranges.items().map(|r| r.text().contains(':')).collect();
    if families.len() > 2 || (families.len() == 2 && families[0] == families[1]) {
        errors.push(ranges.invalid("may specify no more than one CIDR for each IP family"));
    }
}

/// Priorities above this are the system's.
const USER_PRIORITY_MAX: i64 = 1_000_000_000;

pub fn validate_priority_class(class: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(class, old, false, names::dns_subdomain, &mut errors);
    let at = At::root(class);
    let (name, value, policy) = (at.get("metadata").get("name"), at.get("value"), at.get("preemptionPolicy"));
    if let Some(old) = old {
        let was = At::root(old);
        if value.number() != was.get("value").number() {
            errors.push(value.forbidden("may not be changed in an update."));
        }
        meta::immutable(&policy, &was.get("preemptionPolicy"), &mut errors);
        return errors;
    }
    if name.text().starts_with("system-") {
        if let Err(why) = system_class(name.text(), value.number(), at.get("globalDefault").flag()) {
            let text = "priority class names with 'system-' prefix are reserved for system use only. error:";
            errors.push(name.forbidden(&format!("{text} {why}")));
        }
    } else if value.number() > USER_PRIORITY_MAX {
        let text = format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}");
        errors.push(value.forbidden(&text));
    }
    match policy.text() {
        "PreemptLowerPriority" | "Never" => {}
        "" => errors.push(policy.required("")),
        _ => errors.push(policy.not_supported(&["PreemptLowerPriority", "Never"])),
    }
    errors
}

/// The two classes that the system makes itself, and their values.
fn system_class(name: &str, value: i64, is_default: bool) -> Result<(), String> {
    let known = match name {
        "system-node-critical" => 2_000_001_000,
        "system-cluster-critical" => 2_000_000_000,
        _ => return Err(format!("{name} is not a known system priority class")),
    };
    if value != known {
        return Err(format!("value of {name} PriorityClass must be {known}"));
    }
    if is_default {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}

pub fn validate_runtime_class(class: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(class, old, false, names::dns_subdomain, &mut errors);
    let at = At::root(class);
    let handler = at.get("handler");
    if old.is_some_and(|old| At::root(old).get("handler").text() != handler.text()) {
        errors.push(handler.invalid_as(Value::Null, "field is immutable"));
    }
    match handler.text() {
        "" => errors.push(handler.required("")),
        // Judged by upstream's newer package, which counts bytes.
        text => {
            let complaints = names::dns_label(text).into_iter();
            let complaints = complaints.map(|m| m.replace("more than 63 characters", "more than 63 bytes"));
            invalid_each(&handler, complaints.collect(), &mut errors);
        }
    }
    requirements_below(&at.get("overhead").get("podFixed"), "overhead", &mut errors);
    let scheduling = at.get("scheduling");
    meta::labels(&scheduling.get("nodeSelector"), &mut errors);
    let tolerations = scheduling.get("tolerations");
    placement::tolerations(&tolerations, &mut errors);
    let mut seen = BTreeSet::new();
    for toleration in tolerations.items() {
        let key = ["key", "operator", "value", "effect"].map(|field| toleration.get(field).text().to_string());
        if !seen.insert(key) {
            let mut error = toleration.duplicate();
            let [key, operator, value, effect] =
                ["key", "operator", "value", "effect"].map(|f| shown_text(&toleration.get(f)));
            let seconds = toleration.get("tolerationSeconds").value;
            error.value = format!(
                "{{\"Key\":{key},\"Operator\":{operator},\"Value\":{value},\"Effect\":{effect},\"TolerationSeconds\":{seconds}}}"
            );
            errors.push(error);
        }
    }
    errors
}
