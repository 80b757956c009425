//! Environment variables of a container, and the fields of the downward API.

use crate::validate::at::{At, Errors, invalid_each};
use api::names;
use api::quantity::Quantity;

const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub fn env(at: &At, errors: &mut Errors) {
    for variable in at.items() {
        let name = variable.get("name");
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else {
            invalid_each(&name, names::env_name(name.text()), errors);
        }
        if variable.has_field("valueFrom") {
            value_from(&variable, errors);
        }
    }
}

fn value_from(variable: &At, errors: &mut Errors) {
    let at = variable.get("valueFrom");
    let mut count = 0;
    for source in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let part = at.get(source);
        if !part.has() {
            continue;
        }
        count += 1;
        match source {
            "fieldRef" => field_ref(&part, FIELDS, errors),
            "resourceFieldRef" => resource_ref(&part, false, errors),
            "fileKeyRef" => file_key(&part, errors),
            _ => key_ref(&part, errors),
        }
    }
    let detail = match count {
        0 => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        _ if !variable.get("value").text().is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(at.invalid_as("", detail));
}

pub fn env_from(at: &At, errors: &mut Errors) {
    for source in at.items() {
        let prefix = source.get("prefix");
        if !prefix.text().is_empty() {
            invalid_each(&prefix, names::env_name(prefix.text()), errors);
        }
        let mut count = 0;
        for field in ["configMapRef", "secretRef"] {
            let part = source.get(field);
            if part.has() {
                count += 1;
                match part.get("name").text() {
                    "" => errors.push(part.get("name").required("")),
                    name => invalid_each(&part.get("name"), names::dns_subdomain(&prefix_of(name)), errors),
                }
            }
        }
        match count {
            0 => errors.push(at.invalid_as("", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(at.invalid_as("", "may not have more than one field specified at a time")),
        }
    }
}

/// A field of the pod; `allowed` is sorted. Subscripts name one label or annotation.
pub fn field_ref(at: &At, allowed: &[&str], errors: &mut Errors) {
    if at.get("apiVersion").text().is_empty() {
        errors.push(at.get("apiVersion").required(""));
        return;
    }
    let path = at.get("fieldPath");
    if path.text().is_empty() {
        errors.push(path.required(""));
        return;
    }
    let bad = |why: String| path.invalid(&format!("error converting fieldPath: {why}"));
    if at.get("apiVersion").text() != "v1" {
        errors.push(bad(format!("unsupported pod version: {}", at.get("apiVersion").text())));
        return;
    }
    let subscript = path.text().strip_suffix("']").and_then(|text| text.split_once("['"));
    match subscript {
        Some(("metadata.annotations", key)) => {
            let key = key.to_lowercase();
            errors.extend(names::qualified(&key).iter().map(|m| at.invalid_as(key.as_str(), m)));
        }
        Some(("metadata.labels", key)) => {
            errors.extend(names::qualified(key).iter().map(|m| at.invalid_as(key, m)));
        }
        Some(_) => errors.push(bad(format!("field label does not support subscript: {}", path.text()))),
        None => {
            const KNOWN: &[&str] = &[
                "metadata.annotations",
                "metadata.labels",
                "spec.restartPolicy",
                "spec.schedulerName",
                "status.phase",
                "spec.host",
            ];
            if allowed.contains(&path.text()) || path.text() == "spec.host" {
                return;
            }
            let known = KNOWN.contains(&path.text()) || FIELDS.contains(&path.text());
            errors.push(match known {
                true => path.not_supported(allowed),
                false => bad(format!("field label not supported: {}", path.text())),
            });
        }
    }
}

/// A limit or request of a container; a volume must name the container.
pub fn resource_ref(at: &At, in_volume: bool, errors: &mut Errors) {
    let resource = at.get("resource");
    let name = resource.text();
    let is_huge = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if in_volume && at.get("containerName").text().is_empty() {
        errors.push(at.get("containerName").required(""));
    } else if name.is_empty() {
        errors.push(resource.required(""));
    } else if !RESOURCES.contains(&name) && !is_huge {
        errors.push(resource.not_supported(RESOURCES));
    }
    let divisor = Quantity::of(at.get("divisor").value);
    if divisor.is_zero() {
        return;
    }
    const SIZES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    let printed = divisor.to_string();
    let is_size = SIZES.split(", ").any(|size| size == printed);
    let what = match name {
        "limits.cpu" | "requests.cpu" => {
            if printed != "1m" && printed != "1" {
                let detail = "only divisor's values 1m and 1 are supported with the cpu resource";
                errors.push(at.get("divisor").invalid_as(name, detail));
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if is_huge => "hugepages",
        _ => return,
    };
    if !is_size {
        let detail = format!("only divisor's values {SIZES} are supported with the {what} resource");
        errors.push(at.get("divisor").invalid_as(name, &detail));
    }
}

fn key_ref(at: &At, errors: &mut Errors) {
    invalid_each(&at.get("name"), names::dns_subdomain(at.get("name").text()), errors);
    match at.get("key").text() {
        "" => errors.push(at.get("key").required("")),
        key => invalid_each(&at.get("key"), names::config_key(key), errors),
    }
}

fn file_key(at: &At, errors: &mut Errors) {
    match at.get("key").text() {
        "" => errors.push(at.get("key").required("")),
        key => invalid_each(&at.get("key"), names::env_name(key), errors),
    }
    match at.get("volumeName").text() {
        "" => errors.push(at.get("volumeName").required("")),
        name => invalid_each(&at.get("volumeName"), names::dns_label(name), errors),
    }
    match at.get("path").text() {
        "" => errors.push(at.get("path").required("")),
        _ => crate::validate::paths::no_backsteps(&at.get("path"), errors),
    }
}

/// A name that is judged as a prefix may end in a dash.
fn prefix_of(name: &str) -> String {
    match name.strip_suffix('-') {
        Some(stem) => format!("{stem}a"),
        None => name.into(),
    }
}
