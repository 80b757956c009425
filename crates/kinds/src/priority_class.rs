//! PriorityClass: a name for a pod's priority.

use api::{FieldError, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::At;
use crate::validate::meta;

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            NAME,
            Column {
                kind: "integer".into(),
                ..computed("Value", "The priority.", |class, _| json!(tree::int(class, "value").unwrap_or(0)))
            },
            Column {
                kind: "boolean".into(),
                ..computed("Global-Default", "Whether it is for pods that name none.", |class, _| {
                    json!(tree::flag(class, "globalDefault"))
                })
            },
            AGE,
            text("PreemptionPolicy", "Whether its pods may push others out.", "preemptionPolicy"),
        ],
        hooks: Hooks {
            prepare: |_, class, old, _| count_generation(class, old),
            default: |_, class| {
                tree::set_default(class, "preemptionPolicy", "PreemptLowerPriority");
            },
            validate,
            ..HOOKS
        },
        ..Kind::cluster("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses").short("pc")
    }
}

/// Priorities above this are the system's.
const USER_PRIORITY_MAX: i64 = 1_000_000_000;

fn validate(kind: &Kind, class: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, class, old);
    let at = At::root(class);
    let (name, value, policy) = (at.get("metadata").get("name"), at.get("value"), at.get("preemptionPolicy"));
    if let Some(old) = old {
        let was = At::root(old);
        if value.number() != was.get("value").number() {
            errors.push(value.forbidden("may not be changed in an update."));
        }
        meta::immutable(&policy, &was.get("preemptionPolicy"), &mut errors);
        return errors;
    }
    if name.text().starts_with("system-") {
        if let Err(why) = system_class(name.text(), value.number(), at.get("globalDefault").flag()) {
            let text = "priority class names with 'system-' prefix are reserved for system use only. error:";
            errors.push(name.forbidden(&format!("{text} {why}")));
        }
    } else if value.number() > USER_PRIORITY_MAX {
        let text = format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}");
        errors.push(value.forbidden(&text));
    }
    match policy.text() {
        "PreemptLowerPriority" | "Never" => {}
        "" => errors.push(policy.required("")),
        _ => errors.push(policy.not_supported(&["PreemptLowerPriority", "Never"])),
    }
    errors
}

/// The two classes that the system makes itself, and their values.
fn system_class(name: &str, value: i64, is_default: bool) -> Result<(), String> {
    let known = match name {
        "system-node-critical" => 2_000_001_000,
        "system-cluster-critical" => 2_000_000_000,
        _ => return Err(format!("{name} is not a known system priority class")),
    };
    if value != known {
        return Err(format!("value of {name} PriorityClass must be {known}"));
    }
    if is_default {
        return Err(format!("globalDefault of {name} PriorityClass must be false"));
    }
    Ok(())
}
