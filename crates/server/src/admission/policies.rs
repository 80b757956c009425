//! Who makes a policy read its parameters must be allowed to read them.
//!
//! Upstream asks while it validates (registry/admissionregistration, authz.go of policies and bindings), so
//! that a refusal reads as an invalid object. Administrators are not asked.

use api::{FieldError, Status, tree};
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin};
use crate::authorize::Attributes;
use crate::identity::MASTERS;

pub const PLUGIN: Plugin =
    Plugin { name: "PolicyParameters", operations: &[Operation::Create, Operation::Update], validate, ..NONE };

const GROUP: &str = "admissionregistration.k8s.io";

fn validate(ask: &Ask<'_>, object: &Value, _: &mut Findings) -> Result<(), Status> {
    if ask.kind().group != GROUP || !ask.subresource.is_empty() || ask.identity.is_in(MASTERS) {
        return Ok(());
    }
    let refused = match ask.kind().plural.as_str() {
        "mutatingadmissionpolicies" | "validatingadmissionpolicies" => of_policy(ask, object),
        "mutatingadmissionpolicybindings" => of_binding(ask, object, "mutatingadmissionpolicies"),
        "validatingadmissionpolicybindings" => of_binding(ask, object, "validatingadmissionpolicies"),
        _ => None,
    };
    match refused {
        None => Ok(()),
        Some(error) => Err(Status::invalid(GROUP, &ask.kind().kind, ask.name_of(object), &[error])),
    }
}

fn of_policy(ask: &Ask<'_>, policy: &Value) -> Option<FieldError> {
    let kind = tree::at(policy, "spec.paramKind");
    let is_same = |old: &Value| tree::at(old, "spec.paramKind") == kind;
    if kind.is_null() || ask.old.is_some_and(is_same) {
        return None;
    }
    let asked = Attributes { verb: "get".into(), name: "*".into(), namespace: "*".into(), ..of_kind(ask, kind).0 };
    ask.server.authorize(ask.identity, &asked).is_err().then(|| {
        let why = format!(
            "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
            user(ask),
            tree::text(kind, "kind"),
            tree::text(kind, "apiVersion")
        );
        FieldError::forbidden("spec.paramKind", &why)
    })
}

fn of_binding(ask: &Ask<'_>, binding: &Value, policies: &str) -> Option<FieldError> {
    let spec = &binding["spec"];
    let (reference, name) = (&spec["paramRef"], tree::text(spec, "policyName"));
    let is_same =
        |old: &Value| old["spec"]["paramRef"] == *reference && old["spec"]["policyName"] == spec["policyName"];
    if reference.is_null() || ask.old.is_some_and(is_same) {
        return None;
    }
    let policy = ask.snapshot().value(&format!("{policies}.{GROUP}"), "", name);
    let kind = policy.as_ref().map(|policy| tree::at(policy, "spec.paramKind")).unwrap_or(&Value::Null);
    let (asked, is_known) = of_kind(ask, kind);
    let verb = if tree::text(reference, "name").is_empty() { "list" } else { "get" };
    let of = |field: &str| tree::text(reference, field).to_owned();
    let asked = Attributes { verb: verb.into(), name: of("name"), namespace: of("namespace"), ..asked };
    ask.server.authorize(ask.identity, &asked).is_err().then(|| {
        let user = user(ask);
        let all = format!(
            "to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all \
             groups, versions and resources"
        );
        let why = match (policy.is_some(), is_known || kind.is_null()) {
            (false, _) => format!("unable to get policy {name} {all}"),
            (true, false) => format!(
                "unable to resolve paramKind &ParamKind{{APIVersion:{},Kind:{},}} {all}",
                tree::text(kind, "apiVersion"),
                tree::text(kind, "kind")
            ),
            (true, true) => {
                format!("user {user} does not have \"{verb}\" permission on the object referenced by paramRef")
            }
        };
        FieldError::forbidden("spec.paramRef", &why)
    })
}

/// What is to be read, as narrow as it is known; and whether the kind is.
fn of_kind(ask: &Ask<'_>, kind: &Value) -> (Attributes, bool) {
    let api_version = tree::text(kind, "apiVersion");
    let every = || "*".to_string();
    if api_version.is_empty() {
        return (Attributes { group: every(), version: every(), resource: every(), ..Attributes::default() }, false);
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let plural = ask.server.kinds().by_kind(api_version, tree::text(kind, "kind")).map(|kind| kind.plural.clone());
    let is_known = plural.is_some();
    let resource = plural.unwrap_or_else(every);
    (Attributes { group: group.into(), version: version.into(), resource, ..Attributes::default() }, is_known)
}

/// A user as Go prints one.
fn user(ask: &Ask<'_>) -> String {
    let identity = ask.identity;
    let extra: Vec<String> =
        identity.extra().iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    let groups = identity.groups().join(" ");
    format!("&{{{} {} [{groups}] map[{}]}}", identity.name(), identity.uid(), extra.join(" "))
}

#[cfg(test)]
mod tests;
