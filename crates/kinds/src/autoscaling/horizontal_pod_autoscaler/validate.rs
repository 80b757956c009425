//! Autoscalers: bounds, what is scaled, by what, and how fast (pkg/apis/autoscaling/validation).

use api::quantity::Quantity;
use api::{FieldError, names, tree};
use serde_json::Value;

use crate::pod::validate::resources;
use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each, non_negative};

const PERIOD_MAX: i64 = 1800;
const WINDOW_MAX: i64 = 3600;
const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

pub fn validate(kind: &Kind, scaler: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, scaler, old);
    let at = At::root(scaler);
    if context.subresource == "status" {
        let status = at.get("status");
        for condition in status.get("conditions").items() {
            non_negative(&condition.get("observedGeneration"), &mut errors);
        }
        non_negative(&status.get("currentReplicas"), &mut errors);
        non_negative(&status.get("desiredReplicas"), &mut errors);
        return errors;
    }
    let spec = at.get("spec");
    let (least, most, target) = (spec.get("minReplicas"), spec.get("maxReplicas"), spec.get("scaleTargetRef"));
    if least.has() && most.number() < least.number() {
        errors.push(most.invalid_as(most.number(), "must be greater than or equal to `minReplicas`"));
    }
    let was = old.map(|old| &old["spec"]["scaleTargetRef"]);
    let same = was.is_some_and(|was| ["apiVersion", "kind"].iter().all(|f| was.get(f) == target.value.get(f)));
    let version = match same {
        true => ApiVersion::Any,
        false if target.get("kind").text() == "ReplicationController" => ApiVersion::Good,
        false => ApiVersion::OfGroup,
    };
    reference(&target, version, &mut errors);
    metrics(&spec, old, &mut errors);
    for direction in ["scaleUp", "scaleDown"] {
        rules(&spec.get("behavior").get(direction), &mut errors);
    }
    // Upstream's declared rules come last.
    non_negative(&least, &mut errors);
    match most.number() {
        0 => errors.push(most.required("")),
        number if number < 0 => errors.push(most.invalid("must be greater than or equal to 1")),
        _ => {}
    }
    errors
}

/// What the version of a reference must be.
#[derive(Clone, Copy, PartialEq)]
enum ApiVersion {
    Any,
    Good,
    OfGroup,
}

fn reference(at: &At, version: ApiVersion, errors: &mut Errors) {
    for field in ["kind", "name"].map(|field| at.get(field)) {
        match field.text() {
            "" => errors.push(field.required("")),
            text => invalid_each(&field, names::path_segment(text), errors),
        }
    }
    let at = at.get("apiVersion");
    if version == ApiVersion::Any {
        return;
    }
    if let Some(why) = not_a_version(at.text()) {
        errors.push(at.invalid(&why));
    } else if version == ApiVersion::OfGroup && at.text().split_once('/').is_none_or(|(group, _)| group.is_empty()) {
        errors.push(at.invalid("apiVersion must specify API group"));
    }
}

fn not_a_version(text: &str) -> Option<String> {
    (text.matches('/').count() > 1).then(|| format!("unexpected GroupVersion string: {text}"))
}

fn metrics(spec: &At, old: Option<&Value>, errors: &mut Errors) {
    let at = spec.get("metrics");
    let described = |metric: &Value| {
        not_a_version(tree::text(&metric["object"]["describedObject"], "apiVersion")).is_some()
            && metric["type"] == "Object"
    };
    let was_bad = old.is_some_and(|old| tree::list(old, "spec.metrics").iter().any(described));
    let version = if was_bad { ApiVersion::Any } else { ApiVersion::Good };
    at.items().for_each(|metric| judge_metric(&metric, version, errors));
    let by_objects = at.items().any(|metric| matches!(metric.get("type").text(), "Object" | "External"));
    if spec.get("minReplicas").int() == Some(0) && !by_objects {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(at.forbidden(why));
    }
}

fn judge_metric(metric: &At, version: ApiVersion, errors: &mut Errors) {
    let kind = metric.get("type");
    if kind.text().is_empty() {
        errors.push(kind.required("must specify a metric source type"));
    }
    if !TYPES.contains(&kind.text()) {
        errors.push(kind.not_supported(&TYPES));
    }
    let present: Vec<&'static str> = ["object", "external", "pods", "resource", "containerResource"]
        .into_iter()
        .filter(|source| metric.has_field(source))
        .collect();
    if let Some(first) = present.first() {
        source(&metric.get(first), first, version, errors);
    }
    let expected = match kind.text() {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "External" => "external",
        "ContainerResource" => "containerResource",
        _ => "",
    };
    if !expected.is_empty() && !present.contains(&expected) {
        errors.push(metric.get(expected).required("must populate information for the given metric source"));
    }
    if present.len() != 1 {
        for other in present.iter().filter(|source| **source != expected) {
            errors.push(metric.get(other).forbidden("must populate the given metric source only"));
        }
    }
}

fn source(at: &At, kind: &str, version: ApiVersion, errors: &mut Errors) {
    if kind == "object" {
        reference(&at.get("describedObject"), version, errors);
    }
    if matches!(kind, "object" | "external" | "pods") {
        let name = at.get("metric").get("name");
        match name.text() {
            "" => errors.push(name.required("must specify a metric name")),
            text => invalid_each(&name, names::path_segment(text), errors),
        }
    } else {
        let (name, container) = (at.get("name"), at.get("container"));
        match name.text() {
            "" => errors.push(name.required("must specify a resource name")),
            text if kind == "containerResource" => {
                resources::resource_name(text, resources::Names::Container, &name, errors);
            }
            _ => {}
        }
        match container.text() {
            _ if kind == "resource" => {}
            "" => errors.push(container.required("must specify a container")),
            text => invalid_each(&container, names::dns_label(text), errors),
        }
    }
    let goal = at.get("target");
    target(&goal, errors);
    let (value, average, percent) = (goal.get("value"), goal.get("averageValue"), goal.get("averageUtilization"));
    match kind {
        "object" if !value.has() && !average.has() => {
            errors.push(average.required("must set either a target value or averageValue"));
        }
        "external" if !value.has() && !average.has() => {
            errors.push(average.required("must set either a target value for metric or a per-pod target"));
        }
        "external" if value.has() && average.has() => {
            errors.push(value.forbidden("may not set both a target value for metric and a per-pod target"));
        }
        "pods" if !average.has() => errors.push(average.required("must specify a positive target averageValue")),
        "resource" | "containerResource" if !percent.has() && !average.has() => {
            errors.push(percent.required("must set either a target raw value or a target utilization"));
        }
        "resource" | "containerResource" if percent.has() && average.has() => {
            errors.push(average.forbidden("may not set both a target raw value and a target utilization"));
        }
        _ => {}
    }
}

fn target(at: &At, errors: &mut Errors) {
    let (kind, percent) = (at.get("type"), at.get("averageUtilization"));
    if kind.text().is_empty() {
        errors.push(kind.required("must specify a metric target type"));
    }
    if !matches!(kind.text(), "Utilization" | "Value" | "AverageValue") {
        errors.push(kind.invalid("must be either Utilization, Value, or AverageValue"));
    }
    for amount in ["value", "averageValue"].map(|field| at.get(field)).iter().filter(|amount| amount.has()) {
        let quantity = Quantity::of(amount.value);
        if quantity.is_zero() || quantity.is_negative() {
            errors.push(amount.invalid_as(quantity.to_string(), "must be positive"));
        }
    }
    if percent.int().is_some_and(|percent| percent < 1) {
        errors.push(percent.invalid("must be greater than 0"));
    }
}

fn rules(at: &At, errors: &mut Errors) {
    if !at.has() {
        return;
    }
    let (window, select, policies) = (at.get("stabilizationWindowSeconds"), at.get("selectPolicy"), at.get("policies"));
    if window.number() < 0 {
        errors.push(window.invalid("must be greater than or equal to zero"));
    }
    if window.number() > WINDOW_MAX {
        errors.push(window.invalid(&format!("must be less than or equal to {WINDOW_MAX}")));
    }
    if select.has() && !matches!(select.text(), "Max" | "Min" | "Disabled") {
        errors.push(select.not_supported(&["Disabled", "Max", "Min"]));
    }
    if policies.is_empty() {
        errors.push(policies.required("must specify at least one Policy"));
    }
    for policy in policies.items() {
        let kind = policy.get("type");
        if !matches!(kind.text(), "Pods" | "Percent") {
            errors.push(kind.not_supported(&["Percent", "Pods"]));
        }
        for field in ["value", "periodSeconds"].map(|field| policy.get(field)) {
            if field.number() <= 0 {
                errors.push(field.invalid_as(field.number(), "must be greater than zero"));
            }
        }
        let period = policy.get("periodSeconds");
        if period.number() > PERIOD_MAX {
            errors.push(period.invalid(&format!("must be less than or equal to {PERIOD_MAX}")));
        }
    }
    let tolerance = at.get("tolerance");
    let quantity = Quantity::of(tolerance.value);
    if tolerance.has() && quantity.is_negative() {
        errors.push(tolerance.invalid_as(quantity.to_string(), "must be greater than or equal to 0"));
    }
}
