//! HorizontalPodAutoscaler: between how many and how many pods, and by what. Stored as v2, served as v1 too.

use api::quantity::Quantity;
use api::{Resource, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::workload::count_born;

/// v1, with what it has no fields for in annotations.
mod conversion;
mod validate;

/// Of metrics shown in one cell.
const METRICS_SHOWN: usize = 2;

pub(crate) fn row() -> Kind {
    const PLURAL: &str = "horizontalpodautoscalers";
    Kind {
        subresources: vec![STATUS],
        columns: vec![
            NAME,
            computed("Reference", "What it scales.", |scaler, _| {
                let of = |field| tree::text(&scaler["spec"]["scaleTargetRef"], field);
                json!(format!("{}/{}", of("kind"), of("name")))
            }),
            computed("Targets", "What is measured, and what it shall be.", |scaler, _| json!(targets(scaler))),
            computed("MinPods", "At least so many pods.", |scaler, _| {
                json!(tree::int(scaler, "spec.minReplicas").map_or("<unset>".into(), |count| count.to_string()))
            }),
            computed("MaxPods", "At most so many pods.", |scaler, _| json!(number(scaler, "spec.maxReplicas"))),
            computed("Replicas", "How many there are.", |scaler, _| json!(number(scaler, "status.currentReplicas"))),
            AGE,
        ],
        versions: vec![Version {
            resource: Resource::namespaced("autoscaling/v1", "HorizontalPodAutoscaler", PLURAL),
            schema: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler".into(),
            from_stored: conversion::from_stored,
            to_stored: conversion::to_stored,
        }],
        hooks: Hooks { prepare, default, validate: validate::validate, ..HOOKS },
        ..Kind::namespaced("autoscaling/v2", "HorizontalPodAutoscaler", PLURAL).short("hpa").in_all()
    }
}

fn number(scaler: &Value, path: &str) -> i64 {
    tree::int(scaler, path).unwrap_or(0)
}

/// What v1 keeps in annotations has fields here.
fn prepare(_: &Kind, scaler: &mut Value, old: Option<&Value>, _: &Context) {
    conversion::drop_annotations(scaler);
    count_born(scaler, old, json!({"currentMetrics": null, "desiredReplicas": 0}));
}

fn default(_: &Kind, scaler: &mut Value) {
    let Some(spec) = tree::child(scaler, "spec") else { return };
    tree::set_default(spec, "minReplicas", 1);
    if tree::list(spec, "metrics").is_empty() {
        spec["metrics"] = json!([{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]);
    }
    let Some(behavior) = spec.get_mut("behavior").filter(|behavior| behavior.is_object()) else { return };
    let all = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let up = json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, all]);
    for (direction, policies) in [("scaleUp", up), ("scaleDown", json!([all]))] {
        let Some(rules) = tree::child(behavior, direction) else { continue };
        tree::set_default(rules, "selectPolicy", "Max");
        tree::set_default(rules, "policies", policies);
        if direction == "scaleUp" {
            tree::set_default(rules, "stabilizationWindowSeconds", 0);
        }
    }
}

/// `cpu: 40%/80%, 3/10 (avg) + 1 more...` (formatHPAMetrics)
fn targets(scaler: &Value) -> String {
    let (specs, statuses) = (tree::list(scaler, "spec.metrics"), tree::list(scaler, "status.currentMetrics"));
    if specs.is_empty() {
        return "<none>".into();
    }
    let shown: Vec<String> = specs
        .iter()
        .enumerate()
        .take(METRICS_SHOWN)
        .map(|(index, spec)| metric(spec, statuses.get(index).unwrap_or(&Value::Null)))
        .collect();
    match specs.len().saturating_sub(METRICS_SHOWN) {
        0 => shown.join(", "),
        more => format!("{} + {more} more...", shown.join(", ")),
    }
}

fn metric(spec: &Value, status: &Value) -> String {
    let source = match tree::text(spec, "type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".into(),
    };
    let (target, current) = (&spec[source]["target"], &status[source]["current"]);
    let amount = |of: &Value, field: &str| match &of[field] {
        Value::Null => None,
        value => Some(Quantity::of(value).to_string()),
    };
    let known = |current: Option<String>| current.unwrap_or("<unknown>".into());
    let average = amount(target, "averageValue");
    if matches!(source, "resource" | "containerResource") {
        let name = tree::text(&spec[source], "name");
        let percent = |of: &Value| tree::int(of, "averageUtilization").map(|percent| format!("{percent}%"));
        return match average {
            Some(average) => format!("{name}: {}/{average}", known(amount(current, "averageValue"))),
            None => format!("{name}: {}/{}", known(percent(current)), percent(target).unwrap_or("<auto>".into())),
        };
    }
    match average {
        Some(average) if source == "pods" => format!("{}/{average}", known(amount(current, "averageValue"))),
        Some(average) => format!("{}/{average} (avg)", known(amount(current, "averageValue"))),
        None => {
            let value = amount(target, "value").unwrap_or("<nil>".into());
            format!("{}/{value}", known(amount(current, "value")))
        }
    }
}

#[cfg(test)]
mod tests;
