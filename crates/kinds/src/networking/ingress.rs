//! Ingress: which requests from outside reach which Service. Served by crate `ingress`, or by others.

use std::collections::BTreeSet;

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use super::ingress_class::{ANNOTATION, reference};
use crate::row::*;
use crate::validate::address::{host_name, ip, ip_warnings, no_address};
use crate::validate::at::{At, Errors, invalid_each};

/// Of the column of addresses, but for `-o wide`.
const ADDRESSES_WIDTH: usize = 16;
const HOSTS_SHOWN: usize = 3;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS],
        columns: vec![
            NAME,
            computed("Class", "Which controller it is for.", |ingress, _| {
                json!(tree::at(ingress, "spec.ingressClassName").as_str().unwrap_or("<none>"))
            }),
            computed("Hosts", "The hosts of its rules.", |ingress, _| json!(hosts(ingress))),
            computed("Address", "Where its controller takes requests.", |ingress, _| json!(addresses(ingress))),
            computed("Ports", "The ports that requests come to.", |ingress, _| {
                json!(if tree::list(ingress, "spec.tls").is_empty() { "80" } else { "80, 443" })
            }),
            AGE,
        ],
        hooks: Hooks {
            prepare: |_, ingress, old, _| count_generation(ingress, old),
            validate,
            warnings,
            status_warnings,
            ..HOOKS
        },
        ..Kind::namespaced("networking.k8s.io/v1", "Ingress", "ingresses")
            .judged_as_new()
            .kept_in("ingress")
            .short("ing")
    }
}

fn hosts(ingress: &Value) -> String {
    let rules = tree::list(ingress, "spec.rules");
    let mut shown: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= shown.len() == HOSTS_SHOWN;
        let host = tree::text(rule, "host");
        if !more && !host.is_empty() {
            shown.push(host);
        }
    }
    match shown.is_empty() {
        true => "*".into(),
        false if more => format!("{} + {} more...", shown.join(","), rules.len() - HOSTS_SHOWN),
        false => shown.join(","),
    }
}

fn addresses(ingress: &Value) -> String {
    let entries = tree::list(ingress, "status.loadBalancer.ingress").iter();
    let of = |entry| Some(tree::text(entry, "ip")).filter(|ip| !ip.is_empty()).unwrap_or(tree::text(entry, "hostname"));
    let all: BTreeSet<&str> = entries.map(of).filter(|address| !address.is_empty()).collect();
    let text = all.into_iter().collect::<Vec<_>>().join(",");
    match text.char_indices().nth(ADDRESSES_WIDTH - 3) {
        Some((end, _)) if text.len() > ADDRESSES_WIDTH => format!("{}...", &text[..end]),
        _ => text,
    }
}

/// The addresses of a new status.
fn status_warnings(_: &Kind, ingress: &Value) -> Vec<String> {
    let mut out = Vec::new();
    for entry in At::root(ingress).get("status").get("loadBalancer").get("ingress").items() {
        ip_warnings(&entry.with(entry.get("ip").value), &mut out);
    }
    out
}

fn warnings(_: &Kind, ingress: &Value, old: Option<&Value>) -> Vec<String> {
    let annotated = ingress["metadata"]["annotations"].get(ANNOTATION).is_some();
    let named = tree::has(&ingress["spec"], "ingressClassName");
    let deprecated = format!("annotation {ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead");
    (old.is_none() && annotated && !named).then_some(deprecated).into_iter().collect()
}

fn validate(kind: &Kind, ingress: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, ingress, old);
    let at = At::root(ingress);
    if context.subresource == "status" {
        balancer(&at.get("status").get("loadBalancer"), &mut errors);
        return errors;
    }
    let was = old.map(|old| At::root(old).get("spec"));
    let spec = at.get("spec");
    if spec.get("rules").is_empty() && !spec.get("defaultBackend").has() {
        errors.push(spec.invalid_as(Value::Null, "either `defaultBackend` or `rules` must be specified"));
    }
    if spec.get("defaultBackend").has() {
        backend(&spec.get("defaultBackend"), &mut errors);
    }
    // Of what an older version let in, an update need not be better.
    let lax = was.as_ref().is_some_and(|was| was.get("rules").items().any(|rule| is_wild(&rule) && is_bad(&rule)));
    for rule in spec.get("rules").items() {
        host(&rule.get("host"), true, &mut errors);
        if !(lax && is_wild(&rule)) {
            paths(&rule, &mut errors);
        }
    }
    let secret_of = |tls: &At| names::dns_subdomain(tls.get("secretName").text());
    let is_unnamed = |tls: &At| tls.get("secretName").text().is_empty();
    let lax = was.is_some_and(|was| was.get("tls").items().any(|t| !is_unnamed(&t) && !secret_of(&t).is_empty()));
    for tls in spec.get("tls").items() {
        tls.get("hosts").items().for_each(|name| host(&name, false, &mut errors));
        if !lax && !is_unnamed(&tls) {
            invalid_each(&tls.get("secretName"), secret_of(&tls), &mut errors);
        }
    }
    if spec.has_field("ingressClassName") {
        let class = spec.get("ingressClassName");
        invalid_each(&class, names::dns_subdomain(class.text()), &mut errors);
        let annotation = ingress["metadata"]["annotations"].get(ANNOTATION);
        if let Some(annotated) = annotation.filter(|text| old.is_none() && text.as_str() != Some(class.text())) {
            let path = format!("annotations.{ANNOTATION}");
            let why = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(&path, annotated, why));
        }
    }
    errors
}

fn is_wild(rule: &At) -> bool {
    rule.get("host").text().contains('*')
}

fn is_bad(rule: &At) -> bool {
    let mut errors = Errors::new();
    paths(rule, &mut errors);
    !errors.is_empty()
}

/// A DNS name, of which the first label may be `*`. Of TLS an empty one is judged too, an address not apart.
fn host(at: &At, of_rule: bool, errors: &mut Errors) {
    let text = at.text();
    if of_rule && text.is_empty() {
        return;
    }
    if of_rule {
        no_address(at, errors);
    }
    let messages = if text.contains('*') { names::dns_wildcard(text) } else { names::dns_subdomain(text) };
    invalid_each(at, messages, errors);
}

fn paths(rule: &At, errors: &mut Errors) {
    let http = rule.get("http");
    if !http.has() {
        return;
    }
    let paths = http.get("paths");
    if paths.is_empty() {
        errors.push(paths.required(""));
    }
    paths.items().for_each(|path| judge_path(&path, errors));
}

fn judge_path(at: &At, errors: &mut Errors) {
    let (path, kind) = (at.get("path"), at.get("pathType"));
    if !kind.has() {
        errors.push(kind.required("pathType must be specified"));
        return;
    }
    let text = path.text();
    let is_absolute = text.starts_with('/');
    match kind.text() {
        "Exact" | "Prefix" => {
            if !is_absolute {
                errors.push(path.invalid("must be an absolute path"));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| text.contains(**part)) {
                errors.push(path.invalid(&format!("must not contain '{part}'")));
            }
            for end in ["/..", "/."].iter().filter(|end| text.ends_with(**end)) {
                errors.push(path.invalid(&format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" if text.is_empty() || is_absolute => {}
        "ImplementationSpecific" => errors.push(path.invalid("must be an absolute path")),
        _ => errors.push(kind.not_supported(&["Exact", "ImplementationSpecific", "Prefix"])),
    }
    backend(&at.get("backend"), errors);
}

fn backend(at: &At, errors: &mut Errors) {
    match (at.get("resource").has(), at.get("service").has()) {
        (true, true) => errors.push(at.invalid_as("", "cannot set both resource and service backends")),
        (true, false) => reference(&at.get("resource"), errors),
        (false, true) => service(at, errors),
        (false, false) => errors.push(at.invalid_as("", "resource or service backend is required")),
    }
}

fn service(backend: &At, errors: &mut Errors) {
    let service = backend.get("service");
    let name = service.get("name");
    match name.text() {
        "" => errors.push(name.required("")),
        text => invalid_each(&name, names::dns_label(text), errors),
    }
    let (name, number) = (service.get("port").get("name"), service.get("port").get("number"));
    match (!name.text().is_empty(), number.number() != 0) {
        (true, true) => errors.push(backend.invalid_as("", "cannot set both port name & port number")),
        (true, false) => invalid_each(&name, names::port_name(name.text()), errors),
        (false, true) => invalid_each(&number, names::port_number(number.number()), errors),
        (false, false) => errors.push(backend.required("port name or number is required")),
    }
}

fn balancer(balancer: &At, errors: &mut Errors) {
    for entry in balancer.get("ingress").items() {
        let (address, name) = (entry.get("ip"), entry.get("hostname"));
        if !address.text().is_empty() {
            ip(&address, errors);
        }
        if !name.text().is_empty() {
            host_name(&name, errors);
        }
    }
}

#[cfg(test)]
mod tests;
