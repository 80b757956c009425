//! Who may claim devices for administration, allocate devices, and speak for their drivers.
//!
//! Upstream asks while it validates (pkg/registry/resource/utils.go), so that a refusal reads as an invalid
//! object.

use std::collections::BTreeSet;

use api::{FieldError, Status, tree};
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin};
use crate::authorize::Attributes;
use crate::identity::service_account;

pub const PLUGIN: Plugin =
    Plugin { name: "ResourceClaim", operations: &[Operation::Create, Operation::Update], validate, ..NONE };

const GROUP: &str = "resource.k8s.io";
/// Of a namespace whose claims may be for administration.
const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";
const NODE_OF_ACCOUNT: &str = "authentication.kubernetes.io/node-name";

fn validate(ask: &Ask<'_>, object: &Value, findings: &mut Findings) -> Result<(), Status> {
    if ask.kind().group != GROUP {
        return Ok(());
    }
    let mut errors = Vec::new();
    match (ask.kind().plural.as_str(), ask.subresource, ask.old) {
        ("resourceclaims", "", None) => administers(ask, requested(&object["spec"]), &mut errors, findings),
        ("resourceclaimtemplates", "", None) => {
            administers(ask, requested(&object["spec"]["spec"]), &mut errors, findings);
        }
        ("resourceclaims", "status", Some(old)) => {
            status(ask, &object["status"], &old["status"], &mut errors, findings)
        }
        _ => {}
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(GROUP, &ask.kind().kind, ask.name_of(object), &errors))
}

/// The path of the first request for administration, as upstream shows it.
fn requested(spec: &Value) -> Option<String> {
    let is_admin = |request: &Value| tree::flag(request, "exactly.adminAccess");
    let index = tree::list(spec, "devices.requests").iter().position(is_admin)?;
    Some(format!("spec.devices.requests[{index}].adminAccess"))
}

fn granted(status: &Value) -> Option<String> {
    let results = tree::list(status, "allocation.devices.results");
    let index = results.iter().position(|result| tree::flag(result, "adminAccess"))?;
    Some(format!("status.allocation.devices.results[{index}].adminAccess"))
}

fn administers(ask: &Ask<'_>, path: Option<String>, errors: &mut Vec<FieldError>, findings: &mut Findings) {
    let Some(path) = path else { return };
    let entry = ask.snapshot().namespace(ask.namespace);
    let is_labelled = |entry: &store::Entry| {
        serde_json::from_slice::<Value>(&entry.bytes)
            .is_ok_and(|namespace| namespace["metadata"]["labels"][ADMIN_LABEL] == "true")
    };
    match entry.filter(is_labelled) {
        // The label holds when the claim is written.
        Some(entry) => findings.claim(&entry),
        None => errors.push(FieldError::forbidden(
            &path,
            &format!("admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"),
        )),
    }
}

fn status(ask: &Ask<'_>, new: &Value, old: &Value, errors: &mut Vec<FieldError>, findings: &mut Findings) {
    if granted(old).is_none() {
        administers(ask, granted(new), errors, findings);
    }
    if ["allocation", "reservedFor"].iter().any(|field| new[*field] != old[*field])
        && let Err(why) = may(ask, ask.verb, "binding", "", "")
    {
        let text = format!(
            "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", \
             verb=\"{}\" permission: {}",
            ask.verb, why.message
        );
        errors.push(FieldError::forbidden("status.allocation", &text));
    }
    let verbs = verbs(ask, new);
    for driver in drivers(new, old) {
        let asked = verbs.iter().map(|verb| may(ask, verb, "driver", ask.namespace, driver));
        let refused: Vec<Status> = asked.filter_map(Result::err).collect();
        if let Some(first) = refused.first().filter(|_| refused.len() == verbs.len()) {
            let text = format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {}",
                verbs.join(" "),
                first.message
            );
            errors.push(FieldError::forbidden("status.devices", &text));
        }
    }
}

/// Drivers of whose devices something else is said.
fn drivers<'v>(new: &'v Value, old: &'v Value) -> BTreeSet<&'v str> {
    let changed = |these: &'v Value, those: &'v Value| {
        let others = tree::list(those, "devices");
        tree::list(these, "devices").iter().filter(move |device| !others.contains(device))
    };
    changed(new, old).chain(changed(old, new)).map(|device| tree::text(device, "driver")).collect()
}

/// A driver in the node of the devices needs less than one elsewhere.
fn verbs(ask: &Ask<'_>, status: &Value) -> Vec<String> {
    let elsewhere = format!("arbitrary-node:{}", ask.verb);
    let of_account =
        ask.identity.extra().get(NODE_OF_ACCOUNT).filter(|_| service_account(ask.identity.name()).is_some());
    match (of_account.map(Vec::as_slice), node_of(status)) {
        (Some([node]), Some(other)) if node == other => vec![format!("associated-node:{}", ask.verb), elsewhere],
        _ => vec![elsewhere],
    }
}

/// The one node in which the devices are.
fn node_of(status: &Value) -> Option<&str> {
    let [term] = tree::list(status, "allocation.nodeSelector.nodeSelectorTerms") else { return None };
    let [field] = tree::list(term, "matchFields") else { return None };
    let [node] = tree::list(field, "values") else { return None };
    let is_named = tree::text(field, "key") == "metadata.name" && tree::text(field, "operator") == "In";
    (is_named && tree::list(term, "matchExpressions").is_empty()).then_some(node.as_str()?)
}

fn may(ask: &Ask<'_>, verb: &str, subresource: &str, namespace: &str, name: &str) -> Result<(), Status> {
    let asked = Attributes {
        verb: verb.into(),
        group: GROUP.into(),
        version: ask.served.resource().version.clone(),
        resource: "resourceclaims".into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Attributes::default()
    };
    ask.server.authorize(ask.identity, &asked)
}

#[cfg(test)]
mod tests;
