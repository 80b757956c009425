//! What several kinds of devices are judged by: names, selectors, configuration, taints.
//!
//! pkg/apis/resource/validation; where 1.37 lets generated rules speak in its place, in their words
//! (pkg/apis/resource/v1/zz_generated.validations.go, apimachinery pkg/api/validate). Expressions are held
//! to their length; nothing compiles CEL yet.

use std::collections::BTreeSet;

use api::{FieldError, names};

use crate::validate::at::{At, Errors, invalid_each};

const DRIVER_MAX: usize = 63;
const POOL_MAX: usize = 253;
const ID_MAX: usize = 32;
const EXPRESSION_MAX: usize = 10 * 1024;
const SELECTORS_MAX: usize = 32;
const BINDING_CONDITIONS_MAX: usize = 4;
/// Of JSON that only drivers read.
pub const OPAQUE_MAX: usize = 10 * 1024;
pub const LIST_MAX: usize = 32;
pub const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "None"];

/// Whether a list is short enough to be looked at.
pub fn limited(at: &At, limit: usize, errors: &mut Errors) -> bool {
    let fits = at.len() <= limit;
    if !fits {
        errors.push(at.too_many(limit));
    }
    fits
}

/// What upstream's generated rules find stands after the rest: by `rank`, in the order of the types' fields.
pub fn declared_last(errors: &mut Errors, rank: impl Fn(&FieldError) -> Option<u8>) {
    errors.sort_by_key(rank);
}

/// No two elements with one key, which is what is shown.
pub fn distinct<'a>(at: &At<'a>, key: fn(&At<'a>) -> At<'a>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for item in at.items() {
        let key = key(&item);
        if !seen.insert(key.text()) {
            errors.push(item.with(key.value).duplicate());
        }
    }
}

/// Like `distinct`, with the whole element shown.
pub fn distinct_items(at: &At, keys: &[&'static str], errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for item in at.items() {
        let of = |field: &&'static str| item.get(field).text();
        let key: Vec<&str> = if keys.is_empty() { vec![item.text()] } else { keys.iter().map(of).collect() };
        if !seen.insert(key) {
            errors.push(item.duplicate());
        }
    }
}

pub fn label(at: &At, errors: &mut Errors) {
    invalid_each(at, names::dns_label(at.text()), errors);
}

/// As `label`, where a generated rule speaks.
pub fn short_name(at: &At, errors: &mut Errors) {
    match at.text() {
        "" => errors.push(at.required("")),
        text => errors.extend(short_name_complaints(text).iter().map(|m| at.invalid(m))),
    }
}

pub fn short_name_complaints(text: &str) -> Vec<String> {
    names::dns_label(text).into_iter().map(|m| m.replace("63 characters", "63 bytes")).collect()
}

/// A driver's name, in capitals or not (ValidateCSIDriverName).
pub fn driver(at: &At, errors: &mut Errors) {
    driver_named(at, at.text(), errors);
}

fn driver_named(at: &At, name: &str, errors: &mut Errors) {
    if name.is_empty() {
        return errors.push(at.required(""));
    }
    if name.len() > DRIVER_MAX {
        errors.push(at.too_long(DRIVER_MAX));
    }
    errors.extend(names::dns_subdomain(&name.to_lowercase()).iter().map(|m| at.invalid_as(name, m)));
}

/// As `driver`, where a generated rule speaks.
pub fn caseless_driver(at: &At, errors: &mut Errors) {
    if at.text().is_empty() {
        return errors.push(at.required(""));
    }
    invalid_each(at, names::dns_subdomain_caseless(at.text()), errors);
    if at.text().chars().count() > DRIVER_MAX {
        let mut error = at.too_long(DRIVER_MAX);
        error.detail = error.detail.replace("bytes", "characters");
        errors.push(error);
    }
}

/// Subdomains, joined by slashes.
pub fn pool(at: &At, errors: &mut Errors) {
    if at.text().is_empty() {
        return errors.push(at.required(""));
    }
    if at.text().len() > POOL_MAX {
        errors.push(at.too_long(POOL_MAX));
    }
    for part in at.text().split('/') {
        errors.extend(names::dns_subdomain(part).iter().map(|m| at.invalid_as(part, m)));
    }
}

/// As `pool`, where a generated rule speaks.
pub fn pool_in_segments(at: &At, errors: &mut Errors) {
    if at.text().is_empty() {
        return errors.push(at.required(""));
    }
    if at.text().len() > POOL_MAX {
        errors.push(at.too_long(POOL_MAX));
    }
    for (index, part) in at.text().split('/').enumerate() {
        let judged = match part {
            "" => vec![(at.text(), "must not be empty".to_string())],
            _ => names::dns_subdomain(part).into_iter().map(|m| (part, m)).collect(),
        };
        errors.extend(judged.iter().map(|(shown, m)| at.invalid_as(*shown, &format!("segment {index}: {m}"))));
    }
}

/// The name of an attribute or a capacity, `model` or `example.com/model`, shown where its map stands.
pub fn qualified(at: &At, name: &str, errors: &mut Errors) {
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(at, id, errors),
        [domain, id] => {
            match domain {
                "" => errors.push(at.invalid_as("", "the domain must not be empty")),
                _ => driver_named(at, domain, errors),
            }
            match id {
                "" => errors.push(at.invalid_as("", "the name must not be empty")),
                _ => identifier(at, id, errors),
            }
        }
        // Upstream lets more slashes pass.
        _ => {}
    }
}

/// The name of an attribute with its domain.
pub fn fully_qualified(at: &At, errors: &mut Errors) {
    let name = at.text();
    match name.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(at, id, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(at.invalid_as("", "prefix must not be empty"));
            } else {
                if domain.len() > DRIVER_MAX {
                    errors.push(at.too_long(DRIVER_MAX));
                }
                let complaints = names::dns_subdomain(domain);
                errors.extend(complaints.iter().map(|m| at.invalid_as(domain, &format!("prefix: {m}"))));
            }
            match id {
                "" => errors.push(at.invalid_as("", "name must not be empty")),
                _ => identifier(at, id, errors),
            }
        }
        _ => {}
    }
    if !name.contains('/') {
        errors.push(at.invalid("a fully qualified name must be a domain and a name separated by a slash"));
    }
}

fn identifier(at: &At, id: &str, errors: &mut Errors) {
    if id.len() > ID_MAX {
        errors.push(at.too_long(ID_MAX));
    }
    errors.extend(names::c_identifier(id).iter().map(|m| at.invalid_as(id, m)));
}

/// Lower case, with its dashes.
pub fn uuid(at: &At, errors: &mut Errors) {
    let is_good = |(index, b): (usize, u8)| match index {
        8 | 13 | 18 | 23 => b == b'-',
        _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
    };
    if at.text().len() != 36 || !at.text().bytes().enumerate().all(is_good) {
        errors.push(at.invalid("must be a lowercase UUID in 8-4-4-4-12 format"));
    }
}

/// `deviceSelectors`: expressions, which were good when they were stored.
pub fn selectors(at: &At, stored: bool, errors: &mut Errors) {
    if !limited(at, SELECTORS_MAX, errors) {
        return;
    }
    for selector in at.items() {
        let expression = selector.get("cel").get("expression");
        if !selector.has_field("cel") {
            errors.push(selector.get("cel").required(""));
        } else if !stored && expression.text().len() > EXPRESSION_MAX {
            errors.push(expression.too_long(EXPRESSION_MAX));
        }
    }
}

/// What a driver is to do with a device; only it can read it.
pub fn configuration(at: &At, stored: bool, errors: &mut Errors) {
    let opaque = at.get("opaque");
    if !opaque.has() {
        return errors.push(opaque.required(""));
    }
    caseless_driver(&opaque.get("driver"), errors);
    json(&opaque.get("parameters"), stored, errors);
}

/// A JSON object that is not too large, if it is new.
pub fn json(at: &At, stored: bool, errors: &mut Errors) {
    if !at.has() {
        errors.push(at.required(""));
    } else if !stored && at.value.to_string().len() > OPAQUE_MAX {
        errors.push(at.too_long(OPAQUE_MAX));
    } else if !at.value.is_object() {
        errors.push(at.invalid_as("<value omitted>", "must be a valid JSON object"));
    }
}

pub fn taint(at: &At, errors: &mut Errors) {
    let (key, value, effect) = (at.get("key"), at.get("value"), at.get("effect"));
    invalid_each(&key, names::qualified(key.text()), errors);
    invalid_each(&value, names::label_value(value.text()), errors);
    match effect.text() {
        "" => errors.push(effect.required("")),
        text if EFFECTS.contains(&text) => {}
        _ => errors.push(effect.not_supported(EFFECTS)),
    }
}

pub fn tolerations(at: &At, errors: &mut Errors) {
    for toleration in at.items() {
        let [key, operator, value, effect] = ["key", "operator", "value", "effect"].map(|field| toleration.get(field));
        if !key.text().is_empty() {
            invalid_each(&key, names::qualified(key.text()), errors);
        }
        match operator.text() {
            "Exists" if value.text().is_empty() => {}
            "Exists" => errors.push(value.invalid("must be empty for operator `Exists`")),
            "Equal" => invalid_each(&value, names::label_value(value.text()), errors),
            _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
        }
        if !effect.text().is_empty() && !EFFECTS.contains(&effect.text()) {
            errors.push(effect.not_supported(EFFECTS));
        }
    }
}

/// Conditions that a device waits for before its pod is bound, and those that end the wait.
pub fn binding_conditions(device: &At, errors: &mut Errors) {
    let (good, bad) = (device.get("bindingConditions"), device.get("bindingFailureConditions"));
    for list in [&good, &bad] {
        if limited(list, BINDING_CONDITIONS_MAX, errors) {
            list.items().for_each(|name| invalid_each(&name, names::qualified(name.text()), errors));
        }
    }
    distinct_items(&good, &[], errors);
    distinct_items(&bad, &[], errors);
    let known: BTreeSet<&str> = good.items().map(|name| name.text()).collect();
    for name in bad.items().filter(|name| known.contains(name.text())) {
        errors.push(name.invalid("bindingFailureConditions must not overlap with bindingConditions"));
    }
    for (list, other, why) in [
        (&good, &bad, "bindingConditions are required to use bindingFailureConditions"),
        (&bad, &good, "bindingFailureConditions are required to use bindingConditions"),
    ] {
        if list.is_empty() && !other.is_empty() {
            errors.push(list.invalid_as(list.value.clone(), why));
        }
    }
}

/// A resource that a class may be asked for by pods: `example.com/gpu`.
pub fn extended_resource(at: &At, errors: &mut Errors) {
    let name = at.text();
    if !name.contains('/') {
        errors.push(at.invalid("a name must be a domain-prefixed path, such as 'example.com/my-prop'"));
    } else if name.contains("kubernetes.io/") {
        errors.push(at.invalid("must not have \"kubernetes.io/\" domain"));
    }
    if name.starts_with("requests.") {
        errors.push(at.invalid("must not have \"requests.\" prefix"));
    }
    invalid_each(at, names::qualified(&format!("requests.{name}")), errors);
}

#[cfg(test)]
mod tests;
