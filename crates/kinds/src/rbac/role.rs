//! Role and ClusterRole: what may be done. A ClusterRole may be gathered of others by their labels.

use api::{FieldError, tree};
use serde_json::Value;

use super::metadata;
use crate::row::*;
use crate::validate::at::{At, Errors};
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    with_rules(Kind::namespaced("rbac.authorization.k8s.io/v1", "Role", "roles"))
}

pub(crate) fn cluster_row() -> Kind {
    with_rules(Kind::cluster("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles"))
}

fn with_rules(kind: Kind) -> Kind {
    Kind {
        columns: vec![NAME, CREATED],
        hooks: Hooks { default, prepare: |_, role, _, _| forget_empty(role), validate, ..HOOKS },
        writes: Writes { put_creates: true, resets: &[], ..WRITES },
        ..kind
    }
}

/// No rule is shown as such: the field has no omitempty.
fn default(_: &Kind, role: &mut Value) {
    tree::set_default(role, "rules", Value::Null);
}

/// An empty list is somebody's, but not shown as one (measured).
fn forget_empty(role: &mut Value) {
    if tree::list(role, "rules").is_empty()
        && let Some(map) = role.as_object_mut()
    {
        map.insert("rules".into(), Value::Null);
    }
}

/// What upstream judges by declaration comes after the rest (validate_generated).
fn validate(kind: &Kind, role: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, role, old);
    let at = At::root(role);
    at.get("rules").items().for_each(|rule| judge_rule(&rule, kind.namespaced, &mut errors));
    let aggregation = at.get("aggregationRule");
    if !kind.namespaced && aggregation.has() {
        gathers(&aggregation, &mut errors);
    }
    let verbs = at.get("rules").items().map(|rule| rule.get("verbs"));
    errors.extend(verbs.filter(At::is_empty).map(|verbs| verbs.required("")));
    errors
}

fn judge_rule(rule: &At, namespaced: bool, errors: &mut Errors) {
    let [paths, groups, resources] = ["nonResourceURLs", "apiGroups", "resources"].map(|field| rule.get(field));
    if !paths.is_empty() {
        if namespaced {
            errors.push(paths.invalid("namespaced rules cannot apply to non-resource URLs"));
        }
        if !groups.is_empty() || !resources.is_empty() || !rule.get("resourceNames").is_empty() {
            errors.push(paths.invalid("rules cannot apply to both regular resources and non-resource URLs"));
        }
        return;
    }
    if groups.is_empty() {
        errors.push(groups.required("resource rules must supply at least one api group"));
    }
    if resources.is_empty() {
        errors.push(resources.required("resource rules must supply at least one resource"));
    }
}

fn gathers(aggregation: &At, errors: &mut Errors) {
    let selectors = aggregation.get("clusterRoleSelectors");
    if selectors.is_empty() {
        errors.push(selectors.required("at least one clusterRoleSelector required if aggregationRule is non-nil"));
    }
    for selector in selectors.items() {
        let before = errors.len();
        meta::label_selector(&selector, errors);
        if errors.len() > before {
            errors.push(selector.invalid_as(Value::Null, "invalid label selector."));
        }
    }
}

#[cfg(test)]
mod tests;
