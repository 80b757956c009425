//! EndpointSlice: some of the addresses behind a Service, of one family.

use std::collections::BTreeSet;

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::address::{canonical_ip, ip, usable};
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

const ENDPOINTS_MAX: usize = 1000;
const PORTS_MAX: usize = 20_000;
const ADDRESSES_MAX: usize = 100;
const HINTS_MAX: usize = 8;
const SHOWN: usize = 3;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            NAME,
            text("AddressType", "Of which kind its addresses are.", "addressType"),
            computed("Ports", "The first ports.", |slice, _| json!(some(ports(slice)))),
            computed("Endpoints", "The first addresses.", |slice, _| json!(some(addresses(slice)))),
            AGE,
        ],
        hooks: Hooks { default, prepare, validate, warnings, ..HOOKS },
        ..Kind::namespaced("discovery.k8s.io/v1", "EndpointSlice", "endpointslices").judged_as_new()
    }
}

fn default(_: &Kind, slice: &mut Value) {
    for port in tree::each(slice, "ports") {
        tree::set_default(port, "name", "");
        tree::set_default(port, "protocol", "TCP");
    }
}

/// Labels count as a change here. The old topology cannot be written any more.
fn prepare(_: &Kind, slice: &mut Value, old: Option<&Value>, _: &Context) {
    for endpoint in tree::each(slice, "endpoints").filter_map(Value::as_object_mut) {
        endpoint.remove("deprecatedTopology");
    }
    let generation = old.map_or(1, |old| {
        let fields = ["addressType", "endpoints", "ports", "metadata.labels"];
        let changed = fields.iter().any(|field| tree::at(slice, field) != tree::at(old, field));
        tree::int(old, "metadata.generation").unwrap_or(0) + i64::from(changed)
    });
    if let Some(metadata) = tree::child(slice, "metadata") {
        metadata["generation"] = json!(generation);
    }
}

fn ports(slice: &Value) -> Vec<String> {
    let shown = |port: &Value| match (tree::int(port, "port"), tree::at(port, "name").as_str()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    };
    tree::list(slice, "ports").iter().map(shown).collect()
}

fn addresses(slice: &Value) -> Vec<String> {
    let all = tree::list(slice, "endpoints").iter().flat_map(|endpoint| tree::list(endpoint, "addresses"));
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn some(all: Vec<String>) -> String {
    let shown = all[..all.len().min(SHOWN)].join(",");
    match all.len() {
        n if n > SHOWN => format!("{shown} + {} more...", n - SHOWN),
        _ if shown.is_empty() => "<unset>".into(),
        _ => shown,
    }
}

fn warnings(_: &Kind, slice: &Value, old: Option<&Value>) -> Vec<String> {
    let fading = old.is_none() && tree::text(slice, "addressType") == "FQDN";
    fading.then(|| "spec.addressType: FQDN endpoints are deprecated".to_owned()).into_iter().collect()
}

fn validate(kind: &Kind, slice: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, slice, old);
    let (at, was) = (At::root(slice), old.map(At::root));
    judge_ports(&at.get("ports"), &mut errors);
    let (family, endpoints) = (at.get("addressType"), at.get("endpoints"));
    match &was {
        // What an older version let in may stay.
        Some(was) if was.get("endpoints").value == endpoints.value => {}
        _ => judge_endpoints(&endpoints, family.text(), &mut errors),
    }
    let changed = was.is_some_and(|was| was.get("addressType").value != family.value);
    match family.text() {
        "" => errors.push(family.required("")),
        "IPv4" | "IPv6" | "FQDN" => {}
        _ => errors.push(family.not_supported(&["FQDN", "IPv4", "IPv6"])),
    }
    if changed {
        errors.push(family.invalid_as(Value::Null, "field is immutable"));
    }
    errors
}

fn judge_ports(at: &At, errors: &mut Errors) {
    if at.len() > PORTS_MAX {
        return errors.push(at.too_many(PORTS_MAX));
    }
    let mut seen = BTreeSet::new();
    for port in at.items() {
        let (name, protocol, app) = (port.get("name"), port.get("protocol"), port.get("appProtocol"));
        if !name.text().is_empty() {
            invalid_each(&name, names::dns_label(name.text()), errors);
        }
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
        if !matches!(protocol.text(), "TCP" | "UDP" | "SCTP") {
            errors.push(protocol.not_supported(&["SCTP", "TCP", "UDP"]));
        }
        if app.has() {
            invalid_each(&app, names::qualified(app.text()), errors);
        }
    }
}

fn judge_endpoints(at: &At, family: &str, errors: &mut Errors) {
    if at.len() > ENDPOINTS_MAX {
        return errors.push(at.too_many(ENDPOINTS_MAX));
    }
    for endpoint in at.items() {
        let addresses = endpoint.get("addresses");
        match addresses.len() {
            0 => errors.push(addresses.required("")),
            ADDRESSES_MAX.. if addresses.len() > ADDRESSES_MAX => errors.push(addresses.too_many(ADDRESSES_MAX)),
            _ => {}
        }
        addresses.items().for_each(|address| judge_address(&address, &addresses, family, errors));
        if endpoint.has_field("nodeName") {
            let node = endpoint.get("nodeName");
            invalid_each(&node, names::dns_subdomain(node.text()), errors);
        }
        if endpoint.has_field("hostname") {
            let host = endpoint.get("hostname");
            invalid_each(&host, names::dns_label(host.text()), errors);
        }
        let hints = endpoint.get("hints");
        hinted(&hints.get("forZones"), names::label_value, errors);
        if hints.get("forZones").len() <= HINTS_MAX {
            hinted(&hints.get("forNodes"), names::dns_subdomain, errors);
        }
    }
}

fn judge_address(at: &At, all: &At, family: &str, errors: &mut Errors) {
    let (rule, word): (fn(&At, &mut Errors), _) = match family {
        "IPv4" => (ip, "an IPv4"),
        "IPv6" => (canonical_ip, "an IPv6"),
        "FQDN" => return domain(at, errors),
        _ => return,
    };
    let before = errors.len();
    rule(at, errors);
    if errors.len() == before {
        if at.text().contains(':') == (family == "IPv4") {
            errors.push(all.invalid_as(at.text(), &format!("must be {word} address")));
        }
        usable(at, errors);
    }
}

/// A domain name of two parts at least (apimachinery util/validation IsFullyQualifiedDomainName).
fn domain(at: &At, errors: &mut Errors) {
    let name = at.text().strip_suffix('.').unwrap_or(at.text());
    let complaints = names::dns_subdomain(name);
    if at.text().is_empty() {
        errors.push(at.required(""));
    } else if !complaints.is_empty() {
        errors.push(at.invalid_as(name, &complaints.join(",")));
    } else if !name.contains('.') {
        errors.push(at.invalid_as(name, "should be a domain with at least two segments separated by dots"));
    } else if let Some(label) = name.split('.').find(|label| !names::dns_label(label).is_empty()) {
        errors.push(at.invalid_as(label, &names::dns_label(label).join(",")));
    }
}

fn hinted(at: &At, rule: meta::NameRule, errors: &mut Errors) {
    if at.len() > HINTS_MAX {
        return errors.push(at.too_many(HINTS_MAX));
    }
    let mut seen = BTreeSet::new();
    for name in at.items().map(|hint| hint.get("name")) {
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
        invalid_each(&name, rule(name.text()), errors);
    }
}

#[cfg(test)]
mod tests;
