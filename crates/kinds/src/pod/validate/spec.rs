//! A pod's spec as a whole: what no single container decides.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::containers::{self, Pod};
use super::resources::{Names, pod_level, requirements};
use super::{placement, security, volumes};
use crate::validate::address::ip;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;
use api::names;

/// Metadata is judged elsewhere; `pod` is the whole tree. Without a name it is a template's.
pub fn spec(pod: &At, name: Option<&str>, allow_privileged: bool, errors: &mut Errors) {
    let spec = pod.get("spec");
    if !spec.has_field("terminationGracePeriodSeconds") {
        errors.push(spec.get("terminationGracePeriodSeconds").required(""));
    }
    let volumes = volumes::volumes(&spec.get("volumes"), name.unwrap_or_default(), errors);
    claims(&spec, errors);
    let of_pod = Pod { spec: spec.clone(), volumes, allow_privileged };
    containers::regular(&of_pod, errors);
    containers::init(&of_pod, errors);
    containers::ephemeral(&of_pod, errors);
    pod_level(pod.value, &spec, errors);
    host_network(&spec, name.is_none(), errors);
    policies(&spec, errors);
    meta::labels(&spec.get("nodeSelector"), errors);
    security::pod(&spec, errors);
    if spec.get("shareProcessNamespace").flag() && spec.get("hostPID").flag() {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(spec.get("shareProcessNamespace").invalid(detail));
    }
    placement::affinity(&spec.get("affinity"), errors);
    dns(&spec, errors);
    gates(&spec, errors);
    placement::spread(&spec.get("topologySpreadConstraints"), errors);
    host_users(&spec, errors);
    hostname_override(&spec, errors);
    account(&spec, errors);
    subdomain(&spec.get("nodeName"), errors);
    deadline(&spec.get("activeDeadlineSeconds"), errors);
    for at in [spec.get("hostname"), spec.get("subdomain")].iter().filter(|at| !at.text().is_empty()) {
        invalid_each(at, names::dns_label(at.text()), errors);
    }
    placement::tolerations(&spec.get("tolerations"), errors);
    for alias in spec.get("hostAliases").items() {
        ip(&alias.get("ip"), errors);
        for name in alias.get("hostnames").items() {
            invalid_each(&name, names::dns_subdomain(name.text()), errors);
        }
    }
    subdomain(&spec.get("priorityClassName"), errors);
    let class = spec.get("runtimeClassName");
    if class.has() {
        invalid_each(&class, names::dns_subdomain(class.text()), errors);
    }
    preemption(&spec.get("preemptionPolicy"), errors);
    overhead(&spec.get("overhead"), errors);
    os(&spec, errors);
    file_keys(&spec, errors);
    if name.is_some() {
        account_tokens(&spec, errors);
    }
}

/// All containers of a spec, in upstream's order of visiting.
pub fn all_containers<'a>(spec: &At<'a>) -> impl Iterator<Item = At<'a>> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(|list| spec.get(list));
    lists.into_iter().flat_map(|list| list.items().collect::<Vec<_>>())
}

fn claims(spec: &At, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for claim in spec.get("resourceClaims").items() {
        let name = claim.get("name");
        match name.text() {
            "" => errors.push(name.required("")),
            text if !seen.insert(text) => errors.push(name.duplicate()),
            text => invalid_each(&name, names::dns_label(text), errors),
        }
        let (own, template) = (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        let why = match (own.has(), template.has()) {
            (true, true) => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            (false, false) => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            _ => "",
        };
        if !why.is_empty() {
            let shown = json!(name.text());
            let shown = format!(
                "{{\"Name\":{shown},\"ResourceClaimName\":{},\"ResourceClaimTemplateName\":{}}}",
                own.value, template.value
            );
            errors.push(claim.invalid_shown(shown, why));
        }
        for part in [own, template].iter().filter(|part| part.has()) {
            invalid_each(part, names::dns_subdomain(part.text()), errors);
        }
    }
}

/// What a template leaves open its pods are given.
fn host_network(spec: &At, may_be_open: bool, errors: &mut Errors) {
    if !spec.get("hostNetwork").flag() {
        return;
    }
    for container in spec.get("containers").items() {
        for port in container.get("ports").items() {
            let host = port.get("hostPort");
            let is_open = may_be_open && host.number() == 0;
            if !is_open && host.number() != port.get("containerPort").number() {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(host.invalid_as(host.number(), detail));
            }
        }
    }
}

/// Fields that hold one word of a few.
fn policies(spec: &At, errors: &mut Errors) {
    let required: [(&'static str, &[&str]); 2] = [
        ("restartPolicy", &["Always", "OnFailure", "Never"]),
        ("dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
    ];
    for (field, words) in required {
        let at = spec.get(field);
        match at.text() {
            "" => errors.push(at.required("")),
            text if !words.contains(&text) => errors.push(at.not_supported(words)),
            _ => {}
        }
    }
}

fn preemption(at: &At, errors: &mut Errors) {
    match at.text() {
        "PreemptLowerPriority" | "Never" => {}
        _ if !at.has() => {}
        "" => errors.push(at.required("")),
        _ => errors.push(at.not_supported(&["PreemptLowerPriority", "Never"])),
    }
}

fn deadline(at: &At, errors: &mut Errors) {
    if let Some(seconds) = at.int() {
        invalid_each(at, names::within(seconds, 1, i32::MAX as i64), errors);
    }
}

fn dns(spec: &At, errors: &mut Errors) {
    let config = spec.get("dnsConfig");
    let (servers, searches) = (config.get("nameservers"), config.get("searches"));
    if spec.get("dnsPolicy").text() == "None" {
        if !config.has() {
            errors.push(config.required("must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(servers.required(detail));
            return;
        }
    }
    if servers.len() > 3 {
        errors.push(servers.invalid("must not have more than 3 nameservers"));
    }
    for server in servers.items() {
        ip(&server, errors);
    }
    if searches.len() > 32 {
        errors.push(searches.invalid("must not have more than 32 search paths"));
    }
    let joined: usize = searches.items().map(|s| s.text().len() + 1).sum();
    if joined > 2048 + 1 {
        errors.push(searches.invalid("must not have more than 2048 characters (including spaces) in the search list"));
    }
    for search in searches.items().filter(|s| s.text() != ".") {
        let name = search.text().strip_suffix('.').unwrap_or(search.text());
        let complaints = names::dns_subdomain_with_underscore(name);
        errors.extend(complaints.iter().map(|m| search.invalid_as(name, m)));
    }
    for option in config.get("options").items() {
        if option.get("name").text().is_empty() {
            errors.push(option.required("must not be empty"));
        }
    }
}

fn gates(spec: &At, errors: &mut Errors) {
    for gate in spec.get("readinessGates").items() {
        let kind = gate.get("conditionType");
        invalid_each(&kind, names::qualified(kind.text()), errors);
    }
    let mut seen = BTreeSet::new();
    for gate in spec.get("schedulingGates").items() {
        let name = gate.get("name").text();
        errors.extend(names::qualified(name).iter().map(|m| gate.invalid_as(name, m)));
        if !seen.insert(name) {
            errors.push(api::FieldError::duplicate(&gate.path(), &json!(name)));
        }
    }
}

fn host_users(spec: &At, errors: &mut Errors) {
    let at = spec.get("hostUsers");
    if !at.has() || at.flag() {
        return;
    }
    // The capitals are upstream's.
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.get(field).flag() {
            errors.push(spec.get(shown).forbidden("when `hostUsers` is false"));
        }
    }
    for container in all_containers(spec).filter(|c| !c.get("volumeDevices").is_empty()) {
        errors.push(container.get("volumeDevices").forbidden("when `hostUsers` is false"));
    }
}

fn hostname_override(spec: &At, errors: &mut Errors) {
    let name = spec.get("hostnameOverride");
    if !name.has() {
        return;
    }
    if spec.get("setHostnameAsFQDN").flag() {
        errors.push(name.forbidden("may not be specified when setHostnameAsFQDN is true"));
    }
    if spec.get("hostNetwork").flag() {
        errors.push(name.forbidden("may not be specified when hostNetwork is true"));
    }
    if name.text().len() > 64 {
        errors.push(name.too_long(64));
    }
    invalid_each(&name, names::dns_subdomain(name.text()), errors);
}

/// The name of another object, if there is one.
fn subdomain(at: &At, errors: &mut Errors) {
    if !at.text().is_empty() {
        invalid_each(at, names::dns_subdomain(at.text()), errors);
    }
}

fn account(spec: &At, errors: &mut Errors) {
    subdomain(&spec.get("serviceAccountName"), errors);
    let (old, name) = (spec.get("serviceAccount").text(), spec.get("serviceAccountName").text());
    if old != name {
        let shown = spec.get("deprecatedServiceAccount");
        errors.push(shown.invalid_as(old, &format!("must be the same as serviceAccountName: {name:?}")));
    }
}

/// Nobody's token is nobody's. Of a template it is not asked (ValidatePodMetadataAndSpec).
fn account_tokens(spec: &At, errors: &mut Errors) {
    if spec.get("serviceAccountName").text().is_empty() {
        for volume in spec.get("volumes").items() {
            for source in volume.get("projected").get("sources").items() {
                if source.has_field("serviceAccountToken") {
                    let detail = "must not be specified when serviceAccountName is not set";
                    errors.push(source.get("serviceAccountToken").forbidden(detail));
                }
            }
        }
    }
}

/// Judged as the limits of a container would be.
fn overhead(at: &At, errors: &mut Errors) {
    if at.has() {
        requirements_below(at, &at.path(), errors);
    }
}

/// A list of amounts that stands alone, shown as `path.limits`.
pub fn requirements_below(at: &At, path: &str, errors: &mut Errors) {
    let limits = json!({ "limits": at.value });
    let mut found = Errors::new();
    requirements(&At::root(&limits), Names::Container, &mut found);
    errors.extend(found.into_iter().map(|mut e| {
        e.field = if e.field.is_empty() { path.into() } else { format!("{path}.{}", e.field) };
        e
    }));
}

fn os(spec: &At, errors: &mut Errors) {
    let at = spec.get("os");
    if !at.has() {
        return;
    }
    match at.get("name").text() {
        "" => errors.push(at.get("name").required("")),
        "linux" => {
            let contexts = std::iter::once(spec.clone()).chain(all_containers(spec));
            for context in contexts.map(|c| c.get("securityContext")).filter(|c| c.has_field("windowsOptions")) {
                let detail = "windows options cannot be set for a linux pod";
                errors.push(context.get("windowsOptions").forbidden(detail));
            }
        }
        // Refused as a whole by `kinds::pod::unsupported`.
        "windows" => {}
        name => errors.push(api::FieldError::not_supported(&at.path(), &json!(name), &["linux", "windows"])),
    }
}

/// A variable that comes from a file needs an emptyDir volume.
fn file_keys(spec: &At, errors: &mut Errors) {
    // The first volume of a name counts. Few pods have such a variable at all.
    let volumes = LazyCell::new(|| {
        let named = spec.get("volumes").items().map(|v| (v.get("name").text(), v.has_field("emptyDir")));
        named.collect::<Vec<_>>().into_iter().rev().collect::<BTreeMap<&str, bool>>()
    });
    for container in all_containers(spec) {
        for variable in container.get("env").items() {
            let reference = variable.get("valueFrom").get("fileKeyRef");
            if !reference.has() {
                continue;
            }
            let name = reference.get("volumeName");
            match volumes.get(name.text()) {
                None => errors.push(name.not_found()),
                Some(false) => errors.push(name.invalid("referenced volume must be of type emptyDir")),
                Some(true) => {}
            }
        }
    }
}
