//! DeviceTaintRule: a taint on every device that it selects.

use api::{FieldError, age, tree};
use serde_json::{Value, json};

use super::validate::{driver, label, pool, taint};
use crate::row::*;
use crate::validate::at::At;
use crate::validate::conditions::conditions;

const CONDITIONS_MAX: usize = 8;

pub(crate) fn row() -> Kind {
    Kind {
        subresources: vec![STATUS_ALONE],
        columns: vec![
            NAME,
            text("Key", "The key of the taint.", "spec.taint.key"),
            text("Value", "The value of the taint.", "spec.taint.value"),
            text("Effect", "What it does to claims that do not tolerate it.", "spec.taint.effect"),
            computed("TimeAdded", "The time since the effect holds.", |rule, now| {
                json!(match tree::text(rule, "spec.taint.timeAdded") {
                    "" => String::new(),
                    time => age::since(time, now),
                })
            }),
            AGE,
        ],
        hooks: Hooks { prepare, validate, ..HOOKS },
        writes: Writes { conditional: true, ..WRITES },
        ..Kind::cluster("resource.k8s.io/v1", "DeviceTaintRule", "devicetaintrules")
            .kept_as("v1beta2")
            .dormant("nobody taints devices by it yet")
    }
}

/// An effect holds from when it was set (SetDefaults_DeviceTaint, the strategy's PrepareForUpdate).
fn prepare(_: &Kind, rule: &mut Value, old: Option<&Value>, context: &Context) {
    if old.is_none() {
        rule["status"] = json!({});
    }
    if let Some(taint) = rule.pointer_mut("/spec/taint").filter(|taint| taint.is_object()) {
        let is_new = old.is_some_and(|old| {
            let was = &old["spec"]["taint"];
            was["effect"] != taint["effect"] && was["timeAdded"] == taint["timeAdded"]
        });
        if is_new || !tree::has(taint, "timeAdded") {
            taint["timeAdded"] = context.now.as_str().into();
        }
    }
    count_generation(rule, old);
}

fn validate(kind: &Kind, rule: &Value, old: Option<&Value>, context: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, rule, old);
    let at = At::root(rule);
    if context.subresource == "status" {
        let said = at.get("status").get("conditions");
        conditions(&said, &mut errors);
        if said.len() > CONDITIONS_MAX {
            errors.push(said.too_many(CONDITIONS_MAX));
        }
        return errors;
    }
    let selector = at.get("spec").get("deviceSelector");
    for (field, rule) in [("driver", driver as fn(&At, &mut Vec<FieldError>)), ("pool", pool), ("device", label)] {
        if selector.has_field(field) {
            rule(&selector.get(field), &mut errors);
        }
    }
    taint(&at.get("spec").get("taint"), &mut errors);
    errors
}

#[cfg(test)]
mod tests;
