//! LimitRanger: pods get what their namespace's LimitRanges say, and keep to their bounds.
//!
//! plugin/pkg/admission/limitranger. Of several ranges the first by name says what a container gets.

use api::pod::{Amounts, Demands, amounts};
use api::quantity::Quantity;
use api::{Status, tree};
use serde_json::{Value, json};

use super::{Ask, Findings, NONE, Operation, Plugin};
use crate::records::each;

pub const PLUGIN: Plugin =
    Plugin { name: "LimitRanger", operations: &[Operation::Create, Operation::Update], mutate, validate, ..NONE };

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Finer comparisons would overflow (resource.MaxMilliValue).
const MILLI_MAX: i64 = i64::MAX / 1000;

fn mutate(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    if concerns(ask) && ask.is("pods") {
        for range in ranges(ask, findings) {
            complete(&range, object);
        }
    }
    Ok(())
}

fn validate(ask: &Ask<'_>, object: &Value, findings: &mut Findings) -> Result<(), Status> {
    if !concerns(ask) {
        return Ok(());
    }
    for range in ranges(ask, findings) {
        let mut wrong = match ask.is("pods") {
            true => of_pod(&range, object),
            false => of_claim(&range, object),
        };
        let mut seen = std::collections::HashSet::new();
        wrong.retain(|text| seen.insert(text.clone()));
        match &wrong[..] {
            [] => {}
            [one] => return Err(ask.forbidden(object, one)),
            many => return Err(ask.forbidden(object, &format!("[{}]", many.join(", ")))),
        }
    }
    Ok(())
}

/// New pods, resized ones, and claims; what is deleted is left alone.
fn concerns(ask: &Ask<'_>) -> bool {
    let asked = match (ask.subresource, ask.operation) {
        ("resize", Operation::Update) => ask.is("pods"),
        ("", operation) => ask.is("persistentvolumeclaims") || (ask.is("pods") && operation == Operation::Create),
        _ => false,
    };
    asked && ask.old.is_none_or(|old| old["metadata"].get("deletionTimestamp").is_none())
}

/// By name; that they stay as they are is claimed.
fn ranges(ask: &Ask<'_>, findings: &mut Findings) -> Vec<Value> {
    let read = |entry: store::Entry| {
        findings.claim(&entry);
        serde_json::from_slice(&entry.bytes).ok()
    };
    ask.snapshot().all("limitranges", ask.namespace).into_iter().filter_map(read).collect()
}

/// Gives containers what they do not say themselves, and notes that in an annotation.
fn complete(range: &Value, pod: &mut Value) {
    let defaults = |field: &str| -> Amounts {
        let of_containers = each(&range["spec"]["limits"]).filter(|limit| limit["type"] == "Container");
        of_containers.flat_map(|limit| amounts(&limit[field])).collect()
    };
    let (requests, limits) = (defaults("defaultRequest"), defaults("default"));
    let mut notes = Vec::new();
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        for container in pod.get_mut("spec").into_iter().flat_map(|spec| tree::each(spec, list)) {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            for (field, kind, defaults) in [("requests", "request", &requests), ("limits", "limit", &limits)] {
                let set = set(container, field, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {kind} for {word} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let metadata = crate::write::metadata(pod);
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        annotations[ANNOTATION] = format!("LimitRanger plugin set: {}", notes.join("; ")).into();
    }
}

/// The names that it set.
fn set(container: &mut Value, field: &str, defaults: &Amounts) -> Vec<String> {
    let known = |name: &str| container["resources"][field].get(name).is_some();
    let missing: Vec<(String, String)> = defaults
        .iter()
        .filter(|(name, _)| !known(name))
        .map(|(name, amount)| (name.clone(), amount.to_string()))
        .collect();
    for (name, amount) in &missing {
        container["resources"][field][name.as_str()] = amount.as_str().into();
    }
    missing.into_iter().map(|(name, _)| name).collect()
}

fn of_pod(range: &Value, pod: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    for limit in each(&range["spec"]["limits"]) {
        match limit["type"].as_str().unwrap_or_default() {
            "Container" => {
                for container in super::containers(pod, &["containers", "initContainers"]) {
                    let resources = &container["resources"];
                    judge(limit, &amounts(&resources["requests"]), &amounts(&resources["limits"]), &mut wrong);
                }
            }
            "Pod" => {
                let demands = Demands::of(pod);
                let whole = |mut sums: Amounts, field: &str| {
                    let own = amounts(&pod["spec"]["resources"][field]).into_iter();
                    sums.extend(own.filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory")));
                    sums
                };
                let requests = whole(demands.container_requests(), "requests");
                judge(limit, &requests, &whole(demands.container_limits(), "limits"), &mut wrong);
            }
            _ => {}
        }
    }
    wrong
}

/// Of a claim only the requests count; a maximum is one for them.
fn of_claim(range: &Value, claim: &Value) -> Vec<String> {
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let mut wrong = Vec::new();
    for limit in each(&range["spec"]["limits"]).filter(|limit| limit["type"] == "PersistentVolumeClaim") {
        let found = amounts(&limit["min"])
            .into_iter()
            .filter_map(|(name, least)| minimum("PersistentVolumeClaim", &name, least, requests.get(&name), None));
        wrong.extend(found);
        let found = amounts(&limit["max"]).into_iter().filter_map(|(name, most)| {
            let of = format!("maximum {name} usage per PersistentVolumeClaim is {most}");
            match requests.get(&name) {
                None => Some(format!("{of}.  No request is specified")),
                Some(request) if less(most, *request) => Some(format!("{of}, but request is {request}")),
                Some(_) => None,
            }
        });
        wrong.extend(found);
    }
    wrong
}

fn judge(limit: &Value, requests: &Amounts, limits: &Amounts, wrong: &mut Vec<String>) {
    let kind = limit["type"].as_str().unwrap_or_default();
    let of = |name: &str| (requests.get(name), limits.get(name));
    for (name, least) in amounts(&limit["min"]) {
        let (request, limit) = of(&name);
        wrong.extend(minimum(kind, &name, least, request, limit));
    }
    for (name, most) in amounts(&limit["max"]) {
        let (request, limit) = of(&name);
        wrong.extend(maximum(kind, &name, most, request, limit));
    }
    for (name, most) in amounts(&limit["maxLimitRequestRatio"]) {
        let (request, limit) = of(&name);
        wrong.extend(ratio(kind, &name, most, request, limit));
    }
}

fn minimum(
    kind: &str,
    name: &str,
    least: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let of = format!("minimum {name} usage per {kind} is {least}");
    match (request, limit) {
        (None, _) => Some(format!("{of}.  No request is specified")),
        (Some(request), _) if less(*request, least) => Some(format!("{of}, but request is {request}")),
        (_, Some(limit)) if less(*limit, least) => Some(format!("{of}, but limit is {limit}")),
        _ => None,
    }
}

fn maximum(
    kind: &str,
    name: &str,
    most: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let of = format!("maximum {name} usage per {kind} is {most}");
    match (request, limit) {
        (_, None) => Some(format!("{of}.  No limit is specified")),
        (_, Some(limit)) if less(most, *limit) => Some(format!("{of}, but limit is {limit}")),
        (Some(request), _) if less(most, *request) => Some(format!("{of}, but request is {request}")),
        _ => None,
    }
}

fn ratio(
    kind: &str,
    name: &str,
    most: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let of = format!("{name} max limit to request ratio per {kind} is {most}");
    let filled = |amount: Option<&Quantity>| amount.copied().filter(|amount| !amount.is_zero());
    let Some(request) = filled(request) else {
        return Some(format!("{of}, but no request is specified or request is 0"));
    };
    let Some(limit) = filled(limit) else { return Some(format!("{of}, but no limit is specified or limit is 0")) };
    let fine = [request, limit, most].iter().all(|amount| amount.value() <= MILLI_MAX);
    let of_amount = |amount: Quantity| if fine { amount.milli_value() } else { amount.value() } as f64;
    let provided = of_amount(limit) / of_amount(request);
    let exceeds = match most.value() <= MILLI_MAX {
        true => provided * 1000.0 > most.milli_value() as f64,
        false => provided > most.value() as f64,
    };
    exceeds.then(|| format!("{of}, but provided ratio is {provided:.6}"))
}

/// In thousandths where that can be counted.
fn less(one: Quantity, other: Quantity) -> bool {
    match one.value().max(other.value()) <= MILLI_MAX {
        true => one.milli_value() < other.milli_value(),
        false => one.value() < other.value(),
    }
}

#[cfg(test)]
mod tests;
