//! Node: one machine, registered and reported on by its agent.

use std::collections::BTreeSet;

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::pod::validate::resources;
use crate::row::*;
use crate::validate::address::cidr;
use crate::validate::at::{At, Errors, invalid_each, shown_text};

pub(crate) fn row() -> Kind {
    Kind {
        // A node may be created with its status (pkg/registry/core/node/strategy.go).
        subresources: vec![proxy("NodeProxyOptions"), Subresource { at_create: true, ..STATUS }],
        columns: vec![
            NAME,
            computed("Status", "Whether it is ready, and whether pods are placed on it.", |node, _| {
                json!(status(node))
            }),
            computed("Roles", "The roles in its labels.", |node, _| json!(roles(node))),
            AGE,
            text("Version", "The version of its agent.", "status.nodeInfo.kubeletVersion"),
            wide(computed("Internal-IP", "The address inside the cluster.", |node, _| {
                json!(address(node, "InternalIP"))
            })),
            wide(computed("External-IP", "The address outside the cluster.", |node, _| {
                json!(address(node, "ExternalIP"))
            })),
            wide(computed("OS-Image", "The operating system.", |node, _| {
                json!(or_unknown(node, "status.nodeInfo.osImage"))
            })),
            wide(computed("Kernel-Version", "The kernel.", |node, _| json!(kernel(node)))),
            wide(computed("Container-Runtime", "The runtime and its version.", |node, _| {
                json!(or_unknown(node, "status.nodeInfo.containerRuntimeVersion"))
            })),
        ],
        field_selectors: vec![made("spec.unschedulable", |node| tree::flag(node, "spec.unschedulable").to_string())],
        hooks: Hooks { prepare, default, validate, warnings, ..HOOKS },
        // One that cannot say that a pod has ended keeps it.
        writes: Writes { leads_to_less: |_| true, ..WRITES },
        ..Kind::cluster("v1", "Node", "nodes").judged_as_new().kept_in("minions").short("no")
    }
}

/// Fields of features that were removed or are off: nobody sets them.
fn prepare(_: &Kind, node: &mut Value, old: Option<&Value>, context: &Context) {
    let drop = |node: &mut Value, part: &str, field: &str| {
        if let Some(part) = node.get_mut(part).and_then(Value::as_object_mut) {
            part.remove(field);
        }
    };
    if old.is_none() || context.subresource == "status" && old.is_none_or(|old| !tree::has(old, "status.config")) {
        drop(node, "status", "config");
    }
    // InPlacePodVerticalScalingSchedulerPreemption
    if old.is_none_or(|old| !tree::has(old, "spec.podPreemptionPolicy")) {
        drop(node, "spec", "podPreemptionPolicy");
    }
    if old.is_none_or(|old| !tree::has(old, "spec.configSource")) {
        drop(node, "spec", "configSource");
    }
}

/// Allocatable is the capacity until the agent says otherwise; `podCIDR` is the first of `podCIDRs`,
/// and right where they differ.
fn default(_: &Kind, node: &mut Value) {
    let single = tree::at(node, "spec.podCIDR").clone();
    let first = tree::list(node, "spec.podCIDRs").first().cloned();
    if let Some(spec) = node.get_mut("spec") {
        match first {
            Some(first) if first == single => {}
            _ if !single.as_str().unwrap_or("").is_empty() => spec["podCIDRs"] = json!([single]),
            Some(first) => spec["podCIDR"] = first,
            None => {}
        }
    }
    for list in ["capacity", "allocatable"] {
        node.get_mut("status").and_then(|status| status.get_mut(list)).map(crate::pod::canonical);
    }
    let capacity = tree::at(node, "status.capacity").clone();
    if let Some(status) = node.get_mut("status")
        && capacity.is_object()
    {
        tree::set_default(status, "allocatable", capacity);
    }
}

fn status(node: &Value) -> String {
    let ready = tree::list(node, "status.conditions").iter().find(|c| tree::text(c, "type") == "Ready");
    let word = match ready.map(|c| tree::text(c, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let disabled = if tree::flag(node, "spec.unschedulable") { ",SchedulingDisabled" } else { "" };
    format!("{word}{disabled}")
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = tree::entries(node, "metadata.labels")
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".into() } else { roles.join(",") }
}

fn address(node: &Value, kind: &str) -> String {
    let found = tree::list(node, "status.addresses").iter().find(|a| tree::text(a, "type") == kind);
    found.map_or("<none>".into(), |a| tree::text(a, "address").into())
}

fn or_unknown(node: &Value, path: &str) -> String {
    match tree::text(node, path) {
        "" => "<unknown>".into(),
        text => text.into(),
    }
}

fn kernel(node: &Value) -> String {
    let version = or_unknown(node, "status.nodeInfo.kernelVersion");
    match tree::text(node, "status.nodeInfo.architecture") {
        "" => version,
        architecture => format!("{version} ({architecture})"),
    }
}

fn validate(kind: &Kind, node: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, node, old);
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
    declared_features(&status.get("declaredFeatures"), &mut errors);
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

/// `MyFeature`, `MyFeature/mySubFeature`: each once, sorted (validateNodeDeclaredFeatures).
fn declared_features(at: &At, errors: &mut Errors) {
    const LENGTH_MAX: usize = 253;
    let is_name = |name: &str| {
        let segment = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        name.starts_with(|c: char| c.is_ascii_uppercase()) && name.split('/').all(segment)
    };
    for (index, feature) in at.items().enumerate() {
        let name = feature.text();
        if name.len() > LENGTH_MAX {
            let why = format!("invalid feature name {name:?}: must be no more than {LENGTH_MAX} characters");
            errors.push(feature.invalid(&why));
        } else if !is_name(name) {
            errors.push(feature.invalid(&format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments \
                 separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric \
                 characters and slashes"
            )));
        }
        let next = at.index(index + 1);
        match next.text() {
            _ if index + 1 == at.len() => {}
            text if text == name => errors.push(next.duplicate()),
            text if text < name => errors.push(next.invalid("list must be sorted alphabetically")),
            _ => {}
        }
    }
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
    let (id, before) = (at.get("spec").get("providerID"), old.get("spec").get("providerID"));
    match (before.text(), id.text()) {
        ("", _) => {}
        (_, "") => errors.push(id.invalid_as(Value::Null, "field cannot be cleared once set")),
        (before, now) if before != now => {
            errors.push(id.invalid_as(Value::Null, "field cannot be modified once set"));
        }
        _ => {}
    }
    let (external, before) = (at.get("spec").get("externalID"), old.get("spec").get("externalID"));
    if external.text() != before.text() {
        errors.push(external.forbidden("may not be updated"));
    }
}

fn warnings(_: &Kind, node: &Value, _: Option<&Value>) -> Vec<String> {
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

fn one_of_each_family(ranges: &At, errors: &mut Errors) {
    let families: Vec<bool> = ranges.items().map(|r| r.text().contains(':')).collect();
    if families.len() > 2 || (families.len() == 2 && families[0] == families[1]) {
        errors.push(ranges.invalid("may specify no more than one CIDR for each IP family"));
    }
}
