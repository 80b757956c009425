//! Annotations of a pod that mean something: mirror pods, deletion cost, old seccomp and AppArmor.

use serde::Deserialize;
use serde_json::Value;

use super::placement;
use super::spec::all_containers;
use crate::pod::app_armor::ANNOTATION as APP_ARMOR;
use crate::validate::at::{At, Errors};
use api::tree;

pub const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Those of a template stand, for upstream, beside its spec.
pub fn annotations(pod: &At, at: &At, errors: &mut Errors) {
    let mirror = at.key(MIRROR);
    if mirror.has() && tree::text(pod.value, "spec.nodeName").is_empty() {
        errors.push(mirror.invalid("must set spec.nodeName if mirror pod annotation is set"));
    }
    tolerations(at, errors);
    let cost = at.key(DELETION_COST);
    let is_number = |text: &str| text.parse::<i32>().is_ok() && !text.starts_with('+') && !has_leading_zero(text);
    if cost.has() && !is_number(cost.text()) {
        errors.push(cost.invalid("must be a 32bit integer"));
    }
    for (key, value) in at.entries() {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp(key, value.text(), at, errors);
        }
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        let spec = pod.get("spec");
        if !all_containers(&spec).any(|c| c.get("name").text() == container) {
            errors.push(value.invalid_as(container, "container not found"));
        }
        let profile = value.text();
        if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
            errors.push(value.invalid(&format!("invalid AppArmor profile name: {profile:?}")));
        }
    }
}

/// What an update may not do to annotations.
pub fn changes(pod: &Value, old: &Value, errors: &mut Errors) {
    let new = At::root(pod).get("metadata").get("annotations");
    let old = At::root(old).get("metadata").get("annotations");
    for (key, value) in old.entries() {
        if new.value.get(key) == Some(value.value) {
            continue;
        }
        if key.starts_with(APP_ARMOR) {
            errors.push(new.key(key).forbidden("may not remove or update AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(new.key(key).forbidden("may not remove or update mirror pod annotation"));
        }
    }
    for (key, _) in new.entries().filter(|(key, _)| old.value.get(*key).is_none()) {
        if key.starts_with(APP_ARMOR) {
            errors.push(new.key(key).forbidden("may not add AppArmor annotations"));
        }
        if key == MIRROR {
            errors.push(new.key(key).forbidden("may not add mirror pod annotation"));
        }
    }
}

/// An old annotation beside a new field must say the same.
pub fn match_fields(pod: &At, errors: &mut Errors) {
    let spec = pod.get("spec");
    let notes = tree::at(pod.value, "metadata.annotations");
    let note = |key: &str| notes.get(key).and_then(Value::as_str);
    let seccomp = spec.get("securityContext").get("seccompProfile");
    if let Some(text) = note(SECCOMP_POD).filter(|_| seccomp.has()) {
        same(&seccomp, text, "seccomp", &["runtime/default", "docker/default"], errors);
    }
    let pod_app_armor = spec.get("securityContext").get("appArmorProfile");
    for container in all_containers(&spec) {
        let context = container.get("securityContext");
        let name = container.get("name").text();
        let seccomp = context.get("seccompProfile");
        if let Some(text) = note(&format!("{SECCOMP_CONTAINER}{name}")).filter(|_| seccomp.has()) {
            same(&seccomp, text, "seccomp", &["runtime/default", "docker/default"], errors);
        }
        let own = context.get("appArmorProfile");
        let profile = if own.has() { own } else { own.with(pod_app_armor.value) };
        if let Some(text) = note(&format!("{APP_ARMOR}{name}")).filter(|_| profile.has()) {
            same(&profile, text, "apparmor", &["runtime/default"], errors);
        }
    }
}

fn same(profile: &At, note: &str, what: &str, defaults: &[&str], errors: &mut Errors) {
    let local = profile.get("localhostProfile");
    let matches = match profile.get("type").text() {
        "Unconfined" => note == "unconfined",
        "RuntimeDefault" => defaults.contains(&note),
        "Localhost" => match note.strip_prefix("localhost/") {
            Some(path) if path != local.text() => {
                errors.push(local.forbidden(&format!("{what} profile in annotation and field must match")));
                true
            }
            found => found.is_some(),
        },
        _ => true,
    };
    if !matches {
        errors.push(profile.get("type").forbidden(&format!("{what} type in annotation and field must match")));
    }
}

fn seccomp(key: &str, profile: &str, at: &At, errors: &mut Errors) {
    if matches!(profile, "runtime/default" | "docker/default" | "unconfined") {
        return;
    }
    let path = format!("{}.{key}", at.path());
    let mut wrong = |value: &str, why| errors.push(api::FieldError::invalid(&path, &value.into(), why));
    let Some(file) = profile.strip_prefix("localhost/") else {
        return wrong(profile, "must be a valid seccomp profile");
    };
    if file.starts_with('/') {
        wrong(file, "must be a relative path");
    }
    if file.split('/').any(|part| part == "..") {
        wrong(file, "must not contain '..'");
    }
}

/// The types of a toleration's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is read to see whether it can be")]
struct Toleration {
    key: Option<String>,
    operator: Option<String>,
    value: Option<String>,
    effect: Option<String>,
    toleration_seconds: Option<i64>,
}

/// Tolerations as they were written before there was a field: a list as JSON.
fn tolerations(at: &At, errors: &mut Errors) {
    let text = at.value.get(TOLERATIONS).and_then(Value::as_str).unwrap_or("");
    if text.is_empty() {
        return;
    }
    // The types are judged by reading them, the values by their paths. No list is an empty one.
    let read = serde_json::from_str::<Option<Vec<Toleration>>>(text);
    match read.and_then(|_| serde_json::from_str::<Value>(text)) {
        Ok(list) => placement::tolerations(&at.get(TOLERATIONS).with(&list), errors),
        Err(why) => errors.push(at.invalid_as(TOLERATIONS, &why.to_string())),
    }
}

fn has_leading_zero(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (digits.len() > 1 && digits.starts_with('0')) || text == "-0"
}
