//! APIService: who serves a version of a group, this server or one behind a service.

use api::{FieldError, names, tree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

const GROUP_PRIORITY_MAX: i64 = 20_000;
const VERSION_PRIORITY_MAX: i64 = 1000;
const STATES: &[&str] = &["True", "False", "Unknown"];

pub(crate) fn row() -> Kind {
    Kind {
        schema: "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService".into(),
        subresources: vec![STATUS_ALONE],
        columns: vec![
            NAME,
            computed("Service", "The service that serves it, or `Local`.", |service, _| {
                let at = tree::at(service, "spec.service");
                let shown = format!("{}/{}", tree::text(at, "namespace"), tree::text(at, "name"));
                json!(if at.is_null() { "Local".into() } else { shown })
            }),
            computed("Available", "Whether it answers.", |service, _| json!(available(service))),
            AGE,
        ],
        hooks: Hooks {
            default: |_, service| {
                if let Some(at) = service.pointer_mut("/spec/service").filter(|at| at.is_object()) {
                    tree::set_default(at, "port", 443);
                }
            },
            prepare,
            validate,
            ..HOOKS
        },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::cluster("apiregistration.k8s.io/v1", "APIService", "apiservices")
            .in_category("api-extensions")
            .dormant("no request is passed on to its service yet")
    }
}

fn available(service: &Value) -> String {
    let all = tree::list(service, "status.conditions").iter();
    let Some(condition) = all.clone().find(|condition| tree::text(condition, "type") == "Available") else {
        return "Unknown".into();
    };
    match (tree::text(condition, "status"), tree::text(condition, "reason")) {
        ("True", _) => "True".into(),
        (status, "") => status.into(),
        (status, reason) => format!("{status} ({reason})"),
    }
}

/// What this server serves is there.
fn prepare(_: &Kind, service: &mut Value, old: Option<&Value>, context: &Context) {
    if old.is_some() {
        return;
    }
    service["status"] = match tree::has(service, "spec.service") {
        true => json!({}),
        false => json!({"conditions": [{"type": "Available", "status": "True", "lastTransitionTime": context.now,
            "reason": "Local", "message": "Local APIServices are always available"}]}),
    };
}

fn validate(kind: &Kind, service: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = At::root(service);
    let spec = at.get("spec");
    let (group, version) = (spec.get("group"), spec.get("version"));
    let required = format!("{}.{}", version.text(), group.text());
    let rule = |name: &str| {
        let mut complaints = names::path_segment(name);
        if complaints.is_empty() && name != required {
            complaints.push(format!("must be `spec.version+\".\"+spec.group`: {required:?}"));
        }
        complaints
    };
    meta::object(kind, service, old, rule, &mut errors);
    meta::by_library(&mut errors);
    if context.subresource == "status" {
        for status in at.get("status").get("conditions").items().map(|condition| condition.get("status")) {
            if !STATES.contains(&status.text()) {
                errors.push(status.not_supported(STATES));
            }
        }
        return errors;
    }
    match group.text() {
        "" if version.text() != "v1" => {
            errors.push(group.required("only v1 may have an empty group and it better be legacy kube"));
        }
        "" => {}
        text => invalid_each(&group, names::dns_subdomain(text), &mut errors),
    }
    invalid_each(&version, names::dns_1035_label(version.text()), &mut errors);
    for (field, limit, why) in [
        ("groupPriorityMinimum", GROUP_PRIORITY_MAX, "must be positive and less than 20000"),
        ("versionPriority", VERSION_PRIORITY_MAX, "must be positive and less than 1000"),
    ] {
        let priority = spec.get(field);
        if !(1..=limit).contains(&priority.number()) {
            errors.push(priority.invalid_as(priority.number(), why));
        }
    }
    server(&spec, &mut errors);
    errors
}

fn server(spec: &At, errors: &mut Errors) {
    let (service, bundle, insecure) = (spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify"));
    let size = STANDARD.decode(bundle.text()).map_or(0, |bytes| bytes.len());
    if !service.has() {
        if size > 0 {
            errors.push(bundle.invalid_as(format!("{size} bytes"), "local APIServices may not have a caBundle"));
        }
        if insecure.flag() {
            errors.push(insecure.invalid("local APIServices may not have insecureSkipTLSVerify"));
        }
        return;
    }
    for field in ["namespace", "name"].map(|field| service.get(field)) {
        if field.text().is_empty() {
            errors.push(field.required(""));
        }
    }
    let port = service.get("port");
    let complaints = names::port_number(port.number());
    if !complaints.is_empty() {
        let why = format!("port is not valid: {}", complaints.join(", "));
        errors.push(port.invalid_as(port.number(), &why));
    }
    if insecure.flag() && size > 0 {
        errors.push(insecure.invalid("may not be true if caBundle is present"));
    }
}

#[cfg(test)]
mod tests;
