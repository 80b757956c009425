//! IPAddress: an address that is taken, and by whom; its name is the address.

use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::address::canonical_ip;
use crate::validate::at::{At, Errors, invalid_each};
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        // The age stands in no column of upstream's, only in its cells.
        columns: vec![NAME, computed("ParentRef", "Who has it.", |ip, _| json!(parent(ip)))],
        hooks: Hooks { validate, ..HOOKS },
        writes: Writes { named_as_asked: true, ..WRITES },
        ..Kind::cluster("networking.k8s.io/v1", "IPAddress", "ipaddresses").short("ip")
    }
}

/// `services/default/kubernetes`
fn parent(ip: &Value) -> String {
    let parent = tree::at(ip, "spec.parentRef");
    if parent.is_null() {
        return "<none>".into();
    }
    let of = |field| tree::text(parent, field);
    let resource = match of("group") {
        "" => of("resource").to_lowercase(),
        group => format!("{}.{group}", of("resource")).to_lowercase(),
    };
    let segments = [resource.as_str(), of("namespace"), of("name")];
    segments.into_iter().filter(|segment| !segment.is_empty()).collect::<Vec<_>>().join("/")
}

fn validate(kind: &Kind, ip: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = Errors::new();
    meta::object(kind, ip, old, is_address, &mut errors);
    let parent = At::root(ip).get("spec").get("parentRef");
    let mut missing = Errors::new();
    if parent.has() {
        reference(&parent, &mut errors, &mut missing);
    }
    let stays = old.is_none_or(|old| tree::at(old, "spec.parentRef") == parent.value);
    match parent.has() {
        false => errors.push(parent.required("")),
        true if !stays => errors.push(parent.invalid_as(Value::Null, "field is immutable")),
        true => errors.append(&mut missing),
    }
    errors
}

fn is_address(name: &str) -> Vec<String> {
    let (name, mut errors) = (json!(name), Errors::new());
    canonical_ip(&At::root(&name), &mut errors);
    errors.into_iter().map(|error| error.detail).collect()
}

fn reference(parent: &At, errors: &mut Errors, missing: &mut Errors) {
    let group = parent.get("group");
    if !group.text().is_empty() {
        invalid_each(&group, names::dns_subdomain(group.text()), errors);
    }
    for field in ["resource", "name", "namespace"] {
        let at = parent.get(field);
        match at.text() {
            "" if field == "namespace" => {}
            "" => missing.push(at.required("")),
            text => invalid_each(&at, names::path_segment(text), errors),
        }
    }
}

#[cfg(test)]
mod tests;
