//! What the kinds that make pods of a template have in common: its defaults, rules, warnings, columns.
//!
//! Where the template stands differs (`spec.template` mostly); what it is does not.

use api::selector::Labels;
use api::{FieldError, names, tree};
use serde_json::{Value, json};

use crate::pod::{defaults, disabled, validate};
use crate::row::*;
use crate::validate::at::{At, Errors, non_negative};
use crate::validate::{meta, selector as shown};

/// The defaults of `spec.template`, and the spec for more.
pub fn default_spec(object: &mut Value) -> Option<&mut Value> {
    let spec = tree::child(object, "spec")?;
    if let Some(template) = tree::child(spec, "template") {
        defaults::template(template);
    }
    Some(spec)
}

/// `replicas: 0` and the like: the status of a new object, for whom nobody has done anything.
pub fn count_born(object: &mut Value, old: Option<&Value>, status: Value) {
    if let Some(spec) = object.get_mut("spec") {
        drop_disabled(spec, old.map(|old| &old["spec"]));
    }
    count_generation(object, old);
    if old.is_none() {
        object["status"] = status;
    }
}

/// Drops what a spec's template says of features that are off.
pub fn drop_disabled(spec: &mut Value, old: Option<&Value>) {
    if let Some(template) = spec.get_mut("template") {
        disabled::drop_disabled(template, old.map(|old| &old["template"]));
    }
}

/// Of a new object, and whenever the generation counted.
pub fn warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let generation = |object: &Value| tree::int(object, "metadata.generation");
    match old {
        Some(old) if generation(old) == generation(object) => Vec::new(),
        _ => validate::warnings::template(&At::root(object).get("spec").get("template")),
    }
}

/// Those, where names of pods begin with the object's.
pub fn named_warnings(_: &Kind, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut out: Vec<String> = old.is_none().then(|| name_warning(object)).flatten().into_iter().collect();
    out.extend(warnings(object, old));
    out
}

/// Of a name with dots.
pub fn name_warning(object: &Value) -> Option<String> {
    let complaints = names::dns_label(tree::text(object, "metadata.name"));
    (!complaints.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
             label is recommended: [{}]",
            complaints.join(" ")
        )
    })
}

/// A selector that is there, good and not empty; None, told, if nothing can be selected by it.
pub fn selector(spec: &At, of: &str, unreadable: &str, errors: &mut Errors) -> Option<Labels> {
    let at = spec.get("selector");
    if !at.has() {
        errors.push(at.required(""));
    } else {
        meta::label_selector(&at, errors);
        if at.get("matchLabels").is_empty() && at.get("matchExpressions").is_empty() {
            errors.push(shown::wrong(&at, &format!("empty selector is invalid for {of}")));
        }
    }
    let read = Labels::from_label_selector(at.value).ok();
    if read.is_none() {
        errors.push(shown::wrong(&at, unreadable));
    }
    read
}

/// A selector, and a template that it selects, whose pods run for good: `kind` as upstream's rules name it.
pub fn selected_template(spec: &At, of: &str, kind: &str, context: &Context, errors: &mut Errors) {
    let template = spec.get("template");
    if let Some(selector) = self::selector(spec, of, "invalid label selector", errors) {
        matches(&template, &selector, errors);
        validate::template(&template, context, errors);
        runs_for_good(&template, kind, errors);
    }
}

/// Whether pods of the template are selected; a selector of everything is told of elsewhere.
pub fn matches(template: &At, selector: &Labels, errors: &mut Errors) {
    let labels = template.get("metadata").get("labels");
    let pairs = labels.value.as_object().cloned().unwrap_or_default();
    if !selector.is_empty() && !selector.matches(&pairs) {
        errors.push(labels.invalid_as(labels.value.clone(), "`selector` does not match template `labels`"));
    }
}

/// Pods that shall run for good. Whether the policy is one at all was judged before.
pub fn runs_for_good(template: &At, of: &str, errors: &mut Errors) {
    let (policy, deadline) =
        (template.get("spec").get("restartPolicy"), template.get("spec").get("activeDeadlineSeconds"));
    if policy.text() != "Always" {
        errors.push(policy.not_supported(&["Always"]));
    }
    if deadline.has() {
        errors.push(deadline.forbidden(&format!("activeDeadlineSeconds in {of} is not Supported")));
    }
}

/// Counts of a status, and those of them that are parts of `replicas`.
pub fn counts(status: &At, all: &[&'static str], parts: &[&'static str], errors: &mut Errors) {
    all.iter().for_each(|field| non_negative(&status.get(field), errors));
    let replicas = status.get("replicas").number();
    for part in parts.iter().map(|field| status.get(field)).filter(|part| part.number() > replicas) {
        errors.push(part.invalid_as(part.number(), "cannot be greater than status.replicas"));
    }
}

/// Whoever is available is ready; `ready` as the kind's rule names it.
pub fn available_are_ready(status: &At, ready: &str, errors: &mut Errors) {
    let available = status.get("availableReplicas");
    if available.number() > status.get("readyReplicas").number() {
        errors.push(available.invalid_as(available.number(), &format!("cannot be greater than {ready}")));
    }
}

/// A hash that collided is not used again.
pub fn collisions(status: &At, old: &At, errors: &mut Errors) {
    let (at, was) = (status.get("collisionCount"), old.get("collisionCount"));
    if was.has() && (!at.has() || at.number() < was.number()) {
        errors.push(at.invalid_as(at.number(), "cannot be decremented"));
    }
}

/// A strategy's type that is none; upstream shows its own type.
pub fn unknown_strategy(strategy: &At, supported: &[&str]) -> FieldError {
    let update = strategy.get("rollingUpdate");
    let update = match update.has() {
        true => format!(
            "{{\"MaxUnavailable\":{},\"MaxSurge\":{}}}",
            or_zero(&update.get("maxUnavailable")),
            or_zero(&update.get("maxSurge"))
        ),
        false => "null".into(),
    };
    let shown = format!("{{\"Type\":{:?},\"RollingUpdate\":{update}}}", strategy.get("type").text());
    FieldError { value: shown, ..strategy.not_supported(supported) }
}

fn or_zero(at: &At) -> String {
    if at.has() { at.value.to_string() } else { "0".into() }
}

/// `3` or `25%`
pub fn int_or_percent(at: &At, errors: &mut Errors) {
    match at.value {
        Value::String(text) if percent_of(text).is_none() => {
            let form = "a valid percent string must be a numeric string followed by an ending '%'";
            errors.push(at.invalid(&names::form(form, "[0-9]+%", &["1%", "93%"])));
        }
        Value::String(_) => {}
        _ => non_negative(at, errors),
    }
}

pub fn at_most_all(at: &At, errors: &mut Errors) {
    if at.value.as_str().and_then(percent_of).is_some_and(|percent| percent > 100) {
        errors.push(at.invalid("must not be greater than 100%"));
    }
}

/// The number, of whatever it is.
pub fn amount(at: &At) -> i64 {
    at.value.as_str().map_or(at.number(), |text| percent_of(text).or(text.parse().ok()).unwrap_or(0))
}

/// A percent string; what is more than any number counts as one.
fn percent_of(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('%')?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// The wide columns of the containers in `spec.template`.
pub fn containers() -> [Column; 2] {
    [
        wide(computed("Containers", "The names of the template's containers.", |object, _| {
            json!(joined(tree::at(object, "spec.template"), "name"))
        })),
        wide(computed("Images", "Their images.", |object, _| {
            json!(joined(tree::at(object, "spec.template"), "image"))
        })),
    ]
}

pub const SELECTOR: Column = wide(computed("Selector", "The labels of its pods.", |object, _| {
    json!(selector_text(tree::at(object, "spec.selector")))
}));

/// A field of each container of a template: `a,b`.
pub fn joined(template: &Value, field: &str) -> String {
    tree::list(template, "spec.containers").iter().map(|c| tree::text(c, field)).collect::<Vec<_>>().join(",")
}

/// `1/3`
pub fn ready_of(object: &Value) -> String {
    let number = |path: &str| tree::int(object, path).unwrap_or(0);
    format!("{}/{}", number("status.readyReplicas"), number("spec.replicas"))
}

#[cfg(test)]
pub(crate) mod tests;
