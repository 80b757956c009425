//! What a status write may say: conditions, addresses, and container states that do not go back.

use serde_json::{Value, json};

use super::{devices, update};
use crate::validate::address::ip;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;
use api::names;
use api::tree;

pub fn status(pod: &Value, old: &Value, errors: &mut Errors) {
    update::metadata(pod, old, errors);
    super::annotations::changes(pod, old, errors);
    super::annotations::annotations(&At::root(pod), &At::root(pod).get("metadata").get("annotations"), errors);
    let (at, was) = (At::root(pod).get("status"), At::root(old).get("status"));
    for condition in at.get("conditions").items() {
        generation(&condition, errors);
        let kind = condition.get("type").text();
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            errors.extend(names::qualified(kind).iter().map(|m| condition.get("Type").invalid_as(kind, m)));
        }
    }
    let nominated = at.get("nominatedNodeName");
    if nominated.text() != was.get("nominatedNodeName").text() && !nominated.text().is_empty() {
        invalid_each(&nominated, names::dns_subdomain(nominated.text()), errors);
        if !tree::text(old, "spec.nodeName").is_empty() {
            errors.push(nominated.forbidden("may not be set on pods that are already bound to a node"));
        }
    }
    generation(&at, errors);
    meta::immutable(&at.get("qosClass"), &was.get("qosClass"), errors);
    transitions(pod, old, errors);
    devices::claims(pod, errors);
    addresses(&at, errors);
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        for container in at.get(list).items() {
            users(&container.get("user").get("linux"), errors);
        }
    }
    devices::allocated(pod, errors);
}

/// Who a container's first process runs as.
fn users(at: &At, errors: &mut Errors) {
    for (field, most) in [("uid", u32::MAX as i64), ("gid", i32::MAX as i64)] {
        if let Some(id) = at.get(field).int() {
            invalid_each(&at.get(field), names::within(id, 0, most), errors);
        }
    }
    for group in at.get("supplementalGroups").items() {
        invalid_each(&group, names::within(group.number(), 0, i32::MAX as i64), errors);
    }
}

fn generation(at: &At, errors: &mut Errors) {
    let generation = at.get("observedGeneration");
    if generation.number() < 0 {
        errors.push(generation.invalid("must be a non-negative integer"));
    }
}

/// A container that ended for good does not come back.
fn transitions(pod: &Value, old: &Value, errors: &mut Errors) {
    let spec = tree::at(old, "spec");
    let any_container_restarts_all = ["containers", "initContainers"].iter().any(|list| {
        tree::list(spec, list)
            .iter()
            .flat_map(|c| tree::list(c, "restartPolicyRules"))
            .any(|rule| tree::text(rule, "action") == "RestartAllContainers")
    });
    for (list, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", ""),
    ] {
        if any_container_restarts_all && !containers.is_empty() {
            continue;
        }
        let at = At::root(pod).get("status").get(list);
        for (index, before) in tree::list(tree::at(old, "status"), list).iter().enumerate() {
            let Some(exit) = tree::int(before, "state.terminated.exitCode") else { continue };
            let name = tree::text(before, "name");
            let now = at.items().find(|c| c.get("name").text() == name);
            let goes_on = now.is_some_and(|c| !c.get("state").has_field("terminated"));
            let container = tree::list(spec, containers).iter().find(|c| tree::text(c, "name") == name);
            if goes_on && !container.is_some_and(|c| may_restart(c, spec, exit)) {
                let state = at.index(index).get("state");
                errors.push(state.forbidden("may not be transitioned to non-terminated state"));
            }
        }
    }
}

/// Whether a container starts again after an exit: its rules, its own policy, then the pod's
/// (pkg/api/v1/pod, ContainerShouldRestart).
pub fn may_restart(container: &Value, spec: &Value, exit: i64) -> bool {
    for rule in tree::list(container, "restartPolicyRules") {
        let listed = tree::list(rule, "exitCodes.values").iter().any(|v| v.as_i64() == Some(exit));
        let applies = match tree::text(rule, "exitCodes.operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if applies {
            return true;
        }
    }
    let own = tree::text(container, "restartPolicy");
    match if own.is_empty() { tree::text(spec, "restartPolicy") } else { own } {
        "Always" => true,
        "OnFailure" => exit != 0,
        _ => false,
    }
}

fn addresses(at: &At, errors: &mut Errors) {
    let ips = at.get("podIPs");
    families(&ips, errors);
    let (single, first) = (at.get("podIP").text(), ips.index(0).get("ip"));
    if single.is_empty() != (ips.is_empty()) {
        let each: Vec<String> = ips.items().map(|ip| format!("{{\"IP\":{}}}", json!(ip.get("ip").text()))).collect();
        let shown = if ips.has() { format!("[{}]", each.join(",")) } else { "\"\"".into() };
        errors.push(ips.invalid_shown(shown, "podIP and podIPs must either both be set or both be unset"));
    } else if !ips.is_empty() && single != first.text() {
        errors.push(first.invalid("must be equal to `podIP`"));
    }
    let hosts = at.get("hostIPs");
    if !hosts.is_empty() {
        let first = hosts.index(0).get("ip");
        if first.text() != at.get("hostIP").text() {
            errors.push(first.invalid("must be equal to `hostIP`"));
        }
        families(&hosts, errors);
    }
}

/// At most one address of each family.
fn families(at: &At, errors: &mut Errors) {
    for entry in at.items() {
        ip(&entry.with(entry.get("ip").value), errors);
    }
    let is_v6: Vec<bool> = at.items().map(|e| e.get("ip").text().contains(':')).collect();
    if is_v6.len() > 2 || (is_v6.len() == 2 && is_v6[0] == is_v6[1]) {
        errors.push(at.invalid("may specify no more than one IP for each IP family"));
    }
}
