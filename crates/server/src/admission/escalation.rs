//! Nobody hands out rights that they do not have: roles and bindings, held against their writer's.
//!
//! kubernetes pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased and
//! escalation_check.go. It sees the object after all that mutate, and the write holds only while what the decision
//! rests upon is as it was (upstream decides on what its caches show).

use api::Status;
use kinds::rbac::GROUP;
use serde::Deserialize;
use serde_json::Value;

use super::{Ask, Findings, NONE, Operation, Plugin};
use crate::authorize::Attributes;
use crate::authorize::rbac::{self, Access, RoleRef};
use crate::authorize::rule::{Rule, compact, described, missing, quoted};
use crate::identity::MASTERS;
use crate::records;

pub const PLUGIN: Plugin =
    Plugin { name: "RBACEscalation", operations: &[Operation::Create, Operation::Update], mutate, ..NONE };

/// A verb for a resource of a group is a part: a small object can have millions of them (upstream: no bound).
const PARTS_MAX: usize = 20_000;
/// Parts times words of what one has: a tenth of a second.
const COMPARISONS_MAX: usize = 40_000_000;
/// What the garbage collector changes, and what changes with it (IsOnlyMutatingGCFields).
const LIFETIME: [&str; 4] = ["ownerReferences", "finalizers", "selfLink", "managedFields"];

fn mutate(ask: &Ask<'_>, object: &mut Value, findings: &mut Findings) -> Result<(), Status> {
    if ask.kind().group != GROUP || ask.identity.is_in(MASTERS) {
        return Ok(());
    }
    let access = ask.server.0.authorizer.access();
    match ask.kind().plural.as_str() {
        "roles" | "clusterroles" => judge_role(ask, object, &access)?,
        _ => judge_binding(ask, object, &access, findings)?,
    }
    let written = records::key(ask.kind(), ask.namespace, ask.name_of(object));
    for (key, revision) in access.grounds(ask.identity, ask.namespace).filter(|(key, _)| **key != written) {
        findings.claim_at(key, revision);
    }
    Ok(())
}

fn judge_role(ask: &Ask<'_>, role: &Value, access: &Access) -> Result<(), Status> {
    let escalates = Attributes { resource: ask.kind().plural.clone(), name: ask.name.into(), ..asked(ask, "escalate") };
    if may(ask, &escalates) || is_lifetime_only(ask.old, role) {
        return Ok(());
    }
    confirm(ask, role, access, &rules_of(role)?)?;
    let gathers = |role: &Value| {
        let selectors = &role["aggregationRule"]["clusterRoleSelectors"];
        selectors.as_array().is_some_and(|selectors| !selectors.is_empty())
    };
    // It may gather anything, now or later.
    if gathers(role) || ask.old.is_some_and(gathers) {
        let why = "must have cluster-admin privileges to use the aggregationRule";
        confirm(ask, role, access, &everything()).map_err(|_| ask.forbidden(role, why))?;
    }
    Ok(())
}

fn judge_binding(ask: &Ask<'_>, binding: &Value, access: &Access, findings: &mut Findings) -> Result<(), Status> {
    if is_lifetime_only(ask.old, binding) {
        return Ok(());
    }
    let role = RoleRef::deserialize(&binding["roleRef"]);
    let role = role.map_err(|e| Status::bad_request(format!("roleRef: {e}")))?;
    let resource = match role.kind.as_str() {
        "ClusterRole" => "clusterroles",
        "Role" => "roles",
        other => return Err(Status::internal(format!("unsupported role reference kind: {other:?}"))),
    };
    let group = binding["roleRef"]["apiGroup"].as_str().unwrap_or_default();
    let binds =
        Attributes { resource: resource.into(), name: role.name.clone(), group: group.into(), ..asked(ask, "bind") };
    if may(ask, &binds) {
        return Ok(());
    }
    let given = access.role(&role, ask.namespace).ok_or_else(|| Status::not_found(GROUP, resource, &role.name))?;
    confirm(ask, binding, access, &given.rules)?;
    findings.claim_at(&rbac::role_key(&role, ask.namespace), given.revision());
    Ok(())
}

/// Whether who writes has all of the rules (ConfirmNoEscalation).
fn confirm(ask: &Ask<'_>, object: &Value, access: &Access, wanted: &[Rule]) -> Result<(), Status> {
    let size = wanted.iter().map(Rule::size).fold(0, usize::saturating_add);
    if size > PARTS_MAX {
        let why = format!("its rules come to {size} parts, of which at most {PARTS_MAX} are held against one's own");
        return Err(ask.forbidden(object, &why));
    }
    let (held, errors) = access.rules(ask.identity, ask.namespace);
    let words = held.iter().map(|rule| rule.words()).fold(0, usize::saturating_add);
    if words.saturating_mul(size) > COMPARISONS_MAX {
        let why = format!("its rules come to {size} parts, too many to be held against one's own {words} words");
        return Err(ask.forbidden(object, &why));
    }
    let lacking = missing(&held, wanted);
    if lacking.is_empty() {
        return Ok(());
    }
    let (user, groups) = (ask.identity.name(), quoted(ask.identity.groups()));
    let mut why = format!(
        "user {user:?} (groups={groups}) is attempting to grant RBAC permissions not currently held:\n{}",
        described(&compact(lacking))
    );
    if !errors.is_empty() {
        why += &format!("; resolution errors: [{errors}]");
    }
    Err(ask.forbidden(object, &why))
}

fn asked(ask: &Ask<'_>, verb: &str) -> Attributes {
    Attributes {
        verb: verb.into(),
        group: GROUP.into(),
        version: "*".into(),
        namespace: ask.namespace.into(),
        ..Attributes::default()
    }
}

fn may(ask: &Ask<'_>, asked: &Attributes) -> bool {
    ask.server.0.authorizer.decide(ask.identity, asked).is_allowed()
}

/// An error where one cannot be read: it must not pass by.
fn rules_of(role: &Value) -> Result<Vec<Rule>, Status> {
    let rules = Option::<Vec<Rule>>::deserialize(&role["rules"]);
    Ok(rules.map_err(|e| Status::bad_request(format!("rules: {e}")))?.unwrap_or_default())
}

/// What only an administrator of the whole cluster has.
fn everything() -> [Rule; 2] {
    let all = || vec!["*".to_string()];
    [
        Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() },
        Rule { verbs: all(), paths: all(), ..Rule::default() },
    ]
}

fn is_lifetime_only(old: Option<&Value>, object: &Value) -> bool {
    let Some(old) = old else { return false };
    let stripped = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            LIFETIME.iter().for_each(|field| drop(metadata.remove(*field)));
        }
        object
    };
    stripped(old) == stripped(object)
}

#[cfg(test)]
mod tests;
