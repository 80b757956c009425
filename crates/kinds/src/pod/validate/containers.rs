//! Containers of a pod: regular ones, init containers, ephemeral ones.

use std::collections::BTreeSet;

use super::resources::{Names, claims, requirements};
use super::volumes::Volumes;
use super::{env, mounts, probes, security};
use crate::validate::at::{At, Errors, invalid_each};
use api::{FieldError, names};

/// What the rules of a container must know of its pod.
pub struct Pod<'a> {
    pub spec: At<'a>,
    pub volumes: Volumes<'a>,
    pub allow_privileged: bool,
}

impl Pod<'_> {
    fn grace(&self) -> Option<i64> {
        self.spec.get("terminationGracePeriodSeconds").int()
    }

    fn os(&self) -> &str {
        self.spec.get("os").get("name").text()
    }

    fn host_users(&self) -> bool {
        let at = self.spec.get("hostUsers");
        !at.has() || at.flag()
    }
}

pub fn regular(pod: &Pod, errors: &mut Errors) {
    let at = pod.spec.get("containers");
    if at.is_empty() {
        errors.push(at.required(""));
        return;
    }
    let mut seen = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for container in at.items() {
        common(&container, pod, errors);
        let name = container.get("name");
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
        probes::lifecycle(&container.get("lifecycle"), pod.grace(), pod.os(), errors);
        probes::probes(&container, pod.grace(), errors);
        restart_policy(&container, errors);
    }
    for container in at.items() {
        host_ports(&container, &mut ports, errors);
    }
}

pub fn init(pod: &Pod, errors: &mut Errors) {
    let at = pod.spec.get("initContainers");
    let mut seen: BTreeSet<&str> = pod.spec.get("containers").items().map(|c| c.get("name").text()).collect();
    for container in at.items() {
        common(&container, pod, errors);
        init_restart_policy(&container, errors);
        let name = container.get("name");
        if seen.contains(name.text()) {
            errors.push(name.duplicate());
        } else if !name.text().is_empty() {
            seen.insert(name.text());
        }
        host_ports(&container, &mut BTreeSet::new(), errors);
        let is_sidecar = container.get("restartPolicy").text() == "Always";
        if is_sidecar {
            probes::lifecycle(&container.get("lifecycle"), pod.grace(), pod.os(), errors);
            probes::probes(&container, pod.grace(), errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.has_field(field) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.push(container.get(field).forbidden(detail));
            }
        }
        for policy in container.get("resizePolicy").items() {
            let restart = policy.get("restartPolicy");
            if restart.text() == "RestartContainer" {
                let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                errors.push(restart.invalid(detail));
            }
        }
    }
}

pub fn ephemeral(pod: &Pod, errors: &mut Errors) {
    // Forbidden for ephemeral containers, in the order of the type.
    const FORBIDDEN: &[&str] = &[
        "ports",
        "resources",
        "resizePolicy",
        "restartPolicy",
        "restartPolicyRules",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "lifecycle",
    ];
    let others: BTreeSet<&str> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| pod.spec.get(list).items().collect::<Vec<_>>())
        .map(|c| c.get("name").text())
        .collect();
    let mut seen = others.clone();
    for container in pod.spec.get("ephemeralContainers").items() {
        common(&container, pod, errors);
        image_spaces(&container, errors);
        let name = container.get("name");
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
        let target = container.get("targetContainerName");
        if !target.text().is_empty() && !others.contains(target.text()) {
            errors.push(target.not_found());
        }
        let is_set = |field: &'static str| {
            let at = container.get(field);
            if field == "resources" {
                return ["limits", "requests", "claims"].iter().any(|part| !at.get(part).is_empty());
            }
            at.has() && at.value != &serde_json::json!({}) && at.value != &serde_json::json!([])
        };
        for field in FORBIDDEN.iter().filter(|f| is_set(f)) {
            errors.push(container.get(field).forbidden("cannot be set for an Ephemeral Container"));
        }
        for mount in container.get("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.get(field).text().is_empty() {
                    errors.push(mount.get(field).forbidden("cannot be set for an Ephemeral Container"));
                }
            }
        }
    }
}

/// Images of pods (not of templates) may not be padded.
pub fn image_spaces(container: &At, errors: &mut Errors) {
    let image = container.get("image");
    if image.text().trim() != image.text() {
        errors.push(image.invalid("must not have leading or trailing whitespace"));
    }
}

fn common(container: &At, pod: &Pod, errors: &mut Errors) {
    let name = container.get("name");
    match name.text() {
        "" => errors.push(name.required("")),
        text => invalid_each(&name, names::dns_label(text), errors),
    }
    if container.get("image").text().is_empty() {
        errors.push(container.get("image").required(""));
    }
    let policy = container.get("terminationMessagePolicy");
    match policy.text() {
        "File" | "FallbackToLogsOnError" => {}
        "" => errors.push(policy.required("")),
        _ => errors.push(policy.not_supported(&["File", "FallbackToLogsOnError"])),
    }
    ports(&container.get("ports"), errors);
    env::env(&container.get("env"), errors);
    env::env_from(&container.get("envFrom"), errors);
    mounts::mounts(container, &pod.volumes, errors);
    mounts::devices(container, &pod.volumes, errors);
    let pull = container.get("imagePullPolicy");
    match pull.text() {
        "Always" | "IfNotPresent" | "Never" => {}
        "" => errors.push(pull.required("")),
        _ => errors.push(pull.not_supported(&["Always", "IfNotPresent", "Never"])),
    }
    requirements(&container.get("resources"), Names::Container, errors);
    claims(&container.get("resources").get("claims"), &pod.spec, errors);
    resize_policy(&container.get("resizePolicy"), pod.spec.get("restartPolicy").text(), errors);
    security::container(&container.get("securityContext"), pod.host_users(), pod.allow_privileged, errors);
}

fn ports(at: &At, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for port in at.items() {
        let name = port.get("name");
        if !name.text().is_empty() {
            let complaints = names::port_name(name.text());
            if !complaints.is_empty() {
                invalid_each(&name, complaints, errors);
            } else if !seen.insert(name.text()) {
                errors.push(name.duplicate());
            }
        }
        let number = port.get("containerPort");
        match number.number() {
            0 => errors.push(number.required("")),
            n => invalid_each(&number, names::port_number(n), errors),
        }
        let host = port.get("hostPort");
        if host.number() != 0 {
            invalid_each(&host, names::port_number(host.number()), errors);
        }
        let protocol = port.get("protocol");
        match protocol.text() {
            "TCP" | "UDP" | "SCTP" => {}
            "" => errors.push(protocol.required("")),
            _ => errors.push(protocol.not_supported(&["SCTP", "TCP", "UDP"])),
        }
    }
}

fn host_ports(container: &At, seen: &mut BTreeSet<String>, errors: &mut Errors) {
    for port in container.get("ports").items() {
        let host = port.get("hostPort");
        if host.number() == 0 {
            continue;
        }
        let text = format!("{}/{}/{}", port.get("protocol").text(), port.get("hostIP").text(), host.number());
        if !seen.insert(text.clone()) {
            errors.push(FieldError::duplicate(&host.path(), &text.into()));
        }
    }
}

fn resize_policy(at: &At, pod_restart_policy: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for policy in at.items() {
        let (name, restart) = (policy.get("resourceName").text(), policy.get("restartPolicy").text());
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&policy.path(), &name.into()));
        }
        let not_supported = |value: &str, list: &[&str]| FieldError::not_supported(&at.path(), &value.into(), list);
        match name {
            "cpu" | "memory" => {}
            "" => errors.push(at.required("")),
            _ => errors.push(not_supported(name, &["cpu", "memory"])),
        }
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.push(at.required("")),
            _ => errors.push(not_supported(restart, &["NotRequired", "RestartContainer"])),
        }
        if pod_restart_policy == "Never" && restart != "NotRequired" {
            errors.push(at.invalid_as(restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"));
        }
    }
}

/// Without a policy of its own an init container's rules are not looked at further.
fn init_restart_policy(container: &At, errors: &mut Errors) {
    let policy = container.get("restartPolicy");
    if policy.has() {
        restart_policy(container, errors);
    } else if !container.get("restartPolicyRules").is_empty() {
        errors.push(policy.required("must specify restartPolicy when restart rules are used"));
    }
}

/// A container's own restart policy and its rules on exit codes.
fn restart_policy(container: &At, errors: &mut Errors) {
    let (policy, rules) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    if !policy.has() {
        if !rules.is_empty() {
            errors.push(policy.required("must specify restartPolicy when restart rules are used"));
        }
    } else if !matches!(policy.text(), "Always" | "Never" | "OnFailure") {
        errors.push(policy.not_supported(&["Always", "Never", "OnFailure"]));
    }
    if rules.len() > 20 {
        errors.push(rules.too_many(20));
    }
    for rule in rules.items() {
        let action = rule.get("action");
        if !matches!(action.text(), "Restart" | "RestartAllContainers") {
            errors.push(action.not_supported(&["Restart", "RestartAllContainers"]));
        }
        let codes = rule.get("exitCodes");
        if !codes.has() {
            errors.push(codes.required("must be specified"));
            continue;
        }
        if !matches!(codes.get("operator").text(), "In" | "NotIn") {
            errors.push(codes.get("operator").not_supported(&["In", "NotIn"]));
        }
        if codes.get("values").len() > 255 {
            errors.push(codes.get("values").too_many(255));
        }
    }
}
