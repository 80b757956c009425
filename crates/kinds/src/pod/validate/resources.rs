//! Requests and limits, of containers and of a pod as a whole.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::validate::at::{At, Errors, invalid_each};
use api::pod::Demands;
use api::pod::is_pod_level;
use api::quantity::Quantity;
use api::tree;
use api::{FieldError, names};

/// Which names a list may hold.
#[derive(Clone, Copy, PartialEq)]
pub enum Names {
    Any,
    Container,
    Pod,
    Quota,
}

pub fn requirements(at: &At, names: Names, errors: &mut Errors) {
    let (limits, requests) = (at.get("limits"), at.get("requests"));
    let (mut computes, mut huge) = (false, false);
    for (name, amount) in limits.entries() {
        resource_name(name, names, &amount, errors);
        quantity(name, &amount, errors);
        computes |= matches!(name.as_str(), "cpu" | "memory");
        huge |= is_huge(name);
    }
    for (name, amount) in requests.entries() {
        resource_name(name, names, &amount, errors);
        quantity(name, &amount, errors);
        computes |= matches!(name.as_str(), "cpu" | "memory");
        huge |= is_huge(name);
        let (asked, limit) = (Quantity::of(amount.value), limits.value.get(name));
        match limit.map(Quantity::of) {
            Some(limit) if asked != limit && !may_overcommit(name) => {
                errors
                    .push(requests.invalid_as(asked.to_string(), &format!("must be equal to {name} limit of {limit}")));
            }
            Some(limit) if asked > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(requests.invalid_as(asked.to_string(), &detail));
            }
            Some(_) => {}
            None if !may_overcommit(name) => {
                errors.push(limits.required("Limit must be set for non overcommitable resources"));
            }
            None => {}
        }
    }
    if huge && !computes {
        errors.push(at.forbidden("HugePages require cpu or memory"));
    }
}

/// `spec.resources`: no less than the containers ask for together, no limit below one of theirs.
pub fn pod_level(pod: &Value, spec: &At, errors: &mut Errors) {
    let at = spec.get("resources");
    if !at.has() {
        return;
    }
    if spec.get("os").get("name").text() == "windows" {
        errors.push(at.forbidden("may not be set for a windows pod"));
        return;
    }
    if at.has_field("claims") {
        errors.push(at.get("claims").forbidden("claims may not be set for Resources at pod-level"));
    }
    requirements(&at, Names::Pod, errors);
    claims(&at.get("claims"), spec, errors);
    let demands = Demands::of(pod);
    let lists = [
        ("requests", "requests", demands.container_requests()),
        ("limits", "limits", demands.container_limits().into_iter().filter(|(name, _)| is_huge(name)).collect()),
    ];
    for (field, word, sums) in lists {
        for (name, sum) in &sums {
            let own = at.get(field).key(name);
            if own.has() && *sum > Quantity::of(own.value) {
                let own_text = Quantity::of(own.value).to_string();
                let detail = format!("must be greater than or equal to aggregate container {word} of {sum}");
                errors.push(own.invalid_as(own_text, &detail));
            }
        }
    }
    for (index, container) in tree::list(spec.value, "containers").iter().enumerate() {
        for (name, limit) in tree::entries(container, "resources.limits") {
            let own = at.get("limits").key(name);
            let limit = Quantity::of(limit);
            if own.has() && limit > Quantity::of(own.value) {
                let detail = format!("must be less than or equal to pod limits of {}", Quantity::of(own.value));
                let shown = at.get("containers").index(index).key(name).get("limits");
                errors.push(shown.invalid_as(limit.to_string(), &detail));
            }
        }
    }
}

/// Judges the key of an amount at `at`.
pub fn resource_name(name: &str, set: Names, at: &At, errors: &mut Errors) {
    let complaints = names::qualified(name);
    let bare = !name.contains('/');
    if !complaints.is_empty() {
        errors.extend(complaints.iter().map(|m| at.invalid_as(name, m)));
        if set == Names::Pod {
            return;
        }
    } else if bare && !is_standard(name) {
        errors.push(at.invalid_as(name, "must be a standard resource type or fully qualified"));
        if set == Names::Pod {
            return;
        }
    }
    match set {
        Names::Container if bare && !is_container_standard(name) => {
            errors.push(at.invalid_as(name, "must be a standard resource for containers"));
        }
        Names::Container if !bare && !is_native(name) && !is_extended(name) => {
            errors.push(at.invalid_as(name, "doesn't follow extended resource name standard"));
        }
        Names::Quota if bare && (name == "storage" || !is_standard(name)) => {
            errors.push(at.invalid_as(name, "must be a standard resource for quota"));
        }
        Names::Pod if !is_pod_level(name) => {
            let path = at.path();
            errors.push(api::FieldError::not_supported(&path, &name.into(), &["cpu", "hugepages-", "memory"]));
        }
        _ => {}
    }
}

/// Not negative, and whole where the resource is counted in pieces; None: it is no quantity at all.
pub fn amount(name: &str, at: &At, errors: &mut Errors) -> Option<Quantity> {
    let amount = match Quantity::from_value(at.value) {
        Ok(amount) => amount,
        Err(error) => {
            errors.push(at.invalid(&error.to_string()));
            return None;
        }
    };
    if amount.is_negative() {
        errors.push(at.invalid_as(amount.to_string(), "must be greater than or equal to 0"));
    }
    if is_counted(name) && !amount.is_integer() {
        errors.push(at.invalid_as(amount.to_string(), "must be an integer"));
    }
    Some(amount)
}

/// `amount`, and of huge pages whole ones.
pub fn quantity(name: &str, at: &At, errors: &mut Errors) {
    let Some(amount) = amount(name, at, errors) else { return };
    if let Some(size) = name.strip_prefix("hugepages-").and_then(|s| Quantity::parse(s).ok())
        && (size.value() <= 0 || amount.value() % size.value() != 0)
    {
        errors.push(at.invalid_as(amount.to_string(), &format!("{amount} is not positive integer multiple of {name}")));
    }
}

pub fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified(&format!("requests.{name}")).is_empty()
}

fn is_counted(name: &str) -> bool {
    matches!(
        name,
        "pods"
            | "resourcequotas"
            | "services"
            | "replicationcontrollers"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "services.nodeports"
            | "services.loadbalancers"
    ) || is_extended(name)
}

fn is_standard(name: &str) -> bool {
    let requested = name.strip_prefix("requests.").unwrap_or(name);
    matches!(requested, "cpu" | "memory" | "ephemeral-storage" | "storage")
        || matches!(name, "limits.cpu" | "limits.memory" | "limits.ephemeral-storage")
        || is_huge(requested)
        || is_counted(name)
}

fn is_container_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge(name)
}

/// Claims of a container, or of all of them together (validateResourceClaimNames).
pub fn claims(at: &At, spec: &At, errors: &mut Errors) {
    let known: BTreeSet<&str> = spec.get("resourceClaims").items().map(|c| c.get("name").text()).collect();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for claim in at.items() {
        let (name, request) = (claim.get("name").text(), claim.get("request"));
        if name.is_empty() {
            errors.push(claim.required(""));
            continue;
        }
        let twice = |shown: String| FieldError::duplicate(&claim.path(), &shown.into());
        if seen.contains(&(name, "")) {
            errors.push(twice(name.into()));
        } else {
            if !request.text().is_empty() {
                invalid_each(&request, names::dns_label(request.text()), errors);
            }
            match request.text() {
                "" => {
                    let asked = seen.iter().filter(|(seen, _)| *seen == name);
                    errors.extend(asked.map(|_| twice(name.into())));
                }
                text if seen.contains(&(name, text)) => errors.push(twice(format!("{name}/{text}"))),
                _ => {}
            }
            seen.push((name, request.text()));
        }
        if !known.contains(name) {
            let mut error = FieldError::not_found(&claim.path(), &name.into());
            error.detail = match known.is_empty() {
                true => "must be one of the names in pod.spec.resourceClaims which is empty".into(),
                false => format!(
                    "must be one of the names in pod.spec.resourceClaims: {}",
                    known.iter().copied().collect::<Vec<_>>().join(", ")
                ),
            };
            errors.push(error);
        }
    }
}
