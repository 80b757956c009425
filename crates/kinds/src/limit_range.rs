//! LimitRange: what pods and claims of a namespace may ask for, and what they get if they do not.

use std::collections::BTreeSet;

use api::quantity::{Format, Quantity};
use api::{FieldError, names, tree};
use serde_json::{Map, Value};

use crate::pod::defaults::canonical;
use crate::pod::validate::resources::{Names, may_overcommit, resource_name};
use crate::row::*;
use crate::validate::at::{At, Errors};

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![NAME, CREATED],
        hooks: Hooks { default, prepare, validate, ..HOOKS },
        writes: Writes { put_creates: true, ..WRITES },
        ..Kind::namespaced("v1", "LimitRange", "limitranges").judged_as_new().short("limits")
    }
}

/// One without a name is called by its UID.
fn prepare(_: &Kind, range: &mut Value, _: Option<&Value>, _: &Context) {
    let uid = tree::text(range, "metadata.uid").to_owned();
    if let Some(metadata) = tree::child(range, "metadata") {
        tree::set_default_text(metadata, "name", &uid);
    }
}

/// The limit is the maximum, the request the limit, and if there is none, the minimum
/// (core/v1 SetDefaults_LimitRangeItem).
fn default(_: &Kind, range: &mut Value) {
    let Some(spec) = range.get_mut("spec") else { return };
    for limit in tree::each(spec, "limits") {
        if tree::text(limit, "type") == "Container" {
            for (into, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
                complete(limit, into, from);
            }
        }
        for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            if let Some(list) = limit.get_mut(field) {
                canonical(list);
            }
        }
    }
}

/// Gives `into` what only `from` names.
fn complete(limit: &mut Value, into: &str, from: &str) {
    let Some(given) = limit.get(from).and_then(Value::as_object).filter(|given| !given.is_empty()) else { return };
    let mut given: Map<String, Value> = given.clone();
    given.extend(tree::entries(limit, into).map(|(name, amount)| (name.clone(), amount.clone())));
    limit[into] = given.into();
}

fn validate(kind: &Kind, range: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, range, old);
    let mut seen = BTreeSet::new();
    for limit in At::root(range).get("spec").get("limits").items() {
        let of = limit.get("type");
        let complaints = names::qualified(of.text());
        match of.text() {
            text if !complaints.is_empty() => errors.extend(complaints.iter().map(|m| of.invalid_as(text, m))),
            "Pod" | "Container" | "PersistentVolumeClaim" => {}
            text if text.contains('/') => {}
            _ => errors.push(of.invalid("must be a standard limit type or fully qualified")),
        }
        if !seen.insert(of.text()) {
            errors.push(of.duplicate());
        }
        judge(&limit, &mut errors);
    }
    errors
}

fn judge(limit: &At, errors: &mut Errors) {
    let kind = limit.get("type").text();
    let (max, min, ratio) = (limit.get("max"), limit.get("min"), limit.get("maxLimitRequestRatio"));
    let (default, request) = (limit.get("default"), limit.get("defaultRequest"));
    let set = if matches!(kind, "Pod" | "Container") { Names::Container } else { Names::Any };
    let mut lists = vec![&max, &min];
    if kind == "Pod" {
        for list in [&default, &request].into_iter().filter(|list| !list.is_empty()) {
            errors.push(list.forbidden("may not be specified when `type` is 'Pod'"));
        }
    } else {
        lists.extend([&default, &request]);
    }
    lists.push(&ratio);
    let mut named = BTreeSet::new();
    for list in &lists {
        for (name, amount) in list.entries() {
            resource_name(name, set, &amount, errors);
            named.insert(name);
        }
    }
    let has_storage = |list: &At| list.value.get("storage").is_some();
    if kind == "PersistentVolumeClaim" && !has_storage(&min) && !has_storage(&max) {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(limit.get("limits").required(why));
    }
    for name in named {
        let of = |list: &At| list.value.get(name).map(Quantity::of);
        let defaults = if kind == "Pod" { (None, None) } else { (of(&default), of(&request)) };
        compare(name, limit, [of(&min), of(&max), of(&ratio), defaults.0, defaults.1], errors);
    }
}

/// Each of minimum, maximum, ratio, default and default request against the others.
fn compare(name: &str, limit: &At, [min, max, ratio, default, request]: [Option<Quantity>; 5], errors: &mut Errors) {
    let mut above = |low: Option<Quantity>, high: Option<Quantity>, list: &'static str, shown, words: [&str; 2]| {
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            let why = format!("{} value {low} is greater than {} value {high}", words[0], words[1]);
            let shown: Option<Quantity> = shown;
            let shown = shown.map(|shown| shown.to_string()).unwrap_or_default();
            errors.push(limit.get(list).key(name).invalid_as(shown, &why));
        }
    };
    above(min, max, "min", min, ["min", "max"]);
    above(min, request, "defaultRequest", request, ["min", "default request"]);
    above(request, max, "defaultRequest", request, ["default request", "max"]);
    above(request, default, "defaultRequest", request, ["default request", "default limit"]);
    above(min, default, "default", min, ["min", "default"]);
    above(default, max, "default", max, ["default", "max"]);
    if let Some(ratio) = ratio {
        let at = limit.get("maxLimitRequestRatio").key(name);
        if ratio < Quantity::from_units(1, Format::DecimalSi) {
            errors.push(at.invalid_as(ratio.to_string(), &format!("ratio {ratio} is less than 1")));
        }
        if let Some((allowed, ratio_value)) = min.zip(max).map(|(min, max)| quotient(ratio, min, max))
            && ratio_value > allowed
        {
            let why = format!("ratio {ratio} is greater than max/min = {allowed:.6}");
            errors.push(at.invalid_as(ratio.to_string(), &why));
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && !may_overcommit(name)
        && default != request
    {
        let why = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        errors.push(limit.get("defaultRequest").key(name).invalid_as(request.to_string(), &why));
    }
}

/// The largest possible ratio, and the one that is asked for, as exactly as upstream has them.
fn quotient(ratio: Quantity, min: Quantity, max: Quantity) -> (f64, f64) {
    const MILLI_MAX: i64 = i64::MAX / 1000;
    let fine = [ratio, min, max].iter().all(|amount| amount.value() < MILLI_MAX);
    match fine {
        true => (max.milli_value() as f64 / min.milli_value() as f64, ratio.milli_value() as f64 / 1000.0),
        false => (max.value() as f64 / min.value() as f64, ratio.value() as f64),
    }
}

#[cfg(test)]
mod tests;
