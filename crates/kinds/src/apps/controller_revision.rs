//! ControllerRevision: what a StatefulSet or DaemonSet was at a time. It stays as it is.

use api::{FieldError, tree};
use serde_json::{Value, json};

use crate::row::*;
use crate::validate::at::{At, non_negative};

pub(crate) fn row() -> Kind {
    Kind {
        columns: vec![
            NAME,
            computed("Controller", "Whose revision it is.", |revision, _| json!(controller(revision))),
            // A number; upstream says a text.
            Column { kind: "string".into(), ..count("Revision", "Which one it is.", "revision") },
            AGE,
        ],
        hooks: Hooks { validate, ..HOOKS },
        writes: Writes { resets: &[], ..WRITES },
        ..Kind::namespaced("apps/v1", "ControllerRevision", "controllerrevisions").judged_as_new()
    }
}

/// `statefulset.apps/web`
fn controller(revision: &Value) -> String {
    let owners = tree::list(revision, "metadata.ownerReferences");
    let Some(owner) = owners.iter().find(|owner| tree::flag(owner, "controller")) else { return "<none>".into() };
    let kind = tree::text(owner, "kind").to_lowercase();
    let group = tree::text(owner, "apiVersion").split_once('/').map(|(group, _)| format!(".{group}"));
    format!("{kind}{}/{}", group.unwrap_or_default(), tree::text(owner, "name"))
}

fn validate(kind: &Kind, revision: &Value, old: Option<&Value>, _: &Context) -> Vec<FieldError> {
    let mut errors = metadata(kind, revision, old);
    let at = At::root(revision);
    let (data, number) = (at.get("data"), at.get("revision"));
    non_negative(&number, &mut errors);
    match (old, data.value) {
        (Some(old), now) if *now != old["data"] => {
            errors.push(data.invalid_as(now.clone(), "field is immutable"));
        }
        (Some(_), _) => {}
        (None, Value::Null) => errors.push(data.required("data is mandatory")),
        (None, Value::Object(_)) => {}
        (None, _) => errors.push(data.required("data must be a valid JSON object")),
    }
    errors
}

#[cfg(test)]
mod tests;
