//! ResourceQuota: how much a namespace may hold, and how much it does.

use std::collections::BTreeSet;

use api::quantity::Quantity;
use api::{FieldError, tree};
use serde_json::{Value, json};

use crate::pod::defaults::canonical;
use crate::pod::validate::resources::{Names, amount, is_huge, resource_name};
use crate::row::*;
use crate::validate::at::{At, Errors, shown_text};

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS],
        columns: vec![
            NAME,
            computed("Request", "What is used and may be, but for limits.", |quota, _| json!(shares(quota, false))),
            computed("Limit", "What limits are used and may be.", |quota, _| json!(shares(quota, true))),
            AGE,
        ],
        hooks: Hooks { default, validate, warnings, ..HOOKS },
        writes: Writes { returns_deleted: true, ..WRITES },
        ..Kind::namespaced("v1", "ResourceQuota", "resourcequotas").short("quota")
    }
}

fn default(_: &Kind, quota: &mut Value) {
    for (part, field) in [("spec", "hard"), ("status", "hard"), ("status", "used")] {
        if let Some(list) = quota.get_mut(part).and_then(|part| part.get_mut(field)) {
            canonical(list);
        }
    }
}

/// `pods: 1/10, services: 0/5`
fn shares(quota: &Value, of_limits: bool) -> String {
    let used = |name: &str| Quantity::of(quota["status"]["used"].get(name).unwrap_or(&Value::Null));
    let all = tree::entries(quota, "status.hard").filter(|(name, _)| name.starts_with("limits.") == of_limits);
    let shown: Vec<String> = all.map(|(name, hard)| format!("{name}: {}/{}", used(name), Quantity::of(hard))).collect();
    shown.join(", ")
}

fn warnings(_: &Kind, quota: &Value, old: Option<&Value>) -> Vec<String> {
    let hard = |name: &str| tree::at(quota, "spec.hard").get(name).map(Quantity::of);
    let check = |name: &&str| {
        let requested = format!("requests.{name}");
        let plain = || hard(name).filter(|_| matches!(*name, "cpu" | "memory")).map(|amount| (amount, (*name).into()));
        let (request, request_name) = hard(&requested).map(|amount| (amount, requested)).or_else(plain)?;
        let limit_name = format!("limits.{name}");
        let limit = hard(&limit_name).filter(|limit| request > *limit)?;
        Some(format!("ResourceQuota {request_name} ({request}) should be less than {limit_name} ({limit})"))
    };
    let names = ["cpu", "memory", "storage", "ephemeral-storage"];
    names.iter().filter(|_| old.is_none()).filter_map(check).collect()
}

fn validate(kind: &Kind, quota: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, quota, old);
    let (at, spec) = (At::root(quota), At::root(quota).get("spec"));
    if context.subresource == "status" {
        amounts(&at.get("status").get("hard"), &mut errors);
        amounts(&at.get("status").get("used"), &mut errors);
        return errors;
    }
    amounts(&spec.get("hard"), &mut errors);
    scopes(&spec, &mut errors);
    scope_selector(&spec, &mut errors);
    if let Some(old) = old {
        let set = |quota: &Value| -> BTreeSet<String> {
            tree::list(quota, "spec.scopes").iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if set(old) != set(quota) {
            errors.push(spec.get("scopes").invalid_as(spec.get("scopes").value.clone(), "field is immutable"));
        }
    }
    errors
}

fn amounts(list: &At, errors: &mut Errors) {
    for (name, at) in list.entries() {
        resource_name(name, Names::Quota, &at, errors);
        amount(name, &at, errors);
    }
}

fn scopes(spec: &At, errors: &mut Errors) {
    let all = spec.get("scopes");
    for scope in all.items() {
        if !is_scope(scope.text()) {
            errors.push(all.invalid("unsupported scope"));
        }
        for _ in unfit(scope.text(), spec) {
            errors.push(all.invalid("unsupported scope applied to resource"));
        }
    }
    if contradict(all.items().map(|scope| scope.text()).collect()) {
        errors.push(all.invalid("conflicting scopes"));
    }
}

/// The paths without an index are upstream's.
fn scope_selector(spec: &At, errors: &mut Errors) {
    let all = spec.get("scopeSelector").get("matchExpressions");
    for expression in all.items() {
        let (scope, operator, values) =
            (expression.get("scopeName"), expression.get("operator"), expression.get("values"));
        if !is_scope(scope.text()) {
            errors.push(all.get("scopeName").invalid_as(scope.text(), "unsupported scope"));
        }
        for _ in unfit(scope.text(), spec) {
            let mut error = all.invalid("unsupported scope applied to resource");
            error.value = shown_selector(&all);
            errors.push(error);
        }
        let has_values = matches!(scope.text(), "PriorityClass" | "VolumeAttributesClass");
        if is_scope(scope.text()) && !has_values && operator.text() != "Exists" {
            let why = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                       ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                       ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(all.get("operator").invalid_as(operator.text(), why));
        }
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(all.get("values").required(why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(all.get("values").invalid_as(values.value.clone(), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(all.get("operator").invalid_as(other, "not a valid selector operator")),
        }
    }
    if contradict(all.items().map(|expression| expression.get("scopeName").text()).collect()) {
        errors.push(all.invalid_as(spec.get("scopes").value.clone(), "conflicting scopes"));
    }
}

/// As upstream's own type is shown.
fn shown_selector(all: &At) -> String {
    let shown = all.items().map(|expression| {
        let [scope, operator] = ["scopeName", "operator"].map(|field| shown_text(&expression.get(field)));
        format!("{{\"ScopeName\":{scope},\"Operator\":{operator},\"Values\":{}}}", expression.get("values").value)
    });
    format!("{{\"MatchExpressions\":[{}]}}", shown.collect::<Vec<_>>().join(","))
}

fn contradict(scopes: BTreeSet<&str>) -> bool {
    let both = |one, other| scopes.contains(one) && scopes.contains(other);
    both("BestEffort", "NotBestEffort") || both("Terminating", "NotTerminating")
}

fn is_scope(name: &str) -> bool {
    matches!(
        name,
        "Terminating"
            | "NotTerminating"
            | "BestEffort"
            | "NotBestEffort"
            | "PriorityClass"
            | "VolumeAttributesClass"
            | "CrossNamespacePodAffinity"
    )
}

/// What is counted, but not by objects that a scope is of.
fn unfit<'a>(scope: &'a str, spec: &At<'a>) -> impl Iterator<Item = &'a String> + use<'a> {
    let hard = spec.get("hard").value.as_object().into_iter().flatten().map(|(name, _)| name);
    hard.filter(move |name| is_quota_standard(name) && !is_fit(scope, name))
}

fn is_fit(scope: &str, name: &str) -> bool {
    let plain = name.strip_prefix("requests.").or(name.strip_prefix("limits.")).unwrap_or(name);
    match scope {
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        scope if is_scope(scope) => name == "pods" || matches!(plain, "cpu" | "memory"),
        _ => true,
    }
}

fn is_quota_standard(name: &str) -> bool {
    let mut errors = Errors::new();
    resource_name(name, Names::Quota, &At::root(&Value::Null), &mut errors);
    errors.is_empty() && (!name.contains('/') || is_huge(name.strip_prefix("requests.").unwrap_or(name)))
}

#[cfg(test)]
mod tests;
